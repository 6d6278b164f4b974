"""Rotation hooks: once per accepted change, in order, outside every lock, whatever they do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
from collections import defaultdict
from functools import partial
from typing import Any

import pytest

from secretcache import ConfigurationError, SecretCache
from secretcache._hooks import RotationEvent
from support import OSAKA, PATIENCE, REGIONS, TOKYO, House, InThread, ScriptedRegions, answer

NAME = "prod/db"


class Told:
    """A hook that writes down what it was told."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, str]] = []
        self.events: list[RotationEvent] = []
        self._changed = threading.Condition()

    def __call__(self, event: RotationEvent) -> None:
        with self._changed:
            self.events.append(event)
            self.moves.append((event.old.string, event.new.string))
            self._changed.notify_all()

    def until(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.moves) >= count, PATIENCE), self.moves


def everywhere(house: House, value: str) -> None:
    for region in REGIONS:
        house.says(region, value)


def hooked(**options: Any) -> tuple[House, Told]:
    house, told = House(**options), Told()
    house.cache.get(NAME)
    house.cache.add_rotation_hook(NAME, told)
    return house, told


def test_once_per_change_in_order_forward_and_back() -> None:
    house, told = hooked()
    for value in ("v2", "v3", "v2", "v4"):
        everywhere(house, value)
        house.cache.refresh(NAME)
        house.cache.refresh(NAME)
    assert told.moves == [("v1", "v2"), ("v2", "v3"), ("v3", "v2"), ("v2", "v4")]
    assert {event.secret_id for event in told.events} == {NAME}


def test_a_first_load_and_a_region_switch_fire_nothing() -> None:
    house, told = House(), Told()
    house.cache.add_rotation_hook(NAME, told)
    house.cache.get(NAME)
    house.fails(OSAKA)
    assert house.cache.refresh(NAME).region == TOKYO
    house.says(OSAKA, "v1")
    house.cache.invalidate(NAME)
    house.cache.get(NAME)
    assert told.moves == []


def test_a_lagging_replica_fires_nothing() -> None:
    house, told = hooked(primary_region=TOKYO)
    everywhere(house, "v2")
    house.cache.refresh(NAME)
    house.fails(OSAKA)
    house.says(TOKYO, "v3")
    house.cache.refresh(NAME)
    house.says(OSAKA, "v2")  # it had not shown v3
    house.cache.refresh(NAME)
    assert told.moves == [("v1", "v2"), ("v2", "v3")]


def test_a_change_while_nothing_was_held_fires() -> None:
    house, told = hooked()
    house.cache.invalidate(NAME)
    everywhere(house, "v2")
    house.cache.get(NAME)
    assert told.moves == [("v1", "v2")]


def test_a_hook_is_found_by_any_id_of_its_secret() -> None:
    house, told = House(), Told()
    full = house.cache.get(NAME).arn
    house.cache.add_rotation_hook(full, told)
    everywhere(house, "v2")
    house.cache.refresh(NAME)
    assert [event.secret_id for event in told.events] == [full]


def test_get_returns_the_new_value_inside_the_hook_which_may_use_the_cache() -> None:
    house = House()
    seen = []

    def hook(event: RotationEvent) -> None:
        seen.append((event.new.string, house.cache.get(NAME).string))
        if event.new.string == "v2":
            everywhere(house, "v3")
            house.cache.refresh(NAME)
            house.cache.invalidate(NAME)
            house.cache.get(NAME)

    house.cache.get(NAME)
    house.cache.add_rotation_hook(NAME, hook)
    everywhere(house, "v2")
    house.cache.refresh(NAME)
    assert seen == [("v2", "v2"), ("v3", "v3")]


def test_what_a_hook_raises_is_logged_counted_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.cache.get(NAME)

    def bad(_: RotationEvent) -> None:
        raise ValueError("no")

    told = Told()
    house.cache.add_rotation_hook(NAME, bad)
    house.cache.add_rotation_hook(NAME, told)
    for value in ("v2", "v3"):
        everywhere(house, value)
        assert house.cache.refresh(NAME).string == value
    assert told.moves == [("v1", "v2"), ("v2", "v3")]
    assert house.cache._engine.rotations.hooks.failures == 2
    assert [record.exc_info is not None for record in caplog.records if "rotation hook" in record.message] == [True] * 2


def test_a_hook_that_ends_its_thread_can_be_called_again() -> None:
    house = House()
    house.cache.get(NAME)
    seen = []

    def hook(event: RotationEvent) -> None:
        seen.append(event.new.string)
        if event.new.string == "v2":
            raise KeyboardInterrupt

    house.cache.add_rotation_hook(NAME, hook)
    everywhere(house, "v2")
    with pytest.raises(KeyboardInterrupt):
        house.cache.refresh(NAME)
    everywhere(house, "v3")
    house.cache.refresh(NAME)
    assert seen == ["v2", "v3"]


