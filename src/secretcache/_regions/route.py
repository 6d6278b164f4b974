"""One flight's walk over the regions: which to ask next, how long to wait for it, what the failures add up to.

Pure: a route is told the time and what happened, and tells what to do. It knows neither threads nor sockets. What is
known of the regions beyond this flight is the board's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from secretcache._transport import OF_THE_SECRET, Failure, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secretcache._ids import Query
    from secretcache._regions.board import Board
    from secretcache._regions.breaker import Permit

__all__ = ["Leg", "Purpose", "Route", "Verdict"]

_OVERSLEPT = 1.0
"""Seconds: every cap is looked at when it is reached, by a waiting reader or by the background thread."""
_FINAL_BY_THE_PRIMARY = (Fault.DENIED, Fault.DELETED)
_INFINITY = float("inf")


class Purpose(enum.Enum):
    """Why a flight is made, and so how it walks."""

    COLD = "a reader has nothing: it hedges, and waits for a region that may be asked again"
    REVALIDATE = "a reader waits, but has an older value to fall back on"
    FORCED = "a reader or a login wants a new answer: it hedges too"
    REFRESH = "nobody waits: it finds out whether a suspect region is back"
    PROBE = "it asks one region through its open breaker"

    @property
    def awaited(self) -> bool:
        """Whether a reader waits for it."""
        return self in (Purpose.COLD, Purpose.REVALIDATE, Purpose.FORCED)

    @property
    def insists(self) -> bool:
        """Whether its reader has nothing else: it hedges, and may take the last chance."""
        return self in (Purpose.COLD, Purpose.FORCED)


@dataclass(slots=True, eq=False, repr=False)
class Leg:
    """One request's part in a route. Times are on the cache's clock."""

    region: str
    wanted_at: float
    cap: float
    """Seconds, from when the request is sent, until it has failed whatever it does."""
    patience: float
    """Seconds until the next region is asked as well; less than the cap where the caller's own deadline is near."""
    making_cap: float = 2.5
    permit: Permit | None = None
    """The right to pass an open breaker."""
    reload: bool = False
    """Whether credentials are to be loaded anew first."""
    ticket: int = 0
    taken_at: float | None = None
    """When a thread took it up."""
    started_at: float | None = None
    """When its request was sent: its client is there."""
    ended_at: float | None = None
    failure: Failure | None = None
    silent: bool = False
    """Whether it has been told that this region is silent."""
    withdrawn: bool = False
    """Whether it was taken back before a thread sent it: its region was not asked."""
    handed_over: bool = False
    """Whether it is among the actions of a step: an interrupt may end a step in which it was only begun."""

    @property
    def queued(self) -> bool:
        """Whether it waits for a thread of its region's lane."""
        return self.ended_at is None and self.taken_at is None

    def withdraw(self, now: float, failure: Failure) -> None:
        """Takes it back: it will not be sent, and its region may be asked later."""
        self.withdrawn = True
        self.end(now, failure)

    @property
    def throttled(self) -> bool:
        """Whether its region has answered that it is asked too often."""
        return self.failure is not None and self.failure.fault is Fault.THROTTLED

    @property
    def running(self) -> bool:
        """Whether it has neither answered nor failed nor reached its cap."""
        return self.ended_at is None

    def end(self, now: float, failure: Failure | None) -> None:
        """Records what came of it; None is success."""
        self.ended_at, self.failure = now, failure

    def reach_cap(self, now: float) -> bool:
        """Fails it if it has reached its cap."""
        if not self.running or now < self.cap_at:
            return False
        # Frozen and thawed, the process would blame the region for its own absence; and a client that is still being
        # made says nothing of the region either.
        local = self.overslept(now) or self.started_at is None
        waited = "no whole answer" if self.started_at is not None else "no client"
        fault = Fault.LOCAL if local else Fault.REGION
        self.end(now, Failure(fault, "AttemptTimeout", f"{waited} within {self._cap:.1f} s"))
        return True

    def overslept(self, now: float) -> bool:
        """Whether nobody looked at it for so long after its cap that the process must have stood still."""
        return now > self.cap_at + _OVERSLEPT

    @property
    def unsent(self) -> bool:
        """Whether all its time went into making a client and loading credentials, or does still."""
        return self.taken_at is not None and self.started_at is None and (self.failure is None or self._timed_out)

    @property
    def _timed_out(self) -> bool:
        return self.failure is not None and self.failure.code == "AttemptTimeout"

    @property
    def _cap(self) -> float:
        return self.cap if self.started_at is not None else self.making_cap

    @property
    def cap_at(self) -> float:
        """When it fails whatever it does; never, as long as no thread has taken it up."""
        begun_at = self.started_at if self.started_at is not None else self.taken_at
        return _INFINITY if begun_at is None else begun_at + self._cap

    @property
    def look_at(self) -> float:
        """When the cap may be reached, as far as one can tell: an early look costs nothing."""
        return self.wanted_at + self.cap if self.taken_at is None else self.cap_at

    @property
    def patience_at(self) -> float:
        """When the next region's turn comes even if this one is still running."""
        return self.wanted_at + self.patience


