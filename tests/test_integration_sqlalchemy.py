"""SQLAlchemy engines against real databases: rotations under load, held connections, what is replaced and when."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pytest
import sqlalchemy
import sqlalchemy.dialects.mysql  # here: not by several threads at once, which SQLAlchemy does not bear
import sqlalchemy.dialects.postgresql
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from rotation_load import HALF_FAILED, PATIENCE, WHOLE, Load, Rotating
from secretcache import ConfigurationError, SecretCache, SecretFormatError, set_default_cache
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST
from secretcache.integrations.sqlalchemy import attach
from servers import MariaDB, need
from support import OSAKA

POSTGRES, MARIADB = "postgres", "mariadb"
KEPT = 3  # connections a pool keeps
SESSION = {
    POSTGRES: ("SELECT pg_backend_pid()", "SELECT pid FROM pg_stat_activity WHERE usename = '{}'"),
    MARIADB: ("SELECT CONNECTION_ID()", "SELECT id FROM information_schema.processlist WHERE user = '{}'"),
}
DRIVERS = {
    "psycopg": ("postgresql+psycopg", False),
    "psycopg2": ("postgresql+psycopg2", False),
    "pymysql": ("mysql+pymysql", False),
    "mysqlclient": ("mariadb+mysqldb", False),
    "psycopg async": ("postgresql+psycopg_async", True),
    "asyncpg": ("postgresql+asyncpg", True),
    "asyncmy": ("mysql+asyncmy", True),
}
BY_ATTACH = ("psycopg2", "asyncpg")  # the others by the plugin


class SyncPool:
    """An engine, as the trial uses it."""

    def __init__(self, engine: Engine, session: str) -> None:
        self.engine, self._session = engine, text(session)

    def checkout(self) -> Any:
        """A connection in a transaction."""
        connection = self.engine.connect()
        self.session(connection)
        return connection

    def session(self, connection: Connection) -> int:
        return cast("int", connection.execute(self._session).scalar_one())

    def release(self, connection: Connection) -> None:
        connection.close()

    def dispose(self) -> None:
        self.engine.dispose()


class AsyncPool:
    """The same of an async engine, in an event loop in a thread of its own."""

    def __init__(self, engine: AsyncEngine, session: str) -> None:
        self.engine, self._session = engine, text(session)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def checkout(self) -> Any:
        return self._run(self._checkout())

    async def _checkout(self) -> AsyncConnection:
        connection = await self.engine.connect()
        await connection.execute(self._session)
        return connection

    def session(self, connection: AsyncConnection) -> int:
        return cast("int", self._run(connection.scalar(self._session)))

    def release(self, connection: AsyncConnection) -> None:
        self._run(connection.close())

    def dispose(self) -> None:
        self._run(self.engine.dispose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


def use(pool: SyncPool | AsyncPool) -> None:
    pool.release(pool.checkout())


@dataclass(frozen=True)
class Report:
    """What came of a trial."""

    errors: list[BaseException]
    stock_errors: list[BaseException]
    bridges: list[str]
    undisturbed: bool
    overtaken: set[int]
    """Sessions from before the last rotation that are there after it, once every other was checked out."""
    held: int
    held_is_gone: bool
    """Whether the held one was replaced at its own next checkout."""

    def problems(self) -> list[str]:
        wanted = {
            f"the application saw {self.errors}": not self.errors,
            "the load does not bite": bool(self.stock_errors),
            f"bridged were {set(self.bridges)}": {"AWSPENDING", "AWSPREVIOUS"} <= set(self.bridges),
            "the held connection was disturbed": self.undisturbed,
            f"of the overtaken {self.overtaken} are left, {self.held} is held": self.overtaken == {self.held},
            "the held one was not replaced": self.held_is_gone,
        }
        return [problem for problem, right in wanted.items() if not right]


@contextmanager
def pool(driver: str, account: Rotating, *, stock: bool, **options: Any) -> Iterator[SyncPool | AsyncPool]:
    name, is_async = DRIVERS[driver]
    if "poolclass" not in options:
        options |= {"pool_size": KEPT, "max_overflow": 10, "pool_timeout": PATIENCE}
    if driver == "pymysql":
        options["connect_args"] = {"ssl_disabled": True}  # else it loads every CA of the machine for each login
    url, timeout = f"{name}://", options.get("secretcache_timeout", 10.0)
    if driver in BY_ATTACH:
        options.pop("secretcache_timeout", None)
    if stock:
        url = str(URL.create(name, host=HOST, port=account.fields["port"], database=account.fields.get("dbname")))
    elif driver not in BY_ATTACH:
        options |= {"plugins": ["secretcache"], "secretcache": account.secret_id, "secretcache_cache": account.cache}
    engine = create_async_engine(url, **options) if is_async else create_engine(url, **options)
    if stock:
        event.listen(getattr(engine, "sync_engine", engine), "do_connect", partial(with_current, account))
    elif driver in BY_ATTACH:
        attach(engine, account.cache, account.secret_id, timeout=timeout)
    query, _ = SESSION[server_of(driver)]
    made = AsyncPool(engine, query) if isinstance(engine, AsyncEngine) else SyncPool(engine, query)
    try:
        yield made
    finally:
        made.dispose()


def with_current(account: Rotating, dialect: Any, _: object, __: object, parameters: dict[str, Any]) -> None:
    """What applications do today: each login with AWSCURRENT, as it is now."""
    secret = account.cache.get(account.secret_id)
    names = {"mysqldb": "passwd"}
    parameters |= {"user": account.user, names.get(dialect.driver, "password"): secret["password"]}


def server_of(driver: str) -> str:
    return POSTGRES if DRIVERS[driver][0].startswith("postgresql") else MARIADB


def rotating(server: EmbeddedPostgres | MariaDB) -> Rotating:
    if isinstance(server, EmbeddedPostgres):
        place: dict[str, Any] = {"host": HOST, "port": server.port, "dbname": server.database, "engine": "postgres"}
        return Rotating(server.create_role, server.set_password, **place)
    return Rotating(server.create_user, server.set_password, host=HOST, port=server.port, engine="mariadb")


def sessions(server: EmbeddedPostgres | MariaDB, user: str) -> set[int]:
    if isinstance(server, EmbeddedPostgres):
        with server.admin() as connection:
            return {row[0] for row in connection.execute(SESSION[POSTGRES][1].format(user).encode())}
    return {row[0] for row in server.execute(SESSION[MARIADB][1].format(user))}


def until(true: Callable[[], bool]) -> bool:
    """Whether something comes true on a server, which tells nobody when."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def trial(driver: str, server: EmbeddedPostgres | MariaDB) -> Report:
    with rotating(server) as account, pool(driver, account, stock=False) as ours:
        bridges = account.bridges()
        held = ours.checkout()
        session = ours.session(held)
        with (
            pool(driver, account, stock=False, poolclass=NullPool) as keeping_none,
            pool(driver, account, stock=True, poolclass=NullPool) as stock,
            Load(partial(use, ours), workers=2) as warm,
            Load(partial(use, keeping_none), workers=2) as anew,
            Load(partial(use, stock), workers=1) as control,
        ):
            for kind in (WHOLE, HALF_FAILED):
                account.rotate(kind, warm, anew, control)
        undisturbed = ours.session(held) == session
        old = sessions(server, account.user)
        account.rotate()
        check_out_all(ours, KEPT)
        until(lambda: old & sessions(server, account.user) == {session})
        overtaken = old & sessions(server, account.user)
        ours.release(held)
        check_out_all(ours, KEPT)
        gone = until(lambda: session not in sessions(server, account.user))
    return Report(warm.errors + anew.errors, control.errors, bridges, undisturbed, overtaken, session, gone)


