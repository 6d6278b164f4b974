"""The simulated machine: threads are greenlets, and a seeded scheduler chooses which of them goes on.

Time stands still while a task can run, and leaps to the next timer when none can: so a caller that is still there when
time passes its deadline has overstayed it, to the microsecond. A clock jump comes between two steps, whoever runs.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, getcurrent, greenlet

if TYPE_CHECKING:
    import asyncio

NEVER = float("inf")
_IN_LOCK = 3
"""Of the readings of the clock under a lock, one in four lets others go on: those who read without the lock."""
_MASK = (1 << 64) - 1


def chance(*seed: object) -> random.Random:
    """A generator that depends on what it is named after alone."""
    return random.Random(":".join(map(str, seed)))  # noqa: S311 - a simulation has to be repeated


class ViolationError(Exception):
    """An invariant does not hold; 0: something that none of them names, such as an error of the cache itself."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"invariant {number}: {text}")
        self.number, self.text = number, text


class Process:
    """A process of the simulated machine: its primitives are used by its own tasks only."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.tasks: dict[Task, None] = {}


class Task:
    """A thread."""

    def __init__(self, machine: Machine, run: Callable[[], None], name: str, process: Process) -> None:
        machine.tasks_made += 1
        self.number = machine.tasks_made
        self.name, self.process = name, process
        self.blocked = self.timed = self.ended = self.woken = False
        self.stamp = 0
        self.locks = 0
        self.outside = 0
        """Above 0: it is in I/O, or in code of the user's."""
        self.read_at = machine.time
        """When this task last read the clock: what it decides, it decides by that."""
        self.sending: Any = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.joiners: list[Task] = []
        self.green = greenlet(lambda: machine.live(self, run), machine.main)


