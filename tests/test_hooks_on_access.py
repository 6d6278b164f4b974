"""Rotation hooks without a background thread: run before the read that noticed returns, and blocking no event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from secretcache import CacheClosedError
from secretcache._hooks import RotationEvent
from secretcache._ids import SecretId
from support import OSAKA, PATIENCE, REGIONS, House, InThread, answer

NAME = "prod/db"
T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Read = Callable[[House], Coroutine[Any, Any, Any]]


def run_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    import uvloop  # noqa: PLC0415

    return uvloop.run(main)


RUNNERS = [asyncio.run] if sys.platform == "win32" else [asyncio.run, run_uvloop]


@pytest.fixture(params=RUNNERS, ids=["asyncio", "uvloop"][: len(RUNNERS)])
def run(request: pytest.FixtureRequest) -> Run:
    runner: Run = request.param
    return runner


async def soon(waiting: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
    return await asyncio.wait_for(waiting, PATIENCE)


async def in_thread(call: Callable[[], T]) -> T:
    return await soon(asyncio.to_thread(call))


def rotated(house: House, value: str = "v2") -> None:
    """From now on every region shows that value; what is held has to be asked for again."""
    for region in REGIONS:
        house.says(region, value)
    house.runtime.advance(301)


def held() -> House:
    house = House()
    house.cache.get(NAME)
    return house


async def read(house: House) -> Any:
    return await house.cache.aget(NAME)


async def refresh(house: House) -> Any:
    return await house.cache.arefresh(NAME)


async def prefetch(house: House) -> Any:
    await house.cache.aprefetch([NAME, "prod/other"])
    return house.cache.get(NAME)


READS = pytest.mark.parametrize("reads", [read, refresh, prefetch])


class Held:
    """A hook that stands where it is until the test lets it go on."""

    def __init__(self) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.moves: list[tuple[str, str]] = []
        self.threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def __call__(self, event: RotationEvent) -> None:
        self.threads.append(threading.current_thread())
        self.entered.set()
        assert self.go_on.wait(PATIENCE)
        with self._changed:
            self.moves.append((event.old.string, event.new.string))
            self._changed.notify_all()

    def until(self, *moves: tuple[str, str]) -> None:
        """Returns when it has been called for these moves."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.moves == list(moves), PATIENCE), self.moves


@READS
def test_a_plain_hook_runs_off_the_loop_and_before_the_read_returns(run: Run, reads: Read) -> None:
    house, hook = held(), Held()
    house.cache.add_rotation_hook(NAME, hook)
    rotated(house)

    async def main() -> None:
        reading = asyncio.ensure_future(reads(house))
        assert await in_thread(lambda: hook.entered.wait(PATIENCE))  # the loop goes on while the hook stands
        await asyncio.sleep(0)
        assert not reading.done()
        hook.go_on.set()
        secret = await soon(reading)
        assert (secret.string, hook.moves) == ("v2", [("v1", "v2")])
        assert threading.current_thread() not in hook.threads

    run(main())


@READS
def test_an_async_hook_is_awaited_on_its_own_loop(run: Run, reads: Read) -> None:
    house = held()

    async def main() -> None:
        loop, entered, go_on, seen = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event(), list[bool]()

        async def hook(_: RotationEvent) -> None:
            entered.set()
            await go_on.wait()
            seen.append(asyncio.get_running_loop() is loop)

        house.cache.add_rotation_hook(NAME, hook)
        rotated(house)
        reading = asyncio.ensure_future(reads(house))
        await soon(entered.wait())
        await asyncio.sleep(0)
        assert not reading.done()
        go_on.set()
        secret = await soon(reading)
        assert (secret.string, seen) == ("v2", [True])

    run(main())


