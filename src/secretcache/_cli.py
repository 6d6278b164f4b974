"""The command line: `secretcache demo`."""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, NoReturn

if TYPE_CHECKING:
    import typer

    from secretcache._demo.acts import Act

__all__ = ["main"]

_USAGE = 2
_INTERRUPTED = 130
_PHASE_SECONDS = (1.0, 120.0)
_THREADS = (1, 64)


def main() -> None:
    """Runs the command that `sys.argv` names, and exits with its code."""
    if any(find_spec(name) is None for name in ("typer", "rich")):
        sys.exit(_advise('the command line needs typer and rich: pip install "secretcache[cli]"'))
    try:
        _new_app()(prog_name="secretcache")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _new_app() -> "typer.Typer":
    import typer  # noqa: PLC0415 - an extra, and slow

    # Without rich's tracebacks, which may show the values of variables.
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
    for add in (_add_root, _add_demo):
        add(app)
    return app


def _add_root(app: "typer.Typer") -> None:
    import typer  # noqa: PLC0415

    version = typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")

    @app.callback(help="AWS Secrets Manager, cached, from the first region that can answer.")
    def _root(*, _version: Annotated[bool, version] = False) -> None:
        pass


def _add_demo(app: "typer.Typer") -> None:
    import typer  # noqa: PLC0415

    from secretcache._demo.acts import Act  # noqa: PLC0415

    seconds = typer.Option(callback=_check_seconds, help="How long each of the three phases of the outage lasts.")
    readers = typer.Option(callback=_check_threads, help="How many threads read warm secrets.")

    acts = typer.Option(help="What is to be seen.")

    @app.command(
        help="A region goes silent and comes back under load, then a password rotates under logins: on an embedded "
        "Secrets Manager and an embedded PostgreSQL."
    )
    def demo(
        *,
        seconds_per_phase: Annotated[float, seconds] = 8.5,
        threads: Annotated[int, readers] = 4,
        act: Annotated[Act, acts] = Act.BOTH,
    ) -> None:
        raise typer.Exit(_run_demo(seconds_per_phase, threads, act))


def _run_demo(seconds_per_phase: float, threads: int, act: "Act") -> int:
    try:
        from secretcache._demo.play import run  # noqa: PLC0415 - imports botocore and rich

        return run(threads=threads, seconds_per_phase=seconds_per_phase, act=act)
    except ImportError as error:
        return _advise(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED


def _advise(advice: str) -> int:
    sys.stderr.write(f"secretcache: {advice}\n")
    return _USAGE


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer calls it by position
    if value:
        import typer  # noqa: PLC0415

        from secretcache._version import __version__  # noqa: PLC0415

        typer.echo(f"secretcache {__version__}")
        raise typer.Exit


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
    import typer  # noqa: PLC0415

    raise typer.BadParameter(message)
