"""A fleet of processes through an hour's outage of their first region, on a virtual clock: `python tests/fleet.py`.

Each process has the real board, breakers and routes; only the clock, the regions and the threads are simulated. Every
process refreshes one secret at 70 to 90 % of its ttl, as the background thread does, and probes when a probe is due.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from statistics import mean

from secretcache._ids import Query, SecretId
from secretcache._regions.board import Board
from secretcache._regions.policy import RegionPolicy
from secretcache._regions.route import Leg, Purpose, Route
from secretcache._transport import Failure, Fault

__all__ = ["FIRST", "REFUSED", "ROUND_TRIP", "SECOND", "Clock", "Figures", "Prober", "simulate"]

FIRST, SECOND = "ap-northeast-3", "ap-northeast-1"
QUERY = Query(SecretId("prod/db"))
POLICY = RegionPolicy()
TTL = 60.0
TIMEOUT = 5.0
ROUND_TRIP = 0.02
DOWN_AT, UP_AT, END = 300.0, 3900.0, 4200.0
STEADY_AFTER = 900.0
"""Seconds of outage after which every breaker has long been open, for the longest time there is."""
REFUSED = Failure(Fault.REGION, "EndpointConnectionError", "connection refused")
SILENT = Failure(Fault.REGION, "AttemptTimeout", "no whole answer")


class Clock:
    """Virtual time, and what is to happen when."""

    def __init__(self) -> None:
        self.time = 0.0
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def now(self) -> float:
        return self.time

    def at(self, time: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time, next(self._numbers), do))

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.time, _, do = heapq.heappop(self._due)
            do()


@dataclass(slots=True)
class Record:
    """What one process has sent to the first region, and what came of it."""

    probes: list[float] = field(default_factory=list)
    good_probes: list[float] = field(default_factory=list)
    most_under_way: int = 0
    ordinary: list[float] = field(default_factory=list)
    """Times of requests that were no probes."""
    closed: list[float] = field(default_factory=list)
    unanswered: int = 0
    """Refreshes that no region answered."""


class Prober:
    """One process's board on the virtual clock, and its probes; the walk over the regions is a subclass's."""

    def __init__(self, clock: Clock, seed: int, query: Query) -> None:
        self._clock, self._probed = clock, query
        self._random = Random(seed).random  # noqa: S311 - jitter
        self._board = Board((FIRST, SECOND), POLICY, self._random, clock.now)
        self._look_at = float("inf")

    def _load(self, query: Query, purpose: Purpose) -> None:
        now = self._clock.time
        self._walk(Route((FIRST, SECOND), self._board, query, purpose, now, now + TIMEOUT, now + TIMEOUT))

    def _walk(self, route: Route) -> None:
        raise NotImplementedError

    def _look(self) -> None:
        now = self._clock.time
        if now < self._look_at:  # put off since
            return
        self._look_at = float("inf")
        if region := self._board.probe_due(now):
            permit = self._board.probe(region, now)
            deadline = now + TIMEOUT
            self._walk(
                Route((region,), self._board, self._probed, Purpose.PROBE, now, deadline, deadline, permit=permit)
            )
        self._look_again()

    def _look_again(self) -> None:
        probe_at = self._board.next_probe_at()
        if probe_at not in (self._look_at, float("inf")):
            self._clock.at(max(probe_at, self._clock.time), self._look)
        self._look_at = probe_at


class Process(Prober):
    """One cache's decisions."""

    def __init__(self, clock: Clock, seed: int, *, silent: bool) -> None:
        super().__init__(clock, seed, QUERY)
        self.record = Record()
        self._silent = silent
        self._under_way = 0
        clock.at(self._random() * TTL, self._refresh)

    def _refresh(self) -> None:
        self._clock.at(self._clock.time + TTL * (0.7 + 0.2 * self._random()), self._refresh)
        self._load(QUERY, Purpose.REFRESH)

    def _walk(self, route: Route) -> None:
        now = self._clock.time
        while leg := route.due(now):
            leg.taken_at = leg.started_at = now
            down = leg.region == FIRST and DOWN_AT <= now < UP_AT
            failure = (SILENT if self._silent else REFUSED) if down else None
            self._clock.at(
                now + (leg.cap if failure is SILENT else ROUND_TRIP), partial(self._end, route, leg, failure)
            )
            self._note(leg, now)
        if route.purpose is Purpose.REFRESH and route.verdict(now) is not None:
            self.record.unanswered += 1

    def _note(self, leg: Leg, now: float) -> None:
        if leg.permit is not None:
            self.record.probes.append(now)
            self._under_way += 1
            self.record.most_under_way = max(self.record.most_under_way, self._under_way)
        elif leg.region == FIRST:
            self.record.ordinary.append(now)

    def _end(self, route: Route, leg: Leg, failure: Failure | None) -> None:
        now, probe = self._clock.time, leg.permit is not None
        was_closed = self._closed
        leg.end(now, failure)
        self._board.record(leg.region, QUERY, failure, now, sent_at=leg.started_at or now, permit=leg.permit)
        self._under_way -= probe
        if failure is None:
            self._board.fine(leg.region, now, probe=probe)
            self.record.good_probes += [now] if probe else []
            self.record.closed += [now] if self._closed and not was_closed else []
        else:
            self._walk(route)
        self._board.events.clear()  # as the engine does when it has told them
        self._look_again()

    @property
    def _closed(self) -> bool:
        return self._board.why_not(FIRST, self._clock.time) is None


