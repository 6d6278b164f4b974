"""Who may log in to a target now: databases lock accounts after a few wrong passwords, and then refuse the right one.

Of one target (host, port, user) and process:

- at most 3 logins are in flight, and no more with one version than leave two other versions their try: 2 of 4 refusals;
- a version that has not logged in there yet goes alone;
- after a refusal they go one at a time, until one that began after it succeeds;
- a refused version is tried again only after AWSCURRENT was seen to move to it, or after a password that worked since
  is refused in its turn: then the target's password has changed, and what it refused before says nothing of today;
- at most 4 are refused in 30 s. A success that began after a refusal wipes it out, as it does in the servers.

A turn is taken by its own waiter when it looks, never handed over: who is cancelled or collected takes none along.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

import cachetools

from secretcache._runtime import SystemRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from secretcache._runtime import Runtime

__all__ = ["MAX_REFUSALS", "Limits", "Logins", "Turn", "Verdict", "logins_of"]

IN_FLIGHT = 3
MAX_REFUSALS = 4
REFUSALS_SECONDS = 30.0
_OTHERS = 2
"""Versions beside the first that may have to be tried: one of three stages is right."""
_TARGETS = 4096
_VERSIONS = 16
"""How many versions a target's memory holds: three are in play at a time."""


class Verdict(Enum):
    """What became of a turn."""

    GO = auto()
    """The login may begin."""
    KNOWN = auto()
    """The target has refused this version already."""
    SPENT = auto()
    """The target has refused as many logins as it may."""
    LATE = auto()
    """The caller's time was over first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many refusals one caller risks."""

    max_refusals: int = MAX_REFUSALS
    retry_refused_after: float | None = None


@dataclass(eq=False)  # no slots, compared by identity: each is one login
class Turn:
    """One login that is wanted, waits, or is in flight."""

    key: Hashable
    version: str
    limits: Limits
    until: float
    wake: Callable[[], None]
    cache: object
    """Whose counts of AWSCURRENT's moves these are; two caches of a process count each their own."""
    seen: Callable[[], tuple[str | None, int]]
    """The version AWSCURRENT has now, and how often it has moved."""
    verdict: Verdict | None = None
    outdated: bool = False
    """Whether its refusal shows that the password has changed: what was refused before may work now."""
    began: int = 0
    moves: int = 0
    target: _Target = field(init=False, repr=False)


class _Refused:
    """A version that a target refused, when, and how often AWSCURRENT had moved when that login began."""

    def __init__(self, at: float, cache: object, moves: int) -> None:
        self.at = at
        self._moves: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary({cache: moves})

    def moves(self, cache: object, now: int) -> int:
        """The count to compare with; of a cache that was not asked yet, the count at its first question."""
        return self._moves.setdefault(cache, now)


class _Target:
    """What one account is known to accept and to refuse. No value of a secret is held here."""

    def __init__(self) -> None:
        # Insertion-ordered sets, changed without a lock by who leaves: see Logins.leave.
        self.waiting: dict[Turn, None] = {}
        self.flying: dict[Turn, None] = {}
        self.proven: set[str] = set()
        """What logged in since the password last changed, as far as was seen."""
        self.refused: dict[str, _Refused] = {}
        self.refusals: list[tuple[float, int]] = []
        """When, and the number of the last login begun by then; those since the last success."""
        self.careful = False

    def judge(self, turn: Turn, held: str | None, moves: int, now: float) -> Verdict | None:
        """What a turn may do now; None: wait."""
        if now >= turn.until:
            return Verdict.LATE
        recent = self.recent(now)
        if recent >= turn.limits.max_refusals:
            return Verdict.SPENT
        if not self._may_try(turn, held, moves, now):
            return Verdict.KNOWN
        # Each login in flight may be refused too.
        room = min(self._width(turn), turn.limits.max_refusals - recent)
        return Verdict.GO if len(self.flying) < room else None

    def recent(self, now: float) -> int:
        """How many refusals count now."""
        return sum(now - at < REFUSALS_SECONDS for at, _ in self.refusals)

    def accepted(self, turn: Turn) -> None:
        # Who began before the last refusal was known may have been in before the password changed.
        self.refusals = [one for one in self.refusals if one[1] >= turn.began]
        if not self.refusals:
            self.careful = False
            self.proven.add(turn.version)
            self.refused.pop(turn.version, None)
            if len(self.proven) > _VERSIONS:
                self.proven = {turn.version}

    def rejected(self, turn: Turn, number: int, now: float) -> None:
        self.refusals = [one for one in self.refusals if now - one[0] < REFUSALS_SECONDS]
        self.refusals.append((now, number))
        self.careful = True
        turn.outdated = turn.version in self.proven
        if turn.outdated:
            self.proven.clear()
            self.refused.clear()
        before = self.refused.pop(turn.version, None)
        moves = max(turn.moves, before.moves(turn.cache, turn.moves)) if before else turn.moves
        self.refused[turn.version] = _Refused(now, turn.cache, moves)
        while len(self.refused) > _VERSIONS:
            del self.refused[next(iter(self.refused))]

    def _may_try(self, turn: Turn, held: str | None, moves: int, now: float) -> bool:
        refused = self.refused.get(turn.version)
        if refused is None:
            return True
        if held == turn.version and moves > refused.moves(turn.cache, moves):
            return True
        after = turn.limits.retry_refused_after
        return after is not None and now - refused.at >= after

    def _width(self, turn: Turn) -> int:
        if self.careful or turn.version not in self.proven:
            return 1
        # When the password changes, all of them are refused; AWSPENDING and AWSPREVIOUS must still be tried after that.
        return min(IN_FLIGHT, max(1, turn.limits.max_refusals - _OTHERS))


