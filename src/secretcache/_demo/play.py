"""The demo: one act after the other, and their reports at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secretcache._demo import rotation, scenario
from secretcache._demo.acts import Act
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.screen import open_screen

if TYPE_CHECKING:
    from secretcache._demo.report import ActReport

__all__ = ["run"]

_SLOW_ENOUGH = 3.0
"""Seconds per phase from which the rotation has its full length."""


def run(*, threads: int, seconds_per_phase: float, act: Act = Act.BOTH) -> int:
    """Plays the demo on standard output.

    Args:
        threads: how many threads read the warm secrets.
        seconds_per_phase: how long each phase of the outage lasts; below 3 the rotation is faster too.
        act: what is to be seen. The rotation is left out of both where PostgreSQL is not installed.

    Returns:
        The exit code: 0 when the demo showed what it is meant to show, else 1.

    Raises:
        ImportError: moto is not installed, or PostgreSQL and the rotation was asked for; the message says what to do.
    """
    pace = min(1.0, seconds_per_phase / _SLOW_ENOUGH)
    server = _find_postgres(act)
    outage = 0.0 if act is Act.ROTATION else seconds_per_phase * len(scenario.PHASES)
    total = outage + (rotation.seconds_at(pace) if isinstance(server, EmbeddedPostgres) else 0.0)
    reports: list[ActReport] = []
    with open_screen() as screen:
        if act is not Act.ROTATION:
            reports.append(scenario.perform(screen, threads, seconds_per_phase, total))
        if isinstance(server, EmbeddedPostgres):
            reports.append(rotation.perform(screen, server, offset=outage, total=total, pace=pace))
        elif server is not None:
            screen.say(f"the rotation is left out: {server}")
        screen.close_with(reports)
    return 1 if any(report.reasons() for report in reports) else 0


def _find_postgres(act: Act) -> EmbeddedPostgres | str | None:
    """The server, or why there is none; None if none is wanted."""
    if act is Act.OUTAGE:
        return None
    try:
        return EmbeddedPostgres()
    except ImportError as error:
        if act is Act.ROTATION:
            raise
        return str(error)
