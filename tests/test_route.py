"""The walk over the regions, by itself: pure decisions given the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretcache._ids import Query, SecretId
from secretcache._regions.board import Board
from secretcache._regions.policy import RegionPolicy
from secretcache._regions.route import Leg, Purpose, Route
from secretcache._transport import Failure, Fault

QUERY = Query(SecretId("prod/db"))
POLICY = RegionPolicy()
FAILED = Failure(Fault.REGION, "InternalServiceError", "")
THROTTLED = Failure(Fault.THROTTLED, "ThrottlingException", "", answered=True)
EXPIRED = Failure(Fault.IDENTITY, "ExpiredTokenException", "", answered=True)
REVOKED = Failure(Fault.IDENTITY, "UnrecognizedClientException", "", answered=True, revoked=True)


def route(
    regions: int = 2,
    timeout: float = 5.0,
    caller: float | None = None,
    purpose: Purpose = Purpose.REVALIDATE,
    policy: RegionPolicy = POLICY,
) -> Route:
    names = [f"region-{number}" for number in range(regions)]
    board = Board(names, policy, lambda: 0.5, lambda: 0.0)
    return Route(names, board, QUERY, purpose, 0.0, timeout, timeout if caller is None else caller)


def begin(one: Route, now: float) -> Leg:
    leg = one.due(now)
    assert leg is not None
    leg.taken_at = leg.started_at = now
    return leg


def fail(one: Route, leg: Leg, now: float, failure: Failure = FAILED) -> None:
    leg.end(now, failure)
    one.board.record(leg.region, QUERY, failure, now, sent_at=now, permit=leg.permit)


def test_one_region_at_a_time_while_it_may_still_answer() -> None:
    one = route()
    first = begin(one, 0)
    assert one.due(2.4) is None
    assert not first.reach_cap(2.4)
    assert first.reach_cap(2.5)
    assert begin(one, 2.5).region == "region-1"


def test_an_attempt_at_its_cap_is_told_as_what_it_is() -> None:
    sent, unmade = begin(route(), 0), route().due(0)
    assert unmade is not None
    unmade.taken_at = 0
    assert sent.reach_cap(2.5)
    assert unmade.reach_cap(2.5)
    assert sent.failure == Failure(Fault.REGION, "AttemptTimeout", "no whole answer within 2.5 s")
    assert unmade.failure == Failure(Fault.LOCAL, "AttemptTimeout", "no client within 2.5 s")


def test_silence_is_told_with_how_long_the_region_is_suspect() -> None:
    one = route()
    one.board.silent("region-0", 0)
    one.board.silent("region-0", 1)
    assert [(event.name, event.seconds) for event in one.board.events] == [("suspect", POLICY.suspect_for)]
    one.board.silent("region-0", 1 + POLICY.suspect_for)
    assert len(one.board.events) == 2


def test_a_failure_brings_the_next_region_at_once() -> None:
    one = route()
    begin(one, 0).end(0.1, FAILED)
    assert one.due(0.1) is not None


def test_an_attempt_no_thread_has_taken_up_is_not_judged_and_nobody_looks_in_vain() -> None:
    one = route()
    leg = one.due(0)
    assert leg is not None
    assert one.wake_at(0) == POLICY.hedge_after, "it may be sent by then, and silent soon"
    assert one.wake_at(0.5) == 1.0, "for as long as it is queued"
    assert one.due(2.5) is not None, "the next region's turn comes all the same"
    assert not leg.reach_cap(4)
    assert one.wake_at(4.6) == 5, "not a moment that has passed"
    assert one.verdict(4.9) is None
    assert one.verdict(5) is not None


def test_silence_is_noticed_by_those_who_looked_before_the_request_was_sent() -> None:
    one = route()
    leg = one.due(0)
    assert leg is not None
    assert one.wake_at(0) == 0.5
    leg.taken_at = 0.1
    assert one.wake_at(0.5) == 1.0, "its client is being made"
    leg.started_at = 0.9
    assert one.wake_at(1.0) == 1.4
    assert one.due(1.4) is None
    assert leg.silent
    assert one.board.choose(one.regions, QUERY, 1.4, avoid_suspects=True) == "region-1"


def test_a_client_that_is_not_made_in_time_says_nothing_of_its_region() -> None:
    one = route()
    leg = one.due(0)
    assert leg is not None
    leg.taken_at = 0
    assert leg.reach_cap(POLICY.making_cap)
    assert leg.failure is not None
    assert leg.failure.fault is Fault.LOCAL


def test_a_hurried_caller_shortens_the_wait_and_not_the_cap() -> None:
    leg = begin(route(caller=0.2), 0)
    assert (leg.patience, leg.cap) == (0.1, 2.5)


def test_a_route_is_worth_joining_while_there_is_time_for_half_an_attempt() -> None:
    assert route().worth_joining(3.75)
    assert not route().worth_joining(3.76)
    assert route(timeout=1).worth_joining(0.5)
    assert not route(timeout=1).worth_joining(0.51)


@given(st.integers(1, 12), st.floats(0.1, 30), st.sampled_from([Purpose.REVALIDATE, Purpose.REFRESH]))
def test_every_region_gets_a_turn_within_the_deadline_when_all_are_silent(
    regions: int, timeout: float, purpose: Purpose
) -> None:
    one = route(regions, timeout, purpose=purpose)
    now, turns = 0.0, 0
    while True:
        while leg := one.due(now):
            leg.taken_at = leg.started_at = now
            turns += 1
            assert leg.cap <= POLICY.attempt_cap
        if one.verdict(now) is not None:
            break
        later = one.wake_at(now)
        assert now < later <= timeout
        now = later
        for leg in one.legs:
            leg.reach_cap(now)
    assert turns == regions
    assert now <= timeout


# Hedging.


@pytest.mark.parametrize("purpose", [Purpose.COLD, Purpose.FORCED])
def test_a_reader_who_has_nothing_else_asks_the_next_region_too_after_half_a_second_of_silence(
    purpose: Purpose,
) -> None:
    one = route(purpose=purpose)
    begin(one, 0)
    assert one.wake_at(0) == 0.3
    assert one.to_prepare(0.29) is None
    assert one.to_prepare(0.3) == "region-1"
    assert one.to_prepare(0.3) is None, "told once"
    assert one.due(0.49) is None
    assert begin(one, 0.5).region == "region-1"
    assert one.board.health("region-0", "", 0, 0.5).suspect_seconds == POLICY.suspect_for


def test_where_a_client_had_to_be_made_the_hedge_comes_a_little_later_and_nobody_is_suspect() -> None:
    one = route(purpose=Purpose.COLD)
    leg = one.due(0)
    assert leg is not None
    leg.taken_at, leg.started_at = 0.0, 0.4
    assert one.due(0.64) is None
    assert one.due(0.65) is not None
    assert one.board.health("region-0", "", 0, 0.65).suspect_seconds == 0


def test_neither_a_refresh_ahead_of_need_nor_a_revalidation_hedges() -> None:
    for purpose in (Purpose.REFRESH, Purpose.REVALIDATE):
        one = route(purpose=purpose)
        begin(one, 0)
        assert one.due(2.4) is None


def test_with_an_answer_at_hand_a_reader_who_insists_does_not_wait_for_a_silent_region() -> None:
    one = route(purpose=Purpose.FORCED)
    begin(one, 0)
    other = begin(one, 0.5)
    assert one.verdict(0.6) is None, "the second one may answer yet"
    other.end(0.6, None)
    assert one.verdict(0.6) is None, "there is no answer that will do"
    one.content = True
    assert one.verdict(0.6) is not None


def test_with_an_answer_at_hand_a_region_that_is_not_silent_yet_is_waited_for() -> None:
    one = route(3, purpose=Purpose.FORCED)
    begin(one, 0)
    begin(one, 0.5).end(0.6, None)
    begin(one, 0.6)
    one.content = True
    assert one.verdict(1.0) is None
    one.due(1.1)
    assert one.verdict(1.1) is not None


def test_the_first_hedge_is_free_and_a_further_one_costs_a_token() -> None:
    one = route(3, purpose=Purpose.COLD, timeout=30)
    begin(one, 0)
    begin(one, 0.5)
    assert one.board.budget.tokens == 10
    begin(one, 1.0)
    assert one.board.budget.tokens == 9


def test_without_tokens_there_is_no_further_hedge() -> None:
    one = route(3, purpose=Purpose.COLD, timeout=30)
    one.board.budget.tokens = 0
    begin(one, 0)
    begin(one, 0.5)
    assert one.due(1.0) is None


def test_no_hedge_goes_to_an_open_region() -> None:
    one = route(purpose=Purpose.COLD)
    for _ in range(3):
        one.board.record("region-1", None, FAILED, 0, sent_at=0)
    begin(one, 0)
    assert one.due(0.6) is None


def test_a_suspect_region_is_asked_last_by_readers_and_first_by_the_refresh_that_finds_it_back() -> None:
    for purpose, first in ((Purpose.COLD, "region-1"), (Purpose.REVALIDATE, "region-1"), (Purpose.REFRESH, "region-0")):
        one = route(purpose=purpose)
        one.board.silent("region-0", 0)
        assert begin(one, 4.9 - 4).region == first
    late = route(purpose=Purpose.COLD, timeout=20)
    late.board.silent("region-0", 0)
    assert begin(late, POLICY.suspect_for).region == "region-0"


# The same region again.


def test_when_all_have_failed_the_first_is_asked_once_more_for_a_token() -> None:
    one = route(purpose=Purpose.COLD)
    fail(one, begin(one, 0), 0)
    fail(one, begin(one, 0), 0)
    assert one.due(0) is None
    assert one.verdict(0) is None
    assert abs(one.wake_at(0) - POLICY.retry_pause * 1.5) < 1e-9
    again = begin(one, 0.16)
    assert again.region == "region-0"
    assert one.board.budget.tokens == 9
    fail(one, again, 0.2)
    assert one.due(0.3) is None
    assert one.verdict(0.3) is not None, "12: regions + 1 requests at most"


def test_the_pause_before_that_is_counted_from_the_last_failure() -> None:
    one = route(purpose=Purpose.COLD)
    fail(one, begin(one, 0), 0)
    second = begin(one, 0)
    one.wake_at(0)
    fail(one, second, 1.0)
    assert one.due(1.0) is None
    assert abs(one.wake_at(1.0) - (1.0 + POLICY.retry_pause * 1.5)) < 1e-9


def test_what_is_asked_after_a_failure_is_no_hedge_and_costs_nothing() -> None:
    one = route(regions=3, purpose=Purpose.COLD)
    legs = [begin(one, 0), begin(one, 0.5)]
    for leg in legs:
        fail(one, leg, 0.6)
    assert begin(one, 0.6).region == "region-2"
    assert one.board.budget.tokens == 10


def test_a_refresh_does_not_ask_again() -> None:
    one = route(purpose=Purpose.REFRESH)
    fail(one, begin(one, 0), 0)
    fail(one, begin(one, 0), 0)
    assert one.due(0) is None
    assert one.verdict(0) is not None


def test_from_a_throttled_region_the_next_is_asked_for_a_token() -> None:
    one = route(purpose=Purpose.COLD)
    fail(one, begin(one, 0), 0, THROTTLED)
    assert begin(one, 0).region == "region-1"
    assert one.board.budget.tokens == 9
    none_left = route(purpose=Purpose.COLD)
    none_left.board.budget.tokens = 4
    fail(none_left, begin(none_left, 0), 0, THROTTLED)
    assert none_left.due(0) is None
    assert none_left.verdict(0) is None, "a reader who has nothing waits"
    assert none_left.wake_at(0) == 0.75
    assert begin(none_left, 0.75).region == "region-1", "the first in order of those that may be asked"


# Credentials.


def test_credentials_that_fail_are_loaded_anew_once_before_the_next_region_is_asked() -> None:
    one = route(purpose=Purpose.COLD)
    fail(one, begin(one, 0), 0, EXPIRED)
    again = begin(one, 0)
    assert (again.region, again.reload) == ("region-0", True)
    fail(one, again, 0, EXPIRED)
    other = begin(one, 0)
    assert (other.region, other.reload) == ("region-1", False)
    fail(one, other, 0, EXPIRED)
    verdict = one.verdict(0)
    assert verdict is not None
    assert verdict.fault is Fault.IDENTITY
    assert not verdict.definitive, "an old value may stand in"


def test_others_requests_sent_before_a_reload_are_sent_again_without_another() -> None:
    first = route(purpose=Purpose.COLD)
    second = Route(first.regions, first.board, QUERY, Purpose.COLD, 0.0, 5.0, 5.0)
    mine, theirs = begin(first, 0), begin(second, 0)
    fail(first, mine, 0.1, EXPIRED)
    assert begin(first, 0.1).reload
    fail(second, theirs, 0.2, EXPIRED)
    again = begin(second, 0.2)
    assert (again.region, again.reload) == ("region-0", False)


def test_a_key_that_no_region_knows_after_a_reload_is_revoked() -> None:
    one = route(purpose=Purpose.REFRESH)
    for _ in range(3):
        fail(one, begin(one, 0), 0, REVOKED)
    verdict = one.verdict(0)
    assert verdict is not None
    assert verdict.definitive, "no old value stands in"
    assert verdict.fault is Fault.IDENTITY


# Every region open.


def opened(purpose: Purpose = Purpose.COLD) -> Route:
    one = route(purpose=purpose)
    for region in one.regions:
        for _ in range(3):
            one.board.record(region, None, FAILED, 0, sent_at=0)
    return one


def test_when_every_breaker_is_open_readers_share_one_attempt_a_second() -> None:
    one = opened()
    second = Route(one.regions, one.board, QUERY, Purpose.COLD, 0.0, 5.0, 5.0)
    chance = begin(one, 0)
    assert chance.permit is not None
    assert second.due(0) is None
    assert second.verdict(0) is None, "11: it is not refused without an attempt"
    assert second.wake_at(0) == 1.0
    fail(one, chance, 0.5)
    assert second.due(0.5) is None
    assert begin(second, 1.0).region == "region-1"


def test_one_success_releases_all_who_wait() -> None:
    one = opened()
    second = Route(one.regions, one.board, QUERY, Purpose.COLD, 0.0, 5.0, 5.0)
    chance = begin(one, 0)
    chance.end(0.1, None)
    one.board.record(chance.region, QUERY, None, 0.1, sent_at=0, permit=chance.permit)
    leg = begin(second, 0.1)
    assert leg.region == chance.region
    assert leg.permit is None


def test_who_has_an_old_value_does_not_wait_for_a_region() -> None:
    for purpose in (Purpose.REVALIDATE, Purpose.REFRESH):
        one = opened(purpose)
        assert one.due(0) is None
        verdict = one.verdict(0)
        assert verdict is not None
        assert [region for region, _ in verdict.unasked] == list(one.regions)


def test_a_region_not_enabled_for_the_account_has_no_say_on_a_secret() -> None:
    one = route(purpose=Purpose.COLD)
    fail(one, begin(one, 0), 0, Failure(Fault.NOT_OFFERED, "OptInRequired", "", answered=True))
    fail(one, begin(one, 0), 0, Failure(Fault.MISSING, "ResourceNotFoundException", "", answered=True))
    verdict = one.verdict(0)
    assert verdict is not None
    assert verdict.fault is Fault.MISSING
    later = Route(one.regions, one.board, QUERY, Purpose.COLD, 1.0, 6.0, 6.0)
    assert begin(later, 1).region == "region-1", "the other is parked"