def test_an_async_hook_may_read_what_is_no_hit(run: Run) -> None:
    house, seen = held(), list[str]()

    async def hook(event: RotationEvent) -> None:
        seen.append(event.new.string)
        seen.append((await house.cache.aget(NAME)).string)
        if event.new.string == "v2":
            rotated(house, "v3")
            seen.append((await house.cache.aget(NAME)).string)  # it notices the next one, and does not wait for itself
            seen.append((await house.cache.arefresh(NAME)).string)
            seen.append((await house.cache.aget("prod/other")).string)

    async def main() -> None:
        house.cache.add_rotation_hook(NAME, hook)
        rotated(house)
        assert (await soon(house.cache.aget(NAME))).string == "v3"

    run(main())
    assert seen == ["v2", "v2", "v3", "v3", "v3", "v3", "v3"]


def test_a_plain_hook_may_read_what_is_no_hit(run: Run) -> None:
    house, seen = held(), list[str]()

    def hook(event: RotationEvent) -> None:
        seen.append(event.new.string)
        if event.new.string == "v2":
            rotated(house, "v3")
            seen.append(house.cache.get(NAME).string)

    house.cache.add_rotation_hook(NAME, hook)
    rotated(house)

    async def main() -> None:
        assert (await soon(house.cache.aget(NAME))).string == "v3"

    run(main())
    assert seen == ["v2", "v3", "v3"]


def test_hooks_of_one_secret_run_beside_one_another_and_all_are_awaited(run: Run) -> None:
    house, hooks = held(), [Held(), Held()]
    for hook in hooks:
        house.cache.add_rotation_hook(NAME, hook)
    rotated(house)

    async def main() -> None:
        reading = asyncio.ensure_future(house.cache.aget(NAME))
        for hook in hooks:
            assert await in_thread(lambda hook=hook: hook.entered.wait(PATIENCE))  # type: ignore[misc]
        hooks[1].go_on.set()
        await asyncio.sleep(0)
        assert not reading.done()
        hooks[0].go_on.set()
        await soon(reading)

    run(main())
    assert [hook.moves for hook in hooks] == [[("v1", "v2")]] * 2


