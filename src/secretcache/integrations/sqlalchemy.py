"""SQLAlchemy engines that log in with a secret, through rotations: `secretcache[sqlalchemy]`.

    engine = create_engine("postgresql+psycopg://", plugins=["secretcache"], secretcache="prod/db")
    engine = create_async_engine("postgresql+asyncpg://?plugin=secretcache&secretcache=prod/db")
    attach(engine, None, "prod/db")  # an engine that is there already

Each new connection logs in through `SecretCache.connect`. One that logged in before a rotation is replaced at its next
checkout, never in the middle of its use. The password always comes from the secret, and the user with it: a user in the
URL is for a secret that names none. Host, port and database come from the secret too, unless the URL or `connect_args`
say otherwise.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

try:
    from sqlalchemy import URL, event, util
    from sqlalchemy.engine import CreateEnginePlugin
    from sqlalchemy.exc import DisconnectionError
except ImportError as missing:
    raise ImportError('this needs SQLAlchemy 2.0 or newer: pip install "secretcache[sqlalchemy]"') from missing

from secretcache._errors import ConfigurationError
from secretcache._logins import MAX_REFUSALS
from secretcache.integrations import _libpq
from secretcache.integrations._auth_errors import (
    LOCKS_NO_ACCOUNTS,
    asyncpg_refused,
    mysql_refused,
    psycopg2_refused,
    psycopg2_told,
    psycopg_refused,
    without_frames,
)
from secretcache.integrations._credentials import (
    app_region_of,
    check_hosts,
    check_overrides,
    credentials_of,
    target_of,
)
from secretcache.integrations._find import cache_or_default, check_cache
from secretcache.integrations._mysql import names_a_place
from secretcache.integrations._stamps import Stamp, is_due, stamp_of
from secretcache.integrations._words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from sqlalchemy.engine import Dialect, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry

    from secretcache._cache import SecretCache
    from secretcache._hooks import RotationEvent
    from secretcache._secret import Secret
    from secretcache.integrations._credentials import Credentials

__all__ = ["Plugin", "attach"]

_NAME = "secretcache"
_KEY = "secretcache"  # in a connection record's info
_REFUSED: dict[str, Callable[[Exception], bool]] = {
    "psycopg": psycopg_refused,
    "psycopg_async": psycopg_refused,
    "psycopg2": psycopg2_refused,
    "asyncpg": asyncpg_refused,
    "pymysql": mysql_refused,
    "mysqldb": mysql_refused,
    "aiomysql": mysql_refused,
    "asyncmy": mysql_refused,
}
_NUMBERS: dict[str, Callable[[str], object]] = {
    "timeout": float,
    "max_refusals": lambda text: text if text == "auto" else None if text == "none" else int(text),
    "retry_refused_after": float,
}
_IN_URL = ("cache", "app_region", *_NUMBERS)
_POSTGRESQL = {"psycopg", "psycopg_async", "psycopg2", "asyncpg"}
_DEFAULT_PORT = "5432"
_OF_OVERRIDES = Words(where="secretcache_overrides", lists=True)
_NAMES = {"host": "host", "port": "port", "dbname": "database", "username": "user"}
_await: Callable[[Any], Any] = getattr(util, "await_", None) or util.await_only  # the old name goes away with 2.2


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What an engine was told, checked as far as that needs no cache and no secret."""

    secret_id: str
    cache: SecretCache | str | None = None
    overrides: Mapping[str, object] | None = None
    hosts: Mapping[str, str] | None = None
    app_region: str | None = None
    timeout: float = 10.0
    max_refusals: int | Literal["auto"] | None = "auto"
    retry_refused_after: float | None = None
    is_auth_error: Callable[[Exception], bool] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.secret_id, str) or not self.secret_id:
            raise ConfigurationError(f"secretcache must be a secret's name or ARN, got {self.secret_id!r}")
        check_cache(self.cache)
        object.__setattr__(self, "overrides", check_overrides(self.overrides, _OF_OVERRIDES))
        object.__setattr__(self, "hosts", check_hosts(self.hosts))


