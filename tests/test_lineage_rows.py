"""Which version supersedes which: rows I, J and K of the decision table, moment by moment."""

from __future__ import annotations

import pytest

from rotating import secret
from secretcache._lineage import Judgement, Lineage
from support import OSAKA, TOKYO

WAIT = 900.0
"""Seconds for which a version that nobody can place is doubted."""


def known(**more: object) -> Lineage:
    """v2 is current: request 10 brought it from Tokyo at 100 s, when 12 had been sent; v1 was superseded."""
    fields: dict[str, object] = {
        "shown": {TOKYO: ("v2", 10)},
        "caught_up": {TOKYO},
        "superseded": ("v1",),
        **more,
    }
    return Lineage("v2", accepted=12, brought=10, confirmed_at=100.0, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("region", "version", "ticket", "now", "primary", "judgement"),
    [
        (TOKYO, "v2", 13, 101.0, None, Judgement.SAME),
        (OSAKA, "v2", 1, 101.0, None, Judgement.SAME),
        # An older view of a region whose newer one is known; the same request again is none.
        (TOKYO, "v2", 9, 101.0, TOKYO, Judgement.LATE),
        (TOKYO, "v2", 10, 101.0, TOKYO, Judgement.SAME),
        # Sent before the current version was accepted: it may have been shown before it.
        (OSAKA, "v1", 12, 101.0, OSAKA, Judgement.LATE),
        (OSAKA, "v3", 10, 101.0, OSAKA, Judgement.LATE),
        (OSAKA, "v3", 11, 101.0, TOKYO, Judgement.DOUBTED),
        (OSAKA, "v3", 12, 101.0, None, Judgement.DOUBTED),
        # The same of a region that is believed: only the overlap is in doubt.
        (OSAKA, "v3", 11, 101.0, OSAKA, Judgement.OVERLAPS),
        (TOKYO, "v3", 12, 101.0, None, Judgement.OVERLAPS),
        (TOKYO, "v1", 12, 101.0, None, Judgement.LATE),
        # Row J and every rotation: of the primary, or of the region that had shown the current version.
        (OSAKA, "v3", 13, 101.0, OSAKA, Judgement.MOVED),
        (OSAKA, "v1", 13, 101.0, OSAKA, Judgement.MOVED),
        (TOKYO, "v3", 13, 101.0, None, Judgement.MOVED),
        (TOKYO, "v1", 13, 101.0, OSAKA, Judgement.MOVED),
        # Row I.
        (OSAKA, "v1", 13, 101.0, TOKYO, Judgement.LAGS),
        (OSAKA, "v1", 13, 100.0 + WAIT + 1, TOKYO, Judgement.LAGS),
        # Row K, for fifteen minutes.
        (OSAKA, "v3", 13, 100.0 + WAIT, TOKYO, Judgement.DOUBTED),
        (OSAKA, "v3", 13, 100.0 + WAIT + 0.1, TOKYO, Judgement.DIVERGED),
    ],
)
def test_what_an_answer_is(  # noqa: PLR0917
    region: str, version: str, ticket: int, now: float, primary: str | None, judgement: Judgement
) -> None:
    assert known().judge(region, version, ticket, now, primary) is judgement


def test_a_region_whose_previous_is_the_current_version_is_believed_from_then_on() -> None:
    lineage = known()
    lineage.doubted = (secret("v3", OSAKA), 13)
    assert not lineage.vouches(secret("v1", OSAKA), 15), "its AWSPREVIOUS is another version"
    assert not lineage.vouches(secret("v2", TOKYO), 15), "it is another region's"
    assert lineage.vouched is None
    assert lineage.vouches(secret("v2", OSAKA), 15)
    assert lineage.judge(OSAKA, "v3", 15, 101.0, None) is Judgement.DOUBTED, "asked before"
    assert lineage.judge(OSAKA, "v3", 16, 101.0, None) is Judgement.MOVED
    assert lineage.judge("eu-west-1", "v3", 16, 101.0, None) is Judgement.DOUBTED


def test_nobody_vouches_for_what_is_not_in_doubt() -> None:
    assert not known().vouches(secret("v2", OSAKA), 15)


