"""Real MariaDB and Redis servers for the tests (PostgreSQL is the demo's); what becomes of a test that lacks one."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

import pymysql
import pytest
import redis
from pymysql.constants import ER
from pymysql.converters import escape_string
from redis.backoff import NoBackoff
from redis.retry import Retry

from secretcache._demo.private import HOST, Plan, PrivateServer

CONNECT_SECONDS = 30
BLOCKED, LOCKED = 4150, 4151  # MariaDB: too many wrong passwords; locked by an administrator
UNLIMITED = 4_294_967_295  # MariaDB's default for max_password_errors
_numbers = itertools.count(1)


def need(module: str) -> None:
    """A Python package that is missing is a failure where all servers are required, and else a reason to skip."""
    if importlib.util.find_spec(module) is None:
        extra = "mysqlclient" if module == "MySQLdb" else "dev"  # it has no wheel, and is no part of dev
        lacking(f"{module} is not installed: pip install -e '.[{extra}]'")


def need_program(*programs: str, package: str) -> None:
    """The same for programs of a Debian package."""
    missing = [program for program in programs if find_program(program) is None]
    if missing:
        lacking(f"{', '.join(missing)} not found: apt-get install {package}")


def lacking(what: str) -> NoReturn:
    """Skips the test, or fails it where REQUIRE_SERVERS is set."""
    if os.environ.get("REQUIRE_SERVERS"):
        pytest.fail(what)
    pytest.skip(what)


def find_program(name: str) -> str | None:
    """Where a program is; servers are often in folders that only root has in its PATH."""
    return shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    )


def program(name: str) -> str:
    found = find_program(name)
    assert found is not None, f"{name} is there: need_program() saw to that"
    return found


def fresh_user() -> str:
    """The name of a user that no other test of this run has: the servers are shared."""
    return f"user{next(_numbers)}"


class MariaDB(PrivateServer):
    """A MariaDB server of one's own.

    Args:
        max_password_errors: Wrong passwords in a row after which a user is blocked.
    """

    name: ClassVar[str] = "MariaDB"
    ready: ClassVar[str] = "ready for connections"

    def __init__(self, max_password_errors: int = UNLIMITED) -> None:
        super().__init__()
        self._max_password_errors = max_password_errors
        self._password = secrets.token_urlsafe()

    def _plan(self, folder: Path, port: int) -> Plan:
        # Its own: a server that starts removes temporary tables in a /tmp that it shares with others, and breaks them.
        place = ["--no-defaults", f"--datadir={folder / 'data'}", f"--tmpdir={folder}"]
        install = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        quick = ["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M", "--innodb-flush-log-at-trx-commit=0"]
        serve = [
            f"--bind-address={HOST}",
            f"--port={port}",
            f"--socket={folder / 'socket'}",
            f"--pid-file={folder / 'pid'}",
            f"--init-file={folder / 'init.sql'}",
            f"--max-password-errors={self._max_password_errors}",
            "--skip-name-resolve",
            "--log-warnings=2",  # names the user of each refused login
        ]
        return Plan(
            # Before it takes connections: an administrator with a password, and none without.
            files={
                "init.sql": f"CREATE USER admin@'%' IDENTIFIED BY '{self._password}';\n"
                "GRANT ALL PRIVILEGES ON *.* TO admin@'%' WITH GRANT OPTION;\n"
                "DELETE FROM mysql.global_priv WHERE User NOT IN ('admin', 'mariadb.sys');\n"
                "DELETE FROM mysql.proxies_priv;\n"
                "FLUSH PRIVILEGES;\n"
            },
            prepare=[[program("mariadb-install-db"), *place, *install, *quick]],
            serve=[program("mariadbd"), *place, *quick, *serve],
        )

    def connect(self, user: str, password: str, **options: Any) -> pymysql.Connection[Any]:
        """Logs in as a user, with PyMySQL, over TCP."""
        options = {"connect_timeout": CONNECT_SECONDS, "autocommit": True, **options}
        return pymysql.connect(host=HOST, port=self.port, user=user, password=password, **options)

    def admin(self) -> pymysql.Connection[Any]:
        """A new connection of the administrator. Use it in a with statement."""
        return self.connect("admin", self._password)

    def execute(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        """Has the administrator execute a statement."""
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cast("tuple[tuple[Any, ...], ...]", cursor.fetchall())

    def create_user(self, name: str, password: str) -> None:
        self.execute(f"CREATE USER {_account(name)} IDENTIFIED BY '{escape_string(password)}'")

    def set_password(self, name: str, password: str) -> None:
        """Changes the password, which unblocks the user too."""
        self.execute(f"ALTER USER {_account(name)} IDENTIFIED BY '{escape_string(password)}'")

    def lock(self, name: str) -> None:
        """Locks an account as an administrator does: even the right password gets `LOCKED`."""
        self.execute(f"ALTER USER {_account(name)} ACCOUNT LOCK")

    def unlock(self, name: str) -> None:
        """Ends a lock, and a block that came of too many wrong passwords."""
        self.execute(f"ALTER USER {_account(name)} ACCOUNT UNLOCK")

    @contextmanager
    def max_password_errors(self, limit: int) -> Iterator[None]:
        """Blocks users after that many wrong passwords in a row, while the context lasts."""
        self.execute(f"SET GLOBAL max_password_errors = {limit}")
        try:
            yield
        finally:
            self.execute(f"SET GLOBAL max_password_errors = {self._max_password_errors}")

    def refused_logins(self, user: str | None = None) -> int:
        """How many logins got 1045, since it started: of one user, or all. The blocked and the locked do not count."""
        refused = re.compile(f"Access denied for user '{re.escape(user) if user else '.*'}'@")
        return sum(bool(refused.search(line)) for line in self.log_lines())

    def failed_logins(self) -> int:
        """How many logins failed, since it started: refused, blocked, locked, or broken off."""
        ((_, count),) = self.execute("SHOW GLOBAL STATUS LIKE 'Aborted_connects'")
        return int(count)


class WithPlugin:
    """The same server, whose users are authenticated by a plugin of it: `ed25519`."""

    def __init__(self, server: MariaDB, plugin: str) -> None:
        self._server, self._plugin = server, plugin
        server.execute(f"INSTALL SONAME 'auth_{plugin}'")

    @property
    def port(self) -> int:
        return self._server.port

    def create_user(self, name: str, password: str) -> None:
        self._define("CREATE", name, password)

    def set_password(self, name: str, password: str) -> None:
        self._define("ALTER", name, password)

    def refused_logins(self, user: str) -> int:
        return self._server.refused_logins(user)

    def _define(self, verb: str, name: str, password: str) -> None:
        by = f"IDENTIFIED VIA {self._plugin} USING PASSWORD('{escape_string(password)}')"
        self._server.execute(f"{verb} USER {_account(name)} {by}")


def _account(name: str) -> str:
    return f"'{escape_string(name)}'@'%'"


def is_refused(error: BaseException) -> bool:
    """Whether MariaDB refused the password: 1045."""
    return isinstance(error, pymysql.OperationalError) and error.args[0] == ER.ACCESS_DENIED_ERROR


def is_locked(error: BaseException) -> bool:
    """Whether MariaDB refuses the user whatever the password: 4150 or 4151."""
    return isinstance(error, pymysql.OperationalError) and error.args[0] in {BLOCKED, LOCKED}


class Redis(PrivateServer):
    """A Redis server of one's own, without persistence."""

    name: ClassVar[str] = "Redis"
    ready: ClassVar[str] = "Ready to accept connections"

    def __init__(self) -> None:
        super().__init__()
        self._password = secrets.token_urlsafe()

    def _plan(self, folder: Path, port: int) -> Plan:
        settings = (
            f'bind {HOST}\nport {port}\nrequirepass {self._password}\nsave ""\ndir "{folder}"\nacllog-max-len 100000\n'
        )
        return Plan(files={"redis.conf": settings}, serve=[program("redis-server"), str(folder / "redis.conf")])

    def connect(self, user: str, password: str, **options: Any) -> redis.Redis:
        """A client of one connection that has logged in; it does not retry. Use it in a with statement."""
        options = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": CONNECT_SECONDS, **options}
        client = redis.Redis(
            host=HOST,
            port=self.port,
            username=user,
            password=password,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        try:
            client.ping()
        except BaseException:
            client.close()
            raise
        return client

    def admin(self) -> redis.Redis:
        """A new client of the administrator. Use it in a with statement."""
        return self.connect("default", self._password)

    def create_user(self, name: str, password: str) -> None:
        """Makes a user who may do everything, with that one password."""
        self._acl(name, "reset", "on", f">{password}", "~*", "&*", "+@all")

    def set_password(self, name: str, password: str) -> None:
        """Replaces all passwords of a user by one."""
        self._acl(name, "resetpass", f">{password}")

    def add_password(self, name: str, password: str) -> None:
        """Gives a user one more password: Redis takes several at a time."""
        self._acl(name, f">{password}")

    def _acl(self, name: str, *rules: str) -> None:
        with self.admin() as client:
            client.execute_command("ACL", "SETUSER", name, *rules)

    def refused_logins(self, user: str | None = None) -> int:
        """How many logins it has refused since it started: of one user, or all."""
        with self.admin() as client:
            entries: list[dict[str, Any]] = client.acl_log(100_000)  # by default Redis tells the last ten
        return sum(
            int(entry["count"]) for entry in entries if entry["reason"] == "auth" and user in {None, entry["username"]}
        )
