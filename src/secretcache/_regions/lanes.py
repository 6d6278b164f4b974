"""Where attempts run: four daemon threads for each region, and more while it answers well and requests are queued.

An attempt can be left behind but not stopped (a drip of bytes outlives every socket timeout), so the number of
threads is the bound on how many can ever be stuck: by construction, not by a check. So a lane grows by one thread
with an answer, and not with its queue: of a region that falls silent, no more is stuck than it has just answered.
"""

from __future__ import annotations

import queue
from sys import is_finalizing
from typing import TYPE_CHECKING

from secretcache._events import complain
from secretcache._runtime import here

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache._runtime import Runtime

__all__ = ["WIDEST", "WIDTH", "Lane"]

WIDTH = 4
"""Threads of a lane whose region has a queue of its own making, or none: the most attempts that can be stuck there."""
WIDEST = 32
"""Threads of a lane in the middle of a burst that its region answers."""
_IDLE_SECONDS = 10.0


class _Job:
    """One job, counted by its identity: adding it or taking it off twice changes nothing."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[[], None]) -> None:
        self.run = run


class Lane:
    """The threads of one region: started when there is work, gone when there was none for ten seconds.

    `submit` runs in readers' threads, and a signal handler may raise in it, at each call. So each count is changed
    where no interrupt can come between the change and what it stands for, or is put right by the thread itself.
    """

    def __init__(self, region: str, runtime: Runtime, *, width: int = WIDTH) -> None:
        self.name = f"secretcache-{region}"
        self.refusal = ""
        """Why the system granted no thread when one was wanted last, in the interpreter's own words."""
        self._width = self._least = width
        self._runtime = runtime
        self._lock = runtime.lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._unfinished: set[_Job] = set()
        self._starting: list[None] = []
        """One for each thread that was asked for and does not run yet."""
        self._threads = 0
        """Threads that run; each counts itself."""

    def submit(self, job: Callable[[], None]) -> bool:
        """Runs the job on a thread of the lane: at once if one is free, else when one is. Never blocks.

        False: it will not run, because the system grants this process no thread; `refusal` says why.
        """
        if is_finalizing():  # the threads there are were stopped, and none can be started
            self.refusal = "the interpreter is shutting down"
            return False
        queued = _Job(job)
        try:
            if self._has_thread(queued):
                self._jobs.put(queued)
                return True
        except BaseException:  # an interrupt; if the job is queued all the same, its thread counts it again
            self._unfinished.discard(queued)
            raise
        self._unfinished.discard(queued)
        return False

    def widen(self) -> None:
        """Lets one thread more work at the queue: the region has answered."""
        with self._lock:
            self._width = min(self._width + 1, WIDEST)
        self._has_thread()

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
        return min(len(self._unfinished), self._threads + len(self._starting))

    def close(self) -> None:
        """Lets idle threads end now; one that is stuck ends when its attempt does."""
        for _ in range(WIDEST):
            self._jobs.put(None)

    def _has_thread(self, job: _Job | None = None) -> bool:
        """Whether there is a thread for the job, now or later; starts one more where that is needed.

        Without a job: for those that are queued.
        """
        grows = False
        try:
            with self._lock:
                if job is not None:
                    self._unfinished.add(job)
                threads = self._threads + len(self._starting)
                if threads >= min(len(self._unfinished), self._width):
                    return True
                grows = True
                self._starting.append(None)
            self._runtime.spawn(self._work, self.name)
        except BaseException as error:
            if grows:
                try:  # noqa: SIM105 - suppress() is Python code, in which the next interrupt could come first
                    self._starting.pop()
                except IndexError:  # it runs already, and has done so itself
                    pass
            if not isinstance(error, Exception):
                raise
            self.refusal = f"{type(error).__name__}: {error}"  # no more threads, or the interpreter is shutting down
            return self._threads > 0
        return True

    def _enters(self) -> bool:
        """Counts the thread that begins to run; False: it is one too many."""
        with self._lock:
            # After an interrupt in the middle of its start it is not counted on: the bound holds all the same.
            if self._starting:
                self._starting.pop()
            elif self._threads >= self._width:
                return False
            self._threads += 1
            return True

    def _work(self) -> None:
        here.is_ours = True
        if self._enters():
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

    def _run(self, job: _Job) -> None:
        self._unfinished.add(job)
        try:
            job.run()
        except BaseException:  # noqa: BLE001 - a thread that other attempts count on survives; the attempt ends at its cap
            complain("an attempt in %s ended in an error of secretcache itself: please report it", self.name)
        finally:
            with self._lock:
                self._unfinished.discard(job)

    def _retire(self) -> bool:
        # A job may have been queued between the wait's end and the lock: then this thread was counted on.
        with self._lock:
            if len(self._unfinished) >= self._threads:
                return False
            self._threads -= 1
            return True
