"""A region's circuit breaker: state alone. It is told the time and what happened, and says what may be sent.

The policy is `RegionPolicy`; the execution, which region a read goes to, is the board's and the route's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache._regions.policy import RegionPolicy

__all__ = ["Breaker", "Permit", "State"]

_NEVER = float("-inf")
_BUCKETS = 12
_PERMIT_SLACK = 2.0
"""A permit whose attempt never ends is worth nothing so many seconds after the attempt's last cap."""


class State(enum.Enum):
    """What a breaker lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True, eq=False, repr=False)
class Permit:
    """The right to send one request to a region whose breaker is open."""

    due: float
    """When its request has ended, if it was sent at once: it reaches its cap."""
    until: float
    """When it is given up for lost."""
    last_chance: bool
    """Given to a reader who has no other region left, not to the background's probe."""


@dataclass(slots=True, eq=False, repr=False)
class _Window:
    """Calls and failures of the last minute, in buckets: bounded, however many calls there are."""

    seconds: float
    _buckets: dict[int, list[int]] = field(default_factory=dict)

    def add(self, now: float, *, failed: bool) -> None:
        number = int(now / (self.seconds / _BUCKETS))
        bucket = self._buckets.get(number) or self._begin(number)
        bucket[0] += 1
        bucket[1] += failed

    def _begin(self, number: int) -> list[int]:
        for old in [one for one in self._buckets if one <= number - _BUCKETS]:
            del self._buckets[old]
        return self._buckets.setdefault(number, [0, 0])

    def counts(self) -> tuple[int, int]:
        return sum(calls for calls, _ in self._buckets.values()), sum(failed for _, failed in self._buckets.values())

    def clear(self) -> None:
        self._buckets.clear()


class Breaker:
    """One region's."""

    def __init__(self, policy: RegionPolicy, random: Callable[[], float], now: float) -> None:
        self.state = State.CLOSED
        self.since = now
        self.probe_at = _NEVER
        """While it is not closed: when the next probe is due."""
        self.preferred_at = _NEVER
        """Closed again, from when the region is put back in its place."""
        self.failures = 0
        """Class-A failures in a row."""
        self._policy = policy
        self._random = random
        self._window = _Window(policy.ratio_window)
        self._openings = 0
        self._successes = 0
        self._permit: Permit | None = None

    @property
    def closed(self) -> bool:
        """Whether requests go through."""
        return self.state is State.CLOSED

    def dwells(self, now: float) -> bool:
        """Whether it has closed a short while ago: its region is asked after those that never failed."""
        return self.closed and now < self.preferred_at

    def permit(self, now: float, *, last_chance: bool) -> Permit | None:
        """The right to send one request through an open breaker: one at a time, a probe only when it is due."""
        if self.closed or self.permit_outstanding(now) or (not last_chance and now < self.probe_at):
            return None
        if not last_chance:
            self._turn(State.HALF_OPEN, now)
        life = self._policy.making_cap + self._policy.attempt_cap + _PERMIT_SLACK
        self._permit = Permit(now + self._policy.attempt_cap, now + life, last_chance)
        return self._permit

    def permit_outstanding(self, now: float) -> bool:
        """Whether a request is on its way through the open breaker."""
        return now < self.permit_until()

    def permit_until(self) -> float:
        """Until when a request on its way through the open breaker may take."""
        return _NEVER if self._permit is None else self._permit.until

    def permit_due(self, now: float) -> float:
        """When a request on its way through the open breaker is likely to have ended."""
        due = _NEVER if self._permit is None else self._permit.due
        return due if now < due else self.permit_until()

    def give_back(self, now: float, permit: Permit | None) -> None:
        """Takes a permit back that brought neither success nor failure: after a pause another probe may be sent."""
        # At once it would be a storm: whatever kept this probe from being sent may keep the next from it too.
        if self._take_back(permit) and not self.closed:
            self.probe_at = max(self.probe_at, now + self._policy.probe_pause)

    def succeeded(self, now: float, permit: Permit | None, *, alone: bool) -> None:
        """Counts an answer of the service, whatever it says. `alone`: no other region's breaker is closed."""
        held = self._take_back(permit)
        if self.closed:
            self.failures = 0
            self._window.add(now, failed=False)
        elif held:
            self._successes += 1
            if alone or self._successes >= self._policy.good_probes:
                self._close(now, alone=alone)
            else:
                self.probe_at = now + self._policy.probe_pause

    def failed(self, now: float, permit: Permit | None) -> None:
        """Counts a class-A failure."""
        held = self._take_back(permit)
        if self.closed:
            self.failures += 1
            self._window.add(now, failed=True)
            if self._trips(now):
                self._open(now)
        elif held:
            self.failures += 1
            if permit is not None and not permit.last_chance:
                self._open(now)

    def _take_back(self, permit: Permit | None) -> bool:
        """Whether it was the one that is out."""
        held = permit is not None and permit is self._permit
        if held:
            self._permit = None
        return held

    def _trips(self, now: float) -> bool:
        calls, failures = self._window.counts()
        policy = self._policy
        by_ratio = calls >= policy.ratio_calls and failures >= calls * policy.ratio
        return self.dwells(now) or self.failures >= policy.failures_in_a_row or by_ratio

    def _open(self, now: float) -> None:
        # Closed for longer than the dwell, it has recovered: what came before says nothing of this outage.
        if self.closed and now >= self.preferred_at:
            self._openings = 0
        policy = self._policy
        seconds = min(policy.open_longest, policy.open_first * 2.0 ** min(self._openings, 10))
        self.probe_at = now + seconds * (0.5 + 0.5 * self._random())
        self._openings += 1
        self._successes = 0
        self._window.clear()
        self._turn(State.OPEN, now)

    def _close(self, now: float, *, alone: bool) -> None:
        self.failures = self._successes = 0
        self._window.clear()
        # There is nothing to fail back from where no other region answers.
        self.preferred_at = now if alone else now + self._policy.dwell
        self._turn(State.CLOSED, now)

    def _turn(self, state: State, now: float) -> None:
        if state is not self.state:
            self.state, self.since = state, now
