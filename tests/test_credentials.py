"""What the integrations share: credentials of a secret, stamps, which cache, what a refused password looks like."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import asyncmy
import asyncpg
import psycopg
import psycopg2
import psycopg2.extensions
import pymysql
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rotating import secret
from secretcache import ConfigurationError, SecretCache, SecretFormatError, default_cache, set_default_cache
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST
from secretcache.integrations._auth_errors import (
    SAID,
    asyncpg_refused,
    mysql_refused,
    psycopg2_refused,
    psycopg2_told,
    psycopg_refused,
    redis_refused,
)
from secretcache.integrations._credentials import app_region_of, credentials_of, target_of
from secretcache.integrations._find import cache_or_default
from secretcache.integrations._stamps import Stamp, is_due, stamp_of
from servers import MariaDB, Redis, fresh_user, need
from support import OSAKA, TOKYO, House


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests is in no region."""
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)


# Credentials


def test_the_secret_that_aws_documents() -> None:
    told = credentials_of(secret("v1", engine="postgres", dbname="app", masterarn="arn:...", port="5433"))
    assert (told.engine, told.host, told.port, told.dbname) == ("postgres", "db", 5433, "app")
    assert (told.username, told.password) == ("app", "pw-v1")


def test_a_secret_that_rds_manages_has_user_and_password_alone() -> None:
    told = credentials_of(secret("v1", name="rds!db-1", host=None, port=None), overrides={"host": "h", "port": 1})
    assert (told.engine, told.host, told.port, told.dbname, told.username) == (None, "h", 1, None, "app")


def test_overrides_win_and_none_overrides_nothing() -> None:
    overrides = {"host": "mine", "port": None, "username": "me", "password": "other", "dbname": "", "engine": "mysql"}
    told = credentials_of(secret("v1", dbname="app"), overrides=overrides)
    assert (told.host, told.port, told.username, told.password) == ("mine", 5432, "me", "other")
    assert (told.dbname, told.engine) == (None, "mysql")


def test_nothing_secret_in_repr() -> None:
    shown = repr(credentials_of(secret("v1", username="the-user")))
    assert "pw-v1" not in shown
    assert "the-user" not in shown
    assert "host='db'" in shown


@pytest.mark.parametrize(
    ("fields", "hosts", "region", "expected"),
    [
        ({}, None, OSAKA, ("db", 5432)),
        ({f"host_{OSAKA}": "osaka", f"port_{OSAKA}": 6000}, None, OSAKA, ("osaka", 6000)),
        ({f"host_{OSAKA}": "osaka"}, None, TOKYO, ("db", 5432)),
        ({"hosts": {OSAKA: "osaka", TOKYO: "tokyo"}}, None, OSAKA, ("osaka", 5432)),
        ({"hosts": {TOKYO: "tokyo"}}, None, OSAKA, ("db", 5432)),
        ({"hosts": {OSAKA: "second"}, f"host_{OSAKA}": "first"}, None, OSAKA, ("first", 5432)),
        ({f"host_{OSAKA}": "osaka"}, {OSAKA: "settings"}, OSAKA, ("settings", 5432)),
        ({f"host_{OSAKA}": "osaka"}, {TOKYO: "settings"}, OSAKA, ("osaka", 5432)),
        ({f"host_{OSAKA}": "osaka"}, None, None, ("db", 5432)),
    ],
)
def test_the_host_of_the_application_s_region(
    fields: dict[str, Any], hosts: dict[str, str] | None, region: str | None, expected: tuple[str, int]
) -> None:
    told = credentials_of(secret("v1", TOKYO, **fields), hosts=hosts, app_region=region)
    assert (told.host, told.port) == expected


