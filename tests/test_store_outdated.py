"""What an answer is worth that comes after its secret was dropped, moved on or made again: the store by itself."""

from __future__ import annotations

import pytest

from secretcache._ids import SecretId, parse_secret_id
from secretcache._lineage import Lineage
from secretcache._store import Store
from store_ground import MAX_STALE, TTL, by_arn, by_name, names, put, secret, store
from support import OSAKA, REGIONS, TOKYO, arn

DEAD = TTL + MAX_STALE


def moved(primary: str | None = OSAKA) -> Store:
    """AWSCURRENT went from v1 to v2, which Osaka showed at 5 s in the request of ticket 2."""
    held = store(primary=primary)
    put(held, "a", 1)
    put(held, "a", 2, version="v2", at=5.0)
    assert not held.outdated
    return held


def dropped(primary: str | None = OSAKA) -> Store:
    """And was refused then: what was asked for up to ticket 9 is not held."""
    held = moved(primary)
    held.refuse(by_name(), 9)
    assert held.lineage_of(SecretId("a")) is None, "nothing is held under that name"
    return held


def outdated(held: Store) -> bool:
    return held.outdated


def lineage(held: Store) -> Lineage:
    found = held.lineage_of(SecretId("a"))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("version", "region", "ticket", "outdated"),
    [
        ("v1", TOKYO, 8, True),  # superseded
        ("v1", OSAKA, 1, True),  # late, and superseded
        ("v2", TOKYO, 8, False),  # the current one
        ("v2", OSAKA, 2, False),
        ("v3", OSAKA, 8, False),  # the primary has moved on
        ("v3", TOKYO, 8, True),  # nobody can place it
    ],
)
def test_of_what_may_not_be_held_any_more_it_is_told_whether_it_is_behind(
    version: str,
    region: str,
    ticket: int,
    outdated: bool,  # noqa: FBT001
) -> None:
    held = dropped()
    assert held.put(by_name(), secret("a", version, region, at=6.0), ticket, 7.0) is None
    assert held.outdated is outdated
    held.outdated = True
    assert held.put(by_name(), secret("a", "v2", TOKYO, at=6.0), 8, 7.0) is None
    assert held.outdated, "one of several was"


def test_after_a_quarter_of_an_hour_a_version_that_nobody_can_place_is_not_behind() -> None:
    held = dropped(primary=None)
    assert held.put(by_name(), secret("a", "v3", TOKYO, at=6.0), 8, 906.0) is None
    assert not held.outdated


def test_what_the_primary_shows_is_never_behind_though_another_region_was_read_before() -> None:
    held = dropped(primary=TOKYO)
    assert held.put(by_name(), secret("a", "v3", TOKYO, at=6.0), 8, 7.0) is None
    assert not held.outdated
    assert forgotten(primary=TOKYO).put(by_name(), secret("a", "v3", TOKYO, at=6.0), 3, 7.0) is not None


def test_another_stage_or_version_is_never_behind() -> None:
    held = dropped()
    held.forget(SecretId("a"), 9)
    for query in (by_name(stage="AWSPREVIOUS"), by_name(stage=None, version_id="v1")):
        assert held.put(query, secret("a", "v1", TOKYO), 8, 7.0) is None
        assert not held.outdated


def test_a_secret_whose_current_version_went_while_another_stayed_remembers_it_too() -> None:
    held = moved()
    held.put(by_name(stage=None, version_id="v1"), secret("a", "v1"), 3, 0.0)
    held.refuse(by_name(), 9)
    assert lineage(held).current == "v2"
    assert held.put(by_name(), secret("a", "v1", TOKYO, at=6.0), 8, 7.0) is None
    assert held.outdated


def test_what_is_known_of_one_secret_says_nothing_of_another() -> None:
    held = dropped()
    assert held.put(by_name("b"), secret("b", "v1"), 1, 7.0) is not None
    assert not held.outdated


@pytest.mark.parametrize(("at", "outdated"), [(DEAD + 4.9, False), (DEAD + 5.0, True)])
@pytest.mark.parametrize("version", ["v1", "v3"])
def test_a_late_answer_of_another_version_is_no_answer_once_what_is_held_may_not_be_served(
    version: str,
    at: float,
    outdated: bool,  # noqa: FBT001
) -> None:
    held = moved()
    put(held, "a", 5, version="v2", at=5.0)
    held.put(by_name(), secret("a", version), 4, at)
    assert held.outdated is outdated
    held.outdated = True
    held.put(by_name(), secret("a", version), 4, 0.0)
    assert held.outdated, "one of several was"


