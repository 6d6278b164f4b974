"""Warming many secrets: batches of twenty, and single reads for what a batch cannot bring.

The steps are written once, as a generator of what to wait for; a thread and a task each drive it in their own way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from secretcache._errors import CacheClosedError, SecretCacheError
from secretcache._flight import Waiter
from secretcache._transport import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from secretcache._engine import Engine
    from secretcache._ids import Query
    from secretcache._regions.route import Verdict

__all__ = ["Prefetch", "PrefetchResult"]

_BATCH = 20
"""BatchGetSecretValue's own limit."""


@dataclass(frozen=True, slots=True)
class PrefetchResult:
    """What became of each id."""

    succeeded: tuple[str, ...]
    """The ids that were answered now, or whose value was fresh already."""
    failed: Mapping[str, SecretCacheError]
    """The others, each with the error that a read of it would have raised."""


@dataclass(slots=True)
class Prefetch:
    """One call of `prefetch`: steps to be waited for, then a result."""

    engine: Engine
    wanted: Mapping[str, Query]
    deadline: float
    now: Callable[[], float]
    wake: Callable[[], None]
    _errors: dict[Query, SecretCacheError] = field(default_factory=dict)

    def steps(self) -> Iterator[Waiter]:
        """What to wait for, one after the other; all of it is under way at the same time."""
        cold = [query for query in dict.fromkeys(self.wanted.values()) if self.engine.peek(query) is None]
        singly: list[Query] = []
        yield from self._batches(cold, singly)
        yield from self._concluded(self._begun(singly))

    def result(self) -> PrefetchResult:
        """What became of each id, once all steps were waited for."""
        failed = {text: self._errors[query] for text, query in self.wanted.items() if query in self._errors}
        return PrefetchResult(tuple(text for text in self.wanted if text not in failed), MappingProxyType(failed))

    def _batches(self, cold: list[Query], singly: list[Query]) -> Iterator[Waiter]:
        chunks = [cold[first : first + _BATCH] for first in range(0, len(cold), _BATCH)]
        waiters = [self._batch(tuple(chunk)) for chunk in chunks if len(chunk) > 1]
        alone = self._begun(chunk[0] for chunk in chunks if len(chunk) == 1)
        for waiter in waiters:
            yield waiter
            singly += self._left_of(waiter)
        yield from self._concluded(alone)

    def _batch(self, queries: tuple[Query, ...]) -> Waiter:
        return self.engine.begin_batch(queries, self._seconds_left(), self.wake)

    def _left_of(self, waiter: Waiter) -> Iterable[Query]:
        """What a batch has not brought, to be asked for singly; where it was throttled it has waited by itself."""
        flight = waiter.flight
        if flight.secrets is not None:
            return [query for query in flight.queries if query not in flight.secrets]
        if flight.verdict is not None and _not_allowed(flight.verdict):
            return flight.queries
        self._errors.update({query: self.engine.error(query, flight) for query in flight.queries})
        return ()

    def _begun(self, queries: Iterable[Query]) -> list[Waiter]:
        return [waiter for query in queries if (waiter := self._single(query))]

    def _concluded(self, waiters: list[Waiter]) -> Iterator[Waiter]:
        for waiter in waiters:
            yield waiter
            self._conclude(waiter)

    def _single(self, query: Query) -> Waiter | None:
        try:
            begun = self.engine.begin(None, query, self._seconds_left(), self.wake)
        except CacheClosedError:
            raise
        except SecretCacheError as error:
            self._errors[query] = error
            return None
        return begun if isinstance(begun, Waiter) else None

    def _conclude(self, waiter: Waiter) -> None:
        if waiter.flight.secret is None:  # an old value that may stand in is no success
            self._errors[waiter.query] = self.engine.error(waiter.query, waiter.flight)

    def _seconds_left(self) -> float:
        return max(0.0, self.deadline - self.now())


def _not_allowed(verdict: Verdict) -> bool:
    """Whether the batch operation is denied, or not known where it was asked for."""
    told = {leg.failure.fault for leg in verdict.legs if leg.failure is not None}
    return bool(told & {Fault.DENIED, Fault.CALLER})
