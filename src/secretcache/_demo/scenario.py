"""The first act: an embedded Secrets Manager, an application that reads through the cache, and what Osaka does.

Another phase is another `Phase` in `PHASES`.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secretcache._cache import SecretCache
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Silent
from secretcache._demo.load import Stage, cold_reads_within, new_load, new_raw_client
from secretcache._demo.report import PhaseResult, Report
from secretcache._demo.screen import Screen, Snapshot
from secretcache._regions.policy import RegionPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from secretcache._demo.load import Load

__all__ = ["OSAKA", "PHASES", "TOKYO", "TTL", "VALUE_PREFIX", "Phase", "new_cache", "perform", "warm_up"]

OSAKA = "ap-northeast-3"
TOKYO = "ap-northeast-1"
TTL = 2.0
VALUE_PREFIX = "value-never-shown-"
"""What every value of the demo begins with, so that a test can look for it on the screen."""

QUICK = RegionPolicy(making_cap=30.0, suspect_for=0.5, open_first=1.0, open_longest=1.0, probe_pause=0.2, dwell=0.5)
"""A region comes back sooner than it does outside of a demo: there it dwells for 30 s.

A client may take its time to be made: the servers, the application and its comparison share one machine.
"""

_WARM = ("demo/database", "demo/api-key", "demo/signing-key")
_REFRESH_SECONDS = 0.2
_RATE_SECONDS = 1.0
_WARMING_SECONDS = 30.0
_PATIENCE = 15.0  # for what a phase is meant to show; on an idle machine it has shown it in its time


@dataclass(frozen=True)
class Phase:
    """A part of the play."""

    title: str
    caption: str
    """What is to be seen in it, in one line."""
    answers_from: str
    """The region that must answer new secrets in it."""
    enter: Callable[[EmbeddedSecretsManager], None]
    """What happens when it begins."""

    @property
    def troubled(self) -> bool:
        """Whether the region of choice does not answer in it."""
        return self.answers_from != OSAKA


def _healthy(_: EmbeddedSecretsManager) -> None:
    """Nothing happens."""


def _silence_osaka(embedded: EmbeddedSecretsManager) -> None:
    embedded.proxies[OSAKA].set_fault(Silent())


def _heal_osaka(embedded: EmbeddedSecretsManager) -> None:
    embedded.proxies[OSAKA].heal()


PHASES = (
    Phase("healthy", f"Osaka ({OSAKA}) is asked first, and answers", OSAKA, _healthy),
    Phase(
        "Osaka silent",
        f"it never answers, and Tokyo ({TOKYO}) is asked",
        TOKYO,
        _silence_osaka,
    ),
    Phase("Osaka back", "it answers, and is asked first again", OSAKA, _heal_osaka),
)


@dataclass(frozen=True)
class _Mark:
    """What had been counted when a phase began or the last one ended."""

    waits: int
    calls: Mapping[str, int]
    requests: Mapping[str, int]


class _Play:
    """One run of the phases."""

    def __init__(self, embedded: EmbeddedSecretsManager, cache: SecretCache, load: Load, total: float) -> None:
        self._embedded = embedded
        self._cache = cache
        self._load = load
        self._total = total
        self._marks: list[_Mark] = []
        self._begun = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque([(0.0, 0)])

    def perform(self, screen: Screen, seconds: float) -> Report:
        """Plays every phase and tells what was measured."""
        for number, phase in enumerate(PHASES):
            self._enter(number, phase)
            screen.say(f"{self._elapsed():5.1f} s  {phase.title}: {phase.caption}")
            self._watch(number, screen, until=self._elapsed() + seconds)
        unended = self._load.join()
        self._marks.append(self._mark())
        return Report(phases=[self._result(n) for n in range(len(PHASES))], regions=(OSAKA, TOKYO), unended=unended)

    def _enter(self, number: int, phase: Phase) -> None:
        phase.enter(self._embedded)
        self._load.stage.phase = number
        self._marks.append(self._mark())
        if number == 0:
            self._load.start()

    def _watch(self, number: int, screen: Screen, until: float) -> None:
        while (left := until - self._elapsed()) > 0 or (not self._has_shown(number) and left > -_PATIENCE):
            screen.show(self._snapshot(PHASES[number]))
            self._load.stage.over.wait(min(left, _REFRESH_SECONDS) if left > 0 else _REFRESH_SECONDS)

    def _has_shown(self, number: int) -> bool:
        """Whether the region that is to answer new secrets has done so: a busy machine needs longer."""
        return PHASES[number].answers_from in self._load.cold.tallies[number].answered

    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    def _mark(self) -> _Mark:
        stats = self._cache.stats()
        calls = {region: of_region.calls for region, of_region in stats.regions.items()}
        requests = {region: len(proxy.requests) for region, proxy in self._embedded.proxies.items()}
        return _Mark(stats.waits, calls, requests)

    def _rate(self, elapsed: float, reads: int) -> float:
        self._recent.append((elapsed, reads))
        while len(self._recent) > 2 and elapsed - self._recent[1][0] >= _RATE_SECONDS:  # noqa: PLR2004
            self._recent.popleft()
        since, before = self._recent[0]
        return (reads - before) / (elapsed - since)

    def _snapshot(self, phase: Phase) -> Snapshot:
        elapsed, load = self._elapsed(), self._load
        cached = [tally for arm in load.cached for tally in arm.tallies]
        reads = sum(tally.reads for tally in cached)
        raw = load.raw.tallies
        return Snapshot(
            title=phase.title,
            troubled=phase.troubled,
            elapsed=elapsed,
            total=self._total,
            threads=len(load.cached),
            reads=reads,
            reads_per_second=self._rate(elapsed, reads),
            errors=sum(tally.errors for tally in cached),
            longest=max(tally.longest for tally in cached),
            waiting=sum(arm.waiting() > _REFRESH_SECONDS for arm in load.cached),
            cold_reads=sum(tally.reads for tally in load.cold.tallies),
            last_region=load.cold.last_answer,
            regions=self._cache.stats().regions,
            raw_answers=sum(tally.reads - tally.errors for tally in raw),
            raw_errors=sum(tally.errors for tally in raw),
            raw_longest=max(tally.longest for tally in raw),
            raw_waiting=load.raw.waiting(),
        )

    def _result(self, number: int) -> PhaseResult:
        phase, before, after = PHASES[number], self._marks[number], self._marks[number + 1]
        cached = [arm.tallies[number] for arm in self._load.cached]
        cold, raw = self._load.cold.tallies[number], self._load.raw.tallies[number]
        return PhaseResult(
            title=phase.title,
            answers_from=phase.answers_from,
            reads=sum(tally.reads for tally in cached),
            waits=after.waits - before.waits,
            errors=sum(tally.errors for tally in cached),
            first_error=next((tally.first_error for tally in cached if tally.first_error), None),
            longest=max(tally.longest for tally in cached),
            cold_reads=cold.reads,
            cold_answers=cold.answered,
            calls=_difference(after.calls, before.calls),
            requests=_difference(after.requests, before.requests),
            raw_answers=raw.reads - raw.errors,
            raw_errors=raw.errors,
            raw_longest=raw.longest,
        )


def perform(screen: Screen, threads: int, seconds: float, total: float) -> Report:
    """Plays the act.

    Args:
        screen: where it is seen.
        threads: how many threads read the warm secrets.
        seconds: how long each phase lasts.
        total: how long the whole demo lasts.

    Raises:
        ImportError: moto is not installed; the message says what to install.
    """
    screen.say("starting an embedded Secrets Manager: primary in Tokyo, replica in Osaka")
    cold = [f"demo/new/{n}" for n in range(cold_reads_within(seconds * (len(PHASES) + 1) + _PATIENCE))]
    with EmbeddedSecretsManager(TOKYO, [OSAKA]) as embedded, new_cache(embedded) as cache:
        for name in (*_WARM, *cold):
            embedded.create(name, f"{VALUE_PREFIX}{name}")
        warm_up(cache, _WARM[0])
        with contextlib.closing(new_raw_client(embedded, OSAKA)) as raw_client:
            warm = [_WARM[n % len(_WARM)] for n in range(threads)]
            load = new_load(Stage(len(PHASES)), cache, raw_client, warm, cold)
            try:
                return _Play(embedded, cache, load, total).perform(screen, seconds)
            finally:
                _end(load, cache, embedded)


def _end(load: Load, cache: SecretCache, embedded: EmbeddedSecretsManager) -> None:
    load.stage.over.set()
    # Closed before the threads are waited for: a demo that was interrupted has readers waiting for a silent region.
    cache.close()
    embedded.close()
    load.join()


def warm_up(cache: SecretCache, secret_id: str) -> None:
    """Reads once before the play begins, as an application may: imports and the first session cost time."""
    cache.get(secret_id, timeout=_WARMING_SECONDS)


def new_cache(embedded: EmbeddedSecretsManager) -> SecretCache:
    """A cache over both regions, in a hurry: the demo is short."""
    return SecretCache(
        [OSAKA, TOKYO],
        ttl=TTL,
        primary_region=TOKYO,
        endpoint_urls=embedded.endpoint_urls,
        session_factory=embedded.session,
        _policy=QUICK,
    )


def _difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {region: count - before[region] for region, count in after.items()}
