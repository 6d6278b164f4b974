"""Settings that come from secrets and follow their rotation, without a read when Django starts.

    from secretcache.integrations.django.settings import redis_options, secret_keys, secret_text

    SECRET_KEY, SECRET_KEY_FALLBACKS = secret_keys("prod/django", "secret_key")
    EMAIL_HOST_USER = secret_text("prod/smtp", "username")  # since Django 6.1 in OPTIONS of MAILERS
    EMAIL_HOST_PASSWORD = secret_text("prod/smtp", "password")
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://",  # the secret says which host; one written here wins
            "OPTIONS": redis_options("prod/redis"),
        }
    }

Each is read where Django uses it, and then costs a lookup in the cache. Code that is particular about types gets the
`str` of the moment by `str(settings.EMAIL_HOST_PASSWORD)`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from secretcache._errors import ConfigurationError, SecretFormatError
from secretcache.integrations._find import cache_or_default, check_cache
from secretcache.integrations._words import Words

try:
    from django.core.exceptions import ImproperlyConfigured
except ImportError as error:
    raise ImportError('secretcache.integrations.django needs Django: pip install "secretcache[django]"') from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from secretcache._cache import SecretCache
    from secretcache._secret import Secret

__all__ = ["SecretText", "SecretTexts", "redis_options", "secret_keys", "secret_text"]

_OF_CACHES = Words({"host": "host", "port": "port"}, "the URL of LOCATION")
_UNPICKLED = "a setting from a secret is not pickled, so that its value is not written anywhere"


def secret_text(secret_id: str, key: str | None = None, *, cache: str | None = None) -> SecretText:
    """A setting that is a text of a secret, whatever it is at the moment.

    Args:
        secret_id: the secret's name or ARN.
        key: the key of a JSON secret; None for the secret's whole text.
        cache: the dotted path of the cache; the process's `default_cache()` unless told otherwise.

    Raises:
        ImproperlyConfigured: an argument is not sound, or, where the text is used, the cache's own settings.
    """
    source = _Source(secret_id, key, cache)
    return SecretText(lambda: source.text(source.cache().get(secret_id)), secret_id)


def secret_keys(secret_id: str, key: str | None = None, *, cache: str | None = None) -> tuple[SecretText, SecretTexts]:
    """SECRET_KEY and SECRET_KEY_FALLBACKS: AWSCURRENT and AWSPREVIOUS of one secret.

    What was signed before a rotation stays valid until the next one. A process that notices a rotation signs with the
    key before for one more `ttl`, and accepts both: by then every other process has noticed too, and none is handed a
    signature that it cannot know. One that starts within that time signs with the new key at once.

    Args:
        secret_id: the secret's name or ARN.
        key: the key of a JSON secret; None for the secret's whole text.
        cache: the dotted path of the cache; the process's `default_cache()` unless told otherwise.

    Raises:
        ImproperlyConfigured: as `secret_text`.
    """
    keys = _Keys(_Source(secret_id, key, cache))
    return SecretText(lambda: keys.now()[0], secret_id), SecretTexts(lambda: keys.now()[1:], secret_id)


def redis_options(  # noqa: PLR0913 - what an account is, each named
    secret_id: str,
    *,
    tls: bool = False,
    cache: str | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    bridge: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """OPTIONS of Django's Redis cache, whose connections then log in with a secret, also while it rotates.

    Args:
        secret_id: the secret's name or ARN: `password`, and perhaps `username`, `host` and `port`.
        tls: whether LOCATION is a `rediss://` URL.
        cache: as for `secret_text`.
        hosts: the server's host by the region that the application runs in.
        app_region: the region that the application runs in, if the environment does not tell.
        bridge: options of `SecretCache.connect`, such as `timeout` and `max_refusals`.
    """
    from secretcache.integrations.redis import following  # noqa: PLC0415 - says what is missing, if it is

    redis = import_module("redis")
    base = redis.SSLConnection if tls else redis.Connection
    made = following(secret_id, base, _OF_CACHES, cache=cache, hosts=hosts, app_region=app_region, bridge=bridge)
    return {"connection_class": made}


class SecretText:
    """A text that is read anew at each use: `str()` of it, its methods, and what else is done with a `str`.

    It is no `str`: nothing could follow a rotation then. Its `repr` hides the value, its truth is True without a look.
    """

    def __init__(self, read: Callable[[], str], secret_id: str) -> None:
        self._read = read
        self._secret_id = secret_id

    def __str__(self) -> str:
        return self._read()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._secret_id!r}>"

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(str(self), name)

    def __len__(self) -> int:
        return len(str(self))

    def __iter__(self) -> Iterator[str]:
        return iter(str(self))

    def __contains__(self, part: object) -> bool:
        return str(part) in str(self)

    def __getitem__(self, index: SupportsIndex | slice) -> str:
        return str(self)[index]

    def __add__(self, other: object) -> str:
        return str(self) + str(other)

    def __radd__(self, other: object) -> str:
        return str(other) + str(self)

    def __format__(self, format_spec: str) -> str:
        return format(str(self), format_spec)

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, (str, SecretText)) else NotImplemented

    __hash__ = None  # type: ignore[assignment] # it changes

    def __deepcopy__(self, memo: object) -> SecretText:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(_UNPICKLED)


class SecretTexts(tuple[str, ...]):  # noqa: SLOT001 - one with contents of its own
    """Texts that are read anew at each use. A tuple, since Django insists on one; as such it is empty."""

    _read: Callable[[], tuple[str, ...]]
    _secret_id: str

    def __new__(cls, read: Callable[[], tuple[str, ...]], secret_id: str) -> SecretTexts:  # noqa: D102, PYI034 - its constructor
        made = super().__new__(cls)
        made._read, made._secret_id = read, secret_id
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __bool__(self) -> bool:
        return bool(self._read())

    def __contains__(self, text: object) -> bool:
        return text in self._read()

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def __add__(self, other: Any) -> Any:
        return self._read() + other

    def __eq__(self, other: object) -> bool:
        return self._read() == other

    __hash__ = None  # type: ignore[assignment] # it changes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._secret_id!r}>"

    def __deepcopy__(self, memo: object) -> SecretTexts:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(_UNPICKLED)


class _Source:
    """A text's place."""

    def __init__(self, secret_id: str, key: str | None, cache: str | None) -> None:
        for argument, value in (("secret_id", secret_id), ("key", key)):
            if not (isinstance(value, str) and value) and (argument, value) != ("key", None):
                raise ImproperlyConfigured(f"{argument} must be a text of one character or more, got {value!r}")
        self.secret_id, self._key, self._cache = secret_id, key, cache
        self._checked(check_cache)

    def cache(self) -> SecretCache:
        found: SecretCache = self._checked(cache_or_default)
        return found

    def text(self, secret: Secret) -> str:
        if self._key is None:
            return secret.string
        if self._key not in secret or not isinstance(secret[self._key], str):
            raise SecretFormatError(f"secret {secret.name!r} (version {secret.version_id}) has no text {self._key!r}")
        return str(secret[self._key])

    def _checked(self, look: Callable[[Any], Any]) -> Any:
        try:
            return look(self._cache)
        except ConfigurationError as error:
            raise ImproperlyConfigured(f"setting from {self.secret_id!r}: {error}") from error


class _Keys:
    """Two versions of a key: which one signs now, and which are accepted besides."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._seen: str | None = None
        self._new_until = 0.0

    def now(self) -> tuple[str, ...]:
        """The one that signs, then the others."""
        cache = self._source.cache()
        current, previous = cache.get_pair(self._source.secret_id)
        texts = [self._source.text(current)]
        try:
            texts += [self._source.text(previous)] if previous is not None else []
        except SecretFormatError:  # an older version may have been another kind of secret
            return tuple(texts)
        return tuple(reversed(texts) if self._is_new(cache, current.version_id) else texts)

    def _is_new(self, cache: SecretCache, version: str) -> bool:
        """Whether other processes may not have noticed yet that this version is current."""
        now = cache._runtime.now()  # noqa: SLF001
        if self._seen not in (None, version):
            self._new_until = now + cache._settings.ttl  # noqa: SLF001
        self._seen = version
        return now < self._new_until
