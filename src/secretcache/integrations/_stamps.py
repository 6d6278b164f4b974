"""Soft replacement: when a connection has been overtaken by a rotation.

Sessions survive a change of their password, so a connection is replaced between two uses and never in one. It is due
when AWSCURRENT is neither the version it logged in with, nor the one AWSCURRENT was at that moment: a connection that
bridged the window with AWSPENDING or AWSPREVIOUS is not due at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secretcache._errors import CacheClosedError

if TYPE_CHECKING:
    from secretcache._cache import SecretCache
    from secretcache._secret import Secret

__all__ = ["Stamp", "is_due", "stamp_of"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a connection logged in with. Version ids only."""

    logged_in_with: str
    current_then: str | None
    """What AWSCURRENT was at that moment, as far as this process knew."""


def stamp_of(cache: SecretCache, secret_id: str, secret: Secret) -> Stamp:
    """The stamp of a connection that is about to log in with `secret`.

    Taken before the login: if AWSCURRENT moves during it, the connection is due.
    """
    return Stamp(secret.version_id, _current(cache, secret_id))


def is_due(cache: SecretCache, secret_id: str, stamp: Stamp) -> bool:
    """Whether a connection is to be replaced before its next use. Asks nobody: decides by what the cache holds.

    Never due once the cache is closed: the connection works, and a new one could not log in.
    """
    today = _current(cache, secret_id)
    return today is not None and today not in (stamp.logged_in_with, stamp.current_then)


def _current(cache: SecretCache, secret_id: str) -> str | None:
    held = cache._held(secret_id)  # noqa: SLF001 - without a lock, and counts as a read: the secret is in use
    if held is not None:
        return held.version_id
    try:
        return cache._held_version(secret_id)  # noqa: SLF001
    except CacheClosedError:
        return None
