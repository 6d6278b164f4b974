"""What the board tells of its regions to the last detail: what a changed line would alter and no reader would see."""

from __future__ import annotations

import pytest

from secretcache._ids import Query, SecretId
from secretcache._regions.board import Board
from secretcache._regions.policy import RegionPolicy
from secretcache._transport import OF_THE_SECRET, Failure, Fault

POLICY = RegionPolicy()
QUERY = Query(SecretId("prod/db"))
NAMES = ("first", "second")
FAILED = Failure(Fault.REGION, "InternalServiceError", "")
DENIED = Failure(Fault.DENIED, "AccessDeniedException", "", answered=True)


def board() -> Board:
    return Board(NAMES, POLICY, lambda: 1.0, lambda: 0.0)


def opened(now: float = 0.0, *names: str) -> Board:
    one = board()
    for name in names or NAMES:
        for _ in range(POLICY.failures_in_a_row):
            one.record(name, QUERY, FAILED, now, sent_at=now)
    one.events.clear()
    return one


def test_a_call_is_told_with_its_operation_and_how_long_it_took() -> None:
    one = board()
    one.record("first", QUERY, None, 7.5, sent_at=7.0)
    one.record("first", None, FAILED, 7.5, sent_at=7.25)
    one.record("first", QUERY, None, 7.5, sent_at=8.0)
    told = [(event.name, event.secret_id, event.outcome, event.seconds, event.detail) for event in one.events]
    assert told == [
        ("call", None, "answered", 0.5, "GetSecretValue"),
        ("call", None, "region", 0.25, "BatchGetSecretValue"),
        ("call", None, "answered", 0.0, "GetSecretValue"),
    ]


def test_a_call_that_nobody_hears_of_is_counted_and_makes_no_event() -> None:
    one = board()
    one.heard = lambda: False
    one.record("first", QUERY, None, 1.0, sent_at=0.5)
    assert one.events == []
    assert one.counts("first", "answered") == 1
    for _ in range(POLICY.failures_in_a_row):
        one.record("first", QUERY, FAILED, 1.0, sent_at=0.5)
    assert [event.name for event in one.events] == ["breaker"], "what is logged is told all the same"


def test_a_failover_says_what_answered_before() -> None:
    one = board()
    one.fine("first", 0)
    one.fine("second", 0)
    assert [event.detail for event in one.events] == ["answers now, instead of first"]


def test_only_what_a_region_says_of_a_secret_is_remembered_of_it() -> None:
    one = board()
    for fault in set(Fault) - {*OF_THE_SECRET, Fault.FOREIGN, Fault.REGION}:
        one.record("first", QUERY, Failure(fault, "Code", "", answered=True), 0.0, sent_at=0.0)
    one.fine("first", 0.0)
    assert one.choose(NAMES, QUERY, 0.1, avoid_suspects=True) == "first"
    one.record("first", None, DENIED, 0.0, sent_at=0.0)
    assert one.choose(NAMES, QUERY, 0.1, avoid_suspects=True) == "first", "a batch is about no one secret"
    one.record("first", QUERY, DENIED, 0.0, sent_at=0.0)
    assert one.choose(NAMES, QUERY, 0.1, avoid_suspects=True) == "second"
    one.record("first", QUERY, None, 0.0, sent_at=0.0)
    assert one.choose(NAMES, QUERY, 0.1, avoid_suspects=True) == "first", "it has given it since"


def test_how_long_a_gate_is_still_closed_is_told() -> None:
    one = board()
    one.record("first", QUERY, Failure(Fault.NOT_OFFERED, "OptInRequired", ""), 100.0, sent_at=100.0)
    why = one.why_not("first", 160.0)
    assert why is not None
    assert why.message == "not asked for another 540.0 s, after OptInRequired"


