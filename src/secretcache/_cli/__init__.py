"""The command line: `secretcache demo`, `get`, `watch`, `doctor`, `policy`, `config`. One module a command."""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]

_USAGE = 2
_INTERRUPTED = 130


def main() -> None:
    """Runs the command that `sys.argv` names, and exits with its code."""
    if any(find_spec(name) is None for name in ("typer", "rich")):
        sys.stderr.write('secretcache: the command line needs typer and rich: pip install "secretcache[cli]"\n')
        sys.exit(_USAGE)
    from secretcache._cli.app import new_app  # noqa: PLC0415 - an extra, and slow

    try:
        new_app()(prog_name="secretcache")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
