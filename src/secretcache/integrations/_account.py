"""One secret as a driver's module logs in with it: the bridge over a rotation, and when a connection is due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from secretcache._errors import ConfigurationError
from secretcache.integrations._credentials import (
    app_region_of,
    check_overrides,
    credentials_of,
    target_of,
)
from secretcache.integrations._find import cache_or_default
from secretcache.integrations._stamps import is_due, stamp_of
from secretcache.integrations._words import PLAIN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from secretcache._cache import SecretCache
    from secretcache._secret import Secret
    from secretcache.integrations._credentials import Credentials
    from secretcache.integrations._stamps import Stamp
    from secretcache.integrations._words import Words

__all__ = ["Account", "placed", "taken"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Account:
    """Which secret, through which cache, to which place."""

    secret_id: str
    refused: Callable[[Exception], bool]
    cache: SecretCache | str | None = None
    hosts: Mapping[str, str] | None = None
    app_region: str | None = None
    bridge: Mapping[str, Any] | None = None
    """What `SecretCache.connect` is told besides: `timeout`, `max_refusals`, `retry_refused_after`, `target`."""
    default_username: str | None = None
    """As whom to log in with a secret that has no `username`."""
    words: Words = PLAIN
    """How the reader writes the settings that may say more than the secret."""
    pinned_user: str | None = None
    """The user that the settings name: for a secret that names none."""

    def log_in(
        self,
        login: Callable[[Credentials], _T],
        overrides: Mapping[str, Any] | None = None,
        *,
        elsewhere: bool = False,
    ) -> tuple[_T, Stamp]:
        """Logs in, and tells with what.

        Args:
            login: logs in once.
            overrides: what wins over the secret, by our names.
            elsewhere: whether the driver's own options name a place without a host.
        """
        cache = cache_or_default(self.cache)
        given = check_overrides(overrides, self.words)

        def one(secret: Secret) -> tuple[_T, Stamp]:
            # Before the login: if AWSCURRENT moves meanwhile, this connection is due.
            stamp = stamp_of(cache, self.secret_id, secret)
            return login(self._credentials(cache, secret, given, elsewhere=elsewhere)), stamp

        return cache.connect(self.secret_id, one, is_auth_error=self.refused, **self._bridging(cache, given))

    async def alog_in(
        self,
        login: Callable[[Credentials], Awaitable[_T]],
        overrides: Mapping[str, Any] | None = None,
        *,
        elsewhere: bool = False,
    ) -> tuple[_T, Stamp]:
        """`log_in` for asyncio."""
        cache = cache_or_default(self.cache)
        given = check_overrides(overrides, self.words)

        async def one(secret: Secret) -> tuple[_T, Stamp]:
            stamp = stamp_of(cache, self.secret_id, secret)
            return await login(self._credentials(cache, secret, given, elsewhere=elsewhere)), stamp

        return await cache.aconnect(self.secret_id, one, is_auth_error=self.refused, **self._bridging(cache, given))

    def is_due(self, stamp: Stamp | None) -> bool:
        """Whether a connection is to be replaced when it is next taken from its pool."""
        return stamp is not None and is_due(cache_or_default(self.cache), self.secret_id, stamp)

    def region(self, cache: SecretCache) -> str:
        """The region in which the application runs."""
        return self.app_region or app_region_of(cache)

    def _bridging(self, cache: SecretCache, overrides: Mapping[str, object]) -> dict[str, Any]:
        target = target_of(self.secret_id, overrides, self.hosts or {}, self.region(cache))
        return {"target": target, **(self.bridge or {})}

    def _credentials(
        self, cache: SecretCache, secret: Secret, overrides: Mapping[str, object], *, elsewhere: bool
    ) -> Credentials:
        given = dict(overrides)
        if self.default_username is not None and "username" not in secret:
            given.setdefault("username", self.default_username)
        return credentials_of(
            secret,
            overrides=given,
            hosts=self.hosts,
            app_region=self.region(cache),
            words=self.words,
            elsewhere=elsewhere,
            pinned_user=self.pinned_user,
        )


def taken(options: dict[str, Any], places: Mapping[str, str], secrets: tuple[str, ...]) -> dict[str, Any]:
    """Takes out of a driver's options what overrides the secret: by the driver's name for it, our name.

    Raises:
        ConfigurationError: an option says what the secret is there to say.
    """
    for name in secrets:
        if name in options:
            raise ConfigurationError(f"{name} must not be given: it comes from the secret")
    found = {ours: options.pop(theirs) for theirs, ours in places.items() if theirs in options}
    return {name: value for name, value in found.items() if value is not None}


def placed(credentials: Credentials, places: Mapping[str, str]) -> dict[str, Any]:
    """The credentials by the driver's names, without what the secret does not tell."""
    found = {theirs: getattr(credentials, ours) for theirs, ours in places.items()}
    return {name: value for name, value in found.items() if value is not None}
