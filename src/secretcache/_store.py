"""What is held: secrets, the ids that lead to them, how long each value may be served, and which goes when it is full.

Everything here is used under the cache's lock, except the dictionary `hot`: a hit reads it without.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import cachetools

from secretcache._ids import Query, SecretId
from secretcache._versions import answered_id

if TYPE_CHECKING:
    from secretcache._freshness import Freshness
    from secretcache._secret import Secret

__all__ = ["Entry", "HotKey", "Record", "Store"]

HotKey: TypeAlias = "str | tuple[str, str | None, str | None]"
"""What a reader passed: the bare id for AWSCURRENT, else the id with stage and version."""
_Which: TypeAlias = "tuple[str | None, str | None]"
_NEVER = float("-inf")


@dataclass(slots=True, eq=False)
class Record:
    """One secret: the ids that lead to it, and its versions held."""

    address: SecretId
    """How it is asked for: as it was first asked, so that a name made again under a new suffix is found."""
    aliases: tuple[SecretId, ...] = ()
    entries: dict[_Which, Entry] = field(default_factory=dict)
    floor: int = 0
    """Answers to requests up to this ticket are not held: something was dropped after they were sent."""


@dataclass(slots=True, eq=False)
class Entry:
    """One version of one secret, as it is held."""

    record: Record
    which: _Which
    secret: Secret
    ticket: int
    """The number of the request that brought it: later requests have higher ones, whatever the clock says."""
    last_read: float
    serve_until: float = _NEVER
    """Until then a read returns `secret` and decides nothing."""
    refresh_at: float = _NEVER
    """When it is asked for again, ahead of need or after a failure."""
    stale_at: float = _NEVER
    """When `ttl` is over."""
    dead_at: float = _NEVER
    """From then on it is not served, whatever the regions do."""
    failures: int = 0
    """How often in a row no region could answer for it."""
    hot_keys: tuple[HotKey, ...] = ()


class _Bounded(cachetools.Cache[int, Entry]):
    """A bounded map, by identity, that lets go of the entry read longest ago.

    Readers stamp `last_read` without a lock, so the order is known only when it is looked for: 60 us for 1024 entries,
    and only when a cold read finds the map full. An LRU list would double the price of every hit.
    """

    def popitem(self) -> tuple[int, Entry]:
        """Removes the entry read longest ago."""
        key = min(self, key=lambda one: self[one].last_read)
        return key, self.pop(key)


class Store:
    """The values of one cache."""

    def __init__(self, freshness: Freshness, max_entries: int) -> None:
        self.hot: dict[HotKey, Entry] = {}
        self.evictions = 0
        self._freshness = freshness
        self._entries = _Bounded(max_entries)
        self._records: dict[SecretId, Record] = {}
        self._own_accounts: set[str] = set()
        self._floor = 0
        """As `Record.floor`, for secrets that have no record."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, query: Query) -> Entry | None:
        """The entry a query leads to, by any id known to be the same secret."""
        record = self._record(query.secret)
        return record.entries.get((query.stage, query.version_id)) if record else None

    def address(self, secret: SecretId) -> SecretId:
        """The id under which a secret is asked for: the same for all ids known to be the same secret."""
        record = self._record(secret)
        return record.address if record else secret

    def keep_hot(self, key: HotKey, entry: Entry) -> None:
        """Lets the next read with this key find the entry without a lock."""
        before = self.hot.get(key)
        if before is entry:
            return
        if before is not None:
            before.hot_keys = tuple(one for one in before.hot_keys if one != key)
        self.hot[key] = entry
        entry.hot_keys += (key,)

    def put(self, query: Query, secret: Secret, ticket: int, now: float) -> Entry | None:
        """Holds an answer, unless a later one is held already; returns the entry that stands afterwards.

        None: the answer may not be held, because its secret was dropped after the request was sent.
        """
        full = answered_id(secret.arn, secret.region) or query.secret
        record = self._records.get(full)
        if ticket <= (record.floor if record else self._floor):
            return None
        if not query.secret.is_arn:
            self._own_accounts.add(full.account)
        record = record or Record(query.secret)
        self._lead(record, (full, self._by_name(query.secret), *self._trusted_name(full, secret)))
        return self._hold(record, query, secret, ticket, now)

    def drop(self, entry: Entry, ticket: int) -> None:
        """Forgets a value. Answers to requests up to that ticket do not bring it back."""
        entry.record.floor = self._floor = ticket
        self._remove(entry)

    def bury(self, now: float) -> None:
        """Forgets what may not be served any more."""
        for entry in self.entries():
            if now >= entry.dead_at:
                self._remove(entry)

    def clear(self) -> None:
        """Forgets everything."""
        for entry in list(self._entries.values()):
            self._remove(entry)

    def forget(self, secret: SecretId, ticket: int) -> None:
        """Forgets a whole secret, as `drop` does one value; one that is not known yet included."""
        record = self._record(secret)
        self._floor = ticket
        if record is not None:
            record.floor = ticket
            self._remove_all(record)

    def entries(self) -> list[Entry]:
        """All that is held."""
        return list(self._entries.values())

    def adopt(self, parent: Store) -> None:
        """Takes over what another process's store held when this process was forked off it.

        The parent's may be half-way through a change: an entry that was being removed is left out.
        """
        self._own_accounts, self._floor = set(parent._own_accounts), parent._floor
        copies: dict[int, Record] = {}
        for entry in parent.entries():
            if entry.serve_until > _NEVER:
                self._adopt(entry, copies.setdefault(id(entry.record), Record(entry.record.address)))

    def _record(self, secret: SecretId) -> Record | None:
        return self._records.get(secret) or self._records.get(self._by_name(secret))

    def _hold(self, record: Record, query: Query, secret: Secret, ticket: int, now: float) -> Entry:
        which = (query.stage, query.version_id)
        entry = record.entries.get(which)
        if entry is None:
            entry = Entry(record, which, secret, ticket, last_read=now)
            self._freshness.renew(entry)
            self._make_room()
            record.entries[which] = self._entries[id(entry)] = entry
        elif ticket > entry.ticket:
            entry.secret, entry.ticket = secret, ticket
            self._freshness.renew(entry)
        return entry

    def _make_room(self) -> None:
        while len(self._entries) >= self._entries.maxsize:
            self._remove(self._entries.popitem()[1])
            self.evictions += 1

    def _adopt(self, entry: Entry, record: Record) -> None:
        self._lead(record, entry.record.aliases)
        record.floor = entry.record.floor
        mine = replace(entry, record=record, hot_keys=())
        # Nobody refreshes ahead in this process yet: the first reader past that time sees to it.
        mine.serve_until = mine.serve_until if mine.failures else min(mine.serve_until, mine.refresh_at)
        record.entries[mine.which] = self._entries[id(mine)] = mine
        for key in entry.hot_keys:
            self.keep_hot(key, mine)

    def _remove(self, entry: Entry) -> None:
        # First the times: a forked child, or a reader without the lock, may see this half done.
        entry.serve_until = entry.stale_at = entry.dead_at = _NEVER
        for key in entry.hot_keys:
            del self.hot[key]
        entry.hot_keys = ()
        self._entries.pop(id(entry), None)
        record = entry.record
        record.entries.pop(entry.which, None)
        if not record.entries:
            self._unlead(record)

    def _by_name(self, asked: SecretId) -> SecretId:
        # Names cannot cross accounts: a partial ARN of our own account is the name, and any other is only itself.
        is_partial_of_ours = asked.account in self._own_accounts and asked == asked.without_suffix()
        return SecretId(asked.name) if is_partial_of_ours else asked

    def _trusted_name(self, full: SecretId, secret: Secret) -> tuple[SecretId, ...]:
        return (SecretId(secret.name),) if full.account in self._own_accounts else ()

    def _lead(self, record: Record, aliases: tuple[SecretId, ...]) -> None:
        for alias in dict.fromkeys(aliases):
            before = self._records.get(alias)
            if before is record:
                continue
            if before is not None:  # the same name under a new suffix: a new secret, and the old one is gone
                self._remove_all(before)
            self._records[alias] = record
            record.aliases += (alias,)

    def _unlead(self, record: Record) -> None:
        for alias in record.aliases:
            del self._records[alias]
        record.aliases = ()

    def _remove_all(self, record: Record) -> None:
        for entry in list(record.entries.values()):
            self._remove(entry)
