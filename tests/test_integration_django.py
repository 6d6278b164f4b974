"""Django's backends against real databases, rotation after rotation, with Django's own backends beside them."""

from __future__ import annotations

import itertools
import os
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import OperationalError

from django_commands import Account, run_python, site_environment
from django_ground import databases, run
from rotation_load import HALF_FAILED, WHOLE, Load, Rotating
from secretcache import SecretUnavailableError, set_default_cache
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST
from secretcache.integrations import _account
from secretcache.integrations._auth_errors import mysql_refused
from secretcache.integrations._credentials import Credentials
from secretcache.integrations.django._source import Source
from servers import MariaDB, need, need_program
from support import OSAKA, REGIONS, failure

ENGINES = "secretcache.integrations.django"
POSTGRES = {"ENGINE": f"{ENGINES}.postgresql", "NAME": "postgres"}
MYSQL = {"ENGINE": f"{ENGINES}.mysql", "NAME": ""}
PERSISTENT = {"CONN_MAX_AGE": None}
POOL = {"OPTIONS": {"pool": {"min_size": 2, "max_size": 3, "timeout": 60.0}}}

ROTATIONS = (WHOLE, HALF_FAILED)

Make = Callable[[str], Rotating]


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Accounts of the databases; the cache of the last one is the process's."""
    made: list[Rotating] = []

    def one(database: str) -> Rotating:
        need("psycopg" if database == "postgres" else "MySQLdb")
        server: Any = request.getfixturevalue(database)
        create = server.create_role if database == "postgres" else server.create_user
        made.append(Rotating(create, server.set_password, host=HOST, port=server.port))
        set_default_cache(made[-1].cache)
        return made[-1]

    before = set_default_cache(None)
    yield one
    set_default_cache(before)
    for each in made:
        each.cache.close()


MODES = [
    pytest.param("postgres", POSTGRES, id="postgresql, a connection per request"),
    pytest.param("postgres", {**POSTGRES, **PERSISTENT}, id="postgresql, persistent"),
    pytest.param("postgres", {**POSTGRES, **POOL}, id="postgresql, pool"),
    pytest.param("mariadb", MYSQL, id="mysql, a connection per request"),
    pytest.param("mariadb", {**MYSQL, **PERSISTENT}, id="mysql, persistent"),
]


@pytest.mark.parametrize(("database", "alias"), MODES)
def test_no_login_fails_through_rotations_under_load(
    database: str, alias: dict[str, Any], make: Make, record_property: Callable[[str, object], None]
) -> None:
    account, requests = make(database), itertools.count(1)
    bridges = account.bridges()
    with databases(site={**alias, "SECRET": account.secret_id}) as connections, closed_at_the_end() as used:

        def serve() -> None:
            """Every second request finds its connection broken at its end, so that logins go on all the time."""
            connection: Any = used(connections["site"])
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                assert cursor.fetchone() == (1,)
            if next(requests) % 2:
                break_(connection)
            connection.close_if_unusable_or_obsolete()

        with Load(serve, workers=2) as load, Load(lambda: serve_stock(account, alias), workers=1) as stock:
            for kind in ROTATIONS:
                account.rotate(kind, load, stock)
    figures = {"uses": load.uses, "bridges": len(bridges), "stock": (stock.uses, len(stock.errors))}
    record_property("django", figures)
    assert load.errors == []
    assert "AWSPENDING" in bridges
    assert len(stock.errors) >= len(ROTATIONS)


@contextmanager
def closed_at_the_end() -> Iterator[Callable[[Any], Any]]:
    """Other threads' connections, which only those could close otherwise."""
    used: dict[int, Any] = {}

    def use(connection: Any) -> Any:
        return used.setdefault(id(connection), connection)

    yield use
    for connection in used.values():
        connection.inc_thread_sharing()
        connection.close()


def break_(connection: Any) -> None:
    if getattr(connection, "pool", None) is None:
        connection.close()
    else:
        connection.connection.close()
        connection.errors_occurred = True


