"""Makes a story that fails short: without the events, callers and secrets that its failure does not need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from simulation.plan import Plan
from simulation.run import Outcome, run

_MOST_RUNS = 120


class Shrinker:
    """Keeps what still breaks the same invariant."""

    def __init__(self, outcome: Outcome, play: Callable[[Plan], Outcome] = run, most_runs: int = _MOST_RUNS) -> None:
        self.best = outcome
        self.runs = 0
        self._play, self._most_runs = play, most_runs

    def shrink(self) -> Outcome:
        """The shortest that was found."""
        size = max(1, len(self.best.plan.events) // 2)
        while size and self.runs < self._most_runs:
            if not self._round(size):
                size //= 2
        for simpler in self._simpler():
            self._try(simpler)
        return self.best

    def _round(self, size: int) -> bool:
        events, shorter = self.best.plan.events, False
        for first in range(0, len(events), size):
            gone = {event.number for event in events[first : first + size]}
            shorter = self._try(self.best.plan.without(gone)) or shorter
        return shorter

    def _simpler(self) -> Iterator[Plan]:
        for callers in range(1, self.best.plan.callers):
            yield replace(self.best.plan, callers=callers)
        for names in range(1, len(self.best.plan.names)):
            yield replace(self.best.plan, names=self.best.plan.names[:names])

    def _try(self, plan: Plan) -> bool:
        if self.runs >= self._most_runs or plan == self.best.plan:
            return False
        self.runs += 1
        outcome = self._play(plan)
        better = outcome.number == self.best.number and _size(outcome) < _size(self.best)
        self.best = outcome if better else self.best
        return better


def _size(outcome: Outcome) -> tuple[int, int, int]:
    return len(outcome.plan.events), outcome.plan.callers, outcome.steps