def test_with_credentials_loaded_anew_an_open_region_is_asked_by_a_permit_of_a_last_chance() -> None:
    one = opened()
    passes, permit = one.passage("first", 0.5)
    assert passes
    assert permit is not None, "its probe is not due: it is a last chance"
    assert permit.last_chance
    assert permit.due == 0.5 + POLICY.attempt_cap
    assert one.passage("first", 0.6) == (False, None), "one at a time"
    assert board().passage("first", 0.5) == (True, None), "a closed one needs none"


def test_a_probe_is_no_last_chance() -> None:
    one = opened(0.0, "first")
    assert one.probe("first", 1.0) is None, "not due"
    permit = one.probe("first", one.next_probe_at())
    assert permit is not None
    assert permit.last_chance is False
    assert [(event.name, event.outcome) for event in one.events] == [("breaker", "half-open")]


def test_last_chances_go_round_however_many_there_were() -> None:
    one = opened()
    asked = []
    for number in range(6):
        now = number * POLICY.last_chance_pause
        chance = one.last_chance(NAMES, now)
        assert chance is not None
        asked.append(chance[0])
        one.give_back(chance[0], chance[1], now)
    assert asked == ["first", "second"] * 3
    assert one.counts("first", "last chances") == 3


def test_when_a_region_may_be_asked_again() -> None:
    one = board()
    assert one.worth_waiting(NAMES, 3.0) == 3.0, "now"
    assert one.worth_waiting([], 3.0) == float("inf")
    one.record("first", QUERY, Failure(Fault.THROTTLED, "Code", "", retry_after=20.0), 3.0, sent_at=3.0)
    assert one.worth_waiting(["first"], 3.0) == 25.0
    half = opened(0.0, "second")
    assert half.last_chance(NAMES, 3.0) is not None
    assert half.worth_waiting(["first"], 3.0) == 3.0, "another's last chance is nothing to a closed breaker"
    shut = opened()
    shut.record("first", QUERY, Failure(Fault.THROTTLED, "Code", "", retry_after=20.0), 3.0, sent_at=3.0)
    assert shut.worth_waiting(["first"], 3.0) == 25.0, "open and throttled: both must be over"
    parked = board()
    parked.record("first", QUERY, Failure(Fault.NOT_OFFERED, "Code", ""), 3.0, sent_at=3.0)
    assert parked.worth_waiting(["first"], 10.0) == float("inf")
    assert parked.worth_waiting(["first"], 3.0 + POLICY.parked_for) == 3.0 + POLICY.parked_for


def test_a_reload_of_the_same_moment_is_no_later_one() -> None:
    one = board()
    assert one.may_reload(5.0)
    assert one.reloaded_since(4.9)
    assert not one.reloaded_since(5.0)
    assert not one.reloaded_since(None)


def test_the_times_of_a_regions_health_are_never_negative_and_belong_to_its_state() -> None:
    one = board()
    fresh = one.health("first", "host", 0, 0.25)
    assert (fresh.state_seconds, fresh.preferred_in_seconds, fresh.suspect_seconds) == (0.25, 0.0, 0.0)
    shut = opened(0.0, "first")
    while shut.health("first", "host", 0, 0.0).state != "closed":
        now = shut.next_probe_at()
        shut.record("first", QUERY, None, now, sent_at=now, permit=shut.probe("first", now))
    closed = shut.health("first", "host", 0, now + 10.0)
    assert closed.preferred_in_seconds == pytest.approx(POLICY.dwell - 10.0)
    for _ in range(POLICY.failures_in_a_row):
        shut.record("first", QUERY, FAILED, now + 10.0, sent_at=now + 10.0)
    assert shut.health("first", "host", 0, now + 10.0).preferred_in_seconds == 0.0, "an open one is not preferred"


def test_an_answer_exactly_as_late_as_a_hedge_ends_no_suspicion() -> None:
    one = board()
    one.silent("first", 0.0)
    one.record("first", QUERY, None, POLICY.hedge_after, sent_at=0.0)
    assert one.choose(NAMES, QUERY, POLICY.hedge_after, avoid_suspects=True) == "second"
