"""When whose turn it is in a route: at the edges of its time, with several reasons at once."""

from __future__ import annotations

import pytest

from secretcache._regions.board import Board
from secretcache._regions.policy import RegionPolicy
from secretcache._regions.route import Purpose, Route
from secretcache._transport import Failure, Fault
from test_route import EXPIRED, FAILED, POLICY, QUERY, REVOKED, THROTTLED, begin, fail, opened, route

MISSING = Failure(Fault.MISSING, "ResourceNotFoundException", "", answered=True)
DENIED = Failure(Fault.DENIED, "AccessDeniedException", "", answered=True)
UNSIGNED = Failure(Fault.IDENTITY, "NoCredentialsError", "")
LOCAL = Failure(Fault.LOCAL, "NoThread", "")
LATE = 1000.0
"""A clock does not begin at nought."""


def late(regions: int = 2, purpose: Purpose = Purpose.COLD, caller: float = 5.0, primary: str = "") -> Route:
    names = [f"region-{number}" for number in range(regions)]
    board = Board(names, POLICY, lambda: 0.5, lambda: LATE)
    return Route(names, board, QUERY, purpose, LATE, LATE + 5.0, LATE + caller, primary=primary)


def test_the_regions_share_the_time_that_is_left() -> None:
    one = late(regions=4)
    first = begin(one, LATE)
    assert (first.cap, first.patience) == (1.25, 1.25)
    fail(one, first, LATE + 2.0)
    second = begin(one, LATE + 2.0)
    assert (second.cap, second.patience) == (1.0, 1.0)
    alone = begin(late(regions=1), LATE)
    assert (alone.cap, alone.patience) == (2.5, 2.5)


def test_a_caller_whose_time_is_over_hurries_nobody() -> None:
    one = late(caller=1.0)
    first = begin(one, LATE)
    assert first.patience == 0.5
    fail(one, first, LATE + 1.0)
    second = begin(one, LATE + 1.0)
    assert (second.patience, second.cap) == (2.5, 2.5)
    past = late(caller=1.0)
    fail(past, begin(past, LATE), LATE + 3.0)
    assert begin(past, LATE + 3.0).patience == 2.0


def test_no_last_chance_is_taken_where_there_is_no_time_to_learn_anything() -> None:
    one = opened()
    assert one.due(4.6) is None, "less than half a second is left"
    assert one.verdict(4.6) is not None
    assert begin(opened(), 4.5).permit is not None, "half a second is enough"


def test_of_a_short_deadline_a_quarter_is_enough() -> None:
    for left, asks in ((0.26, True), (0.25, True), (0.24, False)):
        shut = opened()
        hurried = Route(shut.regions, shut.board, QUERY, Purpose.COLD, 50.0, 51.0, 51.0)
        assert (hurried.due(51.0 - left) is not None) is asks


def test_who_has_an_answer_that_will_do_takes_no_chance_and_waits_for_none() -> None:
    one = opened()
    one.content = True
    assert one.due(0.0) is None
    assert one.verdict(0.0) is not None


def test_who_was_stopped_takes_no_chance_either() -> None:
    one = route(purpose=Purpose.FORCED, policy=RegionPolicy(outwaits_throttling=False))
    while one.board.budget.take(0.0):
        pass
    fail(one, begin(one, 0.0), 0.0, THROTTLED)
    assert one.due(0.0) is None, "there is no token for the next"
    for _ in range(POLICY.failures_in_a_row):
        one.board.record("region-1", None, FAILED, 0.0, sent_at=0.0)
    assert one.due(0.0) is None
    assert one.verdict(0.0) is not None


def test_a_chance_is_not_taken_beside_a_request_under_way() -> None:
    one = route(purpose=Purpose.COLD)
    for _ in range(POLICY.failures_in_a_row):
        one.board.record("region-1", None, FAILED, 0.0, sent_at=0.0)
    begin(one, 0.0)
    assert one.due(2.4) is None
    assert one.verdict(2.4) is None


def test_the_retry_is_not_sent_beside_another_nor_too_late() -> None:
    one = route(regions=1, purpose=Purpose.COLD)
    fail(one, begin(one, 0.0), 0.0)
    at = one.wake_at(0.0)
    assert one.due(at - 0.001) is None
    assert begin(one, at).region == "region-0"
    assert one.due(at) is None
    never = route(regions=1, purpose=Purpose.COLD)
    fail(never, begin(never, 4.49), 4.49)
    at = never.wake_at(4.49)
    assert 4.5 < at < 5.0
    assert never.due(at) is None, "less than half a second is left"
    assert never.verdict(at) is not None


