"""The simulated machine: threads are greenlets, and a seeded scheduler chooses which of them goes on.

Time stands still while a task can run, and leaps to the next timer when none can: so a caller that is still there when
time passes its deadline has overstayed it, to the microsecond. A clock jump comes between two steps, whoever runs.
"""

from __future__ import annotations

import heapq
import queue
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


class Lock:
    """A lock: whoever holds it may do no I/O, wait for nothing and run nobody's code."""

    def __init__(self, machine: Machine, process: Process) -> None:
        self._machine, self._process = machine, process
        self._owner: Task | None = None
        self._waiting: list[Task] = []

    def acquire(self) -> bool:
        machine = self._machine
        me = machine.current
        machine.pause()
        if me.process is not self._process:
            machine.fail(18, f"{me.name} of process {me.process.pid} takes a lock of process {self._process.pid}")
        while self._owner is not None and not machine.dead:
            if self._owner is me:
                machine.fail(19, f"{me.name} waits for a lock that it holds itself")
            self._waiting.append(me)
            machine.block()
        self._owner = me
        me.locks += 1
        return True

    def release(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.locks -= 1
        for task in self._waiting:
            self._machine.wake(task)
        self._waiting.clear()
        self._machine.pause()

    def held_by(self) -> Task | None:
        return self._owner

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Event:
    """An event that one task waits for."""

    def __init__(self, machine: Machine, process: Process) -> None:
        self._machine, self._process = machine, process
        self._set = False
        self._waiting: Task | None = None

    def set(self) -> None:
        self._set = True
        if self._machine.current.process is not self._process:
            self._machine.fail(18, f"{self._machine.current.name} wakes somebody of another process")
        if self._waiting is not None:
            self._machine.wake(self._waiting)
        self._machine.pause()

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def wait(self, until: float) -> bool:
        check_no_lock(self._machine, "waits for an event")
        self._machine.pause()
        if not self._set and until > self._machine.time:
            self._waiting = self._machine.current
            self._machine.block(until)
            self._waiting = None
        return self._set


class Line:
    """Things that one task leaves and another takes: a mailbox, and the queue of a lane."""

    def __init__(self, machine: Machine, process: Process) -> None:
        self._machine, self._process = machine, process
        self._things: deque[Any] = deque()
        self._waiting: deque[Task] = deque()

    def put(self, thing: Any) -> None:
        if self._machine.current.process is not self._process:
            self._machine.fail(18, f"{self._machine.current.name} leaves work for another process")
        self._things.append(thing)
        if self._waiting:
            self._machine.wake(self._waiting.popleft())
        self._machine.pause()

    def take(self, until: float) -> Any:
        """The next one; None if there is none until that time."""
        machine = self._machine
        if until > machine.time:
            check_no_lock(machine, "waits for work")
        machine.pause()
        while not self._things and until > machine.time:
            me = machine.current
            self._waiting.append(me)
            if not machine.block(until) and me in self._waiting:
                self._waiting.remove(me)
        return self._things.popleft() if self._things else None

    def get(self, timeout: float) -> Any:
        """As `SimpleQueue.get`; what a lane leaves to say that it closes is None."""
        machine = self._machine
        machine.pause()
        if not self._things and self._until(machine.time + timeout) is None:
            raise queue.Empty
        return self._things.popleft()

    def _until(self, until: float) -> bool | None:
        machine = self._machine
        check_no_lock(machine, "waits for work")
        while not self._things:
            if until <= machine.time:
                return None
            me = machine.current
            self._waiting.append(me)
            if not machine.block(until) and me in self._waiting:
                self._waiting.remove(me)
        return True


class Joinable:
    """A task as the cache knows it."""

    def __init__(self, machine: Machine, task: Task) -> None:
        self._machine, self._task = machine, task

    def join(self, timeout: float) -> None:
        machine = self._machine
        until = machine.time + timeout
        if self._task is machine.current:
            return
        check_no_lock(machine, "joins a thread")
        self._task.joiners.append(machine.current)
        while not self._task.ended and machine.time < until:
            machine.block(until)


def check_no_lock(machine: Machine, what: str) -> None:
    """Invariant 19."""
    if machine.current.locks and not machine.dead:
        machine.fail(19, f"{machine.current.name} {what} with a lock held")


class SimulatedRuntime:
    """What a cache of one process knows of the machine."""

    def __init__(self, machine: Machine, process: Process, seed: object) -> None:
        self.machine, self.process = machine, process
        self.now = machine.now
        self.random = chance("runtime", seed, process.pid).random
        self.threads_allowed = True

    def lock(self) -> Lock:
        return Lock(self.machine, self.process)

    def event(self) -> Event:
        return Event(self.machine, self.process)

    def wait(self, event: Any, until: float) -> bool:
        waited: bool = event.wait(until)
        return waited

    def alarm(self, loop: Any, until: float, ring: Callable[[], None]) -> Callable[[], None]:
        cancel: Callable[[], None] = loop.call_at(until, ring).cancel
        return cancel

    def mailbox(self) -> Line:
        return Line(self.machine, self.process)

    def spawn(self, run: Callable[[], None], name: str) -> Joinable:
        if not self.threads_allowed:
            raise RuntimeError("can't start new thread")
        if self.machine.current.process is not self.process:
            self.machine.fail(18, f"{self.machine.current.name} starts a thread in another process")
        return Joinable(self.machine, self.machine.start(run, name, self.process))
