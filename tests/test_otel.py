"""What OpenTelemetry is told: metrics when they are collected, a span for each call, nothing on a hit."""

from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from secretcache import Event, Handle, SecretAccessDeniedError, SecretCache
from secretcache._hits import HitClock
from secretcache._transport import Fault
from secretcache.integrations.otel import instrument
from support import OSAKA, TOKYO, House, answer, failure

CANARY = "canary-2209-cockatiel"
OPERATING = Path(__file__).parents[1] / "docs" / "operating.md"


class Collector:
    """Providers of the test's own, and what reached them."""

    def __init__(self) -> None:
        self._reader, self._spans = InMemoryMetricReader(), InMemorySpanExporter()
        self.meters = MeterProvider([self._reader])
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))

    def instrument(self, cache: SecretCache) -> Handle:
        return instrument(cache, meter_provider=self.meters, tracer_provider=self.tracers)

    def points(self, name: str) -> dict[tuple[str, ...], Any]:
        """The data points of a metric, by the values of their attributes."""
        return {tuple(str(part) for part in dict(one.attributes).values()): one for one in self._metric(name)}

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        return {key: point.value for key, point in self.points(name).items()}

    def _metric(self, name: str) -> Iterator[Any]:
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                yield from (
                    point for metric in scope.metrics if metric.name == name for point in metric.data.data_points
                )

    @property
    def spans(self) -> list[Any]:
        return list(self._spans.get_finished_spans())

    def everything(self) -> str:
        data = self._reader.get_metrics_data()
        return (data.to_json() if data else "") + "".join(span.to_json() for span in self.spans)

    def close(self) -> None:
        self.meters.shutdown()
        self.tracers.shutdown()


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.close()


@pytest.fixture
def house() -> House:
    return House(ttl=10)


def test_reads_by_outcome(collector: Collector, house: House) -> None:
    collector.instrument(house.cache)
    for _ in range(5):
        house.cache.get("prod/db")
    for region in (OSAKA, TOKYO):
        house.fails(region)
    house.runtime.advance(11)
    house.cache.get("prod/db")
    for region in (OSAKA, TOKYO):
        house.says(region, failure(Fault.DENIED, "AccessDeniedException"))
    for _ in range(2):  # the second is told what is remembered
        with pytest.raises(SecretAccessDeniedError):
            house.cache.get("other")
    house.settle()
    reads = collector.values("secretcache.reads")
    assert reads == {("hit",): 4, ("fresh",): 1, ("stale",): 1, ("denied",): 2}
    house.says(OSAKA, "v1")
    house.runtime.advance(60)
    assert not house.cache.refresh("prod/db").is_stale
    house.settle()
    assert collector.values("secretcache.stale.episodes") == {(OSAKA, "prod/db"): 1}, "its end is no episode"


def test_calls_by_region_and_outcome_and_their_price(collector: Collector, house: House) -> None:
    collector.instrument(house.cache)
    house.fails(OSAKA)
    house.cache.get("a")
    for _ in range(9):
        house.cache.get("a")
    calls = collector.values("secretcache.calls")
    assert calls == {(OSAKA, "answered"): 0, (OSAKA, "region"): 1, (TOKYO, "answered"): 1}
    assert collector.values("secretcache.cost") == {(): pytest.approx(2 * 0.05 / 10_000)}
    assert collector.values("secretcache.calls.saved") == {(): 10 - 2}
    stats = house.cache.stats()
    assert (stats.calls, stats.calls_saved) == (2, 8)
    assert stats.calls_usd == pytest.approx(0.00001)
    assert stats.saved_usd == pytest.approx(0.00004)


def test_the_age_of_what_is_served(collector: Collector, house: House) -> None:
    collector.instrument(house.cache)
    house.cache.get("prod/db")
    house.runtime.advance(3)
    house.cache.get("prod/db")
    house.runtime.advance(3)
    assert collector.values("secretcache.served.age") == {("prod/db",): 3}
    assert collector.values("secretcache.entries") == {(): 1}
    assert collector.values("secretcache.evictions") == {(): 0}


