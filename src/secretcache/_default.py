"""The one cache of the process, which every integration finds."""

from __future__ import annotations

from secretcache._cache import SecretCache
from secretcache._errors import ConfigurationError
from secretcache._fork import process_lock

__all__ = ["default_cache", "offer_default_cache", "set_default_cache"]

_cache: SecretCache | None = None


def default_cache() -> SecretCache:
    """The cache of the process, made from the environment (`SecretCache.from_env()`) when it is first asked for.

    Raises:
        ConfigurationError: as `SecretCache.from_env()`.
    """
    global _cache  # noqa: PLW0603 - one for the process is its purpose
    with process_lock():
        if _cache is None:
            made = SecretCache.from_env()
            _cache = _cache or made  # a signal handler may have made one meanwhile
        return _cache


def set_default_cache(cache: SecretCache | None) -> SecretCache | None:
    """Puts a cache in place as the process's own, and returns the one before it.

    None: the next `default_cache()` makes a new one.

    Closes neither.
    """
    global _cache
    if cache is not None and not isinstance(cache, SecretCache):
        raise ConfigurationError(f"cache must be a SecretCache or None, got {type(cache).__name__}")
    with process_lock():
        before, _cache = _cache, cache
    return before


def offer_default_cache(cache: SecretCache) -> bool:
    """Puts a cache in place as the process's own if there is none yet; returns whether it did."""
    global _cache  # noqa: PLW0603 - as above
    with process_lock():
        if _cache is None:
            _cache = cache
        return _cache is cache