def test_a_retry_goes_to_a_region_that_failed_by_itself() -> None:
    one = route(purpose=Purpose.COLD)
    fail(one, begin(one, 0.0), 0.0)
    fail(one, begin(one, 0.0), 0.0, LOCAL)
    assert one.due(0.0) is None
    assert one.verdict(0.0) is not None, "not all have failed by themselves"


def test_without_a_token_there_is_no_retry() -> None:
    one = route(regions=1, purpose=Purpose.COLD)
    while one.board.budget.take(0.0):
        pass
    fail(one, begin(one, 0.0), 0.0)
    at = one.wake_at(0.0)
    assert begin(one, at).region == "region-0", "as its share of one attempt a second"
    other = Route(one.regions, one.board, QUERY, Purpose.COLD, 0.0, 5.0, 5.0)
    fail(other, begin(other, at), at)
    again = other.wake_at(at)
    assert other.due(again) is None
    assert other.verdict(again) is None, "it waits for its share, or until the region has answered another"
    one.board.fine("region-0", again + 0.01)
    later = other.wake_at(again)
    assert begin(other, later).region == "region-0"


def test_credentials_are_loaded_anew_once_and_not_at_all_where_the_policy_says_so() -> None:
    one = route(regions=1, purpose=Purpose.REFRESH)
    fail(one, begin(one, 0.0), 0.0, EXPIRED)
    again = begin(one, 0.0)
    assert again.reload
    fail(one, again, 5.0, EXPIRED)
    assert one.due(4.9) is None
    strict = route(regions=1, purpose=Purpose.REFRESH, policy=RegionPolicy(reloads=0))
    fail(strict, begin(strict, 0.0), 0.0, EXPIRED)
    assert strict.due(0.0) is None


def test_a_chance_whose_credentials_failed_goes_through_its_breaker_by_permit_again() -> None:
    one = opened()
    chance = begin(one, 0.0)
    fail(one, chance, 0.1, UNSIGNED)
    again = begin(one, 0.1)
    assert again.reload
    assert again.permit is not None
    assert again.permit.due == 0.1 + POLICY.attempt_cap
    busy = opened()
    chance = begin(busy, 0.0)
    chance.end(0.1, UNSIGNED)  # but its permit is still out
    assert busy.due(0.1) is None, "another request is on its way through that breaker"


def test_the_region_made_ready_is_one_that_has_not_refused_this_secret_and_is_not_suspect() -> None:
    one = route(regions=3, purpose=Purpose.COLD)
    one.board.record("region-1", QUERY, DENIED, 0.0, sent_at=0.0)
    begin(one, 0.0)
    assert one.to_prepare(0.3) == "region-2"
    other = route(regions=3, purpose=Purpose.COLD)
    other.board.silent("region-1", 0.0)
    begin(other, 0.0)
    assert other.to_prepare(0.3) == "region-2"
    assert route(purpose=Purpose.COLD).to_prepare(0.3) is None, "nobody is asked yet"
    refresh = route(purpose=Purpose.REFRESH)
    begin(refresh, 0.0)
    assert refresh.to_prepare(0.3) is None, "it does not hedge"


def test_what_a_region_has_refused_is_asked_of_the_others_first() -> None:
    one = route(regions=2, purpose=Purpose.COLD)
    one.board.record("region-0", QUERY, DENIED, 0.0, sent_at=0.0)
    assert begin(one, 0.0).region == "region-1"


def test_a_third_region_is_asked_for_one_token_when_the_second_is_silent_too() -> None:
    one = route(regions=4, timeout=10.0, purpose=Purpose.COLD)
    tokens = one.board.budget.tokens
    begin(one, 0.0)
    begin(one, 0.5)
    assert one.board.budget.tokens == tokens
    begin(one, 1.0)
    begin(one, 1.5)
    earned = POLICY.token_per_second * 0.5
    assert tokens - one.board.budget.tokens == pytest.approx(2.0 - earned)


def test_whose_patience_is_over_needs_no_token() -> None:
    one = route(purpose=Purpose.REVALIDATE)
    while one.board.budget.take(0.0):
        pass
    begin(one, 0.0)
    assert one.due(2.49) is None
    assert begin(one, 2.5).region == "region-1"


def test_nor_does_one_beside_a_hedge_when_the_patience_with_both_is_over() -> None:
    one = route(regions=3, purpose=Purpose.COLD)
    begin(one, 0.0)
    begin(one, POLICY.hedge_after)
    while one.board.budget.take(POLICY.hedge_after):
        pass
    assert one.due(2.74) is None, "the hedge has half of the 4.5 s that were left"
    assert begin(one, 2.75).region == "region-2"