def test_the_application_s_region_is_the_environment_s_or_the_first_of_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House()
    assert app_region_of(house.cache) == OSAKA
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert app_region_of(house.cache) == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", TOKYO)
    assert app_region_of(house.cache) == TOKYO
    assert credentials_of(secret("v1", OSAKA, **{f"host_{TOKYO}": "tokyo"})).host == "tokyo"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"username": None}, "has no key 'username': store a JSON object"),
        ({"password": ""}, "has no key 'password'"),
        ({"password": 1234567}, r"'password' must be a text, and is not \(type int\)"),
        ({"username": ["leaked"]}, r"'username' must be a text, and is not \(type list\)"),
        ({"port": "leaked"}, r"'port' must be a number from 1 to 65535, and is not \(type str\)"),
        ({"port": True}, r"'port' must be a number .*\(type bool\)"),
        ({"port": 70_000}, "'port' must be a number"),
        ({"host": 1}, "'host' must be a text"),
        ({"hosts": "leaked"}, "'hosts' must be an object of regions and host names"),
        ({"hosts": {OSAKA: 1}}, f"'{OSAKA}' must be a text"),
        ({f"host_{OSAKA}": 1}, f"'host_{OSAKA}' must be a text"),
    ],
)
def test_what_is_wrong_with_a_secret_is_told_by_key_and_never_by_value(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SecretFormatError, match=message) as caught:
        credentials_of(secret("v1", **fields), app_region=OSAKA)
    assert "secret 'prod/db' (version v1)" in str(caught.value)
    for words in ("leaked", "1234567", "pw-v1"):
        assert words not in str(caught.value)
    traceback = caught.value.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == credentials_of.__code__.co_filename:
            shown = repr(traceback.tb_frame.f_locals)
            assert not any(words in shown for words in ("leaked", "1234567", "pw-v1"))
        traceback = traceback.tb_next


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overrides": {"user": "a"}}, "'user' is no key of a database secret; those are engine, host"),
        ({"overrides": {"port": "x"}}, "the settings: 'port' must be a number"),
        ({"overrides": {"host": 1}}, "the settings: 'host' must be a text, got int"),
        ({"overrides": "host=a"}, "overrides must be a mapping, got str"),
        ({"hosts": {OSAKA: 1}}, "hosts must map regions to host names"),
        ({"hosts": "a"}, "hosts must be a mapping, got str"),
    ],
)
def test_unsound_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        credentials_of(secret("v1"), **options)


def test_a_host_of_the_settings_own_is_a_target_of_its_own() -> None:
    assert target_of("prod/db", {}, {}, OSAKA) is None
    assert target_of("prod/db", {"dbname": "app"}, {TOKYO: "tokyo"}, OSAKA) is None
    assert target_of("prod/db", {"host": "a", "port": 1}, {}, None) == ("a", 1, "prod/db")
    assert target_of("prod/db", {}, {OSAKA: "b"}, OSAKA) == ("b", None, "prod/db")


# Stamps


def test_a_connection_is_due_when_awscurrent_is_neither_of_its_two_versions() -> None:
    house = House()
    cache = house.cache
    held = cache.get("prod/db").version_id
    assert not is_due(cache, "prod/db", Stamp(held, held))
    assert not is_due(cache, "prod/db", Stamp("bridged with", held))
    assert not is_due(cache, "prod/db", Stamp(held, "before"))
    assert is_due(cache, "prod/db", Stamp("older", "before"))
    assert is_due(cache, "prod/db", Stamp("older", None))
    assert stamp_of(cache, "prod/db", cache.get("prod/db")) == Stamp(held, held)
    assert len(house.regions.calls) == 1


def test_nothing_is_due_of_which_the_cache_knows_nothing() -> None:
    house = House()
    assert not is_due(house.cache, "prod/db", Stamp("older", None))
    assert house.regions.calls == []
    house.cache.close()
    assert not is_due(house.cache, "prod/db", Stamp("older", "before"))


def test_what_is_due_is_known_of_a_value_past_its_ttl_too() -> None:
    house = House(ttl=10.0)
    house.cache.get("prod/db")
    house.runtime.advance(11.0)
    assert is_due(house.cache, "prod/db", Stamp("older", "before"))
    assert len(house.regions.calls) == 1


# Which cache


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    made = types.ModuleType("settings_of_a_test")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_none_is_the_cache_of_the_process() -> None:
    house = House()
    before = set_default_cache(house.cache)
    try:
        assert cache_or_default(None) is default_cache() is house.cache
    finally:
        set_default_cache(before)


