"""What is known of each region, and so which may be asked: breakers, gates, memory. Pure; used under the cache's lock.

Only class A, told by host, moves a breaker. Throttling, identity and regional refusal each have a state of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cachetools

from secretcache._events import Event
from secretcache._regions.breaker import Breaker, Permit, State
from secretcache._regions.budget import Budget
from secretcache._regions.tally import Tally
from secretcache._regions.throttle import Throttle
from secretcache._transport import OF_THE_SECRET, Failure, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableSequence, Sequence

    from secretcache._ids import Query
    from secretcache._regions.health import RegionHealth
    from secretcache._regions.policy import RegionPolicy

__all__ = ["Board"]

_NEVER = float("-inf")
_MEMORIES = 1024


def _always() -> bool:
    return True


@dataclass(slots=True, eq=False, repr=False)
class _Gate:
    """A time before which a region is not asked, longer each time it has to close again."""

    first: float
    longest: float
    until: float = _NEVER
    failures: int = 0
    cause: BaseException | None = None
    """What closed it last."""

    def close(self, now: float, failure: Failure) -> None:
        self.cause = failure.cause
        if now >= self.until:  # else it was sent before the gate closed: of a burst, all but one say nothing new
            self.until = now + min(self.longest, self.first * 2.0 ** min(self.failures, 10))
            self.failures += 1

    def open(self) -> None:
        self.until, self.failures, self.cause = _NEVER, 0, None


class _Region:
    """One region's condition."""

    def __init__(self, name: str, policy: RegionPolicy, random: Callable[[], float], now: float) -> None:
        self.name = name
        self.breaker = Breaker(policy, random, now)
        self.throttled = Throttle(policy, random)
        self.identity = _Gate(policy.identity_first, policy.identity_longest)
        self.parked = _Gate(policy.parked_for, policy.parked_for)
        self.suspect_until = _NEVER
        self.moved_at = _NEVER
        """When a thread of its lane last took a request up, or one was answered."""
        self.valued_at = _NEVER
        """When the request was sent that brought the last value."""
        self.tally = Tally()
        self.last_error: str | None = None
        self.fault: BaseException | None = None
        """The error of the last region fault."""

    def opens_at(self) -> float:
        """When nothing but the breaker keeps it from being asked."""
        return max(self.throttled.until, self.identity.until, self.parked.until)

    def usable(self, now: float) -> bool:
        """Whether an ordinary request may be sent to it."""
        return self.breaker.closed and now >= self.opens_at()


