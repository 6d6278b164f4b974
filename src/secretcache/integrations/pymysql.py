"""PyMySQL with a secret: `connect("prod/db")` logs in, also while the secret's rotation is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secretcache.integrations._mysql import connected

try:
    import pymysql
except ImportError as error:
    raise ImportError('secretcache.integrations.pymysql needs PyMySQL: pip install "secretcache[pymysql]"') from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretcache._cache import SecretCache

__all__ = ["connect"]


def connect(
    secret_id: str,
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
    **options: Any,
) -> pymysql.Connection[Any]:
    """A new connection of PyMySQL's, logged in with the secret.

    PyMySQL has no pool: a connection that is kept works on after a rotation, and a new one logs in anew.

    Args:
        secret_id: the secret's name or ARN; its keys `username` and `password`, and `host`, `port` and `dbname` unless
            `options` say them.
        cache: the cache, or the dotted path of one; the process's `default_cache()` unless told otherwise.
        hosts: the database's host by the region that the application runs in, for read replicas.
        app_region: the region that the application runs in, if the environment does not tell.
        bridge: options of `SecretCache.connect`, such as `timeout` and `max_refusals`.
        **options: PyMySQL's own, without `user` and `password`.

    Raises:
        pymysql.err.OperationalError: as `pymysql.connect`; 1045 if no version of the secret was accepted.
        SecretCacheError: as `SecretCache.connect`.
        SecretFormatError: neither the secret nor `options` name a host, a `unix_socket`, or a `read_default_file` that
            has one.
    """
    return connected(
        pymysql.connect, secret_id, cache=cache, hosts=hosts, app_region=app_region, bridge=bridge, options=options
    )