def attach(  # noqa: PLR0913 - each is a setting of its own, named and with a default
    engine: Engine | AsyncEngine,
    cache: SecretCache | str | None,
    secret_id: str,
    *,
    overrides: Mapping[str, object] | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    timeout: float = 10.0,
    max_refusals: int | Literal["auto"] | None = "auto",
    retry_refused_after: float | None = None,
    is_auth_error: Callable[[Exception], bool] | None = None,
) -> None:
    """Has an engine log in with a secret from now on. Connections it has already are replaced at their next checkout.

    The plugin takes the same as `secretcache` (the secret) and `secretcache_cache`, `secretcache_overrides`, and so on.

    Args:
        engine: an engine, or an async engine, that makes its connections itself: without `creator`.
        cache: the cache, its dotted path (`"package.module:cache"`), or None for the process's `default_cache()`. It is
            looked for when the first connection is made, and nothing before that needs AWS.
        secret_id: the secret's name or ARN: a database secret as AWS documents it.
        overrides: what to use in place of the secret's `host`, `port`, `dbname`, `username` or `password`. They win
            over the URL, as the URL does over the secret.
        hosts: the host by the region in which the application runs, for a secret that has none for it.
        app_region: that region; AWS_REGION, AWS_DEFAULT_REGION or the cache's first region unless given.
        timeout: seconds for one login, bridging included.
        max_refusals: as in `SecretCache.connect`. `"auto"`: None for PostgreSQL, which locks no accounts as it comes,
            and 4 for others. In a URL, `none` is None.
        retry_refused_after: the same; None: 5 s for PostgreSQL, which locks no accounts, and never for others.
        is_auth_error: whether a driver's error is a refused password; known for psycopg, psycopg2, asyncpg, PyMySQL,
            mysqlclient, asyncmy and aiomysql.

    Raises:
        ConfigurationError: an argument is not sound, or the driver is not one of those.
    """
    settings = _Settings(
        secret_id=secret_id,
        cache=cache,
        overrides=overrides,
        hosts=hosts,
        app_region=app_region,
        timeout=timeout,
        max_refusals=max_refusals,
        retry_refused_after=retry_refused_after,
        is_auth_error=is_auth_error,
    )
    sync: Engine = getattr(engine, "sync_engine", None) or engine  # type: ignore[assignment]
    _listen(sync, settings)


class Plugin(CreateEnginePlugin):
    """The engine plugin `secretcache`, found by its entry point."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        for bypass in ("creator", "pool"):
            if bypass in kwargs:
                raise ConfigurationError(f"{bypass} and the plugin secretcache both make the connections: choose one")
        self._settings = _Settings(**_given(url, kwargs))

    def update_url(self, url: URL) -> URL:
        """The URL without what was meant for the plugin."""
        return url.difference_update_query(list(_own_names(url.query)))

    def engine_created(self, engine: Engine) -> None:
        """Attaches the engine."""
        _listen(engine, self._settings)


def _own_names(names: Mapping[str, Any]) -> list[str]:
    return [name for name in names if name == _NAME or name.startswith(f"{_NAME}_")]


def _given(url: URL, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The settings by their names, out of the URL and out of create_engine's arguments."""
    in_url: dict[str, Any] = {name: url.query[name] for name in _own_names(url.query)}
    in_kwargs = {name: kwargs.pop(name) for name in _own_names(kwargs)}
    known = {_NAME: "secret_id"} | {f"{_NAME}_{name}": name for name in _Settings.__dataclass_fields__}
    del known[f"{_NAME}_secret_id"]
    allowed_in_url = [_NAME, *(f"{_NAME}_{name}" for name in _IN_URL)]
    for name in (*in_url, *in_kwargs):
        if name not in known:
            raise ConfigurationError(f"{name}: no such setting; known are {', '.join(known)}")
        if name in in_url and name in in_kwargs:
            raise ConfigurationError(f"{name} is given twice, in the URL and as an argument of create_engine")
        if name in in_url and name not in allowed_in_url:
            raise ConfigurationError(f"{name} cannot stand in a URL: give it to create_engine")
    if _NAME not in in_url and _NAME not in in_kwargs:
        raise ConfigurationError('the plugin secretcache needs a secret: create_engine(..., secretcache="prod/db")')
    return {known[name]: _read(known[name], name, value) for name, value in {**in_url, **in_kwargs}.items()}