class Board:
    """The condition of the listed regions."""

    def __init__(
        self, regions: Sequence[str], policy: RegionPolicy, random: Callable[[], float], now: Callable[[], float]
    ) -> None:
        self.policy = policy
        self.random = random
        self.budget = Budget.full(policy, now())
        self.events: MutableSequence[Event] = []
        """What has changed since somebody last told of it; told after the lock is released."""
        self.heard: Callable[[], bool] = _always
        """Whether anybody listens: a call that nobody hears of makes no event. All other events are logged too."""
        self._regions = {name: _Region(name, policy, random, now()) for name in regions}
        self._refusals: cachetools.LRUCache[tuple[str, Query], float] = cachetools.LRUCache(_MEMORIES)
        self._last_chance_at = _NEVER
        self._reloaded_at = _NEVER
        self._serving: str | None = None
        self.changed = False
        """Whether a flight that waits for a region should look again."""
        self.waiting = 0
        """Flights that wait for a region."""

    # Which region may be asked.

    def choose(self, candidates: Iterable[str], query: Query, now: float, *, avoid_suspects: bool) -> str | None:
        """The candidate to ask: the first in order, but for those that are suspect, dwell or have refused this secret.

        None: none of them may be asked by an ordinary request now.
        """
        best, least = None, (True, True, True, True)
        for name in candidates:
            region = self._regions[name]
            if not region.usable(now):
                continue
            refused = self._refusals.get((name, query), _NEVER) > now
            rank = (refused, avoid_suspects and region.suspect_until > now, region.breaker.dwells(now), False)
            if not any(rank):
                return name
            if rank < least:
                best, least = name, rank
        return best

    def last_chance(self, candidates: Sequence[str], now: float) -> tuple[str, Permit] | None:
        """A region whose breaker is open, for a reader who has no other left: one shared attempt a second."""
        if now < self._last_chance_at:
            return None
        for name in sorted(candidates, key=lambda one: self._regions[one].tally.counts["last chances"]):
            region = self._regions[name]
            if now >= region.opens_at() and (permit := region.breaker.permit(now, last_chance=True)):
                self._last_chance_at = now + self.policy.last_chance_pause
                region.tally.counts["last chances"] += 1
                return name, permit
        return None

    def worth_waiting(self, candidates: Iterable[str], now: float) -> float:
        """When one of the candidates, none of which may be asked now, may be: as far as time alone can tell."""
        return min((self._opens_at(self._regions[name], now) for name in candidates), default=float("inf"))

    def _opens_at(self, region: _Region, now: float) -> float:
        # Credentials and regions that are not enabled do not mend themselves while a reader waits.
        if max(region.identity.until, region.parked.until) > now:
            return float("inf")
        gate = max(region.throttled.until, now)
        return gate if region.breaker.closed else max(gate, self._last_chance_at, region.breaker.permit_due(now))

    def is_well(self, name: str) -> bool:
        """Whether a region has not failed lately: more may be asked of it at once."""
        region = self._regions[name]
        return not (region.breaker.failures or region.throttled.paced)

    def spread(self, candidates: Iterable[str], now: float) -> float:
        """Seconds over which those who wait for one of the candidates come, where they may go out only one by one."""
        paces = (self._regions[name].throttled for name in candidates)
        seconds = min((self.waiting * one.gap for one in paces if one.until > now), default=0.0)
        return min(seconds, self.policy.throttle_first)

    def decided(self, name: str, now: float) -> None:
        """A request to a region is decided on."""
        self._regions[name].throttled.take(now)

    def turns_back(self, name: str, wanted_at: float) -> bool:
        """Whether a request decided on at that time may not be sent any more: the region has throttled others since."""
        return self._regions[name].throttled.turns_back(wanted_at)

    def moves(self, name: str, now: float) -> None:
        """A thread of a region's lane has taken a request up, or has an answer."""
        self._regions[name].moved_at = now

    def moved_at(self, name: str) -> float:
        """When that was last so: as long as a lane moves, what is queued there waits for nobody who is silent."""
        return self._regions[name].moved_at

    def valued_since(self, name: str, moment: float) -> bool:
        """Whether a request sent to a region after that moment has brought a value."""
        return self._regions[name].valued_at > moment

    def share(self, now: float) -> bool:
        """Whether a reader may take the one attempt a second that all share who have no region left."""
        if now < self._last_chance_at:
            return False
        self._last_chance_at = now + self.policy.last_chance_pause
        return True

    def tried(self, candidates: Iterable[str], now: float) -> bool:
        """Whether somebody's request is on its way through an open breaker of theirs: its success releases all."""
        return any(self._regions[name].breaker.permit_outstanding(now) for name in candidates)

    def may_retry(self, region: str, now: float) -> bool:
        """Whether a region that has just failed may be asked again by the same flight, for a token."""
        return self._regions[region].usable(now) and self.budget.take(now)

    def may_reload(self, now: float) -> bool:
        """Whether credentials that have failed may be loaded anew: not again and again."""
        if now < self._reloaded_at + self.policy.identity_first:
            return False
        self._reloaded_at = now
        return True

    def passage(self, region: str, now: float) -> tuple[bool, Permit | None]:
        """Whether a region may be asked again with credentials loaded anew; by which permit, if its breaker is open."""
        breaker = self._regions[region].breaker
        permit = breaker.permit(now, last_chance=True)
        return breaker.closed or permit is not None, permit

    def reloaded_since(self, moment: float | None) -> bool:
        """Whether credentials were loaded anew after that."""
        return moment is not None and moment < self._reloaded_at

    def why_not(self, region: str, now: float) -> Failure | None:
        """Why a region was not asked."""
        one = self._regions[region]
        for gate, fault, code in (
            (one.parked, Fault.NOT_OFFERED, "Parked"),
            (one.identity, Fault.IDENTITY, "CredentialsFailed"),
            (one.throttled, Fault.THROTTLED, "Throttled"),
        ):
            if gate.until > now:
                left = gate.until - now
                why = f"not asked for another {left:.1f} s, after {one.last_error}"
                return Failure(fault, code, why, cause=gate.cause)
        if not one.breaker.closed:
            why = f"not asked: it has failed {one.breaker.failures} times, {one.last_error}"
            return Failure(Fault.REGION, "BreakerOpen", why, cause=one.fault)
        return None

    def retry_after(self, now: float) -> float:
        """Seconds after which asking again is worth it, at the earliest one."""
        return max(self.policy.last_chance_pause, self.worth_waiting(self._regions, now) - now)

    # Probes.

    def probe_due(self, now: float) -> str | None:
        """A region whose breaker wants a probe now."""
        for region in self._regions.values():
            breaker = region.breaker
            if not breaker.closed and not breaker.permit_outstanding(now) and now >= self._probe_at(region):
                return region.name
        return None

    def probe(self, region: str, now: float) -> Permit | None:
        """The permit for that probe."""
        before = self._regions[region].breaker.state
        permit = self._regions[region].breaker.permit(now, last_chance=False)
        self._tell_state(self._regions[region], before)
        return permit

    def next_probe_at(self) -> float:
        """When a probe falls due next, or one under way is given up for lost; infinity if none is wanted."""
        waiting = (one for one in self._regions.values() if not one.breaker.closed)
        return min((max(self._probe_at(one), one.breaker.permit_until()) for one in waiting), default=float("inf"))

    @staticmethod
    def _probe_at(region: _Region) -> float:
        return max(region.breaker.probe_at, region.opens_at())

    # What became of a request.

    def silent(self, name: str, now: float) -> None:
        """A request has had no answer for so long that cold reads start elsewhere."""
        region = self._regions[name]
        if region.suspect_until <= now:
            self.events.append(Event("suspect", region=name, seconds=self.policy.suspect_for))
        region.suspect_until = now + self.policy.suspect_for

    def give_back(self, name: str, permit: Permit | None, now: float) -> None:
        """A request was never sent."""
        self.changed = True
        self._regions[name].breaker.give_back(now, permit)

    def not_made(self, name: str, failure: Failure, now: float) -> None:
        """No request was sent, since there is no client or there are no credentials: no breaker moves for that.

        A region that a client cannot be made for is parked, and told: each read would make one anew, in vain.
        """
        region = self._regions[name]
        region.tally.counts[failure.fault.name.lower()] += 1
        if failure.fault in (Fault.IDENTITY, Fault.NOT_OFFERED):
            self._failed(region, None, failure, now, now)

    def record(  # noqa: PLR0913 - one fact each
        self,
        name: str,
        query: Query | None,
        failure: Failure | None,
        now: float,
        *,
        sent_at: float,
        permit: Permit | None = None,
    ) -> None:
        """Takes note of what came of a request. `query`: the secret it was about, if it was about one."""
        region = self._regions[name]
        self.changed = True
        before = region.breaker.state
        outcome = "answered" if failure is None else failure.fault.name.lower()
        region.tally.counts[outcome] += 1
        if self.heard():
            operation = "BatchGetSecretValue" if query is None else "GetSecretValue"
            self.events.append(Event("call", name, None, outcome, max(0.0, now - sent_at), operation))
        self._count(region, failure, now, permit)
        if failure is None or failure.answered:
            self._answered(region, now, sent_at)
        if failure is not None:
            self._failed(region, query, failure, now, sent_at)
        elif query is not None and self._refusals:
            self._refusals.pop((name, query), None)
        self._tell_state(region, before)

    def _count(self, region: _Region, failure: Failure | None, now: float, permit: Permit | None) -> None:
        """The breaker's part: an answer of the service is success, class A is failure, all else is nothing."""
        if failure is not None and failure.fault is Fault.REGION:
            region.breaker.failed(now, permit)
        elif failure is None or failure.answered:
            region.breaker.succeeded(now, permit, alone=self._is_alone(region))
        else:
            region.breaker.give_back(now, permit)

    def _is_alone(self, region: _Region) -> bool:
        """Whether no other region's breaker is closed: asked only of one that may close."""
        return not region.breaker.closed and not any(
            one.breaker.closed for one in self._regions.values() if one is not region
        )

    def _answered(self, region: _Region, now: float, sent_at: float) -> None:
        region.tally.add_latency(max(0.0, now - sent_at))
        if now - sent_at < self.policy.hedge_after:
            region.suspect_until = _NEVER

    def _failed(self, region: _Region, query: Query | None, failure: Failure, now: float, sent_at: float) -> None:
        region.last_error = failure.code
        if failure.fault is Fault.REGION:
            region.fault = failure.cause
        gate = {Fault.IDENTITY: region.identity, Fault.NOT_OFFERED: region.parked}.get(failure.fault)
        if failure.fault is Fault.THROTTLED:
            region.throttled.close(now, failure, sent_at, min(failure.retry_after, self.policy.hint_longest))
            self._tell_gate(region, failure, region.throttled.until - now)
        elif gate is not None:
            gate.close(now, failure)
            self._tell_gate(region, failure, gate.until - now)
        elif failure.fault in (*OF_THE_SECRET, Fault.FOREIGN) and query is not None:
            self._refusals[region.name, query] = now + self.policy.remember_refusal

    def _tell_gate(self, region: _Region, failure: Failure, seconds: float) -> None:
        kind = failure.fault.name.lower()
        self.events.append(Event(kind, region=region.name, seconds=seconds, outcome=failure.code))

    def fine(self, name: str, now: float, *, probe: bool = False, sent_at: float | None = None) -> None:
        """A region has brought a value: its gates open, that against throttling little by little."""
        region, sent_at = self._regions[name], now if sent_at is None else sent_at
        self.changed = True
        region.valued_at = max(region.valued_at, sent_at)
        if not probe and name != self._serving:
            if self._serving is not None:
                self.events.append(Event("failover", region=name, detail=f"answers now, instead of {self._serving}"))
            self._serving = name
        region.throttled.answered(now, sent_at)
        region.identity.open()
        region.parked.open()
        self.budget.succeeded(now)

    def forget(self, query: Query) -> None:
        """Forgets what regions have said of one secret."""
        for name in self._regions:
            self._refusals.pop((name, query), None)

    def forget_all(self) -> None:
        """Forgets what regions have said of any secret."""
        self._refusals.clear()

    def count(self, name: str, what: str) -> None:
        """Counts something of a region."""
        self._regions[name].tally.counts[what] += 1

    def counts(self, name: str, what: str) -> int:
        """How often that was counted."""
        return self._regions[name].tally.counts[what]

    def _tell_state(self, region: _Region, before: State) -> None:
        breaker = region.breaker
        if breaker.state is not before:
            self.events.append(
                Event(
                    "breaker",
                    region=region.name,
                    outcome=breaker.state.value,
                    detail=f"was {before.value}; {breaker.failures} failures in a row, the last {region.last_error}",
                )
            )

    def health(self, name: str, host: str, stuck: int, now: float) -> RegionHealth:
        """The record of one region."""
        from secretcache._regions.health import RegionHealth  # noqa: PLC0415 - a process starts without it

        region, breaker = self._regions[name], self._regions[name].breaker
        counts = region.tally.counts
        p50, p90, p99 = region.tally.percentiles()
        return RegionHealth(
            region=name,
            host=host,
            state=breaker.state.value,
            state_seconds=max(0.0, now - breaker.since),
            next_probe_seconds=None if breaker.closed else max(0.0, self._probe_at(region) - now),
            preferred_in_seconds=max(0.0, breaker.preferred_at - now) if breaker.closed else 0.0,
            suspect_seconds=max(0.0, region.suspect_until - now),
            throttled_seconds=max(0.0, region.throttled.until - now),
            parked_seconds=max(0.0, region.parked.until - now),
            identity_seconds=max(0.0, region.identity.until - now),
            calls=counts["calls"],
            answers=counts["answers"],
            failures=counts["failures"],
            outcomes={fault.name.lower(): counts[fault.name.lower()] for fault in Fault if counts[fault.name.lower()]},
            failures_in_a_row=breaker.failures,
            stuck_attempts=stuck,
            latency_p50_seconds=p50,
            latency_p90_seconds=p90,
            latency_p99_seconds=p99,
            last_error=region.last_error,
        )
