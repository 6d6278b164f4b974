"""The wrapper Django looks for."""

from __future__ import annotations

from django.db.backends.mysql import base

from secretcache.integrations._auth_errors import mysql_refused
from secretcache.integrations.django._backend import SecretLogin
from secretcache.integrations.django.mysql.client import DatabaseClient
from secretcache.integrations.django.mysql.creation import DatabaseCreation

__all__ = ["DatabaseWrapper"]


class DatabaseWrapper(SecretLogin, base.DatabaseWrapper):
    """MySQL or MariaDB, with a login from the secret that the alias's `SECRET` names."""

    client_class = DatabaseClient
    creation_class = DatabaseCreation

    def is_auth_error(self, error: Exception) -> bool:
        """Whether mysqlclient says that the password was refused."""
        return mysql_refused(error)
