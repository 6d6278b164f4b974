"""Interrupts: exceptions that a signal handler raises, at the places where CPython looks for signals."""

from __future__ import annotations

import contextlib
import dis
import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, ClassVar

import secretcache
from secretcache import SecretCache
from secretcache._ids import Query
from secretcache._runtime import SystemRuntime
from secretcache._transport import BatchCall, Call, DescribeCall, Failure, Fault, Reply, Request
from support import PATIENCE, answer

SOURCES = str(Path(secretcache.__file__).parent)


class Interrupt(BaseException):
    """What a signal handler raises: a time limit, say."""


class Regions:
    """Regions that answer at once, in memory."""

    def __init__(self) -> None:
        self.version = "v1"

    def ready(self, _: str) -> bool:
        return True

    def prepare(self, _: str) -> None:
        return None

    def pending(self, _: str) -> str:
        return ""

    def send(self, call: Request) -> Reply:
        if isinstance(call, Call):
            return self._one(call.region, call.query)
        if isinstance(call, BatchCall):
            return {"SecretValues": [self._one(call.region, query) for query in call.queries], "Errors": []}
        assert isinstance(call, DescribeCall)
        return Failure(Fault.DENIED, "AccessDeniedException", "told so")

    def _one(self, region: str, query: Query) -> dict[str, Any]:
        value = self.version if query.is_current else "before"
        stages = [query.stage or "AWSCURRENT"]
        return {**answer(region, value, query.secret.name), "VersionStages": stages}

    def reload(self) -> None:
        return None

    def host(self, region: str) -> str:
        return region

    def close(self) -> None:
        return None


# Where CPython looks for signals. Between the other bytecodes no handler runs, and an exception that a trace function
# raises there is one that no signal can raise: between a lock's own __enter__, which is C, and the `with` block, say.
_CHECKING = ("CALL", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "RESUME", "POP_JUMP")
_NO_CHECK = ("CALL_INTRINSIC", "JUMP_BACKWARD_NO_INTERRUPT")
_PREFIXES = ("MAKE_CELL", "COPY_FREE_VARS", "RETURN_GENERATOR", "GEN_START")


class _Code:
    """What is to be known of a code object: what stands at each offset, and which handler covers it."""

    def __init__(self, code: CodeType) -> None:
        self.names = {one.offset: one.opname for one in dis.get_instructions(code)}
        self._can_rest = bool(code.co_flags & (inspect.CO_COROUTINE | inspect.CO_GENERATOR))
        # Only from Python 3.11 on, where the handlers stand in a table and not in the frame.
        self._handlers = getattr(dis.Bytecode(code), "exception_entries", ())

    def may_raise(self, before: int | None, here: int) -> bool:
        """Whether an interrupt can be raised here, after that bytecode.

        A signal's exception belongs to the bytecode after which it was noticed, a trace function's to the one that
        comes: where another handler covers that one, they are not the same, and the first cannot be had this way. (The
        random test has them.)
        """
        if before is None or self.names[before].startswith(_PREFIXES):  # Python 3.10 looks at the begin
            return sys.version_info < (3, 11)
        name = self.names[before]
        if name == "RESUME" and self._can_rest:
            return False  # a trace function that raises where a coroutine goes on confuses CPython 3.11 itself
        looks = name.startswith(_CHECKING) and not name.startswith(_NO_CHECK)
        return looks and self._handler(before) == self._handler(here)

    def _handler(self, offset: int) -> int | None:
        return next((one.target for one in self._handlers if one.start <= offset < one.end), None)


