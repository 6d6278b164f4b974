"""All benchmarks, in turns with the peers and the floor: a table, a JSON file, and the page made from it.

python3 dev.py bench                    # all, about twenty minutes; writes docs/benchmarks.json and renders the page
python3 dev.py bench --quick            # that everything runs; the figures mean nothing, and nothing is written
python3 dev.py bench --only hit miss    # some; nothing is written
python3 dev.py bench --only hit --update    # some, in place of the ones that are there
python3 dev.py bench --render           # docs/benchmarks.md and its plots, from docs/benchmarks.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

# The cases use the tests' servers. This must come before the first import of a case: each may import them itself.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import bursts
import django_rotations
import django_window
import fleet_load
import freshness
import hits
import misses
import outages
import starts
import windows
from measure import Case, Outcome, Scale
from render import render, table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "benchmarks.json"
CASES = [
    case
    for room in (hits, misses, bursts, starts, outages, freshness, fleet_load, windows, django_window, django_rotations)
    for case in room.CASES
]
PACKAGES = ["aws-secretsmanager-caching", "aws-lambda-powertools", "boto3", "botocore", "cachetools", "cachebox"]


def main() -> None:
    options = _options()
    if options.render:
        render(json.loads(RESULTS.read_text(encoding="utf-8")), RESULTS.parent)
        return
    whole: dict[str, Any] = {"environment": _environment(), "cases": []}
    for case in CASES:
        if not options.only or case.name in options.only:
            whole["cases"].append(_run(case, Scale(options.quick)))
    missed = [goal["text"] for case in whole["cases"] for goal in case["goals"] if not goal["holds"]]
    print(f"\n{len(missed)} goals missed" + "".join(f"\n  {text}" for text in missed))
    if options.update or not (options.quick or options.only):
        whole["cases"] = _in_place(whole["cases"])
        RESULTS.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        render(whole, RESULTS.parent)


def _in_place(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases that were run, and those that are there for the others, in their order."""
    there = json.loads(RESULTS.read_text(encoding="utf-8"))["cases"] if RESULTS.exists() else []
    found = {case["name"]: case for case in [*there, *cases]}
    return [found[case.name] for case in CASES if case.name in found]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only enough to see that it runs")
    parser.add_argument("--only", nargs="+", choices=[case.name for case in CASES], help="these cases")
    parser.add_argument("--update", action="store_true", help="writes them in place of the ones that are there")
    parser.add_argument("--render", action="store_true", help="the page and the plots from the results that are there")
    return parser.parse_args()


def _run(case: Case, scale: Scale) -> dict[str, Any]:
    outcome: Outcome = case.run(scale)
    whole = {"name": case.name, "title": case.title, "log": case.log, "commit": _commit(), **asdict(outcome)}
    print(f"\n{case.title}\n{table(whole)}", flush=True)
    return whole


def _commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "not a checkout"


def _environment() -> dict[str, Any]:
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: version(name) for name in PACKAGES},
        "command": "python3 dev.py bench",
    }


if __name__ == "__main__":
    main()
