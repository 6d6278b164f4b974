"""A rotation's window: how fast logins go before it, in it, and after it, beside a bare login with the right password."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from statistics import median

from measure import Case, Line, Outcome, Scale, at_least, at_most
from secretcache import Secret, SecretCache
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.scenario import new_cache
from support import OSAKA, TOKYO

THREADS = (1, 8, 32, 60)
LOGIN_SECONDS = (0.005, 0.030)
"""A login on the same network, and one over TLS."""
_names = (f"prod/window-{number}" for number in count())


class RefusedError(Exception):
    """The database does not take this password."""


class Database:
    """Takes one password at a time, and as long for a login as a network and a key derivation do."""

    def __init__(self, password: str, seconds: float) -> None:
        self.password, self.seconds = password, seconds
        self.refused = 0
        self._lock = threading.Lock()

    def log_in(self, password: str) -> None:
        time.sleep(self.seconds / 2)
        took = password == self.password
        time.sleep(self.seconds / 2)
        if not took:
            with self._lock:
                self.refused += 1
            raise RefusedError


@dataclass
class Rotating:
    """A secret in two regions, a database that it logs in to, and a cache that prefers the replica."""

    embedded: EmbeddedSecretsManager
    cache: SecretCache
    database: Database
    name: str = field(default_factory=lambda: next(_names))

    def __post_init__(self) -> None:
        self.embedded.create(self.name, self._content("one"))
        self.old = self._current()
        self.cache.get(self.name)

    def open_window(self) -> None:
        """createSecret and setSecret: from here on AWSCURRENT is wrong, and only AWSPENDING logs in."""
        made = self.embedded.admin().put_secret_value(
            SecretId=self.name, SecretString=self._content("two"), VersionStages=["AWSPENDING"]
        )
        self.new = str(made["VersionId"])
        self.database.password = "two"

    def close_window(self) -> None:
        """finishSecret: AWSCURRENT moves, in the primary and in the replica."""
        self.embedded.admin().update_secret_version_stage(
            SecretId=self.name, VersionStage="AWSCURRENT", MoveToVersionId=self.new, RemoveFromVersionId=self.old
        )

    def log_in(self, max_refusals: int | None) -> Callable[[], None]:
        def one(secret: Secret) -> None:
            self.database.log_in(secret["password"])

        def is_refused(error: Exception) -> bool:
            return isinstance(error, RefusedError)

        return lambda: self.cache.connect(
            self.name, one, is_auth_error=is_refused, target=self.name, max_refusals=max_refusals
        )

    def bare(self) -> None:
        self.database.log_in(self.database.password)

    def _content(self, password: str) -> str:
        return json.dumps({"username": "app", "password": password})

    def _current(self) -> str:
        shown = self.embedded.admin(TOKYO).get_secret_value(SecretId=self.name, VersionStage="AWSCURRENT")
        return str(shown["VersionId"])


@dataclass
class Rate:
    """What a number of threads reached, logging in all the time."""

    per_second: float
    median: float
    longest: float
    failed: int


def rate(threads: int, log_in: Callable[[], None], seconds: float) -> Rate:
    over, taken, failed = threading.Event(), list[float](), list[Exception]()

    def work() -> None:
        while not over.is_set():
            begun = time.perf_counter()
            try:
                log_in()
            except Exception as error:  # noqa: BLE001 - each is counted
                failed.append(error)
            taken.append(time.perf_counter() - begun)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    begun = time.perf_counter()
    for one in workers:
        one.start()
    over.wait(seconds)
    over.set()
    for one in workers:
        one.join()
    spent = time.perf_counter() - begun
    return Rate(len(taken) / spent, median(taken), max(taken), len(failed))


@contextmanager
def regions() -> Iterator[EmbeddedSecretsManager]:
    with EmbeddedSecretsManager(TOKYO, [OSAKA]) as embedded:
        yield embedded


def rotation_window(scale: Scale) -> Outcome:
    outcome, seconds = Outcome(), float(scale(3, 1)) / (1 if not scale.quick else 4)
    threads = THREADS if not scale.quick else (1, 8)
    with regions() as embedded, new_cache(embedded) as cache:
        for login in LOGIN_SECONDS:
            for number in threads:
                for limit in (None, 4):
                    rotating = Rotating(embedded, cache, Database("one", login))
                    _one(outcome, rotating, number, limit, seconds)
    outcome.notes.append(
        "In the window AWSCURRENT is wrong and AWSPENDING logs in. Refused: by the server, from the moment the password "
        "changed until the window closed; without a bound these are the logins that were in flight at that moment."
    )
    return outcome


def _one(outcome: Outcome, rotating: Rotating, threads: int, limit: int | None, seconds: float) -> None:
    log_in = rotating.log_in(limit)
    what = f"{threads} threads, {rotating.database.seconds * 1000:.0f} ms, max_refusals={limit}"
    bare = [rate(threads, rotating.bare, seconds / 2)]
    before = rate(threads, log_in, seconds)
    bare.append(rate(threads, rotating.bare, seconds / 2))
    floor = sum(one.per_second for one in bare) / 2
    opening = threading.Timer(seconds / 10, rotating.open_window)
    opening.start()
    window = rate(threads, log_in, seconds + seconds / 10)
    opening.join()
    refused = rotating.database.refused
    rotating.close_window()
    after = rate(threads, log_in, seconds)
    for phase, one in (("before", before), ("window", window), ("after", after)):
        note = f"{one.per_second / floor:.2f} × bare; longest {one.longest * 1000:.0f} ms"
        note = f"median {one.median * 1000:.1f} ms, {note}"
        outcome.lines.append(Line(f"{what}: {phase}", one.per_second, "logins/s", note=note))
    outcome.goals += [
        at_least(f"{what}: in the window, × before", window.per_second / before.per_second, 0.8),
        at_most(f"{what}: median in the window, × before", window.median / before.median, 1.5),
        at_least(f"{what}: before, × bare", before.per_second / floor, 0.9)
        if limit is None
        else at_most(f"{what}: refused by the server", refused, 2),
        at_most(f"{what}: logins refused as the application sees it", window.failed, 0),
    ]


CASES = [Case("rotation-window", "Logins before, in and after a rotation's window", rotation_window)]
