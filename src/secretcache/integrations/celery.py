"""Celery with a secret: `follow(app, broker="prod/redis", backend="prod/redis")`.

    app = Celery("tasks", broker="redis://", backend="redis://")  # the secret says which host; one written here wins
    follow(app, broker="prod/redis", backend="prod/redis")

Workers and those who send tasks log in also while the secret's rotation is under way: to Redis and RabbitMQ as brokers,
and to Redis as the result backend. What is logged in goes on working: a worker that waits for tasks is not disturbed.
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from secretcache._errors import ConfigurationError
from secretcache.integrations._account import Account
from secretcache.integrations._auth_errors import LOCKS_NO_ACCOUNTS, amqp_refused
from secretcache.integrations._words import Words

try:
    import kombu  # noqa: F401 - says what is missing, if it is
except ImportError as error:
    raise ImportError('secretcache.integrations.celery needs Celery: pip install "secretcache[celery]"') from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celery import Celery

    from secretcache._cache import SecretCache
    from secretcache.integrations._credentials import Credentials

__all__ = ["follow", "transport"]

_REDIS, _AMQP = ("redis", "rediss"), ("amqp", "amqps", "pyamqp")
_PLACES = {"host": "host", "port": "port"}
_OF_BROKER, _OF_RESULTS = Words(_PLACES, "the URL of broker_url"), Words(_PLACES, "the URL of result_backend")


def follow(  # noqa: PLR0913 - what an account is, each named
    app: Celery,
    *,
    broker: str | None = None,
    backend: str | None = None,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
) -> None:
    """Has an application log in with secrets. To be called before it is used, where it is configured.

    Args:
        app: the application, with `broker_url` and `result_backend` set: `redis://`, `rediss://`, `amqp://`, `amqps://`
            for the broker, `redis://` or `rediss://` for results. They hold no user and no password.
        broker: the name or ARN of the broker's secret, if it is to follow one.
        backend: that of the result backend's.
        cache: the cache, or the dotted path of one; the process's `default_cache()` unless told otherwise.
        hosts: the server's host by the region that the application runs in.
        app_region: the region that the application runs in, if the environment does not tell.
        bridge: options of `SecretCache.connect`, such as `timeout` and `max_refusals`.

    Raises:
        ConfigurationError: a URL is of another kind, or has a user or a password.
    """
    options: dict[str, Any] = {"cache": cache, "hosts": hosts, "app_region": app_region, "bridge": bridge}
    if broker is None and backend is None:
        raise ConfigurationError('follow needs a secret: follow(app, broker="prod/redis")')
    if broker is not None:
        app.conf.broker_transport = transport(broker, app.conf.broker_url, **options)
    if backend is not None:
        _checked("result_backend", [app.conf.result_backend], _REDIS)
        app.backend_cls = _backend(backend, app.conf.result_backend, options)


def transport(  # noqa: PLR0913 - as follow
    secret_id: str,
    url: str | list[str],
    *,
    cache: SecretCache | str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
) -> type[Any]:
    """A transport for `kombu.Connection(url, transport=transport("prod/redis", url))`, which logs in with a secret.

    Args:
        secret_id: as for `follow`; so are the others.
        url: that of the connection, or several.
        cache: as for `follow`.
        hosts: as for `follow`.
        app_region: as for `follow`.
        bridge: as for `follow`.
    """
    options: dict[str, Any] = {"cache": cache, "hosts": hosts, "app_region": app_region, "bridge": bridge}
    # What is named is known of the URL alone: a kombu connection that was cloned says "localhost" and a port for none.
    scheme, named = _checked("broker_url", url.split(";") if isinstance(url, str) else url, (*_REDIS, *_AMQP))
    if scheme in _REDIS:
        return _redis_transport(secret_id, options, named=named)
    bridging = {**LOCKS_NO_ACCOUNTS, **(bridge or {})}  # RabbitMQ locks no accounts
    return _amqp_transport(
        Account(secret_id, amqp_refused, cache, hosts, app_region, bridging, words=_OF_BROKER), named=named
    )


def _checked(setting: str, urls: Any, schemes: tuple[str, ...]) -> tuple[str, set[str]]:
    """The scheme of the URLs, and which of host and port they name."""
    found = [urlsplit(url if isinstance(url, str) else "") for url in urls]
    if not found or any(one.scheme not in schemes for one in found) or len({one.scheme for one in found}) > 1:
        kinds = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ConfigurationError(f"{setting} must be a URL of one of {kinds}, got {[one.scheme for one in found]}")
    if any(one.username or one.password for one in found):
        raise ConfigurationError(f"{setting} has a user or a password: take them out, they come from the secret")
    named = [bool(one.hostname) for one in found]
    if any(named) and not all(named):
        raise ConfigurationError(
            f"{setting} names a host in one URL and none in another: a missing one is this machine"
        )
    ports = {"port"} if all(one.port for one in found) else set()
    return found[0].scheme, ports | ({"host"} if all(named) else set())


def _named(client: Any, named: set[str]) -> dict[str, Any]:
    """What the URL says of the place; None: nothing."""
    told = {"host": client.hostname, "port": client.port}
    return {name: value if name in named else None for name, value in told.items()}


def _redis_transport(secret_id: str, options: dict[str, Any], *, named: set[str]) -> type[Any]:
    import redis  # noqa: PLC0415 - there only where it is used

    from secretcache.integrations.redis import following  # noqa: PLC0415 - says what is missing, if it is

    stock: Any = import_module("kombu.transport.redis")
    plain = following(secret_id, redis.Connection, _OF_BROKER, **options)
    over_tls = following(secret_id, redis.SSLConnection, _OF_BROKER, **options)

    class Channel(stock.Channel):  # type: ignore[misc]
        connection_class = plain
        connection_class_ssl = over_tls

        def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - its own
            parameters: dict[str, Any] = super()._connparams(asynchronous=asynchronous)
            told = self.connection.client
            # kombu takes this machine where the URL names no host.
            return _without_guesses(parameters, **_named(told, named))

    made: type[Any] = type("Transport", (stock.Transport,), {"Channel": Channel})
    return made


def _without_guesses(parameters: dict[str, Any], **told: Any) -> dict[str, Any]:
    kept = {name: value for name, value in parameters.items() if name not in ("username", "password")}
    for name, value in told.items():
        if not value:
            kept.pop(name, None)
    return kept


def _amqp_transport(account: Account, *, named: set[str]) -> type[Any]:
    stock: Any = import_module("kombu.transport.pyamqp")

    class Transport(stock.Transport):  # type: ignore[misc]
        def establish_connection(self) -> Any:
            """Logs in, bridging a rotation."""
            establish, client = super().establish_connection, self.client
            # Stock's own guess is this machine, as the guest whom RabbitMQ lets in there.
            told = _named(client, named)

            def log_in(credentials: Credentials) -> Any:
                with _told(client, credentials):
                    return establish()

            overrides = {name: value for name, value in told.items() if value}
            connection, _ = account.log_in(log_in, overrides)
            return connection

    return Transport


@contextmanager
def _told(client: Any, credentials: Credentials) -> Iterator[None]:
    """The connection of kombu, which is shared and shown, knows the credentials for the time of a login."""
    names = ("hostname", "port", "userid", "password")
    before = {name: getattr(client, name) for name in names}
    client.hostname, client.port = credentials.host, credentials.port
    client.userid, client.password = credentials.username, credentials.password
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(client, name, value)


def _backend(secret_id: str, at: str, options: dict[str, Any]) -> type[Any]:
    import redis  # noqa: PLC0415 - there only where it is used

    from secretcache.integrations.redis import following  # noqa: PLC0415 - says what is missing, if it is

    stock: Any = import_module("celery.backends.redis")

    class Backend(stock.RedisBackend):  # type: ignore[misc]
        connparams: dict[str, Any]

        def __init__(self, *args: Any, url: str | None = None, **given: Any) -> None:
            super().__init__(*args, url=url or at, **given)
            found = urlsplit(self.url)
            base = self.connparams.get("connection_class", redis.Connection)
            told = {"host": found.hostname or self.app.conf.redis_host, "port": found.port or self.app.conf.redis_port}
            made = following(secret_id, base, _OF_RESULTS, **options)
            self.connparams = {**_without_guesses(self.connparams, **told), "connection_class": made}

    return Backend
