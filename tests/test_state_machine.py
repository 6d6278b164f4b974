"""A real engine (store, loads, flights, routes) in every order that hypothesis thinks of, against a simple model.

Nothing here runs in a thread, and no time passes by itself: readers, the lanes' threads, the background thread and the
clock are rules, and hypothesis chooses which of them does its next step. A step is what happens under the cache's lock
once; between two steps of one thread anything else may happen, as it may on a real machine.

The model knows what each region holds, which request brought which answer, and from which request on an answer counts
(after a refusal, an `invalidate`, a `refresh`, an answer served already). Checks are named after the invariants in
semantics.md by their number, where they have one there.

In the test suite the run is derandomized: the same steps each time, so that a failure is the change's. To hunt with new
steps: STATE_MACHINE_EXAMPLES=20000 pytest tests/test_state_machine.py --hypothesis-seed=N
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, TypeAlias, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from secretcache import (
    CacheClosedError,
    ConfigurationError,
    CredentialsError,
    Secret,
    SecretAccessDeniedError,
    SecretCacheError,
    SecretNotFoundError,
    SecretUnavailableError,
    _tombstones,
)
from secretcache._engine import Engine, _ask
from secretcache._flight import Flight, Waiter
from secretcache._ids import CURRENT, Query, SecretId, parse_secret_id
from secretcache._lineage import Judgement, Lineage
from secretcache._regions.lanes import WIDTH
from secretcache._regions.route import Leg
from secretcache._settings import Settings
from secretcache._store import Entry, HotKey, Record, Store
from secretcache._transport import BatchCall, Call, Failure, Fault, Reply, Request
from support import NOTHING_REMEMBERED, OSAKA, TOKYO, ManualRuntime, answer, arn, failure

SUSPECT_AFTER, ATTEMPT_CAP = NOTHING_REMEMBERED.hedge_after, NOTHING_REMEMBERED.attempt_cap
NAMES = ("prod/db", "prod/api")
PENDING = "AWSPENDING"
REGIONS = (OSAKA, TOKYO, "us-east-1")
REFUSALS = (Fault.MISSING, Fault.DELETED, Fault.DENIED)
FAULTS = (*REFUSALS, Fault.REGION, Fault.THROTTLED, Fault.IDENTITY, Fault.NOT_OFFERED, Fault.LOCAL)
FREEZE = 1.0
"""Seconds after an attempt's cap from which its answer spans a freeze of the process."""
PAUSE = 0.06
"""Seconds that the background thread may be late."""
STORM = 2000
T = TypeVar("T")
RARELY = (
    *["invalidate"] * 3,
    *["read_batch"] * 2,
    *["reader_is_cancelled"] * 2,
    *["process_freezes"] * 4,
    *["every_region_fails"] * 2,
    "process_forks",
)
Drawn: TypeAlias = "tuple[str, str, int, int]"
"""Of an id: the secret's name, the form, the region, how many suffixes back."""
Which: TypeAlias = "tuple[str | None, str | None]"


# What the regions hold.


@dataclass(frozen=True)
class Held:
    suffix: str
    current: int
    pending: int | None = None


class Cloud:
    """The regions' content: the last one is the primary, the others show what was replicated last."""

    def __init__(self, regions: Sequence[str]) -> None:
        self._numbers = itertools.count(1)
        self._primary = regions[-1]
        self.shown: dict[tuple[str, str], Held] = {}
        self.suffixes: dict[str, list[str]] = {name: [] for name in NAMES}
        for name in NAMES:
            self.make(name)
            for region in regions:
                self.replicate(region, name)

    def make(self, name: str) -> None:
        """Makes a secret, or makes it again: under a new suffix."""
        self.suffixes[name].append(f"{next(self._numbers):06d}")
        self.shown[self._primary, name] = Held(self.suffixes[name][-1], next(self._numbers))

    def rotate(self, name: str) -> None:
        """A first call brings a pending version, the next one makes it the current one."""
        held = self.shown.get((self._primary, name))
        if held is not None:
            new = Held(held.suffix, held.pending) if held.pending else replace(held, pending=next(self._numbers))
            self.shown[self._primary, name] = new

    def remove(self, name: str) -> None:
        self.shown.pop((self._primary, name), None)

    def replicate(self, region: str, name: str) -> None:
        held = self.shown.get((self._primary, name))
        self.shown.pop((region, name), None)
        if held is not None:
            self.shown[region, name] = held

    def newest(self, name: str) -> int:
        held = self.shown.get((self._primary, name))
        return held.current if held is not None else 0

    def reply(self, call: Call | BatchCall) -> Reply:
        """What the region says at this moment."""
        if isinstance(call, Call):
            return self._single(call.region, call.query)
        singly = [self._single(call.region, query) for query in call.queries]
        return {"SecretValues": [reply for reply in singly if not isinstance(reply, Failure)], "Errors": []}

    def _single(self, region: str, query: Query) -> Reply:
        name, _, suffix = query.secret.name.partition("-")
        held = self.shown.get((region, name))
        if held is None or suffix not in ("", held.suffix):
            return failure(Fault.MISSING, "ResourceNotFoundException")
        number = _number(held, query)
        if number is None:
            return failure(Fault.MISSING, "ResourceNotFoundException")
        stage = CURRENT if number == held.current else PENDING
        more = {"ARN": arn(region, name, held.suffix), "VersionId": _version_id(number), "VersionStages": [stage]}
        return answer(region, _value(name, held.suffix, number), name, **more)


def _number(held: Held, query: Query) -> int | None:
    staged = {CURRENT: held.current, PENDING: held.pending}
    if query.version_id is None:
        return staged[query.stage or CURRENT]
    return next((one for one in staged.values() if one and _version_id(one) == query.version_id), None)


def _version_id(number: int) -> str:
    return f"{number:032d}"


def _value(name: str, suffix: str, number: int) -> str:
    return f"the value of {name}-{suffix} in version {number}"


def _not_whole(call: Call, how: str) -> Reply:
    """An answer that is none."""
    name = call.query.secret.name.partition("-")[0]
    whole = answer(call.region, "not yours", name, ARN=arn(call.region, name, "000000"))
    other = {"Name": "other", "ARN": arn(call.region, "other")}
    spoilt = {"empty": {}, "two values": {**whole, "SecretBinary": b"y"}, "another": {**whole, **other}}
    return {**spoilt, "elsewhere": {**whole, "ARN": arn("eu-west-1", name, "000000")}}[how]


