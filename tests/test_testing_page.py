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


FIXTURES = """
import pytest
import secretcache

class Before(secretcache.SecretCache):
    pass

before = Before(["eu-west-1"])
secretcache.set_default_cache(before)

@pytest.fixture
def secretcache_options():
    return {"ttl": 7}

@pytest.fixture
def secretcache_regions():
    return ["eu-west-1", "eu-central-1"]

def test_one_clock_one_manager_and_the_default_cache(secret_cache, fake_secrets_manager, secretcache_clock):
    fake_secrets_manager.put("prod/db", "one")
    assert secretcache.default_cache() is secret_cache
    assert secret_cache.get("prod/db").region == "eu-west-1"
    assert fake_secrets_manager.clock is secretcache_clock
    assert "ttl=7 s" in repr(secret_cache)
    globals()["after"] = secret_cache

def test_after_it_the_cache_is_closed_and_the_former_one_in_its_place():
    assert secretcache.default_cache() is before
    with pytest.raises(secretcache.CacheClosedError):
        after.get("prod/db")
    secretcache.set_default_cache(None)
    before.close()
"""


def test_the_sample_applications_tests_pass_with_every_warning_an_error(tmp_path: Path) -> None:
    ran = in_a_process_of_its_own(tmp_path, HERE / "examples" / "testing")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout
    assert "warning" not in ran.stdout


def test_the_fixtures_belong_together_can_be_overridden_and_leave_nothing_behind(tmp_path: Path) -> None:
    cases = tmp_path / "test_fixtures.py"
    cases.write_text(FIXTURES)
    ran = in_a_process_of_its_own(tmp_path, cases)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout


def in_a_process_of_its_own(where: Path, cases: Path) -> subprocess.CompletedProcess[str]:
    """pytest as a user runs it: elsewhere, with the fixtures of the entry point, every warning an error."""
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(where)]
    plugin = [] if _is_installed() else ["-p", "secretcache.testing._plugin"]  # from a checkout, with nothing installed
    return subprocess.run(  # noqa: S603
        [*command, *plugin, str(cases)],
        cwd=where,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


def _is_installed() -> bool:
    return any(one.name == "secretcache" for one in entry_points(group="pytest11"))
