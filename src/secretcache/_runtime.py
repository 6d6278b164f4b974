"""Everything the cache asks of the machine: time, locks, events, threads, chance.

The rest of the package takes a `Runtime` and calls nothing of the kind by itself, so that tests bring a clock they
move by hand and the simulator brings a scheduler.
"""

from __future__ import annotations

import queue
import random
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["Event", "Lock", "Mailbox", "Runtime", "SystemRuntime", "Thread", "here", "monotonic_clock"]

_LONGEST_WAIT = 60.0
"""Seconds: waits are measured on a clock that stands still in suspend, so none is longer than this."""


class _Here(threading.local):
    """What is known of the thread that looks."""

    is_ours = False
    """Whether the cache has started it: nothing that user code raises may end it."""


here = _Here()


class Event(Protocol):
    """What one thread waits for and another sets."""

    def set(self) -> None:
        """Wakes whoever waits."""

    def clear(self) -> None:
        """Takes a wake-up back that has been seen."""

    def is_set(self) -> bool:
        """Whether it was set."""


class Lock(Protocol):
    """What guards the state of one cache."""

    def __enter__(self) -> object: ...
    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> object: ...  # noqa: PYI036 - as threading's

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002 - as threading's
        """Takes it; without blocking, if that is possible at once."""

    def release(self) -> None:
        """Gives it back."""

    def _is_owned(self) -> bool:
        """Whether the calling thread holds it. The name is the one that `threading.RLock` and `Condition` use."""


class Mailbox(Protocol):
    """Words for a thread that waits for them. `put` may be called from a finalizer: it takes no lock."""

    def put(self, word: str) -> None:
        """Leaves a word."""

    def take(self, until: float) -> str | None:
        """The next word; None if there is none until that time."""


class Thread(Protocol):
    """A thread that was started."""

    def join(self, timeout: float) -> None:
        """Waits for its end, at most so many seconds of real time; returns at once in that thread itself."""


class Runtime(Protocol):
    """The machine, as far as the cache may touch it. Times are seconds on one clock that never goes back."""

    now: Callable[[], float]

    def lock(self) -> Lock:
        """A new, unlocked lock that knows its owner.

        Taken by `with` alone, so that an interrupt (a signal handler that raises) cannot fall between taking it and
        being sure to release it: see docs/decisions/interrupts.md.
        """

    def event(self) -> Event:
        """A new event, not set."""

    def wait(self, event: Event, until: float) -> bool:
        """Waits for the event, at most until that time; returns whether it was set."""

    def alarm(self, loop: asyncio.AbstractEventLoop, until: float, ring: Callable[[], None]) -> Callable[[], None]:
        """Calls `ring` in the event loop, which is the running one, at that time; returns what cancels it."""

    def mailbox(self) -> Mailbox:
        """A new, empty mailbox."""

    def spawn(self, run: Callable[[], None], name: str) -> Thread:
        """Starts a daemon thread. RuntimeError: there is none to be had."""

    def random(self) -> float:
        """A number from 0 up to 1, different in every process."""


def monotonic_clock() -> Callable[[], float]:
    """The clock that ages are measured on: one that runs on through suspend where there is one.

    Linux's `CLOCK_MONOTONIC`, unlike `CLOCK_BOOTTIME`, stands still in suspend (clock_gettime(2)), and an old
    password would look young.
    """
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:
        return time.monotonic

    # A bound method of the clock id would be as fast, but there is none: partial is the cheapest callable (10 ns over
    # monotonic).
    from functools import partial  # noqa: PLC0415 - not needed where there is no such clock

    return partial(time.clock_gettime, boottime)


class _Queue:
    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._words: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.put = self._words.put

    def take(self, until: float) -> str | None:
        try:
            return self._words.get(timeout=min(max(0.0, until - self._now()), _LONGEST_WAIT))
        except queue.Empty:
            return None


class Bell:
    """What one thread waits for and others ring: a lock that is free while it rings.

    `threading.Event` makes two locks and a condition for each read, and a third lock for each wait: 20 us more.
    """

    __slots__ = ("_silence",)

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def set(self) -> None:
        """Rings until it is cleared."""
        try:
            self._silence.release()
        except RuntimeError:  # it rings already
            return

    def clear(self) -> None:
        """Silences it."""
        self._silence.acquire(blocking=False)

    def is_set(self) -> bool:
        """Whether it rings."""
        return not self._silence.locked()

    def wait(self, seconds: float) -> bool:
        """Waits until it rings, at most so long; returns whether it does."""
        rings = self._silence.acquire(timeout=seconds)
        if rings:
            self.set()
        return rings


class _Joinable:
    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread

    def join(self, timeout: float) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)


class SystemRuntime:
    """The real machine."""

    def __init__(self) -> None:
        self.now = monotonic_clock()
        self._random = random.Random()  # noqa: S311 - jitter, no secret depends on it

    def lock(self) -> Lock:
        """A new lock."""
        return threading.RLock()  # type: ignore[return-value] # typeshed leaves _is_owned out

    def event(self) -> Bell:
        """A new event."""
        return Bell()

    def wait(self, event: Event, until: float) -> bool:
        """Waits in real time."""
        assert isinstance(event, Bell)  # noqa: S101 - made by event() above
        return event.wait(min(max(0.0, until - self.now()), threading.TIMEOUT_MAX))

    def alarm(self, loop: asyncio.AbstractEventLoop, until: float, ring: Callable[[], None]) -> Callable[[], None]:
        """Rings in real time."""
        return loop.call_later(max(0.0, until - self.now()), ring).cancel

    def mailbox(self) -> Mailbox:
        """A queue."""
        return _Queue(self.now)

    def spawn(self, run: Callable[[], None], name: str) -> Thread:
        """Starts a daemon thread: the interpreter's exit never waits for it."""
        if sys.is_finalizing():  # before Python 3.12, start() would wait for ever for a thread that never runs
            raise RuntimeError("can't start new thread: the interpreter is shutting down")
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return _Joinable(thread)

    def random(self) -> float:
        """A number from this process's own generator."""
        return self._random.random()
