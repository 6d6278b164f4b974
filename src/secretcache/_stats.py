"""What a cache tells of itself: frozen records, with units in their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CacheStats", "RegionStats"]


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
    """A cache at one moment. Hits are not counted: counting them would cost a third of a hit (docs/design.md)."""

    entries: int
    """Versions held."""
    waits: int
    """Reads that were no hit: they waited for a request, made by them or by another read."""
    evictions: int
    """Entries that had to go because `max_entries` was reached."""
    regions: Mapping[str, RegionStats]
    """By region, in the order they are listed."""