@pytest.mark.parametrize(("at", "outdated"), [(DEAD + 7.9, False), (DEAD + 8.0, True)])
def test_a_late_answer_that_may_not_be_held_is_of_use_where_a_later_one_stands(at: float, outdated: bool) -> None:  # noqa: FBT001
    held = dropped()
    stands = held.put(by_name(), secret("a", "v2", OSAKA, at=8.0), 10, 8.0)
    for version in ("v3", "v1"):
        held.outdated = False
        assert held.put(by_name(), secret("a", version, OSAKA, at=6.0), 1, at) is stands
        assert held.outdated is outdated
    assert held.put(by_name(), secret("a", "v1", TOKYO, at=6.0), 8, 8.0) is stands
    assert held.outdated, "it lags: the primary is asked"


@pytest.mark.parametrize(("at", "outdated"), [(DEAD - 0.1, False), (DEAD, True)])
def test_so_it_is_where_only_the_version_that_stands_was_ever_seen(at: float, outdated: bool) -> None:  # noqa: FBT001
    held = store()
    held.refuse(by_name(), 9)
    stands = put(held, "a", 10)
    assert held.put(by_name(), secret("a", "v2", TOKYO, at=6.0), 9, at) is stands
    assert held.outdated is outdated


def test_a_late_answer_with_the_version_held_is_as_good_as_what_is_held() -> None:
    held = store(primary=OSAKA)
    put(held, "a", 5)
    held.put(by_name(), secret("a", "v1"), 4, DEAD + 9)
    assert not held.outdated
    held = moved()
    put(held, "a", 5, version="v2", at=5.0)
    held.put(by_name(), secret("a", "v2"), 4, DEAD + 9)
    assert not held.outdated


def forgotten(primary: str | None = OSAKA) -> Store:
    held = moved(primary)
    held.forget(SecretId("a"), 2)
    return held


@pytest.mark.parametrize(
    ("version", "region", "held_again"),
    [("v2", TOKYO, True), ("v3", OSAKA, True), ("v3", TOKYO, False), ("v1", TOKYO, False)],
)
def test_a_cold_read_does_not_go_back_behind_what_was_read_before(
    version: str,
    region: str,
    held_again: bool,  # noqa: FBT001
) -> None:
    held = forgotten()
    entry = held.put(by_name(), secret("a", version, region, at=6.0), 3, 7.0)
    assert (entry is not None, held.outdated) == (held_again, not held_again)
    if entry is not None:
        assert lineage(held).shown[region] == (version, 3), "who showed it is known again"


def test_a_cold_read_takes_a_version_that_nobody_could_place_for_a_quarter_of_an_hour() -> None:
    assert forgotten(None).put(by_name(), secret("a", "v3", TOKYO, at=6.0), 3, 900.0) is None
    assert forgotten(None).put(by_name(), secret("a", "v3", TOKYO, at=906.0), 3, 906.0) is not None


def test_the_last_resort_takes_the_place_without_being_sure_and_any_other_with() -> None:
    held = forgotten()
    held.put(by_name(), secret("a", "v3", OSAKA, at=6.0), 3, 7.0)
    assert lineage(held).superseded == ("v1", "v2")
    held = forgotten()
    held.put(by_name(), secret("a", "v3", TOKYO, at=6.0), 3, 7.0, last_resort=True)
    assert lineage(held).superseded == ("v1",)


def test_an_answer_takes_the_place_of_one_that_stands_though_another_stage_was_dropped_since() -> None:
    held = moved()
    held.put(by_name(stage="AWSPENDING"), secret("a", "v3"), 3, 0.0)
    held.refuse(by_name(stage="AWSPENDING"), 9)
    entry = held.put(by_name(), secret("a", "v3", OSAKA, at=6.0), 8, 7.0)
    assert entry is not None
    assert (entry.secret.version_id, held.outdated) == ("v3", False)
    assert held.put(by_name(stage="AWSPENDING"), secret("a", "v4"), 8, 7.0) is None


def test_a_value_that_turns_out_to_be_superseded_goes_though_the_newer_one_may_not_be_held() -> None:
    held = store(primary=TOKYO)
    put(held, "a", 1)
    held.forget(SecretId("a"), 9)
    put(held, "a", 10, region=OSAKA)
    assert held.put(by_name(), secret("a", "v2", TOKYO, at=6.0), 9, 7.0) is None, "asked for before"
    assert not outdated(held), "who waits gets it"
    assert held.find(by_name()) is None
    assert held.put(by_name(), secret("a", "v1", OSAKA, at=8.0), 11, 8.0) is None
    assert held.outdated
    assert held.put(by_name(), secret("a", "v2", OSAKA, at=9.0), 12, 9.0) is not None


