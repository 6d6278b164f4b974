"""Where attempts run: four daemon threads for each region, and more while it answers well and requests are queued.

An attempt can be left behind but not stopped (a drip of bytes outlives every socket timeout), so the number of
threads is the bound on how many can ever be stuck: by construction, not by a check. So a lane grows by one thread
with an answer, and not with its queue: of a region that falls silent, no more is stuck than it has just answered.
"""

from __future__ import annotations

import logging
import queue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache._runtime import Runtime

__all__ = ["WIDEST", "WIDTH", "Lane"]

_log = logging.getLogger("secretcache")
WIDTH = 4
"""Threads of a lane whose region has a queue of its own making, or none: the most attempts that can be stuck there."""
WIDEST = 32
"""Threads of a lane in the middle of a burst that its region answers."""
_IDLE_SECONDS = 10.0


class Lane:
    """The threads of one region: started when there is work, gone when there was none for ten seconds."""

    def __init__(self, region: str, runtime: Runtime, *, width: int = WIDTH) -> None:
        self.name = f"secretcache-{region}"
        self._width = self._least = width
        self._runtime = runtime
        self._lock = runtime.lock()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = 0
        self._unfinished = 0

    def submit(self, job: Callable[[], None]) -> bool:
        """Runs the job on a thread of the lane: at once if one is free, else when one is. Never blocks.

        False: it will not run, because the system grants this process no thread.
        """
        with self._lock:
            self._unfinished += 1
            grows = self._threads < min(self._unfinished, self._width)
            self._threads += grows
        if grows and not self._grow():
            return False
        self._jobs.put(job)
        return True

    def widen(self) -> None:
        """Lets one thread more work at the queue: the region has answered."""
        with self._lock:
            self._width = min(self._width + 1, WIDEST)
            grows = self._threads < min(self._unfinished, self._width)
            self._threads += grows
        if grows:
            self._grow()

    def narrow(self) -> None:
        """Starts no more threads than at first: the region has failed or is silent."""
        self._width = self._least

    @property
    def width(self) -> int:
        """How many threads it may have now."""
        return self._width

    @property
    def at_work(self) -> int:
        """How many of its threads have a job, or are about to take one."""
        return min(self._unfinished, self._threads)

    def close(self) -> None:
        """Lets idle threads end now; one that is stuck ends when its attempt does."""
        for _ in range(WIDEST):
            self._jobs.put(None)

    def _grow(self) -> bool:
        try:
            self._runtime.spawn(self._work, self.name)
        except RuntimeError:  # no more threads, or the interpreter is shutting down
            with self._lock:
                self._threads -= 1
                alone = self._threads == 0
                self._unfinished -= alone
            return not alone
        return True

    def _work(self) -> None:
        while self._work_once() or not self._retire():
            pass

    def _work_once(self) -> bool:
        # A frame of its own: an idle thread must not keep its last job, and with it a secret, alive.
        try:
            job = self._jobs.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            return False
        if job is not None:
            self._run(job)
        return job is not None

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:  # noqa: BLE001 - a thread that other attempts count on survives; the attempt ends at its cap
            _log.exception("an attempt in %s ended in an error of secretcache itself: please report it", self.name)
        finally:
            with self._lock:
                self._unfinished -= 1

    def _retire(self) -> bool:
        # A job may have been queued between the wait's end and the lock: then this thread was counted on.
        with self._lock:
            if self._unfinished >= self._threads:
                return False
            self._threads -= 1
            return True
