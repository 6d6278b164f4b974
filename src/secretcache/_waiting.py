"""The two ways to wait for a flight: a thread's and a task's. What to do meanwhile is the engine's, and the same."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from secretcache._engine import Engine
    from secretcache._flight import Waiter
    from secretcache._runtime import Runtime

__all__ = ["TaskWait", "ThreadWait"]


class ThreadWait:
    """A thread that waits: others go on."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._event = runtime.event()
        self.wake: Callable[[], None] = self._event.set

    def until_over(self, engine: Engine, waiter: Waiter) -> None:
        """Returns when the flight is over, or when the waiter's own time is."""
        try:
            while (look_at := engine.look(waiter)) is not None:
                self._runtime.wait(self._event, look_at)
                self._event.clear()
        finally:
            engine.leave(waiter)


class TaskWait:
    """A task that waits: its event loop goes on. The flight's end comes from another thread."""

    def __init__(self, runtime: Runtime) -> None:
        import asyncio  # noqa: PLC0415 - 25 ms, and loaded already where a task is running

        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self.wake: Callable[[], None] = partial(_set_in, self._loop, self._event)

    async def until_over(self, engine: Engine, waiter: Waiter) -> None:
        """Returns when the flight is over, or when the waiter's own time is."""
        try:
            while (look_at := engine.look(waiter)) is not None:
                await self._ring_or_wake(look_at)
        finally:
            engine.leave(waiter)

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
