"""A login in a rotation while the first region is silent, on a clock that waits move by themselves: how long is it?"""

from __future__ import annotations

import pytest

from secretcache.testing import FakeDatabase, FakeSecretsManager
from support import OSAKA, TOKYO

HEDGE = 0.5
"""Seconds of silence after which another region is asked as well."""
SHORTLY = HEDGE + 0.2


@pytest.mark.parametrize("named", [None, OSAKA, TOKYO])
@pytest.mark.parametrize("until", ["set", "finish"])
@pytest.mark.parametrize("known", [True, False])
def test_a_login_waits_no_longer_than_the_hedging_delay_for_a_silent_region(
    named: str | None, until: str, *, known: bool
) -> None:
    with FakeSecretsManager([OSAKA, TOKYO]) as manager:
        manager.put("prod/db", {"username": "app", "password": "one"})
        database = FakeDatabase(manager, "prod/db")
        cache = manager.cache(primary_region=named)

        def log_in() -> float:
            begun = manager.clock.now()
            cache.connect("prod/db", database.log_in, is_auth_error=database.is_auth_error)
            return manager.clock.now() - begun

        log_in()
        if known:
            cache.refresh("prod/db")
        rotation = manager.rotate("prod/db", {"username": "app", "password": "two"}, until="set")
        if until == "finish":
            rotation.finish()
        manager.fail_region(OSAKA, "hang")
        assert log_in() <= SHORTLY
        assert log_in() <= SHORTLY
        assert database.accepted == 3


@pytest.mark.parametrize("named", [None, OSAKA, TOKYO])
def test_a_refresh_waits_no_longer_than_the_hedging_delay_for_a_silent_region(named: str | None) -> None:
    with FakeSecretsManager([OSAKA, TOKYO]) as manager:
        manager.put("prod/db", "one")
        cache = manager.cache(primary_region=named)
        held = cache.get("prod/db").version_id
        manager.fail_region(OSAKA, "hang")
        begun = manager.clock.now()
        assert cache.refresh("prod/db").region == TOKYO
        assert manager.clock.now() - begun <= SHORTLY
        manager.clock.advance(60)
        begun = manager.clock.now()
        assert cache.refresh("prod/db", newer_than=held).version_id == held
        assert manager.clock.now() - begun <= SHORTLY