def test_breakers_and_failovers(collector: Collector, house: House) -> None:
    collector.instrument(house.cache)
    house.cache.get("first")
    house.fails(OSAKA)
    assert collector.values("secretcache.breaker.state") == {(OSAKA,): 0, (TOKYO,): 0}
    for name in "abc":
        house.cache.get(name)
    house.settle()
    assert collector.values("secretcache.breaker.state") == {(OSAKA,): 2, (TOKYO,): 0}
    assert collector.values("secretcache.breaker.changes") == {(OSAKA, "open"): 1}
    assert collector.values("secretcache.failovers") == {(TOKYO,): 1}
    assert collector.values("secretcache.attempts.stuck") == {(OSAKA,): 0, (TOKYO,): 0}


def test_rotations_and_logins_that_were_bridged(collector: Collector, house: House) -> None:
    collector.instrument(house.cache)
    house.cache.get("prod/db")
    house.says(OSAKA, answer(OSAKA, "v2"))
    house.cache.refresh("prod/db")
    house.settle()
    assert collector.values("secretcache.rotations") == {(OSAKA, "prod/db"): 1}
    house.cache._emit(Event("bridged", region=TOKYO, secret_id="prod/db", detail="AWSPENDING"))
    assert collector.values("secretcache.logins.bridged") == {(TOKYO, "prod/db", "AWSPENDING"): 1}
    house.cache._emit(Event("divergence", region=OSAKA, secret_id="prod/db"))
    assert collector.values("secretcache.divergences") == {(OSAKA, "prod/db"): 1}


def test_a_span_for_each_call(collector: Collector, house: House) -> None:
    collector.instrument(house.cache)
    house.fails(OSAKA)
    house.cache.get("a")
    house.settle()
    failed, answered = collector.spans
    assert failed.name == answered.name == "Secrets Manager.GetSecretValue"
    assert (failed.attributes["cloud.region"], failed.attributes["error.type"]) == (OSAKA, "region")
    assert not failed.status.is_ok
    assert (answered.attributes["cloud.region"], answered.attributes["rpc.method"]) == (TOKYO, "GetSecretValue")
    assert "error.type" not in answered.attributes
    assert failed.start_time <= failed.end_time
    house.fails(OSAKA, Fault.THROTTLED)
    house.cache.prefetch(["b", "c"])
    house.settle()
    assert {span.name for span in collector.spans[2:]} >= {"Secrets Manager.BatchGetSecretValue"}


def test_how_long_calls_took(collector: Collector, house: House) -> None:
    collector.instrument(house.cache)
    house.regions.hold(OSAKA)
    reader = threading.Thread(target=house.cache.get, args=("a",))
    reader.start()
    gate = house.regions.gate()
    house.runtime.advance(0.2)
    gate.answer(answer(OSAKA, name="a"))
    reader.join(10)
    house.settle()
    point = collector.points("secretcache.call.duration")[OSAKA, "answered"]
    assert (point.count, point.sum) == (1, pytest.approx(0.2))


def calls_of_a_hit(cache: SecretCache) -> list[str]:
    """Every function, of Python or C, that a hit calls."""
    called: list[str] = []

    def note(_frame: object, event: str, argument: Any) -> None:
        if event in {"call", "c_call"}:
            called.append(getattr(argument, "__name__", event))

    sys.setprofile(note)
    try:
        cache.get("prod/db")
    finally:
        sys.setprofile(None)
    return called[:-1]  # setprofile itself


def test_a_hit_calls_nothing_more_than_without(collector: Collector) -> None:
    with SecretCache([OSAKA], _transport=House([OSAKA]).regions, refresh="on_access") as cache:
        cache.get("prod/db")
        before = calls_of_a_hit(cache)
        collector.instrument(cache)
        assert calls_of_a_hit(cache) == before == ["call"], "get() itself; the clock is no function of Python's"


