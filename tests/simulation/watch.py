"""What is looked at while the real code runs: each check is named by the invariant's number in semantics.md.

The real methods are wrapped, never replaced: a wrapper looks before and after, and does nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from secretcache import _cache, _engine, _refresher
from secretcache._engine import Engine
from secretcache._events import Bulletin
from secretcache._lineage import Judgement, Lineage
from secretcache._loads import Loads
from secretcache._regions import lanes
from secretcache._regions.board import Board
from secretcache._regions.breaker import Breaker
from secretcache._regions.route import Purpose
from secretcache._store import Store
from secretcache._transport import Fault
from simulation.cloud import REFUSALS, Sent, class_of
from simulation.primitives import Line

if TYPE_CHECKING:
    from simulation.world import House, World

HERE: list[World] = []
"""The world that runs now; one at a time."""


class InOrder(dict[Any, None]):
    """A set that is gone through in the order in which it was filled: the same steps each time."""

    def add(self, one: Any) -> None:
        self[one] = None

    def discard(self, one: Any) -> None:
        self.pop(one, None)


def world() -> World:
    return HERE[-1]


def house_of(owner: Any) -> House:
    house: House = owner.house
    return house


def _pid() -> int:
    return world().machine.current.process.pid


def _queue() -> Line:
    machine = world().machine
    return Line(machine, machine.current.process)


def _process_lock() -> Any:
    return world().house().process_lock


# Wrappers: each takes the real method and returns the one that looks.

_Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def _aside(now: Callable[[], float]) -> Callable[[], float]:
    """A clock by which nobody decides what a caller gets."""

    def read() -> float:
        me = world().machine.current
        before = me.read_at
        time = now()
        me.read_at = before
        return time

    return read


def _made(real: Callable[..., Any]) -> Callable[..., Any]:
    def init(engine: Any, *args: Any, **options: Any) -> None:
        real(engine, *args, **options)
        house = world().house()
        house.engine = engine
        for part in (engine, engine._loads, engine.store, engine._loads.board, engine.bulletin):
            part.house = house
        engine.lock.before_release = partial(_look_for_permits, engine)
        engine.bulletin._now = _aside(engine.bulletin._now)
        engine._loads.open = InOrder()
        for region in engine._loads.board._regions.values():
            house.breakers[region.breaker] = region.name

    return init


def _begun(real: Callable[..., Any]) -> Callable[..., Any]:
    def begin(loads: Any, queries: Any, now: float, timeout: float, purpose: Any, **options: Any) -> Any:
        if len(queries) == 1 and options.get("joinable", True):
            other = loads._joinable.get(queries[0])
            serves = other is not None and not other.over and other.route.worth_joining(now)
            if serves and not (purpose is Purpose.FORCED and other.sent):
                world().fail(1, f"a second joinable flight of {queries[0]} begins, for {purpose.name}")
        flight = real(loads, queries, now, timeout, purpose, **options)
        flight.began_with = house_of(loads).tries, world().jumps, world().machine.time
        return flight

    return begin


def _started(real: Callable[..., Any]) -> Callable[..., Any]:
    def started(loads: Any, flight: Any, leg: Any, now: float, act: Any) -> Any:
        wanted = real(loads, flight, leg, now, act)
        if wanted:
            here = world()
            here.sends += 1
            sent = Sent(here.sends, here.machine.time, leg)
            here.sent_of[leg] = sent
            here.machine.current.sending = sent
            house_of(loads).moved[leg.region] = now
            if leg.wanted_at < house_of(loads).throttled_at.get(leg.region, 0.0):
                here.fail(12, f"a request is sent to {leg.region}, which has throttled since it was decided on")
        return wanted

    return started


def _dispatched(real: Callable[..., Any]) -> Callable[..., Any]:
    def dispatch(loads: Any, flight: Any, leg: Any, now: float, act: Any) -> None:
        here, house = world(), house_of(loads)
        breaker = loads.board._regions[leg.region].breaker
        permit = leg.permit
        house.tries, house.tried_at = house.tries + 1, now
        if permit is None and not breaker.closed:
            here.fail(10, f"a request goes to {leg.region} through its open breaker, without a permit")
        anew = any(one.region == leg.region and one is not leg for one in flight.route.legs)
        if permit is not None and not anew:  # with credentials loaded anew it is the same request
            _check_spacing(here, house, leg, permit, now)
        extra = 1 + any(one.reload for one in flight.route.legs) + flight.route._reloaded
        # What is taken back is never sent; what was throttled is asked again, by the schedule of its region's gate.
        asked = [one for one in flight.route.legs if not one.withdrawn and not one.throttled]
        if len(asked) > len(flight.route.regions) + min(extra, 2):
            here.fail(12, f"the {len(asked)}th request of one flight over {len(flight.route.regions)} regions")
        _check_gate(here, house, leg, now)
        _check_queue(here, house, flight, leg, now)
        here.counters["queued"] += len(loads._queued[leg.region]) > 0
        real(loads, flight, leg, now, act)

    return dispatch


_GATE = 0.5
"""Seconds for which a region that throttles is left alone, at the least, unless it has answered since."""


def _check_gate(here: World, house: House, leg: Any, now: float) -> None:
    gate = house.gates.get(leg.region, float("-inf"))
    if now < gate - 1e-9 and not leg.reload:
        here.fail(12, f"{leg.region} is asked {gate - now:.3f} s before it may be, for it has throttled others")


_HEDGE = 0.5


def _check_queue(here: World, house: House, flight: Any, leg: Any, now: float) -> None:
    """26: a queued request is neither doubled nor moved while its lane moves and its reader has time."""
    for one in flight.route.legs[:-1]:
        moved_before = (
            sum(other.region == one.region and other.withdrawn for other in flight.route.legs) > one.withdrawn
        )
        if one.running and one.taken_at is None and one.region != leg.region and not moved_before:
            here.fail(26, f"{leg.region} is asked beside a request that is only queued in {one.region}")
    one = flight.route.legs[-2] if len(flight.route.legs) > 1 else None
    if one is None or not one.withdrawn or one.failure.code != "Queued" or one.ended_at != now:
        return
    here.counters["moved"] += 1
    quiet = now - max(house.moved.get(one.region, 0.0), one.wanted_at)
    if quiet < _HEDGE - 1e-9 and now < one.patience_at:
        here.fail(26, f"a request leaves the queue of {one.region}, which moved {quiet:.3f} s ago")


def _check_spacing(here: World, house: House, leg: Any, permit: Any, now: float) -> None:
    # What is never sent (no thread for it) is no call.
    kind = "last chance" if permit.last_chance else leg.region
    before = house.permits.get(kind, float("-inf"))
    if now < before + 1.0 - 1e-9:
        here.fail(12, f"two requests through an open breaker ({kind}) within {now - before:.3f} s")
    house.permits[kind] = now


def _ended(real: Callable[..., Any]) -> Callable[..., Any]:
    def ended(engine: Any, flight: Any, leg: Any, outcome: Any) -> None:
        here = world()
        here.machine.current.sending = None
        if here.said.get(leg) == "fair" and flight is not None and not flight.over:
            here.brought[leg] = here.machine.time
        real(engine, flight, leg, outcome)

    return ended


def _settled(real: Callable[..., Any]) -> Callable[..., Any]:
    def settled(engine: Any, flight: Any, now: float, act: Any) -> None:
        here, house = world(), house_of(engine)
        if flight.verdict is not None:
            _check_verdict(here, house, flight, now)
        if flight.fallback is not None and engine.store.find(flight.query) is None:
            house.forgive(flight.query)
        if flight.fallback is not None:
            here.spare.update(secret["key"] for secret in flight.fallback[1].values())
        # A secret of which nothing is known may be under way under another id, which nobody knows to be the same.
        known = engine.store._record(flight.query.secret) is not None
        real(engine, flight, now, act)
        single = len(flight.queries) == 1 and flight.route.purpose is not Purpose.PROBE
        if flight.verdict is not None and single and known and not flight.verdict.frozen:
            _note_refusal(here, house, engine, flight)
        _count_hedge(here, flight)

    return settled


_PERMIT_LIFE = 7.0
"""Seconds that one who is on his way through an open breaker is waited for."""


def _check_verdict(here: World, house: House, flight: Any, now: float) -> None:
    route = flight.route
    for leg in route.legs:
        at = here.brought.get(leg)
        late = leg.failure is not None and leg.failure.code in ("AttemptTimeout", "Frozen")
        if at is not None and not late and flight.newer_than is None:
            here.fail(8, f"{leg.region} had answered at {at:.3f}, and the flight of {flight.query} fails all the same")
    tries, jumps, began_at = flight.began_with
    # Begun with a reading of the clock from before a jump, it is over before it could send anything.
    if (
        jumps != here.jumps
        or began_at > route.begun_at + 1.0
        or route.legs
        or not route.purpose.insists
        or flight.verdict.fault is not Fault.REGION
    ):
        return
    closed = {"BreakerOpen"} == {failure.code for _, failure in flight.verdict.unasked}
    if closed and now < route.deadline - 1.0:  # nearer to its end a request has too little time
        here.fail(11, f"the flight of {flight.query} gives up after {now - route.begun_at:.3f} s without a request")
    # One that everybody has left is moved on by whoever looks next.
    # A region that throttles is left alone, breaker or not: nobody could try before its gate opened.
    since = max([house.tried_at, *(house.gates.get(region, house.tried_at) for region in route.regions)])
    if closed and flight.awaited and house.tries == tries and now > since + _PERMIT_LIFE:
        here.fail(11, f"nobody tried to send a request while the flight of {flight.query} waited for one")


def _note_refusal(here: World, house: House, engine: Any, flight: Any) -> None:
    """Class D, as the cloud knows it: every listed region refused, or the primary that was named."""
    legs = {leg.region: leg for leg in flight.route.legs if leg.failure is not None}
    # An answer that came when its request had been given up already was not heard in time.
    said = {region: here.said.get(leg, "") for region, leg in legs.items() if leg.failure.fault is not Fault.LOCAL}
    said = {region: kind for region, kind in said.items() if legs[region].failure.code != "AttemptTimeout"}
    settings = engine._settings
    refused = {region for region, kind in said.items() if kind in REFUSALS}
    silent = {region for region, kind in said.items() if class_of(kind) == "F"}
    everywhere = bool(refused) and refused | silent == set(settings.regions)
    by_primary = said.get(settings.primary_region, "") in ("denied", "deleted", "undecipherable")
    if everywhere or (by_primary and settings.primary_region in flight.route.regions):
        first = min((here.sent_of[leg].number for leg in flight.route.legs if leg in here.sent_of), default=0)
        house.refused(flight.query, first)


def _count_hedge(here: World, flight: Any) -> None:
    legs = flight.route.legs
    if flight.route.purpose is not Purpose.COLD or len(legs) < 2 or flight.secrets is None:
        return
    first, second = legs[:2]
    if second.wanted_at < (first.ended_at if first.ended_at is not None else float("inf")):
        here.counters["hedge won" if flight.ticket == second.ticket else "hedge lost"] += 1


def _recorded(real: Callable[..., Any]) -> Callable[..., Any]:
    def record(board: Any, name: str, query: Any, failure: Any, now: float, **options: Any) -> None:
        here, breaker = world(), board._regions[name].breaker
        before, state = breaker.failures, breaker.state
        real(board, name, query, failure, now, **options)
        house = house_of(board)
        if house.engine._loads.board is board:  # not that of a cache that was closed
            _note_gate(house, name, failure, now, options["sent_at"])
        if breaker.failures > before or (breaker.state is not state and breaker.state.value == "open"):
            kind = here.said.get(here.judging) if here.judging is not None else None
            if kind is not None and class_of(kind) != "A" and failure.code != "AttemptTimeout":
                here.fail(9, f"an answer of class {class_of(kind) or 'none'} ({kind}) moves the breaker of {name}")

    return record


def _note_gate(house: House, name: str, failure: Any, now: float, sent_at: float) -> None:
    if failure is None:
        house.gates.pop(name, None)
        house.paced.add(name)
    elif failure.fault is Fault.THROTTLED:
        # Sent before the gate closed it says nothing new; after an answer in between the pace was only too high.
        new = sent_at >= house.throttled_at.get(name, 0.0)
        least = _GATE if new and name not in house.paced else 0.0
        house.gates[name] = max(house.gates.get(name, 0.0), now + max(least, failure.retry_after))
        if new:
            house.throttled_at[name] = now
            house.paced.discard(name)


def _legs_judged(real: Callable[..., Any]) -> Callable[..., Any]:
    def judge(loads: Any, leg: Any, *args: Any) -> None:
        here = world()
        here.judging = leg
        real(loads, leg, *args)
        here.judging = None

    return judge


def _given_back(real: Callable[..., Any]) -> Callable[..., Any]:
    def give_back(breaker: Any, now: float, permit: Any) -> None:
        if permit is not None and permit is breaker._permit:
            world().counters["probe lost"] += 1
        real(breaker, now, permit)

    return give_back


def _permitted(real: Callable[..., Any]) -> Callable[..., Any]:
    def permit(breaker: Any, now: float, *, last_chance: bool) -> Any:
        before = breaker._permit
        given = real(breaker, now, last_chance=last_chance)
        if given is not None and before is not None:
            if now < before.until:
                world().fail(10, "a second permit while one is outstanding")
            world().counters["probe lost"] += 1
        return given

    return permit


def _look_for_permits(engine: Any) -> None:
    for region in engine._loads.board._regions.values():
        held = region.breaker._permit
        if held is not None and not engine.closed and not _has_leg(engine._loads, held):
            world().check_permit(region.name, held)


def _has_leg(loads: Any, permit: Any) -> bool:
    here = world().machine.time
    flying = any(leg.permit is permit and leg.running for flight in loads.open for leg in flight.route.legs)
    waiting = any(flight.route.permit is permit and not flight.route.legs for flight in loads.open)
    taken = any(leg.permit is permit and leg.running for leg in loads._taken)
    return flying or waiting or taken or here >= permit.until


def _judged(real: Callable[..., Any]) -> Callable[..., Any]:
    def judge(lineage: Any, region: str, version: str, *args: Any) -> Any:
        counters = world().counters
        believed = lineage.believes(region, args[0], args[2])
        judgement = real(lineage, region, version, *args)
        if judgement in _KEPT and not believed:
            counters["nobody could tell"] += 1
        if judgement is Judgement.LAGS:
            counters["lag"] += 1
        elif judgement is Judgement.DOUBTED:
            counters["row K"] += 1
        elif judgement is Judgement.MOVED and version in lineage.superseded:
            counters["rollback"] += 1
        elif judgement is Judgement.DIVERGED:
            counters["diverged"] += 1
        elif judgement is Judgement.OVERLAPS:
            counters["overlap"] += 1
        elif judgement is Judgement.LATE:
            counters["late answer"] += 1
        return judgement

    return judge


_KEPT = (Judgement.LAGS, Judgement.DOUBTED, Judgement.LATE)


def _put(real: Callable[..., Any]) -> Callable[..., Any]:
    def put(store: Any, query: Any, secret: Any, *args: Any, **options: Any) -> Any:
        counters = world().counters
        diverged, kept = counters["diverged"], counters["nobody could tell"]
        entry = store.find(query)
        before = entry.secret if entry is not None else None
        result = real(store, query, secret, *args, **options)
        if counters["nobody could tell"] != kept:
            house_of(store).note_lag(world().name_of(query), world().answered(secret).sent)
        if counters["diverged"] != diverged:
            house_of(store).forgive(query)
        elif before is not None and entry is not None and entry.is_current and entry.secret is not before:
            world().check_replaced(before, entry.secret)
        return result

    return put


def _dropped(real: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(store: Any, query: Any, *args: Any) -> None:
        world().counters["definitive drop"] += store.find(query) is not None
        real(store, query, *args)

    return refuse


def _state(flight: Any) -> tuple[Any, ...]:
    # What it holds changes only under the lock, by an answer or the clock.
    route = flight.route
    return flight.verdict, flight.secrets, len(route.legs), [leg.ended_at for leg in route.legs]


def _left(real: Callable[..., Any]) -> Callable[..., Any]:
    def leave(engine: Any, waiter: Any) -> None:
        before, remembered = _state(waiter.flight), len(engine._negatives)
        real(engine, waiter)
        if before != _state(waiter.flight) or remembered != len(engine._negatives):
            world().fail(3, f"a caller's leaving changes the flight of {waiter.query}")

    return leave


def _concluded(real: Callable[..., Any]) -> Callable[..., Any]:
    def conclude(engine: Any, waiter: Any) -> Any:
        try:
            return real(engine, waiter)
        except Exception:
            here = world()
            if not waiter.flight.over and here.machine.time < waiter.until and not engine.closed:
                here.fail(3, f"a caller of {waiter.query} is given up before its time is over and before its flight is")
            raise

    return conclude


def _told(real: Callable[..., Any]) -> Callable[..., Any]:
    def tell(bulletin: Any, event: Any) -> Any:
        world().noticed(bulletin, event)
        return real(bulletin, event)

    return tell


WRAPS: tuple[tuple[Any, str, _Wrap], ...] = (
    (Engine, "__init__", _made),
    (Engine, "ended", _ended),
    (Engine, "settled", _settled),
    (Engine, "leave", _left),
    (Engine, "conclude", _concluded),
    (Loads, "begin", _begun),
    (Loads, "started", _started),
    (Loads, "_dispatch", _dispatched),
    (Loads, "_judge", _legs_judged),
    (Board, "record", _recorded),
    (Breaker, "give_back", _given_back),
    (Breaker, "permit", _permitted),
    (Lineage, "judge", _judged),
    (Store, "put", _put),
    (Store, "refuse", _dropped),
    (Bulletin, "_tell", _told),
)


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Puts the simulated machine and the wrappers in place; over what a planted bug has put there."""
    machine = SimpleNamespace(getpid=_pid)
    swaps: list[tuple[Any, str, Any]] = [
        (lanes, "queue", SimpleNamespace(SimpleQueue=_queue, Empty=__import__("queue").Empty)),
        (lanes, "here", SimpleNamespace()),  # the tasks share one thread with the tests
        (_refresher, "here", SimpleNamespace()),
        (_engine, "os", machine),
        (_cache, "os", machine),
        (_cache, "process_lock", _process_lock),
        (_cache, "begin_in_child", lambda: None),
        (_cache, "watch", lambda _cache: None),
    ]
    swaps += [(owner, name, wrap(getattr(owner, name))) for owner, name, wrap in WRAPS]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in swaps]
    for owner, name, new in swaps:
        setattr(owner, name, new)
    try:
        yield
    finally:
        for owner, name, old in before:
            setattr(owner, name, old)
