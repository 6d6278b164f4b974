"""psycopg with a secret: `connect("prod/db")` logs in, also while the secret's rotation is under way.

For pools: `secretcache.integrations.psycopg_pool`.

libpq's default `sslmode=prefer` logs in twice per attempt on a server with TLS, and so counts every refusal twice: say
`sslmode="verify-full"`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from secretcache._errors import LoginNotTriedError
from secretcache.integrations._account import Account, placed, taken
from secretcache.integrations._auth_errors import LOCKS_NO_ACCOUNTS, psycopg_refused
from secretcache.integrations._libpq import names_a_place
from secretcache.integrations._words import Words

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
except ImportError as error:
    raise ImportError('secretcache.integrations.psycopg needs psycopg: pip install "secretcache[psycopg]"') from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretcache._cache import SecretCache
    from secretcache.integrations._credentials import Credentials
    from secretcache.integrations._stamps import Stamp

__all__ = ["aconnect", "async_connection_class", "connect", "connection_class", "is_due"]

_PLACES = {"host": "host", "port": "port", "dbname": "dbname"}
_ACCOUNT = {"user": "username", "password": "password"}
_ELSEWHERE = ("hostaddr", "service")
_WORDS = Words({ours: theirs for theirs, ours in _PLACES.items()}, "conninfo or the options", _ELSEWHERE, lists=True)
_T = TypeVar("_T")
_C = TypeVar("_C", bound="psycopg.Connection[Any]")
_A = TypeVar("_A", bound="psycopg.AsyncConnection[Any]")


def connect(  # noqa: PLR0913 - what an account is, each named
    secret_id: str,
    conninfo: str = "",
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
    **options: Any,
) -> psycopg.Connection[Any]:
    """A new connection, logged in with the secret.

    Args:
        secret_id: the secret's name or ARN; its keys `username` and `password`, and `host`, `port` and `dbname` unless
            `conninfo` or `options` say them. Several hosts and ports as libpq takes them: `host="a,b"`, `port="1,2"`.
        conninfo: as for `psycopg.connect`, without `user` and `password`.
        cache: the cache, or the dotted path of one; the process's `default_cache()` unless told otherwise.
        hosts: the database's host by the region that the application runs in, for read replicas.
        app_region: the region that the application runs in, if the environment does not tell.
        bridge: options of `SecretCache.connect`, such as `timeout`. Since PostgreSQL locks no accounts as it comes,
            `max_refusals` is None and `retry_refused_after` 5 s here: behind a proxy or with a module that locks
            accounts, pass `{"max_refusals": 4, "retry_refused_after": None}`.
        **options: psycopg's own, without `user` and `password`.

    Raises:
        psycopg.OperationalError: as `psycopg.connect`; also if no version of the secret was accepted.
        SecretCacheError: as `SecretCache.connect`.
        SecretFormatError: neither the secret nor `conninfo` or `options` name a host, hostaddr or service. Environment
            variables such as PGHOST do not count.
        ConfigurationError: an option gives what the secret is there to give.
    """
    account = account_of(secret_id, cache, hosts, app_region, bridge)
    return following(psycopg.Connection, account).connect(conninfo, **options)


async def aconnect(  # noqa: PLR0913 - as connect
    secret_id: str,
    conninfo: str = "",
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
    **options: Any,
) -> psycopg.AsyncConnection[Any]:
    """`connect` for asyncio."""
    account = account_of(secret_id, cache, hosts, app_region, bridge)
    return await following_async(psycopg.AsyncConnection, account).connect(conninfo, **options)


def connection_class(  # noqa: PLR0913 - as connect
    secret_id: str,
    base: type[_C] = psycopg.Connection,  # type: ignore[assignment]
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
) -> type[_C]:
    """A class of connections whose `connect` logs in with the secret, for whatever takes a `connection_class`.

    Args:
        secret_id: as for `connect`; so are the others.
        base: the class to build on.
        cache: as for `connect`.
        hosts: as for `connect`.
        app_region: as for `connect`.
        bridge: as for `connect`.
    """
    return following(base, account_of(secret_id, cache, hosts, app_region, bridge))


def async_connection_class(  # noqa: PLR0913 - as connect
    secret_id: str,
    base: type[_A] = psycopg.AsyncConnection,  # type: ignore[assignment]
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
) -> type[_A]:
    """`connection_class` for asyncio."""
    return following_async(base, account_of(secret_id, cache, hosts, app_region, bridge))


def is_due(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether a connection of such a class is to be replaced before its next use. Asks nobody.

    It works on: sessions survive a change of their password.
    """
    kind: Any = type(connection)
    return bool(kind.secretcache_account.is_due(_stamp(connection)))


