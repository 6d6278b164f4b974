"""Hands each step from room to room, under the cache's one lock, and acts after the lock is released."""

from __future__ import annotations

import os
import weakref
from collections import Counter, deque
from functools import partial
from itertools import islice
from sys import is_finalizing
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import cachetools

from secretcache._errors import CacheClosedError, ConfigurationError, SecretCacheError, SecretUnavailableError
from secretcache._events import Bulletin, Event, complain
from secretcache._flight import Flight, Waiter
from secretcache._freshness import Freshness, Negative
from secretcache._ids import CURRENT, Query, SecretId
from secretcache._lazy import importing
from secretcache._loads import Actions, Loads
from secretcache._outcome import error_for, made_again, remembered
from secretcache._refresher import Refresher
from secretcache._regions.policy import RegionPolicy
from secretcache._regions.route import Leg, Purpose, Verdict
from secretcache._rotations import Rotations, ask_primary
from secretcache._secret import Lifetime, Secret
from secretcache._store import Entry, HotKey, Store
from secretcache._transport import BatchCall, Call, Failure, Fault, Transport
from secretcache._transport._botocore import making
from secretcache._versions import is_of, read_answer, read_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self  # for type checkers only: nothing is imported

    from secretcache._hooks import RotationEvent
    from secretcache._lineage import Lineage
    from secretcache._regions.health import RegionHealth
    from secretcache._runtime import Lock, Runtime
    from secretcache._settings import Settings
    from secretcache._stats import CacheStats

__all__ = ["Engine"]

_T = TypeVar("_T")

_MANY = 256
"""Entries beyond which they are not gone through at each look, but every 50 ms at most."""
_BEGUN_AT_ONCE = 4
"""Refreshes begun before readers get the lock again."""
_STOOD_STILL = 1.0
"""Seconds after a flight's end at which its readers have gone on, but in a process that was suspended."""
_PAUSE = 0.05
"""Seconds at least between two looks of the background thread, however many secrets fall due."""


