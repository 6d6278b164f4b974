"""One load of one key, and who waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache._ids import Query
    from secretcache._regions.route import Route, Verdict
    from secretcache._secret import Secret

__all__ = ["Flight"]


@dataclass(slots=True, eq=False)
class Flight:
    """A load that everyone who asks for its key may join. Owns no thread; used under the cache's lock."""

    query: Query
    route: Route
    secret: Secret | None = None
    verdict: Verdict | None = None
    _wakes: list[Callable[[], None]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether there is a value or a verdict."""
        return self.secret is not None or self.verdict is not None

    def join(self, wake: Callable[[], None]) -> None:
        """Adds a waiter, to be woken when it should look again."""
        self._wakes.append(wake)

    def leave(self, wake: Callable[[], None]) -> None:
        """Takes a waiter off. Nothing else changes: its leaving is nobody's failure."""
        if wake in self._wakes:
            self._wakes.remove(wake)

    def waiters(self) -> tuple[Callable[[], None], ...]:
        """The wake-ups of all who wait now."""
        return tuple(self._wakes)
