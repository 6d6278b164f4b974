"""Bugs planted on purpose, at least one for each invariant: the simulation catches each by the invariant it breaks.

A plant is put over the real code before the watchers are, as if it had been written so.
"""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from secretcache import SecretCache, _engine
from secretcache._bridged import Bridged
from secretcache._engine import Engine, _Step
from secretcache._events import Event
from secretcache._freshness import Freshness
from secretcache._hooks import Hooks, RotationEvent, Subscription
from secretcache._lineage import Judgement, Lineage
from secretcache._loads import Loads
from secretcache._logins import Logins
from secretcache._logins import Verdict as Turned
from secretcache._refresher import Refresher
from secretcache._regions.board import Board, _Gate
from secretcache._regions.breaker import Breaker
from secretcache._regions.route import Route, Verdict
from secretcache._regions.throttle import Throttle
from secretcache._rotations import Rotations
from secretcache._secret import Secret
from secretcache._store import Store
from secretcache._transport import Call, Failure, Fault, _classify
from simulation.plan import OSAKA, plan_of
from simulation.run import machinery, run
from simulation.watch import world

_NEVER = float("inf")
_STEPS = 3000
_MOST_SEEDS = 120


@dataclass(frozen=True)
class Plant:
    """One bug."""

    number: int
    """The invariant it breaks."""
    what: str
    owner: Any
    name: str
    bug: Callable[[Any], Any]
    """What takes the place of the real thing, given that."""

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        real = vars(self.owner)[self.name]
        setattr(self.owner, self.name, self.bug(real))
        try:
            yield
        finally:
            setattr(self.owner, self.name, real)


@dataclass(frozen=True)
class Caught:
    """What came of a plant."""

    plant: Plant
    seeds: int
    """How many stories it took; 0: it was not caught."""
    steps: int
    others: Counter[int]
    """Other invariants that broke first."""


def hunt(plant: Plant, *, seeds: int = _MOST_SEEDS, steps: int = _STEPS) -> Caught:
    """Runs stories until one breaks the plant's invariant."""
    others: Counter[int] = Counter()
    total = 0
    with plant.planted(), machinery():
        for seed in range(1, seeds + 1):
            outcome = run(plan_of(seed, steps))
            gc.collect()
            total += outcome.steps
            if outcome.number == plant.number:
                return Caught(plant, seed, total, others)
            if outcome.number is not None:
                others[outcome.number] += 1
    return Caught(plant, 0, total, others)


def table(say: Callable[[str], None]) -> int:
    """Every plant, what caught it and when; returns how many were not caught."""
    say(f"{'breaks':>6}  {'the bug':<62} {'seeds':>5} {'steps':>8}  others before")
    missed = 0
    for plant in PLANTS:
        caught = hunt(plant)
        missed += not caught.seeds
        others = ", ".join(f"{number}: {count}" for number, count in sorted(caught.others.items()))
        seeds = str(caught.seeds) if caught.seeds else "NONE"
        say(f"{plant.number:>6}  {plant.what:<62} {seeds:>5} {caught.steps:>8,}  {others}")
    say(f"{len(PLANTS)} planted, {missed} not caught")
    return missed


# The bugs.


def _nothing(_: Any) -> Callable[..., None]:
    return lambda *_args, **_options: None


def _look_at_the_flight_alone(_: Any) -> Any:
    def look(engine: Any, waiter: Any) -> float | None:
        with engine._step() as act, act, engine.lock:
            engine._refuse_if_closed()  # else it would look for ever: nobody moves the flight on
            engine._loads.pass_time(engine._runtime.now(), act)
            over: bool = waiter.flight.over
            wake_at: float = waiter.flight.wake_at
            return None if over else wake_at

    return look


def _leave_and_end(real: Any) -> Any:
    def leave(engine: Any, waiter: Any) -> None:
        real(engine, waiter)
        if not waiter.flight.over:
            waiter.flight.verdict = Verdict(Fault.REGION, tuple(waiter.flight.route.legs))

    return leave


