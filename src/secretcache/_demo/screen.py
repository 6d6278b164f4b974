"""What is seen while the demo runs: a live view on a terminal, plain lines without one."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from secretcache._demo.report import RAW_TERMS, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from rich.console import RenderableType
    from typing_extensions import Self

    from secretcache._demo.report import ActReport
    from secretcache._stats import RegionStats

__all__ = ["Moment", "Screen", "Snapshot", "framed", "open_screen"]

_PLAIN_WIDTH = 80
_PLAIN_SECONDS = 1.0
_WORTH_TELLING = 0.3  # seconds that a read may take before it is shown as waiting


class Moment(Protocol):
    """The demo at one moment."""

    @property
    def elapsed(self) -> float:
        """Seconds since the play began."""

    def panel(self) -> Panel:
        """As the live view shows it."""

    def line(self) -> str:
        """The same in a line."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The first act at one moment; times are seconds."""

    title: str
    troubled: bool
    elapsed: float
    total: float
    threads: int
    reads: int
    reads_per_second: float
    errors: int
    longest: float
    waiting: int
    """Readers that wait at this moment."""
    cold_reads: int
    last_region: str | None
    """The region that answered the newest of the new secrets."""
    regions: Mapping[str, RegionStats]
    raw_answers: int
    raw_errors: int
    raw_longest: float
    raw_waiting: float

    def panel(self) -> Panel:
        """As the live view shows it."""
        parts = (_application(self), _regions(self), _raw(self))
        style = "red" if self.troubled else "green"
        return framed(self.title, self.elapsed, self.total, *parts, style=style)

    def line(self) -> str:
        """The same in a line."""
        return _line(self)


class Screen(Protocol):
    """Where the demo shows itself."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def say(self, line: str) -> None:
        """Shows a line that stays."""

    def show(self, moment: Moment) -> None:
        """Shows the present state; may be called more often than it is shown."""

    def close_with(self, reports: Sequence[ActReport]) -> None:
        """Shows the end."""


class _Written:
    """What both screens do the same way."""

    _unwrapped = False

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        self._write(Text(line))

    def close_with(self, reports: Sequence[ActReport]) -> None:
        for report in reports:
            self._console.print()
            self._console.print(report.table())
            for note in report.notes():
                self.say(note)
        failed = any(report.reasons() for report in reports)
        self._write(Text(verdict(reports), style="bold red" if failed else "bold green"))

    def _write(self, text: Text) -> None:
        self._console.print(text, soft_wrap=self._unwrapped)


class _LiveScreen(_Written):
    """A view that is drawn again and again at the same place, below the lines that stay."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The terminal's echo of Ctrl-C moves the cursor: what would be erased is no longer where it was drawn.
        self._live.transient = kind is None
        self._live.stop()

    def show(self, moment: Moment) -> None:
        self._live.update(moment.panel(), refresh=True)

    def close_with(self, reports: Sequence[ActReport]) -> None:
        self._live.stop()
        super().close_with(reports)


class _PlainScreen(_Written):
    """One line per second."""

    _unwrapped = True

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._next = _PLAIN_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def show(self, moment: Moment) -> None:
        if moment.elapsed >= self._next:
            self._next = moment.elapsed - moment.elapsed % _PLAIN_SECONDS + _PLAIN_SECONDS
            self.say(moment.line())


def open_screen() -> Screen:
    """The screen for standard output: live if it is a terminal that can move its cursor."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return _LiveScreen(Console(highlight=False))
    # Said outright, since FORCE_COLOR and its kin would bring ANSI codes into a file.
    return _PlainScreen(Console(force_terminal=False, color_system=None, highlight=False, width=_PLAIN_WIDTH))


def framed(heading: str, elapsed: float, total: float, *parts: RenderableType, style: str) -> Panel:
    """The parts below one another, and above them what is going on and for how long."""
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    head.add_row(Text(heading, style=f"bold {style}"), f"{elapsed:4.1f} s of {round(total, 1):g} s")
    spaced = [each for part in parts for each in ("", part)]
    return Panel(Group(head, *spaced), title="secretcache demo", border_style=style, width=_PLAIN_WIDTH)


def _application(now: Snapshot) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(justify="right", style="bold", min_width=14)
    grid.add_column()
    waiting = f"{now.waiting} of the threads wait now" if now.waiting else ""
    last = f"the last came from {now.last_region}" if now.last_region else ""
    grid.add_row("reads a second", f"{now.reads_per_second:,.0f}", f"{now.reads:,} in all, by {now.threads} threads")
    grid.add_row("errors seen by them", f"{now.errors}")
    grid.add_row("longest wait", f"{now.longest:.2f} s", waiting)
    grid.add_row("new secrets read", f"{now.cold_reads}", last)
    return grid


def _regions(now: Snapshot) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    for _ in range(3):
        grid.add_column(justify="right", min_width=12)
    grid.add_row("the cache's calls", "sent", "answered", "failed", style="dim")
    for region, stats in now.regions.items():
        grid.add_row(region, f"{stats.calls:,}", f"{stats.answers:,}", f"{stats.failures:,}")
    return grid


def _raw(now: Snapshot) -> Group:
    style = "red" if now.raw_waiting >= _WORTH_TELLING else ""
    return Group(Text(f"raw boto3: {_raw_state(now)}", style=style), Text(f"({RAW_TERMS})", style="dim"))


def _raw_state(now: Snapshot) -> str:
    state = f"{now.raw_answers} answers, {now.raw_errors} errors, longest wait {now.raw_longest:.2f} s"
    return f"{state}, waiting for {now.raw_waiting:.1f} s" if now.raw_waiting >= _WORTH_TELLING else state


def _line(now: Snapshot) -> str:
    calls = ", ".join(f"{region} {stats.calls}" for region, stats in now.regions.items())
    return (
        f"{now.elapsed:5.1f} s  {now.reads_per_second:9,.0f} reads/s, {now.errors} errors, longest wait "
        f"{now.longest:.2f} s; calls {calls}; new secrets {now.cold_reads}, last from {now.last_region}; "
        f"raw boto3 {now.raw_answers} answers, {now.raw_errors} errors"
    )
