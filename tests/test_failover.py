"""Through the facade, on the manual clock: a region fails, its breaker opens, the background finds it back."""

from __future__ import annotations

import pytest

from secretcache import SecretUnavailableError
from secretcache._regions.policy import RegionPolicy
from secretcache._transport import Fault
from support import OSAKA, TOKYO, House, InThread, answer, failure

POLICY = RegionPolicy(retries=0)
LONGEST_FIRST = POLICY.open_first  # the first open time, whatever the jitter


def state(house: House, region: str = OSAKA) -> str:
    return house.cache.region_health()[region].state


def with_osaka_open(refresh: str = "background") -> House:
    """Secrets a, b and c have found that Osaka fails."""
    house = House(refresh=refresh, ttl=1000, _policy=POLICY)
    house.fails(OSAKA)
    for name in "abc":
        assert state(house) == "closed"
        house.cache.get(name)
    assert state(house) == "open"
    house.rest()
    house.regions.calls.clear()
    return house


def until_asked(house: House, region: str, at_most: float) -> None:
    """Moves the clock until the background has asked a region whose requests are held."""
    end = house.runtime.now() + at_most
    while not house.regions.gates and house.runtime.now() < end:
        house.pass_time(0.25, step=0.25)
    assert house.regions.gate().call.region == region


def test_after_three_failures_reads_go_elsewhere_at_once() -> None:
    house = with_osaka_open()
    assert house.cache.get("d").region == TOKYO
    assert house.regions.asked() == [TOKYO]


def test_no_reader_waits_for_a_probe() -> None:
    house = with_osaka_open()
    house.regions.hold(OSAKA)
    until_asked(house, OSAKA, LONGEST_FIRST)
    assert state(house) == "half-open"
    waits = house.cache.stats().waits
    held, cold = house.cache.get("a"), house.cache.get("d")
    assert (held.region, cold.region) == (TOKYO, TOKYO)
    assert house.cache.stats().waits == waits + 1, "the cold read, for Tokyo"
    assert len(house.regions.gates) == 1
    house.regions.gate().answer(failure())


def test_a_probe_asks_for_the_secret_read_last() -> None:
    house = with_osaka_open()
    house.runtime.advance(0.5)
    house.cache.get("b")
    house.regions.hold(OSAKA)
    until_asked(house, OSAKA, LONGEST_FIRST)
    assert house.regions.gate().call.query.secret.name == "b"
    house.regions.gate().answer(answer(OSAKA, "v1", "b"))


def test_two_good_probes_close_the_breaker_and_after_the_dwell_the_region_is_back_in_its_place() -> None:
    house = with_osaka_open()
    house.says(OSAKA, "v1")
    while state(house) != "closed":
        house.pass_time(0.25, step=0.25)
    assert house.regions.asked() == [OSAKA, OSAKA]
    assert house.cache.get("in/the/dwell").region == TOKYO
    house.pass_time(POLICY.dwell - 0.25, step=0.25)
    assert house.cache.get("still/in/the/dwell").region == TOKYO
    house.pass_time(0.25)
    assert house.cache.get("after/the/dwell").region == OSAKA


def test_a_probe_that_keeps_silent_is_one_failure_at_its_cap() -> None:
    house = with_osaka_open()
    house.regions.hold(OSAKA)
    until_asked(house, OSAKA, LONGEST_FIRST)
    house.pass_time(POLICY.attempt_cap - 0.25, step=0.25)
    assert state(house) == "half-open"
    house.pass_time(0.5, step=0.25)
    health = house.cache.region_health()[OSAKA]
    assert (health.state, health.failures_in_a_row, health.stuck_attempts) == ("open", 4, 1)
    assert health.next_probe_seconds is not None
    assert health.next_probe_seconds > LONGEST_FIRST
    house.regions.gate().answer(answer(OSAKA, "v1", "c"))
    house.until(lambda: not house.cache.region_health()[OSAKA].stuck_attempts)
    assert state(house) == "open", "a late answer closes nothing"


def test_the_next_probe_comes_after_a_longer_time() -> None:
    house = with_osaka_open()
    house.pass_time(100, step=0.25)
    # 3.75, 7.5, 15, 30, 45: half-way through the jitter.
    assert len(house.regions.calls) == 4
    assert state(house) == "open"


@pytest.mark.parametrize("in_preparation", [False, True])
def test_a_probe_that_cannot_be_sent_is_tried_again_once_a_second(
    monkeypatch: pytest.MonkeyPatch, *, in_preparation: bool
) -> None:
    house = with_osaka_open()
    tries = []
    unsent = failure(Fault.LOCAL, "NoMeans")

    def prepare(region: str) -> object:
        tries.append(region)
        return unsent

    if in_preparation:
        monkeypatch.setattr(house.regions, "prepare", prepare)
    house.says(OSAKA, unsent)
    house.pass_time(LONGEST_FIRST + 10, step=0.25)
    assert 9 <= len(tries) + len(house.regions.calls) <= 13


