"""What is left of what was dropped: the request up to which answers do not bring it back."""

from __future__ import annotations

from typing import TypeAlias

import cachetools

__all__ = ["Tombstones"]

_Which: TypeAlias = "tuple[str | None, str | None]"
_EVERY: _Which = (None, None)
_MOST = 256
"""Secrets' versions that are known singly: the oldest beyond that count for every secret."""


class Tombstones:
    """Up to which request answers do not count any more, of a secret and its stage or version id.

    A secret goes by its name, without account and suffix: under another id it may be known without anybody knowing
    that it is the same. One answer too many that is not held costs a call; one too few goes back behind a refusal.
    """

    def __init__(self) -> None:
        self._tickets: cachetools.LRUCache[tuple[str, _Which], int] = cachetools.LRUCache(_MOST)
        self._of_all = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def ticket(self, name: str, which: _Which) -> int:
        """The last request whose answer does not count."""
        return max(self._of_all, *(self._tickets.get((name, one), 0) for one in (which, _EVERY)))

    def set(self, name: str, ticket: int, which: _Which = _EVERY) -> None:
        """Lets answers to requests up to that ticket count no more; without `which`, of every version."""
        if (name, which) not in self._tickets and len(self._tickets) >= self._tickets.maxsize:
            self._of_all = max(self._of_all, self._tickets.popitem()[1])
        self._tickets[name, which] = max(ticket, self._tickets.get((name, which), 0))

    def adopt(self, others: Tombstones) -> None:
        """Takes over what another process knew when this one was forked off it."""
        self._of_all = others._of_all
        for (name, which), ticket in others._tickets.items():
            self.set(name, ticket, which)
