"""What the tests put in place of the machine and of the regions: a clock moved by hand, and regions that do as told."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, ClassVar, TypeVar

from secretcache import SecretCache
from secretcache._engine import Engine
from secretcache._regions.policy import RegionPolicy
from secretcache._runtime import Event, SystemRuntime, Thread, _Joinable
from secretcache._transport import BatchCall, Call, DescribeCall, Failure, Fault, Reply, Request

OSAKA, TOKYO = "ap-northeast-3", "ap-northeast-1"
REGIONS = (OSAKA, TOKYO)
PATIENCE = 10.0  # real seconds: only a test that fails waits so long
NO_RETRIES = RegionPolicy(retries=0)
NOTHING_REMEMBERED = RegionPolicy(  # each flight asks the regions in their order, whatever came before
    hedges=False,
    suspect_for=0,
    failures_in_a_row=10**9,
    ratio_calls=10**9,
    throttle_first=0,
    outwaits_throttling=False,
    pace_first=0,
    identity_first=0,
    parked_for=0,
    remember_refusal=0,
    token_floor=0,
    tokens=1e9,
    retries=0,
    reloads=0,
)
T = TypeVar("T")


class ManualEvent:
    """An event whose waiters are woken by the clock too."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._set = False

    def set(self) -> None:
        with self._changed:
            self._set = True
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._set = False

    def is_set(self) -> bool:
        return self._set


class ManualMailbox:
    """A mailbox whose reader is woken by the clock too; knows when its reader has nothing left to do."""

    def __init__(self, runtime: ManualRuntime, changed: threading.Condition) -> None:
        self._runtime, self._changed = runtime, changed
        self._words: deque[str] = deque()
        runtime.mailboxes.append(self)
        self.until: float | None = None

    def put(self, word: str) -> None:
        with self._changed:
            self._words.append(word)
            self._changed.notify_all()

    def take(self, until: float) -> str | None:
        with self._changed:
            self.until = until
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._words or self._runtime._time >= until)
            self.until = None
            return self._words.popleft() if self._words else None

    @property
    def resting(self) -> bool:
        return self.until is not None and not self._words and self.until > self._runtime._time


class ManualRuntime(SystemRuntime):
    """The machine with a clock that only the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._time = 1000.0
        self._waiting = 0
        self._untils: list[float] = []
        self._alarms: list[tuple[float, asyncio.AbstractEventLoop, Callable[[], None]]] = []
        self.chance = 0.5
        self.now = lambda: self._time
        self.threads_allowed = True
        self.mailboxes: list[ManualMailbox] = []
        self.threads: list[threading.Thread] = []

    def event(self) -> ManualEvent:  # type: ignore[override] # as good as the real one, here
        return ManualEvent(self._changed)

    def wait(self, event: Event, until: float) -> bool:
        with self._changed:
            self._waiting += 1
            self._untils.append(until)
            self._changed.notify_all()
            self._changed.wait_for(lambda: event.is_set() or self._time >= until)
            self._waiting -= 1
            self._untils.remove(until)
            return event.is_set()

    def random(self) -> float:
        return self.chance

    def alarm(self, loop: asyncio.AbstractEventLoop, until: float, ring: Callable[[], None]) -> Callable[[], None]:
        alarm = (until, loop, ring)
        with self._changed:
            self._alarms.append(alarm)
            self._waiting += 1
            self._changed.notify_all()
        return lambda: self._cancel(alarm)

    def _cancel(self, alarm: tuple[float, asyncio.AbstractEventLoop, Callable[[], None]]) -> None:
        with self._changed:
            self._alarms.remove(alarm)
            self._waiting -= 1

    def mailbox(self) -> ManualMailbox:
        return ManualMailbox(self, self._changed)

    def spawn(self, run: Callable[[], None], name: str) -> Thread:
        if not self.threads_allowed:
            raise RuntimeError("can't start new thread")
        thread = threading.Thread(target=run, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()
        return _Joinable(thread)

    def advance(self, seconds: float) -> None:
        with self._changed:
            self._time += seconds
            self._changed.notify_all()
            for until, loop, ring in self._alarms:
                if until <= self._time:
                    loop.call_soon_threadsafe(ring)

    def until_waiting_for(self, seconds: float) -> None:
        """Returns when somebody waits for the moment that many seconds from now."""
        moment = self._time + seconds
        with self._changed:
            assert self._changed.wait_for(lambda: moment in self._untils, PATIENCE), f"waiting for {self._untils}"

    def is_waited_for(self, over: threading.Event) -> bool:
        """Returns whether somebody waits for the clock, as soon as somebody does or it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._all_wait() or over.is_set(), 0.05)
            return self._all_wait()

    def _all_wait(self) -> bool:
        """Whether somebody waits, and those whose time has come have gone on."""
        return self._waiting > 0 and all(until > self._time for until in self._untils)

    def until_waiting(self, readers: int) -> None:
        """Returns when that many readers wait."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._waiting >= readers, PATIENCE), f"{self._waiting} wait"


class Gate:
    """A request that is held until it is told what comes of it."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self._answered = threading.Event()
        self._reply: Reply = {}

    def answer(self, reply: Reply) -> None:
        self._reply = reply
        self._answered.set()

    def wait(self) -> Reply:
        assert self._answered.wait(PATIENCE), "nobody answered the request"
        return self._reply


