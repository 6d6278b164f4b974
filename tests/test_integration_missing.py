"""Where a driver is not installed, its module says which extra has it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

# The module, what it imports, and the extra that has that.
DRIVERS = {
    "asyncpg": ("asyncpg", "asyncpg"),
    "celery": ("kombu", "celery"),
    "mysqlclient": ("MySQLdb", "mysqlclient"),
    "psycopg": ("psycopg", "psycopg"),
    "psycopg_pool": ("psycopg_pool", "psycopg"),
    "pydantic_settings": ("pydantic_settings", "pydantic-settings"),
    "pymysql": ("pymysql", "pymysql"),
    "redis": ("redis", "redis"),
}
PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


@pytest.mark.parametrize("module", DRIVERS)
def test_the_extra_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, extra = DRIVERS[module]
    name = f"secretcache.integrations.{module}"
    monkeypatch.setitem(sys.modules, driver, None)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match=rf'needs .*pip install "secretcache\[{extra}\]"'):
        importlib.import_module(name)
    assert f"\n{extra} = [" in PYPROJECT.read_text()
