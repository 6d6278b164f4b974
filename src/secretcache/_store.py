"""What is held: secrets, the ids that lead to them, how long each value may be served, and which goes when it is full.

Everything here is used under the cache's lock, except the dictionary `hot`: a hit reads it without.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import cachetools

from secretcache._ids import Query, SecretId
from secretcache._versions import answered_id

if TYPE_CHECKING:
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
    serve_until: float
    """Until then a read returns `secret` and decides nothing."""
    dead_at: float
    """From then on it is not served, whatever the regions do."""
    last_read: float
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

    def __init__(self, *, ttl: float, max_stale: float, max_entries: int) -> None:
        self.hot: dict[HotKey, Entry] = {}
        self.evictions = 0
        self._ttl = ttl
        self._max_stale = max_stale
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

    def clear(self) -> None:
        """Forgets everything."""
        for entry in list(self._entries.values()):
            self._remove(entry)

    def stand_in(self, entry: Entry, until: float) -> None:
        """Lets an old value be served for a while longer, never past its end."""
        entry.serve_until = max(entry.serve_until, min(until, entry.dead_at))

    def _record(self, secret: SecretId) -> Record | None:
        return self._records.get(secret) or self._records.get(self._by_name(secret))

    def _hold(self, record: Record, query: Query, secret: Secret, ticket: int, now: float) -> Entry:
        which = (query.stage, query.version_id)
        entry = record.entries.get(which)
        serve_until, dead_at = self._lifetime(query, secret)
        if entry is None:
            entry = Entry(record, which, secret, ticket, serve_until, dead_at, last_read=now)
            self._make_room()
            record.entries[which] = self._entries[id(entry)] = entry
        elif ticket > entry.ticket:
            entry.secret, entry.ticket, entry.serve_until, entry.dead_at = secret, ticket, serve_until, dead_at
        return entry

    def _make_room(self) -> None:
        while len(self._entries) >= self._entries.maxsize:
            self._remove(self._entries.popitem()[1])
            self.evictions += 1

    def _lifetime(self, query: Query, secret: Secret) -> tuple[float, float]:
        # A version read by its id never changes: only the right to read it is asked again.
        fresh = self._ttl if query.version_id is None else max(self._ttl, self._max_stale)
        return secret.requested_at + fresh, secret.requested_at + self._ttl + self._max_stale

    def _remove(self, entry: Entry) -> None:
        # First the times: a forked child, or a reader without the lock, may see this half done.
        entry.serve_until = entry.dead_at = _NEVER
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
