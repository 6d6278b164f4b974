"""What is held: secrets, the ids that lead to them, how long each value may be served, and which goes when it is full.

Everything here is used under the cache's lock, except the dictionary `hot`: a hit reads it without.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import cachetools

from secretcache._ids import CURRENT, PREVIOUS, Query, SecretId, parse_secret_id
from secretcache._lineage import Judgement, Lineage
from secretcache._tombstones import Tombstones
from secretcache._versions import answered_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from secretcache._freshness import Freshness
    from secretcache._secret import Secret

__all__ = ["Entry", "HotKey", "Record", "Store"]

HotKey: TypeAlias = "str | tuple[str, str | None, str | None]"
"""What a reader passed: the bare id for AWSCURRENT, else the id with stage and version."""
_Which: TypeAlias = "tuple[str | None, str | None]"
_NEVER = float("-inf")
_NOT_TAKEN = (Judgement.LATE, Judgement.LAGS, Judgement.DOUBTED, Judgement.OVERLAPS)
_CURRENT: _Which = (CURRENT, None)
_PREVIOUS: _Which = (PREVIOUS, None)
_MOST_FOREIGN = 256
"""Regions with another secret of the same name that are remembered, so that each is told now and then only."""


@dataclass(slots=True, eq=False, repr=False)
class Record:
    """One secret, and its versions held."""

    address: str
    """How it is asked for: as it was first asked, so that a name made again under a new suffix is found."""
    entries: tuple[Entry, ...] = ()
    lineage: Lineage | None = None
    """Its versions, once a second one was seen."""
    shown_in: tuple[str, ...] = ()
    """The regions that have shown it."""
    refused: bool = False
    """Whether its AWSCURRENT was refused for good since it was held last: another version may be held yet."""


@dataclass(slots=True, eq=False, repr=False)
class Entry:
    """One version of one secret, as it is held."""

    record: Record
    which: _Which
    secret: Secret
    ticket: int
    """The last request that it was placed beside: later requests have higher numbers, whatever the clock says."""
    brought: int
    """The number of the request that brought it: lower, where a late answer turned out to be the newer one."""
    last_read: float
    since: int = 0
    """The number of the request that first brought this version."""
    since_region: str = ""
    """Where it was sent."""
    paired: str | None = None
    """AWSPREVIOUS's version as it was read afresh for this one; empty: there is none."""
    serve_until: float = _NEVER
    """Until then a read returns `secret` and decides nothing."""
    refresh_at: float = _NEVER
    """When it is asked for again, ahead of need or after a failure."""
    dead_at: float = _NEVER
    """From then on it is not served, whatever the regions do."""
    failures: int = 0
    """How often in a row no region could answer for it."""
    stands_in: bool = False
    """Whether it was told that an old value is served: once an episode."""

    @property
    def is_current(self) -> bool:
        """Whether it is the version that AWSCURRENT leads to."""
        return self.which == _CURRENT


class _Bounded(cachetools.Cache[Entry, Entry]):
    """A bounded set that lets go of the entry read longest ago.

    Readers stamp `last_read` without a lock, so the order is known only when it is looked for: 60 us for 1024 entries,
    and only when a cold read finds the set full. An LRU list would double the price of every hit.
    """

    pinned: AbstractSet[Record] = frozenset()
    """Records whose entries go last."""

    def popitem(self) -> tuple[Entry, Entry]:
        """Removes the entry read longest ago."""
        entry = min(self, key=lambda one: (one.record in self.pinned, one.last_read))
        return entry, self.pop(entry)


