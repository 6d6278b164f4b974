"""What user code raises ends no thread of the cache, be it `SystemExit`: it is logged and counted."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from interrupting import make_cache, until_nothing_is_lost
from secretcache import Event, SecretCache
from secretcache._hooks import RotationEvent
from secretcache._refresher import Refresher
from secretcache._regions.lanes import WIDTH, Lane
from support import OSAKA, PATIENCE, House, InThread, ManualRuntime
from test_hooks import NAME, Told, everywhere

KINDS = [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, ValueError]
PASSING = (SystemExit, KeyboardInterrupt)


class Raising:
    """A hook that raises always, and counts."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.calls = 0
        self._kind = kind

    def __call__(self, _: object) -> None:
        self.calls += 1
        raise self._kind


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_hook_that_exits_takes_no_thread_along(kind: type[BaseException]) -> None:
    """A lane has four threads: each read would end one, or leave a request that is never told to have ended."""
    hook, told = Raising(kind), list[Event]()
    with make_cache() as cache:
        cache.add_event_hook(hook)
        cache.add_event_hook(told.append)
        for number in range(3 * WIDTH):
            _read(cache, f"cold/{number}", kind)
        until_nothing_is_lost(cache, "an event hook")
        assert [event.name for event in told].count("call") == 3 * WIDTH, "the other hook is told all the same"
        assert cache._engine.bulletin.failures == hook.calls >= 3 * WIDTH


def _read(cache: SecretCache, name: str, kind: type[BaseException]) -> None:
    """In a reader's own thread, which may be the one that tells the event, a request to exit passes through."""
    try:
        cache.get(name)
    except PASSING:
        assert kind in PASSING
    assert cache.get(name).name == name, "the state was in order before"


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotation_hook_that_exits_is_called_again(kind: type[BaseException]) -> None:
    house, hook, told = House(refresh="background"), Raising(kind), Told()
    house.cache.get(NAME)
    house.cache.add_rotation_hook(NAME, hook)
    house.cache.add_rotation_hook(NAME, told)
    for number in (2, 3, 4):
        everywhere(house, f"v{number}")
        assert house.cache.refresh(NAME).string == f"v{number}"
        told.until(number - 1)
    hooks, over = house.cache._engine.rotations.hooks, threading.Event()
    lane = hooks._subscriptions[0].lane
    assert lane is not None
    assert lane.submit(over.set)  # by the thread that has called the hook
    assert over.wait(PATIENCE)
    assert (hook.calls, hooks.failures) == (3, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_readers_own_thread_only_a_request_to_exit_passes(kind: type[BaseException]) -> None:
    house, hook, told = House(), Raising(kind), Told()
    house.cache.get(NAME)
    house.cache.add_rotation_hook(NAME, hook)
    house.cache.add_rotation_hook(NAME, told)
    passed = []
    for number in (2, 3):
        everywhere(house, f"v{number}")
        try:
            house.cache.refresh(NAME)
        except PASSING as raised:
            passed.append(type(raised))
        assert house.cache.get(NAME).string == f"v{number}"
        told.until(number - 1)  # by a worker, if the reader could not
    assert passed == ([kind, kind] if kind in PASSING else [])
    assert (hook.calls, house.cache._engine.rotations.hooks.failures) == (2, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_async_hook_that_is_cancelled_is_called_again(kind: type[BaseException]) -> None:
    """One that asks to exit ends its own loop: that is asyncio's doing."""
    if kind in PASSING:
        kind = asyncio.CancelledError
    calls = []

    async def hook(event: RotationEvent) -> None:
        calls.append(event.new.string)
        raise kind

    async def main() -> None:
        house = House()
        await house.cache.aget(NAME)
        house.cache.add_rotation_hook(NAME, hook)
        for value in ("v2", "v3"):
            everywhere(house, value)
            await house.cache.arefresh(NAME)
        assert house.cache._engine.rotations.hooks.failures == 2

    asyncio.run(main())
    assert calls == ["v2", "v3"]


@pytest.mark.parametrize("kind", KINDS)
def test_jobs_that_exit_leave_a_lane_its_threads(kind: type[BaseException]) -> None:
    lane, over = Lane("here", ManualRuntime()), threading.Event()
    job = Raising(kind)
    for _ in range(3 * WIDTH):
        assert lane.submit(lambda: job(None))
    assert lane.submit(over.set)
    assert over.wait(PATIENCE)
    assert 1 <= lane._threads <= WIDTH
    lane.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_background_thread_outlives_a_look_that_exits(kind: type[BaseException]) -> None:
    runtime, looks = ManualRuntime(), threading.Semaphore(0)

    class Owner:
        def work(self) -> float | None:
            looks.release()
            raise kind

    owner = Owner()
    refresher = Refresher(lambda: owner, runtime)
    refresher.start()
    for _ in range(3):
        assert looks.acquire(timeout=PATIENCE)
        refresher.nudge()
    refresher.stop()
    assert not runtime.threads[0].is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_factory_that_exits_ends_no_thread(kind: type[BaseException]) -> None:
    factory = Raising(kind)
    with SecretCache([OSAKA], session_factory=factory, timeout=PATIENCE / 2, refresh="on_access") as cache:
        for _ in range(2 * WIDTH):
            cache.invalidate("cold")
            with pytest.raises(Exception, match="cold"):
                cache.get("cold", timeout=0.05)
        until_nothing_is_lost(cache, "a session factory")
    assert factory.calls


def test_a_log_handler_that_raises_harms_no_read(broken_handler: None) -> None:
    del broken_handler
    with make_cache() as cache:
        cache.add_event_hook(Raising(ValueError))
        for number in range(3 * WIDTH):
            assert cache.get(f"cold/{number}").name == f"cold/{number}"
        until_nothing_is_lost(cache, "a log handler")


class _Broken(logging.Handler):
    def handle(self, _: logging.LogRecord) -> bool:
        raise OSError("the disk is full")


@pytest.fixture
def broken_handler() -> Iterator[None]:
    handler, log = _Broken(), logging.getLogger("secretcache")
    log.addHandler(handler)
    yield
    log.removeHandler(handler)


def test_an_event_hook_is_ended_by_its_own_handle_alone() -> None:
    """Two registrations of one function are two."""
    house, told = House(), list[Event]()
    first = house.cache.add_event_hook(told.append)
    house.cache.add_event_hook(told.append)
    first.cancel()
    first.cancel()
    house.cache.get(NAME)
    house.settle()
    assert [event.name for event in told] == ["call"]


def test_hooks_that_come_and_go_in_many_threads_are_all_there_in_the_end() -> None:
    """`cancel()` of one must not undo the registration of another."""
    house, told = House(), list[Event]()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [InThread(_come_and_go(house, told)) for _ in range(4)]
        for thread in threads:
            thread.result()
    finally:
        sys.setswitchinterval(before)
    house.cache.get(NAME)
    house.settle()
    assert len(told) == 4 * 50


def _come_and_go(house: House, told: list[Event]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(50):
            house.cache.add_event_hook(told.append)
            house.cache.add_event_hook(id).cancel()

    return run
