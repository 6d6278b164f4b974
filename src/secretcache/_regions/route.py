"""One flight's walk over the regions: which to ask next, how long to wait for it, what the failures add up to.

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
"""Seconds after which an attempt is a region fault: two regions fit in the default timeout of 5 s."""

_OVERSLEPT = 1.0
"""Seconds: every cap is looked at when it is reached, by a waiting reader or by the background thread."""

_OF_THE_SECRET = (Fault.DENIED, Fault.DELETED, Fault.MISSING)  # the first that a region tells names the verdict
_FINAL_BY_THE_PRIMARY = (Fault.DENIED, Fault.DELETED)


@dataclass(slots=True, eq=False)
class Leg:
    """One region's part in a route. Times are on the cache's clock."""

    region: str
    wanted_at: float
    cap: float
    """Seconds, from when a thread takes the attempt up, until it has failed whatever it does."""
    patience: float
    """Seconds until the next region is asked as well; less than the cap where the caller's own deadline is near."""
    ticket: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    failure: Failure | None = None

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
        # Frozen and thawed, the process would blame the region for its own absence.
        fault = Fault.LOCAL if self.overslept(now) else Fault.REGION
        self.end(now, Failure(fault, "AttemptTimeout", f"no whole answer within {self.cap:.1f} s"))
        return True

    def overslept(self, now: float) -> bool:
        """Whether nobody looked at it for so long after its cap that the process must have stood still."""
        return now > self.cap_at + _OVERSLEPT

    @property
    def cap_at(self) -> float:
        """When it fails whatever it does; never, as long as no thread has taken it up."""
        return float("inf") if self.started_at is None else self.started_at + self.cap

    @property
    def look_at(self) -> float:
        """When the cap may be reached, as far as one can tell: an early look costs nothing."""
        return (self.wanted_at if self.started_at is None else self.started_at) + self.cap

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
    def refused(self) -> bool:
        """Whether some region has said no, though not all have."""
        return any(leg.failure is not None and leg.failure.fault in _OF_THE_SECRET for leg in self.legs)

    @property
    def frozen(self) -> bool:
        """Whether the process stood still meanwhile: then nothing is known of the regions."""
        return any(leg.overslept(leg.ended_at) for leg in self.legs if leg.ended_at is not None)

    @property
    def decisive(self) -> Failure | None:
        """The failure that the verdict is named after."""
        return next((leg.failure for leg in self.legs if leg.failure and leg.failure.fault is self.fault), None)


@dataclass(slots=True, eq=False)
class Route:
    """The order of regions, the flight's time, and what has happened so far."""

    regions: Sequence[str]
    begun_at: float
    deadline: float
    """When the flight is over whatever the regions do."""
    caller_deadline: float
    """That of the caller who began the flight: the regions share this time, but are not judged by it."""
    primary: str = ""
    legs: list[Leg] = field(default_factory=list)

    def due(self, now: float) -> Leg | None:
        """The leg to start now, if any. To be called until there is none."""
        waiting = any(leg.running and now < min(leg.patience_at, leg.cap_at) for leg in self.legs)
        if waiting or self._over(now) or not self._regions_left():
            return None
        left = self._regions_left()
        cap = min(ATTEMPT_CAP, (self.deadline - now) / left)
        hurry = (self.caller_deadline - now) / left
        leg = Leg(self.regions[len(self.legs)], now, cap, min(cap, hurry) if hurry > 0 else cap)
        self.legs.append(leg)
        return leg

    def wake_at(self, now: float) -> float:
        """When time by itself changes something next: always later than now, before the deadline."""
        running = [leg for leg in self.legs if leg.running]
        moments = [leg.look_at for leg in running]
        if self._regions_left():
            moments += [leg.patience_at for leg in running]
        return min([self.deadline, *(moment for moment in moments if moment > now)])

    def verdict(self, now: float) -> Verdict | None:
        """What the failures add up to; None while a region may still answer."""
        hopeful = self._regions_left() or any(leg.running for leg in self.legs)
        return None if hopeful and not self._over(now) else Verdict(self._sum(), tuple(self.legs))

    def worth_joining(self, now: float) -> bool:
        """Whether a reader who comes now has a fair chance in this flight.

        One whose time is nearly spent would hand its newcomers a failure that is none of theirs.
        """
        return self.deadline - now >= min(ATTEMPT_CAP, self.deadline - self.begun_at) / 2

    def _regions_left(self) -> int:
        return len(self.regions) - len(self.legs)

    def _over(self, now: float) -> bool:
        return now >= self.deadline or any(leg.failure and leg.failure.fault is Fault.CALLER for leg in self.legs)

    def _sum(self) -> Fault:
        told = {leg.region: leg.failure.fault if leg.failure else Fault.REGION for leg in self.legs}
        faults = set(told.values())
        if Fault.CALLER in faults:
            return Fault.CALLER
        if told.get(self.primary) in _FINAL_BY_THE_PRIMARY:
            return told[self.primary]
        if len(told) == len(self.regions) and faults.issubset(_OF_THE_SECRET):
            return next(fault for fault in _OF_THE_SECRET if fault in faults)
        return Fault.IDENTITY if faults == {Fault.IDENTITY} else Fault.REGION
