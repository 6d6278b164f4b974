"""What is asked for while the same secret is refused, or while an earlier request still waits for its answer."""

from __future__ import annotations

import pytest

from secretcache import Secret, SecretAccessDeniedError, SecretNotFoundError
from secretcache._flight import Waiter
from secretcache._transport import Fault
from support import OSAKA, TOKYO, Gate, House, InThread, answer, arn, failure


def read_by_name_under_way() -> tuple[House, InThread, Gate]:
    """A cache, one who reads a secret, and the request that waits for its answer; later ones do not."""
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    reader = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate(0)
    house.regions.hold()
    return house, reader, gate


def test_what_the_primary_said_before_the_process_stood_still_is_remembered() -> None:
    house = House(primary_region=TOKYO)
    house.regions.hold(OSAKA)
    house.says(TOKYO, failure(Fault.DELETED))
    reading = InThread(lambda: house.cache.get("prod/db"))
    house.regions.gate(0)
    for seconds in (0.3, 0.2):  # the next region's client is made, then it is asked
        house.runtime.until_waiting_for(seconds)
        house.runtime.advance(seconds)
    house.until(lambda: house.cache.stats().regions[TOKYO].failures == 1)
    house.runtime.advance(60)
    with pytest.raises(SecretNotFoundError):
        reading.result()
    with pytest.raises(SecretNotFoundError, match="remembered"):
        house.cache.get("prod/db")


def test_an_answer_under_one_id_ends_the_memory_of_a_refusal_under_another() -> None:
    house = House(regions=[OSAKA])
    house.says(OSAKA, failure(Fault.MISSING))
    for _ in range(2):
        with pytest.raises(SecretNotFoundError):
            house.cache.get("prod/db")
    assert len(house.regions.calls) == 1, "it is remembered"
    house.says(OSAKA, "v1")
    assert house.cache.get(arn(OSAKA)).string == "v1"
    assert house.cache.get("prod/db").string == "v1"


def test_a_refusal_is_not_remembered_where_another_id_was_answered_since_it_was_asked_for() -> None:
    house, early, gate = read_by_name_under_way()
    house.cache.get(arn(OSAKA))
    gate.answer(failure(Fault.MISSING))
    with pytest.raises(SecretNotFoundError):
        early.result()
    assert house.cache.get("prod/db").string == "v1"


def test_an_answer_asked_for_before_a_refusal_under_another_id_is_not_held() -> None:
    house, early, gate = read_by_name_under_way()
    house.says(OSAKA, failure(Fault.DENIED))
    with pytest.raises(SecretAccessDeniedError):
        house.cache.get(arn(OSAKA))
    gate.answer(answer(OSAKA))
    assert early.result().string == "v1"
    with pytest.raises(SecretAccessDeniedError):
        house.cache.get("prod/db")


def test_nobody_joins_what_was_asked_for_before_a_refusal_under_another_id() -> None:
    house, early, gate = read_by_name_under_way()
    house.says(OSAKA, failure(Fault.DENIED))
    with pytest.raises(SecretAccessDeniedError):
        house.cache.get(arn(OSAKA))
    with pytest.raises(SecretAccessDeniedError):
        house.cache.get("prod/db")
    gate.answer(answer(OSAKA))
    assert early.result().string == "v1"


def test_a_name_made_again_is_found_though_a_version_of_the_one_before_was_read_by_its_arn() -> None:
    house = House(regions=[OSAKA])
    house.cache.get("prod/api")  # whose account is our own
    old = house.cache.get(arn(OSAKA), version_id=house.cache.get("prod/api").version_id)
    house.says(OSAKA, failure(Fault.MISSING))
    with pytest.raises(SecretNotFoundError):
        house.cache.get("prod/db")  # it is asked for by the ARN it is known by
    again = {**answer(OSAKA, "made again"), "ARN": arn(OSAKA, suffix="ZZZZZZ")}
    house.says(OSAKA, again)
    assert house.cache.get("prod/db").string == "made again" != old.string


class TwoRefreshes:
    """The first asked the primary at 1000 s, the second at 1000.1 s; it was silent, and each now asks the replica."""

    def __init__(self) -> None:
        self.house = House(regions=[TOKYO, OSAKA], primary_region=TOKYO, timeout=12)
        self.house.cache.get("prod/db")
        self.house.regions.hold(OSAKA, TOKYO)
        self.first, self.second = (self._refresh(number) for number in range(2))
        for number, seconds in [(2, 2.35), (3, 0.1)]:  # the cap is at 2.5 s
            self.house.runtime.advance(seconds)
            self.house.regions.gate(number)

    def _refresh(self, number: int) -> InThread:
        refresh = InThread(lambda: self.house.cache.refresh("prod/db"))
        self.house.regions.gate(number)
        self.house.runtime.advance(0.1)
        return refresh

    def answers(self, number: int, version: str) -> None:
        gate = self.house.regions.gates[number]
        calls = self.house.cache.stats().regions[gate.call.region].answers
        gate.answer(answer(gate.call.region, version))
        self.house.until(lambda: self.house.cache.stats().regions[gate.call.region].answers > calls)
        self.house.settle()


def test_a_refresh_that_meets_a_lagging_replica_returns_the_newer_value_that_came_late() -> None:
    one = TwoRefreshes()
    one.answers(0, "v2")
    one.answers(3, "v1")
    assert one.second.result().string == one.house.cache.get("prod/db").string == "v2"


def test_a_refresh_returns_its_own_answer_where_one_of_before_it_comes_before_it_is_read() -> None:
    one = TwoRefreshes()
    conclude = one.house.cache._engine.conclude

    def overtaken(waiter: Waiter) -> Secret:
        one.answers(0, "v2")
        return conclude(waiter)

    one.house.cache._engine.conclude = overtaken  # type: ignore[method-assign]
    one.answers(3, "v1")
    assert one.second.result().requested_at > 1002.6
    assert one.house.cache.get("prod/db").string == "v2"


def test_a_later_answer_with_the_same_version_takes_the_place_of_a_late_one_that_was_the_newer() -> None:
    one = TwoRefreshes()
    one.answers(3, "v1")
    one.answers(0, "v2")
    assert one.house.cache.get("prod/db").requested_at == 1000.0
    one.answers(1, "v2")
    assert one.house.cache.get("prod/db").requested_at == 1000.1
