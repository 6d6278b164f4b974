"""What happens to caches when their process forks, or is restored from a snapshot (AWS Lambda SnapStart).

A child gets locks, threads, clients, flights and chance of its own, and keeps the values. What is restored starts anew.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from typing import TYPE_CHECKING

from secretcache._events import complain
from secretcache._transport._botocore import making

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache._cache import SecretCache

__all__ = ["process_lock", "watch"]

_caches: set[weakref.ref[SecretCache]] = set()
"""No WeakSet: a walk through one fails when another thread adds a cache. `tuple(set)` is one step."""
_held: list[SecretCache] = []
_locks: dict[int, threading.RLock] = {}


def process_lock() -> threading.RLock:
    """The lock of this process for what happens once in it: no thread of a parent can hold it.

    It can be taken again by a signal handler that interrupts its owner: who holds it looks again before it writes.
    """
    return _locks.setdefault(os.getpid(), threading.RLock())


def begin_in_child() -> None:
    """Forgets the parent's threads, which are not in this process."""
    making.start_anew()


def watch(cache: SecretCache) -> None:
    """Sees to it that a child of this process, or what is restored from its snapshot, can use the cache."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        _register_restore()
    _caches.add(weakref.ref(cache, _caches.discard))


def _alive() -> list[SecretCache]:
    return [cache for reference in tuple(_caches) if (cache := reference()) is not None]


@functools.cache
def _register_restore() -> None:
    try:
        from snapshot_restore_py import register_after_restore  # noqa: PLC0415 - there only under Lambda
    except ImportError:
        return
    register_after_restore(_after_restore)


def _after_restore() -> None:
    for cache in _alive():
        cache._after_restore()  # noqa: SLF001


def _before() -> None:
    # A child forked in the middle of an import could never finish it, and no thread may be half-way through a change
    # of what the child will copy. No lock of ours is held for longer than a decision takes.
    making.pause()
    _held.extend(_alive())  # first: an interrupt below leaves no lock held
    for cache in _held:
        cache._before_fork()  # noqa: SLF001


def _after_in_parent() -> None:
    while _held:
        _one_by_one(_held.pop()._after_fork_in_parent)  # noqa: SLF001
    making.go_on()


def _after_in_child() -> None:
    begin_in_child()
    while _held:
        _one_by_one(_held.pop()._after_fork_in_child)  # noqa: SLF001


def _one_by_one(step: Callable[[], None]) -> None:
    """The error of one cache is not the others': theirs would stay locked."""
    try:
        step()
    except Exception:  # noqa: BLE001 - in a child, the cache's next call begins anew once more
        complain("a SecretCache met an error after a fork")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
