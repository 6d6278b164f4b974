"""One breaker by itself, on a clock that is a number."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretcache._regions.breaker import Breaker, Permit, State
from secretcache._regions.policy import RegionPolicy

POLICY = RegionPolicy()
PERMIT_LIFE = POLICY.making_cap + POLICY.attempt_cap + 2


def breaker(chance: float = 1.0) -> Breaker:
    """Without jitter, that is: the whole open time."""
    return Breaker(POLICY, lambda: chance, 0.0)


def trip(one: Breaker, now: float = 0.0) -> Breaker:
    for _ in range(POLICY.failures_in_a_row):
        one.failed(now, None)
    assert one.state is State.OPEN
    return one


def probe(one: Breaker, now: float) -> Permit:
    permit = one.permit(now, last_chance=False)
    assert permit is not None
    return permit


def chance(one: Breaker, now: float) -> Permit:
    permit = one.permit(now, last_chance=True)
    assert permit is not None
    return permit


def recover(one: Breaker) -> float:
    """Closes it by two good probes, each sent when it is due; returns when it closed."""
    for _ in range(POLICY.good_probes):
        assert not one.closed
        now = one.probe_at
        one.succeeded(now, probe(one, now), alone=False)
    assert one.closed
    return now


# What opens it.


def test_one_failure_among_calls_all_over_a_minute_opens_nothing() -> None:
    one = breaker()
    for number in range(POLICY.ratio_calls):
        one.succeeded(number * 9.0, None, alone=False)
    one.failed(50.0, None)
    assert one.closed


def test_three_failures_in_a_row_open_it() -> None:
    one = breaker()
    one.failed(1, None)
    one.failed(2, None)
    assert one.closed
    one.failed(3, None)
    assert (one.state, one.since, one.failures) == (State.OPEN, 3, 3)


def test_a_success_begins_the_row_anew() -> None:
    one = breaker()
    for now in (0, 20):
        one.failed(now, None)
        one.failed(now, None)
        one.succeeded(now, None, alone=False)
        assert (one.state, one.failures) == (State.CLOSED, 0)


def test_half_of_six_calls_in_a_minute_open_it() -> None:
    one = breaker()
    for second in range(2):
        one.succeeded(second, None, alone=False)
        one.failed(second, None)
    one.succeeded(3, None, alone=False)
    assert one.closed
    one.failed(4, None)
    assert one.state is State.OPEN


def test_fewer_than_half_or_fewer_than_six_calls_do_not() -> None:
    few, many = breaker(), breaker()
    for second in range(2):
        few.succeeded(second, None, alone=False)
        few.failed(second, None)
    few.failed(3, None)
    assert few.closed, "three of five"
    for second in range(50):
        many.succeeded(second, None, alone=False)
        if second % 2:
            many.succeeded(second, None, alone=False)
            many.failed(second, None)
    assert many.closed, "a third of 75"


@pytest.mark.parametrize(("at", "state"), [(59.9, State.OPEN), (60.0, State.CLOSED)])
def test_what_is_a_minute_old_counts_no_more(at: float, state: State) -> None:
    one = breaker()
    one.failed(0, None)
    one.failed(0, None)
    one.succeeded(0, None, alone=False)
    one.succeeded(0, None, alone=False)
    one.succeeded(0, None, alone=False)
    one.failed(at, None)
    assert one.state is state


def test_the_window_is_bounded_however_long_it_runs() -> None:
    one = breaker()
    for now in range(100_000):
        one.succeeded(now, None, alone=False)
    assert len(one._window._buckets) <= 12


# How long it is open.


@pytest.mark.parametrize(("chance", "part"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_the_open_time_grows_from_5_to_60_seconds_times_a_half_to_one_at_random(chance: float, part: float) -> None:
    one, now, seconds = trip(breaker(chance)), 0.0, []
    for _ in range(7):
        seconds.append(one.probe_at - now)
        now = one.probe_at
        one.failed(now, probe(one, now))
    assert seconds == [one * part for one in (5, 10, 20, 40, 60, 60, 60)]


def test_a_thousand_openings_overflow_nothing() -> None:
    one, now = trip(breaker()), 0.0
    for _ in range(2000):
        now = one.probe_at
        one.failed(now, probe(one, now))
    assert one.probe_at == now + POLICY.open_longest


def test_a_failure_in_the_dwell_opens_it_for_longer() -> None:
    one = trip(breaker())
    closed_at = recover(one)
    one.failed(closed_at + POLICY.dwell - 0.1, None)
    assert one.state is State.OPEN, "one is enough"
    assert one.probe_at == pytest.approx(closed_at + POLICY.dwell - 0.1 + 2 * POLICY.open_first)


def test_after_a_calm_dwell_it_begins_anew() -> None:
    one = trip(breaker())
    now = recover(one) + POLICY.dwell
    one.failed(now, None)
    one.failed(now, None)
    assert one.closed
    one.failed(now, None)
    assert one.probe_at == now + POLICY.open_first


def test_failures_from_before_it_opened_do_not_count_after_it_closed() -> None:
    one = trip(breaker())
    now = recover(one) + POLICY.dwell
    for _ in range(2):
        one.succeeded(now, None, alone=False)
    one.failed(now, None)
    assert one.closed, "one of three, not four of six"


# Who may pass while it is open.


def test_closed_it_gives_no_permits() -> None:
    assert breaker().permit(0, last_chance=False) is None
    assert breaker().permit(0, last_chance=True) is None


def test_a_probe_passes_when_it_is_due_and_no_other_beside_it() -> None:
    one = trip(breaker())
    assert one.permit(4.9, last_chance=False) is None
    assert one.state is State.OPEN
    permit = probe(one, 5)
    assert (one.state, one.since) == (State.HALF_OPEN, 5)
    assert one.permit_outstanding(5)
    assert one.permit(6, last_chance=False) is None
    assert one.permit(6, last_chance=True) is None
    one.failed(6, permit)
    assert not one.permit_outstanding(6)


def test_the_last_chance_does_not_wait_until_a_probe_is_due() -> None:
    one = trip(breaker())
    permit = chance(one, 1)
    assert one.state is State.OPEN
    assert one.permit(1, last_chance=True) is None
    assert one.permit(5, last_chance=False) is None, "a probe would be a second request"
    one.failed(5.5, permit)
    assert probe(one, 5.5)


def test_a_last_chance_that_fails_puts_no_probe_off() -> None:
    one = trip(breaker())
    for now in range(1, 5):
        one.failed(now, chance(one, now))
    assert (one.probe_at, one.failures) == (5, 7)


def test_a_permit_that_is_lost_expires() -> None:
    one = trip(breaker())
    lost = probe(one, 5)
    assert one.permit_until() == 5 + PERMIT_LIFE
    assert one.permit(5 + PERMIT_LIFE - 0.1, last_chance=False) is None
    assert probe(one, 5 + PERMIT_LIFE) is not lost


def test_a_permit_given_back_counts_as_nothing() -> None:
    one = trip(breaker())
    one.give_back(5.5, probe(one, 5))
    assert (one.state, one.failures) == (State.HALF_OPEN, 3)
    assert one.permit(5.5, last_chance=False) is None, "no storm of probes that cannot be sent"
    one.succeeded(6.5, probe(one, 5.5 + POLICY.probe_pause), alone=False)
    assert one.state is State.HALF_OPEN, "one good probe, not two"


def test_a_last_chance_given_back_leaves_the_next_probe_where_it_was() -> None:
    one = trip(breaker())
    one.give_back(1, chance(one, 1))
    assert one.probe_at == POLICY.open_first


def test_what_had_no_permit_gives_none_back_and_puts_no_probe_off() -> None:
    one = trip(breaker())
    due = one.probe_at
    one.give_back(due - 0.5, None)
    assert one.probe_at == due


def test_giving_back_twice_or_late_takes_nothing_from_others() -> None:
    one = trip(breaker())
    lost = probe(one, 5)
    now = lost.until
    current = probe(one, now)
    one.give_back(now, lost)
    one.give_back(now, None)
    assert one.permit_outstanding(now)
    one.give_back(now, current)
    probe(one, now + POLICY.probe_pause)
    one.give_back(now + POLICY.probe_pause, current)
    assert one.permit_outstanding(now + POLICY.probe_pause)


def test_results_without_the_permit_change_nothing() -> None:
    one = trip(breaker())
    lost = probe(one, 5)
    now = lost.until
    probe(one, now)
    before = (one.probe_at, one.failures, one.since)
    for late in (None, lost):
        for _ in range(5):
            one.succeeded(now, late, alone=False)
            one.succeeded(now, late, alone=True)
            one.failed(now, late)
    assert one.state is State.HALF_OPEN
    assert one.permit_outstanding(now)
    assert (one.probe_at, one.failures, one.since) == before


def test_a_permit_counts_once() -> None:
    one = trip(breaker())
    permit = probe(one, 5)
    one.succeeded(5, permit, alone=False)
    one.succeeded(5, permit, alone=False)
    assert one.state is State.HALF_OPEN


def test_a_result_that_comes_late_counts_as_long_as_no_other_permit_was_given() -> None:
    one = trip(breaker())
    late = probe(one, 5)
    one.failed(late.until + 1, late)
    assert one.state is State.OPEN


# What closes it.


def test_two_good_probes_a_second_apart_close_it_and_then_it_dwells() -> None:
    one = trip(breaker())
    one.succeeded(5.1, probe(one, 5), alone=False)
    assert one.state is State.HALF_OPEN
    assert one.since == 5
    assert one.permit(6, last_chance=False) is None
    one.succeeded(6.2, probe(one, 6.1), alone=False)
    assert (one.state, one.since, one.failures) == (State.CLOSED, 6.2, 0)
    assert one.dwells(6.2 + POLICY.dwell - 0.1)
    assert not one.dwells(6.2 + POLICY.dwell)


def test_a_bad_probe_after_a_good_one_begins_anew() -> None:
    one = trip(breaker())
    one.succeeded(5, probe(one, 5), alone=False)
    one.failed(6, probe(one, 6))
    assert (one.state, one.probe_at) == (State.OPEN, 6 + 2 * POLICY.open_first)
    one.succeeded(16, probe(one, 16), alone=False)
    assert one.state is State.HALF_OPEN


def test_where_no_other_region_answers_one_success_closes_it_and_it_does_not_dwell() -> None:
    one = trip(breaker())
    one.succeeded(1, chance(one, 1), alone=True)
    assert one.closed
    assert not one.dwells(1)


def test_one_that_never_opened_does_not_dwell() -> None:
    assert not breaker().dwells(0)


# Whatever the order of events.

_EVENTS = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 100)),
    st.tuples(st.sampled_from(["probe", "chance"]), st.just(0.0)),
    st.tuples(st.sampled_from(["good", "bad", "back", "alone"]), st.floats(0, 1)),
    st.tuples(st.sampled_from(["ordinary good", "ordinary bad"]), st.just(0.0)),
)


class Driven:
    """A breaker, and every permit it has given."""

    def __init__(self, chance: float) -> None:
        self.breaker = breaker(chance)
        self.now = 0.0
        self.given: list[Permit] = []
        self.ended: set[Permit] = set()

    def do(self, what: str, number: float) -> None:
        one, now = self.breaker, self.now
        if what == "wait":
            self.now += number
        elif what in ("probe", "chance"):
            self._ask(last_chance=what == "chance")
        elif what == "ordinary good":
            one.succeeded(now, None, alone=False)
        elif what == "ordinary bad":
            one.failed(now, None)
        elif self.given:
            self._end(what, self.given[int(number * (len(self.given) - 1))])

    def _ask(self, *, last_chance: bool) -> None:
        out = [one for one in self.given if one not in self.ended and self.now < one.until]
        assert len(out) <= 1
        permit = self.breaker.permit(self.now, last_chance=last_chance)
        if permit is not None:
            assert not out, "10: at most one outstanding"
            assert permit not in self.given
            self.given.append(permit)

    def _end(self, what: str, permit: Permit) -> None:
        if what == "bad":
            self.breaker.failed(self.now, permit)
        elif what == "back":
            self.breaker.give_back(self.now, permit)
        else:
            self.breaker.succeeded(self.now, permit, alone=what == "alone")
        self.ended.add(permit)

    def check(self) -> None:
        one, now = self.breaker, self.now
        assert one.state in State
        assert one.since <= now
        assert one.failures >= 0
        assert one.permit_until() <= now + PERMIT_LIFE
        if not one.closed:
            assert one.probe_at <= now + POLICY.open_longest
            assert not one.dwells(now)
        assert one.preferred_at <= now + POLICY.dwell

    def recovers(self) -> None:
        """10: no permit leaks. Once all is well again, it closes within the open time and what was lost."""
        one = self.breaker
        for _ in range(POLICY.good_probes):
            if not one.closed:
                at = max(self.now, one.probe_at, one.permit_until())
                assert at <= self.now + max(POLICY.open_longest, PERMIT_LIFE)
                self.now = at
                one.succeeded(at, probe(one, at), alone=False)
        assert one.closed


@given(st.lists(_EVENTS, max_size=60), st.floats(0, 1))
def test_whatever_happens_there_is_one_permit_at_most_and_it_always_finds_back(
    events: list[tuple[str, float]], chance: float
) -> None:
    driven = Driven(chance)
    for what, number in events:
        driven.do(what, number)
        driven.check()
    driven.recovers()


@given(st.lists(st.booleans(), max_size=200), st.floats(0, 1))
def test_the_times_between_probes_never_shrink_in_one_outage(late: list[bool], chance: float) -> None:
    one, now, seconds = trip(breaker(chance)), 0.0, [0.0]
    for waits in late:
        seconds.append(one.probe_at - now)
        now = one.probe_at + waits
        one.failed(now, probe(one, now))
    assert all(first <= second + 1e-9 for first, second in pairwise(seconds))
