"""What is counted of each region."""

from __future__ import annotations

from collections import Counter, deque

__all__ = ["Tally"]

_LATENCIES = 128


class Tally:
    """Counts of one region."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)

    def add_latency(self, seconds: float) -> None:
        """Counts how long an answer took."""
        self._latencies.append(seconds)

    def percentiles(self) -> tuple[float | None, float | None, float | None]:
        """p50, p90 and p99 of the last answers."""
        ordered = sorted(self._latencies)
        if not ordered:
            return None, None, None
        return tuple(ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.9, 0.99))  # type: ignore[return-value] # three of them
