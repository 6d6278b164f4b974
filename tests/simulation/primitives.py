"""Locks, events, queues and threads of the simulated machine, and the runtime that hands them to a cache."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from typing import Any

from simulation.machine import Machine, Process, Task, chance


class Lock:
    """A lock: whoever holds it may do no I/O, wait for nothing and run nobody's code."""

    def __init__(self, machine: Machine, process: Process) -> None:
        self._machine, self._process = machine, process
        self._owner: Task | None = None
        self._waiting: list[Task] = []
        self.before_release: Callable[[], None] = lambda: None
        """Looks at what the lock guards, once a step has decided."""

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002 - as threading's
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
        self.before_release()
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.locks -= 1
        for task in self._waiting:
            self._machine.wake(task)
        self._waiting.clear()
        self._machine.pause()

    def _is_owned(self) -> bool:
        return self._owner is self._machine.current

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
