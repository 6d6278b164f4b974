"""What dbshell runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import client

from secretcache.integrations.django._backend import with_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DatabaseClient"]


class DatabaseClient(client.DatabaseClient):
    """psql, with a password that has just worked, in its environment and not among its arguments."""

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        """Logs in once to find that password."""
        from secretcache.integrations.django.postgresql.base import DatabaseWrapper  # noqa: PLC0415 - it imports this

        filled = with_credentials(DatabaseWrapper(settings_dict, NO_DB_ALIAS))
        return super().settings_to_cmd_args_env(filled, parameters)