class Logins:
    """The targets of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._now = runtime.now
        self._lock = runtime.lock()
        self._targets: cachetools.LRUCache[Hashable, _Target] = cachetools.LRUCache(_TARGETS)
        self._number = 0

    def ask(self, turn: Turn) -> Turn:
        """Gets in line."""
        with self._lock:
            turn.target = self._targets.setdefault(turn.key, _Target())
            turn.target.waiting[turn] = None
        return turn

    def first(self, turn: Turn) -> float | None:
        """As `look`: its turn may have come already."""
        return self.look(turn)

    def look(self, turn: Turn) -> float | None:
        """When a waiter should look again; None when its turn has a verdict."""
        held, moves = turn.seen()
        with self._lock:
            turn.verdict = turn.target.judge(turn, held, moves, self._now())
            if turn.verdict is None:
                return turn.until
            if turn.verdict is Verdict.GO:
                self._number += 1
                turn.began, turn.moves = self._number, moves
                turn.target.flying[turn] = None
            return None

    def leave(self, turn: Turn) -> None:
        """A waiter waits no longer."""
        # Without the lock, as in end(): a task that is collected leaves too, wherever the collector happens to run.
        turn.target.waiting.pop(turn, None)
        _wake(turn.target)

    def end(self, turn: Turn) -> None:
        """Gives a turn back, whatever came of it."""
        turn.target.flying.pop(turn, None)
        self.leave(turn)

    def accepted(self, turn: Turn) -> None:
        """Records that the target took the version."""
        with self._lock:
            turn.target.accepted(turn)

    def refused(self, turn: Turn) -> bool:
        """Records a refusal, tells those who wait with that version; returns whether it was the last one allowed."""
        with self._lock:
            now = self._now()
            turn.target.rejected(turn, self._number, now)
            spent = turn.target.recent(now) >= turn.limits.max_refusals
            told = [one for one in tuple(turn.target.waiting) if one.version == turn.version]
        for one in told:
            one.wake()
        return spent


def _wake(target: _Target) -> None:
    # No more can go at once. A waiter gets in line before it looks, and who leaves makes room before it wakes: no
    # wake-up falls between.
    for turn in tuple(target.waiting)[:IN_FLIGHT]:
        turn.wake()


_of_process: dict[int, Logins] = {}
_of_runtime: weakref.WeakKeyDictionary[Runtime, Logins] = weakref.WeakKeyDictionary()


def logins_of(runtime: Runtime) -> Logins:
    """The logins of this process: one for all its caches, and a new one in a child. A test's runtime has its own."""
    if type(runtime) is SystemRuntime:
        return _of_process.get(os.getpid()) or _of_process.setdefault(os.getpid(), Logins(runtime))
    return _of_runtime.setdefault(runtime, Logins(runtime))