def test_a_slow_hook_delays_only_itself() -> None:
    house = House(refresh="background")
    house.cache.get(NAME)
    go_on, told, slow = threading.Event(), Told(), Told()

    def blocks(event: RotationEvent) -> None:
        assert go_on.wait(PATIENCE)
        slow(event)

    house.cache.add_rotation_hook(NAME, blocks)
    house.cache.add_rotation_hook(NAME, told)
    for value in ("v2", "v3"):
        everywhere(house, value)
        assert house.cache.refresh(NAME).string == value
    told.until(2)
    assert slow.moves == []
    go_on.set()
    slow.until(2)
    assert slow.moves == told.moves == [("v1", "v2"), ("v2", "v3")]


def test_a_cancelled_hook_is_not_called_even_for_what_was_pending() -> None:
    house = House(refresh="background")
    house.cache.get(NAME)
    entered, go_on, told = threading.Event(), threading.Event(), Told()

    def blocks(event: RotationEvent) -> None:
        entered.set()
        assert go_on.wait(PATIENCE)
        told(event)

    handle = house.cache.add_rotation_hook(NAME, blocks)
    for value in ("v2", "v3"):
        everywhere(house, value)
        house.cache.refresh(NAME)
    assert entered.wait(PATIENCE)
    after = Told()
    house.cache.add_rotation_hook(NAME, after)
    handle.cancel()
    handle.cancel()
    go_on.set()
    everywhere(house, "v4")
    house.cache.refresh(NAME)
    after.until(1)
    told.until(1)
    assert told.moves == [("v1", "v2")]
    assert [one.secret.name for one in house.cache._engine.rotations.hooks.alive()] == [NAME]


class Owner:
    def __init__(self, told: Told) -> None:
        self.told = told

    def hook(self, event: RotationEvent) -> None:
        self.told(event)


def test_the_hooks_of_collected_owners_go_away_and_their_secret_may_be_evicted() -> None:
    house, told = House(refresh="background", max_entries=4), Told()
    owner = Owner(told)
    house.cache.get(NAME)
    house.cache.add_rotation_hook(NAME, owner.hook)
    everywhere(house, "v2")
    house.cache.refresh(NAME)
    told.until(1)
    del owner
    gc.collect()
    everywhere(house, "v3")
    house.cache.refresh(NAME)
    assert told.moves == [("v1", "v2")]
    assert house.cache._engine.store.pins == ()


def test_an_async_hook_runs_on_the_loop_it_was_registered_from() -> None:
    house = House(refresh="background")

    async def main() -> list[tuple[str, bool]]:
        loop, seen, over = asyncio.get_running_loop(), list[tuple[str, bool]](), asyncio.Event()

        async def hook(event: RotationEvent) -> None:
            await asyncio.sleep(0)
            seen.append((event.new.string, asyncio.get_running_loop() is loop))
            if event.new.string == "v3":
                over.set()

        await house.cache.aget(NAME)
        house.cache.add_rotation_hook(NAME, hook)
        for value in ("v2", "v3"):
            everywhere(house, value)
            await house.cache.arefresh(NAME)
        await asyncio.wait_for(over.wait(), PATIENCE)
        return seen

    assert asyncio.run(main()) == [("v2", True), ("v3", True)]


def test_an_async_hook_whose_loop_is_gone_harms_nobody() -> None:
    house = House()
    house.cache.get(NAME)

    async def hook(_: RotationEvent) -> None:
        await asyncio.sleep(0)

    async def register() -> None:
        house.cache.add_rotation_hook(NAME, hook)

    stopped = asyncio.new_event_loop()
    stopped.run_until_complete(register())  # a loop that rests, not closed: nobody may wait for it
    asyncio.run(register())
    everywhere(house, "v2")
    assert InThread(lambda: house.cache.refresh(NAME)).result().string == "v2"
    assert house.cache._engine.rotations.hooks.failures == 1
    stopped.run_until_complete(asyncio.sleep(0))
    stopped.close()


def test_an_async_hook_outside_a_loop_is_refused_and_so_is_what_cannot_be_called() -> None:
    house = House()

    async def hook(_: RotationEvent) -> None: ...

    with pytest.raises(ConfigurationError, match="event loop"):
        house.cache.add_rotation_hook(NAME, hook)
    with pytest.raises(ConfigurationError, match="callable"):
        house.cache.add_rotation_hook(NAME, "hook")  # type: ignore[arg-type]


def test_a_hooked_secret_that_nobody_reads_is_loaded_and_its_rotation_noticed_within_ttl() -> None:
    house, told = House(refresh="background", ttl=300.0), Told()
    house.cache.add_rotation_hook(NAME, told)
    house.until(lambda: len(house.cache._engine.store) == 1)
    house.rest()
    house.pass_time(4 * 3600, step=30)  # long past what makes other secrets idle
    everywhere(house, "v2")
    house.pass_time(300, step=10)
    told.until(1)
    assert told.moves == [("v1", "v2")]


