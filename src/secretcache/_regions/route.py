"""One flight's walk over the regions: which to ask next, how long to wait for it, and what the failures add up to.

Pure: a route is told the time and what happened, and tells what to do. It knows neither threads nor sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secretcache._transport import Failure, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ATTEMPT_CAP", "Leg", "Route", "Verdict"]

ATTEMPT_CAP = 2.5
"""Seconds after which an attempt is a region fault.

With 1 s to connect and 2 s to read, two regions fit in the default timeout of 5 s.
"""

_FINAL_IN_ONE_REGION = frozenset({Fault.CALLER})
_OF_THE_SECRET = (Fault.DENIED, Fault.DELETED, Fault.MISSING)  # the first that a region tells names the verdict
_FINAL_BY_THE_PRIMARY = (Fault.DENIED, Fault.DELETED)


@dataclass(slots=True)
class Leg:
    """One region's part in a route. Times are on the cache's clock."""

    region: str
    wanted_at: float
    share: float
    """Seconds of the flight that belong to this region: the cap of its attempt, counted from its start."""
    patience: float
    """Seconds until the next region is asked as well; less than the share where the caller's own deadline is near."""
    started_at: float | None = None
    ended_at: float | None = None
    failure: Failure | None = None

    @property
    def running(self) -> bool:
        """Whether it was asked and has neither answered nor failed."""
        return self.ended_at is None

    @property
    def cap_at(self) -> float:
        """When the attempt has failed whatever it does; never, as long as no thread has taken it up."""
        return float("inf") if self.started_at is None else self.started_at + self.share

    @property
    def look_at(self) -> float:
        """When the cap may have been reached: an early look costs nothing."""
        return (self.wanted_at if self.started_at is None else self.started_at) + self.share

    @property
    def patience_at(self) -> float:
        """When the next region's turn comes even if this one is still running."""
        return self.wanted_at + self.patience


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a route's failures add up to when no region has answered."""

    fault: Fault
    legs: tuple[Leg, ...]

    @property
    def definitive(self) -> bool:
        """Whether the service itself has said no, so that no older value may stand in."""
        return self.fault in _OF_THE_SECRET

    @property
    def decisive(self) -> Failure | None:
        """The failure that the verdict is named after."""
        return next((leg.failure for leg in self.legs if leg.failure and leg.failure.fault is self.fault), None)


@dataclass(slots=True)
class Route:
    """The order of regions, the flight's deadline, and what has happened so far."""

    regions: Sequence[str]
    deadline: float
    """When the flight is over whatever the regions do."""
    impatient_until: float
    """The deadline of the caller who began the flight, if earlier.

    Regions share that time, but are not judged by it.
    """
    primary: str = ""
    legs: list[Leg] = field(default_factory=list)

    def due(self, now: float) -> Leg | None:
        """The leg to start now, if any. Called until it gives none."""
        if (
            not self._left()
            or now >= self.deadline
            or self._final()
            or any(self._patient(leg, now) for leg in self.legs)
        ):
            return None
        left = self._left()
        share = min(ATTEMPT_CAP, (self.deadline - now) / left)
        hurry = (self.impatient_until - now) / left
        leg = Leg(self.regions[len(self.legs)], now, share, min(share, hurry) if hurry > 0 else share)
        self.legs.append(leg)
        return leg

    def pass_time(self, now: float) -> list[Leg]:
        """Fails the attempts that have reached their cap, and returns them: they are to be left behind."""
        capped = [leg for leg in self.legs if leg.running and now >= leg.cap_at]
        for leg in capped:
            self.end(leg, now, Failure(Fault.REGION, "AttemptTimeout", f"no whole answer within {leg.share:.1f} s"))
        return capped

    def end(self, leg: Leg, now: float, failure: Failure | None) -> None:
        """Records what came of an attempt; None is success."""
        leg.ended_at, leg.failure = now, failure

    def wake_at(self) -> float:
        """When time by itself changes something next."""
        running = [leg for leg in self.legs if leg.running]
        moments = [leg.look_at for leg in running]
        if self._left():
            moments += [leg.patience_at for leg in running]
        return min([self.deadline, *moments])

    def verdict(self, now: float) -> Verdict | None:
        """What the failures add up to; None while a region may still answer."""
        waiting = self._left() or any(leg.running for leg in self.legs)
        if waiting and now < self.deadline and not self._final():
            return None
        return Verdict(self._sum(), tuple(self.legs))

    def _left(self) -> int:
        return len(self.regions) - len(self.legs)

    def _final(self) -> bool:
        return any(leg.failure and leg.failure.fault in _FINAL_IN_ONE_REGION for leg in self.legs)

    def _patient(self, leg: Leg, now: float) -> bool:
        return leg.running and now < min(leg.patience_at, leg.cap_at)

    def _sum(self) -> Fault:
        told = {leg.region: leg.failure.fault if leg.failure else Fault.REGION for leg in self.legs}
        faults = set(told.values())
        if self._final():
            return Fault.CALLER
        if told.get(self.primary) in _FINAL_BY_THE_PRIMARY:
            return told[self.primary]
        if len(told) == len(self.regions) and faults.issubset(_OF_THE_SECRET):
            return next(fault for fault in _OF_THE_SECRET if fault in faults)
        return Fault.IDENTITY if faults == {Fault.IDENTITY} else Fault.REGION
