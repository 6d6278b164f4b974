"""The threads that read or log in during the demo, and what each measures."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from importlib import import_module
from itertools import repeat
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from secretcache._errors import SecretCacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from secretcache._cache import SecretCache
    from secretcache._demo.embedded import EmbeddedSecretsManager

__all__ = [
    "RAW_SECONDS",
    "RAW_TRIES",
    "Arm",
    "Load",
    "Plan",
    "Stage",
    "Tally",
    "cold_reads_within",
    "join_all",
    "new_load",
    "new_raw_client",
]

RAW_SECONDS = 1.0
"""Raw boto3's connect and read timeout, instead of its 60 s."""
RAW_TRIES = 2
"""Raw boto3's tries of one read, instead of the 5 of its legacy retry mode."""

_WARM_BATCH = 100
_WARM_PAUSE_PER_READER = 0.00025  # so that many readers leave time for the servers in this process
_WARM_STAGGER = 0.65
_COLD_PAUSE = 0.3
_RAW_PAUSE = 0.05
_JOIN_SECONDS = 20.0  # each ends within a second or two, but on a busy machine


class Stage:
    """Which phase it is and whether the demo is over: one thread writes it, every arm reads it."""

    def __init__(self, phases: int) -> None:
        self.phases = phases
        self.phase = 0
        self.over = threading.Event()


@dataclass
class Tally:
    """What one thread measured in one phase; written by that thread alone. A read belongs to where it began.

    What is said here of reads holds for logins too.
    """

    reads: int = 0
    errors: int = 0
    longest: float = 0.0
    answered: dict[str, int] = field(default_factory=dict)
    """How often each answer came: of a read, the region it came from."""
    first_error: str | None = None

    def add_answer(self, answer: str) -> None:
        """Counts a read that brought this."""
        self.answered[answer] = self.answered.get(answer, 0) + 1

    def add_error(self, error: Exception) -> None:
        """Counts a read that failed."""
        self.errors += 1
        self.first_error = self.first_error or _describe(error)

    def add_read(self, seconds: float) -> None:
        """Counts a read that has ended, whatever came of it."""
        self.reads += 1
        self.longest = max(self.longest, seconds)


@dataclass(frozen=True)
class Plan:
    """What a thread reads and when; times are seconds."""

    batches: Iterable[Sequence[str]]
    pause: float
    """After each batch."""
    delay: float = 0.0
    """Before the first."""


class Arm:
    """One thread that reads, or logs in, over and over.

    Args:
        name: the thread's name.
        stage: tells it which phase it is and when to end.
        read: reads the secret of an id, and returns the region that the value came from; or logs in with it, and
            returns how that ended.
        plan: what it reads and when.
    """

    def __init__(self, name: str, stage: Stage, read: Callable[[str], str], plan: Plan) -> None:
        self.tallies = [Tally() for _ in range(stage.phases)]
        self.last_answer: str | None = None
        self.waiting_since: float | None = None
        self._stage = stage
        self._read = read
        self._plan = plan
        self.thread = threading.Thread(target=self._run, name=f"demo-{name}", daemon=True)

    def waiting(self) -> float:
        """Seconds for which the read under way has taken so far."""
        since = self.waiting_since
        return 0.0 if since is None else time.perf_counter() - since

    def _run(self) -> None:
        self._stage.over.wait(self._plan.delay)
        for batch in self._plan.batches:
            for secret_id in batch:
                if self._stage.over.is_set():
                    return
                self._measure(secret_id)
            self._stage.over.wait(self._plan.pause)

    def _measure(self, secret_id: str) -> None:
        tally = self.tallies[self._stage.phase]
        begun = self.waiting_since = time.perf_counter()
        try:
            self.last_answer = self._read(secret_id)
            tally.add_answer(self.last_answer)
        except Exception as error:  # noqa: BLE001 - whatever a read raises is an error that the application sees
            tally.add_error(error)
        self.waiting_since = None
        tally.add_read(time.perf_counter() - begun)


@dataclass(frozen=True)
class Load:
    """Every reading thread of the demo."""

    stage: Stage
    warm: Sequence[Arm]
    """They read a few secrets over and over, through the cache."""
    cold: Arm
    """It reads secrets that nobody has read before, through the cache."""
    raw: Arm
    """It reads through boto3, from one region."""

    @property
    def cached(self) -> Sequence[Arm]:
        """The threads that read through the cache: the application."""
        return (*self.warm, self.cold)

    def start(self) -> None:
        """Lets the threads read."""
        for arm in (*self.cached, self.raw):
            arm.thread.start()

    def join(self) -> Sequence[str]:
        """Tells the threads to end and waits for them; returns the names of those that did not."""
        return join_all(self.stage, (*self.cached, self.raw))


def join_all(stage: Stage, arms: Iterable[Arm]) -> Sequence[str]:
    """Tells the threads of these arms to end and waits for them; returns the names of those that did not."""
    stage.over.set()
    deadline = time.monotonic() + _JOIN_SECONDS
    threads = [arm.thread for arm in arms if arm.thread.ident is not None]
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in threads if thread.is_alive()]


def new_load(stage: Stage, cache: SecretCache, raw_client: Any, warm: Sequence[str], cold: Sequence[str]) -> Load:
    """Makes the threads, to be started.

    Args:
        stage: tells them which phase it is and when to end.
        cache: what the application reads through.
        raw_client: a boto3 client for Secrets Manager.
        warm: for each reader the id that it reads over and over; boto3 reads the first.
        cold: the ids that are read once each.
    """

    def through_cache(secret_id: str) -> str:
        return cache.get(secret_id).region

    def through_boto3(secret_id: str) -> str:
        raw_client.get_secret_value(SecretId=secret_id)
        return str(raw_client.meta.region_name)

    readers = [Arm(f"reader-{n}", stage, through_cache, _warm_plan(warm, n)) for n in range(len(warm))]
    new = Arm("new-secrets", stage, through_cache, Plan([[secret_id] for secret_id in cold], _COLD_PAUSE))
    raw = Arm("raw-boto3", stage, through_boto3, Plan(repeat(warm[:1]), _RAW_PAUSE))
    return Load(stage, readers, new, raw)


def cold_reads_within(seconds: float) -> int:
    """How many new secrets are read in that time at most."""
    return int(seconds / _COLD_PAUSE) + 1


def new_raw_client(embedded: EmbeddedSecretsManager, region: str) -> Any:
    """A boto3 client for one region, whose patience is cut so that the demo ends."""
    boto3: Any = import_module("boto3")  # its type stubs are no dependency of ours
    config = Config(connect_timeout=RAW_SECONDS, read_timeout=RAW_SECONDS, retries={"total_max_attempts": RAW_TRIES})
    session = boto3.Session(botocore_session=embedded.session(region))
    return session.client("secretsmanager", endpoint_url=embedded.endpoint_urls[region], config=config)


def _warm_plan(warm: Sequence[str], number: int) -> Plan:
    # Readers of one secret begin together and those of another later: an application's secrets do not expire all at
    # once either, and an outage would stop every reader at the same moment.
    delay = warm.index(warm[number]) * _WARM_STAGGER
    return Plan(repeat([warm[number]] * _WARM_BATCH), _WARM_PAUSE_PER_READER * len(warm), delay)


def _describe(error: Exception) -> str:
    # Only our own errors are known to carry nothing of a value.
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, SecretCacheError) else kind