def test_a_path_leads_to_a_cache_or_to_what_makes_one_once(module: Any) -> None:
    module.cache = House().cache
    module.place = types.SimpleNamespace(cache=module.cache)
    made: list[SecretCache] = []

    def make() -> SecretCache:
        made.append(House().cache)
        return made[-1]

    module.make = make
    assert cache_or_default(module.cache) is module.cache
    for path in ("settings_of_a_test:cache", "settings_of_a_test.cache", "settings_of_a_test:place.cache"):
        assert cache_or_default(path) is module.cache
    assert [cache_or_default("settings_of_a_test:make"), cache_or_default("settings_of_a_test.make")][0] is made[0]
    assert cache_or_default("settings_of_a_test:make") is made[0]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("cache", "'cache' must be a path such as"),
        ("a b:c", "'a b:c' must be a path such as"),
        ("no_such_module:cache", "'no_such_module:cache' cannot be imported: No module named"),
        ("settings_of_a_test:nothing", "has no attribute 'nothing'"),
        ("settings_of_a_test:number", "leads to a int, not to a SecretCache"),
        ("settings_of_a_test:other", "made a int, not a SecretCache"),
        ("secretcache:SecretCache", "leads to a type"),
        (5, "or None, got int"),
    ],
)
def test_what_is_no_cache_is_refused_by_name(path: Any, message: str, module: Any) -> None:
    module.number, module.other = 5, lambda: 5
    with pytest.raises(ConfigurationError, match=message):
        cache_or_default(path)


# Refused passwords


