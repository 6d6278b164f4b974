"""A rotation, step by step as a rotation function takes them, and a database whose password follows."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from secretcache._errors import ConfigurationError
from secretcache._ids import CURRENT
from secretcache.testing._service import PENDING, Shown

if TYPE_CHECKING:
    from secretcache import Secret
    from secretcache.testing._fake import FakeSecretsManager
    from secretcache.testing._service import Stored, Version

__all__ = ["STEPS", "AccountLockedError", "FakeDatabase", "LoginRefusedError", "Rotation", "Session", "Step"]

Step: TypeAlias = Literal["create", "set", "test", "finish"]
STEPS: tuple[str, ...] = get_args(Step)


class Rotation:
    """A rotation under way: `create`, `set`, `test` and `finish` are the steps of AWS's rotation functions.

    Each is taken once, in that order; one that is left out is taken on the way. Made by `FakeSecretsManager.rotate`.
    """

    def __init__(self, manager: FakeSecretsManager, stored: Stored, version: Version) -> None:
        self._manager, self._stored, self._version = manager, stored, version
        self._taken = 0
        self._abandoned = False

    @property
    def secret_id(self) -> str:
        """The secret's name."""
        return self._stored.name

    @property
    def version_id(self) -> str:
        """The new version."""
        return self._version.id

    @property
    def step(self) -> str:
        """The last step that was taken; empty before the first."""
        return STEPS[self._taken - 1] if self._taken else ""

    def create(self) -> Rotation:
        """createSecret: the new version is there as AWSPENDING."""
        return self.until("create")

    def set(self) -> Rotation:
        """setSecret: the database takes the new password, and the old one no more."""
        return self.until("set")

    def test(self) -> Rotation:
        """testSecret: whether one can log in. Changes nothing here."""
        return self.until("test")

    def finish(self) -> Rotation:
        """finishSecret: AWSCURRENT moves to the new version. Replicas show it after their lag."""
        return self.until("finish")

    def until(self, step: Step) -> Rotation:
        """Takes the steps up to this one.

        Raises:
            ConfigurationError: `step` is no step, or was taken already.
        """
        if step not in STEPS:
            raise ConfigurationError(f"step must be one of {', '.join(STEPS)}, got {step!r}")
        if self._abandoned:
            raise ConfigurationError(f"step {step!r}: this rotation was abandoned after {self.step!r}")
        if self._taken > STEPS.index(step):
            raise ConfigurationError(f"step {step!r} was taken already; the last one was {self.step!r}")
        self._manager.clock.quietly_settle()
        while self.step != step:
            self._take(STEPS[self._taken])
            self._taken += 1
        return self

    def abandon(self) -> None:
        """The rotation function fails here: AWSPENDING stays, and so does what was set in the database."""
        self._abandoned = True

    def _take(self, step: str) -> None:
        if step == "create":
            shown = self._stored.shown.with_version(self._version).moved(PENDING, self._version.id)
            self._manager._write(self._stored, shown)  # noqa: SLF001 - a part of it
        elif step == "set":
            self._manager._set_in_databases(self._stored.name, self._version.content)  # noqa: SLF001
        elif step == "finish":
            shown = _finished(self._stored.shown, self._version.id)
            self._manager._write(self._stored, shown)  # noqa: SLF001

    def __repr__(self) -> str:
        return f"<Rotation of {self.secret_id!r} to {self.version_id} step={self.step!r}>"


def _finished(shown: Shown, version_id: str) -> Shown:
    shown = shown.moved(CURRENT, version_id)
    return shown.moved(PENDING, None) if shown.stages.get(PENDING) == version_id else shown


class LoginRefusedError(Exception):
    """The database does not take this user and password. Neither stands in the message."""


class AccountLockedError(Exception):
    """The database has refused too many logins in a row: it refuses the right password too."""


@dataclass(frozen=True)
class Session:
    """A login that was taken. It outlives a change of the password, as in the databases people use."""

    username: str
    login: int
    """Its number among those that were taken, from 1."""


class FakeDatabase:
    """A database with one account, whose password follows a secret's rotation at setSecret.

    The secret holds JSON with `username` and `password`, or the bare password. What is put by other means than a
    rotation (`put`, a client) does not reach the database.

    Args:
        manager: the fake that rotates.
        secret_id: the secret's name.
        lock_after: refused logins in a row after which the account is locked; None: never.

    Raises:
        ConfigurationError: there is no such secret; or an argument is not sound.
    """

    def __init__(self, manager: FakeSecretsManager, secret_id: str, *, lock_after: int | None = None) -> None:
        if lock_after is not None and (isinstance(lock_after, bool) or not isinstance(lock_after, int)):
            raise ConfigurationError(f"lock_after must be a whole number or None, got {lock_after!r}")
        self.accepted = 0
        """Logins that were taken."""
        self.refused = 0
        """Logins that were refused."""
        self._in_a_row = 0
        self._lock_after = lock_after
        self._lock = threading.Lock()
        self._account = _account(manager._follow(secret_id, self._set))  # noqa: SLF001 - a part of it

    @property
    def locked(self) -> bool:
        """Whether it refuses the right password too."""
        return self._lock_after is not None and self._in_a_row >= self._lock_after

    def connect(self, username: str, password: str) -> Session:
        """A login.

        Raises:
            LoginRefusedError: the user or the password is not right.
            AccountLockedError: the account is locked.
        """
        with self._lock:
            if self.locked:
                raise AccountLockedError("the account is locked after too many refused logins")
            if self._account not in ((username, password), ("", password)):
                self.refused += 1
                self._in_a_row += 1
                raise LoginRefusedError("the login was refused")
            self.accepted += 1
            self._in_a_row = 0
            return Session(username, self.accepted)

    def log_in(self, secret: Secret) -> Session:
        """A login with a secret; what to pass to `SecretCache.connect` as its `connect`."""
        return self.connect(*_account(secret.string))

    def unlock(self) -> None:
        """What an administrator does about a locked account."""
        with self._lock:
            self._in_a_row = 0

    @staticmethod
    def is_auth_error(error: Exception) -> bool:
        """What to pass to `SecretCache.connect` as its `is_auth_error`."""
        return isinstance(error, LoginRefusedError)

    def _set(self, content: str | bytes) -> None:
        with self._lock:
            self._account = _account(content)


def _account(content: str | bytes) -> tuple[str, str]:
    text = content if isinstance(content, str) else content.decode(errors="replace")
    parsed = as_object(text)
    if parsed is None or "password" not in parsed:
        return "", text
    return str(parsed.get("username", "")), str(parsed["password"])


def as_object(text: str | bytes) -> dict[str, Any] | None:
    """A value as a JSON object; None if it is none."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
