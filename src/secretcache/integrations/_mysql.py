"""What PyMySQL and mysqlclient share: both take MySQLdb's options, and refuse a password by the same number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from secretcache.integrations._account import Account, placed, taken
from secretcache.integrations._auth_errors import mysql_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from secretcache._cache import SecretCache
    from secretcache.integrations._credentials import Credentials

__all__ = ["connected"]

_T = TypeVar("_T")
_PLACES = {"host": "host", "port": "port", "database": "dbname"}
_ACCOUNT = {"user": "username", "password": "password"}


def connected(  # noqa: PLR0913 - the arguments of a driver's connect
    driver: Callable[..., _T],
    secret_id: str,
    *,
    cache: SecretCache | str | None,
    hosts: Mapping[str, str] | None,
    app_region: str | None,
    bridge: Mapping[str, Any] | None,
    options: dict[str, Any],
) -> _T:
    """A new connection of the driver's, logged in with the secret."""
    overrides = taken(options, {**_PLACES, "db": "dbname"}, (*_ACCOUNT, "passwd"))
    account = Account(secret_id, mysql_refused, cache, hosts, app_region, bridge)

    def log_in(credentials: Credentials) -> _T:
        return driver(**options, **placed(credentials, {**_PLACES, **_ACCOUNT}))

    connection, _ = account.log_in(log_in, overrides)
    return connection
