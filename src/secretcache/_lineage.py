"""Which version of a secret superseded which, who showed it and when it was asked: may an answer replace what is held?

Rows I, J and K of the decision table. Versions have no order of their own: neither ids nor created dates tell. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secretcache._secret import Secret

__all__ = ["Judgement", "Lineage"]

_LONGEST = 16
_DOUBTED_FOR = 900.0
"""Seconds since the held version was last confirmed, after which one that nobody can place is accepted."""


class Judgement(enum.Enum):
    """What an answer's version is, beside the one that is current."""

    SAME = "the same version"
    MOVED = "AWSCURRENT has moved to it, forward or back"
    DIVERGED = "nobody could place it for so long that it is taken, with a warning"
    LATE = "an older view of the same region than the one known"
    LAGS = "row I: superseded, from a region that has not shown the newer one"
    DOUBTED = "row K: never seen, from another region than the held version's"


@dataclass(slots=True, eq=False, repr=False)
class Lineage:
    """What is known of one secret's versions. Made when a second version is seen: most secrets never need one."""

    current: str
    accepted: int
    """The number of the last request sent when the current version was accepted: those up to it may be older views."""
    brought: int
    """The number of the request that brought it."""
    confirmed_at: float
    """When the request was sent that last showed it."""
    shown: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By region: the version it showed last, and the ticket of that request."""
    superseded: tuple[str, ...] = ()
    moves: int = 0
    lags: int = 0
    """Answers in a row that did not show the current version."""
    doubted: tuple[Secret, int] | None = None
    """The answer of row K, until somebody can place it."""
    vouched: tuple[str, int] | None = None
    """A region whose AWSPREVIOUS was the current version, and the last request sent by then."""
    beside: dict[str, int] = field(default_factory=dict)
    """By region: the number of the last request sent when it showed its version last. Those up to it were under way
    beside that one, and the service may have seen to them in any order."""
    caught_up: set[str] = field(default_factory=set)
    """Regions that have shown the current version since it was: whatever else they show from then on came after it."""
    behind: dict[str, float] = field(default_factory=dict)
    """By region: since when it has not shown the current version, though it was asked."""

    def judge(self, region: str, version: str, ticket: int, now: float, primary: str | None) -> Judgement:
        """What an answer is, given the region that gave it and the request that brought it. Changes nothing."""
        _, asked = self.shown.get(region, ("", 0))
        if ticket < asked:
            return Judgement.LATE
        if version == self.current:
            return Judgement.SAME
        if ticket <= self.accepted:  # never seen, it may be newer all the same: somebody is asked again
            return Judgement.LATE if version in self.superseded or ticket <= self.brought else Judgement.DOUBTED
        # Row J, and every ordinary rotation: a region that has shown the current version shows another now.
        moved_on = region in self.caught_up
        # Of two requests under way beside each other nobody knows which was seen to first.
        in_doubt = moved_on and version in self.superseded and ticket <= self.beside.get(region, 0)
        if (region == primary or moved_on or self._is_vouched(region, ticket)) and not in_doubt:
            return Judgement.MOVED
        if version in self.superseded:
            return Judgement.LAGS
        return Judgement.DIVERGED if now > self.confirmed_at + _DOUBTED_FOR else Judgement.DOUBTED

    def _is_vouched(self, region: str, ticket: int) -> bool:
        return self.vouched is not None and region == self.vouched[0] and ticket > self.vouched[1]

    def note(self, region: str, version: str, ticket: int, requested_at: float, sent: int = 0) -> None:
        """Remembers what a region has shown, and the last request sent by then."""
        before, _ = self.shown.get(region, (version, 0))
        if version == self.current and ticket > self.beside.get(region, ticket):
            self._came_before(before)
        self.shown[region] = (version, ticket)
        self.beside[region] = sent
        if version == self.current:
            self.confirmed_at, self.lags, self.doubted = max(self.confirmed_at, requested_at), 0, None
            self.behind.pop(region, None)
            self.caught_up.add(region)
        else:
            self.behind.setdefault(region, requested_at)

    def _came_before(self, version: str) -> None:
        """A region has gone on from it to the current one: that was superseded, though it never was current here."""
        if version != self.current and version not in self.superseded:
            self.superseded = (version, *self.superseded)[-_LONGEST:]

    def move(self, version: str, ticket: int, sent: int, requested_at: float, *, sure: bool = True) -> None:
        """Makes another version the current one. Not sure: the one before may yet turn out to be the newer."""
        kept = tuple(one for one in self.superseded if one not in (version, self.current))
        self.superseded = (*kept, *((self.current,) if sure else ()))[-_LONGEST:]
        self.current, self.confirmed_at = version, requested_at
        self.brought, self.accepted = ticket, max(ticket, sent)
        self.moves += 1
        self.lags, self.doubted, self.vouched = 0, None, None
        self.behind.clear()
        # Who has shown it already may have done so when it was current before: what it shows next is older, perhaps.
        self.caught_up.clear()

    def is_long_behind(self, region: str, now: float) -> bool:
        """Whether a region has not shown the current version for longer than replication takes; told once."""
        long = now > self.behind.get(region, now) + _DOUBTED_FOR
        if long:
            self.behind[region] = now
        return long

    def copy(self) -> Lineage:
        """One of its own, for a forked child."""
        return replace(
            self,
            shown=dict(self.shown),
            beside=dict(self.beside),
            caught_up=set(self.caught_up),
            behind=dict(self.behind),
        )

    def vouches(self, previous: Secret, sent: int) -> bool:
        """Whether a region's AWSPREVIOUS shows that what it shows from now on is newer than the current version.

        Only from now on: the region may have moved on since it showed the version in doubt, and that one be the older.
        """
        placed = self.doubted is not None and previous.version_id == self.current
        if placed and self.doubted is not None and self.doubted[0].region == previous.region:
            self.vouched = (previous.region, sent)
            return True
        return False