def error_of(login: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:
        login()
    assert isinstance(caught.value, Exception)
    return caught.value


@pytest.fixture
def of_postgres(postgres: EmbeddedPostgres) -> dict[str, dict[str, Any]]:
    """Logins that fail, by why."""
    user, full, barred = fresh_user(), fresh_user(), fresh_user()
    for name in (user, full, barred):
        postgres.create_role(name, "right")
    with postgres.admin() as connection:
        connection.execute(f"ALTER ROLE {full} CONNECTION LIMIT 0".encode())
        connection.execute(f"CREATE DATABASE {user}_private".encode())
        connection.execute(f"REVOKE CONNECT ON DATABASE {user}_private FROM public".encode())
    place = {"host": HOST, "port": postgres.port, "password": "right"}
    return {
        "wrong password": {**place, "user": user, "dbname": "postgres", "password": "wrong"},
        "no such user": {**place, "user": "nobody", "dbname": "postgres"},
        "no database": {**place, "user": user, "dbname": "nowhere"},
        "too many": {**place, "user": full, "dbname": "postgres"},
        "no right to connect": {**place, "user": user, "dbname": f"{user}_private"},
        "nobody listens": {**place, "user": user, "dbname": "postgres", "port": 1},
    }


REFUSED = {"wrong password", "no such user"}


def connect_psycopg2(**options: Any) -> Any:
    return psycopg2.connect(connection_factory=psycopg2_told(psycopg2.extensions.connection), **options)


def connect_asyncpg(dbname: str, **options: Any) -> None:
    asyncio.run(asyncpg.connect(database=dbname, **options))


@pytest.mark.parametrize(
    ("connect", "refused"),
    [
        (psycopg.connect, psycopg_refused),
        (psycopg2.connect, psycopg2_refused),
        (connect_psycopg2, psycopg2_refused),
        (connect_asyncpg, asyncpg_refused),
    ],
)
def test_which_failures_of_postgresql_are_a_refused_password(
    connect: Callable[..., Any], refused: Callable[[BaseException], bool], of_postgres: dict[str, dict[str, Any]]
) -> None:
    errors = {why: error_of(partial(connect, **options)) for why, options in of_postgres.items()}
    assert {why for why, error in errors.items() if refused(error)} == REFUSED


def test_libpq_s_refusals_are_told_in_any_language(of_postgres: dict[str, dict[str, Any]]) -> None:
    told = error_of(lambda: connect_psycopg2(**of_postgres["wrong password"]))
    told.args = ("Passwort-Authentifizierung fehlgeschlagen",)
    assert psycopg2_refused(told)
    down = error_of(lambda: connect_psycopg2(**of_postgres["nobody listens"]))
    down.args = ("Verbindungsaufbau abgelehnt",)
    assert not psycopg2_refused(down)
    assert not psycopg2_refused(psycopg2.OperationalError("Passwort-Authentifizierung fehlgeschlagen"))


def connect_asyncmy(database: str, **options: Any) -> None:
    async def connect() -> None:
        await asyncmy.connect(db=database, **options)

    asyncio.run(connect())


def connect_mysqlclient(**options: Any) -> None:
    import_module("MySQLdb").connect(**options)


@pytest.mark.parametrize("connect", [pymysql.connect, connect_mysqlclient, connect_asyncmy])
def test_which_failures_of_mariadb_are_a_refused_password(connect: Callable[..., Any], mariadb: MariaDB) -> None:
    if connect is connect_mysqlclient:
        need("MySQLdb")
    user, locked = fresh_user(), fresh_user()
    mariadb.create_user(user, "right")
    mariadb.create_user(locked, "right")
    mariadb.lock(locked)
    place = {"host": HOST, "port": mariadb.port, "database": "information_schema", "password": "right"}
    logins = {
        "wrong password": {**place, "user": user, "password": "wrong"},
        "no such user": {**place, "user": "nobody"},
        "locked": {**place, "user": locked},
        "no database": {**place, "user": user, "database": "nowhere"},
        "nobody listens": {**place, "user": user, "port": 1},
    }
    errors = {why: error_of(partial(connect, **options)) for why, options in logins.items()}
    assert {why for why, error in errors.items() if mysql_refused(error)} == REFUSED


def test_which_failures_of_redis_are_a_refused_password(redis_server: Redis) -> None:
    user = fresh_user()
    redis_server.create_user(user, "right")

    def ping(**options: Any) -> None:
        options = {"host": HOST, "port": redis_server.port, "username": user, "retry": Retry(NoBackoff(), 0), **options}
        with redis.Redis(**options) as client:
            client.ping()

    def not_permitted() -> None:
        with redis_server.admin() as admin:
            admin.execute_command("ACL", "SETUSER", user, "-ping")
        ping(password="right")

    assert redis_refused(error_of(lambda: ping(password="wrong")))
    assert redis_refused(error_of(lambda: ping(username=None)))
    assert not redis_refused(error_of(not_permitted))
    assert not redis_refused(error_of(lambda: ping(password="right", port=1)))


@pytest.mark.parametrize("refused", [psycopg_refused, psycopg2_refused, asyncpg_refused, mysql_refused, redis_refused])
def test_other_errors_are_no_refusals(refused: Callable[[BaseException], bool]) -> None:
    for error in (ValueError("password authentication failed"), OSError(1045), TimeoutError(), Exception()):
        assert not refused(error)


class SaidError(Exception):
    """As libpq tells it through psycopg, and as asyncpg does: with a code."""

    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


class OperationalError(SaidError):
    pgconn = types.SimpleNamespace(used_password=True)


OperationalError.__module__ = "psycopg"

TEXTS = [
    ("08P01", "SASL authentication failed", True),  # PgBouncer
    ("08P01", "password authentication failed", True),
    ("08P01", "no such user", True),
    ("08P01", "no such database: nowhere", False),
    ("08P01", "no more connections allowed (max_client_conn)", False),
    ("08P01", "server login has been failing, try again later (server_login_retry)", False),
    ("28P01", 'password authentication failed for user "too many connections"', True),  # a name proves nothing
    ("28P01", "host based authentication rejected", False),  # Odyssey
    ("28P01", "incorrect user", True),
    ("28000", 'role "app" is not permitted to log in', True),
    ("28000", 'role "app" does not exist', True),
    ("28000", 'no pg_hba.conf entry for host "10.0.0.1", user "app", database "app", no encryption', False),
    ("XX000", "(ENOTFOUND) tenant or user not found", True),  # Supavisor
    ("28000", "The password that was provided for the role app is wrong.", True),  # RDS Proxy
    ("08000", "The password that was provided for the role app is wrong.", True),
    ("08000", "This RDS proxy has no credentials for the role app. Check the credentials and try again.", True),
    ("08000", "Timed-out waiting to acquire database connection.", False),
    ("3D000", 'database "nowhere" does not exist', False),
    ("53300", 'too many connections for role "app"', False),
    ("57P03", "the database system is starting up", False),
]


@pytest.mark.parametrize(("sqlstate", "text", "refused"), TEXTS)
def test_drivers_agree_on_what_servers_poolers_and_proxies_say(sqlstate: str, text: str, *, refused: bool) -> None:
    libpq = f'connection failed: connection to server at "10.0.0.1", port 5432 failed: FATAL:  {text}'
    assert asyncpg_refused(SaidError(text, sqlstate)) is refused
    assert psycopg_refused(OperationalError(libpq)) is refused


def test_every_line_of_the_table_decides_one_of_these() -> None:
    assert [one.text.pattern for one in SAID if not any(one.text.search(text) for _, text, _ in TEXTS)] == [
        "connections to the proxy exceeded|connection to proxy exceeded",
        "permission denied for database",  # PostgreSQL's own are run against it above
        "is not currently accepting connections",
        "requires TLS connections",
    ]
