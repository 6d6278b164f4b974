"""redis-py with a secret: `client("prod/redis")`, and for asyncio `async_client("prod/redis")`.

Both log in also while the secret's rotation is under way: with `AUTH username password` (ACL), or as Redis's `default`
user where the secret has no `username`. A rotation that gives the user two passwords for a while, which Redis can, has
no window in which AWSCURRENT is wrong; one that replaces the only password has, and is bridged.

Connections are replaced softly: after a rotation the idle ones are closed, and none that logged in with a version
overtaken is taken from the pool. One in use goes on, and so does a subscription.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from secretcache.integrations._account import Account, taken
from secretcache.integrations._auth_errors import LOCKS_NO_ACCOUNTS, redis_refused
from secretcache.integrations._find import cache_or_default
from secretcache.integrations._words import Words

try:
    import redis
    import redis.asyncio
    from redis.exceptions import AuthenticationError
except ImportError as error:
    raise ImportError('secretcache.integrations.redis needs redis: pip install "secretcache[redis]"') from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from secretcache._cache import SecretCache
    from secretcache._hooks import RotationEvent
    from secretcache.integrations._credentials import Credentials
    from secretcache.integrations._stamps import Stamp

__all__ = ["async_client", "async_connection_class", "client", "connection_class"]

_T = TypeVar("_T")
_SECRET = ("username", "password", "credential_provider")
_DEFAULT_PORT = 6379
_WORDS = Words({"host": "host", "port": "port"}, "the options", ("unix_socket_path",))


def client(
    secret_id: str,
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
    **options: Any,
) -> redis.Redis:
    """A client with a pool of its own, which it closes.

    Args:
        secret_id: the secret's name or ARN; its key `password`, and `username`, `host` and `port` as far as it has
            them and `options` do not.
        cache: the cache, or the dotted path of one; the process's `default_cache()` unless told otherwise.
        hosts: the server's host by the region that the application runs in.
        app_region: the region that the application runs in, if the environment does not tell.
        bridge: options of `SecretCache.connect`, such as `timeout`. Since Redis locks no accounts, `max_refusals` is
            None and `retry_refused_after` 5 s here.
        **options: those of `redis.Redis`, without `username`, `password` and `credential_provider`.

    Returns:
        What `redis.Redis(**options)` returns. A command for which no login succeeds raises AuthenticationError, without
        the retries that redis-py has for the network, or an error of `SecretCache.connect`; SecretFormatError where
        neither the secret nor `options` name a host or a socket.

    Raises:
        ConfigurationError: an option gives what the secret is there to give.
    """
    account = _account(secret_id, cache, hosts, app_region, bridge)
    made = redis.Redis(**_checked(options))
    pool: Any = made.connection_pool
    pool.connection_class = _following(pool.connection_class, account)
    _follow(pool, options, account, _Idle(pool).close)
    return made


def async_client(
    secret_id: str,
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
    **options: Any,
) -> redis.asyncio.Redis:
    """`client` for asyncio, like `redis.asyncio.Redis(**options)`. To be made within a running event loop."""
    account = _account(secret_id, cache, hosts, app_region, bridge)
    made = redis.asyncio.Redis(**_checked(options))
    pool: Any = made.connection_pool
    pool.connection_class = _following_async(pool.connection_class, account)
    _follow(pool, options, account, _Idle(pool).aclose)
    return made


def connection_class(  # noqa: PLR0913 - as client
    secret_id: str,
    base: type[_T] = redis.Connection,  # type: ignore[assignment]
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
) -> type[_T]:
    """A class of connections for a pool of one's own: `BlockingConnectionPool(connection_class=...)`.

    Args:
        secret_id: as for `client`; so are the others.
        base: the class to build on, such as `redis.SSLConnection`.
        cache: as for `client`.
        hosts: as for `client`.
        app_region: as for `client`.
        bridge: as for `client`.
    """
    made: type[_T] = _following(base, _account(secret_id, cache, hosts, app_region, bridge))
    return made


def async_connection_class(  # noqa: PLR0913 - as client
    secret_id: str,
    base: type[_T] = redis.asyncio.Connection,  # type: ignore[assignment]
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
) -> type[_T]:
    """`connection_class` for asyncio."""
    made: type[_T] = _following_async(base, _account(secret_id, cache, hosts, app_region, bridge))
    return made


class _Following:
    """What a connection of either kind knows besides. It is connected as long as it has a stamp."""

    account: Account
    secretcache_stamp: Stamp | None = None
    refusal: Exception | None = None
    holding = False
    subscribers = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        _checked(options)
        self.overrides: dict[str, Any] = {name: options[name] for name in ("host", "port") if options.get(name)}
        # A socket; or a connection that Redis Sentinel sends to the master of the moment.
        self.elsewhere = bool(options.get("path")) or "connection_pool" in options
        super().__init__(*args, **options)

    def register_connect_callback(self, callback: Any) -> None:
        """Somebody subscribes, and asks for connect() at each message."""
        self.subscribers += 1
        super().register_connect_callback(callback)  # type: ignore[misc]

    def deregister_connect_callback(self, callback: Any) -> None:
        self.subscribers = max(0, self.subscribers - 1)
        super().deregister_connect_callback(callback)  # type: ignore[misc]

    @property
    def is_due(self) -> bool:
        return self.subscribers == 0 and self.account.is_due(self.secretcache_stamp)

    @contextmanager
    def logging_in(self: Any, credentials: Credentials) -> Iterator[None]:
        """With these credentials, which are not kept."""
        # Both each time: what the last login's secret said is not kept.
        if not self.elsewhere and "host" not in self.overrides:
            self.host = credentials.host
        if not self.elsewhere and "port" not in self.overrides:
            self.port = credentials.port or _DEFAULT_PORT
        self.username, self.password = credentials.username, credentials.password
        try:
            yield
        finally:
            self.username = self.password = None

    @contextmanager
    def unretried(self) -> Iterator[None]:
        """redis-py takes a refused login for a failure of the network, and makes ten of one."""
        self.refusal, self.holding = None, True
        try:
            yield
        finally:
            self.holding = False
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise refusal

    @contextmanager
    def refused(self) -> Iterator[None]:
        try:
            yield
        except AuthenticationError as error:
            if not self.holding:
                raise
            self.refusal = error


def _following(base: Any, account: Account) -> Any:
    class Following(_Following, base):  # type: ignore[misc]
        def connect(self) -> None:
            if self.is_due:
                self.disconnect()
            with self.unretried():
                super().connect()

        def disconnect(self, *args: Any, **options: Any) -> None:
            self.secretcache_stamp = None
            super().disconnect(*args, **options)

        def connect_check_health(self, *args: Any, **options: Any) -> None:
            connect = super().connect_check_health

            def log_in(credentials: Credentials) -> None:
                with self.logging_in(credentials):
                    connect(*args, **options)

            if self.secretcache_stamp is None:
                with self.refused():
                    _, self.secretcache_stamp = account.log_in(log_in, self.overrides, elsewhere=self.elsewhere)

    return _named(Following, base, account)


def _following_async(base: Any, account: Account) -> Any:
    class Following(_Following, base):  # type: ignore[misc]
        async def connect(self) -> None:
            if self.is_due:
                await self.disconnect()
            with self.unretried():
                await super().connect()

        async def disconnect(self, *args: Any, **options: Any) -> None:
            self.secretcache_stamp = None
            await super().disconnect(*args, **options)

        async def connect_check_health(self, *args: Any, **options: Any) -> None:
            connect = super().connect_check_health

            async def log_in(credentials: Credentials) -> None:
                with self.logging_in(credentials):
                    await connect(*args, **options)

            if self.secretcache_stamp is None:
                with self.refused():
                    _, self.secretcache_stamp = await account.alog_in(log_in, self.overrides, elsewhere=self.elsewhere)

    return _named(Following, base, account)


class _Idle:
    """The idle connections of a pool, to be closed after a rotation."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def close(self, _: RotationEvent) -> None:
        self._pool.disconnect(inuse_connections=False)

    async def aclose(self, _: RotationEvent) -> None:
        await self._pool.disconnect(inuse_connections=False)


