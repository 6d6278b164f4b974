"""What the simulation has found (`tests/simulate.py`), each as small as it gets."""

from __future__ import annotations

from typing import Any

import pytest

from secretcache import CredentialsError, Event, SecretAccessDeniedError, SecretUnavailableError
from secretcache._flight import Waiter
from secretcache._ids import Query, SecretId
from secretcache._lineage import Judgement, Lineage
from secretcache._regions.board import Board
from secretcache._regions.policy import RegionPolicy
from secretcache._regions.route import Leg, Purpose, Route
from secretcache._transport import Failure, Fault
from support import NOTHING_REMEMBERED, OSAKA, REGIONS, TOKYO, Gate, House, InThread, answer, failure

DB = Query(SecretId("prod/db"))


@pytest.mark.usefixtures("close_houses")
def test_a_value_past_its_last_moment_is_not_served_when_the_answer_is_in_doubt() -> None:
    """Invariant 6: Osaka's version cannot be placed beside Tokyo's, which was held; but that is too old by now."""
    house = House(ttl=2.0, max_stale=0.0)
    house.fails(OSAKA)
    held = house.cache.get("prod/db")
    assert held.region == TOKYO
    house.runtime.advance(60.0)
    house.says(OSAKA, "v2")
    house.fails(TOKYO)
    assert house.cache.get("prod/db").string == "v2"


@pytest.mark.usefixtures("close_houses")
def test_a_refresh_whose_request_cannot_be_sent_brings_no_older_value() -> None:
    """Invariant 14: the credentials fail in every region, so nothing is sent; that is no turn that has not come."""
    house = House(_policy=RegionPolicy(retries=0, reloads=0))
    held = house.cache.get("prod/db")
    for region in REGIONS:
        house.fails(region, Fault.IDENTITY, "ExpiredTokenException")
    with pytest.raises(CredentialsError):
        house.cache.refresh("prod/db")
    asked = len(house.regions.calls)
    with pytest.raises((CredentialsError, SecretUnavailableError)):
        house.cache.refresh("prod/db", newer_than=held.version_id)
    assert len(house.regions.calls) == asked


def refused_probe() -> tuple[Route, Leg, Board]:
    """A probe through Osaka's open breaker, refused for its credentials."""
    policy = RegionPolicy(failures_in_a_row=1)
    board = Board(REGIONS, policy, lambda: 1.0, lambda: 0.0)
    board.record(OSAKA, None, failure(), 0.0, sent_at=0.0)
    permit = board.probe(OSAKA, 10.0)
    route = Route((OSAKA,), board, DB, Purpose.PROBE, 10.0, 15.0, 15.0, permit=permit)
    leg = route.due(10.0)
    assert leg is not None
    leg.taken_at = leg.started_at = 10.0
    expired = Failure(Fault.IDENTITY, "ExpiredTokenException", "told so", answered=False)
    leg.end(10.1, expired)
    board.record(OSAKA, None, expired, 10.1, sent_at=10.0, permit=leg.permit)
    return route, leg, board


def test_a_probe_that_is_sent_again_with_new_credentials_has_a_permit_too() -> None:
    """Invariant 10: and so its success counts."""
    route, first, board = refused_probe()
    again = route.due(10.1)
    assert again is not None
    assert again.reload
    assert again.permit not in (None, first.permit)
    board.record(OSAKA, None, None, 10.2, sent_at=10.1, permit=again.permit)
    assert board.next_probe_at() == 10.2 + RegionPolicy().probe_pause


def test_beside_a_request_through_the_open_breaker_none_is_sent_again() -> None:
    """Invariant 10: one at a time."""
    route, _, board = refused_probe()
    board._regions[OSAKA].identity.open()
    assert board.last_chance([OSAKA], 10.1) is not None
    assert route.due(10.1) is None


def test_after_a_rollback_a_lagging_replica_does_not_take_the_readers_back() -> None:
    """Invariants 5 and 13: Osaka had shown v1 before v2 came; it has not seen the rollback from v2 to v1."""
    lineage = Lineage("v1", 1, 1, 0.0, {OSAKA: ("v1", 1)}, caught_up={OSAKA})
    for version, ticket in (("v2", 5), ("v1", 9)):
        lineage.move(version, ticket, ticket, 1.0)
        lineage.note(TOKYO, version, ticket, 1.0)
    assert lineage.judge(OSAKA, "v2", 12, 3.0, None) is Judgement.LAGS
    lineage.note(OSAKA, "v1", 13, 4.0)
    assert lineage.judge(OSAKA, "v2", 14, 5.0, None) is Judgement.MOVED


