"""Which login may begin at a target now: some databases lock an account after a few wrong passwords.

A locked account refuses the right password too. So for each target (host, port, user) and process:

- after a refusal, logins go one at a time until a login that began after it succeeds;
- a refused version is tried again only after AWSCURRENT was seen to move to it, or, by a login that has searched in
  vain for a better one, after a version that has worked since is refused too: then the target's password has changed,
  and earlier refusals say little about today.

Where the server locks accounts (`max_refusals` is a number, 4 by default), besides:

- at most 3 logins are in flight, and with one version only so many that two other versions can still be tried after
  all of them were refused: 2 where 4 refusals are allowed;
- a version that has not logged in at the target yet goes alone;
- at most `max_refusals` logins are refused in 30 s. A success that began after a refusal wipes it out, as it does in
  the servers.

Where it locks none (`max_refusals=None`), logins wait for nothing until one is refused.

A waiter takes its turn itself when it looks. No turn is handed over, so a cancelled or collected waiter cannot take a
turn with it. Who has waited longer goes first: a thread that logs in again and again does not keep the others out. A
waiter that was woken and does not look, because its event loop is blocked, is passed by after a moment.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import takewhile
from typing import TYPE_CHECKING

import cachetools

from secretcache._runtime import SystemRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from secretcache._runtime import Runtime

__all__ = ["MAX_REFUSALS", "Limits", "Logins", "Turn", "Verdict", "logins_of"]

IN_FLIGHT = 3
MAX_REFUSALS = 4
REFUSALS_SECONDS = 30.0
_OTHERS = 2
"""Versions beside the first that may have to be tried: one of three stages is right."""
_TARGETS = 4096
_PATIENCE = 0.05
"""Seconds that a waiter which was woken has for taking its turn before later ones pass it by."""
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
    MOVED = auto()
    """The version was to stand in for AWSCURRENT, and AWSCURRENT has moved since."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many refusals one caller risks."""

    max_refusals: int | None = MAX_REFUSALS
    """None: the server locks no accounts."""
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
    instead_of: str | None = None
    """The version AWSCURRENT must still have for this login to begin; None: any."""
    searched: bool = False
    """Whether the login has read this version after a refusal, and has nothing better to try."""
    verdict: Verdict | None = None
    woken_at: float = float("inf")
    """When it was woken first since it looked last; infinity: it was not."""
    held_up: list[Turn] = field(default_factory=list, repr=False)
    """The earlier waiters to which the room was left that there was at its last look."""
    outdated: bool = False
    """Whether its refusal shows that the password has changed: what was refused before may work now."""
    began: int = 0
    """The number of this login among those of the process; 0: it began without waiting for a turn."""
    moves: int = 0
    target: _Target | None = field(default=None, repr=False)
    """Where it waits or is in flight; None: it does neither."""


