"""What the log says: each thing once, structured, never a value."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from secretcache import Event, SecretUnavailableError
from secretcache._transport import Fault
from support import OSAKA, TOKYO, House, answer, failure

CANARY = "canary-1871-cassowary"


@pytest.fixture
def house() -> House:
    return House(ttl=10)


@pytest.fixture
def heard(house: House) -> list[Event]:
    told: list[Event] = []
    house.cache.add_event_hook(told.append)
    return told


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.DEBUG, "secretcache")
    yield caplog
    assert CANARY not in caplog.text


def records(log: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(one) for one in log.records if vars(one).get("secretcache_event") == event]


def stale(heard: list[Event]) -> list[tuple[str | None, str | None]]:
    return [(event.secret_id, event.outcome) for event in heard if event.name == "stale"]


def go_down(house: House) -> None:
    for region in (OSAKA, TOKYO):
        house.fails(region)


def come_back(house: House) -> None:
    for region in (OSAKA, TOKYO):
        house.says(region, "v1")


def test_a_stale_value_is_told_once_an_episode(house: House, heard: list[Event], log: pytest.LogCaptureFixture) -> None:
    house.cache.get("prod/db")
    for _ in range(2):
        go_down(house)
        house.runtime.advance(100)
        for _ in range(30):
            assert house.cache.get("prod/db").is_stale
            house.runtime.advance(10)
        come_back(house)
        while house.cache.get("prod/db").is_stale:
            house.runtime.advance(10)
        house.settle()
    assert stale(heard) == [("prod/db", "served"), ("prod/db", "over")] * 2
    first, over = records(log, "stale")[:2]
    assert (first["levelname"], over["levelname"]) == ("WARNING", "INFO")
    assert (first["secretcache_region"], first["secretcache_secret_id"]) == (OSAKA, "prod/db")
    assert first["secretcache_seconds"] == pytest.approx(100, abs=1)
    assert "no region answers; a value 100 s old stands in" in first["message"]


def test_hits_that_an_outage_makes_stale_are_told_at_the_next_retry() -> None:
    house = House(ttl=10, refresh="background")
    heard: list[Event] = []
    house.cache.add_event_hook(heard.append)
    house.cache.get("prod/db")
    go_down(house)
    house.pass_time(12)
    assert house.cache.get("prod/db").is_stale
    assert house.cache.stats().reads["hit"] == 1, "the outage was known when it was read"
    house.pass_time(60)
    assert stale(heard) == [("prod/db", "served")]


def test_what_nobody_reads_is_no_stale_value() -> None:
    house = House(ttl=10, refresh="background")
    heard: list[Event] = []
    house.cache.add_event_hook(heard.append)
    house.cache.get("prod/db")
    go_down(house)
    house.pass_time(120)
    assert stale(heard) == []


@pytest.mark.parametrize("ttl", [0, 10])
def test_a_healthy_region_makes_nothing_stale(ttl: float) -> None:
    house = House(ttl=ttl)
    heard: list[Event] = []
    house.cache.add_event_hook(heard.append)
    for _ in range(5):
        house.cache.get("prod/db")
        house.runtime.advance(11)
    assert stale(heard) == []
    assert set(house.cache.stats().reads) == {"hit", "fresh"}


def test_a_region_switch_and_a_breaker(house: House, log: pytest.LogCaptureFixture) -> None:
    house.cache.get("first")
    house.fails(OSAKA)
    for name in "abc":
        house.cache.get(name)
    house.settle()
    (switch,) = records(log, "failover")
    assert (switch["levelname"], switch["secretcache_region"]) == ("INFO", TOKYO)
    assert switch["secretcache_detail"] == f"answers now, instead of {OSAKA}"
    (opened,) = records(log, "breaker")
    assert (opened["levelname"], opened["secretcache_outcome"]) == ("WARNING", "open")


def test_a_rotation_names_versions_and_no_value(house: House, log: pytest.LogCaptureFixture) -> None:
    house.says(OSAKA, answer(OSAKA, CANARY, VersionId="1" * 32))
    house.cache.get("prod/db")
    house.says(OSAKA, answer(OSAKA, CANARY + "!", VersionId="2" * 32))
    house.cache.refresh("prod/db")
    house.settle()
    (rotation,) = records(log, "rotation")
    assert (rotation["levelname"], rotation["secretcache_outcome"]) == ("INFO", "2" * 32)
    assert rotation["secretcache_detail"] == f"AWSCURRENT is {'2' * 32}, was {'1' * 32}"


def test_a_login_that_was_bridged(house: House, log: pytest.LogCaptureFixture) -> None:
    house.cache._emit(Event("bridged", region=OSAKA, secret_id="prod/db", detail="AWSPENDING"))  # as `connect` does
    (bridged,) = records(log, "bridged")
    assert (bridged["levelname"], bridged["secretcache_secret_id"]) == ("INFO", "prod/db")
    assert bridged["secretcache_detail"] == "AWSPENDING"


def test_a_region_whose_versions_do_not_fit(log: pytest.LogCaptureFixture) -> None:
    house = House(ttl=10)
    house.says(OSAKA, answer(OSAKA, "x", VersionId="1" * 32))
    house.cache.get("prod/db")
    house.fails(OSAKA)
    house.says(TOKYO, answer(TOKYO, CANARY, VersionId="2" * 32))
    for _ in range(200):  # nobody can place it; after 15 minutes it is taken
        house.runtime.advance(10)
        with suppress(SecretUnavailableError):
            house.cache.get("prod/db")
        house.settle()
    diverged = records(log, "divergence")
    assert diverged
    assert {one["levelname"] for one in diverged} == {"WARNING"}
    assert {one["secretcache_region"] for one in diverged} == {TOKYO}


def test_an_outage_is_logged_once_a_minute(house: House, log: pytest.LogCaptureFixture) -> None:
    for region in (OSAKA, TOKYO):
        house.says(region, failure(Fault.THROTTLED, "ThrottlingException"))
    for number in range(50):
        house.patiently(partial(fails, house, f"s{number}"))
        house.runtime.advance(1)
    by_region = [one["secretcache_region"] for one in records(log, "throttled")]
    assert 2 <= len(by_region) <= 2 * (house.runtime.now() - 1000) / 60 + 2


def fails(house: House, name: str) -> None:
    with pytest.raises(Exception, match="no region could answer"):
        house.cache.get(name)
