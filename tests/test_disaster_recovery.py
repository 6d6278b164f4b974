"""docs/disaster-recovery.md tells what happens when a replica was promoted and written to: it does."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from secretcache import Event, SecretCache
from secretcache.testing import FakeSecretsManager
from support import OSAKA, TOKYO

MINUTE = 60.0


@pytest.fixture
def promoted() -> Iterator[FakeSecretsManager]:
    """Osaka is where it is written, and Tokyo goes on showing what it has."""
    with FakeSecretsManager([TOKYO, OSAKA]) as manager:
        manager.put("prod/db", "old")
        manager.lag(TOKYO, math.inf)
        yield manager


def write_and_lose_osaka(manager: FakeSecretsManager, cache: SecretCache) -> list[str]:
    """What of the divergence is told, from the moment Osaka has a new value and is gone."""
    told: list[str] = []

    def tell(event: Event) -> None:
        if event.name == "divergence":
            told.append(str(event.region))

    cache.add_event_hook(tell)
    manager.put("prod/db", "new")
    assert cache.refresh("prod/db").string == "new"
    manager.fail_region(OSAKA, "refused")
    return told


def test_the_former_primary_takes_a_process_back_to_the_old_value(promoted: FakeSecretsManager) -> None:
    cache = promoted.cache(regions=[OSAKA, TOKYO], primary_region=TOKYO)
    write_and_lose_osaka(promoted, cache)
    promoted.clock.advance(10 * MINUTE)
    assert cache.get("prod/db").string == "old"


def test_without_a_primary_who_has_seen_the_change_keeps_the_new_value_for_fifteen_minutes_too(
    promoted: FakeSecretsManager,
) -> None:
    cache = promoted.cache(regions=[OSAKA, TOKYO])
    assert cache.get("prod/db").string == "old"
    told = write_and_lose_osaka(promoted, cache)
    promoted.clock.advance(14 * MINUTE)
    assert cache.get("prod/db").string == "new"
    assert set(told) <= {TOKYO}
    promoted.clock.advance(20 * MINUTE)
    assert cache.get("prod/db").string == "old", "row I's last resort: nothing else answers"
    assert set(told) == {TOKYO}


def test_who_has_not_seen_it_keeps_the_new_value_for_fifteen_minutes(promoted: FakeSecretsManager) -> None:
    cache = promoted.cache(regions=[OSAKA, TOKYO])
    told = write_and_lose_osaka(promoted, cache)
    promoted.clock.advance(14 * MINUTE)
    assert cache.get("prod/db").string == "new"
    promoted.clock.advance(20 * MINUTE)
    assert cache.get("prod/db").string == "old"
    assert set(told) == {TOKYO}


def test_with_osaka_alone_in_the_list_nobody_goes_back(promoted: FakeSecretsManager) -> None:
    cache = promoted.cache(regions=[OSAKA])
    write_and_lose_osaka(promoted, cache)
    promoted.clock.advance(60 * MINUTE)
    assert cache.get("prod/db").string == "new"


def test_a_silent_region_costs_a_cold_read_half_a_second_once() -> None:
    with FakeSecretsManager([OSAKA, TOKYO]) as manager:
        manager.put("prod/db", "one")
        manager.put("prod/api-key", "two")
        cache = manager.cache()
        manager.fail_region(OSAKA, "hang")
        began = manager.clock.now()
        assert cache.get("prod/db").region == TOKYO
        waited = manager.clock.now() - began
        assert cache.get("prod/api-key").region == TOKYO
        assert waited == pytest.approx(0.5)
        assert manager.clock.now() - began == waited
