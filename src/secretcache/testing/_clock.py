"""A clock that a test moves, and a machine whose threads keep step with it.

The cache's own threads run as they do in production. What is different: time moves only when the test says so, or when
somebody waits for it while nothing else is left to do; and the clock knows when that is so. It goes from one moment at
which something falls due to the next, and lets everything come to rest at each: no test has to sleep.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

from secretcache._errors import ConfigurationError
from secretcache._regions.lanes import Lane
from secretcache._settings import check_duration
from secretcache.testing._machine import ManualRuntime, Park

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secretcache._runtime import Event

__all__ = ["ClockError", "ManualClock"]

_START = 1000.0
_TURNS = 8
"""Turns of an event loop in which its ready tasks come to their next wait."""
_UNRESTED = (
    "the cache does not come to rest within {patience:g} s of real time: {who}. "
    "Does a hook wait for the test, or is the clock moved from within a hook?"
)
_STANDS_STILL = (
    "ManualClock(autojump=False): a read waits, and nobody has moved the clock for {patience:g} s of real time. "
    "Call advance() from another thread, or let the clock jump by itself"
)


class ClockError(RuntimeError):
    """The clock cannot do what the test asks of it; the message says what is in the way."""


class ManualClock:
    """A clock that a test moves by hand.

    A read that has to wait (a region hangs, retries are spaced) moves the clock on by itself, to the next moment at
    which something happens, as nothing else would: `get()` returns at once, and `now()` tells how long it would have
    taken. With `autojump=False` it waits for a test that calls `advance` from another thread.

    What the cache leaves to chance is always `chance`: refresh-ahead comes at 80 % of `ttl`.

    Only the cache runs on this clock. `time.sleep` and `time.monotonic` in the application are the real ones.

    Args:
        autojump: whether time moves by itself when somebody waits for it and nothing else is left to do.
        patience: seconds of real time after which a wait that cannot end is an error.

    Raises:
        ConfigurationError: an argument is not sound; the message names it.
    """

    def __init__(self, *, autojump: bool = True, patience: float = 30.0) -> None:
        if not isinstance(autojump, bool):
            raise ConfigurationError(f"autojump must be True or False, got {autojump!r}")
        self.chance = 0.5
        """What every random choice of the cache comes out as, from 0 up to 1."""
        self._autojump = autojump
        self._patience = check_duration("patience", patience, positive=True)
        self._time = _START
        self._changed = threading.Condition()
        self._parks: list[Park] = []
        self._lanes: weakref.WeakSet[Lane] = weakref.WeakSet()
        self._threads: dict[threading.Thread, Lane | None] = {}
        self._moving = False
        self._changes = 0
        self._bouncing: set[asyncio.AbstractEventLoop] = set()
        self.runtime = ManualRuntime(self)
        """The machine that caches on this clock run on."""

    def now(self) -> float:
        """Seconds on this clock. It starts at 1000."""
        return self._time

    def advance(self, seconds: float) -> None:
        """Moves time on, and lets everything happen that falls due meanwhile, each thing at its own moment.

        Returns when refreshes, probes, hooks and readers have done what they had to do by then.

        Raises:
            ConfigurationError: `seconds` is no number of seconds, 0 or more.
            ClockError: it was called from within a hook or an event loop, or something does not come to rest.
        """
        check_duration("seconds", seconds)
        self._refuse_here("advance")
        self._advance(seconds)

    async def aadvance(self, seconds: float) -> None:
        """`advance` for a test that is a task: the other tasks go on meanwhile."""
        check_duration("seconds", seconds)
        await asyncio.to_thread(self._advance, seconds, asyncio.get_running_loop())

    def settle(self) -> None:
        """Lets everything happen that is due now: what is under way ends, and hooks have been called.

        Raises:
            ClockError: as `advance`.
        """
        self._refuse_here("settle")
        self._advance(0)

    async def asettle(self) -> None:
        """`settle` for a test that is a task."""
        await self.aadvance(0)

    def __repr__(self) -> str:
        return f"<ManualClock now={self._time:g}>"

    # What the machine asks of it.

    def changed(self) -> None:
        """Something has happened: who waits for rest looks again."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()
            loops = {park.loop for park in self._parks if park.loop is not None} - self._bouncing
            if loops and self._may_jump():
                for loop in loops:
                    self._bounce_soon(loop)

    def wait(self, event: Event, until: float) -> bool:
        """Waits for an event, or for the clock to reach a moment."""
        park = Park(until, event.is_set, lane=self._threads.get(threading.current_thread()), ours=self._is_ours())
        with self._changed, self._parked(park):
            while not park.is_over(self._time):
                if not park.ours and self._may_jump():
                    self._jump()
                elif not self._changed.wait(self._patience) and not park.ours:
                    raise ClockError(self._why_it_stands_still())
            return event.is_set()

    def take(self, has_word: Callable[[], bool], until: float) -> None:
        """Waits for a word, or for the clock to reach a moment; one of the cache's own threads."""
        park = Park(until, has_word, lane=None, ours=True)
        with self._changed, self._parked(park):
            self._changed.wait_for(lambda: park.is_over(self._time))

    def alarm(self, loop: asyncio.AbstractEventLoop, until: float, ring: Callable[[], None]) -> Callable[[], None]:
        """Rings in a loop when the clock reaches a moment; returns what cancels it."""
        park = Park(until, lambda: False, lane=None, ours=False, loop=loop, ring=ring)
        with self._changed:
            self._parks.append(park)
            self._ring()
            if self._autojump and loop not in self._bouncing:
                self._bounce_soon(loop)
        return lambda: self._cancel(park)

    def spawn(self, run: Callable[[], None], name: str) -> threading.Thread:
        """Starts a thread of the cache's own."""
        lane = getattr(run, "__self__", None)
        lane = lane if isinstance(lane, Lane) else None

        def tracked() -> None:
            try:
                run()
            finally:
                with self._changed:
                    del self._threads[threading.current_thread()]
                    self.changed()

        thread = threading.Thread(target=tracked, name=name, daemon=True)
        with self._changed:
            self._threads[thread] = lane
            if lane is not None:
                self._lanes.add(lane)
        try:
            thread.start()
        except RuntimeError:
            with self._changed:
                del self._threads[thread]
            raise
        return thread

    # With the condition held.

    @contextmanager
    def _parked(self, park: Park) -> Iterator[None]:
        self._parks.append(park)
        self.changed()
        try:
            yield
        finally:
            self._parks.remove(park)
            self.changed()

    def _at_rest(self) -> bool:
        return not self._restless()

    def _restless(self) -> list[str]:
        """Who has something to do that needs no time to pass."""
        woken = [park for park in self._parks if park.is_over(self._time)]
        parked = [park.lane for park in self._parks]
        busy = [lane.name for lane in list(self._lanes) if lane.at_work > parked.count(lane)]
        waiting = {park.thread for park in self._parks}
        awake = [one.name for one, lane in self._threads.items() if lane is None and one not in waiting]
        return [*(park.thread.name for park in woken), *busy, *awake]

    def _may_jump(self) -> bool:
        return self._autojump and not self._moving and self._at_rest()

    def _jump(self) -> None:
        """To the next moment that somebody waits for."""
        self._time = max(self._time, min(park.until for park in self._parks))
        self._ring()
        self._changed.notify_all()

    def _ring(self) -> None:
        for park in self._parks:
            if park.loop is not None and park.until <= self._time and not park.rung:
                park.rung = True
                park.loop.call_soon_threadsafe(park.ring)

    # Steps.

    def _advance(self, seconds: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        with self._in_hand():
            end = self._time + seconds
            self._rest(loop)
            while self._step(end):
                self._rest(loop)

    @contextmanager
    def _in_hand(self) -> Iterator[None]:
        with self._changed:
            if not self._changed.wait_for(lambda: not self._moving, self._patience):
                raise ClockError("another thread is moving the clock, and does not come to an end")
            self._moving = True
        try:
            yield
        finally:
            with self._changed:
                self._moving = False
                self.changed()

    def _rest(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._rest_of_threads()
        while loop is not None:
            before = self._changes
            asyncio.run_coroutine_threadsafe(_turns(), loop).result()  # what was woken may have begun something
            if before == self._changes:
                return
            self._rest_of_threads()

    def _rest_of_threads(self) -> None:
        with self._changed:
            if not self._changed.wait_for(self._at_rest, self._patience):
                raise ClockError(_UNRESTED.format(patience=self._patience, who=", ".join(self._restless())))

    def _step(self, end: float) -> bool:
        """Moves on to the next moment at which something falls due, at most to the end; False: it is there."""
        with self._changed:
            if self._time >= end:
                return False
            self._time = min([end, *(park.until for park in self._parks if park.until > self._time)])
            self._ring()
            self._changed.notify_all()
            return True

    def _cancel(self, park: Park) -> None:
        with self._changed:
            self._parks.remove(park)
            self.changed()

    def _bounce(self, loop: asyncio.AbstractEventLoop, turns: int, changes: int) -> None:
        """In a loop whose tasks wait for the clock: once they all do, and all else is at rest, time moves."""
        if turns:
            loop.call_soon(self._bounce, loop, turns - 1, changes)
            return
        with self._changed:
            waited_for = any(park.loop is loop for park in self._parks)
            if waited_for and self._may_jump() and changes != self._changes:
                loop.call_soon(self._bounce, loop, _TURNS, self._changes)  # somebody was woken meanwhile
                return
            self._bouncing.discard(loop)
            if waited_for and self._may_jump():
                self._jump()

    def _bounce_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        self._bouncing.add(loop)
        try:
            loop.call_soon_threadsafe(self._bounce, loop, _TURNS, self._changes)
        except RuntimeError:  # it is closed: nobody waits there any more
            self._bouncing.discard(loop)

    # Misuse.

    def quietly_settle(self) -> None:
        """Settles, where that can be done from: before the fake is asked what happened."""
        if not self._is_ours() and not _in_a_loop() and not self._moving:
            self.settle()

    def _is_ours(self) -> bool:
        return threading.current_thread() in self._threads

    def _refuse_here(self, name: str) -> None:
        if self._is_ours():
            raise ClockError(f"{name}() was called from within a hook: the clock would wait for its own caller")
        if _in_a_loop():
            raise ClockError(f"{name}() blocks the event loop it was called from: use `await clock.a{name}(...)`")

    def _why_it_stands_still(self) -> str:
        if not self._autojump:
            return _STANDS_STILL.format(patience=self._patience)
        return _UNRESTED.format(patience=self._patience, who=", ".join(self._restless()))


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
