"""What happens inside a cache, told to those who log and count it: one frozen record an event."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secretcache._runtime import here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Bulletin", "Event", "Handle", "complain", "passes"]

_log = logging.getLogger("secretcache")
_log.addHandler(logging.NullHandler())  # a library is quiet until its application sets up logging
_QUIET_SECONDS = 60.0
"""An outage repeats itself: the same thing of the same region or secret is logged once a minute."""
_LEVELS = {
    "breaker": logging.WARNING,
    "throttled": logging.WARNING,
    "identity": logging.WARNING,
    "not_offered": logging.WARNING,
    "divergence": logging.WARNING,
    "unusable": logging.WARNING,
    "stale": logging.WARNING,
    "failover": logging.INFO,
    "rotation": logging.INFO,
    "bridged": logging.INFO,
    "suspect": logging.DEBUG,
}
_ENDINGS = {"breaker": "open", "stale": "served"}
"""Of what begins and ends: the outcome that is the trouble. The others are good news."""
_FIELDS = ("region", "secret_id", "outcome", "seconds", "detail")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. Never carries a byte of a secret's value."""

    name: str
    """What: `call`, `breaker`, `suspect`, `throttled`, `identity`, `not_offered`, `failover`, `stale`, `rotation`,
    `divergence`, `bridged` or `unusable`."""
    region: str | None = None
    secret_id: str | None = None
    outcome: str | None = None
    """Of a call: `answered` or the class of its failure. Of a breaker: its new state. Of `stale`: `served` when the
    episode begins, `over` when it ends. Of `rotation`, `divergence` and `unusable`: the version."""
    seconds: float | None = None
    """Of a call: how long it took. Of a gate: for how long it is closed. Of `stale`: the age of the value."""
    detail: str = ""
    """The rest, in words. Of a call: the operation."""


def complain(message: str, *about: object) -> None:
    """Logs the error that is being handled. What the application's log handlers raise ends nothing here."""
    with contextlib.suppress(Exception):
        _log.exception(message, *about)


def passes(error: BaseException) -> bool:
    """Whether what user code has raised ends the call it was raised in: a request to exit, in a thread of the user's.

    The cache's own threads outlive everything: readers count on them.
    """
    return isinstance(error, (KeyboardInterrupt, SystemExit)) and not here.is_ours


class Handle:
    """A registration: `cancel()` ends it."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel

    def cancel(self) -> None:
        """Ends the registration; doing so again changes nothing."""
        self._cancel()


class Bulletin:
    """Tells events in their order, outside every lock: to the log, and to who has asked for them."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._listeners: dict[object, Callable[[Event], object]] = {}
        self.pending: deque[Event] = deque()
        """What is to be told: filled under the cache's lock, emptied without it."""
        self._telling = threading.RLock()
        self._logged: dict[tuple[str, str | None, str | None, str | None], float] = {}
        self.failures = 0
        """Calls of event hooks that raised something. Written by the thread that tells, and there is one at a time."""

    def listen(self, listener: Callable[[Event], object]) -> object:
        """Registers a listener; returns the key that ends it."""
        key = object()
        self._listeners[key] = listener
        return key

    def forget(self, key: object) -> None:
        """Ends a registration; doing so again changes nothing."""
        self._listeners.pop(key, None)

    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def inherit(self, other: Bulletin) -> None:
        """Takes over the listeners of a parent process, under the keys that their handles know."""
        self._listeners = other._listeners.copy()

    def post(self, events: Iterable[Event]) -> None:
        """Leaves events to be told, in their order; takes no time."""
        self.pending.extend(events)

    def tell(self) -> None:
        """Tells what is waiting; returns at once if another thread is telling, which then tells this too.

        So does a call from within a hook, or from a signal handler that interrupted one: the call outside goes on.

        Raises:
            KeyboardInterrupt, SystemExit: a hook raised it, in a thread that is not the cache's own.
        """
        raised: BaseException | None = None
        while self.pending and not self._telling._is_owned():  # type: ignore[attr-defined] # noqa: SLF001
            try:
                if not self._telling.acquire(blocking=False):
                    break
                raised = self._tell_all() or raised
            finally:
                # An interrupt may come right after acquire(): the lock itself knows whether this thread has it.
                try:  # noqa: SIM105 - suppress() is Python code, in which the next interrupt could come first
                    self._telling.release()
                except RuntimeError:  # it has not
                    pass
        if raised is not None:
            raise raised

    def _tell_all(self) -> BaseException | None:
        raised: BaseException | None = None
        while self.pending:
            raised = self._tell(self.pending.popleft()) or raised
        return raised

    def _tell(self, event: Event) -> BaseException | None:
        self._write(event)
        raised = [self._tell_one(listener, event) for listener in tuple(self._listeners.values())]
        return next((error for error in raised if error is not None), None)

    def _tell_one(self, listener: Callable[[Event], object], event: Event) -> BaseException | None:
        """Returns what the thread that tells has to raise in the end."""
        try:
            listener(event)
        except BaseException as error:  # noqa: BLE001 - a listener's error is its own: the others are told as well
            self.failures += 1
            complain("an event hook failed; it goes on being called")
            return error if passes(error) else None
        return None

    def _write(self, event: Event) -> None:
        level = _LEVELS.get(event.name)
        if event.name in _ENDINGS and event.outcome not in {None, _ENDINGS[event.name]}:
            level = logging.INFO
        if level is None or not _log.isEnabledFor(level):
            return
        key, now = (event.name, event.region, event.secret_id, event.outcome), self._now()
        if now < self._logged.get(key, float("-inf")) + _QUIET_SECONDS:
            return
        self._logged = {one: at for one, at in self._logged.items() if at + _QUIET_SECONDS > now} | {key: now}
        words = [event.region, event.secret_id, event.outcome, event.detail]
        told = {"event": event.name, **{name: getattr(event, name) for name in _FIELDS}}
        extra = {f"secretcache_{name}": value for name, value in told.items() if value not in {None, ""}}
        with contextlib.suppress(Exception):  # of the application's own log handlers
            _log.log(level, "%s: %s", event.name, "; ".join(word for word in words if word), extra=extra)