def _remember_a_timeout(real: Any) -> Any:
    def leave(engine: Any, waiter: Any) -> None:
        real(engine, waiter)
        if not waiter.flight.over:
            verdict = Verdict(Fault.MISSING, ())
            engine._negatives[waiter.query] = engine._freshness.negative(None, verdict, engine._runtime.now())

    return leave


def _stages_of_another(real: Any) -> Any:
    def read(*args: Any) -> Any:
        secret = real(*args)
        if isinstance(secret, Secret):
            object.__setattr__(secret, "version_stages", ("AWSCURRENT", "AWSPREVIOUS"))
        return secret

    return read


def _young_as_its_answer(real: Any) -> Any:
    def read(*args: Any) -> Any:
        secret = real(*args)
        if isinstance(secret, Secret):
            object.__setattr__(secret, "requested_at", world().machine.time)
        return secret

    return read


def _believe(*believed: Judgement) -> Callable[[Any], Any]:
    def plant(real: Any) -> Any:
        def judge(*args: Any) -> Judgement:
            judged: Judgement = real(*args)
            return Judgement.MOVED if judged in believed else judged

        return judge

    return plant


def _doubt_overlaps(real: Any) -> Any:
    """An answer whose request overlapped with another is doubted before anybody looks at whose it is."""

    def judge(lineage: Any, region: str, version: str, *args: Any) -> Judgement:
        judged: Judgement = real(lineage, region, version, *args)
        if judged is not Judgement.OVERLAPS:
            return judged
        return Judgement.LAGS if version in lineage.superseded else Judgement.DOUBTED

    return judge


def _lead_to_the_last(_: Any) -> Any:
    def lead(store: Any, record: Any, texts: Any, *_args: Any) -> None:
        for text in texts:
            before = store._records.get(text)
            if before is not None and before is not record:
                store._remove_all(before)
            store._records.setdefault(text, record)

    return lead


def _one_twice(_: Any) -> Any:
    def pair(cache: Any, secret_id: str) -> Any:
        for _ in range(4):
            current = cache.get(secret_id)
            previous = cache._previous(secret_id, current)
            if cache._held_version(secret_id) in (current.version_id, None):
                break
        return current, previous

    return pair


def _nobody_is_lost(real: Any) -> Any:
    def last_resort(lineage: Any, version: str, *args: Any) -> Judgement:
        judged: Judgement = real(lineage, version, *args)
        return Judgement.LAGS if version in lineage.superseded else judged

    return last_resort


def _never_too_old(real: Any) -> Any:
    def renew(freshness: Any, entry: Any) -> None:
        real(freshness, entry)
        entry.dead_at = entry.serve_until = _NEVER

    return renew


def _failure_wins(real: Any) -> Any:
    def ended(engine: Any, flight: Any, leg: Any, outcome: Any) -> None:
        failed = flight is not None and any(one.failure for one in flight.route.legs if one is not leg)
        real(engine, flight, leg, Failure(Fault.LOCAL, "Other", "another region has failed") if failed else outcome)

    return ended


def _throttling_counts(real: Any) -> Any:
    def count(board: Any, region: Any, failure: Any, now: float, permit: Any) -> None:
        if failure is not None and failure.fault is Fault.THROTTLED:
            region.breaker.failed(now, permit)
        else:
            real(board, region, failure, now, permit)

    return count


def _one_for_all(real: Any) -> Any:
    return lambda breaker, now: False


def _chance_without_pause(real: Any) -> Any:
    def chance(board: Any, candidates: Any, now: float) -> Any:
        board._last_chance_at = float("-inf")
        return real(board, candidates, now)

    return chance


def _retry_for_ever(real: Any) -> Any:
    def retry(route: Any, now: float) -> Any:
        leg = real(route, now)
        if leg is not None:
            route._stopped, route._retry_at = False, _NEVER
        return leg

    return retry