class Tracer:
    """Counts the places in the package's own code at which an interrupt can come, and raises one at the given place."""

    _codes: ClassVar[dict[CodeType, _Code]] = {}

    def __init__(self, at: int | None = None) -> None:
        self.places: list[int] = []
        """The numbers of those that were not passed before in this call."""
        self.where = ""
        self._passed = 0
        self._seen: set[tuple[CodeType, int]] = set()
        self._at = at

    @contextlib.contextmanager
    def tracing(self) -> Iterator[None]:
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(SOURCES) or "<module>" in frame.f_code.co_name:
            return None
        code = self._codes.setdefault(frame.f_code, _Code(frame.f_code))
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        before: int | None = None

        def local(frame: FrameType, event: str, _arg: object) -> Callable[..., Any]:
            nonlocal before
            if event == "opcode":
                if code.may_raise(before, frame.f_lasti):
                    self._pass(frame)
                before = frame.f_lasti
            return local

        return local

    def _pass(self, frame: FrameType) -> None:
        place = (frame.f_code, frame.f_lasti)
        if place not in self._seen:
            self.places.append(self._passed)
            self._seen.add(place)
        if self._passed == self._at:
            self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"
            raise Interrupt(self.where)
        self._passed += 1


def locks_of(cache: SecretCache) -> list[Any]:
    engine = cache._engine
    lanes = [*engine._loads._lanes.values(), *(one.lane for one in engine.rotations.hooks._subscriptions if one.lane)]
    refresher = [engine._refresher._lock] if engine._refresher is not None else []
    return [
        *(engine.lock, engine.rotations.hooks._lock, engine.bulletin._telling, cache._written._lock),
        *(lane._lock for lane in lanes),
        *refresher,
    ]


def what_is_lost(cache: SecretCache) -> list[str]:
    """What was left behind; empty when all is as it was."""
    engine = cache._engine
    loads, hooks = engine._loads, engine.rotations.hooks
    names = [thread.name for thread in threading.enumerate()]
    lost = _held(locks_of(cache))
    lost += ["a flight is open"] if loads.open else []
    lost += [
        f"{name} has a flight that is over"
        for name in ("_unseen", "_background", "_waiting", "_newer")
        if getattr(loads, name)
    ]
    lost += ["an attempt is queued"] if any(loads._queued.values()) else []
    lost += ["a flight can be joined that is not open"] if loads._joinable else []
    lost += ["an attempt is under way"] if loads._taken else []
    lost += ["a hook is being called"] if any(one.runner for one in hooks._subscriptions) else []
    lost += ["a hook is not called"] if any(one.pending for one in hooks._subscriptions) else []
    refresher = engine._refresher
    lost += ["no thread looks"] if refresher is not None and not refresher._runs and not engine.closed else []
    lost += ["a task waits for hooks"] if hooks._awaited else []
    lost += ["events are not told"] if engine.bulletin.pending else []
    breakers, now = [region.breaker for region in loads.board._regions.values()], cache._now()
    lost += ["a permit is out"] if any(breaker.permit_outstanding(now) for breaker in breakers) else []
    for lane in loads._lanes.values():
        if lane._unfinished or lane._starting or (lane._jobs.qsize() and not engine.closed):
            lost.append(f"{lane.name} has {len(lane._unfinished)} jobs, {len(lane._starting)} threads to start")
        if names.count(lane.name) < lane._threads:
            lost.append(f"{lane.name} counts {lane._threads} threads of {names.count(lane.name)}")
    return lost


def _held(locks: list[Any]) -> list[str]:
    """The locks that this thread holds, or that another one does not get."""
    held = [f"this thread holds {lock}" for lock in locks if lock._is_owned()]

    def take() -> None:
        for lock in locks:
            if not lock.acquire(timeout=PATIENCE):
                held.append(f"somebody holds {lock}")
                return
            lock.release()

    if not held:
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
    return held


def until_nothing_is_lost(cache: SecretCache, where: str) -> None:
    """Returns when all is as before; a flight that nobody drives would last for the cache's `timeout`."""
    end = time.monotonic() + PATIENCE
    while lost := what_is_lost(cache):
        assert time.monotonic() < end, f"interrupted at {where}: {lost}"
        time.sleep(0.001)


def make_cache(**options: Any) -> SecretCache:
    """A cache whose flights, if they are left alone, last longer than a test waits."""
    given: dict[str, Any] = {"timeout": 60.0, "refresh": "on_access", **options}
    return SecretCache(["ap-northeast-3"], _runtime=SystemRuntime(), _transport=Regions(), **given)