class Engine:
    """The state of one cache in one process."""

    def __init__(
        self, settings: Settings, runtime: Runtime, transport: Transport, policy: RegionPolicy | None = None
    ) -> None:
        background = settings.refresh == "background"
        self._settings = settings
        self._runtime = runtime
        self._transport = transport
        self._policy = policy or RegionPolicy()
        self._lifetime = Lifetime(runtime.now, settings.ttl)
        self._lifetime_by_id = Lifetime(runtime.now, max(settings.ttl, settings.max_stale))
        self._freshness = Freshness(
            settings.ttl, settings.max_stale, background, settings.timeout, runtime.random, settings.retry
        )
        self.store = Store(self._freshness, settings.max_entries, settings.regions, settings.primary_region)
        self._loads = Loads(settings, self._policy, runtime, _attempt(self), weakref.ref(self))
        self.store.silent = self._loads.silent
        self.bulletin = Bulletin(runtime.now)
        self._loads.board.heard = self.bulletin.heard
        self._loads.board.events = self.bulletin.pending  # filled under the lock: they are told in their order
        learn = partial(_learn, weakref.ref(self))
        self.rotations = Rotations(settings, runtime, self.store, self._loads, self._freshness, learn)
        self._negatives: cachetools.LRUCache[Query, Negative] = cachetools.LRUCache(settings.max_entries)
        self._refresher = Refresher(weakref.ref(self), runtime) if background else None
        self.lock = runtime.lock()
        self.pid = os.getpid()
        self._waits = 0
        self._reads: Counter[str] = Counter()
        self._due: deque[Entry] = deque()
        """What was due when the background last went through the entries, in order."""
        self._later = self._surveyed_at = float("-inf")
        """When an entry falls due next, as far as was seen then; and when that was."""
        self._look_at = float("-inf")
        """When the background thread will look next; it has not looked yet, and will when it is started."""
        self.closed = False

    # Each of the following is one step of a reader: it decides under the lock and acts after it.

    def begin(  # noqa: PLR0913 - what sets one question apart from another
        self,
        key: HotKey | None,
        query: Query,
        timeout: float,
        wake: Callable[[], None],
        *,
        forced: bool = False,
        newer_than: str | None = None,
    ) -> Secret | Waiter:
        """The value, if it may be served as it is; else a part in the flight that will bring it.

        Forced: only the answer to a request that is still to be sent will do, from the primary first. `newer_than`:
        or another version than this, if it is held already.

        Raises:
            SecretCacheError: the refusal of every region, as long as it is remembered.
        """
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            now = self._runtime.now()
            self._loads.pass_time(now, act)
            entry = self.store.find(query)
            if entry is not None and now < entry.serve_until and not forced:
                return self._fresh(key, entry, now)
            is_known = entry is not None and newer_than not in (None, entry.secret.version_id) and now < entry.dead_at
            # Of another stage what is held says nothing: only AWSCURRENT's moves are followed.
            if entry is not None and is_known and query.stage == CURRENT:
                return self._fresh(key, entry, now)
            asked = self._canonical(query)
            if forced:
                self._negatives.pop(asked, None)
                self._loads.board.forget(asked)
            refusal = self._refusal(asked, now)
            if refusal is None:
                self._wake_background(act)
                self._probe_beside(asked, now, act)
                joined = self._join(entry, asked, now, timeout, forced=forced, newer_than=newer_than)
                if joined is None and entry is not None:
                    return self._stand_in(key, entry, now)
                if joined is not None:
                    waiter = Waiter(key, query, *joined, wake, forced, patient=newer_than is not None)
                    waiter.flight.join(wake)
                    self._waits += 1
                    self._loads.advance(waiter.flight, now, act)
                    return waiter
            else:
                self._reads[refusal.verdict.fault.name.lower()] += 1
        if refusal is not None:
            raise remembered(error_for(query, refusal.verdict, now, self._transport.host), refusal.until - now)
        raise error_for(query, Verdict(Fault.REGION, ()), now, self._transport.host)

    def first(self, waiter: Waiter) -> float | None:
        """When a waiter that has just begun should look: what was due was done then."""
        flight = waiter.flight
        if self.closed or flight.over:  # whoever shares a bell may have missed its ring
            return None if self._is_settled(flight) else float("-inf")
        return min(waiter.until, flight.wake_at)

    def look(self, waiter: Waiter) -> float | None:
        """When a waiter should look again; None when there is nothing left to wait for."""
        if self._is_settled(waiter.flight):
            return None
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            now = self._runtime.now()
            self._loads.pass_time(now, act)
            over = waiter.flight.over or now >= waiter.until
            if over and not waiter.flight.over:  # who looks after it now?
                self._wake_background(act, nudge=True)
            if over:  # here, under the lock: who sees to a hook is settled with the answer
                self.leave(waiter)
            return None if over else min(waiter.until, waiter.flight.wake_at)

    def _is_settled(self, flight: Flight) -> bool:
        """Whether a flight is over, and nothing else is to be decided when its waiters leave; told without the lock.

        In `on_access` mode who calls a hook is: a waiter who is still there. So is an attempt that was left behind and
        reaches its cap.
        """
        settled = flight.over and flight.fallback is None and not self.closed
        return settled and not self.rotations.hooks.left_to_readers and not self._loads.under_way_anywhere

    def conclude(self, waiter: Waiter) -> Secret:
        """What a waiter gets when it waits no longer: the value, an older one that may stand in, or the error."""
        flight = waiter.flight
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            now = self._runtime.now()
            entry = self.store.find(waiter.query)
            # What is held may be older than what the flight brought, where that may not be held.
            known = 0 if entry is None else entry.brought if waiter.forced else entry.ticket
            # What overlapped with another request is for who insists on a request of his own.
            spared = flight.overlapped and not waiter.forced and entry is not None and now < entry.dead_at
            arrived = flight.secret is not None and (known >= flight.ticket or spared)
            brought = entry.secret if entry is not None and arrived else flight.secret
            too_old = brought is not None and self._is_too_old(flight, brought, now)
            not_its_turn = waiter.patient and not flight.over and not flight.sent
            stands_in = flight.secret is None and (not waiter.forced or not_its_turn)
            if entry is not None and ((arrived and not too_old) or (stands_in and now < entry.dead_at)):
                if (
                    not flight.over and now >= flight.route.begun_at + self._policy.hedge_after
                ):  # nobody else need wait so long
                    self._freshness.lend(entry, flight.route.deadline)
                serve = self._fresh if arrived else self._stand_in
                return serve(waiter.key, entry, now)
            if flight.secret is not None and is_of(waiter.query, flight.secret) and not too_old:
                self._reads["fresh"] += 1  # not held, or evicted since
                return flight.secret
            self._reads[_outcome_of(flight)] += 1
        if flight.secret is not None and not too_old:
            raise made_again(waiter.query, flight.secret)
        raise self.error(waiter.query, flight)

    def _is_too_old(self, flight: Flight, secret: Secret, now: float) -> bool:
        """Whether what a flight brought may not be served any more by now.

        What it asked for itself may be, however short `ttl` is: unless the process stood still for longer than the
        flight could last. What it fell back on was held before it began.
        """
        held_before = secret.requested_at < flight.route.begun_at
        stood_still = now >= flight.route.deadline + _STOOD_STILL
        too_old = now >= secret.requested_at + self._settings.ttl + self._settings.max_stale
        return too_old and (held_before or stood_still)

    def leave(self, waiter: Waiter) -> None:
        """A waiter waits no longer; nothing else changes."""
        waiter.flight.leave(waiter.wake)

    def cut_off(self) -> None:
        """A waiter that has left was cancelled or interrupted.

        Workers call the hooks that it would have called, and the background looks after its flight from now on.
        """
        with self._step() as act, act, self.lock:
            act.append(self.rotations.hooks.hand_over)
            if not self.closed:
                self._wake_background(act, nudge=True)

    def collected(self) -> None:
        """As `cut_off`, for a finalizer: takes no lock."""
        if self._refresher is not None:
            self._refresher.tell()

    def invalidate(self, secret: SecretId) -> None:
        """Forgets a secret. No request sent before this moment brings it back."""
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            self._loads.bar(secret)
            self.store.forget(secret, self._loads.ticket)
            # All of them: another id of the same secret may have been refused.
            self._negatives.clear()
            self._loads.board.forget_all()

    def begin_afresh(self, query: Query, timeout: float, wake: Callable[[], None]) -> Waiter:
        """A part in a new flight, from the primary first, whatever was remembered of a refusal."""
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            now, asked = self._runtime.now(), self._canonical(query)
            self._loads.pass_time(now, act)
            self._negatives.pop(asked, None)
            flight = self.rotations.begin_afresh(asked, now, timeout)
            flight.join(wake)
            self._waits += 1
            self._loads.advance(flight, now, act)
            return Waiter(None, query, flight, now + timeout, wake, forced=True)

    def begin_search(
        self, query: Query, newer_than: str, useless: frozenset[str], timeout: float, wake: Callable[[], None]
    ) -> Secret | Waiter:
        """A part in a new flight for a login that was refused with this version; or another AWSCURRENT held already.

        Unlike `refresh(newer_than=)` it is not spaced: one login searches for all others of its account, and not again
        for a second where it found nothing.
        """
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            now, asked = self._runtime.now(), self._canonical(query)
            self._loads.pass_time(now, act)
            entry = self.store.find(query)
            if entry is not None and query.is_current and entry.secret.version_id != newer_than and now < entry.dead_at:
                return self._fresh(None, entry, now)
            self._negatives.pop(asked, None)
            self._loads.board.forget(asked)
            flight = self.rotations.begin_newer(asked, newer_than, now, timeout, at_once=True, useless=useless)
            flight.join(wake)
            self._waits += 1
            self._loads.advance(flight, now, act)
            return Waiter(None, query, flight, now + timeout, wake, forced=True)

    def look_behind(self, query: Query, newer_than: str) -> None:
        """Begins a load of a key for which no reader waits, until a region shows another version than this one."""
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            now, asked = self._runtime.now(), self._canonical(query)
            self._loads.pass_time(now, act)
            flight = self.rotations.begin_newer(asked, newer_than, now, self._settings.timeout)
            self._loads.advance(flight, now, act)
            self._wake_background(act, nudge=True)

    def subscribe(self, secret_id: str, secret: SecretId, hook: Callable[[RotationEvent], object]) -> object:
        """Registers a rotation hook; returns the key that ends it."""
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            if len(self.store.pins) >= self._settings.max_entries - 1 and secret not in self.store.pins:
                raise ConfigurationError(
                    f"max_entries={self._settings.max_entries} leaves no room: "
                    "it must be greater by two than the number of secrets with a rotation hook"
                )
            subscription = self.rotations.subscribe(secret_id, secret, hook)
            self._wake_background(act, nudge=True)
        return subscription.key

    def listen(self, hook: Callable[[Event], object]) -> object:
        """Registers who is told of events; returns the key that ends it."""
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            return self.bulletin.listen(hook)

    def unsubscribe(self, key: object) -> None:
        """Ends the registration of a rotation hook."""
        with self._step() as act, act, self.lock:
            self.rotations.cancel(key)

    def learned(self, entry: Entry, region: str) -> None:
        """DescribeSecret has told which region is a secret's primary."""
        with self._step() as act, act, self.lock:
            if region in self._settings.regions:
                self.store.learn_primary(entry, region)
                lineage = entry.record.lineage
                if lineage is not None and lineage.lags:
                    entry.refresh_at = min(entry.refresh_at, self._runtime.now())
                    self._wake_background(act, nudge=True)

    def current(self, secret: SecretId) -> tuple[Entry | None, Lineage | None]:
        """What is held of a secret's current version, and what is known of those before it."""
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            return self.store.find(Query(secret)), self.store.lineage_of(secret)

    def is_paired(self, entry: Entry, previous: Secret | None) -> bool:
        """Whether AWSPREVIOUS, as it was read, is that of the current version held."""
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            return self.store.is_paired(entry, previous)

    def begin_batch(self, queries: tuple[Query, ...], timeout: float, wake: Callable[[], None]) -> Waiter:
        """A part in a new batch of at most twenty."""
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            now = self._runtime.now()
            self._loads.pass_time(now, act)
            flight = self._loads.begin(queries, now, timeout, Purpose.COLD)
            flight.join(wake)
            self._loads.advance(flight, now, act)
            return Waiter(None, queries[0], flight, now + timeout, wake, forced=True)

    def error(self, query: Query, flight: Flight) -> SecretCacheError:
        """The error of a reader whose flight brought nothing, or has not yet."""
        legs = tuple(flight.route.legs)
        return error_for(
            query,
            flight.verdict or Verdict(Fault.REGION, legs),
            self._runtime.now(),
            self._transport.host,
            self._transport.pending,
        )

    def peek(self, query: Query) -> Secret | None:
        """The value, if it may be served as it is; marks nothing as read."""
        with self._step() as act, act, self.lock:
            self._refuse_if_closed()
            entry = self.store.find(query)
            return entry.secret if entry is not None and self._runtime.now() < entry.serve_until else None

    def stats(self, hits: int = 0) -> CacheStats:
        """The counts at this moment. `hits`: those that never came here."""
        with importing("secretcache._stats"), making.one():
            from secretcache._stats import CacheStats  # noqa: PLC0415 - a process starts without it

        with self._step() as act, act, self.lock:
            return CacheStats(
                len(self.store),
                self._waits,
                self.store.evictions,
                MappingProxyType(self._loads.stats()),
                MappingProxyType({"hit": hits, **self._reads}),
                MappingProxyType(self._ages()),
            )

    def _ages(self) -> dict[str, float]:
        current = (entry for entry in self.store.entries() if entry.is_current)
        return {one.secret.name: max(0.0, one.last_read - one.secret.requested_at) for one in current}

    def health(self) -> Mapping[str, RegionHealth]:
        """The condition of each region at this moment."""
        with importing("secretcache._regions.health"), making.one():  # and not under the lock: it is read from disk
            from secretcache._regions import health  # noqa: F401, PLC0415 - a process starts without it

        with self._step() as act, act, self.lock:
            return MappingProxyType(self._loads.health(self._transport.host, self._runtime.now()))

    def heir(self, runtime: Runtime, transport: Transport, *, with_values: bool = True) -> Engine:
        """An engine for a process forked off this one, or restored from its snapshot: nothing of it but the values."""
        engine = Engine(self._settings, runtime, transport, self._policy)
        engine.closed = self.closed
        engine.bulletin.inherit(self.bulletin)
        engine.rotations.hooks.inherit(self.rotations.hooks)
        engine.store.pins = self.store.pins
        engine._loads.ticket = self._loads.ticket
        if with_values:
            engine.store.adopt(self.store)
        return engine

    @property
    def busy(self) -> bool:
        """Whether threads may be at work for it."""
        return not self.closed and self._loads.ticket > 0

    def dismiss(self) -> None:
        """Lets the background thread end; for a finalizer."""
        if self._refresher is not None:
            self._refresher.dismiss()

    def close(self) -> None:
        """Ends every wait with `CacheClosedError`, and every thread but those that are stuck in an attempt."""
        with self._step() as act, act, self.lock:
            self.closed = True
            act.extend(wake for flight in self._loads.open for wake in flight.waiters())
            self._loads.close()
            act.extend(self.rotations.hooks.close())
            self.store.clear()
            self._negatives.clear()
        if self._refresher is not None:
            self._refresher.stop()
        self._transport.close()

    # What the background thread does: one look.

    def work(self) -> float | None:
        """Refreshes what has fallen due, moves on what nobody waits for; returns when to look again, None: never."""
        with self._step() as act, act, self.lock:
            now = self._runtime.now()
            if self.closed:
                return None
            self._loads.pass_time(now, act)
            entries = self.store.entries() if self._surveys(now) else None
        if entries is not None:
            self._survey(entries, now)
        while self._refresh_some():
            continue
        with self._step() as act, act, self.lock:
            if self._is_closed():
                return None
            now = self._runtime.now()
            while (region := self._loads.board.probe_due(now)) and (entry := self._read_last()):
                self._probe(region, self._query(entry), now, act)
            probe_at = self._loads.board.next_probe_at() if len(self.store) else float("inf")
            moments = [
                self.rotations.load_hooked(now, act),
                probe_at,
                self._loads.cap_at(),
                self._loads.next_look(),
            ]
            # What is due and not begun is begun when a refresh that is under way ends, which nudges this thread.
            self._look_at = max(now + _PAUSE, min([self._later, *moments]))
            return self._look_at

    # What an attempt tells, from its lane's thread.

    def taken(self, flight: Flight, leg: Leg, *, sends: bool = False) -> bool:
        """Whether the request is still wanted, now that a thread has time for it. Sends: its client is there too."""
        with self._step() as act, act, self.lock:
            now, loads = self._runtime.now(), self._loads
            wanted = not self.closed and loads.taken(flight, leg, now, act)
            return wanted and (not sends or loads.started(flight, leg, now, act))

    def started(self, flight: Flight | None, leg: Leg) -> bool:
        """Whether the request is still wanted, now that its client is there."""
        with self._step() as act, act, self.lock:
            return not self.closed and self._loads.started(flight, leg, self._runtime.now(), act)

    def ended(self, flight: Flight | None, leg: Leg, outcome: dict[Query, Secret] | Failure) -> None:
        """An attempt has its outcome. Its flight may be gone long since; what it brought is held all the same."""
        with self._step() as act, act, self.lock:
            now = self._runtime.now()
            outcome = self._own(outcome, now)
            failure = self._loads.ended(flight, leg, outcome if isinstance(outcome, Failure) else None, now, act)
            if self.closed:
                return
            if failure is None and not isinstance(outcome, Failure):
                self._arrived(flight, outcome, leg.ticket, now, act)
            if flight is not None:
                self._loads.advance(flight, now, act)
            self._loads.advance_waiting(now, act)

    def prepare(self, region: str) -> None:
        """Makes a region's client before it is needed; what that fails with is told when it is."""
        self._transport.prepare(region)

    def reload(self) -> None:
        """Lets the next requests load credentials anew."""
        self._transport.reload()

    # With the lock held.

    def _step(self) -> _Step:
        return _Step(self)

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise CacheClosedError("this SecretCache is closed: make a new one, or close it later")

    def _is_closed(self) -> bool:
        """Whether it has been closed since the last look."""
        return self.closed

    def _surveys(self, now: float) -> bool:
        """Whether the background goes through the entries: not at each end of a refresh, where they are many."""
        return len(self.store) <= _MANY or now >= self._surveyed_at + _PAUSE

    def _survey(self, entries: list[Entry], now: float) -> None:
        """Looks which entries are due, dead and next. Without the lock: what it finds is asked again under it."""
        due = sorted((one for one in entries if one.refresh_at <= now), key=_refresh_at)
        later = min((one.refresh_at for one in entries if one.refresh_at > now), default=float("inf"))
        dead = [one for one in entries if one.dead_at <= now]
        self._due, self._later, self._surveyed_at = deque(due), later, now
        for first in range(0, len(dead), _BEGUN_AT_ONCE):
            with self._step() as act, act, self.lock:
                self.store.bury(self._runtime.now(), dead[first : first + _BEGUN_AT_ONCE])

    def _refresh_some(self) -> bool:
        """Begins some of the refreshes that are due; whether there are more to begin."""
        with self._step() as act, act, self.lock:
            now, loads = self._runtime.now(), self._loads
            for _ in range(_BEGUN_AT_ONCE):
                if self.closed or not self._due:
                    return False
                if loads.in_background >= loads.share_of_background:
                    loads.want_more(act)
                    return False
                entry = self._due.popleft()
                if self._is_due(entry, now):
                    self._refresh(entry, now, act)
            return True

    def _refresh(self, entry: Entry, now: float, act: Actions) -> None:
        query = self._query(entry)
        if self._loads.joinable(query, now) is None:
            flight = self.rotations.begin(query, now, self._settings.timeout, Purpose.REFRESH)
            self._loads.advance(flight, now, act)

    def _is_due(self, entry: Entry, now: float) -> bool:
        if entry.refresh_at > now or not self.store.holds(entry):
            return False
        return self._freshness.is_due(entry, now) or (
            entry.is_current and self.store.is_pinned(entry) and self._freshness.is_due(entry, now, pinned=True)
        )

    def _read_last(self) -> Entry | None:
        """What a probe asks for: the current version that was read last."""
        current = (entry for entry in islice(self.store.entries(), _MANY) if entry.is_current)
        return max(current, key=lambda entry: entry.last_read, default=None)

    def _probe_beside(self, query: Query, now: float, act: Actions) -> None:
        """Where no thread probes, a read is the occasion; it does not wait for the probe."""
        if self._refresher is not None and len(self.store):
            return
        if region := self._loads.board.probe_due(now):
            self._probe(region, query, now, act)

    def _probe(self, region: str, query: Query, now: float, act: Actions) -> None:
        permit = self._loads.board.probe(region, now)
        flight = self._loads.begin(
            (query,), now, self._settings.timeout, Purpose.PROBE, regions=(region,), permit=permit, joinable=False
        )
        self._loads.advance(flight, now, act)

    def _hit(self, key: HotKey | None, entry: Entry, now: float) -> Secret:
        if key is not None:
            self.store.keep_hot(key, entry)
        entry.last_read = now
        return entry.secret

    def _fresh(self, key: HotKey | None, entry: Entry, now: float) -> Secret:
        self._reads["fresh"] += 1
        return self._hit(key, entry, now)

    def _stand_in(self, key: HotKey | None, entry: Entry, now: float) -> Secret:
        """An old value for a reader who has asked for a new one."""
        stale = now >= self._freshness.stale_at(entry)
        self._reads["stale" if stale else "fresh"] += 1
        if stale:
            self._tell_stale(entry, now)
        return self._hit(key, entry, now)

    def _tell_stale(self, entry: Entry, now: float) -> None:
        if not entry.stands_in:
            entry.stands_in = True
            age = now - entry.secret.requested_at
            self._tell(entry, "served", age, f"no region answers; a value {age:.0f} s old stands in")

    def _tell_fresh_again(self, entry: Entry, now: float) -> None:
        if entry.stands_in and not entry.failures:
            entry.stands_in = False
            self._tell(entry, "over", now - entry.secret.requested_at, "a region has answered again")

    def _tell(self, entry: Entry, outcome: str, age: float, detail: str) -> None:
        event = Event("stale", entry.secret.region, entry.secret.name, outcome, age, detail)
        self._loads.board.events.append(event)

    def _canonical(self, query: Query) -> Query:
        address = self.store.address(query.secret)
        return query if address == query.secret else query._replace(secret=address)

    def _query(self, entry: Entry) -> Query:
        return Query(self.store.asked_as(entry.record), *entry.which)

    def _refusal(self, query: Query, now: float) -> Negative | None:
        negative = self._negatives.get(query) if self._negatives else None
        return negative if negative is not None and now < negative.until else None

    def _join(  # noqa: PLR0913 - what sets one question apart from another
        self, entry: Entry | None, query: Query, now: float, timeout: float, *, forced: bool, newer_than: str | None
    ) -> tuple[Flight, float] | None:
        """The flight to wait for and until when; None: the old value does, while somebody else asks for a new one."""
        if newer_than is not None:
            return self.rotations.begin_newer(query, newer_than, now, timeout), now + timeout
        if entry is None or now >= entry.dead_at or forced:
            flight = self._loads.unsent(query, now) if forced else self._loads.joinable(query, now)
            purpose = Purpose.FORCED if forced else Purpose.COLD
            return flight or self.rotations.begin(query, now, timeout, purpose), now + timeout
        flight = self._loads.under_way(query, now)
        waits = self._freshness.must_wait(entry, now)
        if flight is not None:
            # From the later of the two: a value that came after the flight began says that the region is not silent.
            suspect_at = max(flight.route.begun_at, entry.secret.requested_at) + self._policy.hedge_after
            return (flight, min(now + timeout, suspect_at)) if waits and now < suspect_at else None
        if self._settings.refresh == "background" and now < self._freshness.stale_at(entry):
            self._freshness.lend(entry, self._freshness.stale_at(entry))
            return None
        flight = self.rotations.begin(query, now, timeout, Purpose.REVALIDATE)
        if not waits:
            self._freshness.lend(entry, flight.route.deadline)
        # In trouble that is known already, the background's retry is late: this reader begins it, and does not wait.
        begins_only = self._settings.refresh == "background" and not waits
        return flight, now if begins_only else now + timeout

    def _arrived(
        self, flight: Flight | None, secrets: dict[Query, Secret], ticket: int, now: float, act: Actions
    ) -> None:
        self.store.outdated = self.store.overlapped = False
        self.store.sent = self._loads.ticket
        held = {query: self._hold(query, secret, ticket, now) for query, secret in secrets.items()}
        for query in secrets if self._negatives else ():
            self._disprove(query)
        released = self.rotations.released(self._loads.newer, secrets)
        awaited = bool(flight and flight.awaited) or any(one.awaited for one in released)
        self.rotations.arrived(secrets, now, act, awaited=awaited)
        for waiting in released:
            waiting.ticket, waiting.secrets = ticket, {waiting.query: secrets[waiting.query]}
            self._loads.advance(waiting, now, act)
        if flight is None or flight.over:
            return
        # A reader gets what stands afterwards: the answer to a later request may have been here first.
        found = {query: self._answer(flight, entry, secrets[query], ticket, now) for query, entry in held.items()}
        secret = secrets.get(flight.query)
        single = len(flight.queries) == 1 and secret is not None
        if not single or secret is None or self._ends(flight, secret, now):
            flight.ticket, flight.secrets, flight.overlapped = ticket, found, self.store.overlapped
        else:
            flight.route.content = True
            # A candidate for those whose version does not work gives way to a region that shows just that version.
            confirmed = flight.newer_than == secret.version_id
            if flight.fallback is None or self.store.overlapped or confirmed:
                flight.fallback, flight.overlapped = (ticket, found), self.store.overlapped

    def _ends(self, flight: Flight, secret: Secret, now: float) -> bool:
        """Whether an answer ends its flight; where it only overlapped with another one, its region is asked again."""
        wanted = flight.newer_than is not None and self.rotations.is_newer(flight.newer_than, flight.query, secret)
        if self.store.overlapped and not wanted and flight.route.ask_again(secret.region):
            return False
        return self.rotations.will_do(flight, secret, now, outdated=self.store.outdated)

    def _answer(self, flight: Flight, entry: Entry | None, brought: Secret, ticket: int, now: float) -> Secret:
        """What a flight's readers get: what is held, but for those to whom it is of no use."""
        newer_than = flight.newer_than
        wanted = newer_than is not None and self.rotations.is_newer(newer_than, flight.query, brought)
        # Row I, as row K: what a region shows that is behind, as it seems, is worth a try where what is held fails.
        wanted = wanted or (entry is not None and entry.secret.version_id == newer_than != brought.version_id)
        # What may not be served any more is no answer, beside one that was asked for later.
        gone = entry is not None and now >= entry.dead_at and entry.ticket < ticket
        return brought if entry is None or wanted or gone or self.store.overlapped else entry.secret

    def _own(self, outcome: dict[Query, Secret] | Failure, now: float) -> dict[Query, Secret] | Failure:
        """What an attempt brought, without the secrets that only have the name of the one that is held."""
        if isinstance(outcome, Failure) or self.closed:
            return outcome
        own, why = {}, None
        for query, secret in outcome.items():
            held = self.store.foreign(query, secret, now)
            if held is None:
                own[query] = secret
            else:
                why = f"{secret.arn} has the name, but is another secret than {held.arn}, which was read before"
                self.rotations.tell_foreign(held, secret, now)
        return own if own or why is None else Failure(Fault.FOREIGN, "AnotherSecret", why, answered=True)

    def _hold(self, query: Query, secret: Secret, ticket: int, now: float) -> Entry | None:
        entry = self.store.put(query, secret, ticket, now)
        if entry is not None:
            self._tell_fresh_again(entry, now)
        return entry

    def _disprove(self, query: Query) -> None:
        """Forgets refusals, under any id that may be the same secret's: an answer, an early one too, says otherwise."""
        for one in [one for one in self._negatives if one.may_be(query)]:
            del self._negatives[one]

    def settled(self, flight: Flight, now: float, act: Actions) -> None:
        self.store.sent = self._loads.ticket
        for query, secret in (flight.secrets or {}).items():
            # Outdated, but all there is.
            if flight.fallback is not None and self.store.find(query) is None:
                self.store.put(query, secret, flight.ticket, now, last_resort=True)
                self.rotations.arrived({query: secret}, now, act, awaited=flight.awaited)
        single = len(flight.queries) == 1 and flight.route.purpose is not Purpose.PROBE
        if flight.verdict is not None and single:
            self._failed(flight, flight.verdict, now)
        # A thread's wake-up costs as much as a third of a request: only where it has to look earlier than it meant to.
        self._wake_background(act, nudge=flight.background or self._due_at(flight.queries) < self._look_at)

    def _due_at(self, queries: tuple[Query, ...]) -> float:
        """When the background is needed next, as far as these keys and the regions tell."""
        held = [entry.refresh_at for query in queries if (entry := self.store.find(query))]
        return min([self._loads.cap_at(), self._loads.board.next_probe_at(), *held])

    def _failed(self, flight: Flight, verdict: Verdict, now: float) -> None:
        query = flight.query
        entry = self.store.find(query)
        asked = verdict.asked or self._loads.ticket
        later = entry.ticket if entry is not None else self.store.latest(query)
        froze = verdict.frozen and not verdict.definitive  # what was refused was heard before that
        if froze or asked < later or (entry is None and asked == later > 0):
            return  # it says nothing of today: what is held was asked for later, or everything was forgotten since
        if verdict.definitive:
            # Of another stage or version: without a rotation there is none, and nothing is awaited.
            awaited = query.is_current and verdict.fault is Fault.MISSING
            before = self._negatives.get(query)
            self._negatives[query] = self._freshness.negative(before, verdict, now, awaited=awaited)
            self.store.refuse(query, self._loads.ticket)
            self._loads.refused(query)
        elif entry is not None:
            self._freshness.postpone(entry, now, refused=verdict.refused, throttled=verdict.throttled)
            if entry.last_read >= self._freshness.stale_at(entry):  # at the speed of a hit, which tells nobody
                self._tell_stale(entry, now)
            self.store.bury(now, (entry,))

    def _wake_background(self, act: Actions, *, nudge: bool = False) -> None:
        if self._refresher is not None and (nudge or not self._refresher.started):
            act.append(self._refresher.nudge if nudge else self._refresher.start)


