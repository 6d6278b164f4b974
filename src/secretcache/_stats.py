"""What a cache tells of itself: frozen records, with units in their names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CacheStats", "RegionStats", "usd"]

USD_PER_CALL = 0.05 / 10_000
"""What AWS charges for Secrets Manager's API calls, in every region (aws.amazon.com/secrets-manager/pricing, 2026)."""


def usd(calls: int) -> float:
    """The price of so many API calls, in US dollars."""
    return calls * USD_PER_CALL


@dataclass(frozen=True, slots=True)
class RegionStats:
    """One region's calls since the cache was made."""

    calls: int
    """Requests sent."""
    answers: int
    """Requests that brought a value."""
    failures: int
    """Requests that brought none, whatever the reason."""
    stuck_attempts: int
    """Requests left behind at their cap that have not ended yet: each holds one of the region's four threads."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """A cache at one moment. All counts are since it was made, or since its process was forked."""

    entries: int
    """Versions held."""
    waits: int
    """Reads that were no hit: they waited for a request, made by them or by another read."""
    evictions: int
    """Entries that had to go because `max_entries` was reached."""
    regions: Mapping[str, RegionStats]
    """By region, in the order they are listed."""
    reads: Mapping[str, int] = field(default_factory=dict)
    """All reads by outcome: `hit` (a lookup in memory), `fresh` (a value younger than `ttl`, or just asked for),
    `stale` (an older one stood in), or the class of the failure, as in `RegionHealth.outcomes`. Hits that an outage
    makes of stale values are hits here; the event `stale` tells of each such episode."""
    age_seconds: Mapping[str, float] = field(default_factory=dict)
    """By secret, of its current version held: how old the value was when it was last read."""

    @property
    def calls(self) -> int:
        """API calls made, to all regions."""
        return sum(region.calls for region in self.regions.values())

    @property
    def calls_usd(self) -> float:
        """Their price in US dollars, at 0.05 per 10 000."""
        return usd(self.calls)

    @property
    def calls_saved(self) -> int:
        """API calls that were not made, compared with one call a read."""
        return max(0, sum(self.reads.values()) - self.calls)

    @property
    def saved_usd(self) -> float:
        """What those would have cost in US dollars, at 0.05 per 10 000."""
        return usd(self.calls_saved)
