"""Flask: the cache made from the application's config, and config values that follow rotation: `secretcache[flask]`.

    secrets = Secrets(app)  # or init_app(app); SECRETCACHE_REGIONS and so on in app.config
    secrets.follow("SECRET_KEY", "prod/flask", key="secret_key")
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"plugins": ["secretcache"], "secretcache": "prod/db"}

Nothing here reads a secret before the first request.
"""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

try:
    from flask import appcontext_pushed, current_app, g
except ImportError as missing:
    raise ImportError('this needs Flask 3.0 or newer: pip install "secretcache[flask]"') from missing

from secretcache._cache import SecretCache
from secretcache._default import offer_default_cache
from secretcache._errors import ConfigurationError, SecretCacheError, SecretFormatError
from secretcache._settings import settings_from_env
from secretcache.integrations._find import cache_or_default, check_cache

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Flask

    from secretcache._hooks import RotationEvent
    from secretcache._secret import Secret

__all__ = ["AppSecrets", "Secrets"]

_NAME = "secretcache"
_PREFIX = "SECRETCACHE_"
_CACHE = "SECRETCACHE_CACHE"
_FALLBACKS = "_FALLBACKS"
_log = logging.getLogger("secretcache")


class Secrets:
    """The Flask extension.

    The cache is, in this order: `cache`, here or as SECRETCACHE_CACHE in the config (a cache, or the dotted path of one
    or of what makes one); one made from the config, where that has SECRETCACHE_REGIONS, SECRETCACHE_TTL and so on, as
    the environment has them for `SecretCache.from_env()`, whose values they win over; the process's `default_cache()`.
    One made from the config becomes the `default_cache()` of a process that has none yet, so that engines find it.

    Args:
        app: the application, if it is there already; else `init_app`.
        cache: the cache to use instead of what the config says.
    """

    def __init__(self, app: Flask | None = None, *, cache: SecretCache | str | None = None) -> None:
        check_cache(cache)
        self._given = cache
        self._followed: list[_Rule] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Takes up an application. Its config is read now; nothing is asked of AWS.

        Raises:
            ConfigurationError: a SECRETCACHE_ setting is unknown, malformed or out of range; it is named.
        """
        own = _cache_of(app.config, self._given)
        state = AppSecrets(app.config, own, self._followed)
        app.extensions[_NAME] = state
        appcontext_pushed.connect(state._pushed, app)  # noqa: SLF001 - weakly: the application holds it
        app.before_request(state._fail_if_missing)  # noqa: SLF001

    @property
    def cache(self) -> SecretCache:
        """The cache of the application whose context this is."""
        state: AppSecrets = current_app.extensions[_NAME]
        return state.cache

    def follow(self, name: str, secret_id: str, *, key: str | None = None, fallbacks: str | None = None) -> None:
        """Has a config value come from a secret, and follow its rotations.

        It is read when an application context is pushed, before a request's session is opened; from memory, once the
        secret is there. A request whose value cannot be had ends with 500. A rotation is noticed within the cache's
        `ttl`; an extension that copies its config when it starts does not see it.

        With `fallbacks` the values before it are kept in a list, newest first: the one of AWSPREVIOUS, and what was in
        that list to begin with. When a rotation is noticed, the new value is accepted at once, in that list, and takes
        its place as *the* value only `ttl` seconds later: by then every process has noticed, and accepts what is signed
        with it.

        Args:
            name: the config key, for example `"SECRET_KEY"`.
            secret_id: the secret's name or ARN.
            key: the key of a JSON secret; the whole text unless given.
            fallbacks: the config key of the list. For SECRET_KEY it is SECRET_KEY_FALLBACKS (Flask 3.1) unless given.

        Raises:
            ConfigurationError: an argument is not sound, or the name is followed already.
        """
        for argument, value in (("name", name), ("secret_id", secret_id)):
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"{argument} must be a text of one character or more, got {value!r}")
        if any(name in (one.name, one.fallbacks) for one in self._followed):
            raise ConfigurationError(f"{name} is followed already")
        if fallbacks is None and name == "SECRET_KEY":
            fallbacks = name + _FALLBACKS
        self._followed.append(_Rule(name, secret_id, key, fallbacks))


class AppSecrets:
    """What one application has: `app.extensions["secretcache"]`."""

    def __init__(self, config: dict[str, Any], cache: SecretCache | str | None, rules: list[_Rule]) -> None:
        self._config, self._cache, self._rules = config, cache, rules
        self._values: dict[str, _Value] = {}

    @property
    def cache(self) -> SecretCache:
        """The application's cache, made or found when it is first asked for."""
        return cache_or_default(self._cache)

    def refresh_config(self) -> None:
        """Sets the followed config values as they are now. Each application context does it by itself.

        Raises:
            SecretCacheError: a secret cannot be had, or has no such key.
        """
        for rule in tuple(self._rules):
            self._value_of(rule).update(self._config, self.cache)

    def _value_of(self, rule: _Rule) -> _Value:
        value = self._values.setdefault(rule.name, _Value(rule))
        if not value.hooked:  # so that it is refreshed in the background, and a rotation noticed while nobody asks
            value.hooked = True
            self.cache.add_rotation_hook(rule.secret_id, self._rotated)
        return value

    def _rotated(self, _: RotationEvent) -> None:
        self.refresh_config()

    def _pushed(self, _: Flask, **__: Any) -> None:
        # An error raised while Flask pushes its contexts is hidden by the one of popping them: it waits for the view.
        try:
            self.refresh_config()
        except SecretCacheError as error:
            g.secretcache_error = error
            _log.warning("config values that come from secrets: %s", error)

    def _fail_if_missing(self) -> None:
        error: SecretCacheError | None = g.pop("secretcache_error", None)
        if error is not None:
            raise error


