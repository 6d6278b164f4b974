"""Everything the cache asks of the machine: time, locks, events, threads, chance.

The rest of the package takes a `Runtime` and calls nothing of the kind by itself, so that tests bring a clock they
move by hand and the simulator brings a scheduler.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = ["Event", "Runtime", "SystemRuntime", "monotonic_clock"]


class Event(Protocol):
    """What one thread waits for and another sets."""

    def set(self) -> None:
        """Wakes whoever waits."""

    def clear(self) -> None:
        """Takes a wake-up back that has been seen."""

    def is_set(self) -> bool:
        """Whether it was set."""


class Runtime(Protocol):
    """The machine, as far as the cache may touch it. Times are seconds on one clock that never goes back."""

    now: Callable[[], float]

    def lock(self) -> AbstractContextManager[object]:
        """A new, unlocked, non-reentrant lock."""

    def event(self) -> Event:
        """A new event, not set."""

    def wait(self, event: Event, until: float) -> bool:
        """Waits for the event, at most until that time; returns whether it was set."""

    def spawn(self, run: Callable[[], None], name: str) -> None:
        """Starts a daemon thread."""

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


class SystemRuntime:
    """The real machine."""

    def __init__(self) -> None:
        self.now = monotonic_clock()
        self._random = random.Random()  # noqa: S311 - jitter, no secret depends on it

    def lock(self) -> threading.Lock:
        """A new lock."""
        return threading.Lock()

    def event(self) -> threading.Event:
        """A new event."""
        return threading.Event()

    def wait(self, event: Event, until: float) -> bool:
        """Waits in real time."""
        assert isinstance(event, threading.Event)  # noqa: S101 - made by event() above
        return event.wait(min(max(0.0, until - self.now()), threading.TIMEOUT_MAX))

    def spawn(self, run: Callable[[], None], name: str) -> None:
        """Starts a daemon thread: the interpreter's exit never waits for it."""
        threading.Thread(target=run, name=name, daemon=True).start()

    def random(self) -> float:
        """A number from this process's own generator."""
        return self._random.random()
