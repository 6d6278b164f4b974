"""What PyMySQL and mysqlclient share: both take MySQLdb's options, and refuse a password by the same number."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from secretcache.integrations._account import Account, placed, taken
from secretcache.integrations._auth_errors import mysql_refused
from secretcache.integrations._words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from secretcache._cache import SecretCache
    from secretcache.integrations._credentials import Credentials

__all__ = ["connected", "names_a_place"]

_T = TypeVar("_T")
_PLACES = {"host": "host", "port": "port", "database": "dbname"}
_ACCOUNT = {"user": "username", "password": "password"}
_ELSEWHERE = ("unix_socket", "read_default_file")
_WORDS = Words({ours: theirs for theirs, ours in _PLACES.items()}, "the options", _ELSEWHERE)


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
    account = Account(secret_id, mysql_refused, cache, hosts, app_region, bridge, words=_WORDS)
    places = dict(_PLACES)
    if options.get("unix_socket") and "host" not in overrides:
        # mysqlclient would take the secret's host instead of the socket, PyMySQL the socket.
        del places["host"], places["port"]

    def log_in(credentials: Credentials) -> _T:
        return driver(**options, **placed(credentials, {**places, **_ACCOUNT}))

    connection, _ = account.log_in(log_in, overrides, elsewhere=names_a_place(options))
    return connection


def names_a_place(options: Mapping[str, Any]) -> bool:
    """Whether the options name a socket, or an option file that has a host or a socket.

    Both drivers pass over a file that is not there, and take the local machine.
    """
    if options.get("unix_socket"):
        return True
    if not options.get("read_default_file"):
        return False
    told = configparser.ConfigParser(allow_no_value=True, strict=False, interpolation=None)
    try:
        told.read(Path(options["read_default_file"]).expanduser())
    except configparser.Error:
        return False
    # PyMySQL reads that group alone; mysqlclient reads `client` too, and may be asked to say so.
    group = options.get("read_default_group") or "client"
    return told.has_section(group) and any(told[group].get(name) for name in ("host", "socket"))
