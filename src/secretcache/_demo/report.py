"""What the demo measured, in a table, and whether it showed what it is meant to show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from secretcache._demo.load import RAW_SECONDS, RAW_TRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["RAW_TERMS", "PhaseResult", "Report", "reasons_to_fail", "table", "verdict"]

RAW_TERMS = f"timeouts cut from 60 s to {RAW_SECONDS:g} s and tries from 5 to {RAW_TRIES}, so that the demo ends"


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

    @property
    def reads(self) -> int:
        """Reads of the application in all phases."""
        return sum(phase.reads for phase in self.phases)

    @property
    def errors(self) -> int:
        """Reads of the application that failed."""
        return sum(phase.errors for phase in self.phases)


def reasons_to_fail(report: Report) -> list[str]:
    """Why the demo did not show what it is meant to show; empty when it did."""
    reasons = [reason for phase in report.phases for reason in _of_phase(phase)]
    if report.unended:
        reasons.append(f"reading threads did not end: {', '.join(report.unended)}")
    return reasons


def verdict(report: Report) -> str:
    """One line: PASSED or FAILED, and why."""
    reasons = reasons_to_fail(report)
    if reasons:
        return f"FAILED: {'; '.join(reasons)}"
    regions = ", then ".join(phase.answers_from for phase in report.phases)
    return f"PASSED: {report.reads:,} reads, {report.errors} errors; new secrets came from {regions}"


def table(report: Report) -> Table:
    """The phases side by side, and their total."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    shown.add_column("")
    for heading in (*(phase.title for phase in report.phases), "in all"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for label, cells in _rows(report):
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
    yield "reads by the application", _counts(phases, lambda phase: phase.reads)
    yield "  of them hits", _counts(phases, lambda phase: phase.reads - phase.waits)
    yield "errors seen by it", _counts(phases, lambda phase: phase.errors)
    yield "longest wait of a reader", _longest(phases, lambda phase: phase.longest)
    yield "new secrets read", _counts(phases, lambda phase: phase.cold_reads)
    yield from _per_region(report, "  from", lambda phase: phase.cold_answers)
    yield from _per_region(report, "calls to", lambda phase: phase.calls)
    yield from _per_region(report, "requests at", lambda phase: phase.requests)
    yield "raw boto3: answers", _counts(phases, lambda phase: phase.raw_answers)
    yield "raw boto3: errors", _counts(phases, lambda phase: phase.raw_errors)
    yield "raw boto3: longest wait", _longest(phases, lambda phase: phase.raw_longest)


def _per_region(
    report: Report, label: str, pick: Callable[[PhaseResult], Mapping[str, int]]
) -> Iterable[tuple[str, list[str]]]:
    chosen = [Counter(pick(phase)) for phase in report.phases]
    for region in report.regions:
        counts = [counter[region] for counter in chosen]
        yield f"{label} {region}", [f"{count:,}" for count in (*counts, sum(counts))]


def _counts(phases: Sequence[PhaseResult], pick: Callable[[PhaseResult], int]) -> list[str]:
    counts = [pick(phase) for phase in phases]
    return [f"{count:,}" for count in (*counts, sum(counts))]


def _longest(phases: Sequence[PhaseResult], pick: Callable[[PhaseResult], float]) -> list[str]:
    seconds = [pick(phase) for phase in phases]
    return [f"{one:.2f} s" for one in (*seconds, max(seconds))]
