"""What the demo measured, in a table, and whether it showed what it is meant to show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from rich import box
from rich.table import Table
from rich.text import Text

from secretcache._demo.load import RAW_SECONDS, RAW_TRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["RAW_TERMS", "ActReport", "PhaseResult", "Report", "counts_of", "longest_of", "table_of", "verdict"]

_P = TypeVar("_P")

RAW_TERMS = f"timeouts cut from 60 s to {RAW_SECONDS:g} s and tries from 5 to {RAW_TRIES}, so that the demo ends"


class ActReport(Protocol):
    """What was measured in one act, and whether it showed what it is meant to show."""

    def table(self) -> Table:
        """The phases side by side, and their total."""

    def notes(self) -> Sequence[str]:
        """What a reader of the table must know."""

    def reasons(self) -> list[str]:
        """Why the act did not show what it is meant to show; empty when it did."""

    def summary(self) -> str:
        """What it showed, in a few words."""


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """What was measured in one phase; a read belongs to the phase in which it began."""

    title: str
    answers_from: str
    """The region that must answer new secrets in this phase."""
    reads: int
    """Reads of the application, all through the cache."""
    waits: int
    """Those of them that were no hit."""
    errors: int
    first_error: str | None
    longest: float
    """Seconds that one read took at most."""
    cold_reads: int
    cold_answers: Mapping[str, int]
    """By region: first reads of secrets that it answered."""
    calls: Mapping[str, int]
    """By region: requests the cache sent."""
    requests: Mapping[str, int]
    """By region: requests that reached its endpoint, raw boto3's among them."""
    raw_answers: int
    raw_errors: int
    raw_longest: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured in all."""

    phases: Sequence[PhaseResult]
    regions: Sequence[str]
    unended: Sequence[str] = field(default=())
    """Reading threads that did not end when they were told to."""

    def table(self) -> Table:
        """The phases side by side, and their total."""
        return table_of([phase.title for phase in self.phases], _rows(self))

    def notes(self) -> Sequence[str]:
        """What a reader of the table must know."""
        return (
            "a read counts where it began; the requests at an endpoint are the cache's and raw boto3's",
            f"raw boto3 asks one region only, its {RAW_TERMS}",
            "a region is preferred again 0.5 s after it is back, instead of 30 s, for the same reason",
        )

    def reasons(self) -> list[str]:
        """Why the act did not show what it is meant to show; empty when it did."""
        reasons = [reason for phase in self.phases for reason in _of_phase(phase)]
        if self.unended:
            reasons.append(f"reading threads did not end: {', '.join(self.unended)}")
        return reasons

    def summary(self) -> str:
        """What it showed, in a few words."""
        reads, errors = (sum(each) for each in zip(*((one.reads, one.errors) for one in self.phases), strict=True))
        regions = ", then ".join(phase.answers_from for phase in self.phases)
        return f"{reads:,} reads, {errors} errors; new secrets came from {regions}"


def verdict(reports: Sequence[ActReport]) -> str:
    """One line: PASSED or FAILED, and why."""
    reasons = [reason for report in reports for reason in report.reasons()]
    if reasons:
        return f"FAILED: {'; '.join(reasons)}"
    return f"PASSED: {'; '.join(report.summary() for report in reports)}"


def table_of(titles: Iterable[str], rows: Iterable[tuple[str, Iterable[str]]]) -> Table:
    """A column for each phase and one for their total."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    shown.add_column("")
    for heading in (*titles, "in all"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for label, cells in rows:
        shown.add_row(Text(label), *map(Text, cells))
    return shown


def _of_phase(phase: PhaseResult) -> Iterable[str]:
    if phase.errors:
        yield f"{phase.title}: {phase.errors} reads of the application failed, the first with {phase.first_error}"
    if not phase.cold_reads:
        yield f"{phase.title}: no new secret was read"
    elif not phase.cold_answers.get(phase.answers_from):
        yield f"{phase.title}: {phase.answers_from} answered no read of a new secret"


def _rows(report: Report) -> Iterable[tuple[str, list[str]]]:
    phases = report.phases
    yield "reads by the application", counts_of(phases, lambda phase: phase.reads)
    yield "  of them hits", counts_of(phases, lambda phase: phase.reads - phase.waits)
    yield "errors seen by it", counts_of(phases, lambda phase: phase.errors)
    yield "longest wait of a reader", longest_of(phases, lambda phase: phase.longest)
    yield "new secrets read", counts_of(phases, lambda phase: phase.cold_reads)
    yield from _per_region(report, "  from", lambda phase: phase.cold_answers)
    yield from _per_region(report, "calls to", lambda phase: phase.calls)
    yield from _per_region(report, "requests at", lambda phase: phase.requests)
    yield "raw boto3: answers", counts_of(phases, lambda phase: phase.raw_answers)
    yield "raw boto3: errors", counts_of(phases, lambda phase: phase.raw_errors)
    yield "raw boto3: longest wait", longest_of(phases, lambda phase: phase.raw_longest)


def _per_region(
    report: Report, label: str, pick: Callable[[PhaseResult], Mapping[str, int]]
) -> Iterable[tuple[str, list[str]]]:
    chosen = [Counter(pick(phase)) for phase in report.phases]
    for region in report.regions:
        counts = [counter[region] for counter in chosen]
        yield f"{label} {region}", [f"{count:,}" for count in (*counts, sum(counts))]


def counts_of(phases: Sequence[_P], pick: Callable[[_P], int]) -> list[str]:
    """A number of each phase, and their sum."""
    counts = [pick(phase) for phase in phases]
    return [f"{count:,}" for count in (*counts, sum(counts))]


def longest_of(phases: Sequence[_P], pick: Callable[[_P], float]) -> list[str]:
    """Seconds of each phase, and the longest of them."""
    seconds = [pick(phase) for phase in phases]
    return [f"{one:.2f} s" for one in (*seconds, max(seconds))]
