"""Two secrets made separately under one name in two regions: the second never takes the place of the first."""

from __future__ import annotations

import pytest

from secretcache import Event, SecretNotFoundError
from secretcache._transport import Call, Fault, Reply
from support import NOTHING_REMEMBERED, OSAKA, TOKYO, House, answer, arn

NAME = "prod/db"


def has(house: House, region: str, value: str, suffix: str) -> None:
    """From now on a region has a secret of that suffix."""

    def reply(call: Call) -> Reply:
        return answer(region, value, ARN=arn(region, NAME, suffix), VersionStages=[call.query.stage])

    house.regions.replies[region] = reply


class TwoSecrets:
    def __init__(self, **options: object) -> None:
        self.house = House(ttl=60.0, _policy=NOTHING_REMEMBERED, **options)  # type: ignore[arg-type]
        self.events: list[Event] = []
        self.hooked: list[str] = []
        self.house.cache.add_event_hook(self.events.append)
        self.house.cache.add_rotation_hook(NAME, lambda event: self.hooked.append(event.new.string))
        has(self.house, OSAKA, "ours", "AAAAAA")
        has(self.house, TOKYO, "theirs", "BBBBBB")
        assert self.house.cache.get(NAME).string == "ours"

    def told(self) -> list[str]:
        return [str(event.detail) for event in self.events if event.name == "divergence"]


@pytest.mark.parametrize("primary", [None, OSAKA])
def test_one_failure_at_a_refresh_does_not_bring_the_other_secret(primary: str | None) -> None:
    one = TwoSecrets(primary_region=primary)
    one.house.fails(OSAKA)
    one.house.runtime.advance(61)
    for _ in range(180):
        assert one.house.cache.get(NAME).string == "ours"
        one.house.runtime.advance(20.0)
    assert one.hooked == []
    both = [told for told in one.told() if arn(OSAKA, NAME, "AAAAAA") in told and arn(TOKYO, NAME, "BBBBBB") in told]
    assert 1 <= len(both) <= 5, "now and then"
    assert one.house.cache.region_health()[TOKYO].failures > 0
    has(one.house, OSAKA, "ours", "AAAAAA")
    assert one.house.cache.refresh(NAME).string == "ours"


def test_the_primary_is_believed_and_nothing_alternates_afterwards() -> None:
    one = TwoSecrets(primary_region=TOKYO)
    one.house.fails(OSAKA)
    one.house.runtime.advance(61)
    assert one.house.cache.get(NAME).string == "theirs"
    has(one.house, OSAKA, "ours", "AAAAAA")
    for _ in range(10):
        one.house.runtime.advance(61)
        assert one.house.cache.get(NAME).string == "theirs"
    assert one.hooked == ["theirs"]
    assert any("AAAAAA" in told and "BBBBBB" in told for told in one.told())


def test_a_secret_made_again_is_believed_from_the_region_that_showed_the_one_before() -> None:
    one = TwoSecrets()
    has(one.house, OSAKA, "made again", "CCCCCC")
    assert one.house.cache.refresh(NAME).string == "made again"
    assert one.hooked == ["made again"]


def test_every_region_that_has_shown_a_secret_has_a_say_in_it() -> None:
    one = TwoSecrets()
    has(one.house, TOKYO, "ours", "AAAAAA")
    one.house.fails(OSAKA)
    one.house.cache.refresh(NAME)
    has(one.house, OSAKA, "made again", "CCCCCC")
    assert one.house.cache.refresh(NAME).string == "made again"


@pytest.mark.parametrize("stage", ["AWSPREVIOUS", "AWSPENDING"])
def test_another_stage_of_the_other_secret_is_not_taken_either(stage: str) -> None:
    one = TwoSecrets()
    one.house.fails(OSAKA, Fault.MISSING, "ResourceNotFoundException")
    with pytest.raises(Exception, match="no listed region has secret"):
        one.house.cache.get(NAME, version_stage=stage)


def test_the_other_secret_is_there_for_who_asks_for_it_by_its_arn() -> None:
    one = TwoSecrets()
    one.house.fails(OSAKA, Fault.MISSING, "ResourceNotFoundException")
    assert one.house.cache.get(arn(TOKYO, NAME, "BBBBBB")).string == "theirs"
    assert one.house.cache.get(NAME).string == "ours"
    assert one.hooked == []


def test_what_may_not_be_served_any_more_guards_nothing() -> None:
    one = TwoSecrets(max_stale=30.0)
    one.house.fails(OSAKA)
    one.house.runtime.advance(91)
    assert one.house.cache.get(NAME).string == "theirs"


def test_a_batch_does_not_bring_the_other_secret() -> None:
    one = TwoSecrets()
    one.house.fails(OSAKA)
    one.house.cache.prefetch([NAME, "prod/api"])
    assert one.house.cache.get(NAME).string == "ours"
    assert one.hooked == []


class RefusedForGood(TwoSecrets):
    """Ours is not there any more; its AWSPREVIOUS is held yet."""

    def __init__(self) -> None:
        super().__init__()
        assert self.house.cache.get(NAME, version_stage="AWSPREVIOUS").string == "ours"
        self.house.fails(OSAKA, Fault.MISSING, "ResourceNotFoundException")
        with pytest.raises(SecretNotFoundError):
            self.house.cache.refresh(NAME)
        self.house.runtime.advance(11)


def test_once_ours_is_refused_for_good_the_other_secret_is_read() -> None:
    one = RefusedForGood()
    assert one.house.cache.get(NAME).string == "theirs"
    assert one.house.cache.get(NAME, version_stage="AWSPREVIOUS").string == "theirs", "both are of one secret"
    assert one.hooked == ["theirs"]


def test_what_is_held_of_the_refused_one_is_served_until_then() -> None:
    one = RefusedForGood()
    assert one.house.cache.get(NAME, version_stage="AWSPREVIOUS").string == "ours"


def test_once_ours_is_back_the_other_secret_does_not_take_its_place() -> None:
    one = RefusedForGood()
    has(one.house, OSAKA, "ours", "AAAAAA")
    assert one.house.cache.get(NAME).string == "ours"
    one.house.fails(OSAKA)
    one.house.runtime.advance(61)
    assert one.house.cache.get(NAME).string == "ours"
    assert one.hooked == []


def test_a_secret_that_was_read_by_its_arn_alone_guards_its_name() -> None:
    house = House(ttl=60.0, _policy=NOTHING_REMEMBERED)
    has(house, OSAKA, "ours", "AAAAAA")
    has(house, TOKYO, "theirs", "BBBBBB")
    assert house.cache.get(arn(OSAKA, NAME, "AAAAAA")).string == "ours"
    house.fails(OSAKA)
    assert house.cache.get(NAME).string == "ours", "that the account is ours is learned from the other one's answer"