def test_a_hooked_secret_that_cannot_be_loaded_is_tried_again() -> None:
    house, told = House(refresh="background"), Told()
    for region in REGIONS:
        house.fails(region)
    house.cache.add_rotation_hook(NAME, told)
    house.pass_time(5)
    assert len(house.cache._engine.store) == 0
    everywhere(house, "v1")
    house.pass_time(120)
    assert len(house.cache._engine.store) == 1


def test_a_hooked_secret_is_never_evicted() -> None:
    house, told = hooked(max_entries=4)
    for number in range(20):
        house.cache.get(f"other/{number}")
    calls = len(house.regions.calls)
    house.cache.get(NAME)
    assert len(house.regions.calls) == calls
    for number in range(2):
        house.cache.add_rotation_hook(f"pinned/{number}", told)
    with pytest.raises(ConfigurationError, match="max_entries"):
        house.cache.add_rotation_hook("pinned/more", told)


def test_on_access_the_hook_runs_before_the_read_that_noticed_returns() -> None:
    house, told = hooked()
    everywhere(house, "v2")
    house.runtime.advance(299)
    assert house.cache.get(NAME).string == "v2"
    assert told.moves == [("v1", "v2")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_keeps_hooks_and_their_handles() -> None:
    house, told = hooked()
    cancelled = Told()
    handle = house.cache.add_rotation_hook(NAME, cancelled)
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            handle.cancel()
            everywhere(house, "v2")
            house.cache.refresh(NAME)
            status = 0 if (told.moves, cancelled.moves) == ([("v1", "v2")], []) else 2
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    everywhere(house, "v2")
    house.cache.refresh(NAME)
    assert told.moves == cancelled.moves == [("v1", "v2")]


ROTATIONS, SECRETS, ROTATORS = 10_000, 20, 4


class Numbers(ScriptedRegions):
    """Regions whose every secret has a number, which a rotation raises."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, int] = defaultdict(int)
        for region in REGIONS:
            self.replies[region] = lambda call: answer(
                call.region, str(self.numbers[call.query.secret.name]), call.query.secret.name
            )


def test_ten_thousand_rotations_of_twenty_secrets_with_hooks_that_misbehave(  # noqa: C901
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("CRITICAL", logger="secretcache")
    regions, names = Numbers(), [f"secret/{number}" for number in range(SECRETS)]
    cache = SecretCache(list(REGIONS), _transport=regions)
    seen: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
    all_seen, shortly = threading.Event(), threading.Event()

    def misbehaves(event: RotationEvent) -> None:
        moves, new = seen[event.secret_id], int(event.new.string)
        moves.append((int(event.old.string), new))
        if new == ROTATIONS // SECRETS and all(one and one[-1][1] == new for one in seen.values()):
            all_seen.set()
        if new % 50 == 1:
            shortly.wait(0.001)  # it blocks; nobody sets it
        if new % 7 == 0:
            cache.get(event.secret_id)
        if new % 70 == 0:
            cache.refresh(event.secret_id)
        if new % 3 == 0:
            raise ValueError(str(new))

    def rotate(first: int) -> None:
        for _ in range(ROTATIONS // SECRETS):
            for name in names[first::ROTATORS]:
                regions.numbers[name] += 1
                cache.refresh(name)

    with cache:
        for name in names:
            cache.get(name)
            cache.add_rotation_hook(name, misbehaves)
        for rotator in [InThread(lambda first=first: rotate(first)) for first in range(ROTATORS)]:  # type: ignore[misc]
            assert rotator.over.wait(120)
            rotator.result()
        assert all_seen.wait(60)
    wanted = [(number, number + 1) for number in range(ROTATIONS // SECRETS)]
    assert all(moves == wanted for moves in seen.values())


def test_what_a_hook_takes_and_the_secret_it_is_of_are_looked_at_when_it_is_registered() -> None:
    house = House()
    with pytest.raises(ConfigurationError, match=r"got one that takes \(old, new\)"):
        house.cache.add_rotation_hook("prod/db", lambda old, new: None)  # type: ignore[misc,arg-type]
    with pytest.raises(ConfigurationError, match=r"@cache.on_rotation\('prod/db'\)"):

        @house.cache.on_rotation  # type: ignore[arg-type]
        def hook(event: RotationEvent) -> None: ...

    with pytest.raises(ConfigurationError, match="secret_id must be"):
        house.cache.on_rotation(7)  # type: ignore[arg-type]
    seen: list[RotationEvent] = []
    for takes in (seen.append, print, partial(print, "moved")):
        house.cache.add_rotation_hook("prod/db", takes)