class Verdict(NamedTuple):
    """What a route's failures add up to when no region has answered."""

    fault: Fault
    legs: tuple[Leg, ...]
    unasked: tuple[tuple[str, Failure], ...] = ()
    """The regions that were not asked, and why."""
    revoked: bool = False
    """Whether no region knows the key any more, even when it was loaded anew."""
    retry_after: float = 1.0

    @property
    def definitive(self) -> bool:
        """Whether the service itself has said no, so that no older value may stand in."""
        return self.fault in OF_THE_SECRET or self.revoked

    @property
    def refused(self) -> bool:
        """Whether some region has said no, though not all have."""
        return bool(self._refusing)

    @property
    def asked(self) -> int:
        """The first request that it rests on; 0 where none was sent."""
        return min((leg.ticket for leg in self._refusing or self.legs if leg.ticket), default=0)

    @property
    def _refusing(self) -> list[Leg]:
        return [leg for leg in self.legs if leg.failure is not None and leg.failure.fault in OF_THE_SECRET]

    @property
    def throttled(self) -> bool:
        """Whether some region was asked too often: it answers again before long."""
        failures = [leg.failure for leg in self.legs] + [failure for _, failure in self.unasked]
        return any(one is not None and one.fault is Fault.THROTTLED for one in failures)

    @property
    def frozen(self) -> bool:
        """Whether the process stood still meanwhile: then nothing is known of the regions."""
        return any(leg.overslept(leg.ended_at) for leg in self.legs if leg.ended_at is not None)

    @property
    def decisive(self) -> Failure | None:
        """The failure that the verdict is named after; the last one where it is named after none: all throttled."""
        failures = [leg.failure for leg in self.legs if leg.failure] + [failure for _, failure in self.unasked]
        return next((one for one in failures if one.fault is self.fault), failures[-1] if failures else None)