# What stands in for threads.


@dataclass(eq=False)
class Attempt:
    """A job of a lane: first queued, then under way in a thread, then ended."""

    flight: Flight
    queries: tuple[Query, ...]
    leg: Leg
    as_sent: Reply = field(default_factory=dict)
    """What the region held when the request was sent."""


@dataclass(eq=False)
class QuietLane:
    """A lane whose jobs wait for the machine."""

    queued: list[Attempt] = field(default_factory=list)
    under_way: list[Attempt] = field(default_factory=list)

    def submit(self, job: partial[None]) -> bool:
        flight, queries, leg = job.args
        self.queued.append(Attempt(flight(), queries, leg))
        return True

    width = 4

    def widen(self) -> None:
        """The machine decides how many run."""

    def narrow(self) -> None:
        """The machine decides how many run."""

    def close(self) -> None:
        """Nothing runs."""


class InOrder(set[Flight]):
    """A set that is gone through in the order in which it was filled: hypothesis needs the same steps each time."""

    def __init__(self) -> None:
        super().__init__()
        self._order: list[Flight] = []

    def add(self, flight: Flight) -> None:
        if flight not in self:
            self._order.append(flight)
        super().add(flight)

    def discard(self, flight: object) -> None:
        if isinstance(flight, Flight) and flight in self:
            self._order.remove(flight)
        super().discard(flight)

    def clear(self) -> None:
        self._order.clear()
        super().clear()

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._order))


class NoThread:
    def join(self, timeout: float) -> None:
        """It has ended."""


class QuietRuntime(ManualRuntime):
    """A machine on which the machine below is the only thread."""

    background = False
    """Whether the background thread was started."""

    def spawn(self, run: Callable[[], None], name: str) -> NoThread:
        self.background = True
        return NoThread()

    def forget(self) -> None:
        """In a child: no thread is there, and the clock is the same."""
        self.background = False
        self.mailboxes.clear()

    def told(self) -> bool:
        """Whether the background thread was told to look."""
        words = [word for box in self.mailboxes for word in box._words]
        for box in self.mailboxes:
            box._words.clear()
        return bool(words)


class Wire:
    """A transport that notes what is asked and says what it is told."""

    def __init__(self, regions: Sequence[str]) -> None:
        self.reply: Reply = {}
        self.wrong: str | None = None  # no exception: what a transport raises is told as a failure
        self._regions = regions

    def ready(self, region: str) -> bool:
        """Nothing is needed."""
        return True

    def prepare(self, region: str) -> None:
        """Nothing is needed."""

    def pending(self, region: str) -> str:
        """There is nothing to wait for."""
        return ""

    def reload(self) -> None:
        """There are no credentials."""

    def send(self, call: Request) -> Reply:
        queries = call.queries if isinstance(call, BatchCall) else (call.query,)
        texts = call.secret_ids if isinstance(call, BatchCall) else [call.secret_id]
        for query, text in zip(queries, texts, strict=True):
            if query.secret.is_arn and f":{call.region}:" not in text:
                self.wrong = "16: a region is asked by its own ARN"
            if parse_secret_id(text, self._regions) != query.secret:
                self.wrong = "16: rewriting there and back is the identity"
        return self.reply

    def host(self, region: str) -> str:
        return region

    def close(self) -> None:
        """Nothing is open."""


# What the model remembers.


@dataclass(frozen=True)
class Answered:
    secret: Secret
    ticket: int
    reply: Any


@dataclass(eq=False)
class Reader:
    """One call of get, refresh or prefetch, between its steps."""

    query: Query
    key: HotKey | None
    timeout: float
    forced: bool
    began: float
    ticket: int
    """The request sent last when it began."""
    least: list[tuple[str, int]]
    """What it gets was asked for after each of these requests."""
    waiter: Waiter | None = None
    phase: str = "waits"
    look_at: float = float("-inf")
    woken: bool = False

    @property
    def part(self) -> Waiter:
        assert self.waiter is not None
        return self.waiter

    def wake(self) -> None:
        self.woken = True

    def may_go_on(self, now: float) -> bool:
        return self.phase != "waits" or self.woken or now >= self.look_at


class Ledger:
    """From which request on an answer counts, and why."""

    def __init__(self) -> None:
        self._bars: dict[tuple[SecretId, Which | None], dict[str, int]] = defaultdict(dict)

    def bar(self, why: str, secrets: set[SecretId], which: Which | None, ticket: int) -> None:
        """An answer to a request up to this one does not count any more. Which None: of no version."""
        for secret in secrets:
            reasons = self._bars[secret, which]
            reasons[why] = max(ticket, reasons.get(why, 0))

    def least(self, secrets: set[SecretId], which: Which) -> list[tuple[str, int]]:
        found = [self._bars.get((secret, one), {}) for secret in secrets for one in (which, None)]
        return [item for reasons in found for item in reasons.items()]


def _which(query: Query) -> Which:
    return query.stage, query.version_id


def _pick(some: Sequence[T], number: int) -> T:
    return some[number % len(some)]


def _full_id(secret: Secret) -> SecretId:
    return parse_secret_id(secret.arn, (secret.region,))


def _is_of(query: Query, secret: Secret) -> bool:
    full = _full_id(secret)
    return query.secret in (full, full.without_suffix(), SecretId(secret.name))


def _refused(legs: Sequence[Leg]) -> list[int]:
    """The requests that were refused, the first one first."""
    refusing = [leg for leg in legs if leg.failure is not None and leg.failure.fault in REFUSALS]
    return sorted(leg.ticket for leg in refusing) or [0]


_IDS = st.tuples(
    st.sampled_from((*NAMES[:1] * 3, *NAMES[1:])),  # mostly the same secret: there is more to happen
    st.sampled_from(("name", "name", "full", "partial")),
    st.integers(0, 2),
    st.sampled_from((0, 0, 0, 1)),
)
_TIMEOUTS = st.sampled_from((5.0, 5.0, 12.0, 2.0, 0.4, 0.02))
_ANY = st.integers(0, 7)
_ANSWERS: tuple[str, ...] = ("now", "as sent")
_NOT_WHOLE = ("empty", "two values", "another", "elsewhere")
_OUTCOMES: st.SearchStrategy[str | Fault] = st.one_of(
    st.sampled_from(_ANSWERS),
    st.sampled_from(_ANSWERS),
    st.sampled_from(FAULTS),
    st.sampled_from((*REFUSALS, *_NOT_WHOLE)),
)
_SOON = st.sampled_from((0.01, 0.3, 0.6, 1.3, 2.6, 6.0))