def test_a_value_stands_where_an_answer_that_may_not_be_held_shows_the_same_or_an_older_one() -> None:
    held = store(primary=TOKYO)
    put(held, "a", 1)
    put(held, "a", 2, version="v2", region=TOKYO)
    held.forget(SecretId("a"), 9)
    entry = put(held, "a", 10, version="v2", region=OSAKA)
    for version, outdated in [("v2", False), ("v1", True)]:
        assert held.put(by_name(), secret("a", version, TOKYO, at=6.0), 9, 7.0) is entry
        assert (held.outdated, held.find(by_name()), entry.ticket) == (outdated, entry, 10)
        assert entry.secret.version_id == "v2"


def test_what_was_refused_after_it_was_asked_for_is_not_held_but_whether_it_is_behind_is_known() -> None:
    held = dropped()
    held.refuse(by_name(), 11)
    assert held.put(by_name(), secret("a", "v1", TOKYO, at=6.0), 10, 7.0) is None
    assert held.outdated, "it was superseded"
    held.outdated = False
    assert held.put(by_name(), secret("a", "v2", TOKYO, at=6.0), 11, 7.0) is None
    assert not held.outdated
    assert held.put(by_name(), secret("a", "v2", TOKYO, at=6.0), 12, 7.0) is not None


# The ids.


def test_no_id_leads_to_what_was_removed_and_every_one_led_there() -> None:
    full = [arn(region, "a") for region in REGIONS]
    partial = [arn(region, "a", "") for region in REGIONS]
    for asked in ("a", full[0], partial[1]):
        held = store()
        entry = held.put(by_arn(asked), secret("a"), 1, 0.0)
        assert entry is not None
        texts = ["a", *full, *partial]
        for text in texts:
            held.keep_hot(text, entry)
        held.keep_hot(("a", "AWSCURRENT", None), entry)
        held.forget(parse_secret_id(asked, REGIONS), 1)
        assert not held.hot
        assert [held.find(by_arn(text)) for text in texts] == [None] * len(texts)


def test_a_name_is_found_by_partial_arn_however_it_was_read_first() -> None:
    for first, second in ((arn(TOKYO, "a", ""), "a"), ("a", arn(TOKYO, "a", ""))):
        held = store()
        entry = held.put(by_arn(first), secret("a"), 1, 0.0)
        assert held.put(by_arn(second), secret("a", at=1.0), 2, 1.0) is entry
        assert len(held) == 1
        assert held.find(by_arn(arn(OSAKA, "a", ""))) is entry


def test_a_secret_read_by_partial_arn_takes_the_place_of_the_one_before_it_was_made_again() -> None:
    held = store()
    held.put(by_arn(arn(OSAKA, "a", "")), secret("a", suffix="AAAAAA"), 1, 0.0)
    again = held.put(by_name(), secret("a", suffix="BBBBBB"), 2, 0.0)
    for text in ("a", arn(OSAKA, "a", ""), arn(TOKYO, "a", "BBBBBB")):
        assert held.find(by_arn(text)) is again
    assert held.find(by_arn(arn(OSAKA, "a", "AAAAAA"))) is None
    child = store()
    child.adopt(held)
    third = child.put(by_name(), secret("a", suffix="CCCCCC"), 3, 0.0)
    assert child.find(by_arn(arn(OSAKA, "a", ""))) is third, "a child knows of partial ARNs too"


def test_the_floor_is_the_secrets_own_where_it_is_held() -> None:
    held = store()
    put(held, "a", 1)
    put(held, "b", 2)
    held.forget(SecretId("b"), 7)
    assert (held.floor(by_name("a")), held.floor(by_name("b"))) == (0, 7)
    assert held.put(by_name("a"), secret("a", at=1.0), 3, 1.0) is not None, "it was never forgotten"


def test_when_the_version_held_was_first_asked_for_is_known() -> None:
    held = store()
    held.sent = 4
    entry = put(held, "a", 3, at=2.5)
    assert (entry.since, entry.since_region) == (4, OSAKA)
    put(held, "a", 5, version="v2", region=TOKYO, at=3.0)
    assert lineage(held).brought == 3


