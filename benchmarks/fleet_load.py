"""What a fleet asks of the service, by the real policy code on a virtual clock, against the quota of 10 000 calls/s."""

from __future__ import annotations

from collections import Counter
from functools import partial

import parts  # noqa: F401 - puts tests/ on the path
from fleet import FIRST, REFUSED, ROUND_TRIP, SECOND, Clock, Prober
from measure import Case, Line, Outcome, Scale, at_most
from secretcache._ids import Query, SecretId
from secretcache._regions.route import Leg, Purpose, Route
from secretcache._transport import Failure

QUOTA = 10_000
"""GetSecretValue and DescribeSecret calls a second, for each account and region (Secrets Manager's quotas)."""
TTL = 300.0
SECRETS = 20
STARTS, STEADY, DOWN, UP, ROTATED, END = 60.0, 900.0, 1800.0, 5400.0, 7200.0, 8100.0


class Process(Prober):
    """One process: a batch at its start, then each secret refreshed at 70 to 90 % of its ttl; probes when they are due."""

    queries = tuple(Query(SecretId(f"prod/{number}")) for number in range(SECRETS))

    def __init__(self, clock: Clock, seed: int, calls: dict[str, Counter[int]]) -> None:
        super().__init__(clock, seed, self.queries[0])
        self._calls = calls
        clock.at(self._random() * STARTS, self._start)

    def _start(self) -> None:
        self._load(self.queries[0], Purpose.COLD)  # one call of BatchGetSecretValue brings all twenty
        for query in self.queries:
            self._refresh_later(query)

    def _refresh_later(self, query: Query) -> None:
        self._clock.at(self._clock.time + TTL * (0.7 + 0.2 * self._random()), partial(self._refresh, query))

    def _refresh(self, query: Query) -> None:
        self._load(query, Purpose.REFRESH)
        self._refresh_later(query)

    def _walk(self, route: Route) -> None:
        now = self._clock.time
        while leg := route.due(now):
            leg.taken_at = leg.started_at = now
            down = leg.region == FIRST and DOWN <= now < UP
            self._calls[leg.region][int(now)] += 1
            self._clock.at(now + ROUND_TRIP, partial(self._end, route, leg, REFUSED if down else None))

    def _end(self, route: Route, leg: Leg, failure: Failure | None) -> None:
        now = self._clock.time
        leg.end(now, failure)
        self._board.record(leg.region, route.query, failure, now, sent_at=leg.started_at or now, permit=leg.permit)
        if failure is None:
            self._board.fine(leg.region, now, probe=leg.permit is not None)
        else:
            self._walk(route)
        self._board.events.clear()
        if failure is not None or leg.permit is not None:
            self._look_again()


def fleet(scale: Scale) -> Outcome:
    processes = scale(10_000, 50)
    clock = Clock()
    calls: dict[str, Counter[int]] = {FIRST: Counter(), SECOND: Counter()}
    running = [Process(clock, seed, calls) for seed in range(processes)]
    clock.run(END)
    phases = {
        "start, over a minute": (0, STARTS),
        "steady": (STEADY, DOWN),
        "an hour's outage of the first region": (DOWN, UP),
        "recovery": (UP, UP + 300),
        "after everything has rotated": (ROTATED, END),
    }
    lines = [
        Line(f"{phase}, {region}", max(_seconds(calls[region], *span)), "calls/s, at most")
        for phase, span in phases.items()
        for region in (FIRST, SECOND)
    ]
    steady = _seconds(calls[FIRST], STEADY, DOWN)
    mean = sum(steady) / len(steady)
    after_start = max(max(_seconds(one, STARTS, END)) for one in calls.values())
    recovery = max(max(_seconds(one, UP, UP + 600)) for one in calls.values())
    quota = QUOTA * processes / 10_000
    return Outcome(
        [Line("steady, mean of the first region", mean, "calls/s"), *lines],
        [
            at_most("busiest second after the start, part of the quota", after_start / quota, 0.2),
            at_most("busiest second of recovery, × the steady mean", recovery / mean, 1.5),
        ],
        [
            f"{len(running)} processes of {SECRETS} secrets at ttl=300; every breaker, route and jitter is the real one.",
            "A rotation costs no call: it is noticed by the refreshes there are.",
        ],
    )


def _seconds(counts: Counter[int], begin: float, end: float) -> list[int]:
    return [counts[second] for second in range(int(begin), int(end))]


CASES = [Case("fleet", "A fleet of 10 000 processes", fleet)]
