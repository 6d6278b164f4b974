"""Whether a driver's error says that the server refused the password. By what each driver was seen to raise.

MySQL's drivers, asyncpg and redis-py carry the server's own code. libpq hands none out for a login that failed: it
tells whether a password was asked for, and the server's text in the server's language. Poolers say what they like under
a code of their own. So: the code decides where there is one that means it; the text (`SAID`) where nothing else tells,
and where one code means two things. What remains in doubt counts as refused if a password was asked for: wrongly so,
the price is a few more logins, and `LOCKS_NO_ACCOUNTS` lets a version be tried again.

A user who may not log in, or whom the server does not know, counts as refused too: with users that alternate, another
version of the secret has another user.

None of these imports its driver.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

__all__ = [
    "LOCKS_NO_ACCOUNTS",
    "SAID",
    "Said",
    "amqp_refused",
    "asyncpg_refused",
    "mysql_refused",
    "psycopg2_refused",
    "psycopg2_told",
    "psycopg_refused",
    "redis_refused",
    "without_frames",
]

_FORGIVING = 5.0
"""Seconds after which a server that locks no accounts may be asked again with a version it refused:
`connect(retry_refused_after=...)`."""
LOCKS_NO_ACCOUNTS: dict[str, Any] = {"max_refusals": None, "retry_refused_after": _FORGIVING}
"""The limits of `connect` for servers that lock no accounts as they come: PostgreSQL and Redis."""
_ASKED = "secretcache_asked_for_password"
_SQLSTATES = ("28P01", "28000")  # invalid_password, invalid_authorization_specification


class Said(NamedTuple):
    """What PostgreSQL, or what stands in front of it, says when a login fails. docs/drivers.md cites each."""

    text: re.Pattern[str]
    refused: bool
    by: str
    """Who says so, and under which SQLSTATE."""


def _says(text: str, *, refused: bool, by: str) -> Said:
    return Said(re.compile(text), refused, by)


SAID = (  # the first that is found decides
    _says("authentication failed", refused=True, by="PostgreSQL, Supavisor, pgcat, Odyssey 28P01; PgBouncer 08P01"),
    _says("The password that was provided for the role .* is wrong", refused=True, by="RDS Proxy"),
    _says("has no credentials for the role", refused=True, by="RDS Proxy"),
    _says("is not permitted to log in", refused=True, by="PostgreSQL 28000"),
    _says('role ".*" does not exist', refused=True, by="PostgreSQL, MaxScale 28000"),
    _says("no such user", refused=True, by="PgBouncer 08P01"),
    _says("incorrect user", refused=True, by="Odyssey 28P01"),
    _says("user not found", refused=True, by="Supavisor XX000"),
    _says("pg_hba\\.conf", refused=False, by="PostgreSQL 28000"),
    _says("host based authentication rejected", refused=False, by="Odyssey 28P01"),
    # After the password was taken, or before it was looked at.
    _says('database ".*" does not exist', refused=False, by="PostgreSQL 3D000"),
    _says("no such database", refused=False, by="PgBouncer 08P01"),
    _says("too many connections|too many clients|remaining connection slots", refused=False, by="PostgreSQL 53300"),
    _says("no more connections allowed", refused=False, by="PgBouncer 08P01"),
    _says("connections to the proxy exceeded|connection to proxy exceeded", refused=False, by="RDS Proxy"),
    _says("permission denied for database", refused=False, by="PostgreSQL 42501"),
    _says("is not currently accepting connections", refused=False, by="PostgreSQL 55000"),
    _says("the database system is", refused=False, by="PostgreSQL 57P03"),
    _says("server login has been failing|query_wait_timeout|server_login_retry", refused=False, by="PgBouncer 08P01"),
    _says("Timed-out waiting to acquire|Request returned an error", refused=False, by="RDS Proxy"),
    _says("requires TLS connections", refused=False, by="RDS Proxy"),
)
_MYSQL_REFUSED = (1045, 1698)  # ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR


def psycopg_refused(error: BaseException) -> bool:
    """Whether psycopg (3) was refused the password."""
    if not _is_a(error, "psycopg", "OperationalError"):
        return False
    pgconn = getattr(error, "pgconn", None)  # never its repr: that shows the password
    return _libpq_refused(str(error), asked=None if pgconn is None else bool(pgconn.used_password))


def psycopg2_refused(error: BaseException) -> bool:
    """Whether psycopg2 was refused the password. Certain in any language where `psycopg2_told` has noted what it knows.

    psycopg2's error has no code and no connection.
    """
    return _is_a(error, "psycopg2", "OperationalError") and _libpq_refused(
        str(error), asked=getattr(error, _ASKED, None)
    )


def psycopg2_told(connection_class: type[Any]) -> type[Any]:
    """A `connection_factory` for psycopg2 that notes on the error of a failed login whether a password was asked for.

    Args:
        connection_class: `psycopg2.extensions.connection`, or a class under it.
    """

    class Told(connection_class):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            try:
                super().__init__(*args, **kwargs)
            except Exception as error:
                setattr(error, _ASKED, bool(self.info.used_password))
                raise

    Told.__name__ = Told.__qualname__ = connection_class.__name__
    return Told


def asyncpg_refused(error: BaseException) -> bool:
    """Whether asyncpg was refused the password: by 28P01 or 28000, and by the text under a pooler's own code.

    Also where SQLAlchemy has wrapped it.
    """
    state = getattr(error, "sqlstate", None)
    if not isinstance(state, str):
        return False
    said = _said(str(error))
    return said is not False if state in _SQLSTATES else bool(said)


def mysql_refused(error: BaseException) -> bool:
    """Whether PyMySQL, mysqlclient, aiomysql or asyncmy was refused the password.

    Not where the account is locked (4150, 4151): no other version would help.
    """
    named = any(kind.__name__ in ("OperationalError", "DatabaseError") for kind in type(error).__mro__)
    return named and bool(error.args) and error.args[0] in _MYSQL_REFUSED


def redis_refused(error: BaseException) -> bool:
    """Whether redis-py was refused the password: WRONGPASS, or NOAUTH where none was given."""
    return _is_a(error, "redis", "AuthenticationError")


def amqp_refused(error: BaseException) -> bool:
    """Whether RabbitMQ refused the password, as py-amqp tells it: 403 ACCESS_REFUSED."""
    return _is_a(error, "amqp", "AccessRefused")


def without_frames(error: Exception) -> Exception:
    """The error of a failed login without its tracebacks: their frames, the driver's too, hold the password."""
    chain: list[BaseException] = [error]
    for one in chain:
        one.__traceback__ = None
        chain += [other for other in (one.__cause__, one.__context__) if other is not None and other not in chain]
    return error


def _libpq_refused(text: str, *, asked: bool | None) -> bool:
    said = _said(text)
    return bool(asked) if said is None else said


def _said(text: str) -> bool | None:
    """Whether that text means a refusal; None: nothing known is in it."""
    return next((one.refused for one in SAID if one.text.search(text)), None)


def _is_a(error: BaseException, package: str, name: str) -> bool:
    """By name, so that no driver is imported to look at another's error."""
    return any(kind.__name__ == name and kind.__module__.partition(".")[0] == package for kind in type(error).__mro__)