def _hook_on_region_switch(_: Any) -> Any:
    def noticed(hooks: Any, those: Any, new: Any, *, awaited: bool = True) -> list[Callable[[], None]]:
        act: list[Callable[[], None]] = []
        for one in those:
            old, one.seen = one.seen, new
            if old is not None and (old.version_id, old.region) != (new.version_id, new.region):
                one.pending.append(RotationEvent(one.secret_id, old, new))
                act += [partial(hooks._submit, one)] if hooks._background or not awaited else []
        return act

    return noticed


def _hook_at_once(real: Any) -> Any:
    def noticed(hooks: Any, those: Any, new: Any, *, awaited: bool = True) -> list[Callable[[], None]]:
        those = list(those)
        real(hooks, those, new, awaited=awaited)
        for one in those:
            hooks._work(one)
        return []

    return noticed


def _hook_twice(real: Any) -> Any:
    def call(one: Any, event: Any) -> Any:
        real(one, event)
        return real(one, event)

    return call


def _join_what_flies(_: Any) -> Any:
    return lambda loads, query, now: loads.joinable(query, now)


def _no_tombstone(real: Any) -> Any:
    return lambda store, what, _ticket: real(store, what, 0)


def _osakas_arn(_: Any) -> Any:
    return property(lambda call: call.query.secret.in_region(OSAKA))


def _show_the_value(_: Any) -> Any:
    return lambda secret: f"<Secret {secret.name!r} {secret._value!r}>"


def _tell_the_value(_: Any) -> Any:
    def event(rotations: Any, name: str, secret: Any, detail: str) -> None:
        text = f"{detail}: {secret.string}"
        rotations._loads.board.events.append(Event(name, secret.region, secret.name, secret.version_id, None, text))

    return event


def _same_lock(real: Any) -> Any:
    def heir(engine: Any, *args: Any, **options: Any) -> Any:
        child = real(engine, *args, **options)
        child.lock = engine.lock
        return child

    return heir


def _same_flights(real: Any) -> Any:
    def heir(engine: Any, *args: Any, **options: Any) -> Any:
        child = real(engine, *args, **options)
        child._loads = engine._loads
        return child

    return heir


def _make_clients_under_the_lock(_: Any) -> Any:
    def started(engine: Any, flight: Any, leg: Any) -> bool:
        with engine._step() as act, engine.lock:
            engine._transport.prepare(leg.region)
            wanted: bool = not engine.closed and engine._loads.started(flight, leg, engine._runtime.now(), act)
            return wanted

    return started


def _tell_before_release(real: Any) -> Any:
    def leave(step: Any, kind: object, error: object, trace: object) -> None:
        with step._engine.lock:
            step._engine.bulletin.tell()
        real(step, kind, error, trace)

    return leave


def _always_go(_: Any) -> Any:
    def look(logins: Any, turn: Any) -> None:
        turn.verdict = Turned.GO
        turn.target.flying[turn] = None

    return look


def _close_in_silence(_: Any) -> Any:
    def close(engine: Any) -> None:
        with engine.lock:
            engine.closed = True
            engine._loads.close()
            engine.rotations.hooks.close()
            engine.store.clear()
        if engine._refresher is not None:
            engine._refresher.stop()

    return close


def _always(_: Any) -> Any:
    return lambda *_arguments: False


def _since_it_was_wanted(_: Any) -> Any:
    return lambda _route, leg: leg.wanted_at


def _closed_for_ever(_: Any) -> Any:
    def close(gate: Any, *_arguments: Any) -> None:
        gate.until = _NEVER

    return close


def _remember_for_ever(_: Any) -> Any:
    def find(bridged: Any, account: Any, current: str) -> Any:
        found = bridged._found.get(account)
        return None if found is None else replace(found, instead_of=current)

    return find


