"""Where a database alias gets its login from, as its settings say."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import utils

from secretcache._errors import ConfigurationError, SecretCacheError
from secretcache.integrations import _libpq
from secretcache.integrations._account import Account
from secretcache.integrations._credentials import (
    app_region_of,
    check_hosts,
    check_overrides,
    credentials_of,
)
from secretcache.integrations._find import cache_or_default, check_cache
from secretcache.integrations._mysql import names_a_place
from secretcache.integrations._words import Words

if TYPE_CHECKING:
    from secretcache._cache import SecretCache
    from secretcache.integrations._credentials import Credentials
    from secretcache.integrations._stamps import Stamp

__all__ = ["NotConfiguredError", "Opened", "Source", "check"]

_T = TypeVar("_T")
_OVERRIDES = {"HOST": "host", "PORT": "port", "NAME": "dbname"}
_PASSWORDS = ("password", "passwd")
_BRIDGE = {"timeout", "max_refusals", "retry_refused_after"}
_followed: weakref.WeakKeyDictionary[SecretCache, set[str]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Opened(Generic[_T]):
    """A login that worked: what it returned, and what it was made with."""

    connection: _T
    stamp: Stamp
    credentials: Credentials = field(repr=False)


@dataclass(frozen=True)
class Source:
    """The secret of one alias."""

    account: Account
    overrides: Mapping[str, Any]
    elsewhere: bool
    """Whether OPTIONS names a place: a service, a socket, or what the driver calls its host."""
    database_name: str | None
    """The driver's name for the database, where the settings leave it to the secret."""
    needs_database: bool

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        alias: str,
        *,
        refused: Callable[[Exception], bool],
        bridge: Mapping[str, Any],
        vendor: str,
    ) -> Source:
        """As the alias's settings, which were checked, say it. Finds the cache, and reads nothing."""
        options, postgresql = settings["OPTIONS"], vendor == "postgresql"
        with _as_django():
            cache = cache_or_default(settings.get("SECRET_CACHE"))
        account = Account(
            settings["SECRET"],
            refused,
            cache,
            settings.get("SECRET_HOSTS") or {},
            app_region_of(cache),
            {**bridge, **settings.get("SECRET_BRIDGE", {})},
            words=words_of(alias, vendor),
            pinned_user=settings.get("USER") or options.get("user") or None,
        )
        # NAME None is Django's own way to say "no database of ours": it makes one, say.
        left = settings["NAME"] == ""
        return cls(
            account,
            _overrides(settings),
            elsewhere=(_libpq.names_a_place if postgresql else names_a_place)(options),
            database_name=(("dbname" if postgresql else "database") if left else None),
            needs_database=left and postgresql and not options.get("service"),
        )

    def connect(self, log_in: Callable[[Credentials], _T]) -> Opened[_T]:
        """Logs in with the secret, bridging a rotation; the driver's errors are raised as they are."""
        with _as_django():
            self._follow()
            (connection, credentials), stamp = self.account.log_in(
                lambda credentials: (log_in(credentials), credentials), self.overrides, elsewhere=self.elsewhere
            )
        return Opened(connection, stamp, credentials)

    def completed(self, params: Mapping[str, Any], credentials: Credentials) -> dict[str, Any]:
        """Parameters as a driver takes them: what the settings say of the place wins. Nothing of it is kept."""
        filled = {**params, "user": credentials.username, "password": credentials.password}
        if "unix_socket" not in params:
            if credentials.host:
                filled.setdefault("host", credentials.host)
            if credentials.port:
                filled.setdefault("port", credentials.port)
        if self.database_name and credentials.dbname:
            filled.setdefault(self.database_name, credentials.dbname)
        if self.needs_database and not filled.get("dbname"):
            where = self.account.words.where
            raise ImproperlyConfigured(f"{where}: the secret has no 'dbname': set NAME, or add the key")
        return filled

    def database(self) -> str:
        """The database that the secret names, or an empty text."""
        with _as_django():
            secret = cache_or_default(self.account.cache).get(self.account.secret_id)
            region = self.account.app_region
            return credentials_of(secret, app_region=region, words=self.account.words, elsewhere=True).dbname or ""

    def is_due(self, stamp: Stamp) -> bool:
        """Whether a connection made so should be replaced. Asks no region."""
        return self.account.is_due(stamp)

    def _follow(self) -> None:
        # A hook keeps the secret fresh while connections live on and nobody logs in.
        cache, secret_id = cache_or_default(self.account.cache), self.account.secret_id
        followed = _followed.setdefault(cache, set())
        if secret_id not in followed:
            followed.add(secret_id)
            cache.add_rotation_hook(secret_id, _noticed)


class NotConfiguredError(ImproperlyConfigured, utils.OperationalError):
    """Nothing says where Secrets Manager is. Also a database that cannot be reached: `makemigrations` goes on then."""


def words_of(alias: str, vendor: str) -> Words:
    """What an alias's settings may say, by their names."""
    names = {ours: theirs for theirs, ours in _OVERRIDES.items()} | {"username": "USER"}
    of_vendor = ("hostaddr", "service") if vendor == "postgresql" else ("unix_socket", "read_default_file")
    elsewhere = tuple(f'OPTIONS["{name}"]' for name in of_vendor)
    return Words(names, f"DATABASES[{alias!r}]", elsewhere, lists=vendor == "postgresql")


def check(settings: Mapping[str, Any], alias: str, vendor: str) -> None:
    """Refuses settings of an alias that are not sound, by name. Reads nothing."""
    where, secret_id = f"DATABASES[{alias!r}]", settings.get("SECRET")
    if not isinstance(secret_id, str) or not secret_id:
        raise ImproperlyConfigured(f"{where}: SECRET must be the name or ARN of the database's secret")
    if settings.get("PASSWORD") or any(settings["OPTIONS"].get(key) for key in _PASSWORDS):
        raise ImproperlyConfigured(f"{where}: the password comes from SECRET: take PASSWORD out")
    bridge = settings.get("SECRET_BRIDGE", {})
    if not isinstance(bridge, Mapping) or bridge.keys() - _BRIDGE:
        raise ImproperlyConfigured(f"{where}: SECRET_BRIDGE must be a mapping of {', '.join(sorted(_BRIDGE))}")
    try:
        check_cache(settings.get("SECRET_CACHE"))
        check_hosts(settings.get("SECRET_HOSTS"))
        check_overrides(_overrides(settings), words_of(alias, vendor))
    except ConfigurationError as error:
        told = str(error)
        raise ImproperlyConfigured(told if told.startswith(where) else f"{where}: {told}") from error


def _overrides(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {ours: settings[theirs] for theirs, ours in _OVERRIDES.items() if settings.get(theirs)}


def _noticed(_: object) -> None:
    """A rotation needs nothing done at once: a connection that is due goes when its use ends."""


class _as_django:  # noqa: N801 - a context, in use
    """A context in which the cache's errors become those that Django's callers expect of a database."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConfigurationError):
            raise NotConfiguredError(str(error)) from error
        if isinstance(error, SecretCacheError):
            raise utils.OperationalError(str(error)) from error