def serve_stock(account: Rotating, alias: dict[str, Any]) -> None:
    """Django's own backend, for which the password is read anew at each request."""
    secret = account.cache.get(account.secret_id)
    engine = alias["ENGINE"].replace(ENGINES, "django.db.backends")
    told = {"USER": secret["username"], "PASSWORD": secret["password"], "HOST": HOST, "PORT": secret["port"]}
    with databases(site={"ENGINE": engine, "NAME": alias["NAME"], **told}) as connections:
        assert run(connections["site"]) == (1,)


# One step of a rotation at a time


def open_window(account: Rotating) -> str:
    """The database has the new password, and AWSPENDING; AWSCURRENT is wrong."""
    new = account._new()
    account._show(REGIONS, AWSCURRENT=account.version, AWSPENDING=new)
    account.change_password(new)
    return account.passwords[new]


def session(connection: Any) -> int:
    """Which of the server's sessions this is."""
    function = "pg_backend_pid()" if connection.vendor == "postgresql" else "connection_id()"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize(("database", "engine"), [("postgres", POSTGRES), ("mariadb", MYSQL)])
def test_a_persistent_connection_is_replaced_between_two_requests(
    database: str, engine: dict[str, Any], make: Make
) -> None:
    account = make(database)
    with databases(site={**engine, **PERSISTENT, "SECRET": account.secret_id}) as connections:
        connection: Any = connections["site"]
        first = session(connection)
        connection.close_if_unusable_or_obsolete()
        assert session(connection) == first
        account.rotate(WHOLE)
        assert session(connection) == first, "a request that is under way keeps its connection"
        connection.close_if_unusable_or_obsolete()
        second = session(connection)
        assert second != first
        connection.close_if_unusable_or_obsolete()
        assert session(connection) == second


def test_a_connection_that_bridged_a_window_is_kept_after_it(make: Make) -> None:
    account = make("postgres")
    with databases(site={**POSTGRES, **PERSISTENT, "SECRET": account.secret_id}) as connections:
        connection: Any = connections["site"]
        open_window(account)
        bridged = session(connection)
        connection.close_if_unusable_or_obsolete()
        assert session(connection) == bridged, "in the window"
        account._show(REGIONS, AWSCURRENT=list(account.passwords)[-1], AWSPREVIOUS=account.version)
        account.cache.refresh(account.secret_id)
        connection.close_if_unusable_or_obsolete()
        assert session(connection) == bridged, "after it"


def test_a_pool_replaces_what_is_idle_at_its_next_use_and_what_is_in_use_when_it_comes_back(make: Make) -> None:
    account = make("postgres")
    with databases(site={**POSTGRES, **POOL, "SECRET": account.secret_id}) as connections:
        held: Any = connections["site"]
        other: Any = held.copy("site")
        held.pool.open(wait=True)
        old = {session(held), session(other)}
        other.close()  # idle
        account.rotate(WHOLE)
        assert session(held) in old, "what is in use is not disturbed"
        held.close()
        new = {session(held), session(other)}
        assert len(old | new) == 4
        assert not {one.info.backend_pid for one in held.pool._pool} & old
        other.close()


