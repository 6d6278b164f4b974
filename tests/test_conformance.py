"""What holds for every integration alike: one table of them, the same secrets, one rotation, the same assertions."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from typing_extensions import Self

from conformance_rows import MARIADB, POSTGRES, RABBITMQ, REDIS, ROWS, Ground, Row, Seen
from rotation_load import HALF_FAILED, WHOLE, Load, Rotating
from secretcache import SecretFormatError, set_default_cache
from secretcache._demo.private import HOST
from servers import fresh_user, lacking

IN_FRONT = {
    "postgres": POSTGRES,
    "pgbouncer": POSTGRES,
    "mariadb": MARIADB,
    "mariadb_ed25519": MARIADB,
    "redis_server": REDIS,
    "rabbitmq": RABBITMQ,
}
"""Each server and pooler, and which integrations log in to it."""
BOTH = [(front, row) for front, server in IN_FRONT.items() for row in ROWS if row.server == server]
DIRECT = [(front, row) for front, row in BOTH if front not in ("pgbouncer", "mariadb_ed25519")]
"""Without those that have another way to log in alone."""


@dataclass
class Place:
    """A server with one user."""

    server: Any
    user: str
    fields: dict[str, Any]

    @property
    def seen(self) -> str:
        return self.user

    def content(self, *without: str, **more: Any) -> dict[str, Any]:
        told = {"username": self.user, "password": "right", **self.fields, **more}
        return {name: value for name, value in told.items() if name not in without}


@pytest.fixture
def at(request: pytest.FixtureRequest) -> Callable[[str], Place]:
    def found(front: str) -> Place:
        server: Any = request.getfixturevalue(front)
        user = fresh_user()
        (getattr(server, "create_role", None) or server.create_user)(user, "right")
        fields: dict[str, Any] = {"host": HOST, "port": server.port}
        if IN_FRONT[front] == POSTGRES:
            fields["dbname"] = "postgres"
        return Place(server, user, fields)

    return found


@contextmanager
def ground(**contents: dict[str, Any]) -> Iterator[Ground]:
    made = Ground(f"prod/{fresh_user()}")
    made.show(**contents)
    with made.as_default():
        yield made


def every(pairs: list[tuple[str, Row]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("front", "row"), [pytest.param(*pair, id=f"{pair[1]}-{pair[0]}") for pair in pairs])


# One rotation


@every(BOTH)
@pytest.mark.parametrize("kind", [WHOLE, HALF_FAILED])
def test_logs_in_at_every_step_of_a_rotation(
    front: str, row: Row, kind: str, at: Callable[[str], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in {"_rotations._SPACING": 0.1, "_connect._FIRST_PAUSE": 0.1}.items():
        monkeypatch.setattr(f"secretcache.{name}", seconds)
    place = at(front)
    create = getattr(place.server, "create_role", None) or place.server.create_user
    with Rotating(create, place.server.set_password, **place.fields) as account:
        before = set_default_cache(account.cache)
        bridges, seen = account.bridges(), list[str]()
        # Stands in the place of a load: called in each phase of the rotation.
        probe = cast("Load", _Probe(lambda: seen.append(row.use(cast("Ground", account)).user)))
        try:
            account.rotate(kind, probe)
        finally:
            set_default_cache(before)
        assert seen == [account.user] * 3
        assert set(bridges) == {"AWSPENDING" if kind == WHOLE else "AWSPREVIOUS"}, "the window is real"


class _Probe:
    def __init__(self, use: Callable[[], None]) -> None:
        self.went_on = use


# Shapes of a secret


@every(DIRECT)
def test_a_port_may_be_a_text(front: str, row: Row, at: Callable[[str], Place]) -> None:
    place = at(front)
    with ground(AWSCURRENT=place.content(port=str(place.fields["port"]))) as secret:
        assert row.use(secret).user == place.user


@every(DIRECT)
def test_without_a_host_the_settings_name_it(front: str, row: Row, at: Callable[[str], Place]) -> None:
    place = at(front)
    with ground(AWSCURRENT=place.content("host", "port", "dbname")) as secret:
        assert row.use(secret, place.fields).user == place.user


@every(DIRECT)
def test_what_the_settings_say_of_the_place_wins(front: str, row: Row, at: Callable[[str], Place]) -> None:
    place = at(front)
    wrong = {"host": "nowhere.invalid", "port": 1, **({"dbname": "nowhere"} if "dbname" in place.fields else {})}
    with ground(AWSCURRENT=place.content(**wrong)) as secret:
        assert row.use(secret, place.fields).user == place.user


@every([pair for pair in DIRECT if pair[1].server == POSTGRES])
@pytest.mark.parametrize("said_by", ["the settings", "the secret"])
def test_several_hosts_with_several_ports(front: str, row: Row, said_by: str, at: Callable[[str], Place]) -> None:
    place = at(front)
    several = {"host": f"{HOST},{HOST}", "port": f"1,{place.fields['port']}"}
    content, told = (
        (place.content("host", "port"), several) if said_by == "the settings" else (place.content(**several), {})
    )
    with ground(AWSCURRENT=content) as secret:
        assert row.use(secret, told) == Seen(place.user, "postgres")


@every([pair for pair in DIRECT if pair[1].server in (POSTGRES, MARIADB)])
def test_a_host_and_a_database_that_moved_are_followed(front: str, row: Row, at: Callable[[str], Place]) -> None:
    place = at(front)
    names = [f"{place.user}_{number}" for number in range(2)]
    make_databases(place, names)
    with ground(AWSCURRENT=place.content(dbname=names[0])) as secret:
        assert row.use(secret) == Seen(place.user, names[0])
        secret.show(AWSCURRENT=place.content(dbname=names[1], host="127.1"))
        secret.cache.refresh(secret.secret_id)
        assert row.use(secret) == Seen(place.user, names[1])


def make_databases(place: Place, names: list[str]) -> None:
    if "dbname" in place.fields:
        with place.server.admin() as admin:
            for name in names:
                admin.execute(f"CREATE DATABASE {name}")
    else:
        for name in names:
            place.server.execute(f"CREATE DATABASE {name}")
            place.server.execute(f"GRANT ALL ON {name}.* TO {place.user}@'%'")


# Users that alternate


@every(DIRECT)
def test_users_that_alternate(front: str, row: Row, at: Callable[[str], Place]) -> None:
    first, second = at(front), at(front)
    with ground(AWSCURRENT=first.content(), AWSPREVIOUS=second.content()) as secret:
        assert row.use(secret).user == first.user
        secret.show(AWSCURRENT=second.content(), AWSPREVIOUS=first.content())
        secret.cache.refresh(secret.secret_id)
        assert row.use(secret).user == second.user


# Not behind PgBouncer: it takes the password itself, and then keeps the client waiting for a session of the server's.
@every([pair for pair in DIRECT if pair[1].server == POSTGRES])
def test_a_user_who_may_not_log_in_is_refused_and_the_other_one_logs_in(
    front: str, row: Row, at: Callable[[str], Place], request: pytest.FixtureRequest
) -> None:
    barred, other = at(front), at(front)
    with request.getfixturevalue("postgres").admin() as admin:
        admin.execute(f"ALTER ROLE {barred.user} NOLOGIN")
    with ground(AWSCURRENT=barred.content(), AWSPREVIOUS=other.content()) as secret:
        assert row.use(secret).user == other.user


@every([pair for pair in DIRECT if "username" in pair[1].words])
def test_the_secrets_user_wins_over_a_pinned_one_and_the_log_says_so_once(
    front: str, row: Row, at: Callable[[str], Place], caplog: pytest.LogCaptureFixture
) -> None:
    place = at(front)
    told = {"username": "somebody_else"}
    with ground(AWSCURRENT=place.content()) as secret, caplog.at_level(logging.WARNING, "secretcache"):
        assert row.use(secret, told).user == row.use(secret, told).user == place.user
    said = [record.getMessage() for record in caplog.records if "is not the user" in record.getMessage()]
    assert len(said) == 1
    assert repr(row.words["username"]) in said[0]
    assert place.user not in said[0].replace(secret.secret_id, ""), "no part of the secret is logged"


@every([pair for pair in DIRECT if "username" in pair[1].words])
def test_a_secret_without_a_user_takes_the_pinned_one(front: str, row: Row, at: Callable[[str], Place]) -> None:
    place = at(front)
    with ground(AWSCURRENT=place.content("username")) as secret:
        assert row.use(secret, {"username": place.user}).user == place.user


# What is not sound, in the reader's words


@every([pair for pair in DIRECT if not pair[1].hides])
def test_a_port_that_is_none_is_told_as_the_reader_wrote_it(front: str, row: Row, at: Callable[[str], Place]) -> None:
    place = at(front)
    with ground(AWSCURRENT=place.content(port="leaked")) as secret:
        told = why(lambda: row.use(secret))
        assert isinstance(told, SecretFormatError)
        assert f"set {row.words['port']!r} in" in str(told)
        assert "leaked" not in str(told)
        assert "overrid" not in str(told)


@every(DIRECT)
def test_unusable_json_is_passed_over_for_the_version_that_works(
    front: str, row: Row, at: Callable[[str], Place]
) -> None:
    place = at(front)
    with ground(AWSCURRENT=place.content("password"), AWSPREVIOUS=place.content()) as secret:
        assert row.use(secret).user == place.user
    assert place.server.refused_logins(place.user) == 0, "the server was not asked with it"


@every([pair for pair in DIRECT if not pair[1].hides])
def test_a_secret_without_a_password_is_not_told_to_write_it_into_the_settings(
    front: str, row: Row, at: Callable[[str], Place]
) -> None:
    place = at(front)
    with ground(AWSCURRENT=place.content("password")) as secret:
        told = why(lambda: row.use(secret))
    assert isinstance(told, SecretFormatError)
    assert str(told).endswith('has no key \'password\': store a JSON object with "username" and "password"')


def why(use: Callable[[], object]) -> BaseException:
    """The error at the bottom of what an integration raises."""
    with pytest.raises(Exception) as caught:
        use()
    error: BaseException = caught.value
    while error.__cause__ is not None:
        error = error.__cause__
    return error


# Nothing is sent to this machine

PORTS = (5432, 3306, 6379, 5672)
SOCKETS = (
    "/tmp/.s.PGSQL.5432",  # noqa: S108 - where each driver looks
    "/run/postgresql/.s.PGSQL.5432",
    "/tmp/mysql.sock",  # noqa: S108
    "/run/mysqld/mysqld.sock",
)


class Recorder:
    """Listens at every place that a driver takes by itself, and records who came."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            for port in PORTS:
                opening.enter_context(self._listening((HOST, port), str(port)))
            for path in SOCKETS:
                folder = Path(path).parent
                if not folder.exists() and not os.access(folder.parent, os.W_OK):
                    continue  # there is no such place on this machine: nobody can listen there
                if not folder.exists():
                    folder.mkdir()
                    opening.callback(folder.rmdir)
                opening.enter_context(self._listening(path, path))
            self._closing = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @contextmanager
    def _listening(self, address: Any, name: str) -> Iterator[None]:
        listener = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            listener.close()
            lacking(f"{name} is taken by another program, and has to be free for this test: {error}")
        listener.listen()
        thread = threading.Thread(target=self._accept, args=(listener, name), daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            listener.close()
            if isinstance(address, str):
                Path(address).unlink()

    def _accept(self, listener: socket.socket, name: str) -> None:
        while True:
            try:
                visitor, _ = listener.accept()
            except OSError:
                return
            self.came.append(name)
            visitor.close()


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as made:
        yield made


def test_the_recorder_hears_a_driver_that_is_told_no_host(recorder: Recorder) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(user="app", password="right", dbname="app")
    for port in PORTS:
        socket.create_connection((HOST, port)).close()
    for port in PORTS:  # accepted in their order: by now each has been recorded
        with socket.create_connection((HOST, port)) as visitor:
            assert visitor.recv(1) == b""
    assert {str(port) for port in PORTS} | {"/tmp/.s.PGSQL.5432"} <= {*recorder.came} | {  # noqa: S108
        "/tmp/.s.PGSQL.5432" if "/run/postgresql/.s.PGSQL.5432" in recorder.came else ""  # noqa: S108 - libpq has one of them
    }
    recorder.came.clear()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_secret_without_a_host_reaches_nothing_on_this_machine(row: Row, recorder: Recorder) -> None:
    recorder.came.clear()
    content = {"username": "app", "password": "right", "dbname": "app"}
    with ground(AWSCURRENT=content) as secret:
        told = why(lambda: row.use(secret))
    assert recorder.came == []
    if not row.hides:
        assert isinstance(told, SecretFormatError)
        assert f"set {row.words['host']!r}" in str(told)
