"""The walk over the regions, by itself: pure decisions given the time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from secretcache._regions.route import ATTEMPT_CAP, Leg, Route
from secretcache._transport import Failure, Fault


def route(regions: int = 2, timeout: float = 5.0, caller: float = 5.0) -> Route:
    return Route([f"region-{number}" for number in range(regions)], 0.0, timeout, caller)


def begin(one: Route, now: float) -> Leg:
    leg = one.due(now)
    assert leg is not None
    leg.started_at = now
    return leg


def test_one_region_at_a_time_while_it_may_still_answer() -> None:
    one = route()
    first = begin(one, 0)
    assert one.due(2.4) is None
    assert one.wake_at(0) == 2.5
    assert not first.reach_cap(2.4)
    assert first.reach_cap(2.5)
    assert begin(one, 2.5).region == "region-1"


def test_a_failure_brings_the_next_region_at_once() -> None:
    one = route()
    begin(one, 0).end(0.1, Failure(Fault.REGION, "x", ""))
    assert one.due(0.1) is not None


def test_an_attempt_no_thread_has_taken_up_is_not_judged_and_nobody_looks_in_vain() -> None:
    one = route()
    leg = one.due(0)
    assert leg is not None
    assert one.wake_at(0) == 2.5
    assert one.due(2.5) is not None, "the next region's turn comes all the same"
    assert not leg.reach_cap(4)
    assert one.wake_at(4) == 5, "not a moment that has passed"
    assert one.verdict(4.9) is None
    assert one.verdict(5) is not None


def test_a_hurried_caller_shortens_the_wait_and_not_the_cap() -> None:
    leg = begin(route(caller=0.2), 0)
    assert (leg.patience, leg.cap) == (0.1, 2.5)


def test_a_route_is_worth_joining_while_there_is_time_for_half_an_attempt() -> None:
    assert route().worth_joining(3.75)
    assert not route().worth_joining(3.76)
    assert route(timeout=1).worth_joining(0.5)
    assert not route(timeout=1).worth_joining(0.51)


@given(st.integers(1, 12), st.floats(0.1, 30))
def test_every_region_gets_a_turn_within_the_deadline_when_all_are_silent(regions: int, timeout: float) -> None:
    one = route(regions, timeout, timeout)
    now, turns = 0.0, 0
    while one.verdict(now) is None:
        while leg := one.due(now):
            leg.started_at = now
            turns += 1
            assert leg.cap <= ATTEMPT_CAP
        later = one.wake_at(now)
        assert now < later <= timeout
        now = later
        for leg in one.legs:
            leg.reach_cap(now)
    assert turns == regions
    assert now <= timeout
