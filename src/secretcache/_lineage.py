"""Which version of a secret superseded which, who showed it and when it was asked: may an answer replace what is held?

Rows I, J and K of the decision table. Versions have no order of their own: neither ids nor created dates tell. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
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


@dataclass(slots=True, eq=False)
class Lineage:
    """What is known of one secret's versions. Made when a second version is seen: most secrets never need one."""

    current: str
    accepted: int
    """The ticket of the request that first brought the current version."""
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

    def judge(self, region: str, version: str, ticket: int, now: float, primary: str | None) -> Judgement:
        """What an answer is, given the region that gave it and the request that brought it. Changes nothing."""
        before, asked = self.shown.get(region, ("", 0))
        if ticket < asked:
            return Judgement.LATE
        if version == self.current:
            return Judgement.SAME
        if ticket <= self.accepted:
            return Judgement.LATE
        # Row J, and every ordinary rotation: the region that had shown the current version shows another now.
        if region == primary or before == self.current:
            return Judgement.MOVED
        if version in self.superseded:
            return Judgement.LAGS
        return Judgement.DIVERGED if now > self.confirmed_at + _DOUBTED_FOR else Judgement.DOUBTED

    def note(self, region: str, version: str, ticket: int, requested_at: float) -> None:
        """Remembers what a region has shown."""
        self.shown[region] = (version, ticket)
        if version == self.current:
            self.confirmed_at, self.lags, self.doubted = max(self.confirmed_at, requested_at), 0, None

    def move(self, version: str, ticket: int, requested_at: float) -> None:
        """Makes another version the current one."""
        kept = tuple(one for one in self.superseded if one not in (version, self.current))
        self.superseded = (*kept, self.current)[-_LONGEST:]
        self.current, self.accepted, self.confirmed_at = version, ticket, requested_at
        self.moves += 1
        self.lags, self.doubted = 0, None

    @property
    def previous(self) -> str | None:
        """The version that the current one superseded, if that was seen."""
        return self.superseded[-1] if self.superseded else None

    def places(self, previous: Secret) -> bool:
        """Whether a region's AWSPREVIOUS shows that the doubted version, from that region, is the newer one."""
        return (
            self.doubted is not None
            and self.doubted[0].region == previous.region
            and previous.version_id == self.current
        )
