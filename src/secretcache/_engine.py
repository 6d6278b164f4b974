"""Hands each step of a read from room to room, under the cache's one lock, and acts after the lock is released."""

from __future__ import annotations

import weakref
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from secretcache._errors import CacheClosedError
from secretcache._flight import Flight
from secretcache._outcome import error_for
from secretcache._regions.lanes import WIDTH, Lane
from secretcache._regions.route import Leg, Route, Verdict
from secretcache._secret import Lifetime, Secret
from secretcache._stats import CacheStats, RegionStats
from secretcache._store import Entry, HotKey, Store
from secretcache._transport import Call, Failure, Fault, Transport
from secretcache._versions import read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secretcache._ids import Query
    from secretcache._runtime import Runtime
    from secretcache._settings import Settings

__all__ = ["Engine"]

_STAND_IN_SECONDS = 5.0
"""How long an old value is served before the regions are asked again, after none of them could answer."""


class Engine:
    """The state of one cache in one process."""

    def __init__(self, settings: Settings, runtime: Runtime, transport: Transport) -> None:
        self.store = Store(ttl=settings.ttl, max_stale=settings.max_stale, max_entries=settings.max_entries)
        self._settings = settings
        self._runtime = runtime
        self._transport = transport
        self._lifetime = Lifetime(runtime.now, settings.ttl)
        self._lock = runtime.lock()
        self._flights: dict[Query, Flight] = {}
        self._lanes = {region: Lane(region, runtime) for region in settings.regions}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._under_way: dict[int, tuple[Flight, Leg]] = {}
        self._tickets = 0
        self._closed = False

    # Each of the following is one step of a reader: it decides under the lock and acts after it.

    def begin(self, key: HotKey, query: Query, timeout: float, wake: Callable[[], None]) -> Secret | Flight:
        """The value, if it may be served as it is; else the flight that will bring it, joined."""
        with self._decide(for_reader=True) as act:
            now = self._runtime.now()
            entry = self.store.find(query)
            if entry is not None and now < entry.serve_until:
                return self._hit(key, entry, now)
            self._counts["", "waits"] += 1
            flight = self._flight(replace(query, secret=self.store.address(query.secret)), now, timeout)
            flight.join(wake)
            self._advance(flight, now, act)
            return flight

    def look(self, flight: Flight, deadline: float) -> float | None:
        """When a waiter should look again; None when there is nothing left to wait for."""
        with self._decide(for_reader=True) as act:
            now = self._runtime.now()
            self._sweep(now, act)
            self._advance(flight, now, act)
            over = flight.over or now >= deadline
            return None if over else min(deadline, flight.route.wake_at(now))

    def conclude(self, key: HotKey, query: Query, flight: Flight) -> Secret:
        """What a waiter gets when it waits no longer: the value, an older one that may stand in, or the error."""
        with self._decide(for_reader=True):
            now = self._runtime.now()
            entry = self.store.find(query)
            if entry is not None and (flight.secret is not None or now < entry.dead_at):
                return self._hit(key, entry, now)
            if flight.secret is not None:  # it may not be held, or was evicted since
                return flight.secret
            verdict = flight.verdict or Verdict(Fault.REGION, tuple(flight.route.legs))
        raise error_for(query, verdict, now, self._transport.host)

    def leave(self, flight: Flight, wake: Callable[[], None]) -> None:
        """A waiter waits no longer; nothing else changes."""
        with self._decide():
            flight.leave(wake)

    def stats(self) -> CacheStats:
        """The counts at this moment."""
        with self._decide():
            count = self._counts
            regions = {
                region: RegionStats(*(count[region, what] for what in ("calls", "answers", "failures", "stuck")))
                for region in self._settings.regions
            }
            return CacheStats(len(self.store), count["", "waits"], self.store.evictions, MappingProxyType(regions))

    def close(self) -> None:
        """Ends every wait with `CacheClosedError` and lets the lanes' threads go."""
        with self._lock:
            self._closed = True
            wakes = [wake for flight in self._flights.values() for wake in flight.waiters()]
            self._flights.clear()
            self.store.clear()
        for wake in wakes:
            wake()
        for lane in self._lanes.values():
            lane.close()
        self._transport.close()

    # What happens to a flight. Called with the lock held; what is to be done afterwards goes into `act`.

    @contextmanager
    def _decide(self, *, for_reader: bool = False) -> Iterator[list[Callable[[], None]]]:
        act: list[Callable[[], None]] = []
        with self._lock:
            if self._closed and for_reader:
                raise CacheClosedError("this SecretCache is closed: make a new one, or close it later")
            yield act
        for do in act:
            do()

    def _hit(self, key: HotKey, entry: Entry, now: float) -> Secret:
        self.store.keep_hot(key, entry)
        entry.last_read = now
        return entry.secret

    def _flight(self, query: Query, now: float, timeout: float) -> Flight:
        flight = self._flights.get(query)
        if flight is None or not flight.route.worth_joining(now):
            budget = max(self._settings.timeout, timeout)
            primary = self._settings.primary_region or ""
            flight = Flight(query, Route(self._settings.regions, now, now + budget, now + timeout, primary))
            self._flights[query] = flight
        return flight

    def _sweep(self, now: float, act: list[Callable[[], None]]) -> None:
        # A flight that everybody left is judged by whoever comes next.
        for flight, leg in list(self._under_way.values()):
            if leg.running and now >= leg.cap_at:
                self._advance(flight, now, act)

    def _advance(self, flight: Flight, now: float, act: list[Callable[[], None]]) -> None:
        for leg in flight.route.pass_time(now):
            self._counts[leg.region, "stuck"] += 1
            self._counts[leg.region, "failures"] += 1
        while not flight.over and (next_leg := flight.route.due(now)):
            self._dispatch(flight, next_leg, now, act)
        if not flight.over and (verdict := flight.route.verdict(now)):
            flight.verdict = verdict
            self._failed(flight.query, verdict, now)
            self._land(flight, act)

    def _dispatch(self, flight: Flight, leg: Leg, now: float, act: list[Callable[[], None]]) -> None:
        if self._counts[leg.region, "stuck"] >= WIDTH:
            flight.route.end(leg, now, Failure(Fault.REGION, "AttemptsStuck", f"{WIDTH} attempts are stuck there"))
        else:
            act.append(partial(self._submit, flight, leg))

    def _submit(self, flight: Flight, leg: Leg) -> None:
        if not self._lanes[leg.region].submit(partial(_attempt, weakref.ref(self), self._transport, flight, leg)):
            self.ended(flight, leg, Failure(Fault.LOCAL, "NoThread", "this process may start no more threads"))

    def _failed(self, query: Query, verdict: Verdict, now: float) -> None:
        entry = self.store.find(query)
        if entry is None:
            return
        if verdict.definitive:
            self.store.drop(entry, self._tickets)
        elif now < entry.dead_at:
            self.store.stand_in(entry, now + _STAND_IN_SECONDS)

    def _land(self, flight: Flight, act: list[Callable[[], None]]) -> None:
        if self._flights.get(flight.query) is flight:
            del self._flights[flight.query]
        act.extend(flight.waiters())

    # What an attempt tells, from its lane's thread.

    def started(self, flight: Flight, leg: Leg) -> bool:
        """Whether the request is still wanted, now that a thread has time for it; numbers it if so."""
        with self._decide():
            wanted = leg.running and not flight.over and not self._closed
            if wanted:
                self._tickets += 1
                leg.ticket, leg.started_at = self._tickets, self._runtime.now()
                self._under_way[leg.ticket] = (flight, leg)
                self._counts[leg.region, "calls"] += 1
            return wanted

    def ended(self, flight: Flight, leg: Leg, outcome: Secret | Failure) -> None:
        """An attempt has its outcome. One that reached its cap was judged then; its value counts all the same."""
        with self._decide() as act:
            now = self._runtime.now()
            self._under_way.pop(leg.ticket, None)
            failure = outcome if isinstance(outcome, Failure) else None
            self._count(leg, failure)
            if leg.running:
                flight.route.end(leg, now, failure)
            if not isinstance(outcome, Failure):
                self._arrived(flight, outcome, leg.ticket, now, act)
            self._advance(flight, now, act)

    def _count(self, leg: Leg, failure: Failure | None) -> None:
        if not leg.running:
            self._counts[leg.region, "stuck"] -= 1
        elif failure:
            self._counts[leg.region, "failures"] += 1
        if not failure:
            self._counts[leg.region, "answers"] += 1

    def _arrived(self, flight: Flight, secret: Secret, ticket: int, now: float, act: list[Callable[[], None]]) -> None:
        if self._closed:
            return
        entry = self.store.put(flight.query, secret, ticket, now)
        if not flight.over:
            flight.secret = entry.secret if entry else secret
            self._land(flight, act)

    @property
    def lifetime(self) -> Lifetime:
        """What this cache's secrets tell their age by."""
        return self._lifetime


def _attempt(cache: weakref.ref[Engine], transport: Transport, flight: Flight, leg: Leg) -> None:
    """One request, on a lane's thread.

    While it is under way it holds nothing of the cache: a cache may be dropped meanwhile.
    """
    requested_at = _begin(cache, flight, leg)
    if requested_at is None:
        return
    call = Call(leg.region, flight.query)
    reply = transport.send(call)
    engine = cache()
    if engine is not None:
        engine.ended(flight, leg, read_answer(call, reply, requested_at, engine.lifetime))


def _begin(cache: weakref.ref[Engine], flight: Flight, leg: Leg) -> float | None:
    engine = cache()
    return leg.started_at if engine is not None and engine.started(flight, leg) else None