class Store:
    """The values of one cache.

    Ids are kept as text, an ARN as that of the first listed region: most of the texts are there anyway, in the caller
    or in the answer, and a secret must not cost more than 1 KiB over its value.
    """

    def __init__(
        self, freshness: Freshness, max_entries: int, regions: Sequence[str], primary: str | None = None
    ) -> None:
        self.hot: dict[HotKey, Entry] = {}
        self.evictions = 0
        self._freshness = freshness
        self._regions = regions
        self._entries = _Bounded(max_entries)
        self._records: dict[str, Record] = {}
        self._own_accounts: set[str] = set()
        self._partials = False
        """Whether something may be held under a partial ARN."""
        self.pins: tuple[SecretId, ...] = ()
        """Secrets that stay, whoever reads them: somebody waits for their rotation."""
        self.accepted: list[tuple[Entry, Secret, str | None]] = []
        """Current values that were accepted since somebody last looked, and the version that each took the place of."""
        self.unplaced: list[tuple[Entry, Secret, Judgement]] = []
        """Answers whose version did not replace the one held, or did so with a warning, since somebody last looked."""
        self.unheld: list[tuple[Secret, str, bool]] = []
        """Current values that were accepted though they may not be held, the version each took the place of, and
        whether that is sure."""
        self.sent = 0
        """The number of the last request sent, as the engine tells with each answer."""
        self.outdated = False
        """Whether an answer did not show the current version, since somebody last looked."""
        self.overlapped = False
        """Whether an answer was not taken only because its request overlapped with another one, since somebody last
        looked. Asked again, the same region settles it."""
        self.silent: Mapping[str, float] = {}
        """By region: since when no request to it has been answered."""
        self._only_region = regions[0] if len(regions) == 1 else None
        self._primary = primary
        self.primaries: cachetools.LRUCache[str, str] = cachetools.LRUCache(max_entries)
        """The primary region of secrets, where it was learned."""
        self._lineages: cachetools.LRUCache[str, Lineage] = cachetools.LRUCache(max_entries)
        """Of secrets that are not held any more: what is read next must not be older."""
        self._tombstones = Tombstones()
        self._shown_in: dict[tuple[str, ...], tuple[str, ...]] = {}
        """Each combination of regions once: most secrets have the same."""
        self.foreign_told: cachetools.LRUCache[tuple[str, str], float] = cachetools.LRUCache(_MOST_FOREIGN)
        """By region and foreign ARN: when it was told last."""

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[Entry]:
        """All that is held."""
        return list(self._entries)

    def find(self, query: Query) -> Entry | None:
        """The entry a query leads to, by any id known to be the same secret."""
        record = self._record(query.secret)
        return _entry_of(record, query.which) if record else None

    def address(self, secret: SecretId) -> SecretId:
        """The id under which a secret is asked for: the same for all ids known to be the same secret."""
        record = self._record(secret)
        return self.asked_as(record) if record else secret

    def asked_as(self, record: Record) -> SecretId:
        """The id under which a secret that is held is asked for."""
        return parse_secret_id(record.address, self._regions)

    def _is_of_one_suffix(self, record: Record) -> bool:
        asked = self.asked_as(record)
        return asked != asked.without_suffix()

    def keep_hot(self, key: HotKey, entry: Entry) -> None:
        """Lets the next read with this key find the entry without a lock."""
        if entry in self._entries:
            self.hot[key] = entry

    def put(self, query: Query, secret: Secret, ticket: int, now: float, *, last_resort: bool = False) -> Entry | None:
        """Holds an answer, unless a later one is held already; returns the entry that stands afterwards.

        None: nothing stands, and the answer may not be held, because its secret was dropped or refused after the
        request was sent, or because it is known to be outdated and this is not the last resort.
        """
        full = answered_id(secret.arn, secret.region) or query.secret
        text = secret.keep_arn(self._text(full))
        record = self._records.get(text)
        if self._is_dropped(record, query, ticket):
            if query.is_current:
                self._pass_by(record, text, query, secret, ticket, now)
            return self._instead(query, ticket)
        asked = text if query.secret == full else self._text(query.secret)
        texts = self._all_texts(query.secret, full, secret.name, (text, asked))
        record = record or Record(asked)
        if self._later_known(record, texts, ticket):
            return self._instead(query, ticket)
        if record.lineage is None and _entry_of(record, _CURRENT) is None:
            record.lineage = self._lineages.get(text)
        if not query.secret.is_arn:
            record.address = asked
        self._note_region(record, secret.region)
        if not last_resort and self._goes_back(record, query, secret, ticket, now):
            self.outdated = True
            return None
        self._lead(record, texts, secret.region, now)
        return self._hold(record, query, secret, ticket, now, sure=not last_resort)

    def _is_dropped(self, record: Record | None, query: Query, ticket: int) -> bool:
        stands = self.find(query)
        if stands is not None and stands.record is record and stands.ticket < ticket:
            return False  # what has been dropped since it was asked for is something else
        return ticket <= self.floor(query)

    def _instead(self, query: Query, ticket: int) -> Entry | None:
        """What stands in place of an answer that may not be held: nothing older, to which readers would go back."""
        stands = self.find(query)
        if stands is None or stands.ticket >= ticket:
            return stands
        self._remove(stands)
        return None

    def _all_texts(self, asked: SecretId, full: SecretId, name: str, texts: tuple[str, ...]) -> dict[str, None]:
        """All the texts under which a record is to be found, in the order of their precedence."""
        own = self._own_accounts
        if not asked.is_arn and full.account not in own:
            self._own(full.account)
        if not asked.is_arn and not self._partials:
            return dict.fromkeys((*texts, name))
        partial = self._text(full.without_suffix())
        # The name stands for the partial ARN too, once the account is known to be our own.
        names = (self._text(self._by_name(asked)), name if full.account in own else partial)
        self._partials = True
        return dict.fromkeys((*texts, *names, *([partial] if partial in self._records else [])))

    def _pass_by(  # noqa: PLR0913, PLR0917 - what an answer is made of
        self, record: Record | None, text: str, query: Query, secret: Secret, ticket: int, now: float
    ) -> None:
        """Takes from an answer of AWSCURRENT that may not be held what it tells of versions.

        One that is behind what was read before is useless to who waits for it too. Any other a reader gets: the next
        one must not go back behind it.
        """
        stands = _entry_of(record, _CURRENT) if record is not None else None
        lineage = (record.lineage if record is not None else None) or self._lineages.get(text)
        lineage = lineage or (self._new_lineage(stands) if stands is not None else None)
        if lineage is None:
            self._lineages[text] = self._lineage(secret, max(ticket, self.sent), ticket)
            return
        judged = lineage.judge(
            secret.region, secret.version_id, ticket, now, self.primary_of(query.secret), self.silent
        )
        # Late, and another version than the one read since: it may be newer, and nobody can tell.
        unplaced = judged in _NOT_TAKEN
        if secret.version_id != lineage.current and (unplaced or secret.version_id in lineage.superseded):
            if stands is None or judged is not Judgement.LATE or _is_of_no_use(lineage, secret, stands, now):
                self.outdated = True
        elif judged in (Judgement.MOVED, Judgement.DIVERGED):
            if record is not None and stands is not None:  # it is known to be superseded
                record.lineage = lineage
                self._remove(stands)
            sure = judged is Judgement.MOVED
            self.unheld.append((secret, lineage.current, sure))
            lineage.move(secret.version_id, ticket, self.sent, secret.requested_at, sure=sure)
            lineage.note(secret.region, secret.version_id, ticket, secret.requested_at, self.sent)
        elif stands is None and judged is Judgement.SAME:
            lineage.note(secret.region, secret.version_id, ticket, secret.requested_at, self.sent)

    def _goes_back(self, record: Record, query: Query, secret: Secret, ticket: int, now: float) -> bool:
        """Whether an answer, where no value is held any more, would take the reader back behind the last one."""
        lineage = record.lineage
        if lineage is None or not query.is_current or _entry_of(record, _CURRENT):
            return False
        primary = self.primary_of(query.secret)
        judged = lineage.judge(secret.region, secret.version_id, ticket, now, primary, self.silent)
        late = judged is Judgement.LATE and lineage.believes(secret.region, ticket, primary)
        self.overlapped = self.overlapped or late or judged is Judgement.OVERLAPS
        return judged in _NOT_TAKEN

    def refuse(self, query: Query, ticket: int) -> None:
        """Forgets a value that every region refuses. Answers to requests up to that ticket do not bring it back."""
        self._tombstones.set(query.secret.bare_name, ticket, query.which)
        entry, record = self.find(query), self._record(query.secret)
        if entry is not None:
            self._remove(entry)
        if record is not None and query.is_current:
            record.refused = True
            if self._is_of_one_suffix(record):
                self._remove_all(record)  # it may have been made again: its name must not lead here

    def floor(self, query: Query) -> int:
        """The ticket up to which answers do not count any more."""
        return self._tombstones.ticket(query.secret.bare_name, query.which)

    def latest(self, query: Query) -> int:
        """The last request that is known to tell more of it than those before, under whatever id."""
        same = (one for one in self._entries if one.which == query.which)
        held = (one.ticket for one in same if one.secret.name == query.secret.bare_name)
        return max([self.floor(query), *held])

    def forget(self, secret: SecretId, ticket: int) -> None:
        """Forgets a whole secret, as `refuse` does one value; one that is not known yet included.

        By the bare name too: under another id it may be held without anybody knowing that it is the same. One too many
        costs a call.
        """
        bare, record = secret.bare_name, self._record(secret)
        for entry in self.entries():
            if entry.record is record or entry.secret.name == bare:
                self._remove(entry)
        self._tombstones.set(bare, ticket)

    def holds(self, entry: Entry) -> bool:
        """Whether an entry is still held."""
        return entry in self._entries

    def bury(self, now: float, entries: Iterable[Entry]) -> None:
        """Forgets what may not be served any more, of these."""
        for entry in entries:
            if now >= entry.dead_at and entry in self._entries:
                self._remove(entry)

    def clear(self) -> None:
        """Forgets everything."""
        for entry in self.entries():
            self._remove(entry)

    def adopt(self, parent: Store) -> None:
        """Takes over what another process's store held when this process was forked off it.

        The parent's may be half-way through a change: an entry that was being removed is left out.
        """
        self._own_accounts = set(parent._own_accounts)
        self._partials = parent._partials
        self._tombstones.adopt(parent._tombstones)
        self.pins = parent.pins
        records = {record: _copy(record) for record in parent._records.values()}
        entries = {one: self._adopt(one, records) for one in parent.entries() if one.serve_until > _NEVER}
        self._records = {text: records[record] for text, record in parent._records.items() if records[record].entries}
        self.hot = {key: entries[entry] for key, entry in parent.hot.items() if entry in entries}
        self.primaries.update(parent.primaries)
        self._lineages.update({text: lineage.copy() for text, lineage in parent._lineages.items()})
        for one in parent.entries():
            if one not in entries and one.is_current:
                self._lineages[self._text(self.full_id(one))] = self._lineage_held(one).copy()

    def _adopt(self, entry: Entry, records: dict[Record, Record]) -> Entry:
        record = records.setdefault(entry.record, _copy(entry.record))
        mine = replace(entry, record=record)
        # Nobody refreshes ahead in this process yet: the first reader past that time sees to it.
        mine.serve_until = mine.serve_until if mine.failures else min(mine.serve_until, mine.refresh_at)
        record.entries += (mine,)
        self._entries[mine] = mine
        return mine

    def _text(self, secret: SecretId) -> str:
        return secret.in_region(self._regions[0])

    def _record(self, secret: SecretId) -> Record | None:
        record = self._records.get(self._text(secret))
        if record is None and secret.account in self._own_accounts:
            return self._records.get(self._text(self._by_name(secret)))
        return record

    def primary_of(self, secret: SecretId) -> str | None:
        """The region that is the secret's primary, if that was said, was learned or goes without saying."""
        record = self._record(secret)
        entry = record.entries[0] if record is not None and record.entries else None
        learned = self.primaries.get(self._text(self.full_id(entry))) if entry is not None else None
        return self._primary or self._only_region or learned

    def learn_primary(self, entry: Entry, region: str) -> None:
        """Remembers a secret's primary region; an empty text: it could not be learned."""
        self.primaries[self._text(self.full_id(entry))] = region

    def knows_about_primary(self, entry: Entry) -> bool:
        """Whether there is nothing to learn about a secret's primary region."""
        return bool(self._primary or self._only_region) or self._text(self.full_id(entry)) in self.primaries

    def lineage_of(self, secret: SecretId) -> Lineage | None:
        """What is known of a secret's versions, if there was more than one."""
        record = self._record(secret)
        return record.lineage if record is not None else None

    @staticmethod
    def is_paired(entry: Entry, previous: Secret | None) -> bool:
        """Whether AWSPREVIOUS, as it was read, is that of the current version held."""
        if entry.paired is not None:
            return entry.paired == (previous.version_id if previous is not None else "")
        if previous is None:  # where one was superseded, there ought to be one
            return entry.record.lineage is None or not entry.record.lineage.superseded
        held = _entry_of(entry.record, _PREVIOUS)
        asked_since = held is not None and held.secret is previous and held.ticket > entry.since
        # Another region may not have shown the current version yet when it was asked.
        return asked_since and previous.region == entry.since_region and previous.version_id != entry.secret.version_id

    @staticmethod
    def is_overtaken(entry: Entry, previous: Secret) -> bool:
        """Whether AWSPREVIOUS, as it was read, is the current version held: AWSCURRENT has moved on from that, then."""
        held = _entry_of(entry.record, _PREVIOUS)
        # Asked before the current version was accepted, it may tell of an earlier time at which that was current.
        asked_since = held is not None and held.secret is previous and held.brought > entry.since
        return asked_since and previous.version_id == entry.secret.version_id

    def is_pinned(self, entry: Entry) -> bool:
        """Whether somebody waits for this secret's rotation."""
        return any(self._record(pin) is entry.record for pin in self.pins)

    def full_id(self, entry: Entry) -> SecretId:
        """The full ARN of a secret that is held, without its region."""
        return answered_id(entry.secret.arn, entry.secret.region) or self.asked_as(entry.record)

    def _hold(  # noqa: PLR0913, PLR0917 - what an answer is made of
        self,
        record: Record,
        query: Query,
        secret: Secret,
        ticket: int,
        now: float,
        sure: bool = True,  # noqa: FBT001, FBT002
    ) -> Entry:
        which = _CURRENT if query.is_current else query.which  # one for nearly all
        entry = _entry_of(record, which)
        if entry is None:
            since = max(ticket, self.sent)
            entry = Entry(record, which, secret, ticket, ticket, now, since=since, since_region=secret.region)
            self._freshness.renew(entry)
            record.entries += (entry,)  # first: a record whose last entry has to go is forgotten
            self._make_room()
            self._entries[entry] = entry
            if entry.is_current:
                self._first(entry, sure=sure)
        elif entry.is_current:
            self._judge(entry, secret, ticket, now)
        elif ticket > entry.ticket:
            self._replace(entry, secret, ticket)
        return entry

    def _replace(self, entry: Entry, secret: Secret, ticket: int) -> None:
        if secret.version_id != entry.secret.version_id:
            entry.since, entry.since_region, entry.paired = max(ticket, self.sent), secret.region, None
        entry.secret, entry.ticket, entry.brought = secret, max(ticket, entry.ticket), ticket
        self._freshness.renew(entry)

    def _first(self, entry: Entry, *, sure: bool) -> None:
        """A current value where none was held: perhaps not the first of its secret."""
        lineage, secret, before = entry.record.lineage, entry.secret, None
        entry.record.refused = False
        if lineage is not None:
            if lineage.current != secret.version_id:
                before = lineage.current
                lineage.move(secret.version_id, entry.ticket, self.sent, secret.requested_at, sure=sure)
            lineage.note(secret.region, secret.version_id, entry.ticket, secret.requested_at, self.sent)
        self.accepted.append((entry, secret, before))

    def _judge(self, entry: Entry, secret: Secret, ticket: int, now: float) -> None:
        """A current value where one is held: may it take its place?"""
        lineage = entry.record.lineage
        if lineage is None and secret.version_id != entry.secret.version_id:
            lineage = entry.record.lineage = self._new_lineage(entry)
        primary = self.primary_of(self.asked_as(entry.record)) if lineage is not None else None
        if lineage is None:
            judgement = Judgement.SAME
        else:
            judgement = lineage.judge(secret.region, secret.version_id, ticket, now, primary, self.silent)
        if judgement is Judgement.LATE:
            self.outdated = self.outdated or _is_of_no_use(lineage, secret, entry, now)
            # What is held was asked for earlier still: who insists on a request of his own is owed a later one.
            owed = lineage is not None and entry.brought < ticket and lineage.believes(secret.region, ticket, primary)
            self.overlapped = self.overlapped or owed
            return
        if judgement in (Judgement.MOVED, Judgement.DIVERGED) and lineage is not None:
            before, sure = lineage.current, judgement is Judgement.MOVED
            lineage.move(secret.version_id, ticket, self.sent, secret.requested_at, sure=sure)
            self._replace(entry, secret, ticket)
            self.accepted.append((entry, secret, before))
        elif judgement is Judgement.SAME and ticket > entry.brought:
            self._replace(entry, secret, ticket)
        if lineage is not None:
            lineage.note(secret.region, secret.version_id, ticket, secret.requested_at, self.sent)
        self.overlapped = self.overlapped or judgement is Judgement.OVERLAPS
        if judgement in (Judgement.LAGS, Judgement.DOUBTED, Judgement.OVERLAPS, Judgement.DIVERGED):
            self.unplaced.append((entry, secret, judgement))
            self._doubt(lineage, secret, ticket, judgement)
            self.outdated = self.outdated or judgement is not Judgement.DIVERGED

    @staticmethod
    def _doubt(lineage: Lineage | None, secret: Secret, ticket: int, judgement: Judgement) -> None:
        if lineage is not None and judgement is not Judgement.DIVERGED:
            lineage.lags += 1
            lineage.doubted = (secret, ticket) if judgement is Judgement.DOUBTED else None

    def _lineage_held(self, entry: Entry) -> Lineage:
        return entry.record.lineage or self._new_lineage(entry)

    def _new_lineage(self, entry: Entry) -> Lineage:
        return self._lineage(entry.secret, entry.since, entry.ticket)

    @staticmethod
    def _lineage(secret: Secret, accepted: int, ticket: int) -> Lineage:
        version, region = secret.version_id, secret.region
        shown = {region: (version, ticket)}
        return Lineage(version, accepted, ticket, secret.requested_at, shown, caught_up={region})

    def _make_room(self) -> None:
        while len(self._entries) >= self._entries.maxsize:
            self._entries.pinned = {record for pin in self.pins if (record := self._record(pin)) is not None}
            self._remove(self._entries.popitem()[1])
            self.evictions += 1

    def _remove(self, entry: Entry) -> None:
        # First the times: a forked child, or a reader without the lock, may see this half done.
        entry.serve_until = entry.dead_at = _NEVER
        self._entries.pop(entry, None)
        record = entry.record
        if entry.is_current:
            lineage = self._lineages[self._text(self.full_id(entry))] = self._lineage_held(entry)
            lineage.doubted = None  # it holds a value
        # Whatever made it go: an answer asked for before it must not take its place.
        self._tombstones.set(entry.secret.name, entry.ticket, entry.which)
        record.entries = tuple(one for one in record.entries if one is not entry)
        for text in self._texts(entry):
            for key in (text, (text, *entry.which)):
                if self.hot.get(key) is entry:
                    del self.hot[key]
            if not record.entries and self._records.get(text) is record:
                del self._records[text]

    def _texts(self, entry: Entry) -> Iterator[str]:
        """Every text that can lead to an entry."""
        asked = self.asked_as(entry.record)
        full = answered_id(entry.secret.arn, entry.secret.region) or asked
        for one in {full, full.without_suffix(), SecretId(entry.secret.name), asked}:
            for region in self._regions:
                yield one.in_region(region)

    def _by_name(self, asked: SecretId) -> SecretId:
        # Names cannot cross accounts: a partial ARN of our own account is the name, and any other is only itself.
        is_partial_of_ours = asked.account in self._own_accounts and asked == asked.without_suffix()
        return SecretId(asked.name) if is_partial_of_ours else asked

    def _own(self, account: str) -> None:
        """Learns that an account is our own: from now on, names are ids of what is held by ARN."""
        self._own_accounts.add(account)
        for entry in self.entries():
            held = answered_id(entry.secret.arn, entry.secret.region)
            if held is None or held.account != account:
                continue
            if entry.ticket > self._tombstones.ticket(entry.secret.name, entry.which):
                self._records.setdefault(entry.secret.name, entry.record)
            else:  # refused by name since
                self._remove(entry)

    def _later_known(self, record: Record, texts: Iterable[str], ticket: int) -> bool:
        """Whether one of these ids is known, from a later request, to be another secret by now."""
        for text in texts:
            other = self._records.get(text)
            if other is not None and other is not record and any(entry.ticket > ticket for entry in other.entries):
                return True
        return False

    def foreign(self, query: Query, secret: Secret, now: float) -> Secret | None:
        """The value in whose place an answer would come that is another secret's, of the same name; None: it is not.

        A replica has its primary's suffix, so another suffix from another region is another secret. That the secret
        was deleted and made again is believed from the region that showed it, or from the primary.
        """
        answered = answered_id(secret.arn, secret.region)
        if answered is not None and not query.secret.is_arn and answered.account not in self._own_accounts:
            self._own(answered.account)  # the name may lead to what was read by ARN
        record = self._record(query.secret)
        if record is None or answered is None or query.secret == answered:
            return None
        if self._records.get(self._text(answered)) is record or not self._is_guarded(record, secret.region, now):
            return None
        return max(record.entries, key=lambda entry: entry.is_current).secret

    def _is_guarded(self, record: Record, region: str, now: float) -> bool:
        """Whether a secret may still be served, and that region has no say in whether it was made again.

        One whose AWSCURRENT was refused for good guards nothing: its AWSPREVIOUS, which is held yet, would hide the
        other one from every reader of the name, who has nothing else.
        """
        may_be_served = not record.refused and any(now < entry.dead_at for entry in record.entries)
        believed = region in record.shown_in or region == self.primary_of(self.asked_as(record))
        return may_be_served and not believed

    def _note_region(self, record: Record, region: str) -> None:
        if region not in record.shown_in:
            regions = (*record.shown_in, region)
            record.shown_in = self._shown_in.setdefault(regions, regions)

    def _lead(self, record: Record, texts: Iterable[str], region: str, now: float) -> None:
        for text in texts:
            before = self._records.get(text)
            if before is not None and before is not record:
                if self._is_guarded(before, region, now):  # read by its own ARN: the name goes on leading to the other
                    continue
                # The same name under a new suffix: a new secret, and the old one is gone.
                self._remove_all(before)
            self._records.setdefault(text, record)

    def _remove_all(self, record: Record) -> None:
        for entry in record.entries:
            self._remove(entry)


def _entry_of(record: Record, which: _Which) -> Entry | None:
    for entry in record.entries:
        if entry.which == which:
            return entry
    return None


def _is_of_no_use(lineage: Lineage | None, secret: Secret, stands: Entry, now: float) -> bool:
    """Whether who waits for a late answer has nothing: it may be behind, and what stands may not be served any more."""
    return lineage is not None and secret.version_id != lineage.current and now >= stands.dead_at


def _copy(record: Record) -> Record:
    lineage = record.lineage
    return replace(record, entries=(), lineage=lineage.copy() if lineage is not None else None)