class _Step(list["Callable[[], None]"]):
    """One step: decided under the lock, acted upon after it. Used as `with self._step() as act, act, self.lock:`.

    A signal handler that raises (a time limit, Ctrl-C) may do so at each call, and at the begin of each function:

    - The lock stands in the `with` statement itself. The interpreter looks for signals between a method of ours that
      takes a lock and the `with` block, and the lock would be held for ever. It does not look between a lock's own
      `__enter__`, which is C, and the block.
    - The step stands there twice. An interrupt at the begin of `__exit__` ends it before it has done anything: then
      the second does what was decided. A request that is counted as under way would never be sent otherwise.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> Self:
        lock = self._engine.lock
        if lock._is_owned() or is_finalizing():  # noqa: SLF001 - threading's own name for it
            _refuse_to_wait(lock)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self:
            try:
                _do(self)
            except BaseException:
                _do_the_rest(self)
                raise
        bulletin = self._engine.bulletin
        if bulletin.pending:
            bulletin.tell()


def _do(act: Actions) -> None:
    while act:
        act[0]()
        del act[0]


def _do_the_rest(act: Actions) -> None:
    """Does what is left after an error or an interrupt: the action that it came from again, for it may not have begun.

    Each action may be done twice: a request that was taken up is not taken up again, and a wake-up more does no harm.
    """
    while act:
        try:
            act[0]()
        except BaseException:  # noqa: BLE001 - the first error is the one to raise
            complain("an action after a step failed")
        del act[0]


def _refuse_to_wait(lock: Lock) -> None:
    """Raises where a wait for the lock would last for ever."""
    if lock._is_owned():  # noqa: SLF001 - as above
        raise SecretUnavailableError(
            "this call came from a signal handler, a finalizer or a garbage collection that interrupted this thread "
            "inside the same SecretCache, which it would wait for: only values that are held and fresh can be read "
            "there. Let the handler set a flag, and read the secret where the flag is seen"
        )
    # Only this thread runs any more. A daemon thread that the interpreter has stopped may hold the lock for ever.
    if not lock.acquire(blocking=False):
        raise SecretUnavailableError(
            "the interpreter is shutting down, and one of its threads was stopped inside this SecretCache: read the "
            "secret earlier, for example in a function registered with atexit"
        )
    lock.release()


def _learn(owner: weakref.ref[Engine], entry: Entry, region: str) -> None:
    """What a lane's thread does to learn a secret's primary region, once."""
    engine = owner()
    if engine is not None and not engine.closed:
        query = Query(engine.store.asked_as(entry.record))
        secret = engine.store.full_id(entry)
        engine.learned(entry, ask_primary(engine._transport, query, region, secret))  # noqa: SLF001


def _outcome_of(flight: Flight) -> str:
    """What a read was that ended without a value, as its region's failures are called."""
    fault = Fault.MISSING if flight.secret is not None else flight.verdict.fault if flight.verdict else Fault.REGION
    return fault.name.lower()


