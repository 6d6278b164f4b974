"""OpenTelemetry for a cache: counters, gauges and spans (extra `otel`).

from secretcache import SecretCache
from secretcache.integrations.otel import instrument

cache = SecretCache(["ap-northeast-3", "ap-northeast-1"])
instrument(cache)

A hit costs what it cost before: what is counted there is counted anyway, and is read when the metrics are collected.
No value of a secret is in any of it; the names of secrets are.
"""

from __future__ import annotations

import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from secretcache._events import Event, Handle
from secretcache._version import __version__

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, Observation
except ImportError as error:  # pragma: no cover - by a test in a process of its own
    raise ImportError('secretcache.integrations.otel needs OpenTelemetry: pip install "secretcache[otel]"') from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.metrics import Counter, Histogram, Meter, MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

    from secretcache._cache import SecretCache
    from secretcache._regions.health import RegionHealth
    from secretcache._stats import CacheStats

__all__ = ["instrument"]

_NAME = "secretcache"
_SCHEMA = "https://opentelemetry.io/schemas/1.27.0"
_STATES = {"closed": 0, "half-open": 1, "open": 2}
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds of a call: from a region next door to the cap of an attempt."""
_SECOND = 1_000_000_000
_REGION, _SECRET, _OUTCOME = "cloud.region", "secretcache.secret.name", "secretcache.outcome"

_lock = threading.Lock()
_places: weakref.WeakKeyDictionary[Meter, _Place] = weakref.WeakKeyDictionary()
"""A second instrument of one name would be ignored: the caches of one meter share theirs."""


def instrument(
    cache: SecretCache,
    *,
    name: str | None = None,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
) -> Handle:
    """Measures a cache: metrics when they are collected, a span for each call to AWS.

    Names and attributes stand in docs/operating.md. The cache is held weakly: once it is gone there is nothing more to
    observe.

    Args:
        cache: the cache to measure; instrument it once.
        name: sets the figures of several caches of one process apart, as the attribute `secretcache.cache.name`.
        meter_provider: where the metrics go; the global one unless told otherwise.
        tracer_provider: where the spans go; the global one unless told otherwise.

    Returns:
        A handle; its `cancel()` ends it.
    """
    meter = metrics.get_meter(_NAME, __version__, meter_provider, _SCHEMA)
    tracer = trace.get_tracer(_NAME, __version__, tracer_provider, _SCHEMA)
    marks = {} if name is None else {"secretcache.cache.name": name}
    place = _place(meter)
    observed = _Observed(weakref.ref(cache), marks)
    place.caches += (observed,)
    hook = cache.add_event_hook(partial(place.told, tracer, marks))
    return Handle(partial(_end, place, observed, hook))


def _end(place: _Place, observed: _Observed, hook: Handle) -> None:
    place.caches = tuple(one for one in place.caches if one is not observed)
    hook.cancel()


class _Observed(NamedTuple):
    """A cache, and the attributes of its own."""

    cache: weakref.ref[SecretCache]
    marks: dict[str, str]


def _place(meter: Meter) -> _Place:
    with _lock:
        return _places.get(meter) or _places.setdefault(meter, _Place(meter))


class _Place:
    """One meter's instruments, which are made once, and the caches they observe."""

    def __init__(self, meter: Meter) -> None:
        self.caches: tuple[_Observed, ...] = ()
        """OpenTelemetry takes no instrument back: what is not in here is not observed any more."""
        self.told = _Told(meter)
        _observe(meter, self)

    def stats(self, rows: Callable[[CacheStats], Any]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """A callback that makes observations of `cache.stats()`."""
        return partial(self._observations, lambda cache: rows(cache.stats()))

    def health(
        self, rows: Callable[[Mapping[str, RegionHealth]], Any]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """A callback that makes observations of `cache.region_health()`."""
        return partial(self._observations, lambda cache: rows(cache.region_health()))

    def _observations(self, rows: Callable[[SecretCache], Any], _options: CallbackOptions) -> Iterator[Observation]:
        self.caches = tuple(one for one in self.caches if one.cache() is not None)
        for observed in self.caches:
            cache = observed.cache()
            if cache is not None:
                for value, attributes in rows(cache):
                    yield Observation(value, {**attributes, **observed.marks})


def _observe(meter: Meter, cache: _Place) -> None:
    count, gauge = meter.create_observable_counter, meter.create_observable_gauge
    count("secretcache.reads", [cache.stats(_reads)], "{read}", "Reads by outcome; a hit is a lookup in memory.")
    count("secretcache.calls", [cache.health(_calls)], "{call}", "API calls by region and outcome.")
    count("secretcache.calls.saved", [cache.stats(_saved)], "{call}", "API calls less than one a read.")
    count("secretcache.cost", [cache.stats(_cost)], "{USD}", "Price of the API calls, at 0.05 USD per 10 000.")
    count("secretcache.evictions", [cache.stats(_evictions)], "{entry}", "Entries that went for lack of room.")
    gauge("secretcache.entries", [cache.stats(_entries)], "{entry}", "Versions of secrets held.")
    gauge("secretcache.served.age", [cache.stats(_ages)], "s", "How old each secret's value was when last read.")
    gauge("secretcache.breaker.state", [cache.health(_states)], "{state}", "0 closed, 1 half-open, 2 open.")
    gauge("secretcache.attempts.stuck", [cache.health(_stuck)], "{attempt}", "Attempts left behind that still run.")


def _reads(stats: CacheStats) -> Iterator[tuple[float, dict[str, str]]]:
    return ((number, {_OUTCOME: outcome}) for outcome, number in stats.reads.items())


def _calls(regions: Mapping[str, RegionHealth]) -> Iterator[tuple[float, dict[str, str]]]:
    for region, health in regions.items():
        yield health.answers, {_REGION: region, _OUTCOME: "answered"}
        for outcome, number in health.outcomes.items():
            yield number, {_REGION: region, _OUTCOME: outcome}


def _saved(stats: CacheStats) -> Iterator[tuple[float, dict[str, str]]]:
    yield stats.calls_saved, {}


def _cost(stats: CacheStats) -> Iterator[tuple[float, dict[str, str]]]:
    yield stats.calls_usd, {}


def _evictions(stats: CacheStats) -> Iterator[tuple[float, dict[str, str]]]:
    yield stats.evictions, {}


def _entries(stats: CacheStats) -> Iterator[tuple[float, dict[str, str]]]:
    yield stats.entries, {}


def _ages(stats: CacheStats) -> Iterator[tuple[float, dict[str, str]]]:
    return ((seconds, {_SECRET: name}) for name, seconds in stats.age_seconds.items())


def _states(regions: Mapping[str, RegionHealth]) -> Iterator[tuple[float, dict[str, str]]]:
    return ((_STATES[health.state], {_REGION: region}) for region, health in regions.items())


def _stuck(regions: Mapping[str, RegionHealth]) -> Iterator[tuple[float, dict[str, str]]]:
    return ((health.stuck_attempts, {_REGION: region}) for region, health in regions.items())


class _Told:
    """Counts events as they happen, and makes a span of each call."""

    def __init__(self, meter: Meter) -> None:
        self._duration: Histogram = meter.create_histogram(
            "secretcache.call.duration",
            "s",
            "How long API calls took, by region and outcome.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        count = meter.create_counter
        self._counters: dict[str, Counter] = {
            "failover": count("secretcache.failovers", "{failover}", "Another region answers now."),
            "rotation": count("secretcache.rotations", "{rotation}", "Accepted changes of AWSCURRENT."),
            "bridged": count("secretcache.logins.bridged", "{login}", "Logins with AWSPENDING or AWSPREVIOUS."),
            "unusable": count("secretcache.versions.unusable", "{login}", "Logins with a version that cannot be used."),
            "divergence": count("secretcache.divergences", "{event}", "A region's versions do not fit the others'."),
            "stale": count("secretcache.stale.episodes", "{episode}", "Old values that began to stand in."),
            "breaker": count("secretcache.breaker.changes", "{change}", "Breakers that changed their state."),
        }

    def __call__(self, tracer: Tracer, marks: dict[str, str], event: Event) -> None:
        if event.name == "call":
            self._call(tracer, marks, event)
        elif event.name in self._counters and (event.name, event.outcome) != ("stale", "over"):
            self._counters[event.name].add(1, {**_attributes(event), **marks})

    def _call(self, tracer: Tracer, marks: dict[str, str], event: Event) -> None:
        region, outcome, seconds = event.region or "", event.outcome or "", event.seconds or 0.0
        about = {_REGION: region, _OUTCOME: outcome, **marks}
        self._duration.record(seconds, about)
        now = time.time_ns()
        failed = outcome != "answered"
        span = tracer.start_span(
            f"Secrets Manager.{event.detail}",
            kind=trace.SpanKind.CLIENT,
            start_time=now - int(seconds * _SECOND),
            attributes={
                "rpc.system": "aws-api",
                "rpc.service": "Secrets Manager",
                "rpc.method": event.detail,
                **about,
                **({"error.type": outcome} if failed else {}),
            },
        )
        if failed:
            span.set_status(trace.StatusCode.ERROR)
        span.end(end_time=now)


def _attributes(event: Event) -> dict[str, str]:
    told = {_REGION: event.region, _SECRET: event.secret_id}
    if event.name == "bridged":
        told["secretcache.version.stage"] = event.detail
    if event.name == "breaker":
        told["secretcache.breaker.state"] = event.outcome
    return {name: text for name, text in told.items() if text}
