"""What the logins of one cache have found out together while AWSCURRENT does not log in.

A version that logged in while AWSCURRENT was another is remembered for its account. Further logins begin with it: they
need no read, and the server refuses none of them. While no version is remembered, one login searches and the others
wait for the end of its search, so that a thousand logins cost the reads and refusals of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cachetools

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from secretcache._runtime import Runtime
    from secretcache._secret import Secret

__all__ = ["Bridged", "Found", "Seeker"]

UNUSED_SECONDS = 900.0
"""After so long without a successful login the version is forgotten: a quarter of an hour, as for a doubted replica."""
_ACCOUNTS = 1024
_LONGEST_SPACING = 10.0
"""Seconds between two background looks at AWSCURRENT: 1, 2, 4, 8 and then 10, so a window of hours stays cheap."""
_AFTER_VAIN = 1.0
"""Seconds after a search in vain before the next one begins: while nothing works, each search asks three stages."""


@dataclass(slots=True, repr=False)
class Found:
    """A version that logged in while AWSCURRENT was another."""

    secret: Secret
    stage: str
    instead_of: str
    """The version id that AWSCURRENT had then."""
    proven_at: float
    look_at: float
    """When AWSCURRENT is worth a look again."""
    looks: int = 0


@dataclass(eq=False, repr=False)
class _Search:
    """One login's search for a version that works, and the logins that wait for its end."""

    waiting: dict[Seeker, None] = field(default_factory=dict)
    over: bool = False


@dataclass(eq=False, repr=False)  # compared by identity: each is one login
class Seeker:
    """A login that needs a version: it searches itself, or waits for the search that is under way."""

    account: Hashable
    until: float
    wake: Callable[[], None]
    search: _Search | None = None
    leads: bool = False
    """Whether this login is the one that searches."""
    late: bool = False
    """Whether its time was over before the search was."""


class Bridged:
    """The versions that logged in instead of AWSCURRENT, by account, and the searches for one.

    An account is a target and a secret's name. One lock guards the versions; `leave` and `end` take none, because a
    task that is collected calls them from a finalizer.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._now = runtime.now
        self._random = runtime.random
        self._lock = runtime.lock()
        self._found: cachetools.LRUCache[Hashable, Found] = cachetools.LRUCache(_ACCOUNTS)
        self._searches: dict[Hashable, _Search] = {}
        self._not_before: cachetools.LRUCache[Hashable, float] = cachetools.LRUCache(_ACCOUNTS)
        """When the next search may begin, after one in vain."""
        self._closed = False

    def find(self, account: Hashable, current: str) -> Found | None:
        """The version to log in with, while AWSCURRENT is `current`."""
        if not self._found:  # nearly always: no lock for a login while all is well
            return None
        with self._lock:
            found = self._found.get(account)
            if found is None:
                return None
            if found.instead_of != current or self._now() >= found.proven_at + UNUSED_SECONDS:
                del self._found[account]
                return None
            return found

    def remember(self, account: Hashable, secret: Secret, stage: str, instead_of: str) -> None:
        """Notes that the target took this version while AWSCURRENT was another."""
        with self._lock:
            now, found = self._now(), self._found.get(account)
            if self._closed:
                return
            if found is not None and (found.secret.version_id, found.instead_of) == (secret.version_id, instead_of):
                found.proven_at = now
            else:
                self._found[account] = Found(secret, stage, instead_of, now, now + self._spacing(0))
            self._not_before.pop(account, None)

    def forget(self, account: Hashable, version_id: str) -> None:
        """Forgets a version that the target refused, or that cannot be used."""
        with self._lock:
            found = self._found.get(account)
            if found is not None and found.secret.version_id == version_id:
                del self._found[account]

    def is_look_due(self, account: Hashable) -> bool:
        """Whether the caller should have AWSCURRENT looked at now: true for one caller at a time, spaced."""
        with self._lock:
            found, now = self._found.get(account), self._now()
            if found is None or now < found.look_at:
                return False
            found.looks += 1
            found.look_at = now + self._spacing(found.looks)
            return True

    def clear(self, *, closed: bool = False) -> None:
        """Forgets every version. `closed`: a login that is still under way leaves nothing behind either."""
        with self._lock:
            self._closed = self._closed or closed
            self._found.clear()

    def _spacing(self, looks: int) -> float:
        # The jitter keeps the processes of a fleet apart: they all saw the window open at the same moment.
        return min(2.0**looks, _LONGEST_SPACING) * (1.0 + 0.5 * self._random())

    # Searching. What follows is a Room (see _waiting.py) in which a Seeker waits.

    def first(self, seeker: Seeker) -> float | None:
        """As `look`: nobody may be searching yet."""
        return self.look(seeker)

    def look(self, seeker: Seeker) -> float | None:
        """When the login should look again; None when it leads a search, the search has ended, or its time has."""
        with self._lock:
            if seeker.search is not None:
                return self._waits(seeker, seeker.search)
            search, not_before = self._searches.get(seeker.account), self._not_before.get(seeker.account, 0.0)
            if search is None and self._now() < min(not_before, seeker.until):
                return min(not_before, seeker.until)
            if search is None:
                seeker.leads, seeker.search = True, _Search()
                self._searches[seeker.account] = seeker.search
                return None
            seeker.search = search
            search.waiting[seeker] = None
            # After that line: `end` sets `over` before it wakes whom it finds in `waiting`, so no wake-up is missed.
            return self._waits(seeker, search)

    def _waits(self, seeker: Seeker, search: _Search) -> float | None:
        seeker.late = not search.over and self._now() >= seeker.until
        return None if search.over or seeker.late else seeker.until

    @staticmethod
    def leave(seeker: Seeker) -> None:
        """The login does not wait any longer."""
        if seeker.search is not None:
            seeker.search.waiting.pop(seeker, None)

    def in_vain(self, seeker: Seeker) -> None:
        """Notes that the search of this login has found nothing: the next one is not to follow at once."""
        with self._lock:
            self._not_before[seeker.account] = self._now() + _AFTER_VAIN

    def end(self, seeker: Seeker) -> None:
        """Ends the search that this login led, if it did, and wakes the logins that wait for it."""
        if not seeker.leads or seeker.search is None:
            return
        seeker.leads, search = False, seeker.search
        search.over = True
        if self._searches.get(seeker.account) is search:
            del self._searches[seeker.account]
        for one in tuple(search.waiting):
            one.wake()
