"""A secret that rotates and a database that follows, for the tests of `connect`: no region, no socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any, TypeVar, cast

from secretcache import Secret, SecretCache, SecretNotFoundError, SecretUnavailableError
from secretcache._bridged import Bridged
from secretcache._events import Event
from secretcache._secret import Lifetime
from support import OSAKA, TOKYO, ManualRuntime, arn

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
T = TypeVar("T")


class WrongPasswordError(Exception):
    """As a driver raises it."""


class LockedError(Exception):
    """The account is locked: the right password is refused too."""


def is_wrong_password(error: Exception) -> bool:
    return isinstance(error, WrongPasswordError)


def secret(version: str, region: str = TOKYO, *, name: str = "prod/db", **fields: Any) -> Secret:
    """Version v1 has the password pw-v1."""
    content = {"host": "db", "port": 5432, "username": "app", "password": f"pw-{version}", **fields}
    return Secret(
        json.dumps({key: value for key, value in content.items() if value is not None}),
        arn=arn(region, name),
        name=name,
        version_id=version,
        version_stages=(CURRENT,),
        region=region,
        created_date=datetime(2026, 11, 26, tzinfo=timezone.utc),
        requested_at=0.0,
        lifetime=Lifetime(lambda: 0.0, 300.0),
    )


class FakeCache:
    """What `connect` needs of a cache: AWSCURRENT as held, and reads of the primary and of a replica behind it."""

    connect = SecretCache.connect
    aconnect = SecretCache.aconnect

    def __init__(self, held: str = "v1", **stages: str) -> None:
        self._runtime = ManualRuntime()
        self.primary = {CURRENT: held, **stages}
        self.replica = dict(self.primary)
        self.primary_up = True
        self.fields: dict[str, dict[str, Any]] = {}
        self.held = held
        self.moved = 0
        self.reads: list[tuple[str, str | None]] = []
        self.seconds: list[float] = []
        self.events: list[Event] = []
        self.looks: list[str] = []
        self.bridged = Bridged(self._runtime)
        self.on_read: Callable[[str], None] = lambda stage: None

    # As SecretCache has them.

    def get(self, secret_id: str, *, timeout: float | None = None) -> Secret:
        return self._secret(self.held)

    async def aget(self, secret_id: str, *, timeout: float | None = None) -> Secret:
        return self._secret(self.held)

    def _fresh(
        self,
        secret_id: str,
        *,
        stage: str = CURRENT,
        newer_than: str | None = None,
        useless: frozenset[str] = frozenset(),
        timeout: float = 0.0,
    ) -> Secret:
        self.reads.append((stage, newer_than))
        self.seconds.append(timeout)
        self.on_read(stage)
        regions = ([self.primary] if self.primary_up else []) + [self.replica]
        shown = [region[stage] for region in regions if stage in region]
        if not shown:
            raise (SecretNotFoundError if self.primary_up else SecretUnavailableError)(f"no {stage}")
        version = next((one for one in shown if one not in {newer_than, *useless}), shown[0])
        if stage == CURRENT and version != self.held:
            self.held, self.moved = version, self.moved + 1
        return self._secret(version)

    async def _afresh(self, secret_id: str, **more: Any) -> Secret:
        return self._fresh(secret_id, **more)

    def _held_version(self, secret_id: str) -> str | None:
        return self.held

    def _held_secret(self, secret_id: str) -> Secret:
        return self._secret(self.held)

    def _look_behind(self, secret_id: str, newer_than: str) -> None:
        self.looks.append(newer_than)

    def _bridged_logins(self) -> Bridged:
        return self.bridged

    def _standing(self, secret_id: str) -> tuple[str, int]:
        return self.held, self.moved

    def _emit(self, event: Event) -> None:
        self.events.append(event)

    # What a test does with it.

    def moves_to(self, version: str) -> None:
        """AWSCURRENT moves, and the process sees it."""
        self.primary[CURRENT] = self.replica[CURRENT] = self.held = version
        self.moved += 1

    def log_in(self, login: Callable[[Secret], T], **options: Any) -> T:
        options = {"is_auth_error": is_wrong_password, **options}
        return cast("SecretCache", self).connect("prod/db", login, **options)

    async def alog_in(self, login: Callable[[Secret], Awaitable[T]], **options: Any) -> T:
        options = {"is_auth_error": is_wrong_password, **options}
        return await cast("SecretCache", self).aconnect("prod/db", login, **options)

    def _secret(self, version: str) -> Secret:
        return secret(version, TOKYO if self.primary_up else OSAKA, **self.fields.get(version, {}))


class Database:
    """Accepts one version's password per user, and locks an account after five refusals in a row."""

    def __init__(self, version: str = "v1", lockout: int = 5) -> None:
        self.version = version
        self.lockout = lockout
        self.seen: list[str] = []
        self.refused = 0
        self.most_at_once = 0
        self.before: Callable[[Secret], None] = lambda secret: None
        """Called in each login, before the password is looked at."""
        self._in_a_row: dict[str, int] = {}
        self._at_once = 0
        self._lock = threading.Lock()

    def log_in(self, secret: Secret) -> str:
        with self._lock:
            self.seen.append(secret.version_id)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            self.before(secret)
            return self._judge(secret)
        finally:
            with self._lock:
                self._at_once -= 1

    def _judge(self, secret: Secret) -> str:
        user = secret["username"]
        with self._lock:
            if self._in_a_row.get(user, 0) >= self.lockout:
                raise LockedError(user)
            if secret["password"] == f"pw-{self.version}":
                self._in_a_row[user] = 0
                return f"{user} in with {secret.version_id}"
            self._in_a_row[user] = self._in_a_row.get(user, 0) + 1
            self.refused += 1
            raise WrongPasswordError(f"password authentication failed for user {user!r}")
