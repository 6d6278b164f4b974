"""What the rotation act measured, in a table, and whether it showed what it is meant to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.table import Table

from secretcache._demo.report import counts_of, longest_of, table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Broken", "Logins", "RotationPhase", "RotationReport"]


@dataclass(frozen=True, kw_only=True)
class Logins:
    """What one way to log in met with in one phase; a login belongs to the phase in which it began."""

    tried: int
    """Logins that its threads wanted and that have ended."""
    refused: int
    """Those of them that ended with a refused password."""
    errors: int
    """Those that failed in any other way."""
    first_error: str | None
    by_server: int
    """Passwords that the server has refused while the phase lasted, as its log has them."""
    longest: float
    """Seconds that one login took at most."""

    @property
    def succeeded(self) -> int:
        """Those that logged in."""
        return self.tried - self.refused - self.errors


@dataclass(frozen=True, kw_only=True)
class RotationPhase:
    """What was measured in one phase."""

    title: str
    bridged: Logins
    """The application's, through `connect`."""
    alone: Logins
    """The same with AWSCURRENT alone."""
    hooks: int
    """Calls of the rotation hook."""


@dataclass(frozen=True, kw_only=True)
class RotationReport:
    """What was measured in all."""

    phases: Sequence[RotationPhase]
    window: str
    """The title of the phase in which AWSCURRENT is wrong."""
    unended: Sequence[str] = field(default=())
    """Threads that did not end when they were told to."""

    def table(self) -> Table:
        """The phases side by side, and their total."""
        return table_of([phase.title for phase in self.phases], self._rows())

    def notes(self) -> Sequence[str]:
        """What a reader of the table must know."""
        return (
            "connect: the application, through cache.connect; alone: AWSCURRENT as get has it",
            "a login counts where it began; the server's refusals are counted in its own log",
        )

    def reasons(self) -> list[str]:
        """Why the act did not show what it is meant to show; empty when it did."""
        reasons = [reason for phase in self.phases for reason in _of_phase(phase)]
        if not any(phase.alone.refused for phase in self.phases if phase.title == self.window):
            reasons.append(f"{self.window}: AWSCURRENT alone was refused no login, so there was nothing to bridge")
        if (calls := sum(phase.hooks for phase in self.phases)) != 1:
            reasons.append(f"the rotation hook was called {calls} times instead of once")
        if self.unended:
            reasons.append(f"threads that log in did not end: {', '.join(self.unended)}")
        return reasons

    def summary(self) -> str:
        """What it showed, in a few words."""
        bridged, alone = [one.bridged for one in self.phases], [one.alone for one in self.phases]
        return (
            f"{sum(one.tried for one in bridged):,} logins through a rotation, {sum(one.refused for one in bridged)} "
            f"refused as the application sees it (AWSCURRENT alone: {sum(one.refused for one in alone)} of "
            f"{sum(one.tried for one in alone):,})"
        )

    def _rows(self) -> Iterable[tuple[str, list[str]]]:
        yield from _of_arm("connect", [phase.bridged for phase in self.phases])
        yield from _of_arm("alone", [phase.alone for phase in self.phases])
        yield "calls of the hook", counts_of(self.phases, lambda phase: phase.hooks)


@dataclass(frozen=True)
class Broken:
    """An act that could not begin."""

    why: str

    def table(self) -> Table:
        """Nothing was measured."""
        return Table.grid()

    def notes(self) -> Sequence[str]:
        """Nothing to know."""
        return ()

    def reasons(self) -> list[str]:
        """Why it could not."""
        return [self.why]

    def summary(self) -> str:
        """It showed nothing."""
        return self.why


def _of_phase(phase: RotationPhase) -> Iterable[str]:
    bridged, alone = phase.bridged, phase.alone
    if bridged.refused:
        yield f"{phase.title}: {bridged.refused} refused logins reached the application"
    if bridged.errors:
        yield f"{phase.title}: {bridged.errors} logins of the application failed, the first with {bridged.first_error}"
    if not bridged.succeeded:
        yield f"{phase.title}: the application did not log in"
    if alone.errors:
        yield f"{phase.title}: {alone.errors} logins beside it failed otherwise, the first with {alone.first_error}"


def _of_arm(label: str, arm: Sequence[Logins]) -> Iterable[tuple[str, list[str]]]:
    yield f"{label}: logins", counts_of(arm, lambda logins: logins.tried)
    yield "  refused, as it sees it", counts_of(arm, lambda logins: logins.refused)
    yield "  refused by the server", counts_of(arm, lambda logins: logins.by_server)
    yield "  longest", longest_of(arm, lambda logins: logins.longest)
