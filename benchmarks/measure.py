"""How everything here is timed and told: contenders take turns, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import timeit
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

__all__ = ["Case", "Goal", "Line", "Outcome", "Scale", "at_least", "at_most", "spread", "turns"]


@dataclass(frozen=True)
class Scale:
    """How much of everything: the whole, or just enough to see that it runs."""

    quick: bool

    def __call__(self, whole: int, quick: int) -> int:
        return quick if self.quick else whole


@dataclass(frozen=True)
class Line:
    """One contender's figure. `low` and `high`: the tenth and ninetieth percentile of the turns."""

    what: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    """To the first line of its case."""
    note: str = ""


@dataclass(frozen=True)
class Goal:
    """What was to be reached, and what was."""

    text: str
    reached: float
    limit: float
    holds: bool


@dataclass
class Outcome:
    """What one case found."""

    lines: list[Line] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    title: str
    run: Callable[[Scale], Outcome]
    log: bool = False
    """Whether its plot has a logarithmic axis."""


def at_most(text: str, reached: float, limit: float) -> Goal:
    return Goal(f"{text} ≤ {limit:g}", reached, limit, reached <= limit)


def at_least(text: str, reached: float, limit: float) -> Goal:
    return Goal(f"{text} ≥ {limit:g}", reached, limit, reached >= limit)


def spread(taken: Iterable[float]) -> tuple[float, float, float]:
    """The median, the tenth and the ninetieth percentile."""
    ordered = sorted(taken)
    last = len(ordered) - 1
    return median(ordered), ordered[round(last * 0.1)], ordered[round(last * 0.9)]


def told(taken: Mapping[str, list[float]], unit: str, scale: float = 1.0) -> list[Line]:
    """A line for each contender; ratios are those of the medians."""
    lines: list[Line] = []
    for what, values in taken.items():
        middle, low, high = (one * scale for one in spread(values))
        lines.append(Line(what, middle, unit, low, high, middle / lines[0].value if lines else 1.0))
    return lines


def turns(contenders: Mapping[str, Callable[[], object]], count: int) -> dict[str, list[float]]:
    """Seconds of each call, the contenders in turns."""
    taken: dict[str, list[float]] = {what: [] for what in contenders}
    for _ in range(count):
        for what, call in contenders.items():
            taken[what].append(timeit.timeit(call, number=1))
    return taken


def loops(contenders: Mapping[str, tuple[str, dict[str, Any]]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of one execution of each statement, timed in loops of about so many seconds that take turns."""
    timers = {what: timeit.Timer(statement, globals=names) for what, (statement, names) in contenders.items()}
    numbers = {what: max(1, int(seconds / (timer.timeit(50) / 50))) for what, timer in timers.items()}
    taken: dict[str, list[float]] = {what: [] for what in timers}
    for _ in range(rounds):
        for what, timer in timers.items():
            taken[what].append(timer.timeit(numbers[what]) / numbers[what])
    return taken
