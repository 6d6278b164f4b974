"""A small application: it logs in to its database with a secret that rotates, and signs with another."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Protocol

from secretcache import default_cache

if TYPE_CHECKING:
    from secretcache import Secret

__all__ = ["Orders", "sign"]


class Database(Protocol):
    """What the application needs of its database driver."""

    def log_in(self, secret: Secret) -> object:
        """One login; raises where it is refused."""

    def is_auth_error(self, error: Exception) -> bool:
        """Whether an error means that the password was refused."""


class Orders:
    """Keeps one session, and makes a new one when the password has rotated."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._session: object | None = None
        self.logins = 0
        default_cache().add_rotation_hook("prod/orders-db", self._rotated)

    def handle(self) -> str:
        """One request of a user."""
        if self._session is None:
            self._session = default_cache().connect(
                "prod/orders-db", self._database.log_in, is_auth_error=self._database.is_auth_error
            )
            self.logins += 1
        return "ok"

    def _rotated(self, _: object) -> None:
        self._session = None


def sign(message: bytes) -> str:
    """Signs with the current key."""
    return hmac.new(default_cache().get("prod/signing-key").binary, message, hashlib.sha256).hexdigest()
