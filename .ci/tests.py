"""The README's test command, in two processes at a time, with the coverage of both: CI has two cores and half an hour.

What starts servers, applications and command lines mostly waits; the rest mostly computes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
WAITING = (
    "any_client",
    "cli_",
    "client_",
    "compat",
    "configuration",
    "conformance",
    "connect_databases",
    "demo",
    "django",
    "examples",
    "integration",
    "otel",
    "servers",
)


def main() -> int:
    """The number of halves that failed."""
    files = sorted(path.relative_to(HERE) for path in (HERE / "tests").glob("test_*.py"))
    waiting = [path for path in files if path.stem.removeprefix("test_").startswith(WAITING)]
    halves = {"waiting": waiting, "computing": [path for path in files if path not in waiting]}
    running = {name: start(name, those) for name, those in halves.items()}
    failed = [name for name, process in running.items() if process.wait() != 0]
    for name in halves:
        print(f"\n== the half that is {name}", (HERE / f".ci-{name}.log").read_text(), sep="\n", flush=True)
    return len(failed)


def start(name: str, files: list[Path]) -> subprocess.Popen[bytes]:
    """One half, into a log of its own."""
    command = [sys.executable, "dev.py", "test", "-q", "-p", "no:cacheprovider", "--durations=12", *map(str, files)]
    # Whatever fails is run again once, and listed either way: a shared machine of two cores stands still at times.
    coverage = ["--cov", "--cov-report=", "--cov-fail-under=0", "-m", "not greenlets and not untraced", "--reruns=1"]
    with (HERE / f".ci-{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*command, *coverage],
            cwd=HERE,
            env={**os.environ, "COVERAGE_FILE": str(HERE / f".coverage.{name}")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


if __name__ == "__main__":
    sys.exit(main())
