"""asyncpg with a secret: `await connect("prod/db")`, and `async with create_pool("prod/db") as pool: ...`.

Both log in also while the secret's rotation is under way. In a pool, connections are replaced softly: after a rotation
an idle one when it is next acquired, one in use when it is released.

asyncpg's default `ssl="prefer"` logs in twice per attempt on a server with TLS, and so counts every refusal twice: say
`ssl="verify-full"`.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from secretcache.integrations._account import Account, placed, taken
from secretcache.integrations._auth_errors import LOCKS_NO_ACCOUNTS, asyncpg_refused
from secretcache.integrations._find import cache_or_default
from secretcache.integrations._words import Words

try:
    import asyncpg
except ImportError as error:
    raise ImportError('secretcache.integrations.asyncpg needs asyncpg: pip install "secretcache[asyncpg]"') from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg.pool import PoolAcquireContext

    from secretcache._cache import SecretCache
    from secretcache._hooks import RotationEvent
    from secretcache.integrations._credentials import Credentials
    from secretcache.integrations._stamps import Stamp

__all__ = ["Pool", "connect", "create_pool"]

_PLACES = {"host": "host", "port": "port", "database": "dbname"}
_DEFAULT_PORT = 5432
_ACCOUNT = {"user": "username", "password": "password"}
# No `service`: asyncpg passes over one that it does not find, and takes this machine.
_WORDS = Words({ours: theirs for theirs, ours in _PLACES.items()}, "the options", lists=True)


async def connect(
    secret_id: str,
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
    **options: Any,
) -> asyncpg.Connection[Any]:
    """A new connection, logged in with the secret.

    Args:
        secret_id: the secret's name or ARN; its keys `username` and `password`, and `host`, `port` and `dbname` unless
            `options` say them. Several hosts and ports are sequences, as for asyncpg, or `"a,b"` and `"1,2"`.
        cache: the cache, or the dotted path of one; the process's `default_cache()` unless told otherwise.
        hosts: the database's host by the region that the application runs in, for read replicas.
        app_region: the region that the application runs in, if the environment does not tell.
        bridge: options of `SecretCache.connect`, such as `timeout`. Since PostgreSQL locks no accounts as it comes,
            `max_refusals` is None and `retry_refused_after` 5 s here: behind a proxy or with a module that locks
            accounts, pass `{"max_refusals": 4, "retry_refused_after": None}`.
        **options: asyncpg's own, without `dsn`, `user` and `password`.

    Raises:
        asyncpg.PostgresError: as `asyncpg.connect`; also if no version of the secret was accepted.
        SecretCacheError: as `SecretCache.aconnect`.
        SecretFormatError: neither the secret nor `options` name a host.
        ConfigurationError: an option gives what the secret is there to give.
    """
    connection, _ = await _log_in(_account(secret_id, cache, hosts, app_region, bridge), options)
    return connection


class Pool(asyncpg.Pool):  # type: ignore[misc]
    """asyncpg's own pool, whose connections log in with a secret. Made by `create_pool`."""

    def __init__(self, account: Account, **options: Any) -> None:
        self._account = account
        self._stamps: set[Stamp] = set()
        self._hooked = False
        super().__init__(**{**_defaults(), **options, "connect": self._log_in})

    def acquire(self, *, timeout: float | None = None) -> PoolAcquireContext[Any]:
        """A connection, as in asyncpg."""
        if any(self._account.is_due(stamp) for stamp in self._stamps):
            self._expire()
        return super().acquire(timeout=timeout)

    async def _log_in(self, **options: Any) -> asyncpg.Connection[Any]:
        if not self._hooked:
            self._hooked = True
            # A method is held weakly: the hook goes with the pool. It keeps the secret fresh, too.
            cache_or_default(self._account.cache).add_rotation_hook(self._account.secret_id, self._rotated)
        connection, stamp = await _log_in(self._account, options)
        self._stamps.add(stamp)
        return connection

    async def _rotated(self, _: RotationEvent) -> None:
        self._expire()

    def _expire(self) -> None:
        # asyncpg does not tell which connection is which: all are replaced. Its method awaits nothing.
        self._stamps.clear()
        with suppress(StopIteration):
            self.expire_connections().send(None)


def create_pool(
    secret_id: str,
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
    **options: Any,
) -> Pool:
    """A pool, to be used like that of `asyncpg.create_pool`: in `async with`, or awaited.

    Args:
        secret_id: as for `connect`; so are the others.
        cache: as for `connect`.
        hosts: as for `connect`.
        app_region: as for `connect`.
        bridge: as for `connect`.
        **options: as for `asyncpg.create_pool`, without `dsn`, `user`, `password` and `connect`.
    """
    taken(options, {}, ("connect", "dsn", *_ACCOUNT))
    return Pool(_account(secret_id, cache, hosts, app_region, bridge), **options)


def _account(
    secret_id: str,
    cache: SecretCache | str | None,
    hosts: Mapping[str, str] | None,
    app_region: str | None,
    bridge: Mapping[str, Any] | None,
) -> Account:
    bridging = {**LOCKS_NO_ACCOUNTS, **(bridge or {})}
    return Account(secret_id, asyncpg_refused, cache, hosts, app_region, bridging, words=_WORDS)


async def _log_in(account: Account, options: dict[str, Any]) -> tuple[asyncpg.Connection[Any], Stamp]:
    given = dict(options)
    overrides = taken(given, _PLACES, ("dsn", *_ACCOUNT))

    async def log_in(credentials: Credentials) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(**given, **_listed(placed(credentials, {**_PLACES, **_ACCOUNT})))

    return await account.alog_in(log_in, overrides)


def _listed(options: dict[str, Any]) -> dict[str, Any]:
    """Several hosts, and several ports, as asyncpg takes them. It has no word for a default port in between."""
    if "," in str(options.get("host", "")):
        options["host"] = options["host"].split(",")
    if isinstance(options.get("port"), str):
        options["port"] = [int(port or _DEFAULT_PORT) for port in options["port"].split(",")]
    return options


def _defaults() -> dict[str, Any]:
    """What `asyncpg.create_pool` gives its pool unless told otherwise."""
    parameters = inspect.signature(asyncpg.create_pool).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