def account_of(
    secret_id: str,
    cache: SecretCache | str | None,
    hosts: Mapping[str, str] | None,
    app_region: str | None,
    bridge: Mapping[str, Any] | None,
) -> Account:
    """An account of PostgreSQL."""
    return Account(
        secret_id,
        psycopg_refused,
        cache,
        hosts,
        app_region,
        {**LOCKS_NO_ACCOUNTS, **(bridge or {})},
        words=_WORDS,
    )


def following(base: type[_C], account: Account) -> type[_C]:
    """The class behind `connection_class`."""

    class Following(base):  # type: ignore[valid-type,misc]
        secretcache_account = account
        secretcache_error: Exception | None = None
        """Why the last login failed."""
        secretcache_stamp: Stamp | None = None

        @classmethod
        def connect(cls, conninfo: str = "", **options: Any) -> Any:
            connect, given = super().connect, {**conninfo_to_dict(conninfo), **options}
            overrides = taken(given, _PLACES, tuple(_ACCOUNT))

            def log_in(credentials: Credentials) -> Any:
                with _Forgetting():
                    return connect("", **given, **placed(credentials, {**_PLACES, **_ACCOUNT}))

            with _Noting(cls):
                connection, stamp = account.log_in(log_in, overrides, elsewhere=names_a_place(given))
            connection.secretcache_stamp = stamp
            return connection

    return _named(Following, base)


def following_async(base: type[_A], account: Account) -> type[_A]:
    """The class behind `async_connection_class`."""

    class Following(base):  # type: ignore[valid-type,misc]
        secretcache_account = account
        secretcache_error: Exception | None = None
        secretcache_stamp: Stamp | None = None

        @classmethod
        async def connect(cls, conninfo: str = "", **options: Any) -> Any:
            connect, given = super().connect, {**conninfo_to_dict(conninfo), **options}
            overrides = taken(given, _PLACES, tuple(_ACCOUNT))

            async def log_in(credentials: Credentials) -> Any:
                with _Forgetting():
                    return await connect("", **given, **placed(credentials, {**_PLACES, **_ACCOUNT}))

            with _Noting(cls):
                connection, stamp = await account.alog_in(log_in, overrides, elsewhere=names_a_place(given))
            connection.secretcache_stamp = stamp
            return connection

    return _named(Following, base)


class _Noting:
    """Notes on the class why the last login failed: a pool does not tell."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, LoginNotTriedError) and self._kind.secretcache_error is not None:
            return  # the refusal before it says more
        if error is None or isinstance(error, Exception):
            self._kind.secretcache_error = error


class _Forgetting:
    """An error of psycopg's holds the connection that failed, whose repr shows the password."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        pgconn: Any = getattr(error, "pgconn", None)
        with suppress(AttributeError, TypeError):
            pgconn.password = b""
            pgconn.info = [option for option in pgconn.info if option.keyword != b"password"]


def _named(made: Any, base: type[_T]) -> type[_T]:
    made.__name__ = made.__qualname__ = base.__name__
    named: type[_T] = made
    return named


def _stamp(connection: Any) -> Stamp | None:
    stamp: Stamp | None = connection.secretcache_stamp
    return stamp
