"""psycopg and psycopg_pool against a real PostgreSQL: rotations under load, held connections, refused logins."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import Any

import psycopg
import psycopg_pool
import pytest

from driver_rotation import Turns, of_postgres, rotate_under
from rotation_load import KINDS, WHOLE, Load, Rotating
from secretcache import ConfigurationError
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache.integrations.psycopg import aconnect, async_connection_class, connect, connection_class, is_due
from secretcache.integrations.psycopg_pool import AsyncConnectionPool, ConnectionPool

SIZE = 2  # one is held, so that each closing makes the next use wait for a login
QUICK = {"timeout": 1.0, "max_refusals": 3}
STOCK: dict[str, Any] = {"min_size": 1, "max_size": 2, "timeout": 0.7}


def stock_kwargs(account: Rotating) -> dict[str, Any]:
    """AWSCURRENT alone, fresh for each login: what one writes without the bridge."""
    secret = account.cache.get(account.secret_id)
    names = {"host": "host", "port": "port", "dbname": "dbname", "user": "username", "password": "password"}
    return {name: secret[key] for name, key in names.items()}


def works(connection: psycopg.Connection[Any]) -> bool:
    return connection.execute("SELECT 1").fetchone() == (1,)


async def aworks(connection: psycopg.AsyncConnection[Any]) -> bool:
    return await (await connection.execute("SELECT 1")).fetchone() == (1,)


def logged_in_with(connection: Any) -> str:
    stamp: Any = connection.secretcache_stamp
    return str(stamp.logged_in_with)


# Rotations under load


def test_a_pool_outlives_rotations(postgres: EmbeddedPostgres) -> None:
    with (
        of_postgres(postgres) as account,
        ConnectionPool(account.secret_id, cache=account.cache, min_size=SIZE, max_size=SIZE) as pool,
        psycopg_pool.ConnectionPool(kwargs=partial(stock_kwargs, account), open=True, **STOCK) as stock_pool,
    ):
        pool.wait()
        with pool.connection() as held:
            first, lock = logged_in_with(held), threading.Lock()
            rotate_under(
                account,
                Load(partial(_use_pool, pool, Turns(2), held, lock), workers=2),
                Load(partial(_use_pool, stock_pool, Turns(2)), workers=2),
                psycopg_pool.PoolTimeout,
                KINDS,
            )
            assert first != account.version
            assert is_due(held)
        with ExitStack() as stack:
            taken = [stack.enter_context(pool.connection()) for _ in range(SIZE)]
            assert {logged_in_with(one) for one in taken} == {account.version}
            assert all(works(one) for one in taken)


def _use_pool(pool: Any, turns: Turns, held: Any = None, lock: Any = None) -> None:
    with pool.connection() as connection:
        assert works(connection)
        if turns():
            connection.close()
    if held is not None:
        with lock:
            assert works(held), "a held connection is undisturbed"


def test_an_async_pool_outlives_rotations(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        ours = AsyncConnectionPool(account.secret_id, cache=account.cache, min_size=SIZE, max_size=SIZE, open=False)
        stock = psycopg_pool.AsyncConnectionPool(kwargs=partial(_astock_kwargs, account), open=False, **STOCK)
        user, stock_user = _AsyncUser(ours, 2), _AsyncUser(stock, 2, holds=False)

        async def ended() -> None:
            assert is_due(user.held)
            await ours.putconn(user.held)
            async with AsyncExitStack() as stack:
                taken = [await stack.enter_async_context(ours.connection()) for _ in range(SIZE)]
                user.versions = {logged_in_with(one) for one in taken}
            await ours.close()

        rotate_under(
            account,
            Load(user.use, workers=2, ended=ended),
            Load(stock_user.use, workers=2, ended=stock.close),
            psycopg_pool.PoolTimeout,
        )
        assert user.versions == {account.version}


async def _astock_kwargs(account: Rotating) -> dict[str, Any]:
    return stock_kwargs(account)


class _AsyncUser:
    """Uses a pool, and one connection that it holds all the time."""

    def __init__(self, pool: Any, every: int, *, holds: bool = True) -> None:
        self.pool, self.turns, self.holds = pool, Turns(every), holds
        self.held: Any = None
        self.versions: set[str] = set()
        self._lock = asyncio.Lock()

    async def use(self) -> None:
        await self.pool.open()
        async with self._lock:
            if self.holds and self.held is None:
                self.held = await self.pool.getconn()
        async with self.pool.connection() as connection:
            assert await aworks(connection)
            if self.turns():
                await connection.close()
        if self.holds:
            async with self._lock:
                assert await aworks(self.held)


# Replacement


def test_idle_connections_are_replaced_before_anybody_asks(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        drained = threading.Event()

        class Told(ConnectionPool):
            def drain(self) -> None:
                super().drain()
                drained.set()

        with Told(account.secret_id, cache=account.cache, min_size=SIZE) as pool:
            pool.wait()
            account.rotate()
            assert drained.wait(30)
            with pool.connection() as connection:
                assert logged_in_with(connection) == account.version


def test_without_the_hook_none_that_was_overtaken_is_handed_out(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "psycopg.pool")
    monkeypatch.setattr(ConnectionPool, "_rotated", lambda *_: None)
    monkeypatch.setattr("psycopg_pool.pool.sleep", lambda _: pytest.fail("it sleeps"), raising=False)
    looked: list[str] = []
    with (
        of_postgres(postgres) as account,
        ConnectionPool(
            account.secret_id,
            cache=account.cache,
            min_size=SIZE,
            check=lambda connection: looked.append(logged_in_with(connection)),
        ) as pool,
    ):
        pool.wait()
        account.rotate()
        for _ in range(SIZE + 1):
            with pool.connection() as connection:
                assert logged_in_with(connection) == account.version
        found, *after = looked
    assert found != account.version, "the first to find one has all idle ones replaced"
    assert after == [account.version] * (SIZE + 1), "the check that was given is made, too"
    assert not caplog.records, "of no connection that was closed does the pool warn"


def test_nor_by_an_async_pool(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def nothing(*_: object) -> None:
        """In place of the hook."""

    monkeypatch.setattr(AsyncConnectionPool, "_rotated", nothing)
    monkeypatch.setattr("psycopg_pool.pool_async.asleep", lambda _: pytest.fail("it sleeps"), raising=False)
    looked: list[str] = []

    async def look(connection: Any) -> None:
        looked.append(logged_in_with(connection))

    async def follow(account: Rotating) -> None:
        options: dict[str, Any] = {"cache": account.cache, "min_size": SIZE, "open": False, "check": look}
        async with AsyncConnectionPool(account.secret_id, **options) as pool:
            await pool.wait()
            await asyncio.to_thread(account.rotate)
            for _ in range(SIZE + 1):
                async with pool.connection() as connection:
                    assert logged_in_with(connection) == account.version
        found, *after = looked
        assert found != account.version, "the first to find one has all idle ones replaced"
        assert after == [account.version] * (SIZE + 1)

    with of_postgres(postgres) as account, caplog.at_level(logging.WARNING, "psycopg.pool"):
        asyncio.run(follow(account))
    assert not caplog.records


def test_a_connection_that_bridged_a_window_is_not_due_at_once(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account, Load(lambda: None, workers=1) as probe:
        seen: list[tuple[bool, bool]] = []
        made: list[Any] = []

        def inside_the_window() -> None:
            made.append(connect(account.secret_id, cache=account.cache))

        kept = connect(account.secret_id, cache=account.cache)
        probe.went_on = inside_the_window  # type: ignore[method-assign,assignment] # called in each of its phases
        account.rotate(WHOLE, probe)
        seen = [(is_due(kept), is_due(one)) for one in made]
        assert seen == [(True, False)] * 3
        for one in [kept, *made]:
            one.close()


def test_one_whose_login_was_overtaken_is_due_at_once(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:

        class Slow(psycopg.Connection[Any]):
            @classmethod
            def connect(cls, *args: Any, **options: Any) -> Any:
                made = super().connect(*args, **options)
                account.rotate()
                return made

        with connection_class(account.secret_id, Slow, cache=account.cache).connect() as made:
            assert is_due(made)


def test_aconnect_bridges_a_window(postgres: EmbeddedPostgres) -> None:
    async def log_in(account: Rotating) -> bool:
        async with await aconnect(account.secret_id, cache=account.cache) as connection:
            return await aworks(connection)

    with of_postgres(postgres) as account, Load(lambda: None, workers=1) as probe:
        bridges = account.bridges()
        worked: list[bool] = []
        probe.went_on = lambda *_: worked.append(asyncio.run(log_in(account)))  # type: ignore[method-assign]
        account.rotate(WHOLE, probe)
        assert worked == [True] * 3
        assert set(bridges) == {"AWSPENDING"}


# Refused for good


def test_a_refusal_is_psycopgs_own_and_holds_no_password(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        password = account.passwords[account.version]
        postgres.set_password(account.user, "another")
        with pytest.raises(psycopg.OperationalError) as caught:
            connect(account.secret_id, cache=account.cache, bridge=QUICK)
        error = caught.value
        assert error.pgconn is not None
        assert account.version in getattr(error, "secretcache_tried", "")
        assert password not in repr(error) + str(error) + repr(error.pgconn)


def test_a_pool_that_cannot_log_in_says_why(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        postgres.set_password(account.user, "another")
        with (
            ConnectionPool(account.secret_id, cache=account.cache, min_size=1, bridge=QUICK) as pool,
            pytest.raises(psycopg_pool.PoolTimeout) as caught,
        ):
            pool.getconn(timeout=3)
        assert isinstance(caught.value.__cause__, psycopg.OperationalError)


def test_nor_does_it_hide_why_it_is_never_full(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        postgres.set_password(account.user, "another")
        with (
            ConnectionPool(account.secret_id, cache=account.cache, min_size=1, bridge=QUICK) as pool,
            pytest.raises(psycopg_pool.PoolTimeout) as caught,
        ):
            pool.wait(timeout=3)
        assert isinstance(caught.value.__cause__, psycopg.OperationalError)


def test_an_async_pool_that_cannot_log_in_says_why(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        postgres.set_password(account.user, "another")

        async def ask() -> BaseException:
            options: dict[str, Any] = {"cache": account.cache, "min_size": 1, "bridge": QUICK, "open": False}
            async with AsyncConnectionPool(account.secret_id, **options) as pool:
                with pytest.raises(psycopg_pool.PoolTimeout) as caught:
                    await pool.wait(timeout=3)
            return caught.value

        assert isinstance(asyncio.run(ask()).__cause__, psycopg.OperationalError)


# Where to


def test_what_conninfo_and_options_say_wins_over_the_secret(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        account.fields |= {"host": "nowhere.invalid", "dbname": "no_such"}
        account.cache.invalidate(account.secret_id)
        with connect(
            account.secret_id,
            "dbname=postgres application_name=it",
            cache=account.cache,
            host="127.0.0.1",
            autocommit=True,
        ) as connection:
            assert connection.autocommit
            assert connection.info.dbname == "postgres"
            assert connection.execute("SHOW application_name").fetchone() == ("it",)


def test_the_host_is_that_of_the_applications_region(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        account.fields["host"] = "nowhere.invalid"
        account.cache.invalidate(account.secret_id)
        where: dict[str, Any] = {"hosts": {"ap-northeast-3": "127.0.0.1"}, "app_region": "ap-northeast-3"}
        connect(account.secret_id, cache=account.cache, **where).close()


@pytest.mark.parametrize(("conninfo", "options"), [("user=me", {}), ("", {"password": "mine"})])
def test_the_account_is_the_secrets_alone(postgres: EmbeddedPostgres, conninfo: str, options: dict[str, Any]) -> None:
    with of_postgres(postgres) as account, pytest.raises(ConfigurationError, match="it comes from the secret"):
        connect(account.secret_id, conninfo, cache=account.cache, **options)


def test_classes_build_on_others(postgres: EmbeddedPostgres) -> None:
    class Mine(psycopg.Connection[Any]):
        mine = True

    class AlsoMine(psycopg.AsyncConnection[Any]):
        mine = True

    with of_postgres(postgres) as account:
        made = connection_class(account.secret_id, Mine, cache=account.cache).connect()
        assert made.mine
        assert type(made).__name__ == "Mine"
        made.close()

        async def log_in() -> bool:
            kind = async_connection_class(account.secret_id, AlsoMine, cache=account.cache)
            async with await kind.connect() as connection:
                return connection.mine and not is_due(connection)

        assert asyncio.run(log_in())
