"""Forced reads by those whose version does not work, and pairs of versions: what they cost, and that they fit."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from secretcache._transport import Call, Fault, Reply
from support import NOTHING_REMEMBERED, OSAKA, PATIENCE, TOKYO, House, InThread, answer, failure

NAME, PREVIOUS = "prod/db", "AWSPREVIOUS"
THREADS = 1000


def shows(house: House, region: str, current: str, previous: str | None = None) -> None:
    """From now on a region shows these versions."""

    def reply(call: Call) -> Reply:
        value = current if call.query.stage == "AWSCURRENT" else previous
        if value is None:
            return failure(Fault.MISSING, "ResourceNotFoundException")
        return answer(region, value, VersionStages=[call.query.stage])

    house.regions.replies[region] = reply


def pair(house: House) -> tuple[str, str | None]:
    current, previous = house.cache.get_pair(NAME)
    return current.string, previous.string if previous is not None else None


@pytest.mark.parametrize("rotated", [True, False])
def test_a_thousand_threads_that_failed_with_one_version_cost_at_most_two_requests(*, rotated: bool) -> None:
    house = House(regions=[OSAKA])
    failed = house.cache.get(NAME)
    house.regions.hold(OSAKA)
    together = threading.Barrier(THREADS)

    def ask() -> str:
        together.wait(PATIENCE * 3)
        return house.cache.refresh(NAME, newer_than=failed.version_id).string

    stack = threading.stack_size(256 * 1024)
    try:
        threads = [InThread(ask) for _ in range(THREADS)]
    finally:
        threading.stack_size(stack)
    gate = house.regions.gate()
    house.runtime.until_waiting(THREADS)  # one for that request, the others for their turn, a second after it
    house.regions.hold()
    house.says(OSAKA, "v1")
    gate.answer(answer(OSAKA, "v2" if rotated else "v1"))
    if not rotated:
        house.runtime.until_waiting_for(1.0)
        house.runtime.advance(1.0)
    assert {thread.result() for thread in threads} == {"v2" if rotated else "v1"}
    assert len(house.regions.calls) == (2 if rotated else 3), "one before the failure, and two after it at most"


def test_a_request_that_was_sent_before_the_failure_does_not_count() -> None:
    house = House(regions=[OSAKA])
    failed = house.cache.get(NAME)
    house.regions.hold(OSAKA)
    before = InThread(lambda: house.cache.refresh(NAME))
    early = house.regions.gate(0)
    after = InThread(partial(house.cache.refresh, NAME, newer_than=failed.version_id))
    late = house.regions.gate(1)
    early.answer(answer(OSAKA, "v1"))
    assert before.result().string == "v1"
    assert after.running
    late.answer(answer(OSAKA, "v2"))
    assert after.result().string == "v2"


def test_a_rotation_between_the_two_reads_of_a_pair_makes_no_pair_of_two_rotations() -> None:
    house = House(regions=[OSAKA])
    shows(house, OSAKA, "v1", "v0")
    house.cache.get(NAME)

    def reply(call: Call) -> Reply:
        if call.query.stage == PREVIOUS:  # it rotates, and somebody else has noticed, before this is answered
            shows(house, OSAKA, "v2", "v1")
            house.cache.refresh(NAME)
        return house.regions.replies[OSAKA](call)

    house.regions.replies[OSAKA] = reply
    assert pair(house) == ("v2", "v1")


def test_a_pair_that_had_no_previous_version_gets_one_by_the_rotation() -> None:
    house = House(regions=[OSAKA])
    shows(house, OSAKA, "v1")
    assert pair(house) == ("v1", None)
    calls = len(house.regions.calls)
    assert pair(house) == ("v1", None)
    assert len(house.regions.calls) == calls, "that there is none is remembered"
    shows(house, OSAKA, "v2", "v1")
    house.cache.refresh(NAME)
    assert pair(house) == ("v2", "v1")


@pytest.mark.parametrize("primary", [TOKYO, None])
def test_a_lagging_replica_does_not_give_a_pair_its_older_previous_version(primary: str | None) -> None:
    house = House(primary_region=primary)
    for region in (OSAKA, TOKYO):
        shows(house, region, "v1", "v0")
    assert pair(house) == ("v1", "v0")
    shows(house, TOKYO, "v2", "v1")
    house.fails(OSAKA)
    house.cache.refresh(NAME)
    house.rest()
    house.runtime.advance(1.5)
    assert house.cache.get(NAME).string == "v2"
    shows(house, OSAKA, "v1", "v0")  # it is back, and behind
    current, previous = pair(house)
    assert (current, previous) == ("v2", "v1" if primary else previous)
    assert previous != current


def test_a_previous_version_that_a_lagging_replica_showed_is_not_paired() -> None:
    """The primary went from X over W to Y. What Osaka said of AWSPREVIOUS, it said when it was at W."""
    house = House(primary_region=TOKYO, _policy=NOTHING_REMEMBERED)
    house.fails(OSAKA)
    shows(house, TOKYO, "Y", "W")
    assert house.cache.get(NAME).string == "Y"
    house.fails(TOKYO)
    shows(house, OSAKA, "X", "V")
    house.cache.refresh(NAME)
    shows(house, OSAKA, "W", "X")
    assert house.cache.get(NAME, version_stage="AWSPREVIOUS").string == "X"
    shows(house, OSAKA, "Y", "W")
    house.cache.refresh(NAME)
    assert pair(house) == ("Y", "W")


def test_a_previous_version_from_before_a_rotation_that_was_skipped_is_not_paired() -> None:
    """v1 is held; W was current only for a while. Osaka said then that v1 is the previous one."""
    house = House(primary_region=TOKYO, _policy=NOTHING_REMEMBERED)
    house.fails(OSAKA)
    shows(house, TOKYO, "v1", "v0")
    house.cache.get(NAME)
    house.fails(TOKYO)
    shows(house, OSAKA, "W", "v1")
    assert house.cache.get(NAME, version_stage="AWSPREVIOUS").string == "v1"
    house.fails(OSAKA)
    shows(house, TOKYO, "Y", "W")
    house.cache.refresh(NAME)
    assert pair(house) == ("Y", "W")
    calls = len(house.regions.calls)
    assert pair(house) == ("Y", "W")
    assert len(house.regions.calls) == calls
