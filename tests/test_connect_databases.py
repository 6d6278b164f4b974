"""connect against real databases: fifty rotations under sixteen threads, and AWSCURRENT alone beside it."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
import pytest

from secretcache import Secret, SecretCache
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._transport import Call, Failure, Fault, Reply
from servers import MariaDB, fresh_user, is_locked, is_refused
from support import OSAKA, REGIONS, TOKYO, ScriptedRegions, answer

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
USERS, ROTATIONS, THREADS = 10, 5, 16  # of each user
HALF_FAILED = 15
LONGEST_WINDOW, LONGEST_LAG = 5.0, 10.0
ENOUGH = 200  # logins in windows
PAUSE = 1.0  # between two rotations of one user
PATIENCE = 120.0
LOCKOUT = 5


@dataclass(frozen=True)
class Server:
    """What the two databases have in common."""

    create: Callable[[str, str], None]
    set_password: Callable[[str, str], None]
    connect: Callable[[str, str], AbstractContextManager[Any]]
    refused_logins: Callable[[str], int]
    is_refused: Callable[[BaseException], bool]
    is_locked: Callable[[BaseException], bool]


class RotatingSecrets(ScriptedRegions):
    """Two regions of any number of secrets; the replica shows what the primary showed some seconds ago."""

    def __init__(self) -> None:
        super().__init__()
        # By region and name: since when which stage has which version; the newest last.
        self.shown: dict[tuple[str, str], list[tuple[float, dict[str, str]]]] = {}
        self.passwords: dict[str, str] = {}
        self.replies = dict.fromkeys(REGIONS, self._reply)

    def show(self, name: str, lag: float, **stages: str) -> None:
        """The primary shows this from now on, and the replica after the lag, in the order of the changes."""
        now = time.monotonic()
        for region, since in ((TOKYO, now), (OSAKA, now + lag)):
            shown = self.shown.setdefault((region, name), [])
            shown.append((max(since, shown[-1][0]) if shown else now, stages))

    def _reply(self, call: Call) -> Reply:
        name, now = call.query.secret.name, time.monotonic()
        stages = [stages for since, stages in tuple(self.shown[call.region, name]) if since <= now][-1]
        version = call.query.version_id or stages.get(call.query.stage or CURRENT)
        if version is None:
            return Failure(Fault.MISSING, "ResourceNotFoundException", "no such stage", answered=True)
        content = json.dumps({"username": name, "password": self.passwords[version]})
        of_version = [stage for stage, one in stages.items() if one == version]
        return answer(call.region, content, name, VersionId=version, VersionStages=of_version)


@dataclass
class Account:
    """A database user and its secret, which rotates."""

    name: str
    server: Server
    secrets: RotatingSecrets
    chance: random.Random
    version: str = ""
    number: int = 0
    window_open: bool = False
    """Whether AWSCURRENT, as the primary has it, is wrong."""
    settled: threading.Event = field(default_factory=threading.Event)
    """Whether somebody has logged in with AWSCURRENT since the last rotation."""
    calls: list[object] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def create(self) -> None:
        self.version = self._new()
        self.server.create(self.name, self.secrets.passwords[self.version])
        self.secrets.show(self.name, 0.0, AWSCURRENT=self.version)

    def rotate(self, window: float, lag: float, stop: threading.Event, *, half_failed: bool) -> None:
        old, new = self.version, self._new()
        self.secrets.show(self.name, lag, AWSCURRENT=old, AWSPENDING=new)
        self.window_open = True
        if half_failed:  # AWSCURRENT has moved, and the password has not: AWSPREVIOUS is right until that is mended
            self.secrets.show(self.name, lag, AWSCURRENT=new, AWSPREVIOUS=old)
            stop.wait(window)
            self._set(new)
        else:
            self._set(new)
            stop.wait(window)
            self.secrets.show(self.name, lag, AWSCURRENT=new, AWSPREVIOUS=old)
        self.settled.clear()
        self.window_open, self.version = False, new

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call to log in, from its beginning to its end."""
        call = object()
        with self.changed:
            self.calls.append(call)
        try:
            yield
        finally:
            with self.changed:
                self.calls.remove(call)
                self.changed.notify_all()

    def settle(self) -> None:
        """Returns when the calls of the last rotation are over and another has logged in with the new AWSCURRENT."""
        with self.changed:
            old = tuple(self.calls)
            assert self.changed.wait_for(lambda: not any(call in self.calls for call in old), PATIENCE)
        assert self.settled.wait(PATIENCE)

    def _set(self, version: str) -> None:
        self.server.set_password(self.name, self.secrets.passwords[version])

    def _new(self) -> str:
        self.number += 1
        version = f"{self.name}-{self.number:02}".ljust(36, "0")
        self.secrets.passwords[version] = f"pw{self.chance.getrandbits(96):x}"
        return version


@dataclass
class Arm:
    """Threads that log in all the time, one way."""

    log_in: Callable[[Account], None]
    accounts: list[Account]
    server: Server
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seed: int, stop: threading.Event) -> None:
        chance = random.Random(seed)  # noqa: S311 - whose turn it is
        while not stop.wait(0.2):
            # Windows are short: half of the time one of those is looked for.
            open_now = [account for account in self.accounts if account.window_open]
            account = chance.choice(open_now if open_now and chance.random() < 0.5 else self.accounts)
            inside = account.window_open
            error = self._try(account)
            with self.lock:
                self._count(error, inside=inside)

    def _try(self, account: Account) -> BaseException | None:
        try:
            with account.call():
                self.log_in(account)
        except Exception as error:  # noqa: BLE001 - each is counted
            return error
        return None

    def _count(self, error: BaseException | None, *, inside: bool) -> None:
        self.counts["logins"] += 1
        self.counts["inside windows"] += inside
        if error is not None:
            self.errors.append(error)
            self.counts["refused"] += self.server.is_refused(error)
            self.counts["locked"] += self.server.is_locked(error)

    def refused_by_server(self) -> int:
        return sum(self.server.refused_logins(account.name) for account in self.accounts)


