"""Test databases."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.mysql import creation

from secretcache.integrations.django._backend import SecretCreation, with_credentials

__all__ = ["DatabaseCreation"]


class DatabaseCreation(SecretCreation, creation.DatabaseCreation):
    """Test databases. Those of `test --parallel` are copied by MySQL's own programs, which log in by themselves."""

    def _clone_db(self, source_database_name: str, target_database_name: str) -> None:
        from secretcache.integrations.django.mysql.base import DatabaseWrapper  # noqa: PLC0415 - it imports this

        # The stock method has the stock client read the settings: it gets some with a password.
        settings = with_credentials(DatabaseWrapper(self.connection.settings_dict, NO_DB_ALIAS))
        stock: Any = creation.DatabaseCreation(cast("Any", SimpleNamespace(settings_dict=settings)))
        stock._clone_db(source_database_name, target_database_name)  # noqa: SLF001