def _read(setting: str, name: str, value: Any) -> Any:
    """Numbers may come as text: from a URL, or from a configuration file."""
    if isinstance(value, tuple):
        raise ConfigurationError(f"{name} is given more than once in the URL")
    if not isinstance(value, str) or setting not in _NUMBERS:
        return value
    try:
        return _NUMBERS[setting](value)
    except ValueError:
        raise ConfigurationError(f"{name} must be a number, got {value!r}") from None


def _listen(engine: Engine, settings: _Settings) -> None:
    refused = settings.is_auth_error or _REFUSED.get(engine.dialect.driver)
    if refused is None:
        raise ConfigurationError(
            f"the driver {engine.dialect.driver!r} is not known: pass is_auth_error, which tells a refused password "
            f"from other errors, or use one of {', '.join(_REFUSED)}"
        )
    words = Words(_NAMES, "the engine's URL", lists=engine.dialect.driver in _POSTGRESQL)
    own = {**check_overrides(_of_url(engine.url), words), **(settings.overrides or {})}
    logins = _Logins(settings, engine.url, own, refused, _limits(settings, engine.dialect), words)
    event.listen(engine, "do_connect", logins.connect)
    event.listen(engine, "checkout", _replace_if_due)


def _limits(settings: _Settings, dialect: Dialect) -> dict[str, Any]:
    """How many refusals a login risks: what the settings say, else what suits the server as it comes."""
    limits: dict[str, Any] = dict(LOCKS_NO_ACCOUNTS) if dialect.name == "postgresql" else {"max_refusals": MAX_REFUSALS}
    if settings.max_refusals != "auto":
        limits["max_refusals"] = settings.max_refusals
    if settings.retry_refused_after is not None:
        limits["retry_refused_after"] = settings.retry_refused_after
    return limits


class _Made(NamedTuple):
    """What a connection record knows of its connection's login."""

    cache: SecretCache
    secret_id: str
    stamp: Stamp


@dataclass(frozen=True, eq=False)
class _Logins:
    """Makes an engine's connections."""

    settings: _Settings
    url: URL
    own: Mapping[str, object]
    """What wins over the secret: the settings, then the URL."""
    refused: Callable[[Exception], bool]
    limits: Mapping[str, Any]
    words: Words
    _hooked: weakref.WeakSet[SecretCache] = field(default_factory=weakref.WeakSet)

    def connect(
        self, dialect: Dialect, record: ConnectionPoolEntry | None, cargs: list[Any], cparams: dict[str, Any]
    ) -> DBAPIConnection:
        """Listens to `do_connect`."""
        settings = self.settings
        cache = cache_or_default(settings.cache)
        self._follow(cache)
        region = settings.app_region or app_region_of(cache)

        def login(secret: Secret) -> DBAPIConnection:
            stamp = stamp_of(cache, settings.secret_id, secret)
            credentials = credentials_of(
                secret,
                overrides=self.own,
                hosts=settings.hosts,
                app_region=region,
                words=self.words,
                elsewhere=_elsewhere(dialect, cparams),
                pinned_user=self.url.username,
            )
            connection = _dial(dialect, *_arguments(dialect, self.url, cargs, cparams, credentials))
            if record is not None:
                record.info[_KEY] = _Made(cache, settings.secret_id, stamp)
            return connection

        return self._log_in(
            dialect, cache, login, target_of(settings.secret_id, self.own, settings.hosts or {}, region)
        )

    def _log_in(
        self, dialect: Dialect, cache: SecretCache, login: Callable[[Secret], DBAPIConnection], target: Hashable
    ) -> DBAPIConnection:
        limits: dict[str, Any] = {
            "is_auth_error": self.refused,
            "target": target,
            "timeout": self.settings.timeout,
            **self.limits,
        }
        if not dialect.is_async:
            return cache.connect(self.settings.secret_id, login, **limits)
        # This runs in a greenlet of the event loop: so does each login, in one of its own.
        connection: DBAPIConnection = _await(
            cache.aconnect(self.settings.secret_id, lambda secret: util.greenlet_spawn(login, secret), **limits)
        )
        return connection

    def _follow(self, cache: SecretCache) -> None:
        """Has rotations noticed while the pool is full and nobody reads the secret."""
        if cache not in self._hooked:
            self._hooked.add(cache)
            cache.add_rotation_hook(self.settings.secret_id, self._rotated)

    def _rotated(self, _: RotationEvent) -> None:
        """Nothing to do: each checkout looks for itself. Held weakly, as long as the engine lives."""