def test_probes_toward_a_region_whose_threads_are_all_stuck_stop_nothing() -> None:
    house = with_osaka_open()
    house.regions.hold(OSAKA)
    house.pass_time(150, step=0.5)
    assert house.cache.region_health()[OSAKA].stuck_attempts == 4
    house.pass_time(100, step=0.5)  # the next would be the fifth
    assert house.cache.get("d").region == TOKYO
    house.regions.hold()
    for gate in house.regions.gates:
        gate.answer(answer(OSAKA, "v1", gate.call.query.secret.name))
    house.until(lambda: not house.cache.region_health()[OSAKA].stuck_attempts)
    house.says(OSAKA, "v1")
    house.pass_time(3, step=0.25)
    assert state(house) == "closed"


def test_on_access_a_read_is_the_occasion_for_a_probe_and_does_not_wait_for_it() -> None:
    house = with_osaka_open("on_access")
    house.regions.hold(OSAKA)
    house.cache.get("too/early")
    assert house.regions.asked() == [TOKYO]
    house.runtime.advance(LONGEST_FIRST)
    assert house.cache.get("d").region == TOKYO
    gate = house.regions.gate()
    assert gate.call.query.secret.name == "d"
    assert house.cache.get("e").region == TOKYO
    assert len(house.regions.gates) == 1, "one at a time"
    gate.answer(answer(OSAKA, "v1", "d"))
    house.until(lambda: not house.cache._engine._loads.board._regions[OSAKA].breaker.permit_until() > 0)
    house.regions.hold()
    house.says(OSAKA, "v1")
    house.runtime.advance(POLICY.probe_pause)
    house.cache.get("f")
    house.until(lambda: state(house) == "closed")
    house.runtime.advance(POLICY.dwell)
    assert house.cache.get("g").region == OSAKA


def test_when_every_region_is_open_cold_reads_share_an_attempt_and_its_success_releases_all() -> None:
    house = House(ttl=1000, _policy=POLICY, refresh="on_access")
    house.fails(OSAKA)
    house.fails(TOKYO)
    for name in "abc":
        with pytest.raises(SecretUnavailableError):
            house.cache.get(name)
    assert {state(house, region) for region in (OSAKA, TOKYO)} == {"open"}
    house.regions.calls.clear()
    house.regions.hold(OSAKA, TOKYO)
    readers = [InThread(lambda number=number: house.cache.get(f"d{number}")) for number in range(5)]  # type: ignore[misc]
    gate = house.regions.gate()
    house.runtime.until_waiting(5)
    assert len(house.regions.calls) == 1
    house.regions.hold()
    house.says(gate.call.region, "v1")
    gate.answer(answer(gate.call.region, "v1", gate.call.query.secret.name))
    assert {reader.result().region for reader in readers} == {gate.call.region}
    assert state(house, gate.call.region) == "closed"


@pytest.mark.parametrize("refresh", ["background", "on_access"])
@pytest.mark.parametrize(("comes", "timeout"), [(0.25, 5.0), (2.0, 5.0), (0.25, 2.0)])
def test_a_cold_read_waits_for_a_request_that_is_on_its_way_to_the_only_region(
    refresh: str, comes: float, timeout: float
) -> None:
    house = House([OSAKA], ttl=1000, timeout=timeout, _policy=POLICY, refresh=refresh)
    house.fails(OSAKA)
    for name in "abc":
        with pytest.raises(SecretUnavailableError):
            house.cache.get(name)
    assert state(house) == "open"
    house.regions.hold(OSAKA)
    first = InThread(lambda: house.cache.get("d"))
    gate = house.regions.gate()
    house.runtime.until_waiting(1)
    house.runtime.advance(comes)
    second = InThread(lambda: house.cache.get("e"))
    house.runtime.until_waiting(2)
    assert len(house.regions.calls) == 4, "11: it is not refused without an attempt, and shares this one"
    house.regions.hold()
    house.says(OSAKA, "v1")
    gate.answer(answer(OSAKA, "v1", "d"))
    assert (first.result().string, second.result().string) == ("v1", "v1")


def test_where_that_request_reaches_its_cap_the_next_one_has_its_chance() -> None:
    house = House([OSAKA], ttl=1000, timeout=5.0, _policy=POLICY)
    house.fails(OSAKA)
    for name in "abc":
        with pytest.raises(SecretUnavailableError):
            house.cache.get(name)
    house.regions.hold(OSAKA)
    first = InThread(lambda: house.cache.get("d", timeout=0.5))
    gate = house.regions.gate()
    house.runtime.until_waiting(1)
    second = InThread(lambda: house.cache.get("e"))
    house.runtime.until_waiting(2)
    house.runtime.advance(0.5)
    with pytest.raises(SecretUnavailableError):
        first.result()
    house.regions.hold()
    house.says(OSAKA, "v1")
    house.runtime.until_waiting_for(POLICY.attempt_cap - 0.5)
    house.runtime.advance(POLICY.attempt_cap - 0.5)
    assert second.result().string == "v1"
    gate.answer(failure())