@pytest.mark.parametrize("shown", ["v1", "never seen"])
@pytest.mark.usefixtures("close_houses")
def test_who_waits_through_an_invalidate_is_not_taken_back_by_a_lagging_replica(shown: str) -> None:
    """Invariant 5: what was asked for before the `invalidate` is not held, but whether it is in doubt is known."""
    house = House([TOKYO, OSAKA])
    house.fails(TOKYO)
    house.cache.get("prod/db")
    house.says(OSAKA, "v2")
    assert house.cache.refresh("prod/db").string == "v2"
    house.cache.invalidate("prod/db")
    house.regions.hold(TOKYO)
    reader = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate()
    house.cache.invalidate("prod/db")
    gate.answer(answer(TOKYO, shown))
    assert reader.result().string == "v2"


def refused_while_a_reader_waits(after: float = 0.0, **options: Any) -> tuple[House, InThread, Gate]:
    """v2 came from Osaka, then both regions denied it; since a reader has asked Tokyo they have denied it again."""
    house = House([TOKYO, OSAKA], _policy=NOTHING_REMEMBERED, **options)
    house.fails(TOKYO)
    house.cache.get("prod/db")
    house.says(OSAKA, "v2")
    assert house.cache.refresh("prod/db").string == "v2"
    house.runtime.advance(after)
    for region in REGIONS:
        house.fails(region, Fault.DENIED, "AccessDeniedException")
    with pytest.raises(SecretAccessDeniedError):
        house.cache.refresh("prod/db")
    house.regions.hold(TOKYO)
    reader = InThread(lambda: house.cache.refresh("prod/db"))
    on_its_way = house.regions.gate()
    refused = InThread(lambda: house.cache.refresh("prod/db"))
    house.regions.gate(1).answer(failure(Fault.DENIED, "AccessDeniedException"))
    with pytest.raises(SecretAccessDeniedError):
        refused.result()
    return house, reader, on_its_way


@pytest.mark.usefixtures("close_houses")
def test_who_waits_through_a_refusal_is_not_taken_back_by_a_lagging_replica() -> None:
    """Invariant 5: what was asked for before the refusal is not held, but whether it is behind is known."""
    house, reader, on_its_way = refused_while_a_reader_waits()
    house.says(OSAKA, "v2")
    on_its_way.answer(answer(TOKYO, "v1"))
    assert reader.result().string == "v2"


@pytest.mark.parametrize("shown", ["v2", "v1"])
@pytest.mark.usefixtures("close_houses")
def test_what_was_asked_for_before_a_refusal_is_not_held(shown: str) -> None:
    """Invariant 7: who waits gets it, an older one for want of another; whoever comes later asks, and is refused."""
    house, reader, on_its_way = refused_while_a_reader_waits()
    on_its_way.answer(answer(TOKYO, shown))
    assert reader.result().string == shown
    later = InThread(lambda: house.cache.get("prod/db"))
    house.regions.gate(2).answer(failure(Fault.DENIED, "AccessDeniedException"))
    with pytest.raises(SecretAccessDeniedError):
        later.result()


@pytest.mark.usefixtures("close_houses")
def test_a_rotation_that_is_noticed_by_an_answer_which_may_not_be_held_is_told() -> None:
    house, reader, on_its_way = refused_while_a_reader_waits(primary_region=TOKYO)
    told = told_by(house)
    on_its_way.answer(answer(TOKYO, "v3"))
    assert reader.result().string == "v3"
    later = InThread(lambda: house.cache.get("prod/db"))
    house.regions.gate(2).answer(answer(TOKYO, "v3"))
    assert later.result().string == "v3"
    house.settle()
    assert told == ["AWSCURRENT is v3, was v2"], "once"