def _of_url(url: URL) -> dict[str, object]:
    return {"host": url.host, "port": url.port, "dbname": url.database or None}


def _arguments(
    dialect: Dialect, url: URL, cargs: list[Any], cparams: dict[str, Any], credentials: Credentials
) -> tuple[list[Any], dict[str, Any]]:
    """The driver's arguments: the dialect knows their names. What `connect_args` or a listener has set stays."""
    bare = URL.create(url.drivername, host=url.host, port=url.port, database=url.database, query=url.query)
    login = bare.set(username=credentials.username, password=credentials.password)
    full = _at(login.set(database=credentials.dbname), dialect, cparams, credentials)
    bare_args, before = dialect.create_connect_args(bare)
    args, after = dialect.create_connect_args(full)
    of_login = dialect.create_connect_args(login)[1].keys() - before.keys()
    told = {name for name in cparams if name not in before or cparams[name] != before[name]} - of_login
    params = {**cparams, **{name: value for name, value in after.items() if name not in told}}
    if dialect.driver == "psycopg2":
        params["connection_factory"] = _telling(params.get("connection_factory"))
    return (list(args) if cargs == list(bare_args) else cargs), params


def _at(url: URL, dialect: Dialect, cparams: Mapping[str, Any], credentials: Credentials) -> URL:
    """The URL with the place of the login."""
    host, port = credentials.host, credentials.port
    if cparams.get("unix_socket"):
        return url  # mysqlclient would take the secret's host instead, PyMySQL the socket
    if dialect.driver not in _POSTGRESQL or "host" in url.query or ("," not in f"{host}{port}"):
        return url.set(host=host, port=None if port is None else int(str(port).partition(",")[0]))
    # Several: SQLAlchemy takes them behind the question mark, as many ports as hosts.
    hosts, ports = str(host).split(","), str(port or "").split(",")
    ports *= len(hosts) if len(ports) == 1 else 1
    given = {"host": ",".join(hosts), "port": ",".join(one or _DEFAULT_PORT for one in ports)}
    return url.set(host=None, port=None).update_query_dict(given)


def _elsewhere(dialect: Dialect, cparams: Mapping[str, Any]) -> bool:
    """Whether the driver is told a place by other means than the URL's host."""
    if dialect.driver in _POSTGRESQL:
        # asyncpg passes over a service that it does not find. No `dsn`: it may be without a host.
        return bool(cparams.get("host")) or (dialect.driver != "asyncpg" and _libpq.names_a_place(cparams))
    return bool(cparams.get("host")) or names_a_place(cparams)


def _dial(dialect: Dialect, args: list[Any], params: dict[str, Any]) -> DBAPIConnection:
    try:
        return dialect.connect(*args, **params)
    except Exception as error:  # noqa: BLE001 - raised again, without the frames below this one
        raise without_frames(error)  # noqa: B904
    finally:
        params.clear()  # this frame is shown with the error


@lru_cache(maxsize=16)
def _telling(factory: type[Any] | None) -> type[Any]:
    import psycopg2.extensions  # noqa: PLC0415 - there only where it is used

    return psycopg2_told(factory or psycopg2.extensions.connection)


def _replace_if_due(_: DBAPIConnection, record: ConnectionPoolEntry, __: object) -> None:
    """Listens to `checkout`: has the pool make a new connection in the place of one that a rotation has overtaken."""
    made: _Made | None = record.info.get(_KEY)
    if made is None:
        _replace_unknown(record)
    elif is_due(*made):
        raise DisconnectionError(f"secret {made.secret_id!r} was rotated since this connection logged in")


def _replace_unknown(record: ConnectionPoolEntry) -> None:
    """A connection from before `attach`. If the one in its place is unknown too, somebody else makes them."""
    kept = record.record_info
    if kept is None or _KEY in kept:
        raise ConfigurationError("the engine makes its connections with a creator= of its own, not with the secret")
    kept[_KEY] = True
    raise DisconnectionError("this connection was made before the engine was attached to its secret")
