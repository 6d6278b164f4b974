"""A cache's regions and sessions where the caller has a client already, or has none."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from secretcache import SecretCache
from secretcache._client.shapes import service

__all__ = ["exceptions_of", "options_of"]

_OF_THE_CONFIG = frozenset({"ttl", "max_entries", "retry"})


def options_of(client: Any) -> dict[str, Any]:
    """The arguments of a `SecretCache` that asks what this client would ask.

    Without one they come from the environment. Of one made by `secretcache.client()` they are its cache's.
    """
    if client is None:
        return {}
    behind = getattr(client, "cache", None)
    if isinstance(behind, SecretCache):
        settings = behind._settings  # noqa: SLF001
        return {one.name: getattr(settings, one.name) for one in fields(settings) if one.name not in _OF_THE_CONFIG}
    return {"regions": [client.meta.region_name], "session_factory": lambda _: _Session(client)}


def exceptions_of(client: Any) -> Any:
    """The exceptions that the users of this client catch."""
    return service()[1] if client is None else client.exceptions


class _Session:
    """A session that makes no client: there is one."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def create_client(self, *_: Any, **__: Any) -> Any:
        """The client there is."""
        return _Lent(self._client)

    def get_credentials(self) -> None:
        """None to be loaded ahead of a request: the client has its own."""


class _Lent:
    """A client that stays its owner's: closing the cache does not close it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def close(self) -> None:
        """Does nothing."""