@pytest.mark.usefixtures("close_houses")
def test_a_version_that_nobody_could_place_is_told_though_it_may_not_be_held() -> None:
    house, reader, on_its_way = refused_while_a_reader_waits(after=901.0)
    told = told_by(house)
    on_its_way.answer(answer(TOKYO, "v3"))
    assert reader.result().string == "v3"
    house.until(lambda: len(told) >= 2)
    assert told[0] == "AWSCURRENT is v3, was v2"
    assert told[1].startswith("version v3 is taken: no region that answers has shown another")
    assert len(told) == 2


def told_by(house: House) -> list[str]:
    told: list[str] = []

    def hear(event: Event) -> None:
        if event.name in ("rotation", "divergence"):
            told.append((event.detail or "").replace("-0000-0000-0000-000000000000", "").replace("'", ""))

    house.cache.add_event_hook(hear)
    return told


@pytest.mark.usefixtures("close_houses")
def test_a_region_goes_on_from_a_version_that_was_in_doubt() -> None:
    """Invariant 22: Osaka showed v1, then v2 in a request from before v1 was accepted; v3 comes after both."""
    house = House([OSAKA, TOKYO], refresh="on_access", _policy=NOTHING_REMEMBERED)
    house.fails(TOKYO)
    house.regions.hold(OSAKA)
    first = InThread(lambda: house.cache.get("prod/db"))
    one = house.regions.gate()
    second = InThread(lambda: house.cache.refresh("prod/db"))
    two = house.regions.gate(1)
    one.answer(answer(OSAKA, "v1"))
    assert first.result().string == "v1"
    two.answer(answer(OSAKA, "v2"))
    house.regions.gate(2).answer(failure(Fault.MISSING, "ResourceNotFoundException"))  # it is asked again
    second.result()
    house.regions.hold()
    house.says(OSAKA, "v3")
    assert house.cache.refresh("prod/db").string == "v3"


@pytest.mark.usefixtures("close_houses")
def test_what_was_asked_for_before_a_last_resort_was_taken_does_not_take_its_place() -> None:
    """Invariants 5 and 15: v4 is taken for want of better; Osaka shows it too, then v3 in a request from before."""
    house = House([TOKYO, OSAKA], refresh="on_access", _policy=NOTHING_REMEMBERED)
    house.fails(TOKYO)
    house.says(OSAKA, "v3")
    house.cache.get("prod/db")
    house.cache.invalidate("prod/db")
    house.says(TOKYO, "v4")
    house.regions.hold(OSAKA)
    first = InThread(lambda: house.cache.get("prod/db"))
    gates = [house.regions.gate()]
    house.fails(TOKYO)
    others = []
    for number in (1, 2):
        others.append(InThread(lambda: house.cache.refresh("prod/db")))
        gates.append(house.regions.gate(number))
    gates[0].answer(failure())
    assert first.result().string == "v4"
    gates[1].answer(answer(OSAKA, "v4"))
    assert others[0].result().string == "v4"
    gates[2].answer(answer(OSAKA, "v3"))
    house.regions.gate(3).answer(answer(OSAKA, "v4"))  # it is asked again
    assert others[1].result().string == "v4"
    assert house.cache.get("prod/db").string == "v4"


@pytest.mark.parametrize(("seconds", "given"), [(6.9, True), (7.0, False)])
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.usefixtures("close_houses")
def test_an_answer_is_not_given_to_who_wakes_long_after_it_in_a_process_that_stood_still(
    seconds: float,
    given: bool,  # noqa: FBT001
    held: bool,  # noqa: FBT001
) -> None:
    """Invariant 6: 6 s for the flight, one more for a process that is only slow."""
    house = House([OSAKA], ttl=2.0, max_stale=0.0, timeout=6.0, refresh="on_access")
    engine = house.cache._engine
    house.regions.hold(OSAKA)
    waiter = engine.begin(None, DB, 6.0, lambda: None)
    assert isinstance(waiter, Waiter)
    gate = house.regions.gate()
    if not held:
        house.cache.invalidate("prod/db")
    gate.answer(answer(OSAKA, "v1"))
    house.until(lambda: waiter.flight.over)
    house.runtime.advance(seconds)
    if given:
        assert engine.conclude(waiter).string == "v1"
    else:
        with pytest.raises(SecretUnavailableError):
            engine.conclude(waiter)
