"""Which version of a secret superseded which, who showed it and when it was asked: may an answer replace what is held?

Rows I, J and K of the decision table. Versions have no order of their own: neither ids nor created dates tell. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretcache._secret import Secret

__all__ = ["Judgement", "Lineage"]

_LONGEST = 16
_DOUBTED_FOR = 900.0
"""Seconds since the held version was last confirmed, after which one that nobody can place is accepted."""
_NOBODY: Mapping[str, float] = MappingProxyType({})


class Judgement(enum.Enum):
    """What an answer's version is, beside the one that is current."""

    SAME = "the same version"
    MOVED = "AWSCURRENT has moved to it, forward or back"
    DIVERGED = "rows I and K: no region that answers has shown another for so long that it is taken, with a warning"
    LATE = "an older view of the same region than the one known"
    LAGS = "row I: superseded, from a region that has not shown the newer one"
    DOUBTED = "row K: never seen, from another region than the held version's"
    OVERLAPS = (
        "from a region that is believed, but its request was under way beside another: that region is asked again"
    )


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

    def judge(  # noqa: PLR0913, PLR0917 - what an answer is judged by
        self,
        region: str,
        version: str,
        ticket: int,
        now: float,
        primary: str | None,
        silent: Mapping[str, float] = _NOBODY,
    ) -> Judgement:
        """What an answer is, given the region that gave it and the request that brought it. Changes nothing.

        `silent`: by region, since when no request to it has been answered.
        """
        _, asked = self.shown.get(region, ("", 0))
        if ticket < asked:
            return Judgement.LATE
        if version == self.current:
            return Judgement.SAME
        if ticket <= self.accepted and (version in self.superseded or ticket <= self.brought):
            return Judgement.LATE
        if self.believes(region, ticket, primary):
            return Judgement.OVERLAPS if self._overlaps(region, version, ticket) else Judgement.MOVED
        if ticket <= self.accepted:  # never seen, it may be newer all the same: somebody is asked again
            return Judgement.DOUBTED
        return self._last_resort(version, now, primary, silent)

    def _last_resort(self, version: str, now: float, primary: str | None, silent: Mapping[str, float]) -> Judgement:
        """Rows I and K: what a region shows whose word does not count, until nobody else is left.

        A superseded version needs more than time. A process that was idle has asked nobody: the regions that could
        show the held version must have left requests unanswered for as long.
        """
        long = now > self.confirmed_at + _DOUBTED_FOR
        if version not in self.superseded:
            return Judgement.DIVERGED if long else Judgement.DOUBTED
        those = {*self.caught_up, *([primary] if primary else [])}
        lost = all(now > silent.get(one, now) + _DOUBTED_FOR for one in those)
        return Judgement.DIVERGED if long and lost else Judgement.LAGS

    def _overlaps(self, region: str, version: str, ticket: int) -> bool:
        """Whether an answer's request was under way beside another, so that nobody knows which was seen to first."""
        beside = version in self.superseded and region in self.caught_up and ticket <= self.beside.get(region, 0)
        return beside or ticket <= self.accepted

    def believes(self, region: str, ticket: int, primary: str | None) -> bool:
        """Whether a region's word counts: the primary's, and that of one that has moved on from the current version.

        The second is row J, and every ordinary rotation: a region that has shown the current version shows another now.
        """
        return region == primary or region in self.caught_up or self._is_vouched(region, ticket)

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