@dataclass(slots=True, eq=False, repr=False)
class Route:
    """The order of regions, the flight's time, and what has happened so far."""

    regions: Sequence[str]
    board: Board
    query: Query
    purpose: Purpose
    begun_at: float
    deadline: float
    """When the flight is over whatever the regions do."""
    caller_deadline: float
    """That of the caller who began the flight: the regions share this time, but are not judged by it."""
    primary: str = ""
    permit: Permit | None = None
    """Of a probe."""
    not_before: float = float("-inf")
    """When the first request may be sent: requests that callers force are spaced."""
    content: bool = False
    """Whether an answer is at hand that will do: a reader waits neither for a region that cannot be asked at once, nor,
    where it insists, for one that is silent."""
    legs: list[Leg] = field(default_factory=list)
    _unasked: list[str] = field(default_factory=list)
    _hedges: int = 0
    _retry_at: float | None = None
    _reloaded: bool = False
    _stopped: bool = False
    _prepared: bool = False
    _asked_again: bool = False
    _waited: bool = False
    """Whether it rests after each throttled answer, for want of a token for another region."""
    _rest: float = 0.0
    """By chance, from a half to 1: how long it rests."""
    _turn_at: float = float("-inf")
    """When its turn comes among those who wait for a region that lets requests through one by one."""

    def __post_init__(self) -> None:
        self._unasked = list(self.regions)

    # What is due.

    def ask_again(self, region: str) -> bool:
        """Has a region asked once more, before those that are left: its answer overlapped with another request.

        Once in a route; False: it has been. A region that may not be asked now takes its turn among the others.
        """
        if self._asked_again or self.purpose is Purpose.PROBE:
            return False
        self._asked_again = True
        self._unasked = [region, *(one for one in self._unasked if one != region)]
        return True

    def due(self, now: float) -> Leg | None:
        """The leg to start now, if any. To be called until there is none."""
        if now < self.not_before:
            return None
        if not self.legs and now < self.deadline:
            return self._next(now) or self._last_chance(now)
        self._watch_silence(now)
        if self._over(now) or any(leg.running and now < self._turn_over_at(leg) for leg in self.legs):
            return None
        running = self._running()
        if running and not self._may_overlap(now):
            return None
        self._retry_moment(now)
        leg = self._reload(now) or self._next(now) or self._last_chance(now) or self._retry(now)
        if leg is not None:
            self._move(running, leg, now)
        return leg

    def _move(self, running: Sequence[Leg], leg: Leg, now: float) -> None:
        """Takes back what is queued elsewhere: a request moves to the next region, and is not doubled."""
        before = {one.region for one in self.legs if one.withdrawn}
        for one in running:
            if one.queued and one.region not in before:  # once: what comes back to a lane stays there
                self.board.give_back(one.region, one.permit, now)
                one.withdraw(now, Failure(Fault.LOCAL, "Queued", f"not sent there: asked {leg.region} instead"))

    def only_begun(self, now: float) -> bool:
        """Whether its first request was begun just now, and nobody else's turn comes before some time has passed."""
        only = len(self.legs) == 1 and self.legs[0].wanted_at == now < self.deadline
        return only and self.legs[0].running and now < self._turn_over_at(self.legs[0])

    def to_prepare(self, now: float) -> str | None:
        """The region whose client should be made now, because the first one asked is silent; told once."""
        if self._prepared or not self.legs or not self._hedges_at_all() or now < self._prepare_at():
            return None
        self._prepared = True
        return self.board.choose(self._left(), self.query, now, avoid_suspects=True)

    def _next(self, now: float) -> Leg | None:
        if self.purpose is Purpose.PROBE:
            return None if self.legs else self._leg(self.regions[0], now, permit=self.permit)
        if now < self._rests_until(now):
            return None
        region = self.board.choose(self._left(), self.query, now, avoid_suspects=self.purpose.awaited)
        return self._leg(region, now) if region and self._may_go_on(region, now) else None

    def _last_chance(self, now: float) -> Leg | None:
        if not self.purpose.insists or self._running() or self._stopped or self.content or self._too_late(now):
            return None
        chance = self.board.last_chance(self._left(), now)
        return self._leg(chance[0], now, permit=chance[1]) if chance else None

    def _retry(self, now: float) -> Leg | None:
        """The same region once more, where all have failed and a reader has nothing else."""
        if self._retry_at is None or now < self._retry_at or self._running() or self._too_late(now):
            return None
        self._retry_at = None
        failed = [leg for leg in self.legs if leg.failure and leg.failure.fault is Fault.REGION]
        usable = [leg for leg in failed if self.board.choose((leg.region,), self.query, now, avoid_suspects=False)]
        for leg in usable:
            if self.board.valued_since(leg.region, leg.wanted_at) or self.board.budget.take(now):
                self._stopped = True  # once
                return self._leg(leg.region, now)
        if usable and self.board.share(now):
            self._stopped = True
            return self._leg(usable[0].region, now)
        # Without a token it waits for an answer to somebody else, or for its share of one attempt a second.
        self._stopped = not usable
        self._retry_at = now + 2.0 * self.board.policy.retry_pause * (1.0 + self.board.random()) if usable else None
        return None

    def _reload(self, now: float) -> Leg | None:
        """The region whose credentials have failed, once more with credentials loaded anew."""
        last = self.legs[-1] if self.legs else None
        refused = last is not None and last.failure is not None and last.failure.fault is Fault.IDENTITY
        if last is None or not refused or self._reloaded or not self.board.policy.reloads:
            return None
        # Others' failures may have had them loaded anew since this request was sent.
        anew = self.board.reloaded_since(last.started_at)
        if not anew and not self.board.may_reload(now):
            return None
        self._reloaded = True
        passes, permit = self.board.passage(last.region, now)
        return self._leg(last.region, now, permit, reload=not anew) if passes else None

    def _leg(self, region: str, now: float, permit: Permit | None = None, *, reload: bool = False) -> Leg:
        left, policy = max(1, len(self._left())), self.board.policy
        cap = min(policy.attempt_cap, (self.deadline - now) / left)
        hurry = (self.caller_deadline - now) / left
        patience = min(cap, hurry) if hurry > 0 else cap
        # The cap on making a client is there to reach the next region: where none is left, it has all the time.
        alone = permit is None and not [one for one in self._left() if one != region]
        making_cap = max(policy.making_cap, self.deadline - now) if alone else policy.making_cap
        leg = Leg(region, now, cap, patience, making_cap, permit, reload)
        self.legs.append(leg)
        self.board.decided(region, now)
        if region in self._unasked:
            self._unasked.remove(region)
        if self.purpose.insists and policy.retries and not self._stopped and self._retry_at is None:
            self._retry_at = _INFINITY  # until all have failed
        return leg

    # When somebody else's turn comes.

    def _turn_over_at(self, leg: Leg) -> float:
        """Until when nobody else is asked beside this leg."""
        over_at = min(leg.patience_at, leg.cap_at)
        return min(over_at, self._hedge_at(leg)) if self._hedges_at_all() else over_at

    def _hedge_at(self, leg: Leg) -> float:
        policy = self.board.policy
        if leg.taken_at is None:  # what is before it in the queue is silent for so long
            return self._queued_since(leg) + policy.hedge_after
        latest = leg.taken_at + policy.hedge_after + policy.hedge_slack
        if leg.started_at is None:
            return latest
        return max(leg.taken_at + policy.hedge_after, min(leg.started_at + policy.hedge_after, latest))

    def _queued_since(self, leg: Leg) -> float:
        """Since when nothing has moved in the lane that a request is queued in."""
        return max(leg.wanted_at, self.board.moved_at(leg.region))

    def _hedges_at_all(self) -> bool:
        return self.board.policy.hedges and self.purpose.insists and bool(self._left())

    def _may_overlap(self, now: float) -> bool:
        """Whether a region is asked beside one that is still running: patience is over, or it is a hedge."""
        if all(not leg.running or now >= leg.patience_at for leg in self.legs):
            return True
        usable = self.board.choose(self._left(), self.query, now, avoid_suspects=True)
        if usable is not None and all(leg.queued for leg in self._running()):
            return True  # it moves
        if usable is None or (self._hedges and not self.board.budget.take(now)):
            return False
        self._hedges += 1
        return True

    def _may_go_on(self, region: str, now: float) -> bool:
        """Whether a region is asked after the last one's answer: from a throttled one to another, for a token.

        Without a token a reader who has no value waits for as long as for a gate; others are told.
        """
        last = self.legs[-1] if self.legs else None
        if last is not None and last.throttled and not last.withdrawn and not self._stopped and not self._waited:
            self._rest = self._rest or 0.5 + 0.5 * self.board.random()
            at_once = region != last.region and now < self._rested_at(last)
            if (at_once or not self._outwaits) and not self.board.budget.take(now):
                self._waited, self._stopped = self._outwaits, not self._outwaits
                return False
        return not self._stopped

    @property
    def _outwaits(self) -> bool:
        """Whether it waits until a region that is asked too often may be asked again."""
        return self.purpose.insists and self.board.policy.outwaits_throttling

    def _rests_until(self, now: float) -> float:
        """Until when it asks nobody, since it was throttled and there is no token for another region."""
        last = self.legs[-1] if self.legs else None
        if last is None or last.ended_at is None or not last.throttled or not self._waited:
            return now
        return self._rested_at(last)

    def _rested_at(self, leg: Leg) -> float:
        return (leg.ended_at or 0.0) + self.board.policy.throttle_first * self._rest

    def _watch_silence(self, now: float) -> None:
        for leg in self.legs:
            if leg.running and not leg.silent and leg.started_at is not None and now >= self._silent_at(leg):
                leg.silent = True
                self.board.silent(leg.region, now)

    def _silent_at(self, leg: Leg) -> float:
        return _INFINITY if leg.started_at is None else leg.started_at + self.board.policy.hedge_after

    def _look_for_silence_at(self, leg: Leg, now: float) -> float:
        # A thread that sends a request wakes nobody: who looks before it is sent has to look again.
        if leg.started_at is not None:
            return self._silent_at(leg)
        first = leg.wanted_at + self.board.policy.hedge_after
        return first if leg.taken_at is None and first > now else now + self.board.policy.hedge_after

    def _prepare_at(self) -> float:
        first = self.legs[0]
        return (self._queued_since(first) if first.taken_at is None else first.taken_at) + (
            self.board.policy.prepare_after
        )

    def wake_at(self, now: float) -> float:
        """When time by itself changes something next: always later than now, before the deadline."""
        running = self._running()
        moments = [leg.look_at for leg in running]
        moments += [self._look_for_silence_at(leg, now) for leg in running if not leg.silent]
        if self._left():
            moments += [moment for leg in running for moment in (leg.patience_at, self._turn_over_at(leg))]
        if self._hedges_at_all() and not self._prepared and running:
            moments.append(self._prepare_at())
        if not running:
            moments.append(self._waits_until(now))
        return min([self.deadline, *(moment for moment in moments if moment > now)])

    def _waits_until(self, now: float) -> float:
        """While nothing runs: when something may be asked, infinity if nothing will be."""
        if now < self.not_before:
            return self.not_before
        if self._too_late(now) or self._stopped or self.content or self.purpose is Purpose.PROBE:
            return _INFINITY
        chance = self._chance_at(now) if self.purpose.insists else _INFINITY
        return min(chance, self._retry_moment(now))

    def _chance_at(self, now: float) -> float:
        """When a region may be asked that may not be now."""
        left = self._left()
        at = max(self.board.worth_waiting(left, now), self._rests_until(now))
        spread = 0.0 if at <= now or at == _INFINITY else self.board.spread(left, now)
        if not spread:
            return at
        if self._turn_at <= now:  # not all at the same moment: they could go out only one by one
            latest = max(at, self.deadline - 2.0 * self.board.policy.hedge_after)
            self._turn_at = min(at + self.board.random() * spread, latest)
        return max(at, self._turn_at)

    def _may_be_released(self, now: float) -> bool:
        """Whether another flight is asking a region that this one has not asked: it waits for that to the end."""
        return self.purpose.insists and not self._stopped and self.board.tried(self._left(), now)

    def _retry_moment(self, now: float) -> float:
        if self._retry_at == _INFINITY and not self._running() and self._all_failed_by_themselves():
            self._retry_at = now + self.board.policy.retry_pause * (1.0 + self.board.random())
        return _INFINITY if self._retry_at is None else self._retry_at

    def _all_failed_by_themselves(self) -> bool:
        if self.content:
            return False
        asked = {leg.region: leg.failure for leg in self.legs}
        return not self._left() and all(one is not None and one.fault is Fault.REGION for one in asked.values())

    # What it adds up to.

    def verdict(self, now: float) -> Verdict | None:
        """What the failures add up to; None while a region may still answer."""
        hopeful = self._is_waited_for() or self._waits_until(now) < self.deadline or self._may_be_released(now)
        if hopeful and not self._over(now):
            return None
        reasons = ((region, self.board.why_not(region, now)) for region in self._unasked)
        unasked = tuple((region, reason) for region, reason in reasons if reason is not None)
        revoked = self._revoked()
        fault = self._sum(unasked)
        last = {leg.region: leg for leg in self.legs}
        told = tuple(leg for leg in self.legs if not leg.withdrawn or last[leg.region] is leg)
        return Verdict(fault, told, unasked, revoked, self.board.retry_after(now))

    def _is_waited_for(self) -> bool:
        """Whether a region that is asked may still give a better answer in time.

        A login or a `refresh()` that has an answer at hand would wait for two seconds more, the cap of an attempt, for
        a region that has been silent for longer than the hedging delay.
        """
        spares_the_silent = self.content and self.purpose.insists
        return any(not (spares_the_silent and leg.silent) for leg in self._running())

    @property
    def asks(self) -> bool:
        """Whether a request of it is under way; if not, it waits for a region that may be asked."""
        return bool(self._running())

    def worth_joining(self, now: float) -> bool:
        """Whether a reader who comes now has a fair chance in this flight.

        One whose time is nearly spent would hand its newcomers a failure that is none of theirs.
        """
        return self.deadline - now >= min(self.board.policy.attempt_cap, self.deadline - self.begun_at) / 2

    def _left(self) -> list[str]:
        """The regions that may be asked: those that were not, and those that could not be."""
        if not any(leg.withdrawn or leg.throttled for leg in self.legs):
            return self._unasked
        last = {leg.region: leg for leg in self.legs}
        again = (name for name, leg in last.items() if leg.withdrawn or (leg.throttled and self._outwaits))
        return [*self._unasked, *again]

    def _running(self) -> list[Leg]:
        return [leg for leg in self.legs if leg.running]

    def _over(self, now: float) -> bool:
        return now >= self.deadline or any(leg.failure and leg.failure.fault is Fault.CALLER for leg in self.legs)

    def _too_late(self, now: float) -> bool:
        """Whether a request more would have too little time to tell anything of its region."""
        least = min(self.board.policy.hedge_after, (self.deadline - self.begun_at) / 4)
        return self._over(now) or self.deadline - now < least

    def _revoked(self) -> bool:
        """Row E to D: no listed region knows the key, though it was loaded anew."""
        last = {leg.region: leg for leg in self.legs}
        known = self._reloaded and not self._unasked and bool(last)
        return known and all(leg.failure is not None and leg.failure.revoked for leg in last.values())

    def _sum(self, unasked: Sequence[tuple[str, Failure]]) -> Fault:
        told = {region: failure.fault for region, failure in unasked}
        told |= {leg.region: leg.failure.fault if leg.failure else Fault.REGION for leg in self.legs}
        faults = set(told.values())
        if Fault.CALLER in faults:
            return Fault.CALLER
        if told.get(self.primary) in _FINAL_BY_THE_PRIMARY:
            return told[self.primary]
        # A region that is not enabled for the account, or has another secret of that name, has no say in this one.
        say = faults - {Fault.NOT_OFFERED, Fault.FOREIGN}
        if say and len(told) == len(self.regions) and say.issubset(OF_THE_SECRET):
            return next(fault for fault in OF_THE_SECRET if fault in say)
        return Fault.IDENTITY if say == {Fault.IDENTITY} else Fault.REGION