class EngineMachine(RuleBasedStateMachine):
    reached: ClassVar[Counter[str]] = Counter()
    """How often each rare path was reached, in all runs."""

    @initialize(
        regions=st.integers(1, 3),
        primary=st.booleans(),
        ttl=st.sampled_from((0.0, 10.0, 100.0)),
        max_stale=st.sampled_from((0.0, 50.0, 10_000.0)),
        max_entries=st.sampled_from((1, 2, 3, 9)),
        refresh=st.sampled_from(("background", "on_access")),
        chance=st.sampled_from((0.0, 0.5, 0.999)),
        tombstones=st.sampled_from((1, 3, 256)),
    )
    def build(
        self,
        *,
        regions: int,
        primary: bool,
        ttl: float,
        max_stale: float,
        max_entries: int,
        refresh: str,
        chance: float,
        tombstones: int,
    ) -> None:
        self.settings = Settings(
            regions=REGIONS[:regions],
            ttl=ttl,
            max_stale=max_stale,
            max_entries=max_entries,
            refresh=refresh,
            primary_region=REGIONS[regions - 1] if primary else None,
        )
        self.regions = self.settings.regions
        self.cloud, self.wire = Cloud(self.regions), Wire(self.regions)
        self.runtime = QuietRuntime()
        self.runtime.chance = chance
        self.ledger = Ledger()
        self.brought: dict[int, Answered] = {}
        self.readers: list[Reader] = []
        self.newest: dict[tuple[SecretId, Which], int] = {}
        self.asked_at: dict[tuple[SecretId, Which], int] = {}
        self.dropped_at = 0
        self.returned: Secret | None = None
        # What is remembered of regions is the board's, and has tests of its own: here they are asked in their order.
        _tombstones._MOST = self.tombstones = tombstones
        self._take(Engine(self.settings, self.runtime, self.wire, NOTHING_REMEMBERED))

    def _take(self, engine: Engine) -> None:
        self.engine = engine
        self.lanes = {region: QuietLane() for region in self.regions}
        engine._loads._lanes = self.lanes  # type: ignore[assignment]
        engine._loads.open = InOrder()
        self.latest: dict[Query, Flight] = {}
        self.perhaps_barred: set[Flight] = set()
        self.in_air: list[Flight] = []
        self.told: dict[Leg, Fault | None] = {}
        self.look_at = float("-inf")
        self._forced = False
        begin = engine._loads.begin

        def watched(*arguments: Any, **options: Any) -> Flight:
            flight = begin(*arguments, **options)
            self._flight_began(flight)
            return flight

        engine._loads.begin = watched  # type: ignore[method-assign]

    @property
    def now(self) -> float:
        return self.runtime.now()

    @property
    def ticket(self) -> int:
        return self.engine._loads.ticket

    # Readers.

    @rule(drawn=_IDS, which=st.sampled_from((*[CURRENT] * 4, PENDING, 2, 3, 5)), timeout=_TIMEOUTS)
    def read(self, drawn: Drawn, which: str | int, timeout: float) -> None:
        text = self._text(drawn)
        if which == CURRENT:
            self._read(text, text, CURRENT, None, timeout)
        elif which == PENDING:
            self._read(text, (text, PENDING, None), PENDING, None, timeout)
        else:
            version_id = _version_id(int(which))
            self._read(text, (text, None, version_id), None, version_id, timeout)

    @rule(drawn=_IDS, timeout=_TIMEOUTS)
    def refresh(self, drawn: Drawn, timeout: float) -> None:
        text = self._text(drawn)
        self._begin(self._reader(text, text, Query(self._id(text)), timeout, forced=True))

    def read_batch(self, drawn: Drawn, number: int) -> None:
        other = (_pick(NAMES, number), *drawn[1:])
        queries = tuple(dict.fromkeys(Query(self._id(self._text(one))) for one in (drawn, other)))
        if len(queries) > 1:
            reader = self._reader("", None, queries[0], 5.0, forced=True)
            with self._step():
                reader.waiter = self.engine.begin_batch(queries, reader.timeout, reader.wake)
            self.readers.append(reader)
            self._look(reader)
            self.reached["batch"] += 1

    @precondition(lambda self: self._ready())
    @rule(number=_ANY)
    def reader_goes_on(self, number: int) -> None:
        self._go_on(_pick(self._ready(), number))

    @precondition(lambda self: self._ready())
    @rule()
    def all_readers_go_on(self) -> None:
        for _ in range(3):  # look, leave, conclude
            for reader in self._ready():
                self._go_on(reader)

    def reader_is_cancelled(self, drawn: Drawn, number: int) -> None:
        if not self.readers:
            return
        reader = _pick(self.readers, number)
        if reader.phase != "concludes":
            self._leave(reader)
            with self._step():
                self.engine.cut_off()
        self.readers.remove(reader)
        self.reached["cancelled"] += 1

    def _text(self, drawn: Drawn) -> str:
        name, kind, region, back = drawn
        suffixes = self.cloud.suffixes[name]
        suffix = suffixes[max(0, len(suffixes) - 1 - back)]
        return name if kind == "name" else arn(_pick(self.regions, region), name, suffix if kind == "full" else "")

    def _id(self, text: str) -> SecretId:
        return parse_secret_id(text, self.regions)

    def _read(self, text: str, key: HotKey, stage: str | None, version_id: str | None, timeout: float) -> None:
        reader = self._reader(text, key, Query(self._id(text), stage, version_id), timeout)
        entry = self.engine.store.hot.get(key)  # as SecretCache.get does, without the lock
        if entry is None or self.now >= entry.serve_until:
            self._begin(reader)
        else:
            entry.last_read = self.now
            self._returned(reader, entry.secret)
            self.reached["hit"] += 1

    def _reader(self, text: str, key: HotKey | None, query: Query, timeout: float, *, forced: bool = False) -> Reader:
        least = self.ledger.least(self._forms(query.secret), _which(query))
        if forced:
            least.append(("14: what refresh returns was requested after the call", self.ticket))
        return Reader(query, key, timeout, forced, self.now, self.ticket, least)

    def _begin(self, reader: Reader) -> None:
        self._forced = reader.forced
        under_way = set(self.in_air)
        entry = self.engine.store.find(reader.query)
        old = entry.secret if entry is not None and not reader.forced and self.now < entry.dead_at else None
        with self._step():
            try:
                begun = self.engine.begin(reader.key, reader.query, reader.timeout, reader.wake, forced=reader.forced)
            except SecretCacheError as error:
                self._refused_at_once(reader, error)
                return
        if isinstance(begun, Secret):
            self._returned(reader, begun)
            return
        reader.waiter = begun
        self.readers.append(reader)
        if begun.flight in under_way:
            self._joined(reader, begun, old)
        assert begun.until <= reader.began + reader.timeout, "2: nobody waits past the deadline"
        self._look(reader)

    def _joined(self, reader: Reader, waiter: Waiter, old: Secret | None) -> None:
        flight = waiter.flight
        assert flight is self.latest.get(flight.query), "1: only the flight begun last, and not barred, is joined"
        stuck = any(leg.failure and leg.failure.code == "AttemptsStuck" for leg in flight.route.legs)
        assert flight.verdict is None or stuck, "11: a newcomer is handed a failure that is none of theirs"
        if reader.forced:
            assert all(leg.started_at is None for leg in flight.route.legs), "14: refresh joins what is not yet sent"
            self.reached["refresh joined"] += 1
        elif old is not None:
            late = max(flight.route.begun_at, old.requested_at) + SUSPECT_AFTER
            assert waiter.until <= late, "nobody but the first waits long while an older value may stand in"
            self.reached["joined with a value at hand"] += 1
        self.reached["joined"] += 1

    def _refused_at_once(self, reader: Reader, error: SecretCacheError) -> None:
        assert isinstance(error, (SecretNotFoundError, SecretAccessDeniedError)), "only a refusal is remembered"
        assert not reader.forced, "refresh forgets a refusal"
        asked = reader.query._replace(secret=self.engine.store.address(reader.query.secret))
        refused = _refused(self.engine._negatives[asked].verdict.legs)[-1]
        for why, ticket in reader.least:
            if why != _REFUSED:  # that is what it is told
                assert refused > ticket, f"a refusal that was asked for before this is told after it: {why}"
        self.reached["refused at once"] += 1

    def _go_on(self, reader: Reader) -> None:
        {"waits": self._look, "leaves": self._leave, "concludes": self._conclude}[reader.phase](reader)

    def _look(self, reader: Reader) -> None:
        waiter, reader.woken = reader.part, False
        with self._step():
            look_at = self.engine.look(waiter)
        self._all_judged()
        if look_at is None:
            assert waiter.flight.over or self.now >= waiter.until, "nobody leaves before the time"
            reader.phase = "leaves"
            return
        assert not waiter.flight.over, "who waits is told when it is over"
        assert look_at > self.now, "a look does not ask for another at once"
        assert look_at <= reader.began + reader.timeout, "2: nobody waits past the deadline"
        reader.look_at = look_at

    def _leave(self, reader: Reader) -> None:
        before = self._all_but(reader)
        with self._step():
            self.engine.leave(reader.part)
        assert self._all_but(reader) == before, "3: a waiter's leaving changes nothing for another"
        reader.phase = "concludes"

    def _all_but(self, reader: Reader) -> list[Any]:
        loads = self.engine._loads
        legs = [(leg.running, leg.failure, leg.ticket) for flight in self.in_air for leg in flight.route.legs]
        others = [[wake for wake in flight.waiters() if wake != reader.wake] for flight in self.in_air]
        fates = [(flight.over, flight in loads.open, flight.wake_at) for flight in self.in_air]
        return [legs, others, fates, dict(loads._joinable), len(self.engine.store)]

    def _stood_still_since(self, flight: Flight, secret: Secret) -> bool:
        """6: the process was frozen, and what was answered before that is too old by now."""
        too_old = self.now >= secret.requested_at + self.settings.ttl + self.settings.max_stale
        return too_old and self.now >= flight.route.deadline + 1.0

    def _conclude(self, reader: Reader) -> None:
        self.readers.remove(reader)
        flight, entry, open_before = reader.part.flight, self.engine.store.find(reader.query), set(self.in_air)
        if reader.key is None:  # a batch: its results are read from the flight
            return
        stands_in = entry is not None and not reader.forced and self.now < entry.dead_at
        with self._step():
            try:
                concluded = self.engine.conclude(reader.part)
            except SecretCacheError as error:
                # Asked by an ARN that is no more: the name's answer is of the secret made again.
                gone = flight.secret is not None and not _is_of(reader.query, flight.secret)
                late = flight.secret is not None and self._stood_still_since(flight, flight.secret)
                assert flight.secret is None or gone or late, "8: a waiter whose flight got an answer gets a value"
                assert not stands_in, "an older value stands in"
                fits = isinstance(error, SecretNotFoundError if gone and not late else self._errors(flight))
                assert fits, "the error is the verdict's"
                self.reached["failed"] += 1
                assert set(self.in_air) <= open_before, "one failure is no convoy: it starts no further flight"
                return
        self._returned(reader, concluded)

    def _errors(self, flight: Flight) -> tuple[type[Exception], ...]:
        if flight.verdict is None or not self._is_definitive(flight):
            return (SecretUnavailableError, CredentialsError, ConfigurationError)
        return (SecretNotFoundError, SecretAccessDeniedError)

    def _returned(self, reader: Reader, secret: Secret) -> None:
        self.returned = secret
        self._is_one_answer(reader, secret)
        ticket = self.brought[id(secret)].ticket
        for why, least in reader.least:
            assert ticket > least, f"{why}: request {ticket} was returned, and only those after {least} count"
        self._is_young(reader, secret)
        self.ledger.bar(_OLDER, {reader.query.secret}, _which(reader.query), ticket - 1)

    def _is_one_answer(self, reader: Reader, secret: Secret) -> None:
        known = self.brought.get(id(secret))
        assert known is not None, "4: what is returned is an answer"
        reply, query = known.reply, reader.query
        told = (secret.arn, secret.name, secret.version_id, list(secret.version_stages), secret.string)
        assert told == tuple(reply[one] for one in ("ARN", "Name", "VersionId", "VersionStages", "SecretString")), "4"
        assert f":{secret.region}:" in secret.arn, "4: the region is that of the answer"
        assert _is_of(query, secret), "4: the secret that was asked for"
        assert query.stage in (None, *secret.version_stages), "4: the stage that was asked for"
        assert query.version_id in (None, secret.version_id), "4: the version that was asked for"

    def _is_young(self, reader: Reader, secret: Secret) -> None:
        age, fresh = secret.age(), self.settings.ttl
        assert age == self.now - secret.requested_at >= 0, "6: ages count from the request"
        ticket, flight = self.brought[id(secret)].ticket, reader.waiter.flight if reader.waiter else None
        awaited = flight is not None and flight.secret is not None and secret.requested_at >= flight.route.begun_at
        if awaited or ticket > reader.ticket:
            return  # with a ttl of 0 an answer is too old at once, and still it is the answer to who waited for it
        assert age < self.settings.ttl + self.settings.max_stale, "6: nothing older than ttl + max_stale is served"
        if reader.query.version_id is not None:
            fresh = max(fresh, self.settings.max_stale)
        if age >= fresh:
            assert self._is_asked_for(reader.query, ticket), (
                "nothing older than ttl without an attempt to revalidate it"
            )
            self.reached["stale served"] += 1

    def _asked(self, query: Query) -> None:
        for secret in self._forms(query.secret):
            self.asked_at[secret, _which(query)] = self.ticket

    def _is_asked_for(self, query: Query, ticket: int) -> bool:
        """Whether it was asked for after that request, or is about to be."""
        forms = [query._replace(secret=one) for one in self._forms(query.secret)]
        under_way = any(form in self.latest and not self.latest[form].over for form in forms)
        return under_way or any(self.asked_at.get((form.secret, _which(form)), -1) >= ticket for form in forms)

    # Attempts.

    @precondition(lambda self: self._queues())
    @rule(number=_ANY)
    def thread_picks_up(self, number: int) -> None:
        self._pick_up(_pick(self._queues(), number))

    @precondition(lambda self: self._under_way())
    @rule(number=_ANY, outcome=_OUTCOMES, gone=st.booleans())
    def attempt_ends(self, number: int, outcome: str | Fault, *, gone: bool) -> None:
        attempt = _pick(self._under_way(), number)
        self._end(attempt, self._reply(attempt, outcome), gone=gone and attempt.flight.over)

    @precondition(lambda self: self._under_way())
    @rule(number=_ANY, as_sent=st.booleans())
    def region_answers(self, number: int, *, as_sent: bool) -> None:
        attempt = _pick(self._under_way(), number)
        self._end(attempt, attempt.as_sent if as_sent else self._reply(attempt, "now"))

    @precondition(lambda self: self._queues())
    @rule(number=_ANY, outcome=_OUTCOMES)
    def region_replies_at_once(self, number: int, outcome: str | Fault) -> None:
        attempt = self._pick_up(_pick(self._queues(), number))
        if attempt is not None:
            self._end(attempt, self._reply(attempt, outcome))

    def every_region_fails(self, drawn: Drawn, number: int) -> None:
        outcome = _pick(FAULTS, number)
        for _ in range(STORM):
            if not (self._queues() or self._under_way()):
                return
            for lane in self._queues():
                self._pick_up(lane)
            for attempt in self._under_way():
                self._end(attempt, self._reply(attempt, outcome))
        pytest.fail("a storm: there is always something to ask")

    def _reply(self, attempt: Attempt, outcome: str | Fault) -> Reply:
        call = self._call(attempt)
        if isinstance(outcome, Fault):
            return failure(outcome, "Told")
        if outcome == "now":
            return self.cloud.reply(call)
        return attempt.as_sent if outcome == "as sent" or isinstance(call, BatchCall) else _not_whole(call, outcome)

    def _queues(self) -> list[QuietLane]:
        return [lane for lane in self.lanes.values() if lane.queued and len(lane.under_way) < WIDTH]

    def _under_way(self) -> list[Attempt]:
        return [attempt for lane in self.lanes.values() for attempt in lane.under_way]

    @staticmethod
    def _call(attempt: Attempt) -> Call | BatchCall:
        region, queries = attempt.leg.region, attempt.queries
        return Call(region, queries[0]) if len(queries) == 1 else BatchCall(region, queries)

    def _pick_up(self, lane: QuietLane) -> Attempt | None:
        attempt = lane.queued.pop(0)
        over, before = attempt.flight.over, self.ticket
        with self._step():
            wanted = self.engine.taken(attempt.flight, attempt.leg)
            wanted = wanted and self.engine.started(attempt.flight, attempt.leg)
        if not wanted:
            self.reached["not sent"] += 1
            return None
        assert not over, "a request whose flight has ended is not sent"
        assert attempt.leg.ticket == self.ticket == before + 1
        sent = [leg.region for leg in attempt.flight.route.legs if leg.started_at is not None]
        assert len(sent) == len(set(sent)) <= len(self.regions), "12: a flight asks each region once"
        for query in attempt.queries:
            self._asked(query)
        attempt.as_sent = self.cloud.reply(self._call(attempt))
        lane.under_way.append(attempt)
        return attempt

    def _end(self, attempt: Attempt, reply: Reply, *, gone: bool = False) -> None:
        """Gone: nobody holds the flight any more, and an attempt does not."""
        flight, leg = attempt.flight, attempt.leg
        self.lanes[leg.region].under_way.remove(attempt)
        outcome = self._ask(attempt, reply)
        was_over, froze = flight.over, leg.running and self.now > leg.cap_at + FREEZE
        brought = {} if isinstance(outcome, Failure) else outcome
        found = {query: secret for query, secret in brought.items() if not self._is_foreign(query, secret)}
        if leg.running and not was_over:
            told = outcome.fault if isinstance(outcome, Failure) else None if found else Fault.FOREIGN
            self.told[leg] = Fault.LOCAL if froze else told
        self.reached["foreign"] += len(found) < len(brought)
        for secret in found.values():
            self._note(secret, leg.ticket, reply)
        self.reached["frozen"] += froze
        self.reached["late answer"] += bool(found) and not leg.running
        dropped_at, evicted = self.dropped_at, self.engine.store.evictions
        with self._step():
            self.engine.ended(None if gone else flight, leg, outcome)
        if froze or not (found or outcome == {}):
            return
        if flight.fallback is not None and not flight.over:  # it goes back behind what was read: others are asked too
            assert leg.ticket <= dropped_at, "8: an answer ends its flight, but one that something was dropped after"
            return
        assert flight.over, "8: an answer ends its flight"
        assert was_over or flight.secrets is not None, "8: a success is not discarded"
        if leg.ticket > dropped_at and (len(found) == 1 or self.engine.store.evictions == evicted):
            for query, secret in found.items():
                self._is_held(query, secret, leg.ticket)

    def _is_foreign(self, query: Query, secret: Secret) -> bool:
        """Whether an answer is another secret's, of the same name: what is held then stays, and it is no success."""
        held = self.engine.store.foreign(query, secret, self.now)
        if held is None:
            return False
        assert _full_id(held) != _full_id(secret), "8: an answer of the secret that is held is one"
        assert secret.region not in (self.settings.primary_region, held.region), "its region has a say in it"
        return True

    def _ask(self, attempt: Attempt, reply: Reply) -> dict[Query, Secret] | Failure:
        self.wire.reply, self.wire.wrong = reply, None
        outcome = _ask(self.wire, attempt.queries, attempt.leg, self.engine._lifetime)
        assert self.wire.wrong is None, self.wire.wrong
        return outcome

    def _note(self, secret: Secret, ticket: int, reply: Any) -> None:
        whole = [reply] if "ARN" in reply else [one for one in reply["SecretValues"] if one["ARN"] == secret.arn]
        self.brought[id(secret)] = Answered(secret, ticket, whole[0])

    @staticmethod
    def _was_made_again(secret: Secret, entry: Entry, ticket: int) -> bool:
        """Whether a later answer has told that the secret's name is another secret's by now."""
        is_another = entry.secret.name == secret.name and _full_id(entry.secret) != _full_id(secret)
        return is_another and entry.ticket > ticket

    def _is_held(self, query: Query, secret: Secret, ticket: int) -> None:
        entry = self.engine.store.find(query)
        if entry is None and any(self._was_made_again(secret, one, ticket) for one in self.engine.store.entries()):
            return
        assert entry is not None, "8: an answer that nothing was dropped after is held"
        assert entry.ticket >= ticket, "15: what is held was asked for last"
        full = _full_id(entry.secret)
        if entry.secret is secret:
            assert self.engine.store.find(query._replace(secret=full)) is entry, "an answer's ARN is an alias"
            by_name = self.engine.store.find(query._replace(secret=full.without_suffix()))
            # Unless it is known from a later answer to be another secret's, which may have been evicted.
            later = self.engine.store.evictions if by_name is None else by_name.ticket > ticket
            # A secret that is read by its ARN does not take the name from another one, which may still be served.
            later = later or (by_name is not None and _full_id(by_name.secret) != full and self.now < by_name.dead_at)
            assert by_name is entry or later, "an answer's partial ARN is an alias"

    @rule(what=st.sampled_from(RARELY), drawn=_IDS, number=_ANY)
    def seldom(self, what: str, drawn: Drawn, number: int) -> None:
        """What ends much of what is going on, or would crowd out the rest."""
        getattr(self, what)(drawn, number)

    # What happens in the regions, in the process, and with time.

    @rule(
        name=st.sampled_from((*NAMES[:1] * 3, *NAMES[1:])),
        what=st.sampled_from(("rotate", "rotate", "replicate", "replicate", "remove", "make", "make")),
        number=_ANY,
    )
    def regions_change(self, name: str, what: str, number: int) -> None:
        if what == "replicate":
            self.cloud.replicate(_pick(self.regions, number), name)
        else:
            getattr(self.cloud, what)(name)

    def invalidate(self, drawn: Drawn, number: int) -> None:
        secret = self._id(self._text(drawn))
        forms = self._forms(secret)
        with self._step():
            self.engine.invalidate(secret)
        self.ledger.bar("15: an invalidated value comes back", forms, None, self.ticket)
        self.dropped_at = self.ticket
        self.latest = {query: flight for query, flight in self.latest.items() if query.secret not in forms}
        bare = (
            secret.bare_name
        )  # under an id that is not known to be the same: forgetting more than is known is allowed
        self.perhaps_barred |= {flight for query, flight in self.latest.items() if query.secret.bare_name == bare}
        self.reached["invalidated under way"] += bool(self._under_way())

    @precondition(lambda self: self.runtime.background)
    @rule()
    def background_looks(self) -> None:
        with self._step():
            look_at = self.engine.work()
        self._all_judged()
        assert look_at is not None
        assert look_at > self.now, "a look does not ask for another at once"
        self.look_at = look_at

    @rule(seconds=_SOON, how=st.sampled_from(("unseen", "seen", "healthy", "healthy")))
    def time_passes(self, seconds: float, how: str) -> None:
        if how == "unseen":
            self.runtime.advance(seconds)
        else:
            self._pass(seconds, healthy=how == "healthy")

    @precondition(lambda self: self.readers)
    @rule(number=_ANY)
    def time_passes_to_a_wake_up(self, number: int) -> None:
        moment = _pick(self.readers, number).look_at
        if moment > self.now:
            self.runtime.advance(moment - self.now)

    def process_freezes(self, drawn: Drawn, number: int) -> None:
        ttl, stale = self.settings.ttl, self.settings.max_stale
        self.runtime.advance(_pick((0.8 * ttl, ttl + 0.1, 0.8 * ttl, ttl + 0.1, ttl + stale, 3601.0), number))

    def process_forks(self, drawn: Drawn, number: int) -> None:
        """The child goes on: the values are there, threads and readers are not."""
        held = {id(entry.secret) for entry in self.engine.store.entries()}
        ticket = self.ticket
        self.runtime.forget()
        self._take(self.engine.heir(self.runtime, self.wire))
        self.readers.clear()
        assert {id(entry.secret) for entry in self.engine.store.entries()} == held, "18: a child keeps the values"
        assert self.ticket == ticket, "18: a child's requests count on from its parent's"

    def _pass(self, seconds: float, *, healthy: bool = False) -> None:
        """Lets time pass, and everybody do what they have to do at the moment they have to."""
        until = self.now + seconds
        for _ in range(STORM):
            self._all_go_on(healthy=healthy)
            moments = [reader.look_at for reader in self.readers if reader.phase == "waits"]
            if self.runtime.background:
                moments.append(self.look_at)
            later = min([until, *(moment for moment in moments if moment > self.now)])
            if self.now >= until:
                break
            self.runtime.advance(later - self.now)
        else:
            pytest.fail("a storm: there is always something to do")
        if self.runtime.background:
            self._nobody_is_forgotten()

    def _nobody_is_forgotten(self) -> None:
        """The background thread sees to the flights that everybody left."""
        past = self.now - PAUSE
        assert all(flight.route.deadline > past for flight in self.in_air), "2: a flight ends at its deadline"
        legs = [attempt.leg for attempt in self._under_way()]
        assert all(leg.cap_at > past or not leg.running for leg in legs), "row H: an attempt is judged at its cap"

    def _all_go_on(self, *, healthy: bool) -> None:
        for _ in range(STORM):
            if not self._one_goes_on(healthy=healthy):
                return
        pytest.fail("a storm: there is always something to do")

    def _one_goes_on(self, *, healthy: bool) -> bool:
        if self._ready():
            self._go_on(self._ready()[0])
        elif healthy and self._under_way():
            attempt = self._under_way()[0]
            self._end(attempt, self.cloud.reply(self._call(attempt)))
        elif healthy and self._queues():
            self._pick_up(self._queues()[0])
        elif self.runtime.background and (self.runtime.told() or self.now >= self.look_at):
            self.background_looks()
        else:
            return False
        return True

    def _ready(self) -> list[Reader]:
        return [reader for reader in self.readers if reader.may_go_on(self.now)]

    # What the model makes of it.

    @contextmanager
    def _step(self) -> Iterator[None]:
        """One step of the engine: notes what was known before it, and judges what came of it."""
        self._known = self._aliases()
        before = [(entry, entry.secret, entry.ticket, entry.dead_at) for entry in self.engine.store.entries()]
        evictions = self.engine.store.evictions
        yield
        held = set(self.engine.store.entries())
        landed = [flight for flight in self.in_air if flight.over]
        self.in_air = [flight for flight in self.in_air if not flight.over]
        for flight in landed:
            self._landed(flight, before, held)
        gone = [ticket for entry, _, ticket, _ in before if entry not in held]
        self.dropped_at = max([self.dropped_at, *gone])
        if self.engine.store.evictions != evictions:  # perhaps of what came in the same step
            self.dropped_at = self.ticket

    def _aliases(self) -> dict[SecretId, set[SecretId]]:
        """The ids that the store knows to be the same secret."""
        groups: dict[Record, set[SecretId]] = defaultdict(set)
        for text, record in self.engine.store._records.items():
            groups[record].add(self._id(text))
        return {secret: group for group in groups.values() for secret in group}

    def _forms(self, secret: SecretId) -> set[SecretId]:
        """All ids known to be the same secret as this one, at this moment."""
        by_name = self.engine.store._by_name(secret)
        aliases = self._aliases()
        return {secret, by_name} | aliases.get(secret, set()) | aliases.get(by_name, set())

    def _flight_began(self, flight: Flight) -> None:
        self.in_air.append(flight)
        if len(flight.queries) > 1:
            return
        query, before = flight.query, self.latest.get(flight.query)
        if before is not None and not before.over and before not in self.perhaps_barred:
            fair = min(ATTEMPT_CAP, before.route.deadline - before.route.begun_at) / 2
            useful = before.route.deadline - self.now >= fair and not (self._forced and before.sent)
            assert not useful, "1: there is a flight of this key that could be joined"
        self.latest[query] = flight
        self._asked(query)
        self._forced = False

    def _landed(self, flight: Flight, before: list[tuple[Entry, Secret, int, float]], held: set[Entry]) -> None:
        if flight.verdict is None or len(flight.queries) > 1:  # a batch's failure is of no secret
            return
        definitive = self._is_definitive(flight)
        assert flight.verdict.definitive == definitive, "class D: what the regions told adds up"
        if not definitive:
            return
        query, refused = flight.query, _refused(flight.route.legs)
        forms = {query.secret} | self._known.get(query.secret, set())
        for entry, secret, ticket, dead_at in before:
            same = entry.which == _which(query) and _full_id(secret) in forms and self.now < dead_at
            if same and ticket > refused[-1]:
                assert entry in held, "15: a late refusal drops what was asked for after it"
        self.ledger.bar(_REFUSED, forms, _which(query), refused[0])
        self.dropped_at = self.ticket
        others = (flight for other, flight in self.latest.items() if other.which == query.which)
        self.perhaps_barred |= {one for one in others if one.query.secret.bare_name == query.secret.bare_name}
        self.reached["definitive"] += 1
        self.reached["definitive drop"] += any(entry not in held for entry, *_ in before)

    def _is_definitive(self, flight: Flight) -> bool:
        told = {leg.region: self.told.get(leg, Fault.REGION) for leg in flight.route.legs}
        if told.get(self.settings.primary_region or "") in (Fault.DENIED, Fault.DELETED):
            return True
        # A region that is not enabled for the account cannot hold the secret, and another one of its name is none.
        say = [told.get(region) for region in self.regions]
        say = [fault for fault in say if fault not in (Fault.NOT_OFFERED, Fault.FOREIGN)]
        return bool(say) and all(fault in REFUSALS for fault in say)

    def _all_judged(self) -> None:
        for attempt in self._under_way():
            judged = not attempt.leg.running or self.now < attempt.leg.cap_at
            assert judged, "row H: an attempt is judged at its cap, whoever waits for it"

    @invariant()
    def store_is_consistent(self) -> None:
        store = self.engine.store
        entries = store.entries()
        assert len(entries) == len(store) <= self.settings.max_entries, "the store is bounded"
        for entry in entries:
            assert entry in entry.record.entries, "an entry is one of its record's"
            found = store.find(Query(store.asked_as(entry.record), *entry.which))
            assert found is entry, "an entry is found by the id it is asked for"
            assert store.find(Query(_full_id(entry.secret), *entry.which)) is entry, "and by its full ARN"
            assert self.brought[id(entry.secret)].ticket == entry.ticket, "an entry has the number of its request"
            assert entry.serve_until <= entry.dead_at, "6: a hit is not served past ttl + max_stale"
            limit = entry.secret.requested_at + self.settings.ttl + self.settings.max_stale
            assert entry.dead_at <= limit, "6: nothing lives past ttl + max_stale"
        for record in set(store._records.values()):
            assert record.entries, "a record has entries"
            assert set(record.entries) <= set(entries), "what a record has is held"
        assert len(store._records) <= len(entries) * (3 + len(self.regions)), "ids are bounded by entries"

    @invariant()
    def hot_keys_lead_to_what_is_held(self) -> None:
        store = self.engine.store
        for key, entry in store.hot.items():
            text, stage, version_id = (key, CURRENT, None) if isinstance(key, str) else key
            assert entry in store.entries(), "a hot key leads to what is held"
            assert store.find(Query(self._id(text), stage, version_id)) is entry, "a hot key is an alias of its entry"

    @invariant()
    def what_is_held_never_goes_back(self) -> None:
        for entry in self.engine.store.entries():
            self._goes_not_back(entry, _full_id(entry.secret))
            for secret in self._forms(_full_id(entry.secret)):
                for why, least in self.ledger.least({secret}, entry.which):
                    assert entry.ticket > least, f"{why}: request {entry.ticket} is held, those after {least} count"
        for name, stage in itertools.product(NAMES, (CURRENT, PENDING)):
            found = self.engine.store.find(Query(SecretId(name), stage))
            if found is not None:
                self._goes_not_back(found, SecretId(name))

    def _goes_not_back(self, entry: Entry, secret: SecretId) -> None:
        key = secret, entry.which
        assert entry.ticket >= self.newest.get(key, 0), "15: a late answer replaces one that was asked for later"
        self.newest[key] = entry.ticket

    @invariant()
    def flights_are_consistent(self) -> None:
        loads = self.engine._loads
        assert loads.open == set(self.in_air), "what is open is what is not over"
        assert set(loads._joinable.values()) <= loads.open, "nobody joins what is over"
        for reader in self.readers:
            if reader.phase == "waits" and reader.part.flight.over:
                assert reader.woken or reader.look_at <= self.now, "who waits is woken at the end"
        for region, stats in loads.stats().items():
            stuck = sum(not attempt.leg.running for attempt in self.lanes[region].under_way)
            assert stats.stuck_attempts == stuck <= WIDTH, "21: stuck attempts are counted"
        assert len(self.engine._negatives) <= self.settings.max_entries, "refusals are bounded"
        assert len(self.engine.store._tombstones) <= self.tombstones, "tombstones are bounded"

    # The end: whatever was going on, everybody gets an answer, and the cache converges.

    def teardown(self) -> None:
        if not hasattr(self, "engine") or sys.exc_info()[0] is not None:  # a failure is told as it is
            return
        self.reached["evicted"] += self.engine.store.evictions > 0
        if self.ticket % 3 == 0:
            self._close_in_the_middle()
            return
        self._heal()
        self._pass(self.settings.timeout + 8, healthy=True)
        assert not self.readers, "2: everybody has an answer"
        assert not self._under_way()
        self.flights_are_consistent()
        assert not self.in_air, "nothing is open when all attempts have ended and all readers have left"
        self._converges()
        self._close_in_the_middle()

    def _heal(self) -> None:
        for region, name in itertools.product(self.regions, NAMES):
            self.cloud.replicate(region, name)

    def _converges(self) -> None:
        self.runtime.advance(1.0)
        self._pass(self.settings.ttl + 61, healthy=True)  # and a refusal is forgotten
        for name in NAMES:
            # Twice: a secret first asked by a full ARN, and made again, is missing once under that ARN; and where all
            # regions were in trouble, whoever reads first begins the load that ends it and does not wait.
            for _ in range(2):
                self.returned = None
                self.read((name, "name", 0, 0), CURRENT, 5.0)
                self._pass(0.1, healthy=True)
            assert not self.readers
            shown = int(self.returned.version_id) if self.returned is not None else 0
            assert shown == self.cloud.newest(name), "22: once faults stop, every key converges"
            self.store_is_consistent()

    def _end_of(self, part: Waiter) -> None:
        """What one who waits meets when it looks once more: there, or where it wants its answer."""
        self.engine.look(part)
        self.engine.conclude(part)

    def _close_in_the_middle(self) -> None:
        under_way = self._under_way()
        self.engine.close()
        for reader in self.readers:
            if reader.phase == "waits":
                assert reader.woken or reader.look_at <= self.now, "21: no waiter is left after close"
                with pytest.raises(CacheClosedError):
                    self._end_of(reader.part)
            self.engine.leave(reader.part)
        for attempt in under_way:
            self.engine.ended(attempt.flight, attempt.leg, self._ask(attempt, attempt.as_sent))
        for lane in self.lanes.values():
            assert not any(self.engine.started(one.flight, one.leg) for one in lane.queued), "21: nothing is sent"
        assert not self.engine.store.hot
        assert not self.engine.store.entries()
        assert not self.engine._loads.open
        with pytest.raises(CacheClosedError):
            self.engine.begin(None, Query(SecretId("prod/db")), 1.0, lambda: None)


