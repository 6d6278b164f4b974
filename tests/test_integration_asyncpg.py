"""asyncpg against a real PostgreSQL: rotations under load, held connections, soft replacement."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from driver_rotation import Turns, of_postgres, rotate_under
from rotation_load import WHOLE, Load, Rotating
from secretcache import ConfigurationError
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache.integrations.asyncpg import Pool, connect, create_pool

SIZE = 3
QUICK = {"timeout": 1.0, "max_refusals": 3}


async def stock_connect(account: Rotating, **options: Any) -> Any:
    """AWSCURRENT alone, fresh for each login: what one writes without the bridge."""
    secret = await account.cache.aget(account.secret_id)
    names = {"host": "host", "port": "port", "database": "dbname", "user": "username", "password": "password"}
    return await asyncpg.connect(**options, **{name: secret[key] for name, key in names.items()})


class User:
    """Uses a pool, and one connection that it holds all the time."""

    def __init__(self, make: Any, every: int, *, holds: bool = True) -> None:
        self.make, self.turns, self.holds = make, Turns(every), holds
        self.pool: Any = None
        self.held: Any = None
        self.lock = asyncio.Lock()

    async def use(self) -> None:
        async with self.lock:
            if self.pool is None:
                self.pool = await self.make()
            if self.holds and self.held is None:
                self.held = await self.pool.acquire()
        if self.turns():
            await self.pool.expire_connections()  # so that logins go on in a warm pool
        async with self.pool.acquire() as connection:
            assert await connection.fetchval("SELECT 1") == 1
        if self.holds:
            async with self.lock:
                assert await self.held.fetchval("SELECT 1") == 1

    async def close(self) -> None:
        if self.held is not None:
            await self.pool.release(self.held)
        await self.pool.close()


async def pids(pool: Any) -> set[int]:
    """Which server processes the pool has, all of them taken at once."""
    taken = [await pool.acquire() for _ in range(pool.get_max_size())]
    found = {one.get_server_pid() for one in taken}
    for one in taken:
        await pool.release(one)
    return found


def make(account: Rotating, **options: Any) -> Pool:
    return create_pool(account.secret_id, cache=account.cache, min_size=SIZE, max_size=SIZE, **options)


def test_a_pool_outlives_rotations(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:

        async def ours() -> Any:
            return await make(account)

        async def stock() -> Any:
            async def log_in(*_: object, **options: Any) -> Any:
                return await stock_connect(account, **options)

            return await asyncpg.create_pool(connect=log_in, min_size=1, max_size=2)

        user, stock_user = User(ours, 2), User(stock, 2, holds=False)
        rotate_under(
            account,
            Load(user.use, workers=2, ended=user.close),
            Load(stock_user.use, workers=2, ended=stock_user.close),
            asyncpg.InvalidPasswordError,
        )


def test_connect_bridges_a_window(postgres: EmbeddedPostgres) -> None:
    async def log_in(account: Rotating) -> bool:
        connection = await connect(account.secret_id, cache=account.cache)
        try:
            return bool(await connection.fetchval("SELECT true"))
        finally:
            await connection.close()

    with of_postgres(postgres) as account, Load(lambda: None, workers=1) as probe:
        bridges = account.bridges()
        worked: list[bool] = []
        probe.went_on = lambda *_: worked.append(asyncio.run(log_in(account)))  # type: ignore[method-assign]
        account.rotate(WHOLE, probe)
        assert worked == [True] * 3
        assert set(bridges) == {"AWSPENDING"}


@pytest.mark.parametrize("rotated", ["by the hook", "by nobody"])
def test_none_that_was_overtaken_is_handed_out(
    postgres: EmbeddedPostgres, rotated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired = asyncio.Event()

    async def hook(self: Pool, _: object) -> None:
        if rotated == "by the hook":
            self._expire()
        expired.set()

    monkeypatch.setattr(Pool, "_rotated", hook)

    async def follow(account: Rotating) -> None:
        async with make(account) as pool:
            before = await pids(pool)
            async with pool.acquire() as held:
                await asyncio.to_thread(account.rotate)
                await asyncio.wait_for(expired.wait(), 30)
                async with pool.acquire() as other:
                    assert other.get_server_pid() not in before
                assert await held.fetchval("SELECT 1") == 1
            after = await pids(pool)
            assert len(before) == len(after) == SIZE
            assert not before & after
            assert await pids(pool) == after, "and those are kept"

    with of_postgres(postgres) as account:
        asyncio.run(follow(account))


def test_one_in_use_is_closed_when_it_comes_back(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    expired, expire = asyncio.Event(), Pool._expire

    def expire_and_tell(self: Pool) -> None:
        expire(self)
        expired.set()

    monkeypatch.setattr(Pool, "_expire", expire_and_tell)

    async def hold(account: Rotating) -> None:
        async with make(account) as pool:
            async with pool.acquire() as held:
                await asyncio.to_thread(account.rotate)
                await asyncio.wait_for(expired.wait(), 30)
                assert await held.fetchval("SELECT 1") == 1
                size = pool.get_size()
            assert pool.get_size() == size - 1

    with of_postgres(postgres) as account:
        asyncio.run(hold(account))


def test_a_connection_that_bridged_a_window_is_not_replaced_at_once(postgres: EmbeddedPostgres) -> None:
    async def bridge(account: Rotating) -> None:
        await asyncio.to_thread(account.cache.get, account.secret_id)
        account.change_password("pending")
        for stages in account.shown.values():
            stages["AWSPENDING"] = "pending"
        async with make(account) as pool:
            before = await pids(pool)
            assert await pids(pool) == before

    with of_postgres(postgres) as account:
        account.passwords["pending"] = "pw-pending"
        bridges = account.bridges()
        asyncio.run(bridge(account))
        assert bridges == ["AWSPENDING"] * SIZE


def test_a_refusal_is_asyncpgs_own(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        password = account.passwords[account.version]
        postgres.set_password(account.user, "another")
        with pytest.raises(asyncpg.InvalidPasswordError) as caught:
            asyncio.run(_connect(account, bridge=QUICK))
        assert account.version in getattr(caught.value, "secretcache_tried", "")
        assert password not in repr(caught.value)


def test_what_options_say_wins_over_the_secret(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        account.fields |= {"host": "nowhere.invalid", "dbname": "no_such"}
        account.cache.invalidate(account.secret_id)
        asyncio.run(_connect(account, host="127.0.0.1", database="postgres"))


@pytest.mark.parametrize("name", ["dsn", "user", "password"])
def test_the_account_is_the_secrets_alone(postgres: EmbeddedPostgres, name: str) -> None:
    with of_postgres(postgres) as account:
        with pytest.raises(ConfigurationError, match=f"{name} must not be given"):
            asyncio.run(_connect(account, **{name: "mine"}))
        with pytest.raises(ConfigurationError, match=f"{name} must not be given"):
            make(account, **{name: "mine"})


async def _connect(account: Rotating, **options: Any) -> None:
    await (await connect(account.secret_id, cache=account.cache, **options)).close()