def test_a_secret_is_forgotten_under_every_id_though_nobody_knows_that_it_is_the_same() -> None:
    held = store()
    held.put(by_arn(arn(OSAKA, "a")), secret("a"), 1, 0.0)
    held.put(by_arn(arn(OSAKA, "b")), secret("b"), 2, 0.0)
    assert held.find(by_name("a")) is None, "whose account that is, is not known yet"
    held.forget(SecretId("a"), 3)
    assert names(held) == {"b"}
    assert held.put(by_arn(arn(TOKYO, "a")), secret("a", region=TOKYO), 3, 0.0) is None
    held.forget(parse_secret_id(arn(OSAKA, "b", "ZZZZZZ"), REGIONS), 4)
    assert names(held) == set()


def test_a_version_that_was_read_though_it_may_not_be_held_is_remembered() -> None:
    held = store(primary=OSAKA)
    held.forget(SecretId("a"), 5)
    assert held.put(by_name("a"), secret("a", "v2"), 5, 0.0) is None
    assert not outdated(held)
    assert held.put(by_name("a"), secret("a", "v1", TOKYO, at=1.0), 6, 1.0) is None
    assert outdated(held), "it was v2 already"
    moved_on = dropped()
    assert moved_on.put(by_name(), secret("a", "v3", OSAKA, at=6.0), 8, 7.0) is None
    assert not outdated(moved_on)
    assert moved_on.put(by_name(), secret("a", "v2", TOKYO, at=8.0), 10, 8.0) is None
    assert outdated(moved_on), "it was v3 already"
    again = moved_on.put(by_name(), secret("a", "v3", TOKYO, at=9.0), 11, 9.0)
    assert again is not None
    assert lineage(moved_on).superseded == ("v1", "v2")


def test_an_answer_that_is_late_and_of_another_version_is_no_answer_where_it_may_not_be_held() -> None:
    held = store(primary=OSAKA)
    put(held, "a", 8)
    put(held, "a", 9, version="v2", at=5.0)
    held.forget(SecretId("a"), 9)
    assert held.put(by_name(), secret("a", "v3"), 7, 6.0) is None
    assert outdated(held), "newer or older: nobody can tell"
    held.outdated = False
    assert held.put(by_name(), secret("a", "v2"), 7, 6.0) is None
    assert not outdated(held), "it is the current one, whenever it was asked for"


# What an answer tells that may not be held.


def remembered(held: Store) -> Lineage:
    """What is known of versions of a secret that is not held."""
    assert held.find(by_name()) is None
    (found,) = held._lineages.values()
    return found


def test_a_newer_version_that_may_not_be_held_is_the_current_one_all_the_same() -> None:
    held = dropped(primary=TOKYO)
    held.sent = 12
    assert held.put(by_name(), secret("a", "v3", TOKYO, at=6.0), 8, 7.0) is None
    known = remembered(held)
    assert (known.current, known.superseded) == ("v3", ("v1", "v2"))
    assert (known.accepted, known.brought, known.confirmed_at) == (12, 8, 6.0)
    assert (known.shown[TOKYO], known.beside[TOKYO], known.caught_up) == (("v3", 8), 12, {TOKYO})
    assert [(one.version_id, before, sure) for one, before, sure in held.unheld] == [("v3", "v2", True)]


def test_one_that_nobody_could_place_for_a_quarter_of_an_hour_supersedes_nothing() -> None:
    held = dropped(primary=None)
    assert held.put(by_name(), secret("a", "v3", TOKYO, at=906.0), 8, 906.0) is None
    assert (remembered(held).current, remembered(held).superseded) == ("v3", ("v1",))
    assert [(before, sure) for _, before, sure in held.unheld] == [("v2", False)]


def test_the_current_version_that_may_not_be_held_is_shown_all_the_same() -> None:
    held = dropped()
    held.sent = 12
    held.put(by_name(), secret("a", "v2", TOKYO, at=6.0), 8, 7.0)
    known = remembered(held)
    assert (known.shown[TOKYO], known.beside[TOKYO], known.caught_up) == (("v2", 8), 12, {OSAKA, TOKYO})
    assert known.confirmed_at == 6.0
    held.put(by_name(), secret("a", "v2", OSAKA, at=1.0), 1, 7.0)
    assert known.shown[OSAKA] == ("v2", 2), "late"
    assert not held.unheld


def test_where_the_current_version_is_held_one_that_may_not_be_confirms_nothing() -> None:
    held = dropped()
    entry = held.put(by_name(), secret("a", "v2", OSAKA, at=6.0), 10, 6.0)
    assert held.put(by_name(), secret("a", "v2", TOKYO, at=9.0), 8, 9.0) is entry
    assert entry is not None
    assert TOKYO not in lineage(held).shown
    assert lineage(held).confirmed_at == 6.0