@dataclass(frozen=True)
class _Rule:
    """What `follow` was told."""

    name: str
    secret_id: str
    key: str | None
    fallbacks: str | None

    def read(self, secret: Secret) -> Any:
        if self.key is None:
            return secret.string
        if self.key not in secret:
            raise SecretFormatError(f"secret {secret.name!r} has no key {self.key!r}, which config {self.name} follows")
        return secret[self.key]


@dataclass(eq=False)
class _Value:
    """One config value of one application. Requests may update it at once: each leaves it whole, the last wins."""

    rule: _Rule
    hooked: bool = False
    version: str = ""
    """The version that was seen last."""
    switch_at: float = math.inf
    """When it takes its place as the value, on the cache's clock."""
    _first: tuple[Any, ...] = field(default=(), repr=False)
    """The fallbacks that the config had of itself."""

    def update(self, config: dict[str, Any], cache: SecretCache) -> None:
        secret = cache.get(self.rule.secret_id)
        if secret.version_id == self.version and cache._now() < self.switch_at:  # noqa: SLF001
            return
        if self.rule.fallbacks is None:
            config[self.rule.name] = self.rule.read(secret)
            self.version = secret.version_id
        else:
            self._update_with_fallbacks(config, cache, self.rule.fallbacks)

    def _update_with_fallbacks(self, config: dict[str, Any], cache: SecretCache, fallbacks: str) -> None:
        current, previous = cache.get_pair(self.rule.secret_id)
        now = cache._now()  # noqa: SLF001
        if not self.version:
            self._first = tuple(config.get(fallbacks) or ())
        new, older = self.rule.read(current), [*self._older(previous), *self._first]
        if not self.version or (self.version == current.version_id and now >= self.switch_at):
            before = config.get(self.rule.name) if self.version else None
            config[fallbacks] = _others(new, [before, *older])
            config[self.rule.name] = new
            self.switch_at = math.inf
        elif self.version != current.version_id:
            config[fallbacks] = _others(config[self.rule.name], [new, *older])
            self.switch_at = now + cache._settings.ttl  # noqa: SLF001
        self.version = current.version_id  # last: who finds it finds the rest in place

    def _older(self, previous: Secret | None) -> list[Any]:
        if previous is None:
            return []
        try:
            return [self.rule.read(previous)]
        except SecretFormatError:  # from before the secret had that key
            return []


def _others(value: Any, values: list[Any]) -> list[Any]:
    """Each of them once, without that one."""
    kept: list[Any] = []
    for one in values:
        if one is not None and one != value and one not in kept:
            kept.append(one)
    return kept


def _cache_of(config: Mapping[str, Any], given: SecretCache | str | None) -> SecretCache | str | None:
    named = config.get(_CACHE) if given is None else given
    check_cache(named)
    settings = {name: _text(value) for name, value in config.items() if name.startswith(_PREFIX) and name != _CACHE}
    if not settings:
        return named
    if named is not None:
        raise ConfigurationError(f"the config has {', '.join(sorted(settings))}, but the cache is given: choose one")
    environment = {name: text for name, text in os.environ.items() if name.startswith(_PREFIX)}
    cache = SecretCache(**settings_from_env({**environment, **settings}))
    offer_default_cache(cache)
    return cache


def _text(value: Any) -> str:
    """A setting as the environment would have it."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={one}" for key, one in value.items())
    return str(value)
