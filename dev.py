#!/usr/bin/env python3
"""Sets everything up and runs it: `python3 dev.py demo`, `python3 dev.py test`, `python3 dev.py bench`.

Needs Python 3.10 or newer with venv and pip. Each command has a virtual environment of its own beside this file, made
when it is first needed and again when pyproject.toml has changed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMANDS = {
    "bench": ("bench", ["benchmarks/run.py"]),
    "demo": ("demo", ["-m", "secretcache", "demo"]),
    "test": ("dev", ["-m", "pytest"]),
}
USAGE = """usage: python3 dev.py demo [options of `secretcache demo`]
       python3 dev.py test [options of pytest]
       python3 dev.py bench [options of benchmarks/run.py]"""


def main() -> int:
    """Makes the environment that the command needs, and runs the command in it."""
    if sys.version_info < (3, 10):  # noqa: UP036 - whoever runs this may have an older one
        sys.exit(f"secretcache needs Python 3.10 or newer; this is {sys.version.split()[0]}")
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:  # noqa: PLR2004
        sys.exit(USAGE)
    extra, command = COMMANDS[sys.argv[1]]
    python = environment(extra)
    return subprocess.run([python, *command, *sys.argv[2:]], cwd=HERE, check=False).returncode


def environment(extra: str) -> Path:
    """The Python of the virtual environment for an extra, with this checkout installed in it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = HERE / f".venv-{extra}-{version}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, wanted = folder / "installed", hashlib.sha256((HERE / "pyproject.toml").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"setting up {folder.name} (once; a minute or so)", flush=True)
        make_environment(folder)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable"]
        subprocess.run([*install, f"{HERE}[{extra}]"], check=True)
        stamp.write_text(wanted)
    return python


def make_environment(folder: Path) -> None:
    """A new virtual environment; says what is missing where Debian ships Python without it."""
    try:
        venv.create(folder, with_pip=True, clear=True)
    except subprocess.CalledProcessError:
        sys.exit(
            "this Python makes no virtual environments: install its venv module (Debian: apt install python3-venv)"
        )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        sys.exit(f"dev.py: `{' '.join(map(str, error.cmd))}` failed with exit code {error.returncode}")
