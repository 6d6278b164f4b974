"""AWS Lambda SnapStart: what was in the snapshot is not trusted after a restore."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from secretcache import _fork
from support import OSAKA, House


def test_after_a_restore_ages_clients_and_chance_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[Callable[[], None]] = []
    lambdas_own = ModuleType("snapshot_restore_py")
    lambdas_own.register_after_restore = registered.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", lambdas_own)
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    _fork._register_restore.cache_clear()
    house = House()
    house.cache.get("prod/db")
    engine = house.cache._engine
    house.says(OSAKA, "v2")
    (restored,) = registered
    restored()
    assert house.cache._engine is not engine
    assert house.cache.stats().entries == 0
    assert house.cache.get("prod/db").string == "v2"
    House()
    assert len(registered) == 1


def test_without_snapstart_nothing_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    _fork._register_restore.cache_clear()
    House()
    assert _fork._register_restore.cache_info().misses == 0


def test_where_lambda_has_no_such_module_a_cache_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", None)
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    _fork._register_restore.cache_clear()
    assert House().cache.get("prod/db").string == "v1"
