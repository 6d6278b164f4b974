"""Loads under way: which may be joined, what their attempts tell, when they end.

Used under the cache's lock. What is to be done after the lock is released (threads, wake-ups) goes into `act`.
"""

from __future__ import annotations

import heapq
import weakref
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from secretcache._flight import Flight
from secretcache._regions.board import Board
from secretcache._regions.lanes import WIDTH, Lane
from secretcache._regions.route import Leg, Purpose, Route
from secretcache._transport import Failure, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from secretcache._engine import Engine
    from secretcache._ids import Query, SecretId
    from secretcache._regions.breaker import Permit
    from secretcache._regions.health import RegionHealth
    from secretcache._regions.policy import RegionPolicy
    from secretcache._runtime import Runtime
    from secretcache._settings import Settings
    from secretcache._stats import RegionStats

__all__ = ["Actions", "Loads"]

Actions: TypeAlias = "list[Callable[[], None]]"
_NEVER = float("-inf")
_TURNED_BACK = Failure(Fault.THROTTLED, "Throttled", "not sent: the region is asked too often")
_TIMERS = 64
"""Looks that flights have changed their minds about, and that are kept: sorting them out costs more than they do."""


class Loads:
    """The flights of one cache, and the attempts they have in the regions' lanes."""

    def __init__(
        self,
        settings: Settings,
        policy: RegionPolicy,
        runtime: Runtime,
        attempt: Callable[[weakref.ref[Flight], tuple[Query, ...], Leg], None],
        owner: weakref.ref[Engine],
    ) -> None:
        self.ticket = 0
        """The number of the request sent last."""
        self.silent: dict[str, float] = {}
        """By region: since when no request to it has been answered, whatever was asked for."""
        self.open: set[Flight] = set()
        self._background: set[Flight] = set()
        """Those of them that were begun ahead of need."""
        self._settings = settings
        self._runtime = runtime
        self._attempt = attempt
        self._owner = owner
        self._joinable: dict[Query, Flight] = {}
        self._lanes = {region: Lane(region, runtime) for region in settings.regions}
        self._taken: dict[Leg, weakref.ref[Flight]] = {}
        """Attempts that a thread has taken up, and that have not come back."""
        self._queued: dict[str, dict[Leg, Flight]] = {region: {} for region in settings.regions}
        """By region: what waits for a thread of its lane, in order."""
        self._waiting: dict[Flight, None] = {}
        """Flights that wait for a region, in order: nothing of them is under way."""
        self._unseen: dict[Flight, None] = {}
        """Flights to be looked at, in order. One that an interrupt keeps from being looked at, or comes in the middle
        of, stays here for the next step."""
        self._newer: dict[Flight, None] = {}
        """Flights for those who have a version that does not work: spaced, they may be waiting for their turn."""
        self._timers: list[tuple[float, int, weakref.ref[Flight]]] = []
        """When flights want to be looked at, the next one first. What a flight has changed its mind about stays in.
        Weakly: a flight holds values."""
        self._timers_set = 0
        self.board = Board(settings.regions, policy, runtime.random, runtime.now)

    def joinable(self, query: Query, now: float) -> Flight | None:
        """The load of a key that a reader who comes now may join."""
        flight = self._joinable.get(query)
        return flight if flight is not None and flight.route.worth_joining(now) else None

    def under_way(self, query: Query, now: float) -> Flight | None:
        """The load of a key for a reader who has an older value to fall back on."""
        flight = self._joinable.get(query)
        return flight if flight is not None and now < flight.route.deadline else None

    def unsent(self, query: Query, now: float) -> Flight | None:
        """The load of a key whose request is still to be sent."""
        flight = self.joinable(query, now)
        return flight if flight is not None and not flight.sent else None

    def begin(  # noqa: PLR0913 - what sets one flight apart from others
        self,
        queries: tuple[Query, ...],
        now: float,
        timeout: float,
        purpose: Purpose,
        *,
        regions: Sequence[str] | None = None,
        primary: str = "",
        permit: Permit | None = None,
        not_before: float | None = None,
        joinable: bool = True,
    ) -> Flight:
        """A new load, which takes the place of the one that could be joined until now."""
        sent_at = now if not_before is None else not_before
        deadline = sent_at + max(self._settings.timeout, timeout)
        where = self._settings.regions if regions is None else regions
        route = Route(
            where,
            self.board,
            queries[0],
            purpose,
            sent_at,
            deadline,
            now + timeout,
            primary=primary,
            permit=permit,
            not_before=sent_at,
        )
        flight = Flight(queries, route)
        self._unseen[flight] = None
        self.open.add(flight)
        if flight.background:
            self._background.add(flight)
        if not_before is not None:
            self._newer[flight] = None
        if len(queries) == 1 and joinable:
            self._joinable[flight.query] = flight
        return flight

    def describe(self, job: Callable[[str], None], query: Query, now: float, act: Actions) -> None:
        """Has a region asked, in its lane, which one is a secret's primary."""
        region = self.board.choose(self._settings.regions, query, now, avoid_suspects=True)
        if region is not None:
            act.append(partial(self._run_in_lane, region, partial(job, region)))

    def _run_in_lane(self, region: str, job: Callable[[], None]) -> None:
        self._lanes[region].submit(job)

    def bar(self, secret: SecretId) -> None:
        """Lets nobody join the loads of a secret any more: what they bring may be out of date.

        By the bare name, whatever form of id they were begun with: one too many costs a call.
        """
        bare = secret.bare_name
        for query in [query for query in self._joinable if query.secret.bare_name == bare]:
            del self._joinable[query]

    def refused(self, query: Query) -> None:
        """Lets nobody join a load that was under way, under another id, when every region refused what it asks for."""
        for one in [one for one, flight in self._joinable.items() if flight.sent and one.may_be(query)]:
            del self._joinable[one]

    @property
    def under_way_anywhere(self) -> bool:
        """Whether an attempt is under way, left behind or not."""
        return bool(self._taken)

    @property
    def in_background(self) -> int:
        """How many flights were begun ahead of need."""
        return len(self._background)

    @property
    def share_of_background(self) -> int:
        """How many refreshes may be under way: half of a lane's threads are left to readers."""
        return min(lane.width for lane in self._lanes.values()) // 2

    def want_more(self, act: Actions) -> None:
        """Lets the lanes grow, since more refreshes are due than may be under way."""
        act.extend(lane.widen for region, lane in self._lanes.items() if self.board.is_well(region))

    @property
    def newer(self) -> tuple[Flight, ...]:
        """The flights for those who have a version that does not work."""
        return tuple(self._newer)

    def pass_time(self, now: float, act: Actions) -> None:
        """Moves on everything whose time has come, whoever looks: what everybody left is judged all the same."""
        for leg in [one for one in self._taken if one.reach_cap(now)]:
            flight = self._taken[leg]()
            self._judge(leg, leg.failure, now)
            if flight is not None and not flight.over:
                self.advance(flight, now, act)
        timers = self._timers
        while timers and timers[0][0] <= now:
            flight = self._still(timers[0])
            if flight is not None:
                self._unseen[flight] = None  # before its timer goes, which an interrupt may come after
                flight.wake_at = _NEVER  # so that whatever is decided, another look is set
            heapq.heappop(timers)
        self._advance_unseen(now, act)
        if self.board.changed:
            self.advance_waiting(now, act)

    def advance_waiting(self, now: float, act: Actions) -> None:
        """Lets the flights that wait for a region look again: one may have come back."""
        self._unseen.update(self._waiting)
        self.board.changed = False
        self._advance_unseen(now, act)

    def _advance_unseen(self, now: float, act: Actions) -> None:
        while self._unseen:
            self.advance(next(iter(self._unseen)), now, act)

    def advance(self, flight: Flight, now: float, act: Actions) -> None:
        """Does what is due in a flight: asks the next region, ends it."""
        self._unseen[flight] = None
        if flight in self.open:  # else it was over before
            self._walk(flight, now, act)
            if flight.over:
                self._land(flight, now, act)
            elif flight.route.asks:
                self._waiting.pop(flight, None)
            else:
                self._waiting[flight] = None
            self.board.waiting = len(self._waiting)
        self._unseen.pop(flight, None)

    def _walk(self, flight: Flight, now: float, act: Actions) -> None:
        route = flight.route
        for leg in route.legs:
            if not leg.handed_over and leg.running:  # an interrupt ended the step that began it
                self._dispatch(flight, leg, now, act)
        while not flight.over and (next_leg := route.due(now)):
            self._dispatch(flight, next_leg, now, act)
            if route.only_begun(now):  # as nearly all are: there is nothing else to decide
                self._look_at(flight, route.wake_at(now))
                return
        if not flight.over:
            if region := route.to_prepare(now):
                act.append(partial(self._run_in_lane, region, partial(self._prepare, region)))
            self._judge_flight(flight, now)
        if not flight.over:
            self._look_at(flight, route.wake_at(now))

    def _look_at(self, flight: Flight, at: float) -> None:
        if at == flight.wake_at:
            return
        if len(self._timers) > 4 * len(self.open) + _TIMERS:
            timers = [one for one in self._timers if self._still(one)]
            heapq.heapify(timers)
            self._timers = timers
        self._timers_set += 1
        heapq.heappush(self._timers, (at, self._timers_set, weakref.ref(flight)))
        flight.wake_at = at

    def _still(self, timer: tuple[float, int, weakref.ref[Flight]]) -> Flight | None:
        """The flight that a look was set for, if it still wants it."""
        flight = timer[2]()
        return flight if flight is not None and flight.wake_at == timer[0] and flight in self.open else None

    def next_look(self) -> float:
        """When time by itself changes something in a flight next."""
        timers = self._timers
        while timers and not self._still(timers[0]):
            heapq.heappop(timers)
        return timers[0][0] if timers else float("inf")

    @staticmethod
    def _judge_flight(flight: Flight, now: float) -> None:
        verdict = flight.route.verdict(now)
        if verdict is not None and flight.fallback is not None:
            flight.ticket, flight.secrets = flight.fallback
        else:
            flight.verdict = verdict

    def cap_at(self) -> float:
        """When the next attempt under way reaches its cap, whether its flight has ended or not."""
        return min((leg.cap_at for leg in self._taken if leg.running), default=float("inf"))

    def taken(self, flight: Flight, leg: Leg, now: float, act: Actions) -> bool:
        """Whether a request is still wanted, now that a thread has time for it."""
        self._queued[leg.region].pop(leg, None)
        if flight.over or not leg.running or leg.taken_at is not None:  # after an interrupt it may be submitted twice
            return False
        self.board.moves(leg.region, now)
        leg.taken_at = now
        self._taken[leg] = weakref.ref(flight)
        return not self._turned_back(flight, leg, now, act)

    def _turned_back(self, flight: Flight, leg: Leg, now: float, act: Actions) -> bool:
        """Whether the region has throttled others since this request was decided on: then it waits for the gate."""
        if not self.board.turns_back(leg.region, leg.wanted_at):
            return False
        self._taken.pop(leg, None)
        self.board.give_back(leg.region, leg.permit, now)
        leg.taken_at = None
        leg.withdraw(now, self.board.why_not(leg.region, now) or _TURNED_BACK)
        self.advance(flight, now, act)
        return True

    def started(self, flight: Flight | None, leg: Leg, now: float, act: Actions) -> bool:
        """Whether a request is still wanted, now that its client is there; numbers it if so."""
        if flight is None or flight.over or not leg.running:
            self._taken.pop(leg, None)
            self.board.give_back(leg.region, leg.permit, now)
            return False
        if self._turned_back(flight, leg, now, act):
            return False
        self.board.moves(leg.region, now)
        self.ticket += 1
        leg.ticket, leg.started_at = self.ticket, now  # no moment of its flight comes earlier for that
        self.board.count(leg.region, "calls")
        return True

    def ended(
        self, flight: Flight | None, leg: Leg, failure: Failure | None, now: float, act: Actions
    ) -> Failure | None:
        """Records what came of an attempt; returns what it counts as.

        One that reached its cap was judged then, and its value counts all the same. One that spanned a freeze of the
        process says nothing of the region, and its value is not taken.
        """
        self._taken.pop(leg, None)
        if leg.running and leg.overslept(now):
            failure = Failure(Fault.LOCAL, "Frozen", "this process stood still meanwhile")
        self._fit(leg, failure, now, act)
        if leg.running:
            leg.end(now, failure)
            self._judge(leg, failure, now, flight)
        elif failure is None:
            self.board.count(leg.region, "answers")
            self.silent.pop(leg.region, None)
        if failure is None:
            self.board.fine(leg.region, now, probe=leg.permit is not None, sent_at=leg.started_at)
        return failure

    def _fit(self, leg: Leg, failure: Failure | None, now: float, act: Actions) -> None:
        """Lets a lane have as many threads as its region deserves."""
        lane = self._lanes[leg.region]
        if failure is None and self._queued[leg.region]:
            act.append(lane.widen)
        elif failure is not None and not failure.answered:
            lane.narrow()
        if failure is None or failure.fault is not Fault.LOCAL:
            self.board.moves(leg.region, now)

    def stats(self) -> dict[str, RegionStats]:
        """The counts of each region."""
        from secretcache._stats import RegionStats  # noqa: PLC0415 - a process starts without it

        count = self.board.counts
        return {
            region: RegionStats(
                count(region, "calls"), count(region, "answers"), count(region, "failures"), self._stuck(region)
            )
            for region in self._settings.regions
        }

    def health(self, host: Callable[[str], str], now: float) -> dict[str, RegionHealth]:
        """The condition of each region."""
        return {
            region: self.board.health(region, host(region), self._stuck(region), now)
            for region in self._settings.regions
        }

    def close(self) -> None:
        """Forgets the flights and lets the lanes' threads go."""
        self.open.clear()
        self._background.clear()
        self._unseen.clear()
        self._joinable.clear()
        self._waiting.clear()
        self._newer.clear()
        self._timers.clear()
        for queued in self._queued.values():
            queued.clear()
        for lane in self._lanes.values():
            lane.close()

    def _judge(self, leg: Leg, failure: Failure | None, now: float, flight: Flight | None = None) -> None:
        """Tells the board what came of an attempt."""
        self.board.count(leg.region, "answers" if failure is None else "failures")
        if failure is None or failure.answered:
            self.silent.pop(leg.region, None)
        elif failure.fault is not Fault.LOCAL:  # which says nothing of the region
            self.silent.setdefault(leg.region, now)
        if leg.started_at is None:
            self.board.give_back(leg.region, leg.permit, now)
            if failure is not None:
                self.board.not_made(leg.region, failure, now)
        else:
            query = flight.route.query if flight is not None and len(flight.queries) == 1 else None
            self.board.record(leg.region, query, failure, now, sent_at=leg.started_at, permit=leg.permit)

    def _dispatch(self, flight: Flight, leg: Leg, now: float, act: Actions) -> None:
        engine = self._owner()
        if self._stuck(leg.region) >= WIDTH:
            self.board.give_back(leg.region, leg.permit, now)
            leg.end(now, Failure(Fault.REGION, "AttemptsStuck", f"{WIDTH} attempts are stuck there"))
        elif engine is None:  # a finalizer of what is collected together with the cache reads: nothing will be sent
            leg.end(now, Failure(Fault.LOCAL, "Collected", "this cache is being collected"))
        else:
            self._queued[leg.region][leg] = flight
            act.extend([engine.reload] if leg.reload else [])
            act.append(partial(self._submit, flight, leg))
            leg.handed_over = True  # after that: handed over twice, it is taken up once

    def _submit(self, flight: Flight, leg: Leg) -> None:
        # Weakly: an attempt may be stuck for long, and a flight holds values.
        lane = self._lanes[leg.region]
        if not lane.submit(partial(self._attempt, weakref.ref(flight), flight.queries, leg)):
            self._tell(
                flight,
                leg,
                Failure(Fault.LOCAL, "NoThread", f"this process may start no more threads ({lane.refusal})"),
            )

    def _prepare(self, region: str) -> None:
        engine = self._owner()
        if engine is not None:
            engine.prepare(region)

    def _tell(self, flight: Flight, leg: Leg, failure: Failure) -> None:
        engine = self._owner()
        if engine is not None:
            engine.ended(flight, leg, failure)

    def _land(self, flight: Flight, now: float, act: Actions) -> None:
        self._background.discard(flight)
        self._waiting.pop(flight, None)
        self._newer.pop(flight, None)
        if self._joinable.get(flight.query) is flight:
            del self._joinable[flight.query]
        for leg in flight.route.legs:
            if leg.taken_at is None:
                self._queued[leg.region].pop(leg, None)
            if leg.running and leg.taken_at is None:  # it will never be sent
                self.board.give_back(leg.region, leg.permit, now)
        engine = self._owner()
        if engine is not None:
            engine.settled(flight, now, act)
        act.extend(flight.waiters())
        self.open.discard(flight)  # last: an interrupt before that has the next step land it again

    def _stuck(self, region: str) -> int:
        """Attempts that were left behind and have not come back."""
        return sum(leg.region == region and not leg.running for leg in self._taken) if self._taken else 0
