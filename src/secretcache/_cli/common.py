"""What the commands share: their options, how an error ends them, and where they write."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType

from secretcache._errors import ConfigurationError, SecretCacheError
from secretcache._settings import settings_from_env

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from secretcache._cache import SecretCache

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "USAGE",
    "Endpoints",
    "Regions",
    "Timeout",
    "environment",
    "exits",
    "is_terminal",
    "new_cache",
    "note",
    "say",
    "say_json",
    "settings_of",
    "show",
    "warned",
    "width",
]

FAILED, USAGE, INTERRUPTED = 1, 2, 130
_PIPE_WIDTH = 400
"""Wide enough that a line stays one line where a program reads it."""

Regions = Annotated[
    str | None,
    typer.Option(
        "--regions", metavar="REGION,…", help="The regions, the preferred one first. Else SECRETCACHE_REGIONS."
    ),
]
Endpoints = Annotated[
    str | None,
    typer.Option(
        "--endpoint-urls",
        metavar="REGION=URL,…",
        help="Where a region is asked: a VPC endpoint. Else SECRETCACHE_ENDPOINT_URLS.",
    ),
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="SECONDS", help="What a read may take. Else SECRETCACHE_TIMEOUT.")
]


def environment(regions: str | None, endpoint_urls: str | None = None, timeout: str | None = None) -> dict[str, str]:
    """The environment, with the options that were given in the place of their variables."""
    given = {"REGIONS": regions, "ENDPOINT_URLS": endpoint_urls, "TIMEOUT": timeout}
    return {**os.environ, **{f"SECRETCACHE_{name}": text for name, text in given.items() if text is not None}}


def settings_of(environ: Mapping[str, str]) -> dict[str, Any]:
    """A cache's arguments from an environment; an error names the option, where the text came from one.

    Raises:
        ConfigurationError: a setting is not sound.
    """
    try:
        return settings_from_env(environ)
    except ConfigurationError as error:
        told = str(error)
    for name in ("REGIONS", "ENDPOINT_URLS", "TIMEOUT"):
        variable = f"SECRETCACHE_{name}"
        # Only what the text is about: a list of all variables names them as they are.
        if environ.get(variable) != os.environ.get(variable) and told.startswith(variable):
            told = f"--{name.lower().replace('_', '-')}{told.removeprefix(variable)}"
    raise ConfigurationError(told.replace('pass SecretCache(["ap-northeast-3", ...])', "pass --regions"))


def new_cache(environ: Mapping[str, str], **more: Any) -> SecretCache:
    """A cache with the settings of an environment; what it warns of is told on standard error."""
    from secretcache._cache import SecretCache  # noqa: PLC0415 - `policy` needs none

    with warned():
        return SecretCache(**{**settings_of(environ), **more})


@contextmanager
def warned() -> Iterator[None]:
    """Tells Python's warnings as lines of our own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        note(f"warning: {warning.message}")


@contextmanager
def exits() -> Iterator[None]:
    """Ends the command with a line and a code: 2 for what was asked wrongly, 1 for what could not be done."""
    try:
        yield
    except ConfigurationError as error:
        note(str(error))
        code = USAGE
    except SecretCacheError as error:
        note(f"{type(error).__name__}: {error}")
        code = FAILED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = INTERRUPTED
    else:
        return
    raise typer.Exit(code)


def note(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"secretcache: {text}\n")


def say(line: str = "") -> None:
    """One line on standard output, as it is, at once: whoever follows it through a pipe sees it when it happens."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say_json(told: object) -> None:
    """JSON on standard output; times as ISO 8601."""
    say(json.dumps(told, indent=2, default=str))


def is_terminal() -> bool:
    """Whether a person looks at standard output, on a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def width() -> int:
    """The columns there are."""
    return Console().width if is_terminal() else _PIPE_WIDTH


def show(*what: RenderableType) -> None:
    """Draws tables and texts: as wide as the terminal, in colour; without one, plain and as wide as they are."""
    if is_terminal():
        console = Console(highlight=False)
        for one in what:
            console.print(one)
        return
    # Said outright, since FORCE_COLOR and its kin would bring ANSI codes into a file.
    written = io.StringIO()
    console = Console(file=written, force_terminal=False, color_system=None, highlight=False, width=_PIPE_WIDTH)
    for one in what:
        console.print(one)
    for line in written.getvalue().splitlines():
        say(line.rstrip())
