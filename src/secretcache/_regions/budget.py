"""The budget that bounds what failures can multiply: retries, further hedges, failovers from throttling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secretcache._regions.policy import RegionPolicy

__all__ = ["Budget"]


@dataclass(slots=True, eq=False, repr=False)
class Budget:
    """Tokens: one for each extra request, a tenth back for each success and each second, none below five."""

    policy: RegionPolicy
    tokens: float
    _refilled_at: float

    @classmethod
    def full(cls, policy: RegionPolicy, now: float) -> Budget:
        """A budget nobody has drawn on."""
        return cls(policy, policy.tokens, now)

    def take(self, now: float) -> bool:
        """Takes a token for one extra request; whether there was one to be had."""
        self._refill(now)
        if self.tokens < self.policy.token_floor:
            return False
        self.tokens -= 1.0
        return True

    def succeeded(self, now: float) -> None:
        """Gives a little back for an answer. By successes alone a full refill would take 12 minutes at our rate."""
        self._refill(now)
        self.tokens = min(self.policy.tokens, self.tokens + self.policy.token_per_success)

    def _refill(self, now: float) -> None:
        earned = max(0.0, now - self._refilled_at) * self.policy.token_per_second
        self.tokens = min(self.policy.tokens, self.tokens + earned)
        self._refilled_at = max(self._refilled_at, now)
