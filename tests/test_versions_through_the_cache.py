"""What a cache does with the versions that regions show: lag, rollback, doubt, forced reads, pairs."""

from __future__ import annotations

from functools import partial

import pytest

from secretcache import ConfigurationError, Event, SecretNotFoundError
from secretcache._transport import Call, Fault, Reply
from support import OSAKA, TOKYO, House, InThread, answer, failure

PREVIOUS = "AWSPREVIOUS"


def shows(house: House, region: str, current: str, previous: str | None = None) -> None:
    """From now on a region shows these versions."""

    def reply(call: Call) -> Reply:
        value = current if call.query.stage == "AWSCURRENT" else previous
        if value is None or call.query.stage not in ("AWSCURRENT", PREVIOUS):
            return failure(Fault.MISSING, "ResourceNotFoundException")
        return answer(region, value, VersionStages=[call.query.stage])

    house.says(region, "")
    house.regions.replies[region] = reply


def stages(house: House, since: int = 0) -> list[tuple[str, str | None]]:
    return [(call.region, call.query.stage) for call in house.regions.calls[since:] if isinstance(call, Call)]


@pytest.mark.parametrize("primary", [TOKYO, None])
def test_a_lagging_replica_does_not_take_the_reader_back(primary: str | None) -> None:
    house = House(ttl=100, primary_region=primary)
    house.cache.get("prod/db")
    shows(house, TOKYO, "v2", "v1")
    house.fails(OSAKA)
    house.runtime.advance(101)
    house.cache.get("prod/db")
    house.rest()
    house.runtime.advance(1.5)
    assert house.cache.get("prod/db").string == "v2"
    shows(house, OSAKA, "v1", "v0")
    for _ in range(4):
        house.runtime.advance(101)
        assert house.cache.get("prod/db").string == "v2"
        house.rest()


def test_the_primarys_rollback_is_accepted() -> None:
    house = House(ttl=100, primary_region=OSAKA)
    house.cache.get("prod/db")
    for value in ("v2", "v1"):
        shows(house, OSAKA, value)
        assert house.cache.refresh("prod/db").string == value
    assert house.cache.get("prod/db").string == "v1"


def test_the_region_that_had_shown_the_newer_version_may_go_back() -> None:
    house = House(ttl=100)
    for value in ("v1", "v2", "v1"):
        shows(house, OSAKA, value)
        assert house.cache.refresh("prod/db").string == value


def test_whoever_refused_it_lately_is_asked_all_the_same_when_a_replica_lags() -> None:
    """Else the primary, which has lost it for a moment, would be asked a minute later only."""
    house = House(ttl=100, primary_region=TOKYO, refresh="on_access")
    house.fails(TOKYO)
    house.cache.get("prod/db")
    shows(house, TOKYO, "v2", "v1")
    house.fails(OSAKA)
    assert house.cache.refresh("prod/db").string == "v2"
    shows(house, OSAKA, "v1", "v0")
    house.fails(TOKYO, Fault.MISSING, "ResourceNotFoundException")
    assert house.cache.refresh("prod/db").string == "v2", "row I"
    shows(house, TOKYO, "v1", "v2")  # rolled back
    house.runtime.advance(2.0)
    assert house.cache.get("prod/db").string == "v1"


def test_a_version_id_read_directly_never_changes() -> None:
    house = House()
    shown = answer(OSAKA, "v1")["VersionId"]
    house.says(OSAKA, answer(OSAKA, "v1"))
    first = house.cache.get("prod/db", version_id=shown)
    house.runtime.advance(1000)
    assert house.cache.get("prod/db", version_id=shown) is first


def test_a_replica_that_diverged_is_told_and_not_flapped_to() -> None:
    house = House(ttl=100, regions=[OSAKA, TOKYO])
    events: list[Event] = []
    house.cache.add_event_hook(events.append)
    shows(house, OSAKA, "osaka", "v0")
    house.cache.get("prod/db")
    house.fails(OSAKA)
    shows(house, TOKYO, "tokyo", "v0")
    for _ in range(5):
        house.runtime.advance(101)
        assert house.cache.get("prod/db").string == "osaka"
        house.rest()
    assert "divergence" in [event.name for event in events]
    house.runtime.advance(901)
    house.cache.get("prod/db")
    house.rest()
    house.runtime.advance(61)
    assert house.cache.get("prod/db").string == "tokyo", "nobody confirmed the other one for 15 minutes"


# Forced by a version that does not work.


def test_another_version_that_is_held_is_returned_without_a_request() -> None:
    house = House()
    held = house.cache.get("prod/db")
    assert house.cache.refresh("prod/db", newer_than="another") is held
    assert len(house.regions.calls) == 1


def test_the_primary_is_asked_first_for_a_newer_version() -> None:
    house = House(primary_region=TOKYO)
    held = house.cache.get("prod/db")
    shows(house, TOKYO, "v2", "v1")
    assert house.cache.refresh("prod/db", newer_than=held.version_id).string == "v2"
    assert house.regions.asked() == [OSAKA, TOKYO]


def test_without_a_primary_every_region_is_asked_until_one_shows_another_version() -> None:
    house = House()
    held = house.cache.get("prod/db")
    shows(house, TOKYO, "v2", "v1")
    assert house.cache.refresh("prod/db", newer_than=held.version_id).string == "v2"
    assert stages(house, 1)[:2] == [(OSAKA, "AWSCURRENT"), (TOKYO, "AWSCURRENT")]


