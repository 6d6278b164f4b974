"""A store by itself, what is put into it, and what is asked of it."""

from __future__ import annotations

from typing import Any

from secretcache import Secret
from secretcache._freshness import Freshness, Retry
from secretcache._ids import Query, SecretId, parse_secret_id
from secretcache._secret import Lifetime
from secretcache._store import Entry, Store
from support import OSAKA, REGIONS, arn

TTL, MAX_STALE, TAKEOVER = 100.0, 1000.0, 5.0


def freshness(*, background: bool = True, chance: float = 0.5) -> Freshness:
    return Freshness(TTL, MAX_STALE, background, TAKEOVER, lambda: chance, Retry())


def store(max_entries: int = 8, primary: str | None = None, **more: bool) -> Store:
    return Store(freshness(**more), max_entries, REGIONS, primary)


def secret(
    name: str = "a", version: str = "v1", region: str = OSAKA, at: float = 0.0, suffix: str = "AbCdEf"
) -> Secret:
    return Secret(
        f"{name} {version}",
        arn=arn(region, name, suffix),
        name=name,
        version_id=version,
        version_stages=("AWSCURRENT",),
        region=region,
        created_date=None,
        requested_at=at,
        lifetime=Lifetime(lambda: 0.0, TTL),
    )


def by_name(name: str = "a", **which: Any) -> Query:
    return Query(SecretId(name), **which)


def by_arn(text: str) -> Query:
    return Query(parse_secret_id(text, REGIONS))


def put(held: Store, name: str, ticket: int, *, last_read: float | None = None, **of: Any) -> Entry:
    entry = held.put(by_name(name), secret(name, **of), ticket, 0.0)
    assert entry is not None
    if last_read is not None:
        entry.last_read = last_read
    return entry


def names(held: Store) -> set[str]:
    return {entry.secret.name for entry in held.entries()}