def test_hits_are_counted_to_the_last_one_by_many_threads() -> None:
    with SecretCache([OSAKA], _transport=House([OSAKA]).regions, refresh="on_access") as cache:
        cache.get("prod/db")
        threads = [threading.Thread(target=lambda: [cache.get("prod/db") for _ in range(5000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.stats().reads == {"hit": 20_000, "fresh": 1}
        assert cache.stats().calls_saved == 20_000


def test_reads_of_every_kind_are_counted(house: House) -> None:
    async def read() -> None:
        await house.cache.aget("prod/db")

    house.cache.get("prod/db")
    for _ in range(2):
        asyncio.run(read())
        house.cache.get("prod/db", version_stage="AWSCURRENT")
    assert house.cache.stats().reads == {"hit": 3, "fresh": 2}, "another key of one entry is no hit at first"
    house.runtime.advance(11)
    asyncio.run(read())
    house.cache.get("prod/db", version_stage="AWSCURRENT")
    house.cache.refresh("prod/db")
    assert house.cache.stats().reads == {"hit": 4, "fresh": 4}


def test_a_clock_that_counts() -> None:
    now = 7.0
    clock = HitClock(lambda: now)
    assert (clock.now(), clock.hits) == (7.0, 1)
    now = 8.0
    assert (clock.now(), clock.hits) == (8.0, 2)
    clock.late()
    assert clock.hits == 1


def test_no_value_is_told(collector: Collector, house: House) -> None:
    collector.instrument(house.cache)
    house.says(OSAKA, answer(OSAKA, CANARY, VersionId="1" * 32))
    house.cache.get("prod/db")
    house.says(OSAKA, answer(OSAKA, CANARY + "2", VersionId="2" * 32))
    house.cache.refresh("prod/db")
    for region in (OSAKA, TOKYO):
        house.fails(region)
    house.runtime.advance(100)
    house.cache.get("prod/db")
    house.settle()
    told = collector.everything()
    assert "prod/db" in told
    assert CANARY not in told


def test_what_is_cancelled_closed_or_gone_is_observed_no_more(collector: Collector, house: House) -> None:
    handle = collector.instrument(house.cache)
    house.cache.get("a")
    assert collector.values("secretcache.entries")
    house.settle()
    handle.cancel()
    house.cache.refresh("a")
    house.settle()
    assert not collector.values("secretcache.entries")
    assert len(collector.spans) == 1
    other = House()
    collector.instrument(other.cache)
    other.cache.close()
    assert collector.values("secretcache.entries") == {(): 0}
    other.drop()
    gc.collect()
    assert not collector.values("secretcache.entries")


def test_two_caches_of_one_process_are_told_apart(collector: Collector, house: House) -> None:
    other = House()
    for name, cache in (("one", house.cache), ("two", other.cache)):
        instrument(cache, name=name, meter_provider=collector.meters, tracer_provider=collector.tracers)
    other.cache.get("a")
    other.settle()
    assert collector.values("secretcache.entries") == {("one",): 0, ("two",): 1}
    assert collector.points("secretcache.call.duration").keys() == {(OSAKA, "answered", "two")}
    assert collector.spans[0].attributes["secretcache.cache.name"] == "two"


def test_without_providers_it_goes_to_the_global_ones_and_does_no_harm(house: House) -> None:
    handle = instrument(house.cache)
    assert house.cache.get("a").string == "v1"
    handle.cancel()


def test_without_opentelemetry_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import secretcache.integrations.otel"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=60)  # noqa: S603 - ours
    assert 'pip install "secretcache[otel]"' in ran.stderr


def test_the_prometheus_recipe_of_the_documentation(monkeypatch: pytest.MonkeyPatch, house: House) -> None:
    import prometheus_client  # noqa: PLC0415

    (recipe,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", OPERATING.read_text(encoding="utf-8"), re.DOTALL)
        if "PrometheusMetricReader" in block
    ]
    monkeypatch.setattr("secretcache.default_cache", lambda: house.cache)
    monkeypatch.setattr(prometheus_client, "start_http_server", lambda _port: None)
    names: dict[str, Any] = {}
    exec(recipe, names)  # noqa: S102 - our own documentation
    house.cache.get("prod/db")
    house.cache.get("prod/db")
    shown = prometheus_client.generate_latest().decode()
    names["provider"].shutdown()
    assert re.search(r'^secretcache_reads_total\{.*secretcache_outcome="hit".*\} 1\.0$', shown, re.MULTILINE)
    assert re.search(rf'^secretcache_breaker_state\w*\{{cloud_region="{OSAKA}".*\}} 0\.0$', shown, re.MULTILINE)
    documented = set(re.findall(r"\bsecretcache_\w+", OPERATING.read_text(encoding="utf-8")))
    for name in documented - {"secretcache_event", "secretcache_outcome"}:
        assert name in shown or name.removesuffix("_bucket") in shown or name in LOG_FIELDS or name in AFTER_EVENTS, (
            name
        )


LOG_FIELDS = {f"secretcache_{name}" for name in ("region", "secret_id", "seconds", "detail")}
AFTER_EVENTS = {"secretcache_failovers_total", "secretcache_stale_episodes_total", "secretcache_divergences_total"}
"""Counters that are there from the first event on."""
