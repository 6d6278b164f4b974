"""The snippets of docs/testing.md do what the page says, and the sample application's own tests pass as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parents[1]
PAGE = HERE / "docs" / "testing.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_has_recipes() -> None:
    assert len(SNIPPETS) >= 9


@pytest.mark.parametrize("code", [pytest.param(code, id=str(number)) for number, code in enumerate(SNIPPETS)])
def test_a_recipe_runs(code: str) -> None:
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 - the page's own
    assert names["manager"].calls or "prod/key" in code


def test_the_sample_applications_tests_pass_with_every_warning_an_error(tmp_path: Path) -> None:
    # From elsewhere and in a process of its own: with the fixtures of the entry point, as a user has them.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
    ]
    plugin = [] if _is_installed() else ["-p", "secretcache.testing._plugin"]
    ran = subprocess.run(  # noqa: S603
        [*command, *plugin, str(HERE / "examples" / "testing")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout
    assert "warning" not in ran.stdout


def _is_installed() -> bool:
    return any(one.name == "secretcache" for one in entry_points(group="pytest11"))