def plans(chance: random.Random) -> Iterator[tuple[float, float, bool]]:
    """Windows and lags over their whole range, most rotations whole and some half-failed."""
    number = USERS * ROTATIONS
    windows = [LONGEST_WINDOW * part / (number - 1) for part in range(number)]
    lags = [LONGEST_LAG * part / (number - 1) for part in range(number)]
    half_failed = [part < HALF_FAILED for part in range(number)]
    for each in (windows, lags, half_failed):
        chance.shuffle(each)
    yield from zip(windows, lags, half_failed, strict=True)


def rotate_all(bridged: Arm, alone: Arm, chance: random.Random) -> list[threading.Thread]:
    """A thread for each account, and one for its twin in the control arm, which rotates alike.

    On a machine that logs in slowly they rotate on, until enough logins fell into windows.
    """
    stop, plan = threading.Event(), list(plans(chance))

    def rotate(account: Account, number: int) -> None:
        own = plan[number * ROTATIONS : (number + 1) * ROTATIONS]
        for done, (window, lag, half_failed) in enumerate(itertools.cycle(own)):
            if done >= ROTATIONS and bridged.counts["inside windows"] >= ENOUGH:
                return
            account.rotate(window, lag, stop, half_failed=half_failed)
            stop.wait(PAUSE)
            if account in bridged.accounts:  # in production whole days lie between two rotations
                account.settle()

    pairs = [*enumerate(bridged.accounts), *enumerate(alone.accounts)]
    return [threading.Thread(target=rotate, args=(account, number), daemon=True) for number, account in pairs]


def run_both(server: Server, primary: str | None, chance: random.Random) -> tuple[Arm, Arm]:
    secrets = RotatingSecrets()

    def new_accounts() -> list[Account]:
        accounts = [Account(fresh_user(), server, secrets, random.Random(chance.random())) for _ in range(USERS)]  # noqa: S311
        for account in accounts:
            account.create()
        return accounts

    with SecretCache(list(REGIONS), primary_region=primary, _transport=secrets) as cache:
        bridged = Arm(lambda account: bridge(cache, account), new_accounts(), server)
        alone = Arm(lambda account: log_in(account, cache.refresh(account.name)), new_accounts(), server)
        run_until_rotated(bridged, alone, chance)
    return bridged, alone


def bridge(cache: SecretCache, account: Account) -> None:
    cache.connect(
        account.name,
        lambda secret: log_in(account, secret),
        is_auth_error=account.server.is_refused,
        target=account.name,
    )


def log_in(account: Account, secret: Secret) -> None:
    with account.server.connect(secret["username"], secret["password"]):
        if secret.version_id == account.version and not account.window_open:
            account.settled.set()


def run_until_rotated(bridged: Arm, alone: Arm, chance: random.Random) -> None:
    stop = threading.Event()
    rotations = rotate_all(bridged, alone, chance)
    arms = [bridged] * THREADS + [alone] * 2
    workers = [threading.Thread(target=arm.run, args=(seed, stop), daemon=True) for seed, arm in enumerate(arms)]
    deadline = time.monotonic() + PATIENCE
    for thread in [*workers, *rotations]:
        thread.start()
    for thread in rotations:
        thread.join(deadline - time.monotonic())
    stop.set()
    for thread in workers:
        thread.join(deadline - time.monotonic())
    assert not any(thread.is_alive() for thread in [*workers, *rotations])


def is_refused_by_postgres(error: BaseException) -> bool:
    return isinstance(error, psycopg.OperationalError) and bool(error.pgconn and error.pgconn.used_password)


@pytest.fixture
def of_postgres(postgres: EmbeddedPostgres) -> Server:
    return Server(
        postgres.create_role,
        postgres.set_password,
        postgres.connect,
        postgres.refused_logins,
        is_refused_by_postgres,
        lambda _: False,
    )


@pytest.fixture
def of_mariadb(mariadb: MariaDB) -> Iterator[Server]:
    with mariadb.max_password_errors(LOCKOUT):
        yield Server(
            mariadb.create_user,
            mariadb.set_password,
            partial(mariadb.connect, ssl_disabled=True),  # else PyMySQL loads every CA of the machine for each login
            mariadb.refused_logins,
            is_refused,
            is_locked,
        )


# Where it is not known which region is the primary, nobody may ask either: DescribeSecret is denied here.
@pytest.mark.parametrize(("database", "primary"), [("postgres", None), ("mariadb", TOKYO)])
def test_fifty_rotations_under_sixteen_threads(
    database: str, primary: str | None, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    server: Server = request.getfixturevalue(f"of_{database}")
    seed = random.SystemRandom().getrandbits(32)
    bridged, alone = run_both(server, primary, random.Random(seed))  # noqa: S311 - which rotation is how
    told = {"seed": seed, "bridged": bridged.counts, "alone": alone.counts}
    told |= {"refused by the server": (bridged.refused_by_server(), alone.refused_by_server())}
    record_property("rotations", told)
    assert [getattr(error, "secretcache_tried", error) for error in bridged.errors] == [], told
    assert bridged.counts["inside windows"] >= ENOUGH, told
    assert alone.counts["refused"] > 0, told
    if database == "mariadb":
        assert alone.counts["locked"] > 0, told
