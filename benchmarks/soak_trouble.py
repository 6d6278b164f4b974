"""What `soak.py --everything` adds: signals that raise, forks, hooks that misbehave, and a bound for each read.

Reads under signals run in the main thread, for Python runs signal handlers nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from secretcache import Event, Handle, SecretCache, SecretCacheError

SLACK = 1.0
"""Seconds that a read may take beyond its timeout, and twice as long as the machine has let any thread wait."""
CHILD_SECONDS = 30.0
_RAISED: list[type[BaseException]] = [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit]


class Interrupt(BaseException):
    """What the signal handler raises."""


@dataclass
class Reads:
    """How long reads took beyond their timeout."""

    worst: float = 0.0
    stall: float = 0.0
    """The longest time by which a thread that slept was woken late."""
    late: list[str] = field(default_factory=list)
    interrupted: int = 0
    exits: int = 0

    def timed(self, what: str, timeout: float, read: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            read()
        finally:
            over = time.monotonic() - began - timeout
            self.worst = max(self.worst, over)
            if over > SLACK + 2 * self.stall:
                self.late.append(f"{what} took {over + timeout:.1f} s of {timeout:g}")

    def watch_stalls(self, stop: threading.Event) -> None:
        """How long this machine and 40 other threads keep one from running."""
        while not stop.is_set():
            began = time.monotonic()
            time.sleep(0.02)
            self.stall = max(self.stall, time.monotonic() - began - 0.02)


class Interrupter:
    """The main thread: it reads while an alarm rings at random, and the handler raises."""

    def __init__(self, cache: SecretCache, names: list[str], reads: Reads, seed: int) -> None:
        self._cache, self._names, self._reads = cache, names, reads
        self._chance = random.Random(seed)  # noqa: S311
        self._armed = False

    def run_until(self, end: float) -> None:
        before = signal.signal(signal.SIGALRM, self._ring)
        try:
            while time.monotonic() < end:
                self._once()
                time.sleep(0.005)
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _once(self) -> None:
        name, chance = self._chance.choice(self._names), self._chance
        cache = self._cache
        calls: list[Callable[[str], object]] = [cache.get, cache.get, cache.refresh, cache.invalidate]
        call = chance.choice(calls)
        try:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, chance.choice([chance.uniform(1e-6, 0.002), chance.uniform(0.001, 1)]))
            self._reads.timed("a call in the main thread", 5.0, lambda: call(name))
            self._armed = False
        except (Interrupt, SecretCacheError):
            self._armed = False
        except (SystemExit, KeyboardInterrupt):  # of a hook
            self._armed = False
            self._reads.exits += 1

    def _ring(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            self._reads.interrupted += 1
            raise Interrupt


class Misbehaving:
    """Hooks that raise anything, that read, that end themselves."""

    def __init__(self, cache: SecretCache, names: list[str], seed: int) -> None:
        self._cache = cache
        self._chance = random.Random(seed)  # noqa: S311
        self.calls: Counter[str] = Counter()
        self._handles: list[Handle] = [cache.add_event_hook(self._event)]
        self._handles += [cache.add_rotation_hook(name, self._rotation) for name in names]

    def _event(self, event: Event) -> None:
        self.calls[event.name] += 1
        if self._chance.random() < 0.2:
            raise self._chance.choice(_RAISED)

    def _rotation(self, event: object) -> None:
        self.calls["rotation hook"] += 1
        if self._chance.random() < 0.3:
            self._cache.get(event.secret_id)  # type: ignore[attr-defined]
        if self._chance.random() < 0.5:
            raise self._chance.choice(_RAISED)

    def end(self) -> None:
        for handle in self._handles:
            handle.cancel()


@dataclass
class Forks:
    """Children that read and end, one after the other."""

    cache: SecretCache
    names: list[str]
    seed: int
    still: threading.Lock
    """Held while a child has the listening sockets of the servers, which are in this process: a port cannot be bound
    anew meanwhile."""
    close_servers: Callable[[], None]
    done: int = 0
    failed: list[str] = field(default_factory=list)

    def run_until(self, stop: threading.Event) -> None:
        chance = random.Random(self.seed)  # noqa: S311
        while not stop.wait(chance.uniform(0.5, 2.0)):
            self._fork(chance.choice(self.names))

    def _fork(self, name: str) -> None:
        told, tell = os.pipe()
        with self.still:
            pid = os.fork()
            if pid == 0:
                self.close_servers()
                os.write(tell, b".")
                _in_child(self.cache, name, tell)
            os.close(tell)
            os.read(told, 1)
        if not select.select([told], [], [], CHILD_SECONDS)[0]:
            os.kill(pid, signal.SIGKILL)
            self.failed.append(f"child {pid} did not come to an end in {CHILD_SECONDS:g} s")
        elif answer := os.read(told, 1000):
            if answer != b"ok":
                self.failed.append(answer.decode())
        else:
            self.failed.append(f"child {pid} ended without a word")
        os.close(told)
        os.waitpid(pid, 0)
        self.done += 1


def _in_child(cache: SecretCache, name: str, tell: int) -> None:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        answer = b"ok"
        try:
            cache.get(name)
            cache.invalidate(name)
            cache.get(name)
        except SecretCacheError:  # a region in trouble is none of the child's
            pass
        except (SystemExit, KeyboardInterrupt):  # of a hook
            pass
        os.write(tell, answer)
    except BaseException as error:  # noqa: BLE001 - told to the parent
        os.write(tell, repr(error).encode()[:900])
    finally:
        os._exit(0)
