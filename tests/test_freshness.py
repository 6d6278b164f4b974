"""Nobody waits for a refresh, nobody reads a revoked secret, nobody starts a storm."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from secretcache import (
    CacheClosedError,
    SecretAccessDeniedError,
    SecretCache,
    SecretNotFoundError,
    SecretUnavailableError,
)
from secretcache._transport import Fault
from support import OSAKA, PATIENCE, TOKYO, House, InThread, answer, arn, failure

BACKGROUND = {"refresh": "background"}


def down(house: House) -> None:
    house.fails(OSAKA)
    house.fails(TOKYO)


# Ahead of ttl.


def test_the_background_refreshes_ahead_of_ttl_and_readers_never_wait() -> None:
    house = House(ttl=100, refresh="background")
    first = house.cache.get("prod/db")
    house.rest()
    house.says(OSAKA, "v2")
    house.pass_time(79)
    assert house.cache.get("prod/db") is first
    house.pass_time(2)
    assert house.cache.get("prod/db").string == "v2"
    assert house.cache.stats().waits == 1, "only the cold read waited"


@pytest.mark.parametrize(("chance", "at"), [(0.0, 70), (0.5, 80), (0.999, 90)])
def test_the_refresh_begins_at_random_between_70_and_90_percent_of_ttl(chance: float, at: int) -> None:
    house = House(ttl=100, refresh="background")
    house.runtime.chance = chance
    house.cache.get("prod/db")
    house.rest()
    house.pass_time(at - 1)
    assert len(house.regions.calls) == 1
    house.pass_time(1.1, step=1.1)
    assert len(house.regions.calls) == 2


def test_readers_do_not_see_the_latency_of_a_refresh_that_hangs() -> None:
    house = House(regions=[OSAKA], ttl=100, refresh="background")
    first = house.cache.get("prod/db")
    house.rest()
    house.regions.hold(OSAKA)
    house.runtime.advance(81)
    gate = house.regions.gate()
    finished = [house.cache.get("prod/db") for _ in range(1000)]
    assert finished == [first] * 1000
    assert house.cache.stats().waits == 1
    gate.answer(answer(OSAKA, "v2"))
    house.until(lambda: house.cache.get("prod/db").string == "v2")


def test_a_hanging_refresh_leaves_half_of_the_lane_to_readers() -> None:
    house = House(regions=[OSAKA], ttl=100, refresh="background")
    for name in "abcdefgh":
        house.cache.get(name)
    house.rest()
    house.regions.hold(OSAKA)
    house.runtime.advance(81)
    house.regions.gate(1)
    house.rest()
    assert len(house.regions.gates) == 2
    house.regions.hold()
    assert house.cache.get("cold").string == "v1"
    for gate in house.regions.gates:
        gate.answer(answer(OSAKA, "v2", gate.call.secret_id))
    house.pass_time(2)
    assert {house.cache.get(name).age() < 10 for name in "abcdefgh"} == {True}


def test_on_access_one_reader_pays_ahead_of_ttl_and_the_others_keep_the_value() -> None:
    house = House(regions=[OSAKA], ttl=100, refresh="on_access")
    first = house.cache.get("prod/db")
    assert not house.runtime.mailboxes
    house.regions.hold(OSAKA)
    house.runtime.advance(81)
    payer = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate()
    assert [house.cache.get("prod/db") for _ in range(10)] == [first] * 10
    gate.answer(answer(OSAKA, "v2"))
    assert payer.result().string == "v2"
    assert house.cache.stats().waits == 2


def test_on_access_is_the_default_under_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SecretCache([OSAKA])._settings.refresh == "background"
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "handler")
    assert SecretCache([OSAKA])._settings.refresh == "on_access"


def test_idle_secrets_are_no_longer_refreshed_until_they_are_read_again() -> None:
    house = House(ttl=300, refresh="background")
    house.cache.get("prod/db")
    house.rest()
    house.pass_time(3600, step=10)
    calls = len(house.regions.calls)
    assert calls > 10
    house.pass_time(3600, step=10)
    assert len(house.regions.calls) == calls
    house.says(OSAKA, "v2")
    assert house.cache.get("prod/db").string == "v2", "past ttl a read revalidates"
    house.pass_time(300, step=10)
    assert len(house.regions.calls) == calls + 2, "and it is refreshed ahead of need again"


@pytest.mark.parametrize(("ttl", "most"), [(0, 1), (0.1, 150), (5, 150)])
def test_a_short_ttl_is_no_storm_of_calls_that_nobody_reads(ttl: float, most: int) -> None:
    house = House(ttl=ttl, refresh="background")
    house.cache.get("prod/db")
    house.rest()
    house.pass_time(1000, step=max(ttl, 0.5))
    assert len(house.regions.calls) <= most


# Past ttl.


def test_past_ttl_every_reader_gets_the_new_value_from_one_request() -> None:
    house = House(regions=[OSAKA], ttl=100)
    house.cache.get("prod/db")
    house.runtime.advance(101)
    house.regions.hold(OSAKA)
    readers = [InThread(lambda: house.cache.get("prod/db")) for _ in range(16)]
    house.runtime.until_waiting(16)
    house.regions.gate().answer(answer(OSAKA, "v2"))
    assert {reader.result().string for reader in readers} == {"v2"}
    assert len(house.regions.calls) == 2


def test_a_silent_region_blocks_one_reader_and_the_others_half_a_second_at_most() -> None:
    house = House(regions=[OSAKA], ttl=100)
    old = house.cache.get("prod/db")
    house.runtime.advance(101)
    house.regions.hold(OSAKA)
    first = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate()
    house.runtime.until_waiting(1)
    others = [InThread(lambda: house.cache.get("prod/db")) for _ in range(8)]
    house.runtime.until_waiting(9)
    house.runtime.advance(0.5)
    assert [other.result() for other in others] == [old] * 8
    assert house.cache.get("prod/db") is old, "at the speed of a hit"
    house.runtime.until_waiting(1)
    house.runtime.advance(2)
    assert first.result() is old
    assert house.cache.get("prod/db") is old
    gate.answer(failure())


@pytest.mark.parametrize("refresh", ["background", "on_access"])
def test_an_outage_blocks_one_read_at_most_and_recovery_is_found(refresh: str) -> None:
    house = House(ttl=100, max_stale=10_000, refresh=refresh)
    old = house.cache.get("prod/db")
    house.rest()
    down(house)
    for _ in range(1000):
        house.runtime.advance(1)
        house.rest()
        assert house.cache.get("prod/db") is old
    assert old.is_stale
    calls = len(house.regions.calls)
    assert 2 * 10 < calls < 2 * 40, "5 s doubling to 60 s, with jitter: no storm and no silence"
    assert house.cache.stats().waits <= (1 if refresh == "background" else 40), "one a step of the schedule"
    house.says(OSAKA, "v2")
    house.pass_time(61)
    house.cache.get("prod/db")  # on access: the occasion for a probe, which it does not wait for
    house.rest()
    house.pass_time(1)
    assert house.cache.get("prod/db").string == "v2"


def test_a_refresh_that_fails_before_ttl_spares_even_the_one_read() -> None:
    house = House(ttl=100, refresh="background")
    house.cache.get("prod/db")
    house.rest()
    down(house)
    house.pass_time(200)
    assert house.cache.get("prod/db").is_stale
    assert house.cache.stats().waits == 1


def test_nothing_is_served_past_ttl_and_max_stale() -> None:
    house = House(ttl=100, max_stale=50, refresh="background")
    house.cache.get("prod/db")
    house.rest()
    down(house)
    house.pass_time(149)
    house.cache.get("prod/db")
    house.pass_time(1)
    with pytest.raises(SecretUnavailableError):
        house.patiently(lambda: house.cache.get("prod/db"))


def test_a_background_that_stands_still_is_relieved_by_a_reader() -> None:
    house = House(ttl=100, refresh="background")
    house.runtime.threads_allowed = False
    with pytest.raises(SecretUnavailableError):
        house.cache.get("prod/db")
    house.runtime.threads_allowed = True
    house.cache._engine._refresher.start = lambda: None  # type: ignore[union-attr,method-assign]
    house.cache.get("prod/db")
    house.says(OSAKA, "v2")
    house.runtime.advance(99)
    assert house.cache.get("prod/db").string == "v1"
    house.runtime.advance(2)
    assert house.cache.get("prod/db").string == "v2"


# What may be stale, and what may not.


@pytest.mark.parametrize("fault", [Fault.DENIED, Fault.DELETED, Fault.MISSING])
def test_a_revoked_secret_is_dropped_within_one_refresh(fault: Fault) -> None:
    house = House(ttl=100, refresh="background")
    house.cache.get("prod/db")
    house.rest()
    house.fails(OSAKA, fault)
    house.fails(TOKYO, fault)
    house.pass_time(81)
    with pytest.raises((SecretAccessDeniedError, SecretNotFoundError)):
        house.cache.get("prod/db")


def test_a_value_refused_by_one_region_while_the_other_is_silent_stands_in_for_an_hour() -> None:
    house = House(ttl=100, refresh="background")
    house.cache.get("prod/db")
    house.rest()
    house.fails(OSAKA, Fault.DENIED)
    house.fails(TOKYO, Fault.REGION)
    house.pass_time(3600, step=5)
    assert house.cache.get("prod/db").is_stale
    house.pass_time(120, step=5)
    with pytest.raises(SecretUnavailableError):
        house.cache.get("prod/db")


@pytest.mark.parametrize("created", range(0, 120, 7))
def test_whoever_asks_again_and_again_sees_a_secret_10_seconds_after_it_was_created(created: int) -> None:
    house = House()
    for region in (OSAKA, TOKYO):
        house.fails(region, Fault.MISSING)
    for _ in range(2 * created):
        with pytest.raises(SecretNotFoundError):
            house.cache.get("prod/db")
        house.runtime.advance(0.5)
    assert len(house.regions.calls) <= 2 * (5 + created / 10), "an absence does not cause a call each time"
    house.says(TOKYO, "v1")
    found = None
    for _ in range(21):
        with contextlib.suppress(SecretNotFoundError):
            found = house.cache.get("prod/db")
        house.runtime.advance(0.5)
    assert found is not None


@pytest.mark.parametrize(
    ("fault", "stage", "expected"),
    [
        (Fault.MISSING, None, [0, 1, 3, 7, 15, 25, 35, 45, 55]),
        (Fault.MISSING, "AWSPREVIOUS", [0, 10, 30]),
        (Fault.DENIED, None, [0, 10, 30]),
        (Fault.DELETED, None, [0, 10, 30]),
    ],
)
def test_how_long_a_refusal_is_remembered(fault: Fault, stage: str | None, expected: list[int]) -> None:
    house = House(regions=[OSAKA])
    house.fails(OSAKA, fault)
    seen = []
    for _ in range(60):
        with pytest.raises((SecretNotFoundError, SecretAccessDeniedError)):
            house.cache.get("prod/db", version_stage=stage)
        seen.append(len(house.regions.calls))
        house.runtime.advance(1)
    assert [second for second in range(60) if second == 0 or seen[second] > seen[second - 1]] == expected


def test_refusals_are_remembered_for_10_seconds_doubling_to_60() -> None:
    house = House()
    house.fails(OSAKA, Fault.MISSING)
    house.fails(TOKYO, Fault.DENIED)
    seen = []
    for _ in range(200):
        with pytest.raises(SecretAccessDeniedError):
            house.cache.get("prod/db")
        seen.append(len(house.regions.calls))
        house.runtime.advance(1)
    asked = [second for second in range(200) if second == 0 or seen[second] > seen[second - 1]]
    assert asked == [0, 10, 30, 70, 130, 190]


def test_an_error_that_is_remembered_says_so_and_for_how_long() -> None:
    house = House()
    for region in (OSAKA, TOKYO):
        house.fails(region, Fault.DELETED)
    with pytest.raises(SecretNotFoundError) as told:
        house.cache.get("prod/db")
    assert "remembered" not in str(told.value)
    house.runtime.advance(4)
    with pytest.raises(SecretNotFoundError, match=r"remembered for 6\.0 s more, or until refresh\(\)"):
        house.cache.get("prod/db")


def test_a_refusal_of_one_stage_says_nothing_of_another() -> None:
    house = House()
    house.fails(OSAKA, Fault.MISSING)
    house.fails(TOKYO, Fault.MISSING)
    with pytest.raises(SecretNotFoundError):
        house.cache.get("prod/db", version_stage="AWSPENDING")
    house.says(OSAKA, "v1")
    assert house.cache.get("prod/db").string == "v1"


@pytest.mark.parametrize("how", ["refresh", "invalidate"])
def test_refresh_and_invalidate_forget_a_refusal(how: str) -> None:
    house = House()
    house.fails(OSAKA, Fault.MISSING)
    house.fails(TOKYO, Fault.MISSING)
    with pytest.raises(SecretNotFoundError):
        house.cache.get("prod/db")
    house.says(OSAKA, "v1")
    getattr(house.cache, how)("prod/db")
    assert house.cache.get("prod/db").string == "v1"


# refresh and invalidate.


def test_refresh_returns_the_answer_to_a_request_sent_after_the_call() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    reader = InThread(lambda: house.cache.get("prod/db"))
    early = house.regions.gate(0)
    refresher = InThread(lambda: house.cache.refresh("prod/db"))
    late = house.regions.gate(1)
    late.answer(answer(OSAKA, "v2"))
    assert refresher.result().string == "v2"
    early.answer(answer(OSAKA, "v1"))
    assert reader.result().string == "v2", "the later answer stands"
    assert house.cache.get("prod/db").string == "v2"


def test_refreshes_share_a_request_that_is_still_to_be_sent() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    readers = [InThread(lambda name=name: house.cache.get(name)) for name in "abcd"]  # type: ignore[misc]
    house.regions.gate(3)
    refreshers = [InThread(lambda: house.cache.refresh("prod/db")) for _ in range(8)]
    house.runtime.until_waiting(12)
    house.regions.hold()
    for gate in house.regions.gates:
        gate.answer(answer(OSAKA, name=gate.call.secret_id))
    assert {refresher.result().string for refresher in refreshers} == {"v1"}
    assert [reader.result().name for reader in readers] == list("abcd")
    assert len(house.regions.calls) == 5


def test_a_refresh_that_fails_raises_and_the_value_stays() -> None:
    house = House()
    held = house.cache.get("prod/db")
    down(house)
    with pytest.raises(SecretUnavailableError):
        house.cache.refresh("prod/db")
    assert house.cache.get("prod/db") is held


def test_after_invalidate_a_flight_under_way_brings_nothing_back() -> None:
    house = House(regions=[OSAKA])
    house.cache.get("prod/db")
    house.runtime.advance(301)
    house.regions.hold(OSAKA)
    reader = InThread(lambda: house.cache.get("prod/db"))
    early = house.regions.gate(0)
    house.cache.invalidate("prod/db")
    assert house.cache.stats().entries == 0
    blocked = InThread(lambda: house.cache.get("prod/db"))
    late = house.regions.gate(1)
    early.answer(answer(OSAKA, "old"))
    assert reader.result().string == "old", "who waited before still gets it"
    assert house.cache.stats().entries == 0
    late.answer(answer(OSAKA, "new"))
    house.regions.gate(2).answer(answer(OSAKA, "new"))  # the two overlapped: it is asked again
    assert blocked.result().string == "new"
    assert house.cache.get("prod/db").string == "new"


def test_invalidating_an_id_not_known_yet_holds_for_its_other_names_too() -> None:
    house = House(regions=[OSAKA])
    house.cache.get("another")  # so that the account is known as our own
    house.regions.hold(OSAKA)
    by_arn = InThread(lambda: house.cache.get(answer(OSAKA)["ARN"]))
    gate = house.regions.gate(0)
    house.cache.invalidate("prod/db")
    gate.answer(answer(OSAKA, "old"))
    assert by_arn.result().string == "old"
    house.regions.hold()
    house.says(OSAKA, "new")
    assert house.cache.get("prod/db").string == "new"


# Threads, freezes, ends.


def test_a_cache_dropped_without_close_warns_and_stops_by_itself() -> None:
    house = House(ttl=100, refresh="background")
    house.cache.get("prod/db")
    house.rest()
    engine = weakref.ref(house.cache._engine)
    with pytest.warns(ResourceWarning, match="was dropped without close"):
        house.drop()
    gc.collect()  # the warning that was caught held the cache
    assert engine() is None
    refresher = next(thread for thread in house.runtime.threads if thread.name == "secretcache-refresh")
    refresher.join(PATIENCE)
    assert not refresher.is_alive()


def test_a_cache_that_was_never_read_is_dropped_in_silence() -> None:
    House().drop()


def test_close_joins_the_background_thread() -> None:
    house = House(ttl=100, refresh="background")
    house.cache.get("prod/db")
    house.cache.close()
    assert not [
        thread for thread in house.runtime.threads if thread.name == "secretcache-refresh" and thread.is_alive()
    ]
    with pytest.raises(CacheClosedError):
        house.cache.refresh("prod/db")
    with pytest.raises(CacheClosedError):
        house.cache.invalidate("prod/db")


def test_the_background_thread_outlives_an_error(caplog: pytest.LogCaptureFixture) -> None:
    house = House(ttl=100, refresh="background")
    house.cache.get("prod/db")
    house.rest()
    entries = house.cache._engine.store.entries

    def broken() -> None:
        house.cache._engine.store.entries = entries  # type: ignore[method-assign]
        raise RuntimeError("broken for once")

    house.cache._engine.store.entries = broken  # type: ignore[method-assign,assignment]
    house.says(OSAKA, "v2")
    house.pass_time(85)
    assert house.cache.get("prod/db").string == "v2"
    assert "please report it" in caplog.text


def test_an_attempt_that_spans_a_freeze_is_neither_taken_nor_blamed_on_the_region() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    reader = InThread(lambda: house.cache.get("prod/db", timeout=0.5))
    gate = house.regions.gate()
    house.runtime.until_waiting(1)
    house.runtime.advance(0.5)
    with pytest.raises(SecretUnavailableError):
        reader.result()
    house.runtime.advance(3600)  # nobody looked: the process stood still
    gate.answer(answer(OSAKA, "from before the freeze"))
    house.until(lambda: house.cache.stats().regions[OSAKA].failures == 1)
    assert house.cache.stats().entries == 0
    assert house.cache.stats().regions[OSAKA].stuck_attempts == 0
    house.regions.hold()
    assert house.cache.get("prod/db").age() == 0


def test_a_wall_clock_that_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(ttl=100)
    first = house.cache.get("prod/db")
    monkeypatch.setattr("time.time", lambda: 0.0)
    house.runtime.advance(50)
    assert house.cache.get("prod/db") is first
    assert first.age() == 50


def test_ages_run_on_through_suspend_where_the_system_can_tell() -> None:
    import time  # noqa: PLC0415

    from secretcache._runtime import monotonic_clock  # noqa: PLC0415

    if hasattr(time, "CLOCK_BOOTTIME"):
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert before <= monotonic_clock()() <= time.clock_gettime(time.CLOCK_BOOTTIME)
    else:
        assert monotonic_clock() is time.monotonic


# What a review found, each by the interleaving that showed it.


def test_a_record_whose_other_version_is_evicted_stays_reachable() -> None:
    house = House(max_entries=1, refresh="background")
    house.cache.get("prod/db")
    previous = answer(OSAKA, "old", VersionStages=["AWSPREVIOUS"])
    house.says(OSAKA, previous)
    house.cache.get("prod/db", version_stage="AWSPREVIOUS")
    house.rest()
    calls = len(house.regions.calls)
    assert house.cache.get("prod/db", version_stage="AWSPREVIOUS").string == "old"
    assert len(house.regions.calls) == calls
    house.cache.invalidate("prod/db")
    assert house.cache.stats().entries == 0


def test_a_reader_that_is_collected_while_the_lock_is_held_blocks_nobody() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    reading = house.cache.aget("prod/db")

    async def begin() -> None:
        reading.send(None)

    asyncio.run(begin())
    with house.cache._engine.lock:
        reading.close()  # as the collector would
    house.regions.gate().answer(answer(OSAKA))
    assert house.cache.get("prod/db").string == "v1"


def test_a_late_refusal_drops_no_newer_value() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    early = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate(0)
    house.regions.hold()
    house.says(OSAKA, "v2")
    assert house.cache.refresh("prod/db").string == "v2"
    gate.answer(failure(Fault.DENIED))
    assert early.result().string == "v2"
    assert house.cache.get("prod/db").string == "v2"


def test_a_refusal_asked_for_before_invalidate_is_not_remembered() -> None:
    house = House(regions=[OSAKA])
    house.cache.get("prod/db")
    house.runtime.advance(301)
    house.regions.hold(OSAKA)
    early = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate(0)
    house.cache.invalidate("prod/db")
    gate.answer(failure(Fault.DENIED))
    with pytest.raises(SecretAccessDeniedError):
        early.result()
    house.regions.hold()
    assert house.cache.get("prod/db").string == "v1"


def test_another_stage_asked_for_before_invalidate_is_not_brought_back() -> None:
    house = House(regions=[OSAKA])
    house.cache.get("prod/db")
    house.regions.hold(OSAKA)
    early = InThread(lambda: house.cache.get("prod/db", version_stage="AWSPREVIOUS"))
    gate = house.regions.gate(0)
    house.cache.invalidate("prod/db")
    house.regions.hold()
    house.cache.get("prod/db")
    gate.answer(answer(OSAKA, "old", VersionStages=["AWSPREVIOUS"]))
    assert early.result().string == "old"
    assert house.cache.stats().entries == 1


def test_a_late_answer_of_the_secret_before_does_not_displace_the_one_made_again() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    early = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate(0)
    house.regions.hold()
    house.says(OSAKA, {**answer(OSAKA, "made again"), "ARN": arn(OSAKA, suffix="ZZZZZZ")})
    assert house.cache.refresh("prod/db").string == "made again"
    gate.answer(answer(OSAKA, "of the old one"))
    early.result()
    assert house.cache.get("prod/db").string == "made again"


def test_after_a_freeze_an_old_value_is_not_lent_without_an_attempt() -> None:
    house = House(regions=[OSAKA], ttl=100)
    house.cache.get("prod/db")
    house.runtime.advance(101)
    house.regions.hold(OSAKA)
    frozen = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate(0)
    house.runtime.until_waiting(1)
    house.runtime.advance(7200)
    frozen.result()
    house.regions.hold()
    house.says(OSAKA, "v2")
    assert house.cache.get("prod/db").string == "v2"
    gate.answer(failure())


def test_a_second_reader_of_a_nearly_spent_flight_takes_the_old_value_and_starts_no_other() -> None:
    house = House(ttl=100)
    old = house.cache.get("prod/db")
    house.runtime.advance(101)
    house.regions.hold(OSAKA, TOKYO)
    first = InThread(lambda: house.cache.get("prod/db"))
    house.regions.gate(0)
    house.runtime.until_waiting(1)
    house.runtime.advance(2.5)
    house.regions.gate(1)
    house.runtime.until_waiting(1)
    house.runtime.advance(1.5)
    assert house.cache.get("prod/db") is old
    assert len(house.regions.gates) == 2
    house.runtime.advance(1)
    assert first.result() is old
    for gate in house.regions.gates:
        gate.answer(failure())


def test_attempts_of_flights_that_have_landed_are_counted_when_they_are_stuck() -> None:
    house = House(timeout=2)
    house.regions.hold(OSAKA)
    readers = [InThread(lambda name=name: house.cache.get(name)) for name in "abcd"]  # type: ignore[misc]
    house.regions.gate(3)
    house.runtime.until_waiting(4)
    house.runtime.advance(1)
    assert {reader.result().region for reader in readers} == {TOKYO}
    house.runtime.advance(2)
    assert house.cache.get("e", timeout=0.5).region == TOKYO
    assert house.cache.stats().regions[OSAKA].stuck_attempts == 4
    assert house.regions.asked().count(OSAKA) == 4
    for gate in house.regions.gates:
        gate.answer(failure())


def test_an_error_of_the_transport_itself_costs_no_thread() -> None:
    house = House(regions=[OSAKA])

    def broken(_: object) -> dict[str, object]:
        raise SystemExit

    house.regions.replies[OSAKA] = broken
    for name in "abcdef":
        with pytest.raises(SecretUnavailableError, match="please report it"):
            house.cache.get(name)
    house.says(OSAKA, "v1")
    assert house.cache.get("a").string == "v1"


def test_a_name_asked_for_after_its_arn_is_found_again_when_the_secret_is_made_again() -> None:
    house = House(ttl=10)
    house.cache.get(arn(OSAKA))
    house.cache.get("prod/db")
    house.says(OSAKA, {**answer(OSAKA, "made again"), "ARN": arn(OSAKA, suffix="ZZZZZZ")})
    house.runtime.advance(11)
    assert house.cache.get("prod/db").string == "made again"


def test_a_version_read_by_its_id_is_not_stale_at_ttl() -> None:
    house = House(ttl=10, max_stale=100)
    version = answer(OSAKA)["VersionId"]
    secret = house.cache.get("prod/db", version_id=version)
    house.runtime.advance(50)
    assert not secret.is_stale


def test_in_trouble_that_is_known_the_background_may_be_late_and_no_reader_waits() -> None:
    house = House(ttl=100, refresh="background")
    old = house.cache.get("prod/db")
    house.rest()
    down(house)
    house.pass_time(110)
    house.regions.hold(OSAKA, TOKYO)
    assert old.is_stale
    for _ in range(60):
        house.runtime.advance(1)
        assert house.cache.get("prod/db") is old
    for gate in house.regions.gates:
        gate.answer(failure())


def test_after_invalidate_no_reader_joins_a_flight_under_another_id_of_the_secret() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    early = InThread(lambda: house.cache.get(arn(OSAKA, suffix="")))
    house.regions.gate(0)
    house.cache.invalidate(arn(OSAKA))
    late = InThread(lambda: house.cache.get(arn(OSAKA, suffix="")))
    house.regions.gate(1).answer(answer(OSAKA, "new"))
    assert late.result().string == "new"
    house.regions.gate(0).answer(answer(OSAKA, "old"))
    assert early.result().string == "new"


def test_an_answer_older_than_one_that_was_evicted_is_not_held() -> None:
    house = House(regions=[OSAKA], max_entries=1)
    house.regions.hold(OSAKA)
    early = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate(0)
    house.regions.hold()
    house.says(OSAKA, "v2")
    assert house.cache.refresh("prod/db").string == "v2"
    house.cache.get("another")
    gate.answer(answer(OSAKA, "v1"))
    early.result()
    assert house.cache.get("prod/db").string == "v2"


def test_an_arn_that_is_no_more_is_not_answered_with_the_secret_made_again_under_its_name() -> None:
    house = House(regions=[OSAKA], ttl=10)
    house.cache.get("prod/db")
    house.runtime.advance(11)
    house.says(OSAKA, {**answer(OSAKA, "made again"), "ARN": arn(OSAKA, suffix="ZZZZZZ")})
    with pytest.raises(SecretNotFoundError, match=r"made again.*ZZZZZZ"):
        house.cache.get(arn(OSAKA))
    assert house.cache.get("prod/db").string == "made again"
