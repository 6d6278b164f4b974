"""`secretcache demo`: the main job on an embedded Secrets Manager, without an AWS account."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from secretcache._demo.acts import Act

__all__ = ["add"]

_USAGE = 2
_INTERRUPTED = 130
_PHASE_SECONDS = (1.0, 120.0)
_THREADS = (1, 64)


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        help="A region goes silent and comes back under load, then a password rotates under logins: on an embedded "
        "Secrets Manager and an embedded PostgreSQL."
    )(demo)


def _check_seconds(value: float) -> float:
    least, most = _PHASE_SECONDS
    if not least <= value <= most:
        _refuse(f"must be from {least:g} to {most:g} seconds, got {value:g}")
    return value


def _check_threads(value: int) -> int:
    least, most = _THREADS
    if not least <= value <= most:
        _refuse(f"must be from {least} to {most}, got {value}")
    return value


def _refuse(message: str) -> NoReturn:
    raise typer.BadParameter(message)


def demo(
    *,
    seconds_per_phase: Annotated[
        float, typer.Option(callback=_check_seconds, help="How long each of the three phases of the outage lasts.")
    ] = 8.5,
    threads: Annotated[int, typer.Option(callback=_check_threads, help="How many threads read warm secrets.")] = 4,
    act: Annotated[Act, typer.Option(help="What is to be seen.")] = Act.BOTH,
) -> None:
    """Runs the demo, and exits with its verdict."""
    raise typer.Exit(_run(seconds_per_phase, threads, act))


def _run(seconds_per_phase: float, threads: int, act: Act) -> int:
    try:
        from secretcache._demo.play import run  # noqa: PLC0415 - imports botocore and moto

        return run(threads=threads, seconds_per_phase=seconds_per_phase, act=act)
    except ImportError as error:
        sys.stderr.write(f"secretcache: {error}\n")
        return _USAGE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED
