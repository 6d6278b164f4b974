"""The application: the root command, and each command by its own module."""

from __future__ import annotations

from typing import Annotated

import typer

from secretcache._cli import config, demo, doctor, get, policy, watch

__all__ = ["new_app"]


def new_app() -> typer.Typer:
    """A typer application with every command."""
    # Without rich's tracebacks, which may show the values of variables.
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback(help="AWS Secrets Manager, cached, from the first region that can answer.")(_root)
    for command in (demo, get, watch, doctor, policy, config):
        command.add(app)
    return app


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer calls it by position
    if value:
        from secretcache._version import __version__  # noqa: PLC0415

        typer.echo(f"secretcache {__version__}")
        raise typer.Exit


_Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
]


def _root(*, _version: _Version = False) -> None:
    pass
