"""Requests of one secret that are under way beside each other while it rotates: who insists on a new one gets it."""

from __future__ import annotations

from functools import partial

import pytest

from secretcache._transport import Fault
from support import NOTHING_REMEMBERED, OSAKA, TOKYO, House, InThread, answer, failure

NAME = "prod/db"


class Overlap:
    """A cold read, and a `refresh()` called after the rotation completed: both requests are under way."""

    def __init__(self, **options: object) -> None:
        self.house = House(_policy=NOTHING_REMEMBERED, **options)  # type: ignore[arg-type]
        self.hooked: list[str] = []
        self.house.cache.add_rotation_hook(NAME, lambda event: self.hooked.append(event.new.string))
        self.house.regions.hold(OSAKA, TOKYO)
        self.cold = InThread(partial(self.house.cache.get, NAME))
        self.first = self.house.regions.gate(0)
        self.refresh = InThread(partial(self.house.cache.refresh, NAME))
        self.second = self.house.regions.gate(1)
        self.house.regions.hold()

    def rotated(self) -> None:
        for region in (OSAKA, TOKYO):
            self.house.says(region, "v2")


@pytest.mark.parametrize(
    "options",
    [{"regions": [OSAKA]}, {}, {"primary_region": OSAKA}, {"regions": [OSAKA], "primary_region": OSAKA}],
    ids=str,
)
def test_refresh_returns_what_its_own_request_was_answered_with(options: dict[str, object]) -> None:
    one = Overlap(**options)
    one.rotated()
    one.first.answer(answer(OSAKA, "v1"))
    assert one.cold.result().string == "v1"
    one.second.answer(answer(OSAKA, "v2"))
    assert one.refresh.result().string == "v2"
    assert one.house.cache.get(NAME).string == "v2", "at once, not seconds later"
    assert one.hooked == ["v2"]
    assert one.house.regions.asked() == [OSAKA, OSAKA, OSAKA], "the region is asked once more, and no other"


def test_a_region_that_saw_to_the_requests_in_the_other_order_takes_nobody_back() -> None:
    """The rotation came between the two, and the region saw to the later request first."""
    one = Overlap(regions=[OSAKA])
    one.rotated()
    one.first.answer(answer(OSAKA, "v2"))
    assert one.cold.result().string == "v2"
    one.second.answer(answer(OSAKA, "v1"))
    assert one.refresh.result().string == "v2"
    assert one.hooked == []


def test_a_late_view_does_not_end_a_forced_read_with_a_value_that_was_asked_for_before_it() -> None:
    """v1 is held. A read brings v2; the refresh that began after it was seen to before the rotation."""
    house = House(regions=[OSAKA], _policy=NOTHING_REMEMBERED)
    house.cache.get(NAME)
    house.regions.hold(OSAKA)
    early = InThread(partial(house.cache.refresh, NAME))
    first = house.regions.gate(0)
    late = InThread(partial(house.cache.refresh, NAME))
    second = house.regions.gate(1)
    house.regions.hold()
    house.says(OSAKA, "v2")
    first.answer(answer(OSAKA, "v2"))
    assert early.result().string == "v2"
    second.answer(answer(OSAKA, "v1"))
    found = late.result()
    assert found.string == "v2"
    assert len(house.regions.calls) == 4, "asked again"


def test_where_the_region_fails_when_it_is_asked_again_the_forced_reader_gets_what_its_request_brought() -> None:
    one = Overlap(regions=[OSAKA])
    one.house.fails(OSAKA)
    one.first.answer(answer(OSAKA, "v1"))
    one.cold.result()
    one.second.answer(answer(OSAKA, "v2"))
    assert one.refresh.result().string == "v2", "the value held was asked for before refresh() was called"
    assert len(one.house.regions.calls) == 3, "once more, not again and again"
    assert one.house.cache.get(NAME).string == "v1", "nobody knows which of the two came first: it is not held"
    assert one.hooked == []


def test_a_region_that_lags_is_not_asked_again() -> None:
    house = House(primary_region=TOKYO, _policy=NOTHING_REMEMBERED)
    house.fails(OSAKA)
    house.cache.get(NAME)
    house.says(TOKYO, "v2")
    assert house.cache.refresh(NAME).string == "v2"
    house.says(OSAKA, answer(OSAKA, "v1"))
    house.fails(TOKYO)
    calls = len(house.regions.calls)
    assert house.cache.refresh(NAME).string == "v2", "row I: what is held stays"
    assert house.regions.asked()[calls:] == [OSAKA, TOKYO]


def test_a_late_overlapping_answer_has_its_secret_asked_for_at_once() -> None:
    """The reader of the second request has gone: its flight is over when the answer comes."""
    house = House(regions=[OSAKA], timeout=0.5, _policy=NOTHING_REMEMBERED)
    house.regions.hold(OSAKA)
    cold = InThread(partial(house.cache.get, NAME))
    first = house.regions.gate(0)
    refresh = InThread(partial(house.cache.refresh, NAME))
    second = house.regions.gate(1)
    first.answer(answer(OSAKA, "v1"))
    cold.result()
    house.runtime.until_waiting_for(0.5)
    house.runtime.advance(0.6)
    with pytest.raises(Exception, match="no region could answer"):
        refresh.result()
    house.regions.hold()
    house.says(OSAKA, "v2")
    second.answer(answer(OSAKA, "v2"))
    house.until(lambda: house.cache.stats().regions[OSAKA].answers == 2)
    assert house.cache.get(NAME).string == "v2"


def test_an_overlapping_answer_is_no_reason_to_take_what_a_refusal_forgot() -> None:
    one = Overlap(regions=[OSAKA])
    one.house.says(OSAKA, failure(Fault.DENIED))
    one.first.answer(failure(Fault.DENIED))
    with pytest.raises(Exception, match="refused"):
        one.cold.result()
    one.second.answer(answer(OSAKA, "v2"))
    assert one.refresh.result().string == "v2"
