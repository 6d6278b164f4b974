"""The primary is lost before its last rotation was replicated: what the promoted replica shows is what works."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secretcache import Event, Secret
from support import NOTHING_REMEMBERED, OSAKA, TOKYO, House, failure
from test_newer_than import shows

NAME = "prod/db"
WAIT = 900.0


class Disaster:
    """v2 was read from Tokyo. Then Tokyo is lost, and Osaka shows v1."""

    def __init__(self, *, primary: str | None = TOKYO, refresh: str = "background", **options: object) -> None:
        self.house = House(primary_region=primary, ttl=60.0, refresh=refresh, **options)  # type: ignore[arg-type]
        house, self.events = self.house, list[Event]()
        self.hooked: list[tuple[str, str]] = []
        house.fails(OSAKA)
        shows(house, TOKYO, "v1", "v0")
        house.cache.get(NAME)
        shows(house, TOKYO, "v2", "v1")
        house.cache.refresh(NAME)
        house.cache.add_event_hook(self.events.append)
        house.cache.add_rotation_hook(NAME, lambda event: self.hooked.append((event.old.string, event.new.string)))
        house.fails(TOKYO)
        shows(house, OSAKA, "v1", "v0")

    def value(self) -> str:
        return self.house.cache.get(NAME).string

    def told(self) -> list[str]:
        return [f"{event.name} {event.detail}" for event in self.events if event.name == "divergence"]


@pytest.mark.parametrize("primary", [TOKYO, None])
def test_after_a_quarter_of_an_hour_what_the_regions_that_answer_show_is_taken(primary: str | None) -> None:
    one = Disaster(primary=primary)
    one.house.pass_time(60.0 + WAIT - 1, step=5.0)
    assert one.value() == "v2", "until then it may be a replica that lags"
    one.house.pass_time(3 * 60.0, step=5.0)
    assert one.value() == "v1"
    one.house.until(lambda: one.hooked == [("v2", "v1")])
    assert any("is taken" in told for told in one.told()), one.events


def test_a_region_that_was_not_asked_for_long_is_not_lost() -> None:
    """The process was idle, as a frozen Lambda is: one failure of Tokyo is no quarter of an hour without it."""
    one = Disaster(refresh="on_access", _policy=NOTHING_REMEMBERED)
    one.house.runtime.advance(10 * WAIT)
    assert one.value() == "v2"
    one.house.runtime.advance(5.0)
    assert one.value() == "v2"
    shows(one.house, TOKYO, "v2", "v1")
    one.house.runtime.advance(WAIT + 5)
    assert one.value() == "v2"
    assert one.hooked == []


def test_a_region_that_refuses_the_secret_is_not_lost() -> None:
    """It answers: row C decides how long the value stands in."""
    one = Disaster()
    one.house.says(TOKYO, failure()._replace(answered=True))
    one.house.pass_time(WAIT + 5 * 60.0, step=5.0)
    assert one.value() == "v2"


def test_the_primary_that_comes_back_is_believed() -> None:
    one = Disaster()
    one.house.pass_time(WAIT + 4 * 60.0, step=5.0)
    assert one.value() == "v1"
    shows(one.house, TOKYO, "v2", "v1")
    one.house.pass_time(4 * 60.0, step=5.0)
    assert one.value() == "v2"


def candidates() -> list[Callable[[House, Secret], str]]:
    def refreshed(house: House, held: Secret) -> str:
        return house.cache.refresh(NAME, newer_than=held.version_id).string

    def for_a_login(house: House, held: Secret) -> str:
        return house.cache._fresh(NAME, newer_than=held.version_id, timeout=5.0).string

    return [refreshed, for_a_login]


@pytest.mark.parametrize("read", candidates())
@pytest.mark.parametrize("primary", [TOKYO, None])
def test_who_has_a_version_that_does_not_work_gets_what_the_region_shows_that_answers(
    read: Callable[[House, Secret], str], primary: str | None
) -> None:
    one = Disaster(primary=primary, refresh="on_access", _policy=NOTHING_REMEMBERED)
    held = one.house.cache.get(NAME)
    assert held.string == "v2"
    assert read(one.house, held) == "v1", "a candidate"
    assert one.value() == "v2", "and not what get() returns"
    assert one.hooked == []


@pytest.mark.parametrize("regions", [(TOKYO, OSAKA), (OSAKA, TOKYO)], ids=str)
def test_a_lagging_replica_is_no_candidate_while_the_region_that_showed_the_version_shows_it(
    regions: tuple[str, ...],
) -> None:
    one = Disaster(primary=None, refresh="on_access", regions=regions, _policy=NOTHING_REMEMBERED)
    shows(one.house, TOKYO, "v2", "v1")
    held = one.house.cache.get(NAME)
    calls = len(one.house.regions.calls)
    assert one.house.cache.refresh(NAME, newer_than=held.version_id).string == "v2"
    assert {*one.house.regions.asked()[calls:]} == {OSAKA, TOKYO}