_REFUSED = "7: what was asked for before a refusal is returned after it"
_OLDER = "15: an answer goes back behind one that was returned"

RARE = (
    "batch",
    "cancelled",
    "definitive",
    "definitive drop",
    "evicted",
    "failed",
    "frozen",
    "hit",
    "invalidated under way",
    "joined",
    "joined with a value at hand",
    "late answer",
    "not sent",
    "refresh joined",
    "refused at once",
    "stale served",
)


def by_ticket(lineage: Lineage, _region: str, version: str, ticket: int, *_circumstances: object) -> Judgement:
    """As if every region were the primary: which version may replace which has tests of its own."""
    if ticket <= max((asked for _, asked in lineage.shown.values()), default=0):
        return Judgement.LATE
    return Judgement.SAME if version == lineage.current else Judgement.MOVED


def test_the_engine_holds_every_invariant_in_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lineage, "judge", by_ticket)
    # Nor does it matter here who may say that a secret was made again, or that two requests overlapped.
    monkeypatch.setattr(Store, "_is_guarded", lambda *_arguments: False)
    monkeypatch.setattr(Lineage, "believes", lambda *_arguments: False)
    monkeypatch.setattr(_tombstones, "_MOST", _tombstones._MOST)  # each run has its own: put back at the end
    hunting = int(os.environ.get("STATE_MACHINE_EXAMPLES", "0"))
    run_state_machine_as_test(
        EngineMachine,
        settings=settings(
            max_examples=hunting or 1200,
            stateful_step_count=60,
            deadline=None,
            derandomize=not hunting,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    never = [path for path in RARE if not EngineMachine.reached[path]]
    assert not never, f"paths that the run never reached: {never}"
