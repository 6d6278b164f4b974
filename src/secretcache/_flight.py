"""One load, and who waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache._ids import Query
    from secretcache._regions.route import Route, Verdict
    from secretcache._secret import Secret
    from secretcache._store import HotKey

__all__ = ["Flight", "Waiter"]


@dataclass(eq=False, repr=False)  # no slots: a stuck attempt holds it weakly
class Flight:
    """A load of one key, which everyone who asks for the key may join, or of a batch. Owns no thread."""

    queries: tuple[Query, ...]
    route: Route
    wake_at: float = float("-inf")
    """When time by itself changes something next."""
    secrets: dict[Query, Secret] | None = None
    ticket: int = 0
    """The number of the request that brought them."""
    verdict: Verdict | None = None
    useless: frozenset[str] = frozenset()
    """Versions that a target has refused: a region that shows one of them does not end the flight either."""
    newer_than: str | None = None
    """The version that its readers have already: a region that still shows it does not end the flight."""
    fallback: tuple[int, dict[Query, Secret]] | None = None
    """An answer, with its request's number, that will do if no region gives a better one."""
    overlapped: bool = False
    """Whether what it brought overlapped with another request: good only for who insists on a request of his own."""
    _wakes: list[Callable[[], None]] = field(default_factory=list)

    @property
    def query(self) -> Query:
        """The key of a load that is no batch."""
        return self.queries[0]

    @property
    def background(self) -> bool:
        """Whether it was begun ahead of need: then no reader has to wait for it."""
        return not self.route.purpose.awaited

    @property
    def over(self) -> bool:
        """Whether there is an answer or a verdict."""
        return self.secrets is not None or self.verdict is not None

    @property
    def secret(self) -> Secret | None:
        """The value of a load that is no batch, once there is one."""
        return self.secrets.get(self.query) if self.secrets else None

    @property
    def sent(self) -> bool:
        """Whether a request of it is on its way, or was."""
        return any(leg.started_at is not None for leg in self.route.legs)

    def join(self, wake: Callable[[], None]) -> None:
        """Adds a waiter, to be woken when it should look again."""
        self._wakes.append(wake)

    def leave(self, wake: Callable[[], None]) -> None:
        """Takes a waiter off. Nothing else changes: its leaving is nobody's failure."""
        # Without a lock: a task that is collected leaves too, wherever the collector happens to run.
        try:
            self._wakes.remove(wake)
        except ValueError:  # contextlib.suppress would take three times as long
            return

    @property
    def awaited(self) -> bool:
        """Whether anybody waits now."""
        return bool(self._wakes)

    def waiters(self) -> tuple[Callable[[], None], ...]:
        """The wake-ups of all who wait now."""
        return tuple(self._wakes)


@dataclass(slots=True, eq=False, repr=False)  # not frozen: that would make it three times as dear, at each miss
class Waiter:
    """A reader's part in a flight."""

    key: HotKey | None
    query: Query
    flight: Flight
    until: float
    """When it waits no longer: its own deadline, or earlier where an older value may stand in."""
    wake: Callable[[], None]
    forced: bool
    """Whether only the answer to this flight will do."""
    patient: bool = False
    """Whether, forced as it is, the value held will do if this flight's time has not come when the reader's is over."""