def test_what_a_hook_raises_changes_nothing_for_the_task(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    house = held()

    def bad(_: RotationEvent) -> None:
        raise ValueError("no")

    async def worse(_: RotationEvent) -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        house.cache.add_rotation_hook(NAME, bad)
        house.cache.add_rotation_hook(NAME, worse)
        rotated(house)
        assert (await soon(house.cache.aget(NAME))).string == "v2"

    run(main())
    assert house.cache._engine.rotations.hooks.failures == 2
    assert sum("rotation hook" in record.message for record in caplog.records) == 2


def test_many_tasks_and_threads_notice_and_the_hook_runs_once(run: Run) -> None:
    house, moves = House(regions=[OSAKA]), list[tuple[str, str]]()
    house.cache.get(NAME)
    house.cache.add_rotation_hook(NAME, lambda event: moves.append((event.old.string, event.new.string)))
    house.runtime.advance(301)
    house.regions.hold(OSAKA)
    threads = [InThread(lambda: house.cache.get(NAME)) for _ in range(4)]

    async def main() -> None:
        tasks = [asyncio.ensure_future(house.cache.aget(NAME)) for _ in range(20)]
        await in_thread(lambda: house.runtime.until_waiting(24))
        house.regions.gate().answer(answer(OSAKA, "v2"))
        assert {secret.string for secret in await soon(asyncio.gather(*tasks))} == {"v2"}

    run(main())
    assert {thread.result().string for thread in threads} == {"v2"}
    assert moves == [("v1", "v2")]


# Readers who do not stay.


def test_a_task_cancelled_while_its_hook_runs_does_not_stop_the_hook(run: Run) -> None:
    house, hook = held(), Held()
    house.cache.add_rotation_hook(NAME, hook)
    rotated(house)

    async def main() -> None:
        reading = asyncio.ensure_future(house.cache.aget(NAME))
        assert await in_thread(lambda: hook.entered.wait(PATIENCE))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(reading)
        rotated(house, "v3")
        later = await soon(house.cache.aget(NAME))  # it does not wait for the hook that another read began
        assert (later.string, hook.moves) == ("v3", [])

    run(main())
    hook.go_on.set()
    hook.until(("v1", "v2"), ("v2", "v3"))


def test_a_task_cancelled_before_its_answer_came_loses_no_hook(run: Run) -> None:
    house, hook = House(regions=[OSAKA]), Held()
    house.cache.get(NAME)
    house.cache.add_rotation_hook(NAME, hook)
    house.runtime.advance(301)
    house.regions.hold(OSAKA)

    async def main() -> None:
        reading = asyncio.ensure_future(house.cache.aget(NAME))
        gate = await in_thread(house.regions.gate)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(reading)
        gate.answer(answer(OSAKA, "v2"))
        assert await in_thread(lambda: hook.entered.wait(PATIENCE)), "nobody reads, and the hook runs all the same"

    run(main())
    hook.go_on.set()
    hook.until(("v1", "v2"))


def test_a_task_cancelled_in_the_moment_of_the_answer_loses_no_hook(run: Run) -> None:
    house, hook = House(regions=[OSAKA]), Held()
    hook.go_on.set()
    house.cache.get(NAME)
    house.cache.add_rotation_hook(NAME, hook)
    house.runtime.advance(301)
    house.regions.hold(OSAKA)

    async def main() -> None:
        reading = asyncio.ensure_future(house.cache.aget(NAME))
        await in_thread(lambda: house.runtime.until_waiting(1))
        house.regions.gate().answer(answer(OSAKA, "v2"))
        # The loop stands still meanwhile: the answer is there, and the task has not heard of it.
        house.until(lambda: house.cache._engine.current(SecretId(NAME))[0].secret.string == "v2")  # type: ignore[union-attr]
        assert hook.moves == [], "the task was to see to it"
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(reading)
        assert await in_thread(lambda: hook.entered.wait(PATIENCE))

    run(main())
    hook.until(("v1", "v2"))


def test_a_thread_out_of_time_loses_no_hook() -> None:
    house, hook = House(regions=[OSAKA]), Held()
    hook.go_on.set()
    house.cache.get(NAME)
    house.cache.add_rotation_hook(NAME, hook)
    house.runtime.advance(301)
    house.regions.hold(OSAKA)
    reading = InThread(lambda: house.cache.get(NAME, timeout=0.25))
    house.runtime.until_waiting(1)
    house.runtime.advance(0.25)
    assert reading.result().string == "v1"
    house.regions.gate().answer(answer(OSAKA, "v2"))
    assert hook.entered.wait(PATIENCE), "nobody reads, and the hook runs all the same"
    hook.until(("v1", "v2"))


def test_close_ends_the_wait_for_a_hook(run: Run) -> None:
    house, hook = held(), Held()
    house.cache.add_rotation_hook(NAME, hook)
    rotated(house)

    async def main() -> None:
        reading = asyncio.ensure_future(house.cache.aget(NAME))
        assert await in_thread(lambda: hook.entered.wait(PATIENCE))
        await in_thread(house.cache.close)
        with pytest.raises(CacheClosedError):
            await soon(reading)

    run(main())
    hook.go_on.set()
    hook.until(("v1", "v2"))


def test_without_a_thread_to_be_had_the_hook_runs_in_the_loops_own(run: Run) -> None:
    house, hook = held(), Held()
    hook.go_on.set()
    house.cache.add_rotation_hook(NAME, hook)
    rotated(house)

    async def main() -> None:
        reading = asyncio.ensure_future(house.cache.aget(NAME))
        await asyncio.sleep(0)  # the request has its thread
        house.runtime.threads_allowed = False
        await soon(reading)
        assert hook.threads == [threading.current_thread()]

    run(main())
    assert hook.moves == [("v1", "v2")]