class _Refused:
    """A version that a target refused, when, and how often AWSCURRENT had moved when that login began."""

    def __init__(self, at: float, number: int, cache: object, moves: int) -> None:
        self.at = at
        self.number = number
        """The number of the last login that had begun by then."""
        self.is_former = False
        """Whether the target's password has changed since, as far as was seen."""
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
        if turn.instead_of is not None and held not in (None, turn.instead_of):
            return Verdict.MOVED
        if self.is_spent(turn.limits, now):
            return Verdict.SPENT
        if not self._may_try(turn, held, moves, now):
            return Verdict.KNOWN
        if turn.limits.max_refusals is None:
            if not self.careful:
                return Verdict.GO
            room = 0 if self._in_flight_since_refusal() else 1
        else:
            # Each login in flight may be refused too.
            width = min(self._width(turn, turn.limits.max_refusals), turn.limits.max_refusals - self.recent(now))
            room = width - len(self.flying)
        turn.held_up = self._ahead(turn, now)[: max(room, 0)]
        return Verdict.GO if room > len(turn.held_up) else None

    def _ahead(self, turn: Turn, now: float) -> list[Turn]:
        """The turns that have waited longer, but for those that were woken a while ago and have not looked."""
        earlier = takewhile(lambda one: one is not turn, tuple(self.waiting))
        return [one for one in earlier if one.verdict is None and now < one.woken_at + _PATIENCE]

    def is_spent(self, limits: Limits, now: float) -> bool:
        """Whether the target has refused as many logins as these limits allow."""
        return limits.max_refusals is not None and self.recent(now) >= limits.max_refusals

    def is_calm(self, version: str) -> bool:
        """Whether nothing keeps a login with this version waiting."""
        return not self.careful and version in self.proven and version not in self.refused

    def recent(self, now: float) -> int:
        """How many refusals count now."""
        return sum(now - at < REFUSALS_SECONDS for at, _ in self.refusals)

    def accepted(self, turn: Turn) -> None:
        # A login that began before the last refusal was known may have succeeded before the password changed.
        self.refusals = [one for one in self.refusals if one[1] >= turn.began]
        if not self.refusals:
            self.careful = False
            self.proven.add(turn.version)
            self.refused.pop(turn.version, None)
            if len(self.proven) > _VERSIONS:
                self.proven = {turn.version}

    def rejected(self, turn: Turn, number: int, now: float) -> None:
        before = self.refused.get(turn.version)
        self.refusals = [one for one in self.refusals if now - one[0] < REFUSALS_SECONDS]
        # Of a burst that was in flight when the password changed, all are refused, the last of them perhaps after
        # another version has logged in. These late refusals are old news: they do not slow the new version down.
        late = before is not None and turn.began <= before.number and turn.version not in self.proven
        if not late or turn.limits.max_refusals is not None:
            self.refusals.append((now, number))
            self.careful = True
        turn.outdated = turn.version in self.proven
        if turn.outdated:
            self.proven.clear()
            for one in self.refused.values():
                one.is_former = True
        before = self.refused.pop(turn.version, None)
        # A version that stood in for AWSCURRENT will be AWSCURRENT when its rotation ends. That this process hears of
        # it after the refusal is no news: the password has changed once more since.
        moves = turn.moves + (turn.instead_of is not None)
        moves = max(moves, before.moves(turn.cache, moves)) if before else moves
        self.refused[turn.version] = _Refused(now, number, turn.cache, moves)
        while len(self.refused) > _VERSIONS:
            del self.refused[next(iter(self.refused))]

    def _may_try(self, turn: Turn, held: str | None, moves: int, now: float) -> bool:
        refused = self.refused.get(turn.version)
        if refused is None:
            return True
        if held == turn.version and moves > refused.moves(turn.cache, moves):
            return True
        if refused.is_former and turn.searched:
            return True
        after = turn.limits.retry_refused_after
        return after is not None and now - refused.at >= after

    def _in_flight_since_refusal(self) -> bool:
        """Whether a login that began after the last refusal is in flight.

        Those that began before it are not waited for: without a bound there may be many, and one may hang.
        """
        last = self.refusals[-1][1] if self.refusals else 0
        return any(turn.began > last for turn in tuple(self.flying))

    def _width(self, turn: Turn, max_refusals: int) -> int:
        if self.careful or turn.version not in self.proven:
            return 1
        # When the password changes, all of them are refused; AWSPENDING and AWSPREVIOUS must still be tried after that.
        return min(IN_FLIGHT, max(1, max_refusals - _OTHERS))


