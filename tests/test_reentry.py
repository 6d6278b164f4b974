"""A call that interrupts its own thread inside the cache would wait for itself: it is refused at once."""

from __future__ import annotations

import copy
import gc
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from interrupting import make_cache, until_nothing_is_lost
from secretcache import ConfigurationError, SecretCache, SecretUnavailableError
from support import PATIENCE, House
from test_processes import environment

CALLS: dict[str, Callable[[SecretCache], object]] = {
    "get": lambda cache: cache.get("cold"),
    "refresh": lambda cache: cache.refresh("warm"),
    "invalidate": lambda cache: cache.invalidate("warm"),
    "prefetch": lambda cache: cache.prefetch(["cold"]),
    "stats": lambda cache: cache.stats(),
    "region_health": lambda cache: cache.region_health(),
    "add_rotation_hook": lambda cache: cache.add_rotation_hook("warm", print),
    "get_pair": lambda cache: cache.get_pair("warm"),
    "close": lambda cache: cache.close(),
}


class Inside:
    """Runs something in the middle of a step, with the cache's lock held, in the thread that holds it."""

    def __init__(self, cache: SecretCache, what: Callable[[], object]) -> None:
        self.told: list[object] = []
        self._what = what
        self._find = cache._engine.store.find
        cache._engine.store.find = self._look  # type: ignore[method-assign]

    def _look(self, query: Any) -> Any:
        if not self.told:
            try:
                self.told.append(self._what())
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                self.told.append(error)
        return self._find(query)


@pytest.fixture
def cache() -> Iterator[SecretCache]:
    with make_cache() as made:
        made.get("warm")
        yield made


@pytest.mark.parametrize("call", CALLS)
def test_a_call_from_within_the_cache_is_refused_at_once(call: str, cache: SecretCache) -> None:
    inside = Inside(cache, lambda: CALLS[call](cache))
    assert cache.get("other").name == "other", "what was interrupted goes on"
    assert isinstance(inside.told[0], SecretUnavailableError)
    assert "signal handler" in str(inside.told[0])
    until_nothing_is_lost(cache, call)
    cache.get("cold")


def test_a_hit_is_allowed_there(cache: SecretCache) -> None:
    inside = Inside(cache, lambda: cache.get("warm").name)
    cache.get("other")
    assert inside.told == ["warm"]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")
def test_a_signal_handler_that_reads_inside_the_cache_is_told(cache: SecretCache) -> None:
    told: list[object] = []

    def handler(_number: int, _frame: object) -> None:
        told.append(cache.get("warm").name)
        with pytest.raises(SecretUnavailableError, match="Let the handler set a flag") as refused:
            cache.get("cold")
        told.append(refused.type)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        Inside(cache, lambda: signal.raise_signal(signal.SIGUSR1))
        assert cache.get("other").name == "other"
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told == ["warm", SecretUnavailableError]


def test_a_finalizer_that_reads_inside_the_cache_is_told(cache: SecretCache) -> None:
    told: list[object] = []

    class Reads:
        def __del__(self) -> None:
            try:
                cache.get("cold")
            except SecretUnavailableError as error:
                told.append(type(error))

    def drop() -> None:
        one = Reads()
        one.itself = one  # type: ignore[attr-defined]
        del one
        gc.collect()

    Inside(cache, drop)
    cache.get("other")
    assert told == [SecretUnavailableError]


def test_a_call_inside_another_threads_step_waits_for_it(cache: SecretCache) -> None:
    """Only the lock's own owner is refused."""
    began, told = threading.Event(), list[object]()

    def read() -> None:
        began.set()
        told.append(cache.get("cold").name)

    thread = threading.Thread(target=read)

    def start() -> None:
        thread.start()
        assert began.wait(PATIENCE)

    Inside(cache, start)
    cache.get("other")
    thread.join(PATIENCE)
    assert told == ["cold"]


AT_EXIT = """
import sys
from interrupting import make_cache

cache = make_cache(timeout=2.0)
state = sys.argv[1]
if state == "warm":
    cache.get("warm")

class Last:
    def __del__(self, cache=cache, is_finalizing=sys.is_finalizing, write=sys.stdout.write, flush=sys.stdout.flush):
        try:
            cache.get("cold")
        except Exception as error:
            write(f"{is_finalizing()} {type(error).__name__} {error}")
            flush()

last = Last()
if state == "collected":  # together with the cache: the collector clears weak references first
    last.itself = last
else:
    sys.keeps = cache
"""


@pytest.mark.parametrize("state", ["warm", "cold", "collected"])
def test_a_first_read_in_a_finalizer_at_exit_ends(state: str) -> None:
    """Before Python 3.12 `Thread.start()` waits there for ever."""
    command = [sys.executable, "-W", "ignore", "-c", AT_EXIT, state]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=3 * PATIENCE, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True SecretUnavailableError"), done.stdout + done.stderr
    assert ("this cache is being collected" if state == "collected" else "is shutting down") in done.stdout


def test_a_cache_is_not_pickled_and_the_message_says_what_to_do() -> None:
    house = House()
    with pytest.raises(TypeError, match="Make one in each process"):
        pickle.dumps(house.cache)


def test_a_copy_of_a_cache_is_the_same_cache() -> None:
    """A second object with the same engine would end its background thread when it is dropped."""
    house = House(refresh="background")
    house.cache.get("prod/db")
    assert copy.copy(house.cache) is house.cache
    assert copy.deepcopy({"cache": house.cache})["cache"] is house.cache


def test_under_trio_a_cold_read_says_asyncio_only_and_a_hit_is_a_hit() -> None:
    house = House()

    async def cold() -> None:
        with pytest.raises(ConfigurationError, match=r"asyncio only.*trio\.to_thread\.run_sync"):
            await house.cache.aget("prod/db")

    async def hit() -> str:
        await trio.to_thread.run_sync(house.cache.get, "prod/db")
        return (await house.cache.aget("prod/db")).string

    trio.run(cold)
    assert trio.run(hit) == "v1"