def _refresh_at(entry: Entry) -> float:
    return entry.refresh_at


def _attempt(engine: Engine) -> Callable[[weakref.ref[Flight], tuple[Query, ...], Leg], None]:
    """What a lane's thread does: one request. While it is under way it holds nothing of the cache but the transport."""
    owner, transport = weakref.ref(engine), engine._transport  # noqa: SLF001
    lifetimes = engine._lifetime, engine._lifetime_by_id  # noqa: SLF001

    def attempt(flight: weakref.ref[Flight], queries: tuple[Query, ...], leg: Leg) -> None:
        ready = _guarded(partial(transport.ready, leg.region)) is True
        if not _wanted(owner, flight, leg, sends=ready):
            return
        unmade = None if ready else _guarded(partial(transport.prepare, leg.region))
        if unmade is None and not ready and not _sends(owner, flight, leg):
            return
        outcome = unmade or _ask(transport, queries, leg, lifetimes[queries[0].version_id is not None])
        alive = owner()
        if alive is not None:
            alive.ended(flight(), leg, outcome)

    return attempt


def _wanted(owner: weakref.ref[Engine], flight: weakref.ref[Flight], leg: Leg, *, sends: bool) -> bool:
    alive, wanting = owner(), flight()
    return alive is not None and wanting is not None and alive.taken(wanting, leg, sends=sends)