PLANTS = (
    Plant(1, "each reader begins a flight of its own", Loads, "joinable", _nothing),
    Plant(2, "a reader waits for its flight, whatever its own deadline", Engine, "look", _look_at_the_flight_alone),
    Plant(3, "who leaves ends the flight for the others", Engine, "leave", _leave_and_end),
    Plant(3, "one reader's timeout is remembered as a refusal", Engine, "leave", _remember_a_timeout),
    Plant(4, "a pair is one version twice", SecretCache, "get_pair", _one_twice),
    Plant(4, "an answer has the stages of another", _engine, "read_answer", _stages_of_another),
    Plant(5, "a lagging replica is believed", Lineage, "judge", _believe(Judgement.LAGS, Judgement.DOUBTED)),
    Plant(5, "a foreign secret of the same name is taken", Store, "foreign", _nothing),
    Plant(5, "a foreign secret that is read by its ARN takes the name", Store, "_lead", _lead_to_the_last),
    Plant(6, "age counts from the answer", _engine, "read_answer", _young_as_its_answer),
    Plant(6, "nothing is ever too old", Freshness, "renew", _never_too_old),
    Plant(7, "what is denied stays", Store, "refuse", _nothing),
    Plant(7, "a denial is an outage", Verdict, "definitive", lambda _: property(lambda _verdict: False)),
    Plant(8, "an answer is discarded because another region failed", Engine, "ended", _failure_wins),
    Plant(9, "a breaker is moved by STS", _classify, "_elsewhere", lambda _: lambda *_args: False),
    Plant(9, "a breaker is moved by throttling", Board, "_count", _throttling_counts),
    Plant(10, "a probe's permit is not given back", Breaker, "give_back", _nothing),
    Plant(10, "a second probe while one is outstanding", Breaker, "permit_outstanding", _one_for_all),
    Plant(11, "where every breaker is open a reader has no region", Board, "last_chance", _nothing),
    Plant(12, "a flight asks again and again", Route, "_retry", _retry_for_ever),
    Plant(12, "through open breakers every reader asks", Board, "last_chance", _chance_without_pause),
    Plant(13, "a hook is called for a region switch", Hooks, "noticed", _hook_on_region_switch),
    Plant(13, "a hook is called under the lock", Hooks, "noticed", _hook_at_once),
    Plant(13, "a hook is called twice for one change", Subscription, "call", _hook_twice),
    Plant(14, "refresh joins a request that is under way", Loads, "unsent", _join_what_flies),
    Plant(14, "refresh gets the old value where requests overlapped", Lineage, "judge", _doubt_overlaps),
    Plant(15, "a late answer overwrites a newer version", Lineage, "judge", _believe(Judgement.LATE)),
    Plant(15, "a late answer brings back what was invalidated", Store, "forget", _no_tombstone),
    Plant(16, "every region is asked by the first one's ARN", Call, "secret_id", _osakas_arn),
    Plant(17, "a repr shows the value", Secret, "__repr__", _show_the_value),
    Plant(17, "the log tells the value of a new version", Rotations, "_event", _tell_the_value),
    Plant(18, "a forked child has its parent's lock", Engine, "heir", _same_lock),
    Plant(18, "a forked child has its parent's flights", Engine, "heir", _same_flights),
    Plant(19, "a client is made with the lock held", Engine, "started", _make_clients_under_the_lock),
    Plant(19, "events are told before the lock is released", _Step, "__exit__", _tell_before_release),
    Plant(20, "nobody waits for a turn to log in", Logins, "look", _always_go),
    Plant(20, "refused logins are not counted", Logins, "refused", lambda _: lambda *_args: False),
    Plant(21, "close() wakes nobody", Engine, "close", _close_in_silence),
    Plant(21, "the periodic thread is not told to end", Refresher, "dismiss", _nothing),
    Plant(25, "a remembered version outlives a move of AWSCURRENT", Bridged, "find", _remember_for_ever),
    Plant(22, "a version whose region is lost is kept", Lineage, "_last_resort", _nobody_is_lost),
    Plant(22, "a region that was closed is never asked again", _Gate, "close", _closed_for_ever),
    Plant(12, "who was throttled asks again at once", Throttle, "close", _nothing),
    Plant(12, "what is queued is sent although its region throttles", Throttle, "turns_back", _always),
    Plant(26, "what is queued is asked for elsewhere as well", Route, "_move", _nothing),
    Plant(26, "a busy lane looks like a silent region", Route, "_queued_since", _since_it_was_wanted),
)
