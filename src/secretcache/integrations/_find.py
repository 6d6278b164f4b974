"""Which cache an integration uses: the process's own, or the one its settings name. Found when it is first needed."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from secretcache._cache import SecretCache
from secretcache._default import default_cache
from secretcache._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cache_or_default", "check_cache"]

_made: dict[tuple[str, int], tuple[Callable[[], object], SecretCache]] = {}
"""By path and by the function found there: the cache it made. A forked child goes on with its parent's."""
_locks: dict[int, threading.RLock] = {}  # type: ignore[valid-type,unused-ignore] # a function until Python 3.13


def cache_or_default(cache: SecretCache | str | None) -> SecretCache:
    """The cache meant by a setting.

    Args:
        cache: None for the process's `default_cache()`; a cache; or the dotted path of one, `"package.module:name"`
            or `"package.module.name"`. A function of no arguments at that path is called once, and what it makes kept.

    Raises:
        ConfigurationError: the path leads to nothing, or to no cache; it is named.
    """
    check_cache(cache)
    if cache is None:
        return default_cache()
    if isinstance(cache, SecretCache):
        return cache
    found = _imported(cache)
    if isinstance(found, SecretCache):
        return found
    if not callable(found) or isinstance(found, type):
        raise _unsound(cache, f"leads to a {_kind(found)}, not to a SecretCache or a function that makes one")
    return _made_by(cache, found)


def check_cache(cache: object) -> None:
    """What can be checked of the setting before the cache is needed: nothing is imported and nothing made."""
    if cache is None or isinstance(cache, SecretCache):
        return
    if not isinstance(cache, str):
        raise ConfigurationError(f"cache must be a SecretCache, its dotted path or None, got {type(cache).__name__}")
    module, _, name = _split(cache)
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise _unsound(cache, 'must be a path such as "package.module:cache"')


def _split(path: str) -> tuple[str, str, str]:
    return path.partition(":") if ":" in path else path.rpartition(".")


def _imported(path: str) -> Any:
    module, _, name = _split(path)
    try:
        return attrgetter(name)(import_module(module))
    except (ImportError, AttributeError) as error:
        raise _unsound(path, f"cannot be imported: {error}") from error


def _made_by(path: str, make: Callable[[], object]) -> SecretCache:
    with _locks.setdefault(os.getpid(), threading.RLock()):  # a lock held at a fork stays held in the child
        key = (path, id(make))
        if key not in _made:
            made = make()
            if not isinstance(made, SecretCache):
                raise _unsound(path, f"made a {_kind(made)}, not a SecretCache")
            _made[key] = (make, made)  # with the function: its id is taken as long as it lives
        return _made[key][1]


def _kind(value: object) -> str:
    return type(value).__name__


def _unsound(path: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"cache: {path!r} {why}")
