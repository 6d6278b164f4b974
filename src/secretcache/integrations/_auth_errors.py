"""Whether a driver's error says that the server refused the password. By what each driver was seen to raise.

MySQL's drivers, asyncpg and redis-py carry the server's own code. libpq hands none out for a login that failed: it
tells whether a password was asked for, and the server's text in the server's language. A server that is full, or has no
such database, says so after it has taken the password, which looks the same. So text decides where it is known to mean
something else, and what remains in doubt counts as refused: wrongly so, the price is a few more logins, and
`LOCKS_NO_ACCOUNTS` lets a version be tried again.

None of these imports its driver.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "LOCKS_NO_ACCOUNTS",
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
_REFUSED_WORDS = ("authentication failed",)
_OTHER_WORDS = (  # what PostgreSQL says after it has taken the password
    "too many connections",
    "too many clients",
    "remaining connection slots",
    "permission denied for database",
    "is not currently accepting connections",
    "is not permitted to log in",
    "the database system is",
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
    """Whether asyncpg was refused the password: 28P01, or 28000, which a proxy may say in its place.

    Also where SQLAlchemy has wrapped it.
    """
    return getattr(error, "sqlstate", None) in ("28P01", "28000")


def mysql_refused(error: BaseException) -> bool:
    """Whether PyMySQL, mysqlclient, aiomysql or asyncmy was refused the password.

    Not where the account is locked (4150, 4151): no other version would help.
    """
    named = any(kind.__name__ in ("OperationalError", "DatabaseError") for kind in type(error).__mro__)
    return named and bool(error.args) and error.args[0] in _MYSQL_REFUSED


def redis_refused(error: BaseException) -> bool:
    """Whether redis-py was refused the password: WRONGPASS, or NOAUTH where none was given."""
    return _is_a(error, "redis", "AuthenticationError")


def without_frames(error: Exception) -> Exception:
    """The error of a failed login without its tracebacks: their frames, the driver's too, hold the password."""
    chain: list[BaseException] = [error]
    for one in chain:
        one.__traceback__ = None
        chain += [other for other in (one.__cause__, one.__context__) if other is not None and other not in chain]
    return error


def _libpq_refused(text: str, *, asked: bool | None) -> bool:
    if any(words in text for words in _REFUSED_WORDS):
        return True
    if any(words in text for words in _OTHER_WORDS) or ('database "' in text and "does not exist" in text):
        return False
    return bool(asked)


def _is_a(error: BaseException, package: str, name: str) -> bool:
    """By name, so that no driver is imported to look at another's error."""
    return any(kind.__name__ == name and kind.__module__.partition(".")[0] == package for kind in type(error).__mro__)
