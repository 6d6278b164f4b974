"""What is held.

Entries, the ids that lead to them, how long each may be served, and which goes when there are too many.

Every method but the dictionary behind `hot` is used under the cache's lock. A hit reads `hot` without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import cachetools

from secretcache._ids import Query, SecretId
from secretcache._versions import answered_id, may_replace

if TYPE_CHECKING:
    from secretcache._secret import Secret

__all__ = ["Entry", "HotKey", "Store"]

HotKey: TypeAlias = "str | tuple[str, str | None, str | None]"
"""What a reader passed: the bare id for AWSCURRENT, else the id with stage and version."""


@dataclass(slots=True, eq=False)
class Entry:
    """One version of one secret, as it is held."""

    query: Query
    """How it is asked for: as it was first asked, so that a name made again under a new suffix is found."""
    secret: Secret
    serve_until: float
    """Until then a read returns `secret` and decides nothing."""
    dead_at: float
    """From then on it is not served, whatever the regions do."""
    last_read: float
    aliases: list[Query] = field(default_factory=list)
    hot_keys: list[HotKey] = field(default_factory=list)


class _Bounded(cachetools.Cache[int, Entry]):
    """A bounded map, by identity, that lets go of the entry read longest ago.

    Readers stamp `last_read` without a lock, so the order is known only when it is looked for: 60 us for 1024
    entries, and only when a cold read finds the map full. An LRU list would double the price of every hit.
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
        self._by_query: dict[Query, Entry] = {}
        self._own_accounts: set[str] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, query: Query) -> Entry | None:
        """The entry a query leads to, by any id known to be the same secret."""
        return self._by_query.get(query) or self._by_query.get(self._by_name(query))

    def keep_hot(self, key: HotKey, entry: Entry) -> None:
        """Lets the next read with this key find the entry without a lock."""
        if self.hot.get(key) is not entry:
            self._unhook(key)
            self.hot[key] = entry
            entry.hot_keys.append(key)

    def put(self, query: Query, secret: Secret, now: float) -> Entry:
        """Holds an answer, unless a later one is held already; returns the entry that stands afterwards."""
        full = self._full(query, secret)
        entry = self._by_query.get(full)
        if entry is None:
            entry = self._insert(query, secret, now)
        elif may_replace(entry.secret, secret):
            entry.secret, entry.serve_until, entry.dead_at = secret, *self._lifetime(query, secret)
        for alias in (full, self._by_name(query), *self._trusted_name(full, secret)):
            self._lead(alias, entry)
        return entry

    def drop(self, entry: Entry) -> None:
        """Forgets an entry and every way to it."""
        self._entries.pop(id(entry), None)
        for alias in entry.aliases:
            del self._by_query[alias]
        for key in entry.hot_keys:
            del self.hot[key]
        entry.aliases, entry.hot_keys = [], []

    def clear(self) -> None:
        """Forgets everything."""
        for entry in list(self._entries.values()):
            self.drop(entry)

    def stand_in(self, entry: Entry, until: float) -> None:
        """Lets an old value be served for a while longer, never past its end."""
        entry.serve_until = max(entry.serve_until, min(until, entry.dead_at))

    def _insert(self, query: Query, secret: Secret, now: float) -> Entry:
        while len(self._entries) >= self._entries.maxsize:
            self.drop(self._entries.popitem()[1])
            self.evictions += 1
        entry = Entry(query, secret, *self._lifetime(query, secret), last_read=now)
        self._entries[id(entry)] = entry
        return entry

    def _lifetime(self, query: Query, secret: Secret) -> tuple[float, float]:
        # A version read by its id never changes: only the right to read it is asked again.
        fresh = self._ttl if query.version_id is None else max(self._ttl, self._max_stale)
        return secret.requested_at + fresh, secret.requested_at + self._ttl + self._max_stale

    def _full(self, query: Query, secret: Secret) -> Query:
        answered = answered_id(secret.arn, secret.region)
        if answered is None:  # not reached: an answer with another ARN is no answer
            return query
        if not query.secret.is_arn:
            self._own_accounts.add(answered.account)
        return replace(query, secret=answered)

    def _by_name(self, query: Query) -> Query:
        # Names cannot cross accounts: a partial ARN of our own account is the name, and any other is only itself.
        asked = query.secret
        partial_of_ours = asked.account in self._own_accounts and asked == asked.without_suffix()
        return replace(query, secret=SecretId(asked.name)) if partial_of_ours else query

    def _trusted_name(self, full: Query, secret: Secret) -> tuple[Query, ...]:
        return (replace(full, secret=SecretId(secret.name)),) if full.secret.account in self._own_accounts else ()

    def _lead(self, alias: Query, entry: Entry) -> None:
        before = self._by_query.get(alias)
        if before is entry:
            return
        if before is not None:  # the same name under a new suffix: a new secret, and the old one is gone
            self.drop(before)
        self._by_query[alias] = entry
        entry.aliases.append(alias)

    def _unhook(self, key: HotKey) -> None:
        entry = self.hot.pop(key, None)
        if entry is not None:
            entry.hot_keys.remove(key)