def _follow(pool: Any, options: Mapping[str, Any], account: Account, rotated: Any) -> None:
    for name in {"host", "port"} - options.keys():
        pool.connection_kwargs.pop(name, None)  # redis-py's own guess: the secret may know better
    # A method is held weakly: the hook goes with the pool. It keeps the secret fresh, too.
    pool.secretcache_idle = rotated.__self__
    cache_or_default(account.cache).add_rotation_hook(account.secret_id, rotated)


def following(  # noqa: PLR0913 - as connection_class
    secret_id: str,
    base: type[Any],
    words: Words,
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
) -> type[Any]:
    """`connection_class` for a framework, whose readers write the place in words of their own."""
    made: type[Any] = _following(base, _account(secret_id, cache, hosts, app_region, bridge, words))
    return made


def _account(  # noqa: PLR0913, PLR0917 - as client
    secret_id: str,
    cache: SecretCache | str | None,
    hosts: Mapping[str, str] | None,
    app_region: str | None,
    bridge: Mapping[str, Any] | None,
    words: Words = _WORDS,
) -> Account:
    bridging = {**LOCKS_NO_ACCOUNTS, **(bridge or {})}
    return Account(
        secret_id, redis_refused, cache, hosts, app_region, bridging, default_username="default", words=words
    )


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    taken({name: value for name, value in options.items() if value is not None}, {}, _SECRET)
    return options


def _named(made: Any, base: Any, account: Account) -> Any:
    made.__name__ = made.__qualname__ = base.__name__
    made.account = account
    return made
