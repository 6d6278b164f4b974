"""The connections of a psycopg pool that Django makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from typing_extensions import Self

    from secretcache.integrations._stamps import Stamp
    from secretcache.integrations.django._source import Source

__all__ = ["PooledConnection"]


class PooledConnection(psycopg.Connection[Any]):
    """A connection that logs in with the secret of today, whatever the pool was made with."""

    stamp: Stamp

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """Logs in, bridging a rotation, with the credentials of the `Source` among the arguments."""
        source: Source = kwargs.pop("secretcache")
        connect = super().connect
        opened = source.connect(lambda credentials: connect(conninfo, **source.completed(kwargs, credentials)))
        opened.connection.stamp = opened.stamp
        return opened.connection
