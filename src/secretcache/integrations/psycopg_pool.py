"""psycopg_pool with a secret: `with ConnectionPool("prod/db") as pool, pool.connection() as connection: ...`.

Connections log in also while the secret's rotation is under way, and are replaced softly: after a rotation the idle
ones are closed and made anew in the background, one in use when it comes back. None that logged in with a version
overtaken is handed out.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

from secretcache.integrations._find import cache_or_default

try:
    import psycopg
    import psycopg_pool

    from secretcache.integrations.psycopg import account_of, following, following_async, is_due
except ImportError as error:
    raise ImportError(
        'secretcache.integrations.psycopg_pool needs psycopg and psycopg_pool: pip install "secretcache[psycopg]"'
    ) from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretcache._cache import SecretCache
    from secretcache._hooks import RotationEvent

__all__ = ["AsyncConnectionPool", "ConnectionPool"]


class ConnectionPool(psycopg_pool.ConnectionPool["psycopg.Connection[Any]"]):
    """psycopg_pool's own, whose connections log in with a secret.

    Args:
        secret_id: the secret's name or ARN; its keys `username` and `password`, and `host`, `port` and `dbname` unless
            `conninfo` or `kwargs` say them.
        conninfo: as for psycopg_pool, without `user` and `password`; so are `kwargs`.
        cache: the cache, or the dotted path of one; the process's `default_cache()` unless told otherwise.
        hosts: the database's host by the region that the application runs in, for read replicas.
        app_region: the region that the application runs in, if the environment does not tell.
        bridge: as for `secretcache.integrations.psycopg.connect`.
        connection_class: the class of connections to build on.
        **options: psycopg_pool's own. After a `check` that fails it sleeps for a second before it tries the next one.

    `PoolTimeout` has the last login's own error as its `__cause__`, if that failed.
    """

    def __init__(  # noqa: PLR0913 - as the class it builds on
        self,
        secret_id: str,
        conninfo: Any = "",
        *,
        cache: SecretCache | str | None = None,
        hosts: Mapping[str, str] | None = None,
        app_region: str | None = None,
        bridge: Mapping[str, Any] | None = None,
        connection_class: type[psycopg.Connection[Any]] = psycopg.Connection,
        **options: Any,
    ) -> None:
        self._account = account_of(secret_id, cache, hosts, app_region, bridge)
        self._drains = _Drains()
        made = following(connection_class, self._account)
        # A method is held weakly: the hook goes with the pool. It keeps the secret fresh, too.
        cache_or_default(cache).add_rotation_hook(secret_id, self._rotated)
        super().__init__(conninfo, connection_class=made, **options)

    def getconn(self, timeout: float | None = None) -> psycopg.Connection[Any]:
        """A connection, as in psycopg_pool."""
        deadline = monotonic() + (self.timeout if timeout is None else timeout)
        try:
            connection = super().getconn(timeout)
            # Not in a `check` of the pool: after one that fails it sleeps for a second.
            while is_due(connection):
                self._retire(connection)
                connection = super().getconn(deadline - monotonic())
        except psycopg_pool.PoolTimeout as error:
            raise error from _why(self)
        return connection

    def wait(self, timeout: float = 30.0) -> None:
        """Waits until the pool is full, as in psycopg_pool."""
        try:
            super().wait(timeout)
        except psycopg_pool.PoolTimeout as error:
            raise error from _why(self)

    def _rotated(self, event: RotationEvent) -> None:
        if self._drains.first(event.new.version_id):
            self.drain()

    def _retire(self, connection: psycopg.Connection[Any]) -> None:
        if self._drains.first(_current(self)):
            self.drain()  # one look for all: the next attempt finds none that is due
        # The pool's own mark, by which it replaces this one: of a closed one it would warn.
        connection._expire_at = 0.0  # noqa: SLF001
        self.putconn(connection)


class AsyncConnectionPool(psycopg_pool.AsyncConnectionPool["psycopg.AsyncConnection[Any]"]):
    """`ConnectionPool` for asyncio."""

    def __init__(  # noqa: PLR0913 - as the class it builds on
        self,
        secret_id: str,
        conninfo: Any = "",
        *,
        cache: SecretCache | str | None = None,
        hosts: Mapping[str, str] | None = None,
        app_region: str | None = None,
        bridge: Mapping[str, Any] | None = None,
        connection_class: type[psycopg.AsyncConnection[Any]] = psycopg.AsyncConnection,
        **options: Any,
    ) -> None:
        self._account = account_of(secret_id, cache, hosts, app_region, bridge)
        self._drains = _Drains()
        made = following_async(connection_class, self._account)
        super().__init__(conninfo, connection_class=made, **options)

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:  # noqa: FBT001, FBT002 - its own
        """Opens the pool, as in psycopg_pool."""
        if self._drains.first_open():
            account = self._account
            cache_or_default(account.cache).add_rotation_hook(account.secret_id, self._rotated)
        await super().open(wait, timeout)

    async def getconn(self, timeout: float | None = None) -> psycopg.AsyncConnection[Any]:
        """A connection, as in psycopg_pool."""
        deadline = monotonic() + (self.timeout if timeout is None else timeout)
        try:
            connection = await super().getconn(timeout)
            # Not in a `check` of the pool: after one that fails it sleeps for a second.
            while is_due(connection):
                await self._retire(connection)
                connection = await super().getconn(deadline - monotonic())
        except psycopg_pool.PoolTimeout as error:
            raise error from _why(self)
        return connection

    async def wait(self, timeout: float = 30.0) -> None:
        """Waits until the pool is full, as in psycopg_pool."""
        try:
            await super().wait(timeout)
        except psycopg_pool.PoolTimeout as error:
            raise error from _why(self)

    async def _rotated(self, event: RotationEvent) -> None:
        if self._drains.first(event.new.version_id):
            await self.drain()

    async def _retire(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if self._drains.first(_current(self)):
            await self.drain()  # one look for all: the next attempt finds none that is due
        # The pool's own mark, by which it replaces this one: of a closed one it would warn.
        connection._expire_at = 0.0  # noqa: SLF001
        await self.putconn(connection)


class _Drains:
    """For which version a pool was drained: once for each move of AWSCURRENT is enough."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version: str | None = None
        self._opened = False

    def first(self, version: str | None) -> bool:
        with self._lock:
            before, self._version = self._version, version
        return before != version

    def first_open(self) -> bool:
        before, self._opened = self._opened, True
        return not before


def _current(pool: ConnectionPool | AsyncConnectionPool) -> str | None:
    account = pool._account  # noqa: SLF001
    return cache_or_default(account.cache)._held_version(account.secret_id)  # noqa: SLF001


def _why(pool: ConnectionPool | AsyncConnectionPool) -> Exception | None:
    kind: Any = pool.connection_class
    error: Exception | None = kind.secretcache_error
    return error and error.with_traceback(None)