class ScriptedRegions:
    """A transport whose regions hold what the test says, and hold back what the test holds."""

    def __init__(self) -> None:
        self.replies: dict[str, Callable[[Call], Reply]] = {}
        self.batch_replies: dict[str, Callable[[], Reply]] = {}
        self.calls: list[Any] = []
        self.prepared: list[str] = []
        self.reloads = 0
        self.described: Callable[[DescribeCall], Reply] = lambda _: failure(Fault.DENIED, "AccessDeniedException")
        self.gates: list[Gate] = []
        self.closed = False
        self._held: set[str] = set()
        self._changed = threading.Condition()

    def ready(self, region: str) -> bool:
        return False  # so that `prepare` is part of every test

    def prepare(self, region: str) -> Failure | None:
        with self._changed:
            self.prepared.append(region)
        return None

    def pending(self, region: str) -> str:
        """There is nothing to wait for."""
        return ""

    def reload(self) -> None:
        self.reloads += 1

    def send(self, call: Request) -> Reply:
        with self._changed:
            self.calls.append(call)
            gate = Gate(call) if call.region in self._held else None
            if gate:
                self.gates.append(gate)
            self._changed.notify_all()
        if gate:
            return gate.wait()
        if isinstance(call, DescribeCall):
            return self.described(call)
        return self.replies[call.region](call) if isinstance(call, Call) else self._batch(call)

    def _batch(self, call: BatchCall) -> Reply:
        if call.region in self.batch_replies:
            return self.batch_replies[call.region]()
        singly = [self.replies[call.region](Call(call.region, query)) for query in call.queries]
        return {"SecretValues": [reply for reply in singly if not isinstance(reply, Failure)], "Errors": []}

    def host(self, region: str) -> str:
        return f"secretsmanager.{region}.amazonaws.com"

    def close(self) -> None:
        self.closed = True

    def hold(self, *regions: str) -> None:
        """From now on requests to these regions wait for the test."""
        self._held = set(regions)

    def gate(self, number: int = 0) -> Gate:
        """The held request of that number, as soon as it is there."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.gates) > number, PATIENCE), f"{len(self.gates)} are held"
            return self.gates[number]

    def asked(self) -> list[str]:
        """The regions asked, in order."""
        return [call.region for call in self.calls]


def arn(region: str, name: str = "prod/db", suffix: str = "AbCdEf") -> str:
    return f"arn:aws:secretsmanager:{region}:123456789012:secret:{name}" + (f"-{suffix}" if suffix else "")


def answer(region: str, value: str | bytes = "v1", name: str = "prod/db", **more: Any) -> Mapping[str, Any]:
    content = {"SecretString": value} if isinstance(value, str) else {"SecretBinary": value}
    return {
        "ARN": arn(region, name),
        "Name": name,
        "VersionId": f"{value!r:.20}-0000-0000-0000-000000000000",
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": datetime(2026, 11, 23, tzinfo=timezone.utc),
        **content,
        **more,
    }


def failure(fault: Fault = Fault.REGION, code: str = "InternalServiceError", message: str = "told so") -> Failure:
    return Failure(fault, code, message, cause=OSError(code))


class House:
    """A cache over scripted regions, on a manual clock. The `close_houses` fixture closes it after the test."""

    built: ClassVar[list[SecretCache]] = []

    def __init__(self, regions: Sequence[str] = REGIONS, **options: Any) -> None:
        self.runtime = ManualRuntime()
        self.regions = ScriptedRegions()
        for region in regions:
            self.says(region, "v1")
        # No thread but the test's own looks at the clock, unless the test is about that thread.
        options = {"refresh": "on_access", "_policy": NO_RETRIES, **options}
        self.cache = SecretCache(list(regions), _runtime=self.runtime, _transport=self.regions, **options)
        House.built.append(self.cache)
        self._ended = threading.Condition()
        self._ending: set[int] = set()
        self._tell_when_attempts_end(self.cache._engine)

    def _tell_when_attempts_end(self, engine: Engine) -> None:
        ended = engine.ended

        def told(*arguments: Any) -> None:
            # Its flight is over before the background is woken and the events are told: until then nobody rests.
            self._ending.add(threading.get_ident())
            try:
                ended(*arguments)
            finally:
                self._ending.discard(threading.get_ident())
            for changed in (self._ended, self.runtime._changed):
                with changed:
                    changed.notify_all()

        engine.ended = told  # type: ignore[method-assign,assignment]

    def until(self, true: Callable[[], bool]) -> None:
        """Returns when something is true that becomes so at the end of an attempt."""
        with self._ended:
            assert self._ended.wait_for(true, PATIENCE), "did not come true"

    def settle(self) -> None:
        """Returns when the events of all attempts that have ended are told."""
        self.until(lambda: not self._ending)

    def rest(self) -> None:
        """Returns when the background thread has nothing to do before the clock moves on, or the test holds it up."""
        loads = self.cache._engine._loads

        def at_rest() -> bool:
            idle = self.regions._held or not loads.open
            return bool(idle) and not self._ending and all(box.resting for box in self.runtime.mailboxes)

        with self.runtime._changed:
            assert self.runtime._changed.wait_for(at_rest, PATIENCE), "the background does not come to rest"

    def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Moves the clock on, letting the background do what falls due at each step."""
        end = self.runtime.now() + seconds
        while self.runtime.now() < end:
            self.runtime.advance(min(step, end - self.runtime.now()))
            self.rest()

    def patiently(self, call: Callable[[], T]) -> T:
        """The outcome of a call that waits for regions which may not be asked yet; moves the clock as it waits."""
        caller = InThread(call)
        while not caller.over.is_set():
            if self.runtime.is_waited_for(caller.over) and not self._asks():
                self.runtime.advance(0.25)
        outcome: T = caller.result()
        return outcome

    def _asks(self) -> bool:
        """Whether a request is under way, or about to be."""
        engine = self.cache._engine
        with engine.lock:
            return any(flight.route.asks for flight in engine._loads.open)

    def drop(self) -> None:
        """Lets go of the cache without closing it."""
        House.built.remove(self.cache)
        del self.cache
        gc.collect()

    def says(self, region: str, reply: str | Reply) -> None:
        """From now on that region answers with a value, or with a whole reply."""
        if isinstance(reply, str):
            self.regions.replies[region] = lambda call: answer(call.region, reply, _asked_name(call))
        else:
            self.regions.replies[region] = lambda _: reply

    def fails(self, region: str, fault: Fault = Fault.REGION, code: str = "InternalServiceError") -> None:
        self.says(region, failure(fault, code))


def _asked_name(call: Call) -> str:
    asked = call.query.secret
    return asked.bare_name if asked.is_arn else asked.name


class InThread:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None
        self.value: Any = None
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._call()
        except BaseException as error:  # noqa: BLE001 - it is raised again in result()
            self.error = error
        finally:
            self.over.set()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "still running"
        if self.error is not None:
            raise self.error
        return self.value
