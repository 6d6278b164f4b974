"""The public names, and what importing them costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import secretcache


def test_all_is_sorted_and_each_name_is_there() -> None:
    assert list(secretcache.__all__) == sorted(secretcache.__all__)
    for name in secretcache.__all__:
        assert getattr(secretcache, name) is not None
        assert name in dir(secretcache)


def test_type_checkers_see_the_names_that_run() -> None:
    tree = ast.parse(Path(str(secretcache.__file__)).read_text())
    imported = {
        alias.name
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(secretcache.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'SecretCash'"):
        _ = secretcache.SecretCash


def test_every_error_is_in_one_tree() -> None:
    errors = [getattr(secretcache, name) for name in secretcache.__all__ if name.endswith("Error")]
    assert all(issubclass(error, secretcache.SecretCacheError) for error in errors)


@pytest.mark.parametrize(
    "what", ["import secretcache", "from secretcache import SecretCache; SecretCache(['eu-west-1'])"]
)
def test_neither_import_nor_construction_loads_botocore_or_starts_a_thread(what: str) -> None:
    seen = "[m for m in sys.modules if m.startswith('boto')], threading.active_count()"
    code = f"{what}; import sys, threading; print({seen})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout.split() == ["[]", "1"]
