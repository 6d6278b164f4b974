"""What is known of each region, and which may be asked for it: on a clock that is a number."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretcache._ids import Query, SecretId
from secretcache._regions.board import Board
from secretcache._regions.breaker import Permit
from secretcache._regions.health import RegionHealth
from secretcache._regions.policy import RegionPolicy
from secretcache._transport import OF_THE_SECRET, Failure, Fault

POLICY = RegionPolicy()
NAMES = ("first", "second", "third")
QUERY = Query(SecretId("prod/db"))
FAILED = Failure(Fault.REGION, "InternalServiceError", "", cause=OSError("the last region fault"))
NOT_A_REGION_FAULT = [fault for fault in Fault if fault is not Fault.REGION]


def board(names: tuple[str, ...] = NAMES, chance: float = 1.0) -> Board:
    return Board(names, POLICY, lambda: chance, lambda: 0.0)


def says(fault: Fault, *, answered: bool = True, retry_after: float = 0.0) -> Failure:
    return Failure(fault, "Code", "", answered=answered, retry_after=retry_after)


def record(
    one: Board,
    name: str,
    failure: Failure | None,
    now: float,
    *,
    query: Query | None = QUERY,
    permit: Permit | None = None,
) -> None:
    one.record(name, query, failure, now, sent_at=now, permit=permit)


def trip(one: Board, *names: str, now: float = 0.0) -> Board:
    for name in names:
        for _ in range(POLICY.failures_in_a_row):
            record(one, name, FAILED, now)
        assert state(one, name) == "open"
    return one


def choose(one: Board, now: float, query: Query = QUERY, *, avoid_suspects: bool = True) -> str | None:
    return one.choose(NAMES, query, now, avoid_suspects=avoid_suspects)


def health(one: Board, name: str = "first", now: float = 0.0) -> RegionHealth:
    return one.health(name, "host", 0, now)


def state(one: Board, name: str = "first") -> str:
    return health(one, name).state


def recover(one: Board, name: str = "first") -> float:
    for _ in range(POLICY.good_probes):
        now = one.next_probe_at()
        assert one.probe_due(now) == name
        record(one, name, None, now, permit=one.probe(name, now))
    assert state(one, name) == "closed"
    return now


# The order.


def test_the_first_listed_is_asked_first_and_only_candidates_are() -> None:
    one = board()
    assert choose(one, 0) == "first"
    assert one.choose(["third", "second"], QUERY, 0, avoid_suspects=True) == "third"
    assert one.choose([], QUERY, 0, avoid_suspects=True) is None


def test_an_open_region_is_not_asked_at_all() -> None:
    one = trip(board(), "first")
    assert choose(one, 1e9) == "second"
    assert choose(trip(one, "second", "third"), 1e9) is None


def test_a_suspect_region_is_asked_last_for_five_seconds_by_those_who_avoid_it() -> None:
    one = board()
    one.silent("first", 10)
    assert choose(one, 14.9) == "second"
    assert choose(one, 14.9, avoid_suspects=False) == "first"
    assert choose(one, 15) == "first"
    for name in NAMES:
        one.silent(name, 20)
    assert choose(one, 20) == "first", "it is asked all the same"


def test_an_answer_in_time_ends_the_suspicion_and_a_slow_one_does_not() -> None:
    one = board()
    one.silent("first", 10)
    one.record("first", QUERY, None, 10.6, sent_at=10)
    assert choose(one, 10.6) == "second"
    one.record("first", QUERY, says(Fault.MISSING), 10.7, sent_at=10.6)
    assert choose(one, 10.7, query=Query(SecretId("another"))) == "first", "whatever the service said"


def test_a_region_that_came_back_is_asked_after_the_others_until_its_dwell_is_over() -> None:
    one = trip(board(), "first")
    closed_at = recover(one)
    assert choose(one, closed_at) == "second"
    assert choose(one, closed_at + POLICY.dwell - 0.1) == "second"
    assert choose(one, closed_at + POLICY.dwell) == "first"


def test_a_region_in_its_dwell_is_better_than_none() -> None:
    one = trip(board(), "first")
    closed_at = recover(one)
    assert choose(trip(one, "second", "third", now=closed_at), closed_at) == "first"


@pytest.mark.parametrize("fault", OF_THE_SECRET)
def test_a_refusal_is_remembered_for_a_minute(fault: Fault) -> None:
    one = board()
    record(one, "first", says(fault), 10)
    assert choose(one, 69.9) == "second"
    assert choose(one, 70) == "first"


@pytest.mark.parametrize(
    "other",
    [Query(SecretId("prod/other")), Query(SecretId("prod/db"), "AWSPENDING"), Query(SecretId("prod/db"), None, "v")],
)
def test_a_refusal_says_nothing_of_another_secret_stage_or_version(other: Query) -> None:
    one = board()
    record(one, "first", says(Fault.MISSING), 0, query=other)
    assert choose(one, 1, query=other) == "second"
    assert choose(one, 1) == "first"


def test_a_region_that_has_refused_is_still_asked_after_the_others() -> None:
    one = board()
    for name in NAMES:
        record(one, name, says(Fault.MISSING), 0)
    assert choose(one, 1) == "first"
    assert one.choose(["second"], QUERY, 1, avoid_suspects=True) == "second"


@pytest.mark.parametrize("how", ["a value", "forget", "forget all"])
def test_a_refusal_is_forgotten(how: str) -> None:
    one = board()
    record(one, "first", says(Fault.MISSING), 0)
    if how == "a value":
        record(one, "first", None, 1)
    elif how == "forget":
        one.forget(QUERY)
    else:
        one.forget_all()
    assert choose(one, 1) == "first"


def test_a_refusal_weighs_more_than_suspicion_and_suspicion_more_than_the_dwell() -> None:
    one = trip(board(), "first")
    now = recover(one)
    one.silent("second", now)
    record(one, "third", says(Fault.DENIED), now)
    assert choose(one, now) == "first"
    one.silent("first", now)
    assert choose(one, now) == "second"
    record(one, "first", says(Fault.DENIED), now)
    record(one, "second", says(Fault.DENIED), now)
    one.silent("first", now)
    one.silent("second", now)
    assert choose(one, now) == "third"


# Gates.


def test_a_throttled_region_is_left_alone_for_longer_each_time_until_it_brings_a_value() -> None:
    one, now = board(), 0.0
    for seconds in (1, 2, 4, 4):
        record(one, "first", says(Fault.THROTTLED), now)
        assert choose(one, now + seconds - 0.1) == "second"
        now += seconds
        assert choose(one, now) == "first"
    one.fine("first", now)
    record(one, "first", says(Fault.THROTTLED), now)
    assert choose(one, now + 1) == "first"


@pytest.mark.parametrize(("hint", "seconds"), [(0.2, 1), (5, 5), (3600, 60)])
def test_the_servers_hint_is_heeded_within_reason(hint: float, seconds: float) -> None:
    one = board()
    record(one, "first", says(Fault.THROTTLED, retry_after=hint), 0)
    assert choose(one, seconds - 0.1) == "second"
    assert choose(one, seconds * 1.1 + 1e-9) == "first", "a little later, by chance"


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.IDENTITY])
def test_a_burst_of_the_same_answer_closes_a_gate_once(fault: Fault) -> None:
    one = board()
    for tenth in range(10):
        one.record("first", QUERY, says(fault), tenth / 100, sent_at=-0.1)
    assert choose(one, 1) == "first"


def test_a_later_hint_holds_while_the_gate_is_closed() -> None:
    one = board()
    record(one, "first", says(Fault.THROTTLED), 0)
    record(one, "first", says(Fault.THROTTLED, retry_after=5), 0.5)
    assert choose(one, 5.9) == "second"
    assert choose(one, 6.01) == "first"


def test_a_region_whose_credentials_fail_is_left_alone_up_to_ten_seconds() -> None:
    one, now = board(), 0.0
    for seconds in (1, 2, 4, 8, 10, 10):
        record(one, "first", says(Fault.IDENTITY, answered=False), now)
        assert choose(one, now + seconds - 0.1) == "second"
        now += seconds
        assert choose(one, now) == "first"


def test_a_region_that_is_not_enabled_is_parked_for_ten_minutes() -> None:
    one, now = board(), 0.0
    for _ in range(3):
        record(one, "first", says(Fault.NOT_OFFERED), now)
        assert choose(one, now + 599.9) == "second"
        now += 600
        assert choose(one, now) == "first"


def test_a_gate_keeps_probes_out_too() -> None:
    one = trip(board(), "first")
    record(one, "first", says(Fault.IDENTITY, answered=False), 4.5)
    assert one.probe_due(5) is None
    assert one.next_probe_at() == 5.5
    assert one.probe_due(5.5) == "first"


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.THROTTLED, "Throttled"), (Fault.IDENTITY, "CredentialsFailed"), (Fault.NOT_OFFERED, "Parked")],
)
def test_why_a_region_was_not_asked(fault: Fault, code: str) -> None:
    one = board()
    assert one.why_not("first", 0) is None
    closed_it, later = OSError("closed the gate"), OSError("of another kind")
    record(one, "first", Failure(fault, "Code", "", answered=True, cause=closed_it), 0)
    record(one, "first", Failure(Fault.LOCAL, "Code", "", cause=later), 0)
    reason = one.why_not("first", 0.5)
    assert reason is not None
    assert (reason.fault, reason.code, reason.cause) == (fault, code, closed_it)
    assert "after Code" in reason.message
    assert one.why_not("first", 600) is None


def test_an_open_breaker_says_so() -> None:
    one = trip(board(), "first")
    record(one, "first", says(Fault.LOCAL, answered=False), 0)
    reason = one.why_not("first", 0)
    assert reason is not None
    assert (reason.fault, reason.code, reason.cause) == (Fault.REGION, "BreakerOpen", FAILED.cause)
    assert "3 times" in reason.message


def test_credentials_are_not_loaded_anew_again_and_again() -> None:
    one = board()
    assert not one.reloaded_since(0)
    assert one.may_reload(10)
    assert not one.may_reload(10.9)
    assert one.may_reload(11)
    assert one.reloaded_since(10.5)
    assert not one.reloaded_since(11.5)
    assert not one.reloaded_since(None)


# What moves a breaker.


@pytest.mark.parametrize("fault", NOT_A_REGION_FAULT)
@pytest.mark.parametrize("answered", [True, False])
def test_only_class_a_opens_a_breaker(fault: Fault, *, answered: bool) -> None:
    one = board()
    for _ in range(20):
        record(one, "first", says(fault, answered=answered), 0)
    assert state(one) == "closed"
    assert health(one).failures_in_a_row == 0


@pytest.mark.parametrize("fault", NOT_A_REGION_FAULT)
def test_an_answer_of_the_service_breaks_a_row_of_failures_and_all_else_does_not(fault: Fault) -> None:
    for answered, left in ((True, 0), (False, 2)):
        one = board()
        record(one, "first", FAILED, 0)
        record(one, "first", FAILED, 0)
        record(one, "first", says(fault, answered=answered), 0)
        assert health(one).failures_in_a_row == left


@pytest.mark.parametrize("fault", NOT_A_REGION_FAULT)
def test_any_well_formed_answer_is_a_good_probe(fault: Fault) -> None:
    one, now = trip(board(), "first"), 5.0
    for _ in range(POLICY.good_probes):
        record(one, "first", says(fault), now, permit=one.probe("first", now))
        now += POLICY.probe_pause
    assert state(one) == "closed"


@pytest.mark.parametrize("fault", [Fault.IDENTITY, Fault.LOCAL])
def test_a_probe_that_says_nothing_of_the_region_counts_as_nothing(fault: Fault) -> None:
    one, now = trip(board(), "first"), 5.0
    for _ in range(5):
        now = max(now, one.next_probe_at())
        record(one, "first", says(fault, answered=False), now, permit=one.probe("first", now))
        assert not one._regions["first"].breaker.permit_outstanding(now)
    assert (state(one), health(one).failures_in_a_row) == ("half-open", 3)


def test_a_bad_probe_opens_it_for_longer() -> None:
    one = trip(board(), "first")
    record(one, "first", FAILED, 5, permit=one.probe("first", 5))
    assert (state(one), one.next_probe_at()) == ("open", 15)


def test_one_regions_failures_are_not_anothers() -> None:
    one = trip(board(), "first")
    assert [state(one, name) for name in NAMES] == ["open", "closed", "closed"]
    assert health(one, "second").failures == 0


# Probes.


def test_a_probe_is_due_only_for_open_breakers_and_one_at_a_time() -> None:
    one = board()
    assert one.probe_due(1e9) is None
    assert one.next_probe_at() == float("inf")
    trip(one, "second", now=1)
    assert one.probe_due(5.9) is None
    assert one.next_probe_at() == 6
    assert one.probe_due(6) == "second"
    permit = one.probe("second", 6)
    assert permit is not None
    assert one.probe_due(7) is None
    assert one.probe("second", 7) is None
    assert one.next_probe_at() == permit.until, "if it is lost"
    assert one.probe_due(permit.until) == "second"
    one.give_back("second", permit, 7)
    assert one.probe_due(8) == "second"


def test_each_open_region_has_its_own_probe() -> None:
    one = trip(board(), "first", "third")
    due = []
    while name := one.probe_due(5):
        due.append(name)
        assert one.probe(name, 5)
    assert due == ["first", "third"]


# The last chance.


def test_the_last_chance_is_one_a_second_and_goes_round() -> None:
    one, asked = trip(board(), *NAMES), []
    for second in range(4):
        chance = one.last_chance(NAMES, second)
        assert chance is not None
        assert one.last_chance(NAMES, second + 0.9) is None
        name, permit = chance
        record(one, name, FAILED, second + 0.5, permit=permit)
        asked.append(name)
    assert asked == ["first", "second", "third", "first"]


def test_the_last_chance_takes_no_region_that_has_one_under_way_or_a_gate_closed_or_is_closed() -> None:
    one = trip(board(("first", "second")), "first", "second")
    assert one.last_chance(["first"], 0) is not None
    record(one, "second", says(Fault.NOT_OFFERED), 0)
    assert one.last_chance(["first", "second"], 1) is None
    assert board().last_chance(NAMES, 0) is None


def test_when_no_other_region_answers_one_good_last_chance_closes_it() -> None:
    one = trip(board(), *NAMES)
    chance = one.last_chance(NAMES, 1)
    assert chance is not None
    record(one, chance[0], None, 1, permit=chance[1])
    assert choose(one, 1) == chance[0]


def test_when_another_has_closed_meanwhile_it_takes_two() -> None:
    one = trip(board(), "first")
    chance = one.last_chance(["first"], 1)
    assert chance is not None
    record(one, "first", None, 1, permit=chance[1])
    assert state(one) == "open"
    assert one.next_probe_at() == 1 + POLICY.probe_pause


def test_how_long_waiting_for_a_region_is_worth_it() -> None:
    one = board()
    assert one.worth_waiting(NAMES, 3) == 3
    assert one.worth_waiting([], 3) == float("inf")
    record(one, "first", says(Fault.THROTTLED, retry_after=4), 3)
    assert one.worth_waiting(["first"], 3) == pytest.approx(3 + 4 * 1.1)
    record(one, "second", says(Fault.NOT_OFFERED), 3)
    record(one, "third", says(Fault.IDENTITY), 3)
    assert one.worth_waiting(["second", "third"], 3) == float("inf")
    trip(one, "first", now=10)
    chance = one.last_chance(["first"], 10)
    assert chance is not None
    assert one.tried(["first"], 10)
    assert not one.tried(["second"], 10)
    assert one.worth_waiting(["first"], 10) == chance[1].due == 10 + POLICY.attempt_cap
    assert one.worth_waiting(["first"], 10 + POLICY.attempt_cap) == chance[1].until


def test_when_to_come_again_is_a_second_at_least() -> None:
    one = board()
    assert one.retry_after(0) == 1
    for name in NAMES:
        record(one, name, says(Fault.THROTTLED, retry_after=20), 0)
    assert one.retry_after(5) == pytest.approx(20 * 1.1 - 5)


# The budget.


def test_a_retry_costs_a_token_and_half_of_them_stay() -> None:
    one = board()
    taken = 0
    while one.may_retry("first", 0):
        taken += 1
    assert taken == 6, "from 10 down to 5, and none below"
    assert one.may_retry("first", 10), "one more in ten seconds"
    assert not one.may_retry("first", 10)
    for _ in range(11):  # ten, but for the rounding
        one.fine("first", 10)
    assert one.may_retry("first", 10), "or for ten successes"
    assert not trip(board(), "first").may_retry("first", 0), "not toward an open region"


def test_time_that_goes_back_earns_nothing() -> None:
    one = board()
    while one.may_retry("first", 100):
        pass
    assert not one.may_retry("first", 0)
    assert not one.may_retry("first", 100)


# What is told.


def test_the_health_of_a_region_nobody_has_asked() -> None:
    one = health(board(), now=7.0)
    assert dataclasses.asdict(one) == {
        "region": "first",
        "host": "host",
        "state": "closed",
        "state_seconds": 7.0,
        "next_probe_seconds": None,
        "preferred_in_seconds": 0.0,
        "suspect_seconds": 0.0,
        "throttled_seconds": 0.0,
        "parked_seconds": 0.0,
        "identity_seconds": 0.0,
        "calls": 0,
        "answers": 0,
        "failures": 0,
        "outcomes": {},
        "failures_in_a_row": 0,
        "stuck_attempts": 0,
        "latency_p50_seconds": None,
        "latency_p90_seconds": None,
        "latency_p99_seconds": None,
        "last_error": None,
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.state = "open"  # type: ignore[misc]


def test_the_health_of_a_region_through_an_outage() -> None:
    one = trip(board(), "first", now=10)
    down = health(one, now=12)
    assert (down.state_seconds, down.next_probe_seconds, down.failures_in_a_row) == (2, 3, 3)
    assert (down.outcomes, down.last_error) == ({"region": 3}, "InternalServiceError")
    permit = one.probe("first", 15)
    probed = health(one, now=16)
    assert (probed.state, probed.state_seconds, probed.next_probe_seconds) == ("half-open", 1, 0)
    record(one, "first", None, 16, permit=permit)
    assert health(one, now=16).next_probe_seconds == 1
    record(one, "first", None, 17, permit=one.probe("first", 17))
    up = health(one, now=27)
    assert (up.state, up.state_seconds, up.next_probe_seconds, up.preferred_in_seconds) == ("closed", 10, None, 20)
    assert health(one, now=100).preferred_in_seconds == 0


def test_the_health_tells_which_gates_are_closed() -> None:
    one = board()
    one.silent("first", 0)
    record(one, "first", says(Fault.THROTTLED, retry_after=9), 0)
    record(one, "first", says(Fault.IDENTITY, answered=False), 0)
    record(one, "first", says(Fault.NOT_OFFERED, answered=False), 0)
    now = health(one, now=0.25)
    assert now.throttled_seconds == pytest.approx(9 * 1.1 - 0.25)
    assert (now.identity_seconds, now.parked_seconds) == (0.75, 599.75)
    assert now.outcomes == {"throttled": 1, "identity": 1, "not_offered": 1}
    one.fine("first", 0.25)
    after = health(one, now=0.25)
    assert (after.identity_seconds, after.parked_seconds) == (0, 0)
    assert after.throttled_seconds == pytest.approx(1 / (POLICY.pace_first * 1.25)), "one by one, for a while"


def test_latencies_are_those_of_the_last_128_answers() -> None:
    one = board()
    one.record("first", QUERY, FAILED, 9, sent_at=0)
    assert health(one).latency_p50_seconds is None, "a failure is none"
    for _ in range(50):
        one.record("first", QUERY, None, 100, sent_at=0)
    for number in range(1, 129):
        one.record("first", QUERY, says(Fault.MISSING), number / 1000, sent_at=0)
    now = health(one)
    assert (now.latency_p50_seconds, now.latency_p90_seconds, now.latency_p99_seconds) == (0.065, 0.116, 0.127)


def test_events_tell_what_changes_once_and_in_order() -> None:
    one = trip(board(), "first")
    record(one, "second", None, 1)
    one.fine("second", 1)
    one.silent("second", 2)
    one.silent("second", 3)
    record(one, "second", says(Fault.THROTTLED), 4)
    told = [(event.name, event.region, event.outcome) for event in one.events]
    assert told == [
        ("call", "first", "region"),
        ("call", "first", "region"),
        ("call", "first", "region"),
        ("breaker", "first", "open"),
        ("call", "second", "answered"),
        ("suspect", "second", None),
        ("call", "second", "throttled"),
        ("throttled", "second", "Code"),
    ]


def test_a_failover_is_told_when_another_region_brings_the_value_and_not_for_a_probe() -> None:
    one = board()
    for name, probe in (("first", False), ("first", False), ("second", True), ("second", False), ("first", False)):
        one.fine(name, 0, probe=probe)
    assert [(event.name, event.region) for event in one.events] == [("failover", "second"), ("failover", "first")]


# Whatever happens.

_HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from([None, *Fault]),
        st.booleans(),
        st.floats(0, 30),
        st.sampled_from(["read", "probe", "chance", "lost"]),
    ),
    max_size=60,
)


@given(_HAPPENINGS)
def test_there_is_always_a_region_to_be_asked_or_a_time_when_there_is(
    happenings: list[tuple[str, Fault | None, bool, float, str]],
) -> None:
    one, now = board(chance=0.5), 0.0
    for name, fault, answered, seconds, how in happenings:
        now += seconds
        permit = one.probe(name, now) if how in ("probe", "lost") else None
        if how == "chance" and (chance := one.last_chance([name], now)):
            permit = chance[1]
        if how != "lost":
            record(one, name, says(fault, answered=answered) if fault else None, now, permit=permit)
    assert one.retry_after(now) >= 1
    if any(health(one, name).state != "closed" for name in NAMES):
        at = one.next_probe_at()
        assert at <= now + POLICY.parked_for
        assert one.probe_due(max(at, now)) is not None, "10: no permit leaks"
    elif choose(one, now) is None:
        assert all(one.why_not(name, now) for name in NAMES)
        assert choose(one, now + POLICY.parked_for) is not None
