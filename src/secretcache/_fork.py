"""What happens to caches when their process forks, or is restored from a snapshot (AWS Lambda SnapStart).

A child gets locks, threads, clients, flights and chance of its own, and keeps the values. What is restored starts anew.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from typing import TYPE_CHECKING

from secretcache._transport._botocore import making

if TYPE_CHECKING:
    from secretcache._cache import SecretCache

__all__ = ["process_lock", "watch"]

_caches: weakref.WeakSet[SecretCache] = weakref.WeakSet()
_held: list[SecretCache] = []


_locks: dict[int, threading.Lock] = {}


def process_lock() -> threading.Lock:
    """The lock of this process for what happens once in it: no thread of a parent can hold it."""
    return _locks.setdefault(os.getpid(), threading.Lock())


def begin_in_child() -> None:
    """Forgets the parent's threads, which are not in this process."""
    making.start_anew()


def watch(cache: SecretCache) -> None:
    """Sees to it that a child of this process, or what is restored from its snapshot, can use the cache."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        _register_restore()
    _caches.add(cache)


@functools.cache
def _register_restore() -> None:
    try:
        from snapshot_restore_py import register_after_restore  # noqa: PLC0415 - there only under Lambda
    except ImportError:
        return
    register_after_restore(_after_restore)


def _after_restore() -> None:
    for cache in list(_caches):
        cache._after_restore()  # noqa: SLF001


def _before() -> None:
    # A child forked in the middle of an import could never finish it, and no thread may be half-way through a change
    # of what the child will copy. No lock of ours is held for longer than a decision takes.
    making.pause()
    _held.extend(_caches)
    for cache in _held:
        cache._before_fork()  # noqa: SLF001


def _after_in_parent() -> None:
    while _held:
        _held.pop()._after_fork_in_parent()  # noqa: SLF001
    making.go_on()


def _after_in_child() -> None:
    begin_in_child()
    while _held:
        _held.pop()._after_fork_in_child()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
