"""redis-py against a real Redis: ACL users whose only password rotates under load, and such as have two for a while."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio

from driver_rotation import rotate_under
from rotation_load import WHOLE, Load, Rotating
from secretcache import ConfigurationError, SecretCache
from secretcache._demo.private import HOST
from secretcache.integrations.redis import async_client, async_connection_class, client, connection_class
from secretcache.testing import FakeSecretsManager
from servers import Redis
from support import InThread

SIZE = 3
QUICK = {"timeout": 1.0, "max_refusals": 3}


@contextmanager
def of_redis(server: Redis) -> Iterator[Rotating]:
    with Rotating(server.create_user, server.set_password, host=HOST, port=server.port) as account:
        yield account


def logged_in_with(connection: Any) -> str:
    return str(connection.secretcache_stamp.logged_in_with)


class StockProvider(redis.CredentialProvider):
    """AWSCURRENT alone, fresh for each login: what one writes without the bridge."""

    def __init__(self, account: Rotating) -> None:
        self._account = account

    def get_credentials(self) -> tuple[str, str]:
        secret = self._account.cache.get(self._account.secret_id)
        return secret["username"], secret["password"]


def stock_client(account: Rotating, kind: Any, retry: Any) -> Any:
    fields = account.fields
    provider = StockProvider(account)
    return kind(host=fields["host"], port=fields["port"], credential_provider=provider, retry=retry)


# Rotations under load


def test_a_client_outlives_rotations(redis_server: Redis) -> None:
    with (
        of_redis(redis_server) as account,
        client(account.secret_id, cache=account.cache) as ours,
        stock_client(account, redis.Redis, redis.retry.Retry(redis.backoff.NoBackoff(), 0)) as stock,
        ours.pubsub() as subscription,
    ):
        subscription.subscribe("news")
        held, lock = ours.connection_pool.get_connection(), threading.Lock()

        def use() -> None:
            ours.connection_pool.disconnect(inuse_connections=False)  # so that logins go on in a warm pool
            assert ours.ping()
            with lock:
                held.send_command("PING")
                assert held.read_response() in {b"PONG", True}, "a held connection is undisturbed"

        def use_stock() -> None:
            stock.connection_pool.disconnect(inuse_connections=False)
            stock.ping()

        first = logged_in_with(held)
        rotate_under(account, Load(use, workers=2), Load(use_stock, workers=2), redis.AuthenticationError)
        assert logged_in_with(held) == first
        ours.connection_pool.release(held)
        assert held.is_due
        taken = [ours.connection_pool.get_connection() for _ in range(SIZE)]
        assert {logged_in_with(one) for one in taken} == {account.version}
        for one in taken:
            ours.connection_pool.release(one)
        ours.publish("news", "it goes on")
        assert InThread(lambda: heard(subscription)).result() == "it goes on"


def heard(subscription: Any) -> str:
    """What a subscription hears next. It asks for connect() before each message, and must not be cut by that."""
    return str(next(message["data"].decode() for message in subscription.listen() if message["type"] == "message"))


class AsyncUser:
    """Uses a client, and one connection of it that it holds all the time."""

    def __init__(self, make: Any, *, holds: bool = True) -> None:
        self.make, self.holds = make, holds
        self.client: Any = None
        self.held: Any = None
        self.versions: set[str] = set()
        self.lock = asyncio.Lock()

    async def use(self) -> None:
        self.client = self.client or self.make()
        pool = self.client.connection_pool
        async with self.lock:
            if self.holds and self.held is None:
                self.held = await pool.get_connection()
            await pool.disconnect(inuse_connections=False)
        assert await self.client.ping()
        if self.holds:
            async with self.lock:
                await self.held.send_command("PING")
                assert await self.held.read_response() in {b"PONG", True}

    async def close(self) -> None:
        if self.held is not None:
            pool = self.client.connection_pool
            await pool.release(self.held)
            taken = [await pool.get_connection() for _ in range(SIZE)]
            self.versions = {logged_in_with(one) for one in taken}
            for one in taken:
                await pool.release(one)
        await self.client.aclose()


def test_an_async_client_outlives_rotations(redis_server: Redis) -> None:
    with of_redis(redis_server) as account:
        never = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
        user = AsyncUser(lambda: async_client(account.secret_id, cache=account.cache))
        stock = AsyncUser(lambda: stock_client(account, redis.asyncio.Redis, never), holds=False)
        rotate_under(
            account,
            Load(user.use, workers=2, ended=user.close),
            Load(stock.use, workers=2, ended=stock.close),
            redis.AuthenticationError,
        )
        assert user.versions == {account.version}


def test_with_two_passwords_for_a_while_no_login_is_refused(redis_server: Redis) -> None:
    """As ElastiCache and MemoryDB rotate: the new password is added, and the old one goes when AWSCURRENT has moved."""
    with Rotating(redis_server.create_user, redis_server.add_password, host=HOST, port=redis_server.port) as account:
        bridges = account.bridges()
        with client(account.secret_id, cache=account.cache) as ours:

            def use() -> None:
                ours.connection_pool.disconnect(inuse_connections=False)
                assert ours.ping()

            with Load(use, workers=2) as load:
                account.rotate(WHOLE, load)
                redis_server.set_password(account.user, account.passwords[account.version])
                load.went_on()
        assert (load.errors, bridges, redis_server.refused_logins(account.user)) == ([], [], 0)


# Replacement


def test_without_the_hook_none_that_was_overtaken_is_handed_out(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secretcache.integrations.redis._Idle.close", lambda *_: None)
    with of_redis(redis_server) as account, client(account.secret_id, cache=account.cache) as ours:
        pool = ours.connection_pool
        for one in [pool.get_connection() for _ in range(SIZE)]:
            pool.release(one)
        account.rotate()
        again = [pool.get_connection() for _ in range(SIZE)]
        assert {logged_in_with(one) for one in again} == {account.version}
        for one in again:
            pool.release(one)


def test_idle_connections_are_closed_before_anybody_asks(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, stock, pools = threading.Event(), redis.ConnectionPool.disconnect, set[int]()

    def disconnect(self: Any, **options: Any) -> None:
        stock(self, **options)
        if id(self) in pools:  # others are closed when they are collected
            closed.set()

    with of_redis(redis_server) as account, client(account.secret_id, cache=account.cache) as ours:
        idle, held = [ours.connection_pool.get_connection() for _ in range(2)]
        ours.connection_pool.release(idle)
        pools.add(id(ours.connection_pool))
        with monkeypatch.context() as patch:  # taken back while the client is alive: its end calls what is patched
            patch.setattr(redis.ConnectionPool, "disconnect", disconnect)
            account.rotate()
            assert closed.wait(30)
        assert (idle.is_connected, held.is_connected) == (False, True)
        ours.connection_pool.release(held)


def test_classes_for_pools_of_ones_own(redis_server: Redis) -> None:
    async def ping(account: Rotating) -> bool:
        kind: Any = async_connection_class(account.secret_id, cache=account.cache)
        async with redis.asyncio.Redis.from_pool(redis.asyncio.BlockingConnectionPool(connection_class=kind)) as ours:
            return bool(await ours.ping())

    with of_redis(redis_server) as account:
        kind: Any = connection_class(account.secret_id, cache=account.cache)
        assert kind.__name__ == "Connection"
        url = f"redis://{HOST}:{redis_server.port}/1"
        with closing(redis.BlockingConnectionPool.from_url(url, connection_class=kind)) as pool:
            assert redis.Redis(connection_pool=pool).ping()
        assert asyncio.run(ping(account))


# Refused for good


def test_a_refusal_is_rediss_own_and_is_not_repeated(redis_server: Redis) -> None:
    with of_redis(redis_server) as account, client(account.secret_id, cache=account.cache, bridge=QUICK) as ours:
        password = account.passwords[account.version]
        redis_server.set_password(account.user, "another")
        with pytest.raises(redis.AuthenticationError) as caught:
            ours.ping()
        assert account.version in getattr(caught.value, "secretcache_tried", "")
        assert password not in repr(caught.value) + repr(ours) + str(ours.connection_pool.connection_kwargs)
        assert redis_server.refused_logins(account.user) == 1


def test_an_async_refusal_is_not_repeated_either(redis_server: Redis) -> None:
    async def ping(account: Rotating) -> None:
        async with async_client(account.secret_id, cache=account.cache, bridge=QUICK) as ours:
            with pytest.raises(redis.AuthenticationError):
                await ours.ping()

    with of_redis(redis_server) as account:
        redis_server.set_password(account.user, "another")
        asyncio.run(ping(account))
        assert redis_server.refused_logins(account.user) == 1


# As whom, and where to


def test_without_a_username_it_is_the_default_user(
    redis_server: Redis, fake_secrets_manager: FakeSecretsManager, secret_cache: SecretCache
) -> None:
    fake_secrets_manager.put("prod/redis", {"password": redis_server._password})
    with client("prod/redis", cache=secret_cache, host=HOST, port=redis_server.port, decode_responses=True) as ours:
        assert ours.execute_command("ACL WHOAMI") == "default"


def test_what_options_say_wins_over_the_secret(redis_server: Redis) -> None:
    with of_redis(redis_server) as account:
        account.fields |= {"host": "nowhere.invalid", "port": 1}
        account.cache.invalidate(account.secret_id)
        with client(account.secret_id, cache=account.cache, host=HOST, port=redis_server.port) as ours:
            assert ours.ping()


def test_with_resp3_it_logs_in_by_hello(redis_server: Redis) -> None:
    with of_redis(redis_server) as account, client(account.secret_id, cache=account.cache, protocol=3) as ours:
        assert ours.ping()


@pytest.mark.parametrize("name", ["username", "password", "credential_provider"])
@pytest.mark.parametrize("make", [client, async_client])
def test_the_account_is_the_secrets_alone(make: Any, name: str, secret_cache: SecretCache) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must not be given"):
        make("prod/redis", cache=secret_cache, **{name: "mine"})