class Logins:
    """The targets of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._now = runtime.now
        self._lock = runtime.lock()
        self._targets: cachetools.LRUCache[Hashable, _Target] = cachetools.LRUCache(_TARGETS)
        self._number = 0

    def is_calm(self, turn: Turn) -> bool:
        """Whether the login may begin without a turn; then its turn says so.

        The server locks no accounts, logins are not going one at a time, and this version has logged in there and was
        not refused since. A success would change nothing, and a refusal is recorded as that of a login that began
        before it.
        """
        if turn.limits.max_refusals is not None:
            return False
        with self._lock:
            target = self._targets.get(turn.key)
            calm = target is not None and target.is_calm(turn.version)
        if calm:
            turn.verdict = Verdict.GO
        return calm

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
        target = _target_of(turn)
        held, moves = turn.seen()
        with self._lock:
            now, turn.woken_at = self._now(), float("inf")
            turn.verdict = target.judge(turn, held, moves, now)
            if turn.verdict is Verdict.GO:
                self._number += 1
                turn.began, turn.moves = self._number, moves
                target.flying[turn] = None
        if turn.verdict is not None:
            return None
        self._wake(turn.held_up, now)
        return min(turn.until, now + _PATIENCE) if turn.held_up else turn.until

    def leave(self, turn: Turn) -> None:
        """A waiter waits no longer."""
        # Without the lock, as in end(): a task that is collected leaves too, wherever the collector happens to run.
        if turn.target is None:  # an interrupt came before it got in line, or it needed no turn
            return
        turn.target.waiting.pop(turn, None)
        # No more than these can go at once after a refusal or where the server locks accounts. A waiter gets in line
        # before it looks, and a login that leaves makes room before it wakes the others: no wake-up falls between.
        self._wake(tuple(turn.target.waiting)[:IN_FLIGHT], self._now())

    def end(self, turn: Turn) -> None:
        """Gives a turn back, whatever came of it."""
        if turn.target is not None:
            turn.target.flying.pop(turn, None)
            self.leave(turn)

    def refused_by(self, key: Hashable, *, formerly: bool) -> frozenset[str]:
        """The versions that the target has refused. `formerly`: also before its password last changed."""
        with self._lock:
            target = self._targets.get(key)
            refused = target.refused.items() if target is not None else ()
            return frozenset(version for version, one in refused if formerly or not one.is_former)

    def has_refused_formerly(self, key: Hashable, version: str) -> bool:
        """Whether the target refused the version before its password last changed: others are better tried first."""
        with self._lock:
            target = self._targets.get(key)
            refused = target.refused.get(version) if target is not None else None
            return refused is not None and refused.is_former

    def accepted(self, turn: Turn) -> None:
        """Records that the target took the version; wakes all who wait where they no longer go one at a time."""
        target = _target_of(turn)
        with self._lock:
            was_careful = target.careful
            target.accepted(turn)
            woken = tuple(target.waiting) if was_careful and not target.careful else ()
        self._wake(woken, self._now())

    def refused(self, turn: Turn) -> bool:
        """Records a refusal, wakes those who wait with that version; returns whether it was the last one allowed."""
        if not turn.began:  # it began without a turn: when AWSCURRENT had moved as often as now, as far as is known
            _, turn.moves = turn.seen()
            self.ask(turn)
        target = _target_of(turn)
        with self._lock:
            now = self._now()
            target.rejected(turn, self._number, now)
            spent = target.is_spent(turn.limits, now)
            woken = [one for one in tuple(target.waiting) if one.version == turn.version]
        self._wake(woken, now)
        return spent

    @staticmethod
    def _wake(turns: Iterable[Turn], now: float) -> None:
        for one in turns:
            one.woken_at = min(one.woken_at, now)
            one.wake()


def _target_of(turn: Turn) -> _Target:
    assert turn.target is not None  # noqa: S101 - ask() has set it
    return turn.target


_of_process: dict[int, Logins] = {}
_of_runtime: weakref.WeakKeyDictionary[Runtime, Logins] = weakref.WeakKeyDictionary()


def logins_of(runtime: Runtime) -> Logins:
    """The logins of this process: one for all its caches, and a new one in a child. A test's runtime has its own."""
    if type(runtime) is SystemRuntime:
        return _of_process.get(os.getpid()) or _of_process.setdefault(os.getpid(), Logins(runtime))
    return _of_runtime.setdefault(runtime, Logins(runtime))
