"""The rotation act at one moment, as a panel and as a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from secretcache._demo.screen import framed

if TYPE_CHECKING:
    from rich.panel import Panel

    from secretcache._demo.rotation_report import Logins

__all__ = ["RotationMoment", "Shown"]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Who has which password at one moment: "old" or "new", never the password."""

    database: str
    primary: str
    replica: str
    cache: str
    """The application's."""


@dataclass(frozen=True, kw_only=True)
class RotationMoment:
    """The rotation at one moment; times are seconds."""

    title: str
    elapsed: float
    total: float
    threads: tuple[int, int]
    """How many log in through `connect`, and with AWSCURRENT alone."""
    bridged: Logins
    """Of all phases until now."""
    alone: Logins
    shown: Shown

    @property
    def troubled(self) -> bool:
        """Whether the database refuses what is AWSCURRENT somewhere."""
        return self.shown.database != self.shown.primary or self.shown.database != self.shown.replica

    def panel(self) -> Panel:
        """As the live view shows it."""
        style = "red" if self.troubled else "green"
        return framed(self.title, self.elapsed, self.total, self._logins(), self._passwords(), style=style)

    def line(self) -> str:
        """The same in a line."""
        bridged, alone, shown = self.bridged, self.alone, self.shown
        return (
            f"{self.elapsed:5.1f} s  connect {bridged.tried} logins, {bridged.refused} refused (by the server "
            f"{bridged.by_server}), longest {bridged.longest:.2f} s; AWSCURRENT alone {alone.tried} logins, "
            f"{alone.refused} refused; password of the database {shown.database}, AWSCURRENT in Tokyo {shown.primary}, "
            f"in Osaka {shown.replica}, in the cache {shown.cache}"
        )

    def _logins(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        for _ in range(2):
            grid.add_column(justify="right", style="bold", min_width=18)
        arms = (self.bridged, self.alone)
        grid.add_row("", "through connect", "AWSCURRENT alone")
        grid.add_row("threads that log in", *(f"{number}" for number in self.threads))
        grid.add_row("logins", *(f"{arm.tried:,}" for arm in arms))
        grid.add_row("refused, as they see it", *(_alarming(arm.refused) for arm in arms))
        grid.add_row("refused by the server", *(f"{arm.by_server:,}" for arm in arms))
        grid.add_row("longest login", *(f"{arm.longest:.2f} s" for arm in arms))
        return grid

    def _passwords(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(style="bold")
        grid.add_row("the database takes the", f"{self.shown.database} password")
        grid.add_row("AWSCURRENT in Tokyo is the", f"{self.shown.primary} one")
        grid.add_row("AWSCURRENT in Osaka is the", f"{self.shown.replica} one")
        grid.add_row("the application's cache has the", f"{self.shown.cache} one")
        return grid


def _alarming(count: int) -> Text:
    return Text(f"{count:,}", style="bold red" if count else "bold green")
