"""Decorators that pass a secret to a function. They read when the function is called, so a rotation reaches it."""

from __future__ import annotations

import inspect
import json
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache.compat.aws_secretsmanager_caching.secret_cache import SecretCache

__all__ = ["InjectKeywordedSecretString", "InjectSecretString"]


class InjectSecretString:
    """Passes a secret's text as the first argument, or as the first after `self` or `cls`.

    Args:
        secret_id: the secret's name or ARN.
        cache: where it is read.
    """

    def __init__(self, secret_id: str, cache: SecretCache) -> None:
        self.secret_id = secret_id
        self.cache = cache

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function with that argument filled in."""

        @wraps(func)
        def call(*args: Any, **kwargs: Any) -> Any:
            own = args[:1] if _is_bound(func, call, args) else ()
            return func(*own, self.cache.get_secret_string(secret_id=self.secret_id), *args[len(own) :], **kwargs)

        return call


class InjectKeywordedSecretString:
    """Passes keys of a JSON secret as keyword arguments.

    Args:
        secret_id: the secret's name or ARN.
        cache: where it is read.
        **kwargs: the function's argument, and the key of the secret it takes.
    """

    def __init__(self, secret_id: str, cache: SecretCache, **kwargs: str) -> None:
        self.secret_id = secret_id
        self.cache = cache
        self.kwarg_map = kwargs

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function with those arguments filled in."""

        @wraps(func)
        def call(*args: Any, **kwargs: Any) -> Any:
            return func(*args, **self._values(), **kwargs)

        return call

    def _values(self) -> dict[str, Any]:
        held = _object_of(self.cache.get_secret_string(secret_id=self.secret_id))
        if held is None:
            raise RuntimeError("Cached secret is not valid JSON, or no JSON object")
        missing = [key for key in self.kwarg_map.values() if key not in held]
        if missing:
            raise RuntimeError(f"Cached secret does not contain key {missing[0]}")
        return {argument: held[key] for argument, key in self.kwarg_map.items()}


def _object_of(text: str | None) -> dict[str, Any] | None:
    # The decoder's error holds the whole text: it ends here.
    try:
        held = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None


def _is_bound(func: Callable[..., Any], call: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether the first argument is the instance or the class that `call` is a method of.

    An argument whose class merely has an attribute of the function's name, a str for a function called `join`, is not.
    """
    if not args:
        return False
    owner = args[0] if isinstance(args[0], type) else type(args[0])
    found = inspect.getattr_static(owner, func.__name__, None)
    if found is None or isinstance(found, staticmethod):
        return False
    defined_in = func.__qualname__.rpartition(".")[0]
    return found is call or any(defined_in == one.__qualname__ for one in owner.__mro__)
