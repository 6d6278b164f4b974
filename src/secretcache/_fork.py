"""What happens to caches when the process forks: the child gets locks, threads, clients and chance of its own."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secretcache._cache import SecretCache

__all__ = ["watch"]

_caches: weakref.WeakSet[SecretCache] = weakref.WeakSet()
_held: list[SecretCache] = []


def watch(cache: SecretCache) -> None:
    """Sees to it that a child of this process can use the cache."""
    _caches.add(cache)


def _before() -> None:
    # No thread may be half-way through a change of what the child will copy. No lock of ours is held for longer than
    # a decision takes.
    _held.extend(_caches)
    for cache in _held:
        cache._before_fork()  # noqa: SLF001


def _after_in_parent() -> None:
    while _held:
        _held.pop()._after_fork_in_parent()  # noqa: SLF001


def _after_in_child() -> None:
    while _held:
        _held.pop()._after_fork_in_child()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