@pytest.mark.parametrize(("has_moved", "before"), [(True, ("v1", "v2")), (False, ("v1",))])
def test_what_was_known_of_a_value_that_goes_stays_known(has_moved: bool, before: tuple[str, ...]) -> None:  # noqa: FBT001
    held = moved(TOKYO) if has_moved else store(primary=TOKYO)
    version = "v2" if has_moved else "v1"
    put(held, "a", 1)
    held.forget(SecretId("a"), 9)
    put(held, "a", 10, version=version, at=5.5)
    assert held.put(by_name(), secret("a", "v3", TOKYO, at=6.0), 9, 7.0) is None
    assert (remembered(held).current, remembered(held).superseded) == ("v3", before)


def test_where_only_another_version_is_held_a_newer_one_that_may_not_be_is_remembered() -> None:
    held = moved()
    held.put(by_name(stage=None, version_id="v1"), secret("a", "v1"), 3, 0.0)
    held.refuse(by_name(), 9)
    assert held.put(by_name(), secret("a", "v3", OSAKA, at=6.0), 8, 7.0) is None
    assert lineage(held).current == "v3"
    assert held.find(by_name(stage=None, version_id="v1")) is not None


def test_each_answer_tells_what_had_been_sent_when_it_came() -> None:
    held = forgotten()
    held.sent = 5
    held.put(by_name(), secret("a", "v2", TOKYO, at=6.0), 3, 7.0)
    assert (lineage(held).beside[TOKYO], lineage(held).confirmed_at) == (5, 6.0)
    held.sent = 8
    held.put(by_name(), secret("a", "v2", OSAKA, at=7.0), 7, 7.0)
    assert (lineage(held).beside[OSAKA], lineage(held).confirmed_at) == (8, 7.0)


def test_who_showed_the_version_before_a_second_one_was_seen_is_known() -> None:
    held = store(primary=TOKYO)
    put(held, "a", 1)
    put(held, "a", 2, version="v2", region=TOKYO)
    assert lineage(held).shown == {OSAKA: ("v1", 1), TOKYO: ("v2", 2)}
    assert lineage(held).caught_up == {TOKYO}


# Pairs.


def paired(held: Store) -> bool:
    """Whether AWSPREVIOUS, as it is held, fits AWSCURRENT, as it is held."""
    entry, previous = held.find(by_name()), held.find(by_name(stage="AWSPREVIOUS"))
    assert entry is not None
    return held.is_paired(entry, previous.secret if previous is not None else None)


def previous_of(held: Store, version: str, ticket: int, region: str = OSAKA) -> None:
    held.put(by_name(stage="AWSPREVIOUS"), secret("a", version, region, at=float(ticket)), ticket, float(ticket))


def test_a_previous_version_fits_that_was_asked_for_since_where_the_current_one_was_first_shown() -> None:
    held = store()
    put(held, "a", 3, version="v2")
    assert paired(held), "there is none, as far as is known"
    previous_of(held, "v1", 2)
    assert not paired(held), "asked for before"
    previous_of(held, "v1", 4, TOKYO)
    assert not paired(held), "of another region"
    previous_of(held, "v1", 5)
    assert paired(held)
    previous_of(held, "v2", 6)
    assert not paired(held), "it is the same version"
    put(held, "a", 7, version="v3", region=OSAKA)
    assert not paired(held), "a rotation came between"


def test_a_request_that_was_under_way_when_the_current_version_came_says_nothing_of_what_was_before_it() -> None:
    held = store()
    held.sent = 4
    put(held, "a", 3, version="v2")
    previous_of(held, "v1", 4)
    assert not paired(held)
    previous_of(held, "v1", 5)
    assert paired(held)


def test_after_a_rotation_that_there_is_no_previous_version_is_looked_at_again() -> None:
    held = moved()
    assert not paired(held)
    entry = held.find(by_name())
    assert entry is not None
    entry.paired = ""
    assert paired(held), "it was"
    previous_of(held, "v1", 9)
    assert not paired(held)
    entry.paired = "v1"
    assert paired(held)
    assert not held.is_paired(entry, secret("a", "v0"))


def test_of_a_previous_version_that_is_not_held_nothing_is_known() -> None:
    held = store()
    entry = put(held, "a", 3, version="v2")
    assert not held.is_paired(entry, secret("a", "v1"))
    previous_of(held, "v1", 5)
    assert not held.is_paired(entry, secret("a", "v1")), "another answer than the one held"
