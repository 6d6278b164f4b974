"""The wrapper Django looks for."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base, creation
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from secretcache.integrations._auth_errors import LOCKS_NO_ACCOUNTS, psycopg2_refused, psycopg2_told, psycopg_refused
from secretcache.integrations.django._backend import SecretCreation, SecretLogin
from secretcache.integrations.django.postgresql.client import DatabaseClient

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DatabaseCreation", "DatabaseWrapper"]


class DatabaseCreation(SecretCreation, creation.DatabaseCreation):
    """Test databases."""


class DatabaseWrapper(SecretLogin, base.DatabaseWrapper):
    """PostgreSQL, with a login from the secret that the alias's `SECRET` names."""

    bridge: ClassVar[Mapping[str, Any]] = LOCKS_NO_ACCOUNTS
    client_class = DatabaseClient
    creation_class = DatabaseCreation

    def is_auth_error(self, error: Exception) -> bool:
        """Whether psycopg says that the password was refused."""
        return psycopg_refused(error) if is_psycopg3 else psycopg2_refused(error)

    def __init__(self, settings_dict: dict[str, Any], alias: str = "default") -> None:
        super().__init__(settings_dict, alias)
        options = settings_dict.get("OPTIONS", {})
        if is_psycopg3 and options.get("pool"):
            # In place: the test runner and other threads share these settings.
            options["pool"] = _with_class({} if options["pool"] is True else options["pool"])

    def get_connection_params(self) -> dict[str, Any]:
        """Stock parameters; those that a pool keeps say where each of its connections logs in."""
        params = self._stock_params()
        if not is_psycopg3:
            params.setdefault("connection_factory", _telling_class())
        return {**params, "secretcache": self.source} if self._pooled else params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Logs in, or takes a connection from the pool that is not due, and alive where CONN_HEALTH_CHECKS says so."""
        if not self._pooled:
            return super().get_new_connection(conn_params)
        take = super(SecretLogin, self).get_new_connection
        connection = take(conn_params)
        # So many may have been killed; the one after them was made since.
        for _ in range(self.pool.max_size):
            if not self._retire(connection) and self._lives(connection):
                break
            self.pool.putconn(connection)
            connection = take(conn_params)
        self._stamp = connection.stamp
        return connection

    @property
    def pool(self) -> Any:
        """Django's own pool, without a `check`: after one that fails, psycopg_pool sleeps for a second."""
        # Settings are shared between threads: a twin makes the pool.
        twin = copy.copy(self)
        twin.settings_dict = cast("Any", {**self.settings_dict, "CONN_HEALTH_CHECKS": False})
        return super(DatabaseWrapper, twin).pool

    def _lives(self, connection: Any) -> bool:
        """Whether a connection of the pool works, as far as the settings want to know."""
        if not self.settings_dict["CONN_HEALTH_CHECKS"]:
            return True
        try:
            self.pool.check_connection(connection)
        except self.Database.Error:
            return False
        return True

    def _stock_params(self) -> dict[str, Any]:
        if self.settings_dict["NAME"] != "":
            return super().get_connection_params()
        # The stock method insists on a name, which the secret may change with each version: it is asked at each login.
        # This wrapper may be shared between threads: a twin gets a name.
        twin = copy.copy(self)
        twin.settings_dict = cast("Any", {**self.settings_dict, "NAME": "of the secret"})
        params = super(DatabaseWrapper, twin).get_connection_params()
        named = self.settings_dict["OPTIONS"].get("dbname")
        return {name: value for name, value in params.items() if name != "dbname" or named}

    @property
    def _pooled(self) -> bool:
        return self.alias != NO_DB_ALIAS and bool(self.settings_dict["OPTIONS"].get("pool"))

    def _close(self) -> None:
        if self.connection is not None and self._pooled:
            self._retire(self.connection)
        super()._close()  # type: ignore[misc] # the stubs lack it

    def _retire(self, connection: Any) -> bool:
        """Has the pool replace a connection that is due, when it gets it back."""
        if due := self.source.is_due(connection.stamp):
            connection._expire_at = 0.0  # noqa: SLF001 - the pool's own mark; a closed one it would warn of
        return due


def _telling_class() -> type[Any]:
    from psycopg2.extensions import connection  # noqa: PLC0415 - where there is no psycopg 3

    return psycopg2_told(connection)


def _with_class(options: dict[str, Any]) -> dict[str, Any]:
    from secretcache.integrations.django.postgresql.pooled import PooledConnection  # noqa: PLC0415 - psycopg 3 alone

    chosen = options.get("connection_class", PooledConnection)
    if not issubclass(chosen, PooledConnection):
        name = f"{PooledConnection.__module__}.{PooledConnection.__qualname__}"
        raise ImproperlyConfigured(f'OPTIONS["pool"]: connection_class must be a subclass of {name}')
    return {**options, "connection_class": chosen}
