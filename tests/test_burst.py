"""Many cold secrets at once: a busy lane is not a silent region, and a throttled reader waits for its turn."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from secretcache import SecretUnavailableError
from secretcache._regions.board import Board
from secretcache._regions.lanes import WIDEST, WIDTH, Lane
from secretcache._regions.policy import RegionPolicy
from secretcache._regions.route import Purpose, Route
from secretcache._regions.throttle import Throttle
from secretcache._runtime import SystemRuntime
from secretcache._transport import Call, Failure, Fault, Reply
from support import OSAKA, PATIENCE, TOKYO, House, InThread, answer, failure
from test_route import FAILED, POLICY, QUERY, THROTTLED, begin, fail, route

# The queue of a lane.


def queued(one: Route, now: float) -> None:
    leg = one.due(now)
    assert leg is not None
    assert leg.queued


def test_a_queued_request_stays_where_it_is_while_its_lane_moves() -> None:
    one = route(purpose=Purpose.COLD, timeout=20.0)
    queued(one, 0.0)
    for now in (0.4, 0.8, 1.2):
        one.board.moves("region-0", now)
        assert one.due(now + 0.49) is None
        assert one.to_prepare(now + 0.2) is None, "nor is the next region made ready"
    assert one.board.health("region-0", "", 0, 1.2).suspect_seconds == 0


def test_behind_silence_a_queued_request_moves_and_is_not_doubled() -> None:
    one = route(purpose=Purpose.COLD)
    queued(one, 0.0)
    one.board.moves("region-0", 0.2)
    assert one.due(0.69) is None
    assert begin(one, 0.7).region == "region-1"
    first = one.legs[0]
    assert first.withdrawn
    assert not first.running
    assert first.failure is not None
    assert first.failure.code == "Queued"


def test_what_has_moved_comes_back_if_the_other_region_fails() -> None:
    one = route(purpose=Purpose.COLD)
    queued(one, 0.0)
    fail(one, begin(one, 0.5), 0.5)
    back = begin(one, 0.5)
    assert back.region == "region-0"
    fail(one, back, 0.6)
    verdict = one.verdict(4.9)
    assert verdict is not None
    assert [leg.region for leg in verdict.legs] == ["region-1", "region-0"], "each region is told once"


def test_the_hedge_counts_from_when_a_request_is_taken_up() -> None:
    one = route(purpose=Purpose.COLD, timeout=20.0)
    leg = one.due(0.0)
    assert leg is not None
    leg.taken_at = leg.started_at = 1.0
    assert one.due(1.49) is None
    assert begin(one, 1.5).region == "region-1"


def test_secrets_that_wait_for_a_thread_longer_than_the_hedging_delay_cost_one_request_each() -> None:
    house = House()
    house.regions.hold(OSAKA)
    lane = house.cache._engine._loads._lanes[OSAKA]
    lane.widen = lambda: None  # type: ignore[method-assign] # so that the queue lasts for 2 s
    readers = [InThread(lambda name=f"s/{n}": house.cache.get(name)) for n in range(20)]  # type: ignore[misc]
    house.runtime.until_waiting(20)
    answered = 0
    while answered < 20:
        # Nothing is asked of the next region although what is queued waits longer than the hedging delay.
        gate = house.regions.gate(answered)
        if answered <= 20 - WIDTH:
            house.regions.gate(answered + WIDTH - 1)  # the lane is full again
            house.runtime.advance(0.1)
        gate.answer(answer(OSAKA, name=gate.call.query.secret.name))
        answered += 1
    assert {reader.result().region for reader in readers} == {OSAKA}
    assert house.regions.asked() == [OSAKA] * 20


def test_an_error_says_that_a_request_was_queued() -> None:
    house = House([OSAKA], timeout=1.0)
    house.regions.hold(OSAKA)
    stuck = [InThread(lambda n=n: house.cache.get(f"stuck/{n}", timeout=30.0)) for n in range(WIDTH)]  # type: ignore[misc]
    gates = [house.regions.gate(number) for number in range(WIDTH)]
    late = InThread(lambda: house.cache.get("late"))
    house.runtime.until_waiting(WIDTH + 1)
    house.runtime.advance(1.0)
    with pytest.raises(SecretUnavailableError, match="queued: every thread of this region was busy"):
        late.result()
    for gate in gates:
        gate.answer(answer(OSAKA, name=gate.call.query.secret.name))
    for reader in stuck:
        reader.result()


# The width of a lane.


def test_a_lane_grows_by_one_with_an_answer_and_stops_with_a_failure() -> None:
    lane, entered, go = Lane("here", SystemRuntime()), threading.Semaphore(0), threading.Event()

    def job() -> None:
        entered.release()
        go.wait(PATIENCE)

    for _ in range(3 * WIDEST):
        lane.submit(job)
    for _ in range(WIDTH):
        assert entered.acquire(timeout=PATIENCE)
    assert lane.at_work == WIDTH
    lane.widen()
    assert entered.acquire(timeout=PATIENCE)
    assert lane.at_work == WIDTH + 1
    for _ in range(2 * WIDEST):
        lane.widen()
    assert lane.at_work == WIDEST
    go.set()
    lane.close()
    other = Lane("there", SystemRuntime())
    other.widen()
    other.narrow()
    held = threading.Event()
    for _ in range(WIDEST):
        other.submit(partial(_wait_for, held))
    assert other.at_work == WIDTH
    held.set()
    other.close()


def _wait_for(event: threading.Event) -> None:
    event.wait(PATIENCE)


# Throttling.


def throttle(chance: float = 1.0) -> Throttle:
    return Throttle(POLICY, lambda: chance)


def test_a_gate_closes_for_a_second_at_random_and_longer_each_time_without_an_answer() -> None:
    one, now = throttle(), 0.0
    for seconds in (1.0, 2.0, 4.0, 4.0):
        one.close(now, THROTTLED, now, 0.0)
        assert one.until == now + seconds
        now += seconds
    half = throttle(0.0)
    half.close(0.0, THROTTLED, 0.0, 0.0)
    assert half.until == 0.5


def test_after_an_answer_being_throttled_again_halves_the_pace_and_closes_for_no_longer_than_that() -> None:
    one = throttle()
    one.close(0.0, THROTTLED, 0.0, 0.0)
    one.take(1.0)
    assert one.until == pytest.approx(1.0 + 1 / 8)
    one.answered(1.1, 1.0)
    assert one.gap == pytest.approx(1 / 10)
    one.close(1.2, THROTTLED, 1.15, 0.0)
    assert one.gap == pytest.approx(1 / 5)
    assert one.until == pytest.approx(1.4)
    one.answered(1.5, 1.4)
    assert one.gap == pytest.approx(1 / 5.5), "slowly from now on"


def test_a_gate_is_wide_open_again_after_ten_seconds_of_answers() -> None:
    one = throttle()
    one.close(0.0, THROTTLED, 0.0, 0.0)
    one.answered(5.0, 4.0)
    assert one.gap > 0
    one.answered(11.0, 10.5)
    assert one.gap == 0
    assert one.until < 0


def test_an_answer_to_what_was_sent_before_the_gate_closed_does_not_open_it() -> None:
    one = throttle()
    one.close(1.0, THROTTLED, 0.9, 0.0)
    one.answered(1.1, 0.95)
    assert one.until == 2.0
    assert one.turns_back(0.99)
    assert not one.turns_back(1.0)


def test_a_reader_without_a_value_waits_for_the_gate_and_asks_again() -> None:
    house = House([OSAKA], _policy=RegionPolicy())
    begun = house.runtime.now()
    house.regions.replies[OSAKA] = lambda call: (
        answer(OSAKA) if house.runtime.now() > begun + 0.5 else failure(Fault.THROTTLED, "ThrottlingException")
    )
    assert house.patiently(lambda: house.cache.get("prod/db")).region == OSAKA
    assert house.regions.asked() == [OSAKA] * 2
    assert begun + 0.5 < house.runtime.now() <= begun + 1.5


def test_the_region_that_is_ready_first_is_asked() -> None:
    house = House(_policy=RegionPolicy())
    hinted = failure(Fault.THROTTLED, "ThrottlingException")._replace(retry_after=30.0)
    begun = house.runtime.now()

    def tokyo(call: Call) -> Reply:
        over = house.runtime.now() > begun
        return answer(TOKYO, name=call.query.secret.name) if over else failure(Fault.THROTTLED)

    house.says(OSAKA, hinted)
    house.regions.replies[TOKYO] = tokyo
    assert house.patiently(lambda: house.cache.get("prod/db")).region == TOKYO
    assert house.regions.asked() == [OSAKA, TOKYO, TOKYO]


def test_without_tokens_a_reader_waits_and_does_not_fail() -> None:
    one = route(purpose=Purpose.COLD)
    while one.board.budget.take(0.0):
        pass
    fail(one, begin(one, 0.0), 0.0, THROTTLED)
    assert one.due(0.0) is None
    assert one.verdict(0.0) is None
    assert begin(one, one.wake_at(0.0)).region == "region-1"


def test_what_is_queued_when_its_region_throttles_is_not_sent() -> None:
    house = House([OSAKA], _policy=RegionPolicy())
    house.regions.hold(OSAKA)
    readers = [InThread(lambda n=n: house.cache.get(f"s/{n}")) for n in range(20)]  # type: ignore[misc]
    house.runtime.until_waiting(20)
    gates = [house.regions.gate(number) for number in range(WIDTH)]
    house.runtime.advance(0.1)
    house.regions.hold()
    gates[0].answer(failure(Fault.THROTTLED))
    board = house.cache._engine._loads.board
    house.until(lambda: board.why_not(OSAKA, house.runtime.now()) is not None)
    for gate in gates[1:]:
        gate.answer(answer(OSAKA, name=gate.call.query.secret.name))
    while house._asks():
        house.runtime.is_waited_for(readers[0].over)
    assert len(house.regions.calls) == WIDTH, "those that were under way"
    while not all(reader.over.is_set() for reader in readers):
        if house.runtime.is_waited_for(readers[0].over) and not house._asks():
            house.runtime.advance(0.05)
    assert {reader.result().region for reader in readers} == {OSAKA}
    assert len(house.regions.calls) == 20 + 1, "the one that was throttled is asked for again"


# One failure of many at once.


def test_each_of_many_secrets_that_fails_once_is_read_all_the_same() -> None:
    house = House([OSAKA], _policy=RegionPolicy(failures_in_a_row=10**6, ratio_calls=10**6))
    failed: set[str] = set()

    def once(call: Call) -> Reply:
        name = call.query.secret.name
        if name in failed:
            return answer(OSAKA, name=name)
        failed.add(name)
        return failure()

    house.regions.replies[OSAKA] = once
    readers = [InThread(lambda n=n: house.cache.get(f"s/{n}")) for n in range(20)]  # type: ignore[misc]
    while not all(reader.over.is_set() for reader in readers):
        if house.runtime.is_waited_for(readers[0].over) and not house._asks():
            house.runtime.advance(0.05)
    assert {reader.result().region for reader in readers} == {OSAKA}
    assert len(house.regions.calls) == 40


def test_a_board_counts_who_waits() -> None:
    board = Board(["a"], POLICY, lambda: 0.5, lambda: 0.0)
    board.waiting = 8
    assert board.spread(["a"], 0.0) == 0.0
    board.record("a", QUERY, THROTTLED, 0.0, sent_at=0.0)
    assert board.spread(["a"], 0.0) == 1.0
    assert FAILED.fault is Fault.REGION
    assert isinstance(THROTTLED, Failure)


def test_who_has_waited_for_longer_than_a_gate_needs_no_token_for_another_region() -> None:
    one = route(purpose=Purpose.COLD, timeout=20.0)
    while one.board.budget.take(0.0):
        pass
    fail(one, begin(one, 0.0), 0.0, THROTTLED._replace(retry_after=3.0))
    assert one.due(0.0) is None
    second = begin(one, one.wake_at(0.0))
    fail(one, second, second.wanted_at, THROTTLED._replace(retry_after=3.0))
    at = one.wake_at(second.wanted_at)
    assert at < 20.0
    assert one.due(at) is not None


# Many entries in the background.


def test_the_background_asks_no_more_than_once_a_second_whatever_ttl_is() -> None:
    house = House([OSAKA], ttl=0.0, refresh="background")
    house.cache.add_rotation_hook("prod/db", lambda _: None)
    house.rest()
    calls = len(house.regions.calls)
    house.pass_time(10.0, step=0.25)
    assert 8 <= len(house.regions.calls) - calls <= 10


def test_more_refreshes_are_under_way_as_more_are_due_and_half_a_lane_stays_free() -> None:
    house = House([OSAKA], ttl=100.0, refresh="background")
    for number in range(30):
        house.cache.get(f"s/{number}")
    house.rest()
    loads = house.cache._engine._loads
    assert loads.share_of_background == WIDTH // 2
    house.pass_time(95.0)
    assert len(house.regions.calls) == 60
    assert WIDTH // 2 < loads.share_of_background <= WIDEST // 2
    loads._lanes[OSAKA].narrow()
    assert loads.share_of_background == WIDTH // 2


def test_after_being_throttled_the_background_waits_no_longer_each_time() -> None:
    house = House([OSAKA], ttl=4.0, refresh="background", max_stale=600.0)
    house.cache.get("prod/db")
    house.fails(OSAKA, Fault.THROTTLED, "ThrottlingException")
    house.pass_time(120.0)
    house.says(OSAKA, "v2")
    house.pass_time(9.0)
    assert house.cache.get("prod/db").string == "v2"
