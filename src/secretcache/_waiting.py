"""The two ways to wait: a thread's and a task's. For what, and what to do meanwhile, is the room's, and the same."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from secretcache._errors import ConfigurationError
from secretcache._lazy import importing

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from secretcache._runtime import Runtime

__all__ = ["Room", "TaskWait", "ThreadWait"]

_W_contra = TypeVar("_W_contra", contravariant=True)
_W = TypeVar("_W")


class Room(Protocol[_W_contra]):
    """Where one waits: the engine for a flight, the logins for a turn."""

    def first(self, waiter: _W_contra, /) -> float | None:
        """As `look`, of one that has just begun to wait."""

    def look(self, waiter: _W_contra, /) -> float | None:
        """When to look again; None when there is nothing left to wait for."""

    def leave(self, waiter: _W_contra, /) -> None:
        """A waiter waits no longer."""


class ThreadWait:
    """A thread that waits: others go on."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._event = runtime.event()
        self.wake: Callable[[], None] = self._event.set

    def until_over(self, room: Room[_W], waiter: _W) -> None:
        """Returns when what it waits for is over, or when the waiter's own time is."""
        try:
            look_at = room.first(waiter)
            while look_at is not None:
                self._runtime.wait(self._event, look_at)
                self._event.clear()
                look_at = room.look(waiter)
        finally:
            room.leave(waiter)


class TaskWait:
    """A task that waits: its event loop goes on. The flight's end comes from another thread."""

    def __init__(self, runtime: Runtime) -> None:
        with importing("asyncio"):
            import asyncio  # noqa: PLC0415 - 25 ms, and loaded already where a task is running

        self._runtime = runtime
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise ConfigurationError(
                "aget, arefresh, aprefetch and aconnect need a running asyncio event loop: asyncio only. Under trio or "
                "curio run the plain method in a thread, for example `await trio.to_thread.run_sync(cache.get, name)`"
            ) from error
        self._event = asyncio.Event()
        self.wake: Callable[[], None] = partial(_set_in, self._loop, self._event)

    async def until_over(self, room: Room[_W], waiter: _W) -> None:
        """Returns when what it waits for is over, or when the waiter's own time is."""
        try:
            look_at = room.first(waiter)
            while look_at is not None:
                await self._ring_or_wake(look_at)
                look_at = room.look(waiter)
        finally:
            room.leave(waiter)

    async def until(self, over: Callable[[], bool]) -> None:
        """Returns when that is true; whoever makes it so wakes this task."""
        while not over():
            await self._event.wait()
            self._event.clear()

    async def _ring_or_wake(self, until: float) -> None:
        cancel = self._runtime.alarm(self._loop, until, self._event.set)
        try:
            await self._event.wait()
        finally:
            cancel()
        self._event.clear()


def _set_in(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(event.set)
    except RuntimeError:  # the loop is closed: nobody waits there any more
        return
