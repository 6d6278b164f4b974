"""The machine as the cache sees it in a test: its time is the clock's, its threads are known to the clock."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secretcache._runtime import _Joinable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from secretcache._regions.lanes import Lane
    from secretcache._runtime import Event, Thread
    from secretcache.testing._clock import ManualClock

__all__ = ["ManualRuntime", "Park"]


def _nothing() -> None:
    return None


@dataclass(eq=False)
class Park:
    """A thread or a task that waits, and for what."""

    until: float
    is_set: Callable[[], bool]
    lane: Lane | None
    """Whose job waits."""
    ours: bool
    """Whether it is one of the cache's own threads: those never move the clock."""
    loop: asyncio.AbstractEventLoop | None = None
    ring: Callable[[], None] = _nothing
    rung: bool = False
    thread: threading.Thread = field(default_factory=threading.current_thread)

    def is_over(self, now: float) -> bool:
        """Whether it has what it waits for."""
        return now >= self.until or self.is_set()


class _Told:
    """What can be set; the clock is told."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._set = False

    def set(self) -> None:
        self._set = True
        self._clock.changed()

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set


class _Lock:
    """A lock that tells the clock when it is released: whatever the cache has decided, it decided under one."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self.acquire = self._lock.acquire
        self._is_owned: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined] # noqa: SLF001

    def release(self) -> None:
        self._lock.release()
        self._clock.changed()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class _Mailbox:
    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._words: deque[str] = deque()

    def put(self, word: str) -> None:
        self._words.append(word)
        self._clock.changed()

    def take(self, until: float) -> str | None:
        if not self._words and until > self._clock.now():
            self._clock.take(lambda: bool(self._words), until)
        return self._words.popleft() if self._words else None


class ManualRuntime:
    """A `Runtime` on a manual clock."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.now = clock.now

    def lock(self) -> _Lock:
        """A new lock."""
        return _Lock(self._clock)

    def event(self) -> _Told:
        """A new event."""
        return _Told(self._clock)

    def wait(self, event: Event, until: float) -> bool:
        """Waits on the manual clock."""
        return self._clock.wait(event, until)

    def alarm(self, loop: asyncio.AbstractEventLoop, until: float, ring: Callable[[], None]) -> Callable[[], None]:
        """Rings on the manual clock."""
        return self._clock.alarm(loop, until, ring)

    def mailbox(self) -> _Mailbox:
        """A new mailbox."""
        return _Mailbox(self._clock)

    def spawn(self, run: Callable[[], None], name: str) -> Thread:
        """Starts a thread that the clock knows of."""
        return _Joinable(self._clock.spawn(run, name))

    def random(self) -> float:
        """The clock's `chance`."""
        return self._clock.chance
