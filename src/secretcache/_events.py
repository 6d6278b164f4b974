"""What happens inside a cache, told to those who log and count it: one frozen record an event."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Bulletin", "Event", "Handle"]

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
        self._listeners: tuple[Callable[[Event], object], ...] = ()
        self._waiting: deque[Event] = deque()
        self._telling = threading.Lock()
        self._logged: dict[tuple[str, str | None, str | None, str | None], float] = {}

    def listen(self, listener: Callable[[Event], object]) -> Handle:
        """Registers a listener."""
        self._listeners += (listener,)
        return Handle(lambda: self._forget(listener))

    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    @property
    def waiting(self) -> bool:
        """Whether something is to be told."""
        return bool(self._waiting)

    def heirs(self, other: Bulletin) -> None:
        """Takes over the listeners of a parent process."""
        self._listeners = other._listeners

    def post(self, events: Iterable[Event]) -> None:
        """Leaves events to be told, in their order; takes no time."""
        self._waiting.extend(events)

    def tell(self) -> None:
        """Tells what is waiting; returns at once if another thread is telling, which then tells this too."""
        while self._waiting and self._telling.acquire(blocking=False):
            try:
                while self._waiting:
                    self._tell(self._waiting.popleft())
            finally:
                self._telling.release()

    def _forget(self, listener: Callable[[Event], object]) -> None:
        self._listeners = tuple(one for one in self._listeners if one is not listener)

    def _tell(self, event: Event) -> None:
        self._write(event)
        for listener in self._listeners:
            self._tell_one(listener, event)

    @staticmethod
    def _tell_one(listener: Callable[[Event], object], event: Event) -> None:
        try:
            listener(event)
        except Exception:  # noqa: BLE001 - a listener's error is its own
            _log.exception("an event hook failed; it goes on being called")

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
        _log.log(level, "%s: %s", event.name, "; ".join(word for word in words if word), extra=extra)
