"""What follows from an answer's version: hooks, another look at the primary, a version that must be placed.

Used under the cache's lock; what is to be done after it goes into `act`.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING

import cachetools

from secretcache._events import Event
from secretcache._hooks import Hooks
from secretcache._ids import PREVIOUS, Query
from secretcache._lineage import Judgement
from secretcache._regions.route import Purpose
from secretcache._transport import DescribeCall, Failure
from secretcache._versions import answered_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    Learn: TypeAlias = "Callable[[Entry, str], None]"

    from secretcache._flight import Flight
    from secretcache._freshness import Freshness
    from secretcache._hooks import RotationEvent, Subscription
    from secretcache._ids import SecretId
    from secretcache._lineage import Lineage
    from secretcache._loads import Actions, Loads
    from secretcache._runtime import Runtime
    from secretcache._secret import Secret
    from secretcache._settings import Settings
    from secretcache._store import Entry, Store
    from secretcache._transport import Transport

__all__ = ["Rotations"]

_SPACING = 1.0
"""Seconds between the requests that callers force because a version they have does not work."""
_TELL_FOREIGN = 900.0
"""Seconds between two events that tell of the same foreign secret."""
_TRY_AGAIN = 10.0
"""Seconds until a hooked secret that could not be loaded is asked for again."""


def _nothing() -> None:
    return None


class Rotations:
    """The versions of one cache's secrets, as they move."""

    def __init__(  # noqa: PLR0913, PLR0917 - the rooms it stands between
        self, settings: Settings, runtime: Runtime, store: Store, loads: Loads, freshness: Freshness, learn: Learn
    ) -> None:
        self.hooks = Hooks(runtime, background=settings.refresh == "background")
        self._settings = settings
        self._store = store
        self._loads = loads
        self._freshness = freshness
        self._learn = learn
        self._spaced: cachetools.LRUCache[Query, tuple[float, weakref.ref[Flight]]] = cachetools.LRUCache(
            settings.max_entries
        )

    # Where to ask.

    def begin(self, query: Query, now: float, timeout: float, purpose: Purpose) -> Flight:
        """A new load of a key, in the order in which its regions are worth asking."""
        lineage, regions = self._store.lineage_of(query.secret), self._settings.regions
        if lineage is not None and lineage.lags:
            self._loads.board.forget(query)  # who has refused it lately may be the one that can place it
            regions = self._order(query, lineage)
        primary = self._store.primary_of(query.secret) or ""
        return self._loads.begin((query,), now, timeout, purpose, regions=regions, primary=primary)

    def begin_newer(  # noqa: PLR0913 - what sets one question apart from another
        self,
        query: Query,
        newer_than: str,
        now: float,
        timeout: float,
        *,
        at_once: bool = False,
        useless: frozenset[str] = frozenset(),
    ) -> Flight:
        """The load of a key for those who have a version that does not work: shared, and spaced one second apart.

        `at_once`: not spaced after earlier ones, though later ones are spaced after it. `useless`: other versions that
        do not work either. A replica that lags shows an AWSPENDING of the past; the primary may not be known.
        """
        # Weakly: a flight holds values.
        last_sent_at, flight_of = self._spaced.get(query, (float("-inf"), _nothing))
        before = flight_of()
        waiting = before is not None and not before.over and not before.sent and before.newer_than == newer_than
        if before is not None and waiting and not at_once:
            return before
        sent_at = now if at_once else max(now, last_sent_at + _SPACING)
        primary = self._store.primary_of(query.secret) or ""
        flight = self._loads.begin(
            (query,),
            now,
            timeout,
            Purpose.FORCED,
            regions=self._primary_first(primary),
            primary=primary,
            not_before=sent_at,
            joinable=False,
        )
        flight.newer_than, flight.useless = newer_than, useless
        self._spaced[query] = sent_at, weakref.ref(flight)
        return flight

    def begin_afresh(self, query: Query, now: float, timeout: float) -> Flight:
        """A load of a key that nobody else joins, from the primary first."""
        primary = self._store.primary_of(query.secret) or ""
        regions = self._primary_first(primary)
        return self._loads.begin(
            (query,), now, timeout, Purpose.FORCED, regions=regions, primary=primary, joinable=False
        )

    def _primary_first(self, primary: str) -> tuple[str, ...]:
        regions = self._settings.regions
        return tuple(sorted(regions, key=lambda region: region != primary)) if primary else regions

    def _order(self, query: Query, lineage: Lineage) -> tuple[str, ...]:
        """After an answer that lags: the primary first, or those who have shown the current version."""
        primary, caught_up = self._store.primary_of(query.secret), lineage.caught_up

        def rank(region: str) -> tuple[bool, bool]:
            return region != primary, region not in caught_up

        return tuple(sorted(self._settings.regions, key=rank))

    # What an answer brings.

    def arrived(self, secrets: dict[Query, Secret], now: float, act: Actions, *, awaited: bool) -> None:
        """Looks at what the store made of an answer. Awaited: by a reader who sees to hooks in `on_access` mode."""
        for query, secret in secrets.items():
            if query.stage == PREVIOUS and (entry := self._store.find(Query(query.secret))):
                self._place(entry, secret, now, act)
        accepted, self._store.accepted = self._store.accepted, []
        for entry, secret, before in accepted:
            self._accepted(entry, secret, before, act, awaited=awaited)
        unheld, self._store.unheld = self._store.unheld, []
        for secret, before, sure in unheld:
            self._moved(secret, before, sure=sure)
        unplaced, self._store.unplaced = self._store.unplaced, []
        for entry, secret, judgement in unplaced:
            self._unplaced(entry, secret, judgement, now, act)

    def will_do(self, flight: Flight, secret: Secret, now: float, *, outdated: bool) -> bool:
        """Whether an answer ends its flight; if not, another region is asked."""
        if flight.newer_than is not None:
            newer = self.is_newer(flight.newer_than, flight.query, secret) and secret.version_id not in flight.useless
            return newer or secret.region == flight.route.primary
        # One that began in the background may have been joined by a reader who has nothing else.
        entry = self._store.find(flight.query)
        insists = flight.route.purpose.insists or entry is None or now >= entry.dead_at
        return not (outdated and insists)

    def is_newer(self, newer_than: str, query: Query, secret: Secret) -> bool:
        """Whether an answer is another version than one that does not work, and none known to be superseded."""
        lineage = self._store.lineage_of(query.secret)
        superseded = lineage.superseded if lineage is not None else ()
        return secret.version_id != newer_than and secret.version_id not in superseded

    def released(self, flights: Iterable[Flight], secrets: dict[Query, Secret]) -> list[Flight]:
        """Flights whose turn has not come, and whose readers are better served by what has just arrived."""
        return [
            flight
            for flight in flights
            if flight.newer_than is not None
            and not flight.over
            and not flight.sent
            and (entry := self._store.find(flight.query)) is not None
            and entry.secret is secrets.get(flight.query)
            and entry.secret.version_id != flight.newer_than
        ]

    def _accepted(self, entry: Entry, secret: Secret, before: str | None, act: Actions, *, awaited: bool) -> None:
        if before is not None:
            self._moved(secret, before)
        if not len(self.hooks):
            return
        those = [one for one in self._alive() if self._store.find(Query(one.secret)) is entry]
        act.extend(self.hooks.noticed(those, secret, awaited=awaited))

    def _moved(self, secret: Secret, before: str, *, sure: bool = True) -> None:
        self._event("rotation", secret, f"AWSCURRENT is {secret.version_id}, was {before}")
        if not sure:
            self._tell_divergence(secret)

    def _tell_divergence(self, secret: Secret) -> None:
        why = "no region that answers has shown another for 15 minutes, and nobody could place it: was it promoted?"
        self._event("divergence", secret, f"version {secret.version_id} is taken: {why}")

    def _place(self, entry: Entry, previous: Secret, now: float, act: Actions) -> None:
        lineage = entry.record.lineage
        if (lineage is None or lineage.doubted is None) and self._store.is_overtaken(entry, previous):
            self._freshness.recheck_now(entry, now)  # nobody has seen yet what AWSCURRENT has moved to
        if lineage is None or lineage.doubted is None or lineage.doubted[0].region != previous.region:
            return
        doubted = lineage.doubted[0]
        if lineage.vouches(previous, self._store.sent):
            query = Query(self._store.asked_as(entry.record))
            self._ask(query, doubted.region, now, act)
        elif previous.version_id != doubted.version_id:
            held = f"{entry.secret.region} showed {lineage.current}"
            why = f"shows version {doubted.version_id}, {held}, and neither superseded the other: was it promoted?"
            self._event("divergence", doubted, why)

    def _unplaced(self, entry: Entry, secret: Secret, judgement: Judgement, now: float, act: Actions) -> None:
        lineage = entry.record.lineage
        if judgement is Judgement.DIVERGED or lineage is None:
            self._tell_divergence(secret)
            return
        self._freshness.recheck(entry, now, lineage.lags)
        if judgement is Judgement.OVERLAPS:  # the region is believed: its next answer settles it
            if lineage.lags == 1:
                self._freshness.recheck_now(entry, now)
            return
        if lineage.is_long_behind(secret.region, now):
            why = f"still shows version {secret.version_id}, not {lineage.current}: was this replica promoted?"
            self._event("divergence", secret, why)
        query = Query(self._store.asked_as(entry.record))
        primary = self._store.primary_of(query.secret)
        if not self._store.knows_about_primary(entry):
            self._store.learn_primary(entry, "")
            self._loads.describe(partial(self._learn, entry), query, now, act)
        if judgement is Judgement.DOUBTED and lineage.lags == 1 and primary != secret.region:
            asked, region = (query, primary) if primary else (query._replace(stage=PREVIOUS), secret.region)
            self._ask(asked, region, now, act)

    def _ask(self, query: Query, region: str, now: float, act: Actions) -> None:
        """Asks one region, for nobody in particular."""
        asking = self._loads.begin(
            (query,), now, self._settings.timeout, Purpose.REFRESH, regions=(region,), joinable=False
        )
        self._loads.advance(asking, now, act)

    def tell_foreign(self, held: Secret, foreign: Secret, now: float) -> None:
        """Tells, now and then, that a region has another secret of the same name."""
        key, told = (foreign.region, foreign.arn), self._store.foreign_told
        if now >= told.get(key, float("-inf")) + _TELL_FOREIGN:
            told[key] = now
            why = (
                f"{foreign.arn} is another secret than {held.arn}: same name, no replica; it is not taken in its place"
            )
            self._event("divergence", foreign, why)

    def _event(self, name: str, secret: Secret, detail: str) -> None:
        self._loads.board.events.append(Event(name, secret.region, secret.name, secret.version_id, None, detail))

    # Hooks.

    def subscribe(self, secret_id: str, secret: SecretId, hook: Callable[[RotationEvent], object]) -> Subscription:
        """Registers a hook; the secret stays, and is asked for whether or not somebody reads it."""
        one = self.hooks.subscribe(secret_id, secret, hook)
        entry = self._store.find(Query(secret))
        one.seen = entry.secret if entry is not None else None
        self._pin()
        return one

    def cancel(self, key: object) -> None:
        """Ends a registration."""
        self.hooks.cancel(key)
        self._pin()

    def _alive(self) -> tuple[Subscription, ...]:
        """The hooks whose owners are there; what nobody waits for any more need not stay."""
        before = len(self.hooks)
        alive = self.hooks.alive()
        if len(alive) != before:
            self._pin()
        return alive

    def _pin(self) -> None:
        self._store.pins = tuple(dict.fromkeys(one.secret for one in self.hooks.alive()))

    def load_hooked(self, now: float, act: Actions) -> float:
        """Begins to load hooked secrets that nobody has read; returns when to look again."""
        again = float("inf")
        for one in self._alive():
            if self._store.find(Query(one.secret)) is not None:
                continue
            if now >= one.load_at:
                one.load_at = now + _TRY_AGAIN
                query = Query(self._store.address(one.secret))
                if self._loads.joinable(query, now) is None:
                    self._loads.advance(self.begin(query, now, self._settings.timeout, Purpose.REFRESH), now, act)
            again = min(again, one.load_at)
        return again


def ask_primary(transport: Transport, query: Query, region: str, secret: SecretId) -> str:
    """The primary region that DescribeSecret tells; empty where it does not, or may not be asked.

    Empty too where that region has another secret of the same name: its primary is not this one's.
    """
    reply = transport.prepare(region) or transport.send(DescribeCall(region, query))
    if isinstance(reply, Failure) or answered_id(str(reply.get("ARN") or ""), region) not in (None, secret):
        return ""
    return str(reply.get("PrimaryRegion") or "")
