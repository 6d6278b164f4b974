"""Where a database alias gets its login from: what its settings say, and the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import utils

from secretcache._errors import ConfigurationError, SecretCacheError
from secretcache.integrations._credentials import app_region_of, check_hosts, check_overrides, credentials_of
from secretcache.integrations._find import cache_or_default, check_cache
from secretcache.integrations._stamps import is_due, stamp_of

if TYPE_CHECKING:
    from secretcache._cache import SecretCache
    from secretcache._secret import Secret
    from secretcache.integrations._credentials import Credentials
    from secretcache.integrations._stamps import Stamp

__all__ = ["Opened", "Source", "check"]

_T = TypeVar("_T")
_KEYS = {"HOST": "host", "PORT": "port", "USER": "username", "NAME": "dbname"}
_PASSWORDS = ("password", "passwd")
_CONNECT = {"timeout", "max_refusals", "retry_refused_after"}


@dataclass(frozen=True)
class Opened(Generic[_T]):
    """A login that worked: what it returned, and what it was made with."""

    connection: _T
    credentials: Credentials = field(repr=False)
    stamp: Stamp


@dataclass(frozen=True)
class Source:
    """The secret of one alias, and how its password is refused."""

    secret_id: str
    cache: SecretCache
    hosts: Mapping[str, str] | None
    given: Mapping[str, Any]
    options: Mapping[str, Any]
    is_auth_error: Callable[[Exception], bool]

    @classmethod
    def of(
        cls, settings: Mapping[str, Any], is_auth_error: Callable[[Exception], bool], options: Mapping[str, Any]
    ) -> Source:
        """As the alias's settings, which were checked, say it. Reads nothing."""
        with _as_django():
            return cls(
                settings["SECRET"],
                cache_or_default(settings.get("SECRET_CACHE")),
                settings.get("SECRET_HOSTS"),
                _given(settings),
                {**options, **settings.get("SECRET_CONNECT", {})},
                is_auth_error,
            )

    def connect(self, log_in: Callable[[Credentials], _T]) -> Opened[_T]:
        """Logs in with the secret, bridging a rotation; the driver's errors are raised as they are."""

        def attempt(secret: Secret) -> Opened[_T]:
            credentials = self._credentials(secret)
            return Opened(log_in(credentials), credentials, stamp_of(self.cache, self.secret_id, secret))

        with _as_django():
            return self.cache.connect(
                self.secret_id, attempt, is_auth_error=self.is_auth_error, target=self._target(), **self.options
            )

    def database(self) -> str:
        """The database that the secret names, or an empty text."""
        with _as_django():
            return self._credentials(self.cache.get(self.secret_id)).dbname or ""

    def is_due(self, stamp: Stamp) -> bool:
        """Whether a connection made so should be replaced. Asks no region."""
        return is_due(self.cache, self.secret_id, stamp)

    def _credentials(self, secret: Secret) -> Credentials:
        return credentials_of(secret, overrides=self.given, hosts=self.hosts, app_region=app_region_of(self.cache))

    def _target(self) -> tuple[Any, ...] | None:
        # None: what the secret says. Where the settings say another host, refusals are those of that host's.
        if not self.hosts and not self.given.keys() & {"host", "port"}:
            return None
        where = self.given.get("host") or tuple(sorted((self.hosts or {}).items())) or self.secret_id
        return where, self.given.get("port"), self.given.get("username") or self.secret_id


def check(settings: Mapping[str, Any], alias: str) -> None:
    """Refuses settings of an alias that are not sound, by name. Reads nothing."""
    where, secret_id = f"DATABASES[{alias!r}]", settings.get("SECRET")
    if not isinstance(secret_id, str) or not secret_id:
        raise ImproperlyConfigured(f"{where}: SECRET must be the name or ARN of the database's secret")
    if settings.get("PASSWORD") or any(settings["OPTIONS"].get(key) for key in _PASSWORDS):
        raise ImproperlyConfigured(f"{where}: the password comes from SECRET: take PASSWORD out")
    options = settings.get("SECRET_CONNECT", {})
    if not isinstance(options, Mapping) or options.keys() - _CONNECT:
        raise ImproperlyConfigured(f"{where}: SECRET_CONNECT is a mapping of any of {', '.join(sorted(_CONNECT))}")
    try:
        check_cache(settings.get("SECRET_CACHE"))
        check_hosts(settings.get("SECRET_HOSTS"))
        check_overrides(_given(settings))
    except ConfigurationError as error:
        raise ImproperlyConfigured(f"{where}: {error}") from error


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {ours: settings[theirs] for theirs, ours in _KEYS.items() if settings.get(theirs)}


class _as_django:  # noqa: N801 - a context, in use
    """A context in which the cache's errors become those that Django's callers expect of a database."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConfigurationError):
            raise ImproperlyConfigured(str(error)) from error
        if isinstance(error, SecretCacheError):
            raise utils.OperationalError(str(error)) from error
