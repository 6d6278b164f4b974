"""How long a value is served, when it is asked for again, and how long a refusal is remembered. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache._regions.route import Verdict
    from secretcache._store import Entry

__all__ = ["Freshness", "Negative", "Retry"]

_AHEAD = (0.7, 0.9)
"""The part of `ttl` at which a refresh begins, at random in between: a fleet does not refresh in step."""
_NEGATIVE = (10.0, 60.0)
_MISSING = (1.0, 10.0)
"""A secret that no region has may be created at any moment: whoever asks again and again sees it 10 s later at most."""
_RECHECKS = (1.0, 2.0, 4.0)
"""Seconds after which a lagging region's older version has the primary asked."""
_REFUSED_STANDS_IN = 3600.0
"""Seconds that a value stands in after some, but not all, regions have said missing, deleted or denied."""
_FLOOR = 1.0
"""Seconds at least between two requests of the background for one value, whatever `ttl` is."""
_MOST_FAILURES = 100  # far beyond, a power of the growth is no float any more
_IDLE_AFTER = 3600.0
"""Seconds unread after which a secret is no longer refreshed in the background: 0.05 USD per 10 000 calls."""
_IDLE_TTLS = 100
"""With a short `ttl` an hour would be thousands of calls that nobody reads; with none there is nothing to refresh."""


class Retry(NamedTuple):
    """When a value is asked for again after no region could answer."""

    first: float = 5.0
    longest: float = 60.0
    growth: float = 2.0
    spread: float = 0.5
    """The part of each wait that is left to chance."""

    def seconds(self, failures: int, chance: float) -> float:
        """The wait after so many failures in a row."""
        waits = min(self.longest, self.first * self.growth ** min(failures - 1, _MOST_FAILURES))
        return waits * (1 - self.spread + self.spread * chance)


class Negative(NamedTuple):
    """A refusal by every region, remembered so that an error path does not become a call path."""

    until: float
    seconds: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Freshness:
    """The policy of one cache."""

    ttl: float
    max_stale: float
    background: bool
    """Whether a thread refreshes ahead of `ttl`, so that readers need not."""
    takeover: float
    """Seconds that the background may be late with a retry before a reader does it instead."""
    random: Callable[[], float]
    retry: Retry = field(default_factory=Retry)

    def renew(self, entry: Entry) -> None:
        """Sets an entry's times after an answer. Ages count from when its request was sent."""
        asked, low, high = entry.secret.requested_at, *_AHEAD
        part = 1.0 if entry.which[1] else low + (high - low) * self.random()
        entry.refresh_at = asked + max((self.stale_at(entry) - asked) * part, _FLOOR if self.background else 0.0)
        entry.dead_at = asked + self.ttl + self.max_stale
        entry.serve_until = self.stale_at(entry) if self.background else entry.refresh_at
        entry.failures = 0

    def stale_at(self, entry: Entry) -> float:
        """When `ttl` is over. A version read by its id never changes: only the right to read it is asked again."""
        return entry.secret.requested_at + (max(self.ttl, self.max_stale) if entry.which[1] else self.ttl)

    def postpone(self, entry: Entry, now: float, *, refused: bool, throttled: bool = False) -> None:
        """Sets an entry's times after no region could answer: the old value stands in, and when to ask again.

        Throttled: a region works, and its gate bounds the requests. So the wait does not grow, and the value is fresh
        soon after the storm.
        """
        entry.failures += 1
        entry.refresh_at = now + self.retry.seconds(1 if throttled else entry.failures, self.random())
        if refused:
            entry.dead_at = min(entry.dead_at, now + _REFUSED_STANDS_IN)
        until = max(self.stale_at(entry), entry.refresh_at + self.takeover) if self.background else entry.refresh_at
        entry.serve_until = min(until, entry.dead_at)

    def recheck(self, entry: Entry, now: float, times: int) -> None:
        """Sets an entry's times after an answer that did not show its version: asked again after 1, 2, 4 s."""
        if times > len(_RECHECKS):
            self.postpone(entry, now, refused=False)
            return
        entry.refresh_at = now + _RECHECKS[times - 1]
        entry.failures = max(1, entry.failures)
        until = max(self.stale_at(entry), entry.refresh_at + self.takeover) if self.background else entry.refresh_at
        entry.serve_until = min(until, entry.dead_at)

    def recheck_now(self, entry: Entry, now: float) -> None:
        """Sets an entry's times where it is known to be behind, perhaps: it is asked for again at once."""
        entry.refresh_at = now
        entry.serve_until = entry.serve_until if self.background else now

    def lend(self, entry: Entry, until: float) -> None:
        """Lets everybody else have the value at the speed of a hit while one reader or thread asks for a new one."""
        entry.serve_until = max(entry.serve_until, min(until, entry.dead_at))

    def must_wait(self, entry: Entry, now: float) -> bool:
        """Whether a reader waits for a load under way: past `ttl`, unless the regions are known to be in trouble."""
        return now >= self.stale_at(entry) and not entry.failures

    def is_due(self, entry: Entry, now: float, *, pinned: bool = False) -> bool:
        """Whether the background should ask for it now. Pinned, it is never idle: somebody waits for its rotation."""
        idle = not pinned and now >= entry.last_read + min(_IDLE_AFTER, _IDLE_TTLS * self.ttl)
        return entry.refresh_at <= now and not idle

    @staticmethod
    def negative(before: Negative | None, verdict: Verdict, now: float, *, awaited: bool = False) -> Negative:
        """How long a refusal is remembered: 10 s, doubling with each that follows, to 60 s.

        Awaited: no region has the secret, so that it may yet be created: 1 s, doubling to 10 s.
        """
        low, high = _MISSING if awaited else _NEGATIVE
        seconds = max(low, min(before.seconds * 2, high)) if before else low
        return Negative(now + seconds, seconds, verdict)
