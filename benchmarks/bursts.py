"""Many cold secrets at once, at a region that answers, and at one that throttles."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config

from keepalive import make_cache
from limited import Limited
from measure import Case, Line, Outcome, Scale, at_least, at_most
from parts import OSAKA, served
from secretcache import SecretCache
from support import TOKYO

_BURST, _RATE = 5, 10.0


def burst(scale: Scale) -> Outcome:
    """So many threads, each with a cold secret of its own, all at once."""
    found = Outcome(
        notes=["As many threads as secrets; boto3 with one client for all of them, as its documentation advises."]
    )
    for count in (300, 2000) if not scale.quick else (20,):
        for pause in (0.001, 0.02, 0.1):
            _one_burst(found, count, pause)
    return found


def _one_burst(found: Outcome, count: int, pause: float) -> None:
    names = [f"burst/{number}" for number in range(count)]
    where = f"{count} secrets, {pause * 1e3:.0f} ms"
    with served(pause) as server:
        client: Any = boto3.Session("test", "test", region_name=OSAKA).client(
            "secretsmanager", endpoint_url=server.url, config=Config(max_pool_connections=50)
        )
        client.get_secret_value(SecretId="warm/up")
        theirs, _ = _at_once(lambda name: client.get_secret_value(SecretId=name), names)
    with served(pause) as server, make_cache(server.url, max_entries=count + 10) as cache:
        cache.get("warm/up")
        before = server.calls()
        ours, failed = _at_once(cache.get, names)
        calls = server.calls() - before
    found.lines += [
        Line(f"boto3, {where}", theirs, "s"),
        Line(f"SecretCache.get, {where}", ours, "s", ratio=ours / theirs, note=f"{calls} calls, {failed} failed"),
    ]
    found.goals += [
        at_most(f"reads that fail, {where}", failed, 0),
        at_most(f"requests a secret, {where}", calls / count, 1.1),
        at_most(f"time, × boto3, {where}", ours / theirs, 1.2),
    ]


def _at_once(read: Callable[[str], object], names: list[str]) -> tuple[float, int]:
    """Seconds until all threads have their secret or an error; and how many have an error."""
    ready, failed = threading.Barrier(len(names) + 1), []

    def work(name: str) -> None:
        ready.wait()
        try:
            read(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            failed.append(error)

    with ThreadPoolExecutor(len(names)) as pool:
        for name in names:
            pool.submit(work, name)
        ready.wait()
        began = time.perf_counter()
    return time.perf_counter() - began, len(failed)


def throttled_start(scale: Scale) -> Outcome:
    """A start at a service that lets a burst of 5 and 10 requests a second through."""
    found = Outcome(notes=["Batches are refused in the lines 'no batches': then each secret costs a request at least."])
    for count in (1, 20, 200) if not scale.quick else (1, 6):
        for regions in (1, 2):
            _one_start(found, count, regions)
    return found


def _one_start(found: Outcome, count: int, regions: int) -> None:
    names = [f"start/{number}" for number in range(count)]
    where = f"{count} secrets, {regions} region{'s' * (regions > 1)}"
    succeeded: dict[str, int] = {}
    for what, batches in (
        ("boto3", True),
        ("boto3, adaptive", True),
        ("SecretCache.get", True),
        ("SecretCache.get, no batches", False),
    ):
        servers = [Limited(region, _BURST, _RATE, batches=batches) for region in (OSAKA, TOKYO)[:regions]]
        read, close = _reader(what, servers)
        seconds, failed = _at_once(read, names)
        calls = sum(server.calls for server in servers)
        close()
        succeeded[what] = count - failed
        found.lines.append(Line(f"{what}, {where}", seconds, "s", note=f"{count - failed} succeed, {calls} calls"))
    best = max(succeeded["boto3"], succeeded["boto3, adaptive"])
    for what in ("SecretCache.get", "SecretCache.get, no batches"):
        found.goals.append(at_least(f"{what} succeeds, {where}", succeeded[what], best))


def _reader(what: str, servers: list[Limited]) -> tuple[Callable[[str], object], Callable[[], None]]:
    def close() -> None:
        for server in servers:
            server.close()

    if what.startswith("boto3"):
        mode = Config(retries={"mode": "adaptive"}) if "adaptive" in what else Config()
        client: Any = boto3.Session("test", "test", region_name=OSAKA).client(
            "secretsmanager", endpoint_url=servers[0].url, config=mode.merge(Config(max_pool_connections=50))
        )
        return lambda name: client.get_secret_value(SecretId=name), close
    regions = [OSAKA, TOKYO][: len(servers)]
    urls = {region: server.url for region, server in zip(regions, servers, strict=True)}
    cache = SecretCache(regions, endpoint_urls=urls, session_factory=_session, timeout=30.0)

    def close_all() -> None:
        cache.close()
        close()

    return cache.get, close_all


def _session(region: str) -> Any:
    return boto3.Session("test", "test", region_name=region)


CASES = [
    Case("burst", "A burst of cold secrets", burst),
    Case("throttled", "A throttled start", throttled_start),
]