class Machine:
    """Scheduler and clock."""

    def __init__(self, seed: object, *, sticky: float = 0.0) -> None:
        self.time = 1000.0
        self.steps = 0
        self.digest = 0
        self.main = getcurrent()
        self.tasks_made = 0
        self.failure: ViolationError | None = None
        self.stopped = False
        self.dead = False
        self.frozen = 0
        """Above 0: nobody else goes on; for what other processes cannot see half done."""
        self.trace: deque[str] | None = None
        self.before_time_passes: Callable[[], None] = lambda: None
        self.jumped: Callable[[float], None] = lambda _seconds: None
        self.crashed: Callable[[Task, BaseException], None] = lambda _task, _error: None
        self.step_limit = 1 << 62
        self.jump_at = 1 << 62
        self.jump_by = 0.0
        self._readings = 0
        self._random = chance("schedule", seed).random
        self._sticky = sticky
        self._runnable: list[Task] = []
        self._timers: list[tuple[float, int, Task | None, int, Callable[[], None] | None]] = []
        self._numbers = 0
        nobody = Process(0)
        self.current = self.nobody = Task(self, lambda: None, "nobody", nobody)

    # What tasks call.

    def pause(self) -> None:
        """A moment at which any other task may go on: with another one there to choose, a step."""
        many = len(self._runnable)
        if many < 2 or self.frozen:
            return
        self.steps += 1
        if self.steps >= self.jump_at:
            self._jump()
        drawn = self._random()
        if drawn < self._sticky:
            return
        chosen = self._runnable[int((drawn - self._sticky) / (1.0 - self._sticky) * many)]
        if chosen is not self.current:
            self._switch(chosen)

    def block(self, until: float = NEVER) -> bool:
        """Waits until that time, or to be woken; returns whether it was woken."""
        me = self.current
        if self.dead:
            raise GreenletExit
        self._runnable.remove(me)
        me.blocked, me.timed, me.woken = True, until < NEVER, False
        me.stamp += 1
        if until < NEVER:
            self._numbers += 1
            heapq.heappush(self._timers, (until, self._numbers, me, me.stamp, None))
        self._go_on()
        if self.dead:
            raise GreenletExit
        return me.woken

    def wake(self, task: Task) -> None:
        """Lets a task that waits go on."""
        if task.blocked:
            task.blocked, task.woken = False, True
            task.stamp += 1
            self._runnable.append(task)

    def sleep(self, seconds: float) -> None:
        """Lets time pass for this task."""
        self.block(self.time + seconds)

    def start(self, run: Callable[[], None], name: str, process: Process) -> Task:
        """A new task, which can run at once."""
        task = Task(self, run, name, process)
        process.tasks[task] = None
        self._runnable.append(task)
        return task

    def at(self, time: float, do: Callable[[], None]) -> None:
        """Has something of the surroundings happen at that time, between two steps; it must not wait."""
        self._numbers += 1
        heapq.heappush(self._timers, (time, self._numbers, None, 0, do))

    def now(self) -> float:
        """The clock, as tasks read it: after the reading, others may go on."""
        me, time = self.current, self.time
        me.read_at = time
        if not me.locks:
            self.pause()
        else:
            self._readings += 1
            if not self._readings & _IN_LOCK:
                self.pause()
        return time

    def fail(self, number: int, text: str) -> None:
        """Ends the run: an invariant does not hold."""
        if self.dead:
            return
        if self.failure is None:
            self.failure = ViolationError(number, text)
        self.stop()

    def stop(self) -> None:
        """Ends the run."""
        self.stopped = True
        if getcurrent() is not self.main:
            self.main.switch()

    def note(self, text: str) -> None:
        """Leaves a line in the trace, where there is one."""
        if self.trace is not None:
            me = self.current
            self.trace.append(f"{self.steps:>7} {self.time:>10.3f}  p{me.process.pid} {me.name:<24} {text}")

    # What drives it.

    def run(self) -> None:
        """Runs until somebody says stop, or nothing is left to do."""
        self.stopped = False
        while not self.stopped:
            chosen = self._choose()
            if chosen is not None:
                self._enter(chosen)
                chosen.green.switch()

    def live(self, task: Task, run: Callable[[], None]) -> None:
        """A task's life, from its greenlet."""
        try:
            run()
        except GreenletExit:
            if not self.dead:
                self.fail(0, f"{task.name} was killed")
        except BaseException as error:  # noqa: BLE001 - it ends the run
            self.crashed(task, error)
            self.fail(0, f"{task.name} ended in {error!r}")
        if not self.dead:
            task.ended = True
            self._runnable.remove(task)
            del task.process.tasks[task]
            for other in task.joiners:
                self.wake(other)

    def kill(self, processes: list[Process]) -> None:
        """Unwinds whatever is left. Nothing is checked any more."""
        self.dead = True
        self._runnable.clear()
        for process in processes:
            for task in list(process.tasks):
                self.current = task
                if task.green:  # it has begun, and has not ended
                    task.green.throw(GreenletExit)
            process.tasks.clear()
        self.current = self.nobody

    def _jump(self) -> None:
        self.jump_at = 1 << 62
        self.time += self.jump_by
        self.note(f"--- the clock jumps by {self.jump_by:.1f} s")
        self.jumped(self.jump_by)
        self._fire()

    def _go_on(self) -> None:
        chosen = self._choose()
        if chosen is None:
            self.main.switch()
        elif chosen is not self.current:
            self._switch(chosen)

    def _choose(self) -> Task | None:
        while not self._runnable and not self.stopped:
            if not self._timers:
                self.fail(2, "nothing can go on any more: a deadlock")
                break
            self.before_time_passes()
            self.time = max(self.time, self._timers[0][0])
            self._fire()
        if self.stopped or self.steps >= self.step_limit:
            self.stopped = True
            return None
        runnable = self._runnable
        if len(runnable) == 1:
            return runnable[0]
        self.steps += 1
        return runnable[int(self._random() * len(runnable))]

    def _fire(self) -> None:
        timers, time = self._timers, self.time
        while timers and timers[0][0] <= time:
            _, _, task, stamp, do = heapq.heappop(timers)
            if do is not None:
                do()
            elif task is not None and task.stamp == stamp and task.blocked:
                task.blocked = False
                self._runnable.append(task)

    def _switch(self, task: Task) -> None:
        me = self.current
        loop = me.loop
        if loop is not None:
            _set_running_loop(None)
        self._enter(task)
        task.green.switch()
        if loop is not None:
            _set_running_loop(loop)
        self.current = me

    def _enter(self, task: Task) -> None:
        self.digest = (self.digest * 1000003 + task.number) & _MASK
        self.current = task


def _set_running_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    from asyncio import _set_running_loop as running  # noqa: PLC0415 - only where tasks are

    running(loop)