def test_the_current_version_shown_again_confirms_it_and_ends_every_doubt() -> None:
    lineage = known(lags=3, behind={OSAKA: 50.0, "eu-west-1": 60.0}, doubted=(secret("v3", OSAKA), 13))
    lineage.note(OSAKA, "v2", 14, 150.0)
    assert (lineage.confirmed_at, lineage.lags, lineage.doubted) == (150.0, 0, None)
    assert lineage.shown[OSAKA] == ("v2", 14)
    assert lineage.behind == {"eu-west-1": 60.0}
    lineage.note(TOKYO, "v2", 15, 120.0)
    assert lineage.confirmed_at == 150.0, "an answer that comes late makes nothing older"


def test_another_version_shown_is_remembered_and_since_when() -> None:
    lineage = known(lags=3)
    lineage.note(OSAKA, "v1", 14, 150.0)
    lineage.note(OSAKA, "v1", 15, 170.0)
    assert (lineage.confirmed_at, lineage.lags, lineage.behind) == (100.0, 3, {OSAKA: 150.0})
    assert lineage.shown[OSAKA] == ("v1", 15)


def test_a_region_long_behind_is_told_once_in_fifteen_minutes() -> None:
    lineage = known(behind={OSAKA: 100.0})
    assert not lineage.is_long_behind(TOKYO, 10_000.0), "one that is not behind"
    assert not lineage.is_long_behind(OSAKA, 100.0 + WAIT)
    assert lineage.is_long_behind(OSAKA, 100.0 + WAIT + 1)
    assert not lineage.is_long_behind(OSAKA, 100.0 + WAIT + 2)
    assert lineage.is_long_behind(OSAKA, 100.0 + 2 * WAIT + 2)


def test_a_move_supersedes_and_begins_anew() -> None:
    lineage = known(lags=2, behind={OSAKA: 50.0}, doubted=(secret("v3", OSAKA), 13), vouched=(OSAKA, 15))
    lineage.move("v3", 16, 18, 160.0)
    assert (lineage.current, lineage.superseded) == ("v3", ("v1", "v2"))
    assert (lineage.brought, lineage.accepted, lineage.confirmed_at, lineage.moves) == (16, 18, 160.0, 1)
    assert (lineage.lags, lineage.doubted, lineage.vouched, lineage.behind) == (0, None, None, {})
    lineage.move("v4", 20, 19, 170.0)
    assert (lineage.accepted, lineage.moves) == (20, 2)


def test_a_rollback_makes_the_newer_version_the_superseded_one() -> None:
    lineage = known()
    lineage.move("v1", 16, 16, 160.0)
    assert (lineage.current, lineage.superseded) == ("v1", ("v2",))
    lineage.move("v2", 17, 17, 170.0)
    assert (lineage.current, lineage.superseded) == ("v2", ("v1",))


def test_a_move_that_is_not_sure_supersedes_nothing() -> None:
    lineage = known()
    lineage.move("v3", 16, 16, 160.0, sure=False)
    assert (lineage.current, lineage.superseded) == ("v3", ("v1",))


def test_sixteen_superseded_versions_are_remembered_the_newest_ones() -> None:
    lineage = known(superseded=())
    for number in range(3, 30):
        lineage.move(f"v{number}", number + 10, number + 10, float(number))
    assert lineage.superseded == tuple(f"v{number}" for number in range(13, 29))


def test_of_two_requests_under_way_beside_each_other_nobody_knows_which_the_region_saw_to_first() -> None:
    one = Lineage("v2", 3, 2, 0.0, {OSAKA: ("v2", 2)}, superseded=("v1",), caught_up={OSAKA})
    one.note(OSAKA, "v2", 4, 1.0, sent=5)
    assert one.judge(OSAKA, "v1", 5, 2.0, OSAKA) is Judgement.OVERLAPS, "it may have been seen to before"
    assert one.judge(OSAKA, "v3", 5, 2.0, OSAKA) is Judgement.MOVED, "what was never seen is no older view"
    assert one.judge(OSAKA, "v1", 6, 2.0, OSAKA) is Judgement.MOVED, "sent afterwards: it was rolled back"
    assert one.judge(TOKYO, "v1", 5, 2.0, None) is Judgement.LAGS