def test_the_current_version_is_returned_even_if_it_is_still_that_one() -> None:
    house = House()
    held = house.cache.get("prod/db")
    assert house.cache.refresh("prod/db", newer_than=held.version_id).version_id == held.version_id


def test_all_who_failed_with_a_version_cost_two_requests_one_second_apart() -> None:
    house = House(regions=[OSAKA], primary_region=OSAKA)
    held = house.cache.get("prod/db")
    house.regions.hold(OSAKA)
    ask = partial(house.cache.refresh, "prod/db", newer_than=held.version_id)
    first = InThread(ask)
    gate = house.regions.gate()
    others = [InThread(ask) for _ in range(20)]
    house.runtime.until_waiting(21)
    gate.answer(answer(OSAKA, "v1"))
    assert first.result().version_id == held.version_id
    assert len(house.regions.calls) == 2
    house.regions.hold()
    house.says(OSAKA, "v2")
    house.runtime.until_waiting(20)
    house.runtime.advance(1.0)
    assert {other.result().string for other in others} == {"v2"}
    assert len(house.regions.calls) == 3


def test_who_has_no_time_to_wait_for_its_turn_gets_the_current_value() -> None:
    house = House(regions=[OSAKA], timeout=0.5)
    held = house.cache.get("prod/db")
    house.cache.refresh("prod/db", newer_than=held.version_id)
    again = InThread(lambda: house.cache.refresh("prod/db", newer_than=held.version_id))
    house.runtime.until_waiting(1)
    house.runtime.advance(0.5)
    assert again.result().version_id == held.version_id
    assert len(house.regions.calls) == 2


@pytest.mark.parametrize("wrong", ["", 3, True])
def test_a_malformed_newer_than_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="newer_than"):
        House().cache.refresh("prod/db", newer_than=wrong)  # type: ignore[arg-type]


# Pairs.


def test_a_pair_is_two_lookups_while_both_are_fresh() -> None:
    house = House()
    shows(house, OSAKA, "v2", "v1")
    current, previous = house.cache.get_pair("prod/db")
    assert previous is not None
    assert (current.string, previous.string) == ("v2", "v1")
    calls = len(house.regions.calls)
    assert house.cache.get_pair("prod/db") == (current, previous)
    assert len(house.regions.calls) == calls


def test_after_a_rotation_the_previous_version_is_the_one_that_was_superseded() -> None:
    house = House(regions=[OSAKA])
    shows(house, OSAKA, "v1", "v0")
    house.cache.get_pair("prod/db")
    shows(house, OSAKA, "v2", "v1")
    house.cache.refresh("prod/db")
    current, previous = house.cache.get_pair("prod/db")
    assert previous is not None
    assert (current.string, previous.string) == ("v2", "v1")


@pytest.mark.parametrize("options", [{"regions": [OSAKA]}, {}, {"primary_region": TOKYO}], ids=str)
def test_a_pair_after_a_rotation_that_the_cache_has_not_seen_is_no_version_twice(options: dict[str, object]) -> None:
    house = House(**options)  # type: ignore[arg-type]
    for region in house.regions.replies:
        shows(house, region, "two", "one")
    house.cache.get("prod/db")
    for region in house.regions.replies:
        shows(house, region, "three", "two")
    current, previous = house.cache.get_pair("prod/db")
    assert previous is not None
    assert (current.string, previous.string) == ("three", "two")
    assert house.cache.get("prod/db").string == "three"
    calls = len(house.regions.calls)
    assert house.cache.get_pair("prod/db") == (current, previous)
    assert len(house.regions.calls) == calls


def test_a_previous_version_that_is_the_current_one_held_has_that_asked_for_again() -> None:
    house = House(regions=[OSAKA])
    shows(house, OSAKA, "two", "one")
    house.cache.get("prod/db")
    shows(house, OSAKA, "three", "two")
    assert house.cache.get("prod/db", version_stage=PREVIOUS).string == "two"
    assert house.cache.get("prod/db").string == "three"


def test_a_region_that_shows_one_version_as_both_makes_no_pair_of_it() -> None:
    house = House(regions=[OSAKA])
    shows(house, OSAKA, "two", "two")
    current, previous = house.cache.get_pair("prod/db")
    assert (current.string, previous) == ("two", None)


def test_without_a_previous_version_there_is_none() -> None:
    house = House()
    for region in (OSAKA, TOKYO):
        shows(house, region, "v1")
    current, previous = house.cache.get_pair("prod/db")
    assert (current.string, previous) == ("v1", None)


def test_a_pair_of_a_secret_that_is_missing_is_an_error() -> None:
    house = House()
    for region in (OSAKA, TOKYO):
        house.fails(region, Fault.MISSING)
    with pytest.raises(SecretNotFoundError):
        house.cache.get_pair("prod/db")


# The primary, learned.


def test_the_primary_is_learned_once_where_versions_disagree() -> None:
    house = House(ttl=100)
    told: list[str] = []

    def described(call: object) -> Reply:
        told.append("asked")
        return {"PrimaryRegion": TOKYO}

    house.regions.described = described
    house.cache.get("prod/db")
    shows(house, TOKYO, "v2", "v1")
    house.fails(OSAKA)
    house.runtime.advance(101)
    house.cache.get("prod/db")
    house.rest()
    house.until(lambda: bool(told))
    house.runtime.advance(2)
    house.cache.get("prod/db")
    house.rest()
    house.runtime.advance(2)
    assert house.cache.get("prod/db").string == "v2"
    assert told == ["asked"]