@dataclass(frozen=True, slots=True)
class Figures:
    """What the fleet did in all."""

    processes: int
    probes_per_second: float
    """Over the outage, but for its beginning."""
    busiest_second: int
    """The most probes in one second of that time."""
    most_under_way: int
    """The most probes of one process at the same time."""
    ordinary_in_outage: int
    """Requests to the region while it was down that were no probes: before each breaker opened."""
    unanswered: int
    found: tuple[float, ...]
    """By process: seconds from recovery to the first good probe."""
    closing: tuple[float, ...]
    """By process: seconds from the first good probe to the breaker's closing."""
    failed_back: tuple[float, ...]
    """By process: seconds from the breaker's closing to the first ordinary request."""

    def lines(self) -> list[str]:
        return [
            f"{self.processes} processes, an hour's outage of the first region:",
            f"  probes, a second in all            {self.probes_per_second:6.1f} ({self.busiest_second} at most)",
            f"  probes of one process at a time    {self.most_under_way:6d}",
            f"  other requests to it, a process    {self.ordinary_in_outage / self.processes:6.2f}",
            f"  refreshes without an answer        {self.unanswered:6d}",
            f"  recovery to first good probe, s    {_spread(self.found)}",
            f"  first good probe to closing, s     {_spread(self.closing)}",
            f"  closing to failback, s             {_spread(self.failed_back)}",
        ]


def _spread(seconds: tuple[float, ...]) -> str:
    return f"{mean(seconds):6.1f} (from {min(seconds):.1f} to {max(seconds):.1f})"


def simulate(processes: int = 1000, *, silent: bool = False) -> Figures:
    """The fleet through the outage. `silent`: the region keeps its connections instead of refusing them."""
    clock = Clock()
    records = [Process(clock, seed, silent=silent).record for seed in range(processes)]
    clock.run(until=END)
    by_second = Counter(int(at) for one in records for at in one.probes if DOWN_AT + STEADY_AFTER <= at < UP_AT)
    good = [one.good_probes[0] for one in records]
    closed = [one.closed[0] for one in records]
    back = [next(at for at in one.ordinary if at >= UP_AT) for one in records]
    return Figures(
        processes=processes,
        probes_per_second=by_second.total() / (UP_AT - DOWN_AT - STEADY_AFTER),
        busiest_second=max(by_second.values()),
        most_under_way=max(one.most_under_way for one in records),
        ordinary_in_outage=sum(DOWN_AT <= at < UP_AT for one in records for at in one.ordinary),
        unanswered=sum(one.unanswered for one in records),
        found=tuple(at - UP_AT for at in good),
        closing=tuple(later - at for at, later in zip(good, closed, strict=True)),
        failed_back=tuple(later - at for at, later in zip(closed, back, strict=True)),
    )


if __name__ == "__main__":
    for kind in (False, True):
        print("\nSilent region." if kind else "Region that refuses connections.")  # noqa: T201
        print(*simulate(silent=kind).lines(), sep="\n")  # noqa: T201