def test_what_a_region_has_gone_on_from_to_the_current_version_is_superseded_though_it_was_never_accepted() -> None:
    one = known(shown={TOKYO: ("v2", 10), OSAKA: ("v0", 11)}, beside={OSAKA: 12})
    one.note(OSAKA, "v2", 14, 150.0, sent=15)
    assert one.superseded == ("v0", "v1")
    assert one.judge(OSAKA, "v0", 15, 151.0, None) is Judgement.OVERLAPS, "under way beside the answer that showed v2"
    assert one.judge("eu-west-1", "v0", 13, 151.0 + WAIT, OSAKA) is Judgement.LAGS
    one.note(OSAKA, "v2", 16, 152.0, sent=16)
    assert one.superseded == ("v0", "v1"), "once"


def test_of_two_answers_to_requests_beside_each_other_neither_says_what_came_before() -> None:
    one = known()
    one.note(OSAKA, "v0", 13, 150.0, sent=14)
    one.note(OSAKA, "v2", 14, 150.0, sent=14)
    assert one.superseded == ("v1",)
    one = known(shown={OSAKA: ("v0", 11)})
    one.note(OSAKA, "v2", 14, 150.0, sent=14)
    assert one.superseded == ("v1",), "nobody knows when the answer was here"
    one.note(OSAKA, "v0", 15, 151.0, sent=15)
    one.note(OSAKA, "v3", 16, 152.0, sent=16)
    assert one.superseded == ("v1",), "neither of the two is the current one"


def test_the_sixteen_newest_stay_when_an_older_one_is_learned() -> None:
    versions = tuple(f"v{number}" for number in range(3, 19))
    one = known(superseded=versions, shown={OSAKA: ("v0", 11)}, beside={OSAKA: 12})
    one.note(OSAKA, "v2", 14, 150.0, sent=15)
    assert one.superseded == versions


def test_a_region_that_has_shown_the_current_version_moves_on_from_it_whatever_it_showed_meanwhile() -> None:
    one = known()
    one.note(TOKYO, "v3", 12, 150.0, sent=14)
    assert one.judge(TOKYO, "v4", 15, 151.0, None) is Judgement.MOVED
    one.note(TOKYO, "v2", 15, 151.0, sent=16)
    assert one.judge(TOKYO, "v1", 16, 151.0, None) is Judgement.OVERLAPS, "beside the answer that showed v2"
    one.note(TOKYO, "v1", 16, 151.0, sent=16)
    assert one.judge(TOKYO, "v1", 17, 152.0, None) is Judgement.MOVED, "it was rolled back"
    one.move("v4", 18, 18, 153.0)
    assert one.judge(TOKYO, "v5", 19, 154.0, None) is Judgement.DOUBTED, "it has not shown v4"


def test_what_a_forked_child_learns_of_versions_is_its_own() -> None:
    parent = known(behind={OSAKA: 50.0}, beside={OSAKA: 12})
    child = parent.copy()
    child.note(OSAKA, "v2", 14, 150.0, sent=15)
    assert (parent.shown, parent.beside, parent.caught_up) == ({TOKYO: ("v2", 10)}, {OSAKA: 12}, {TOKYO})
    assert parent.behind == {OSAKA: 50.0}
    assert child.caught_up == {TOKYO, OSAKA}


def test_a_superseded_version_is_taken_when_the_regions_that_could_show_the_held_one_are_lost() -> None:
    late = 100.0 + 2 * WAIT
    lost = {TOKYO: 100.0 + WAIT - 1}
    assert known().judge(OSAKA, "v1", 13, late, None, lost) is Judgement.DIVERGED
    assert known().judge(OSAKA, "v1", 13, late, None, {TOKYO: 100.0 + WAIT}) is Judgement.LAGS, "not for so long"
    assert known().judge(OSAKA, "v1", 13, late, None, {}) is Judgement.LAGS, "it answers, or was not asked"
    assert known().judge(OSAKA, "v1", 13, late, "eu-west-1", lost) is Judgement.LAGS, "the primary answers"
    confirmed = known(caught_up={TOKYO})
    confirmed.confirmed_at = late - WAIT
    assert confirmed.judge(OSAKA, "v1", 13, late, None, lost) is Judgement.LAGS, "somebody has shown it since"
