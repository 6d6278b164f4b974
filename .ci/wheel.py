"""Builds the wheel, looks at what is in it, and runs it where the checkout is out of reach."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
NEEDED = {"secretcache/__init__.py", "secretcache/py.typed", "secretcache/_demo/proxy.py"}


def main() -> None:
    """Any step that fails ends the run."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run(sys.executable, "-m", "build", "--outdir", str(place / "dist"), str(HERE))
        (wheel,) = (place / "dist").glob("*.whl")
        check_contents(wheel)
        test(wheel, place)


def check_contents(wheel: Path) -> None:
    """All modules, the type marker and the licence are there, and nothing that is not the package."""
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(HERE / "src")) for path in (HERE / "src").rglob("*.py")}
    missing = (sources | NEEDED) - names
    strange = {name for name in names if not name.startswith(("secretcache/", "secretcache-"))}
    licensed = any(name.endswith("/LICENSE") for name in names)
    if missing or strange or not licensed:
        sys.exit(f"the wheel lacks {sorted(missing)}, has {sorted(strange)}, LICENSE there: {licensed}")


def test(wheel: Path, place: Path) -> None:
    """Alone it is imported and makes a cache; with an extra, its command line answers."""
    venv.create(place / "env", with_pip=True)
    python = str(place / "env" / "bin" / "python")
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*install, str(wheel))
    run(python, "-c", "import secretcache; secretcache.SecretCache(['ap-northeast-3']).close()", cwd=place)
    run(*install, f"{wheel}[cli]")
    run(python, "-m", "secretcache", "policy", "prod/db", "--regions", "ap-northeast-3,ap-northeast-1", cwd=place)


def run(*command: str, cwd: Path = HERE) -> None:
    """Runs a command, which must succeed."""
    subprocess.run(command, cwd=cwd, check=True)


if __name__ == "__main__":
    main()
