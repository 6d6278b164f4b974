"""The one periodic thread of a cache: it looks when something falls due, and never does I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from secretcache._events import complain
from secretcache._runtime import here

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache._runtime import Runtime, Thread

__all__ = ["Refresher", "Worker"]

_LOOK, _STOP = "look", "stop"
_AFTER_ERROR = 1.0
_JOIN_SECONDS = 2.0


class Worker(Protocol):
    """What the thread works for, as far as it knows it."""

    def work(self) -> float | None:
        """One look; returns when to look again, None: never."""


class Refresher:
    """A daemon thread that holds its owner weakly, started when there is something to look at."""

    def __init__(self, owner: Callable[[], Worker | None], runtime: Runtime) -> None:
        self._owner = owner
        self._runtime = runtime
        self._mailbox = runtime.mailbox()
        self._lock = runtime.lock()
        """Over who starts the thread; not held while it starts."""
        self._claimed = False
        self._runs = False
        self._thread: Thread | None = None

    @property
    def started(self) -> bool:
        """Whether its thread was started."""
        return self._thread is not None

    def start(self) -> None:
        """Starts the thread, once; where the system grants none, the next call tries again."""
        if self._thread is not None:
            return
        mine = False
        try:
            with self._lock:
                if self._claimed:
                    return
                self._claimed = mine = True
            self._thread = self._runtime.spawn(self._run, "secretcache-refresh")
        except BaseException as error:
            if mine:
                self._claimed = False
            if not isinstance(error, Exception):
                raise
            return  # there is no thread to be had: readers refresh by themselves

    def nudge(self) -> None:
        """Lets it look now."""
        self.start()
        self.tell()

    def tell(self) -> None:
        """As `nudge`, if it runs; safe in a finalizer."""
        self._mailbox.put(_LOOK)

    def dismiss(self) -> None:
        """Lets the thread end; safe in a finalizer: it takes no lock and waits for nothing."""
        self._mailbox.put(_STOP)

    def stop(self) -> None:
        """Ends the thread, and waits for that, two seconds at most."""
        self.dismiss()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        here.is_ours = True
        with self._lock:  # after an interrupt in the middle of its start there may be a second one
            first, self._runs = not self._runs, True
        if first:
            self._look_on()

    def _look_on(self) -> None:
        look_at: float | None = float("-inf")
        while look_at is not None and not self._told_to_stop(look_at):
            look_at = self._look()

    def _told_to_stop(self, until: float) -> bool:
        word = self._mailbox.take(until)
        while word == _LOOK:
            word = self._mailbox.take(float("-inf"))
        return word == _STOP

    def _look(self) -> float | None:
        owner = self._owner()
        if owner is None:
            return None
        try:
            return owner.work()
        except BaseException:  # noqa: BLE001 - the thread outlives the error of one look, and a hook that exits
            complain("the background refresh met an error of secretcache itself: please report it")
            return self._runtime.now() + _AFTER_ERROR
