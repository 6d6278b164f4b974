"""An event loop for one coroutine, in one task: enough of asyncio for `aget`, `arefresh`, `aconnect`.

Futures, events and cancellation are asyncio's own; only the loop is ours, and each caller has one, as in a thread.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from simulation.machine import NEVER, Machine, Task
from simulation.primitives import check_no_lock

T = TypeVar("T")


class Timer:
    """A call at a later time."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.do: Callable[[], object] | None = do

    def cancel(self) -> None:
        self.do = None


class Loop:
    """Runs one coroutine."""

    def __init__(self, machine: Machine, task: Task) -> None:
        self._machine, self._task = machine, task
        self._ready: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = 0
        self._closed = self._cancelled = False

    # What asyncio's futures and events ask of it.

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast("Any", self))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        self._ready.append(lambda: callback(*args))

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if self._machine.current.process is not self._task.process:
            self._machine.fail(18, "a task of another process is woken")
        self.call_soon(callback, *args)
        self._machine.wake(self._task)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        self._numbers += 1
        timer = Timer(lambda: callback(*args))
        heapq.heappush(self._timers, (when, self._numbers, timer))
        return timer

    # What drives it.

    def cancel(self) -> None:
        """Has the coroutine cancelled where it waits."""
        if not self._closed:
            self._cancelled = True
            self._machine.wake(self._task)

    async def sleep(self, seconds: float) -> None:
        """As asyncio.sleep."""
        future = self.create_future()
        self.call_at(self._machine.time + seconds, lambda: None if future.done() else future.set_result(None))
        await future

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs the coroutine to its end."""
        try:
            future = self._step(coroutine, None)
            while True:
                if self._cancelled:
                    self._cancelled = False
                    future = self._step(coroutine, asyncio.CancelledError())
                    continue
                self._run_ready()
                if future.done():
                    future = self._step(coroutine, None)
                elif not self._ready and not self._cancelled:
                    check_no_lock(self._machine, "waits in an event loop")
                    self._machine.block(self._next())
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            self._closed = True
            coroutine.close()

    def _step(self, coroutine: Coroutine[Any, Any, Any], error: BaseException | None) -> asyncio.Future[Any]:
        self._task.loop = me = cast("Any", self)
        _set_running_loop(me)
        try:
            future: asyncio.Future[Any] = coroutine.send(None) if error is None else coroutine.throw(error)
        finally:
            self._task.loop = None
            _set_running_loop(None)
        return future

    def _run_ready(self) -> None:
        while self._timers and self._timers[0][0] <= self._machine.time:
            timer = heapq.heappop(self._timers)[2]
            if timer.do is not None:
                self._ready.append(timer.do)
        self._machine.pause()
        while self._ready:
            self._ready.popleft()()

    def _next(self) -> float:
        while self._timers and self._timers[0][2].do is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else NEVER
