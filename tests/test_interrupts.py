"""A signal handler that raises (a time limit, Ctrl-C) may interrupt a read anywhere: the cache goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import product
from types import FrameType

import pytest

from interrupting import Interrupt, Regions, Tracer, make_cache, until_nothing_is_lost
from secretcache import Secret, SecretCache
from secretcache._regions.policy import RegionPolicy
from support import PATIENCE, InThread

pytestmark = pytest.mark.untraced
MANY = [f"many/{number}" for number in range(6)]
CALLS: dict[str, Callable[[SecretCache], object]] = {
    "get, the first of all": lambda cache: cache.get("cold"),
    "get, cold": lambda cache: cache.get("cold"),
    "get, hit": lambda cache: cache.get("warm"),
    "get, another stage": lambda cache: cache.get("warm", version_stage="AWSPENDING"),
    "refresh": lambda cache: cache.refresh("warm"),
    "refresh, newer than": lambda cache: cache.refresh("warm", newer_than="no such version"),
    "invalidate": lambda cache: cache.invalidate("warm"),
    "get_pair": lambda cache: cache.get_pair("warm"),
    "prefetch": lambda cache: cache.prefetch(["warm", "cold", "cold/2"]),
    "stats": lambda cache: cache.stats(),
    "region_health": lambda cache: cache.region_health(),
    "add and cancel a rotation hook": lambda cache: cache.add_rotation_hook("warm", print).cancel(),
    "add and cancel an event hook": lambda cache: cache.add_event_hook(id).cancel(),
    "close": lambda cache: cache.close(),
    "aget, cold": lambda cache: asyncio.run(_aget(cache, "cold")),
    "refresh, a rotation": lambda cache: _rotate(cache).refresh("warm"),
    "arefresh, a rotation": lambda cache: asyncio.run(_arefresh(_rotate(cache), "warm")),
    "get, throttled": lambda cache: _limit(cache).get("cold"),
    "prefetch of more than the lane has threads, throttled": lambda cache: _limit(cache).prefetch(MANY),
    "connect": lambda cache: cache.connect("warm", lambda _: "connection", is_auth_error=lambda _: False),
}


BRIEFLY = RegionPolicy(throttle_first=0.01, pace_first=1000.0, hedge_after=0.02)
"""A region that throttles is asked again soon, and its readers look soon whether they may."""
SPARSELY = {"get, throttled": 6, "prefetch of more than the lane has threads, throttled": 24}
"""Those of which only some places are tried, one in so many: each try waits for a region's gate."""
IN_BOTH = [
    "get, the first of all",
    "get, cold",
    "get, throttled",
    "prefetch",
    "refresh, a rotation",
    "arefresh, a rotation",
]
"""Those that do other things where no background thread does them."""


def _rotate(cache: SecretCache) -> SecretCache:
    cache._given_transport.version = "v2"  # type: ignore[union-attr]
    return cache


def _limit(cache: SecretCache) -> SecretCache:
    regions: Regions = cache._given_transport  # type: ignore[assignment]
    regions.throttles, regions.batches = 1, False
    return cache


async def _arefresh(cache: SecretCache, name: str) -> Secret:
    return await cache.arefresh(name)


async def _aget(cache: SecretCache, name: str) -> Secret:
    return await cache.aget(name)


def answers(cache: SecretCache, where: str) -> None:
    """Reads in another thread, which holds nothing and is interrupted by nobody."""
    reader = InThread(lambda: [cache.get(name).name for name in ("warm", "cold", "another")])
    assert reader.over.wait(PATIENCE), f"interrupted at {where}: no answer"
    assert reader.result() == ["warm", "cold", "another"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # coroutines that were never awaited
@pytest.mark.parametrize(("call", "refresh"), [*product(CALLS, ["background"]), *product(IN_BOTH, ["on_access"])])
def test_an_interrupt_anywhere_in_a_call_leaves_the_cache_whole(call: str, refresh: str) -> None:
    """Once at each place at which CPython looks for signals in the package's own code."""
    places = _interrupted(call, refresh, None)
    assert places
    for place in places[:: SPARSELY.get(call, 1)]:
        _interrupted(call, refresh, place)


def _interrupted(call: str, refresh: str, place: int | None) -> list[int]:
    with make_cache(refresh=refresh, _policy=BRIEFLY if "throttled" in call else None) as cache:
        seen: list[object] = []
        if "first" not in call:
            cache.get("warm")
            cache.add_rotation_hook("warm", seen.append)
        tracer = Tracer(place)
        try:
            with tracer.tracing():
                CALLS[call](cache)
        except Interrupt:
            pass
        where = f"{tracer.where} ({place})"
        if not cache._engine.closed:
            answers(cache, where)
        until_nothing_is_lost(cache, where)
        if "rotation" in call:
            rotated = cache.refresh("warm").string == "v2"  # an interrupt may have come before it
            until_nothing_is_lost(cache, where)
            assert (rotated, len(seen)) in {(True, 1), (False, 0)}, f"interrupted at {where}: {len(seen)} calls"
    return tracer.places


class Alarm:
    """A signal handler that raises, at a random moment from now on."""

    def __init__(self) -> None:
        self.rung = 0
        self._chance = random.Random(7)  # noqa: S311 - moments
        self._armed = False

    def ring(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            self.rung += 1
            raise Interrupt

    def arm(self, longest: float) -> None:
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, self._chance.uniform(1e-6, longest))

    def disarm(self) -> None:
        self._armed = False


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    made = Alarm()
    before = signal.signal(signal.SIGALRM, made.ring)
    yield made
    made.disarm()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("refresh", ["on_access", "background"])
def test_twenty_thousand_interrupts_at_random_leave_the_cache_whole(alarm: Alarm, refresh: str) -> None:
    interrupts = 10_000  # in each of the two modes
    errors: list[BaseException] = []
    over = threading.Event()
    with make_cache(ttl=0.0, refresh=refresh) as cache:
        others = threading.Thread(target=_read_on, args=(cache, over, errors))
        others.start()
        until = time.monotonic() + 120  # bounded in time; what was interrupted by then is looked at all the same
        while alarm.rung < interrupts and time.monotonic() < until:
            for _ in range(500):
                with contextlib.suppress(Interrupt):
                    _read_until_interrupted(cache, alarm)
            assert cache.get("cold").name == "cold"
        over.set()
        others.join()
        until_nothing_is_lost(cache, f"random, {alarm.rung} times")
    assert (errors, alarm.rung >= 1000) == ([], True)


def _read_on(cache: SecretCache, over: threading.Event, errors: list[BaseException]) -> None:
    while not over.wait(0.002):
        try:
            cache.get("cold")
        except BaseException as error:  # noqa: BLE001, PERF203 - any is wrong
            errors.append(error)


def _read_until_interrupted(cache: SecretCache, alarm: Alarm) -> None:
    alarm.arm(0.0004)
    while True:
        cache.get("cold")