def test_a_reader_waits_for_anothers_request_through_the_only_breaker_and_not_for_its_own() -> None:
    one = opened()
    other = Route(one.regions, one.board, QUERY, Purpose.COLD, 0.0, 1.4, 1.4)
    begin(one, 0.0)
    begin(other, 1.0)
    third = Route(one.regions, one.board, QUERY, Purpose.COLD, 1.0, 1.5, 1.5)
    assert third.verdict(1.0) is None, "two are on their way"
    refresh = Route(one.regions, one.board, QUERY, Purpose.REFRESH, 1.0, 1.5, 1.5)
    assert refresh.verdict(1.0) is not None


def test_a_verdict_says_when_to_come_again_and_names_each_region_once() -> None:
    one = late(purpose=Purpose.REVALIDATE)
    one.board.record("region-1", None, Failure(Fault.NOT_OFFERED, "OptInRequired", ""), LATE, sent_at=LATE)
    fail(one, begin(one, LATE), LATE, Failure(Fault.THROTTLED, "Code", "", answered=True, retry_after=20.0))
    verdict = one.verdict(LATE)
    assert verdict is not None
    assert verdict.retry_after == 21.0
    assert [region for region, _ in verdict.unasked] == ["region-1"]
    assert verdict.fault is Fault.REGION, "one was throttled, the other was not asked"


def test_where_no_region_may_be_asked_for_its_credentials_that_is_the_verdict() -> None:
    one = late(purpose=Purpose.COLD)
    for region in one.regions:
        one.board.record(region, None, UNSIGNED, LATE, sent_at=LATE)
    assert one.due(LATE) is None
    verdict = one.verdict(LATE)
    assert verdict is not None
    assert verdict.fault is Fault.IDENTITY
    assert [region for region, _ in verdict.unasked] == list(one.regions)


def test_the_primarys_word_is_final_and_nobody_elses() -> None:
    for primary, fault in (("region-0", Fault.DENIED), ("region-1", Fault.REGION), ("", Fault.REGION)):
        one = late(purpose=Purpose.REVALIDATE, primary=primary)
        fail(one, begin(one, LATE), LATE, DENIED)
        fail(one, begin(one, LATE), LATE)
        verdict = one.verdict(LATE)
        assert verdict is not None
        assert verdict.fault is fault


def test_a_key_is_revoked_only_after_a_reload_and_if_every_region_says_so() -> None:
    unasked = route(purpose=Purpose.REFRESH)
    unasked.board.record("region-1", None, Failure(Fault.NOT_OFFERED, "OptInRequired", ""), 0.0, sent_at=0.0)
    for _ in range(2):
        fail(unasked, begin(unasked, 0.0), 0.0, REVOKED)
    verdict = unasked.verdict(0.0)
    assert verdict is not None
    assert not verdict.revoked, "one was not asked"
    never = route(regions=1, purpose=Purpose.REFRESH, policy=RegionPolicy(reloads=0))
    fail(never, begin(never, 0.0), 0.0, REVOKED)
    verdict = never.verdict(0.0)
    assert verdict is not None
    assert not verdict.revoked, "its credentials were not loaded anew"


def test_half_an_attempts_time_is_worth_joining_whatever_the_clock_says() -> None:
    one = late()
    assert one.worth_joining(LATE + 3.75)
    assert not one.worth_joining(LATE + 3.76)
    short = Route(one.regions, one.board, QUERY, Purpose.COLD, LATE, LATE + 1.0, LATE + 1.0)
    assert short.worth_joining(LATE + 0.5)
    assert not short.worth_joining(LATE + 0.51)


def test_an_attempt_is_looked_at_when_it_may_be_silent_and_when_its_cap_comes() -> None:
    one = late(regions=1, purpose=Purpose.REFRESH)
    leg = begin(one, LATE)
    leg.silent = True
    assert one.wake_at(LATE) == leg.cap_at
    leg.silent = False
    assert one.wake_at(LATE) == LATE + POLICY.hedge_after


def test_only_a_first_request_that_is_under_way_leaves_nothing_else_to_decide() -> None:
    one = late()
    assert not one.only_begun(LATE), "none is begun"
    leg = one.due(LATE)
    assert leg is not None
    assert one.only_begun(LATE)
    assert not one.only_begun(LATE + 0.1), "it was begun before"
    leg.end(LATE, FAILED)
    assert not one.only_begun(LATE), "it could not be sent"
    hurried = Route(one.regions, one.board, QUERY, Purpose.COLD, LATE, LATE, LATE)
    hurried.legs.append(leg)
    assert not hurried.only_begun(LATE), "its time is over"
