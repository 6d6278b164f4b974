"""What a region's word that it is asked too often does: first a pause, then a pace. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache._regions.policy import RegionPolicy
    from secretcache._transport import Failure

__all__ = ["Throttle"]

_NEVER = float("-inf")


class Throttle:
    """One region's gate against throttling.

    It closes for a second or so, or for as long as the server says. When it opens, requests go out one by one at a
    pace that rises with every answer and is halved each time the region throttles again: if all that waited went at
    once, all but a few would be throttled again.
    """

    def __init__(self, policy: RegionPolicy, random: Callable[[], float]) -> None:
        self.until = _NEVER
        """Before that no request is sent."""
        self.closed_at = _NEVER
        """When it closed last; never, if it is wide open."""
        self.cause: BaseException | None = None
        """What closed it last."""
        self._policy = policy
        self._random = random
        self._closings = 0
        """How often in a row it closed without an answer in between."""
        self._rate = 0.0
        """Requests a second that it lets through; 0: any number."""
        self._steep = True
        """Whether the pace still rises in proportion: until the region throttles it for the first time."""

    @property
    def paced(self) -> bool:
        """Whether requests go out one by one."""
        return self._rate > 0

    @property
    def gap(self) -> float:
        """Seconds between two requests; 0 where there is no pace."""
        return 1.0 / self._rate if self.paced else 0.0

    def turns_back(self, wanted_at: float) -> bool:
        """Whether a request that was decided on at that time, and is not sent yet, has to wait after all."""
        return wanted_at < self.closed_at

    def close(self, now: float, failure: Failure, sent_at: float, hint: float) -> None:
        """The region has throttled a request. `hint`: the seconds that it asks for, 0 if it names none."""
        self.cause = failure.cause
        policy = self._policy
        seconds = min(hint * (1.0 + policy.hint_jitter * self._random()), policy.hint_longest) if hint else 0.0
        if sent_at >= self.closed_at:  # else the gate has closed since: of a burst, all but one say nothing new
            seconds = max(seconds, self._pause())
            self.closed_at = now
        self.until = max(self.until, now + seconds)

    def _pause(self) -> float:
        policy = self._policy
        if self.paced and not self._closings:  # there were answers since it opened: the pace was only too high
            self._rate = max(policy.pace_lowest, self._rate / 2.0)
            self._steep = False
            self._closings = 1
            return 1.0 / self._rate
        seconds = min(policy.throttle_longest, policy.throttle_first * 2.0 ** min(self._closings, 10))
        self._closings += 1
        self._rate = min(self._rate, policy.pace_first) or policy.pace_first
        return seconds * (0.5 + 0.5 * self._random())

    def take(self, now: float) -> None:
        """A request is decided on: the next one comes at its pace."""
        if self.paced:
            self.until = max(self.until, now) + 1.0 / self._rate

    def answered(self, now: float, sent_at: float) -> None:
        """The region has brought a value, asked for at that time."""
        if not self.paced or sent_at < self.closed_at:
            return
        policy = self._policy
        self._closings = 0
        self._rate += self._rate / 4.0 if self._steep else policy.pace_step
        self.until = min(self.until, now + 1.0 / self._rate)
        if self._rate > policy.pace_highest or now >= self.closed_at + policy.pace_longest:
            self._rate, self._steep = 0.0, True
            self.until = self.closed_at = _NEVER
            self.cause = None