def test_a_pool_with_health_checks_steps_over_what_was_killed_and_does_not_sleep(
    make: Make, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = make("postgres")
    monkeypatch.setattr("psycopg_pool.pool.sleep", lambda _: pytest.fail("it sleeps"), raising=False)
    alias = {**POSTGRES, **POOL, "CONN_HEALTH_CHECKS": True, "SECRET": account.secret_id}
    with databases(site=alias) as connections:
        connection: Any = connections["site"]
        connection.pool.open(wait=True)
        with postgres.admin() as admin:
            killed = admin.execute(
                "SELECT pid, pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = %s", [account.user]
            ).fetchall()
        assert len(killed) == 2
        assert session(connection) not in dict(killed)


def test_a_pool_may_be_one_of_djangos_own_size(make: Make) -> None:
    account = make("postgres")
    with databases(site={**POSTGRES, "OPTIONS": {"pool": True}, "SECRET": account.secret_id}) as connections:
        assert run(connections["site"]) == (1,)


def test_a_rotation_is_noticed_while_connections_live_and_nobody_logs_in(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, hooked = make("postgres"), list[str]()
    add = account.cache.add_rotation_hook

    def told(secret_id: str, hook: Any) -> Any:
        hooked.append(secret_id)
        return add(secret_id, hook)

    monkeypatch.setattr(account.cache, "add_rotation_hook", told)
    with databases(site={**POSTGRES, "SECRET": account.secret_id}) as connections:
        assert run(connections["site"]) == run(connections["site"]) == (1,)
    assert hooked == [account.secret_id]


def test_a_socket_in_the_settings_is_not_overridden_by_the_secrets_host() -> None:
    known = Credentials(engine=None, host="db", port=1, dbname="app", username="app", password="pw")
    source = Source(
        _account.Account("prod/db", mysql_refused), {}, elsewhere=True, database_name="database", needs_database=False
    )
    login = {"user": "app", "password": "pw", "database": "app"}
    assert source.completed({"unix_socket": "/run/db"}, known) == {"unix_socket": "/run/db", **login}
    assert source.completed({"user": "me"}, known) == {"host": "db", "port": 1, **login}, "the secret's user, always"


def test_a_pool_takes_connections_of_a_class_that_logs_in() -> None:
    mine = {"OPTIONS": {"pool": {"connection_class": psycopg.Connection}}}
    with databases(pooled={**POSTGRES, **mine, "SECRET": "prod/db"}) as connections:
        with pytest.raises(ImproperlyConfigured, match=r"must be a subclass of .*PooledConnection"):
            connections["pooled"]
        del connections.settings["pooled"]["OPTIONS"]["pool"]


def test_what_stands_in_the_settings_wins(make: Make, postgres: EmbeddedPostgres) -> None:
    account = make("postgres")
    account.fields |= {"host": "nowhere.invalid", "port": 1, "dbname": "postgres"}
    near = {"SECRET_HOSTS": {OSAKA: HOST}, "SECRET": account.secret_id, "PORT": postgres.port}
    given = {"HOST": HOST, "PORT": str(postgres.port), "SECRET": account.secret_id, "SECRET_CACHE": f"{__name__}:cache"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_REGION", OSAKA)
        patch.setitem(globals(), "cache", account.cache)
        set_default_cache(None)
        with databases(given={**POSTGRES, **given}, near={**POSTGRES, **near, **CACHE}) as connections:
            assert run(connections["given"]) == run(connections["near"]) == (1,)


CACHE = {"SECRET_CACHE": f"{__name__}:cache"}


def test_the_secret_may_name_the_database(make: Make) -> None:
    account = make("postgres")
    account.fields["dbname"] = "template1"
    alias = {**POSTGRES, "NAME": "", "SECRET": account.secret_id}
    with databases(site=alias, tested=alias) as connections:
        with connections["site"].cursor() as cursor:
            cursor.execute("SELECT current_database()")
            assert cursor.fetchone() == ("template1",)
        creation: Any = connections["tested"].creation
        assert creation._get_test_db_name() == "test_template1"


def test_test_databases_of_two_secrets_are_told_apart() -> None:
    with databases(one={**POSTGRES, "SECRET": "one"}, two={**POSTGRES, "SECRET": "two"}) as connections:
        first, second = (connections[alias].creation.test_db_signature() for alias in ("one", "two"))
        assert first != second


def test_settings_can_be_handed_to_another_process(make: Make) -> None:
    """Django's runner does, where processes are not forked."""
    account = make("postgres")
    with databases(site={**POSTGRES, **POOL, "SECRET": account.secret_id}) as connections:
        run(connections["site"])
        copied = pickle.loads(pickle.dumps(connections["site"].settings_dict))  # noqa: S301 - our own
        assert copied == connections["site"].settings_dict
        assert account.passwords[account.version] not in repr(copied)


# dbshell


SHELLS = [("postgres", POSTGRES, "psql", "PGPASSWORD"), ("mariadb", MYSQL, "mysql", "MYSQL_PWD")]


@pytest.mark.parametrize("kind", SHELLS, ids=[shell[0] for shell in SHELLS])
def test_dbshell_has_a_password_that_works_in_its_environment(
    kind: tuple[str, dict[str, Any], str, str], make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, engine, program, variable = kind
    account = make(database)
    shell = tmp_path / program
    shell.write_text(
        f'#!/bin/sh\nprintf %s "${variable}" > {tmp_path}/password\nprintf "%s\\n" "$@" > {tmp_path}/arguments\n'
    )
    shell.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    working = open_window(account)
    with databases(site={**engine, "SECRET": account.secret_id}) as connections:
        connections["site"].client.runshell(["--more"])
        assert connections["site"].connection is None
        assert working not in repr(vars(connections["site"]))
    assert (tmp_path / "password").read_text() == working
    arguments = (tmp_path / "arguments").read_text()
    assert {account.user, str(account.fields["port"]), "--more"} <= set(re.split("[=\n]", arguments))
    assert working not in arguments


# Errors


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "SECRET must be the name or ARN"),
        ({"SECRET": 5}, "SECRET must be the name or ARN"),
        ({"SECRET": "prod/db", "PASSWORD": "pw"}, "take PASSWORD out"),
        ({"SECRET": "prod/db", "OPTIONS": {"password": "pw"}}, "take PASSWORD out"),
        ({"SECRET": "prod/db", "SECRET_HOSTS": "db"}, "hosts must be a mapping"),
        ({"SECRET": "prod/db", "SECRET_CACHE": 5}, "cache must be a SecretCache"),
        ({"SECRET": "prod/db", "SECRET_BRIDGE": {"target": 1}}, "SECRET_BRIDGE must be a mapping of max_refusals"),
        ({"SECRET": "prod/db", "PORT": "many"}, "'PORT' must be a number"),
        ({"SECRET": "prod/db", "SECRET_CACHE": "no.such:cache"}, "'no.such:cache' cannot be imported"),
    ],
)
def test_unsound_settings_are_refused_by_name(more: dict[str, Any], words: str) -> None:
    with databases(site={**POSTGRES, **more}) as connections:
        with pytest.raises(ImproperlyConfigured, match=re.escape(words)) as raised:
            connections["site"].ensure_connection()
        assert "pw" not in str(raised.value)


def test_a_secret_that_cannot_be_read_is_an_operational_error(make: Make) -> None:
    account = make("postgres")
    account.regions.replies = dict.fromkeys(REGIONS, lambda _: failure())
    alias = {**POSTGRES, "SECRET": account.secret_id}
    with databases(site=alias) as connections, pytest.raises(OperationalError) as raised:
        connections["site"].ensure_connection()
    assert isinstance(raised.value.__cause__, SecretUnavailableError)


def test_a_refused_password_is_the_drivers_own_error(make: Make) -> None:
    account = make("postgres")
    account.change_password(account._new())
    alias = {**POSTGRES, "SECRET": account.secret_id, "SECRET_BRIDGE": {"timeout": 1.0}}
    refused = pytest.raises(OperationalError, match="password authentication failed")
    with databases(site=alias) as connections, refused as raised:
        connections["site"].ensure_connection()
    assert isinstance(raised.value.__cause__, psycopg.OperationalError)
    assert account.passwords[account.version] not in "".join(traceback.format_exception(raised.value))


# Commands, in processes of their own


CHECK = """
import sys
from django.core.management import execute_from_command_line
execute_from_command_line(["django", "check"])
from secretcache import _default
assert _default._cache is None and "botocore" not in sys.modules
"""


def test_check_needs_no_aws(tmp_path: Path) -> None:
    need("MySQLdb")
    aliases: dict[str, dict[str, Any]] = {
        "default": {**POSTGRES, **POOL, "SECRET": "prod/db"},
        "other": {**MYSQL, "SECRET": "prod/other"},
    }
    if django.VERSION >= (6,):  # its own MySQL backend asks the server too
        del aliases["other"]
    env = site_environment(None, **aliases)
    assert "no issues" in run_python("-c", CHECK, env=env, cwd=tmp_path)


PSYCOPG2 = """
import sys
sys.modules["psycopg"] = None
import django
django.setup()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
print([kind.__module__ for kind in type(connection.connection).__mro__])
connection.close()
from secretcache import default_cache
default_cache().close()
"""


def test_psycopg2_where_there_is_no_newer_driver(
    manager: EmbeddedSecretsManager, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    need("psycopg2")
    account = Account(manager, postgres, postgres.create_role)
    account.open_window()
    alias = account.alias("postgresql", NAME="postgres", SECRET_BRIDGE={"timeout": 60.0})
    env = site_environment(manager, default=alias) | {"SECRETCACHE_TIMEOUT": "60"}
    assert "psycopg2.extensions" in run_python("-c", PSYCOPG2, env=env, cwd=tmp_path)
    assert postgres.refused_logins(account.user) > 0


def test_mysqls_own_programs_copy_a_test_database_while_awscurrent_is_wrong(make: Make, mariadb: MariaDB) -> None:
    need_program("mysqldump", "mysql", package="mariadb-client")
    account = make("mariadb")
    mariadb.execute(f"GRANT ALL ON *.* TO '{account.user}'")
    for name in (source := f"{account.user}_from", target := f"{account.user}_to"):
        mariadb.execute(f"CREATE DATABASE {name}")
    mariadb.execute(f"CREATE TABLE {source}.visits (who INT)")
    open_window(account)
    with databases(site={**MYSQL, "NAME": source, "SECRET": account.secret_id}) as connections:
        creation: Any = connections["site"].creation
        creation._clone_db(source, target)
    assert mariadb.execute(f"SHOW TABLES FROM {target}") == (("visits",),)


def test_the_test_runner_with_two_processes(
    manager: EmbeddedSecretsManager, postgres: EmbeddedPostgres, mariadb: MariaDB, tmp_path: Path
) -> None:
    need("MySQLdb")
    need_program("mysqldump", package="mariadb-client")
    first = Account(manager, postgres, postgres.create_role)
    second = Account(manager, mariadb, mariadb.create_user)
    with postgres.admin() as admin:
        admin.execute(f"ALTER ROLE {first.user} CREATEDB")
    mariadb.execute(f"GRANT ALL ON *.* TO '{second.user}'")
    manager.create("prod/django", "x" * 50)
    default, other = first.alias("postgresql", NAME=first.user), second.alias("mysql", NAME=second.user)
    env = site_environment(manager, default=default, other=other)
    said = run_python("-m", "django", "test", "--parallel=2", "--noinput", "rotating_site", env=env, cwd=tmp_path)
    assert re.search(r"Ran 3 tests.*OK", said, re.DOTALL), said


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_commands_that_need_no_database_need_no_aws(engine: str, tmp_path: Path) -> None:
    need("psycopg" if engine == "postgresql" else "MySQLdb")
    alias = {"ENGINE": f"{ENGINES}.{engine}", "NAME": "app", "SECRET": "prod/db"}
    env = site_environment(None, default=alias)
    told = run_python("-W", "default", "-m", "django", "makemigrations", "--check", "--dry-run", env=env, cwd=tmp_path)
    assert "No changes detected" in told
    assert "no region" in told.lower() or "SECRETCACHE_REGIONS" in told, "it says why it could not look"
    run_python("-m", "django", "diffsettings", env=env, cwd=tmp_path)
