"""A thread-safe cache in front of AWS Secrets Manager that falls back to replica regions and survives rotation.

from secretcache import SecretCache

cache = SecretCache(["ap-northeast-3", "ap-northeast-1"])  # order is preference
cache.get("prod/db")["password"]
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, whose import alone takes 8 ms
if TYPE_CHECKING:
    from secretcache._cache import SecretCache
    from secretcache._client import client
    from secretcache._default import default_cache, set_default_cache
    from secretcache._errors import (
        Attempt,
        CacheClosedError,
        ConfigurationError,
        CredentialsError,
        LoginNotTriedError,
        SecretAccessDeniedError,
        SecretCacheError,
        SecretFormatError,
        SecretKeyError,
        SecretNotFoundError,
        SecretUnavailableError,
    )
    from secretcache._events import Event, Handle
    from secretcache._hooks import RotationEvent
    from secretcache._prefetch import PrefetchResult
    from secretcache._regions.health import RegionHealth
    from secretcache._secret import Secret
    from secretcache._stats import CacheStats, RegionStats
    from secretcache._version import __version__

__all__ = [
    "Attempt",
    "CacheClosedError",
    "CacheStats",
    "ConfigurationError",
    "CredentialsError",
    "Event",
    "Handle",
    "LoginNotTriedError",
    "PrefetchResult",
    "RegionHealth",
    "RegionStats",
    "RotationEvent",
    "Secret",
    "SecretAccessDeniedError",
    "SecretCache",
    "SecretCacheError",
    "SecretFormatError",
    "SecretKeyError",
    "SecretNotFoundError",
    "SecretUnavailableError",
    "__version__",
    "client",
    "default_cache",
    "set_default_cache",
]

# A framework that imports the package at start-up pays for it when it reads a secret: names are loaded when they are
# first used.
_ROOMS = {
    "_cache": ("SecretCache",),
    "_client": ("client",),
    "_default": ("default_cache", "set_default_cache"),
    "_errors": tuple(name for name in __all__ if name == "Attempt" or name.endswith("Error")),
    "_events": ("Event", "Handle"),
    "_hooks": ("RotationEvent",),
    "_prefetch": ("PrefetchResult",),
    "_regions.health": ("RegionHealth",),
    "_secret": ("Secret",),
    "_stats": ("CacheStats", "RegionStats"),
    "_version": ("__version__",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - not needed by the import itself

    value: object = getattr(import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