def check_out_all(pool: SyncPool | AsyncPool, number: int) -> None:
    for connection in [pool.checkout() for _ in range(number)]:
        pool.release(connection)


@pytest.mark.greenlets
@pytest.mark.parametrize("database", [POSTGRES, MARIADB])
def test_rotation_after_rotation_under_load(database: str, request: pytest.FixtureRequest) -> None:
    """All drivers of a database at once: they mostly wait."""
    server: EmbeddedPostgres | MariaDB = request.getfixturevalue(database)
    if database == MARIADB:
        need("MySQLdb")
    drivers = [driver for driver in DRIVERS if server_of(driver) == database]
    with ThreadPoolExecutor(len(drivers)) as executor:
        reports = dict(zip(drivers, executor.map(partial(trial, server=server), drivers), strict=True))
    assert {driver: problems for driver, report in reports.items() if (problems := report.problems())} == {}


@pytest.fixture
def account(postgres: EmbeddedPostgres) -> Iterator[Rotating]:
    with rotating(postgres) as made:
        before = set_default_cache(made.cache)
        yield made
        set_default_cache(before)


@pytest.fixture
def make(account: Rotating) -> Iterator[Callable[..., Engine]]:
    """Makes engines for the account, and disposes of them."""
    engines = []

    def make(url: str = "postgresql+psycopg://", **options: Any) -> Engine:
        options = {"plugins": ["secretcache"], "secretcache": account.secret_id, **options}
        engines.append(create_engine(url, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


def user_of(engine: Engine) -> str:
    with engine.connect() as connection:
        return cast("str", connection.execute(text("SELECT current_user")).scalar_one())


def session_of(engine: Engine) -> int:
    with engine.connect() as connection:
        return cast("int", connection.execute(text(SESSION[POSTGRES][0])).scalar_one())


def test_the_url_can_say_it_all(account: Rotating) -> None:
    url = f"postgresql+psycopg://?plugin=secretcache&secretcache={account.secret_id}&secretcache_timeout=20"
    engine = create_engine(url)
    assert user_of(engine) == account.user
    assert engine.url.query == {}
    engine.dispose()


def test_no_password_is_shown_by_the_engine(account: Rotating, make: Callable[..., Engine]) -> None:
    engine = make()
    user_of(engine)
    shown = f"{engine!r} {engine.url!r} {engine.url.render_as_string(hide_password=False)} {engine.pool.status()}"
    assert not any(password in shown for password in account.passwords.values())


def test_neither_a_cache_nor_a_secret_is_needed_before_the_first_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secretcache.integrations.sqlalchemy.cache_or_default", lambda _: pytest.fail("too early"))
    engine = create_engine("postgresql+psycopg://", plugins=["secretcache"], secretcache="prod/db")
    with pytest.raises(pytest.fail.Exception, match="too early"):
        engine.connect()


def test_the_url_wins_over_the_secret_and_overrides_win_over_the_url(
    postgres: EmbeddedPostgres, make: Callable[..., Engine]
) -> None:
    with postgres.admin() as connection:
        connection.execute("CREATE DATABASE elsewhere")
    query = text("SELECT current_database()")
    for url, options, expected in (
        ("postgresql+psycopg:///elsewhere", {}, "elsewhere"),
        ("postgresql+psycopg:///postgres", {"secretcache_overrides": {"dbname": "elsewhere"}}, "elsewhere"),
        ("postgresql+psycopg://", {"connect_args": {"dbname": "elsewhere"}}, "elsewhere"),
        ("postgresql+psycopg://nobody:nothing@", {}, "postgres"),  # who logs in is said by the secret
        ("postgresql+psycopg2://", {"connect_args": {"dbname": "elsewhere"}}, "elsewhere"),
    ):
        with make(url, **options).connect() as found:
            assert found.execute(query).scalar_one() == expected


def test_the_host_is_that_of_the_region_the_application_runs_in(
    account: Rotating, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    account.fields |= {"host": "primary.invalid", f"host_{OSAKA}": HOST}  # Osaka is the cache's first region
    engine = create_engine("postgresql+psycopg://", plugins=["secretcache"], secretcache=account.secret_id)
    assert user_of(engine) == account.user
    engine.dispose()


def test_a_connection_is_replaced_at_its_first_checkout_after_a_rotation(
    account: Rotating, make: Callable[..., Engine]
) -> None:
    engine = make(pool_size=1, max_overflow=0)
    first = session_of(engine)
    assert session_of(engine) == first
    account.rotate()
    second = session_of(engine)
    assert second != first
    assert session_of(engine) == second


def test_one_that_bridged_the_window_stays_when_awscurrent_moves_to_its_version(
    account: Rotating, make: Callable[..., Engine]
) -> None:
    engine, sessions_in_turn = make(pool_size=1, max_overflow=0), []
    bridges = account.bridges()
    window = Load(lambda: None, workers=1)
    window.went_on = lambda uses=2: sessions_in_turn.append(session_of(engine))  # type: ignore[method-assign]
    account.rotate(WHOLE, window)  # looked at in the window, while the replica lags, and after it
    assert bridges == ["AWSPENDING"]
    assert len(set(sessions_in_turn)) == 1


def test_a_pool_that_keeps_nothing(account: Rotating, make: Callable[..., Engine]) -> None:
    engine = make(poolclass=NullPool)
    assert user_of(engine) == account.user
    account.rotate(HALF_FAILED)
    assert user_of(engine) == account.user


def test_a_connection_from_before_attach_is_replaced(account: Rotating, postgres: EmbeddedPostgres) -> None:
    url = URL.create(
        "postgresql+psycopg", account.user, account.passwords[account.version], HOST, postgres.port, "postgres"
    )
    engine = create_engine(url, pool_size=1, max_overflow=0)
    first = session_of(engine)
    attach(engine, None, account.secret_id)
    second = session_of(engine)
    account.rotate()
    assert len({first, second, session_of(engine)}) == 3
    engine.dispose()


def test_an_engine_with_a_creator_is_refused(account: Rotating, postgres: EmbeddedPostgres) -> None:
    with pytest.raises(ConfigurationError, match="creator and the plugin"):
        create_engine("postgresql+psycopg://", plugins=["secretcache"], secretcache="x", creator=lambda: None)
    with pytest.raises(ConfigurationError, match="creator and the plugin"):
        create_async_engine("postgresql+asyncpg://?plugin=secretcache&secretcache=x", async_creator=lambda: None)
    creator = partial(postgres.connect, account.user, account.passwords[account.version])
    engine = create_engine("postgresql+psycopg://", creator=creator)
    attach(engine, account.cache, account.secret_id)
    with pytest.raises(ConfigurationError, match="creator= of its own"):
        engine.connect()
    engine.dispose()


def test_a_secret_without_a_host_is_not_tried_on_the_local_machine(
    account: Rotating, make: Callable[..., Engine]
) -> None:
    del account.fields["host"]
    with pytest.raises(SecretFormatError, match=r"has no key 'host'.*set 'host' in the engine's URL"):
        make().connect()
    assert user_of(make(f"postgresql+psycopg://{HOST}")) == account.user


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_refused_whatever_the_version_the_driver_s_own_error_comes_through(
    driver: str, account: Rotating, make: Callable[..., Engine]
) -> None:
    account.change_password(account._new())
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
        make(f"postgresql+{driver}://", secretcache_timeout=0.5).connect()
    assert "password authentication failed" in str(caught.value)
    tried = cast("Any", caught.value.orig).secretcache_tried
    assert account.version in tried
    if driver == "psycopg2":  # whose error tells nothing of itself, in a language other than English
        assert cast("Any", caught.value.orig).secretcache_asked_for_password
    assert not any(password in f"{caught.value} {tried}" for password in account.passwords.values())


@pytest.mark.parametrize(
    "driver",
    [
        pytest.param(driver, marks=[pytest.mark.greenlets] if is_async else [])
        for driver, (_, is_async) in DRIVERS.items()
        if driver != "mysqlclient"
    ],
)
def test_no_frame_of_a_failed_login_holds_the_password(
    driver: str, postgres: EmbeddedPostgres, mariadb: MariaDB
) -> None:
    server: EmbeddedPostgres | MariaDB = postgres if server_of(driver) == POSTGRES else mariadb
    with rotating(server) as account:
        account.change_password(account._new())
        with pool(driver, account, stock=False, secretcache_timeout=0.5) as ours, pytest.raises(Exception) as caught:
            ours.checkout()
    shown = "".join(everything_about(caught.value, beside=__file__))
    assert "refused" in shown  # what was tried is told
    assert account.passwords[account.version] not in shown


def everything_about(error: BaseException, beside: str) -> Iterator[str]:
    """What a report of an error with the locals of its frames would show, the test's own frames aside."""
    yield f"{error!r} {error.args} {vars(error).get('secretcache_tried')}"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename != beside:
            yield repr(frame.f_locals)
    for other in {error.__cause__, error.__context__, getattr(error, "orig", None)} - {None}:
        yield from everything_about(cast("BaseException", other), beside)


def test_another_error_is_not_taken_for_a_refused_password(account: Rotating, make: Callable[..., Engine]) -> None:
    calls = len(account.regions.calls)
    with pytest.raises(sqlalchemy.exc.OperationalError, match="does not exist"):
        make("postgresql+psycopg:///nowhere").connect()
    assert len(account.regions.calls) == calls + 1


def test_checkouts_go_on_when_the_cache_is_closed(account: Rotating, make: Callable[..., Engine]) -> None:
    engine = make(pool_size=1, max_overflow=0)
    session = session_of(engine)
    account.cache.close()
    assert session_of(engine) == session


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("", {}, "needs a secret"),
        ("", {"secretcache": ""}, "name or ARN"),
        ("", {"secretcache": "x", "secretcache_host": "y"}, "secretcache_host: no such setting"),
        ("secretcache=x&secretcache_ttl=1", {}, "secretcache_ttl: no such setting"),
        ("secretcache=x", {"secretcache": "x"}, "given twice"),
        ("secretcache=x&secretcache=y", {}, "more than once"),
        ("secretcache=x&secretcache_hosts=a", {}, "cannot stand in a URL"),
        ("secretcache=x&secretcache_timeout=soon", {}, "secretcache_timeout must be a number, got 'soon'"),
        ("secretcache=x", {"secretcache_overrides": {"user": "a"}}, "'user' is no key"),
        ("secretcache=x", {"secretcache_hosts": ["a"]}, "hosts must be a mapping"),
        ("secretcache=x", {"secretcache_cache": "nowhere"}, "must be a path such as"),
        ("secretcache=x", {"secretcache_cache": 5}, "got int"),
    ],
)
def test_unsound_settings_are_refused_by_name(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        create_engine(f"postgresql+psycopg://?plugin=secretcache&{url}", **options)


def test_a_driver_that_is_not_known_needs_is_auth_error(secret_cache: SecretCache) -> None:
    engine = create_engine("sqlite://")
    with pytest.raises(ConfigurationError, match="'pysqlite' is not known: pass is_auth_error"):
        attach(engine, secret_cache, "prod/db")
    attach(engine, secret_cache, "prod/db", is_auth_error=lambda _: False)


def test_a_settings_file_gives_numbers_as_text(account: Rotating) -> None:
    settings = {
        "sqlalchemy.url": "postgresql+psycopg://?plugin=secretcache",
        "sqlalchemy.secretcache_max_refusals": "3",
    }
    engine = sqlalchemy.engine_from_config(settings, secretcache=account.secret_id)
    assert user_of(engine) == account.user
    engine.dispose()


def test_without_sqlalchemy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "secretcache.integrations.sqlalchemy")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ImportError, match=r"secretcache\[sqlalchemy\]"):
        importlib.import_module("secretcache.integrations.sqlalchemy")