def _sends(owner: weakref.ref[Engine], flight: weakref.ref[Flight], leg: Leg) -> bool:
    alive = owner()
    return alive is not None and alive.started(flight(), leg)


def _ask(
    transport: Transport, queries: tuple[Query, ...], leg: Leg, lifetime: Lifetime
) -> dict[Query, Secret] | Failure:
    return _guarded(partial(_send, transport, queries, leg, lifetime))


def _guarded(work: Callable[[], _T]) -> _T | Failure:
    """Whatever it raises becomes a failure: its readers are told, and the lane's thread is free again."""
    try:
        return work()
    except MemoryError:
        return Failure(Fault.LOCAL, "MemoryError", "this process has no memory left")
    except BaseException as error:  # noqa: BLE001 - `SystemExit` of user code included
        return Failure(Fault.LOCAL, type(error).__name__, "an error of secretcache itself: please report it")


def _send(
    transport: Transport, queries: tuple[Query, ...], leg: Leg, lifetime: Lifetime
) -> dict[Query, Secret] | Failure:
    requested_at = leg.started_at or 0.0
    if len(queries) > 1:
        batch = BatchCall(leg.region, queries)
        return read_batch(batch, transport.send(batch), requested_at, lifetime)
    call = Call(leg.region, queries[0])
    answer = read_answer(call, transport.send(call), requested_at, lifetime)
    return answer if isinstance(answer, Failure) else {queries[0]: answer}
