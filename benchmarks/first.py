"""What importing costs, and what a hit costs beside a bare method: one run, ratios, no thresholds.

    python benchmarks/first.py

The bare method has the signature of `SecretCache.get` and does one dictionary lookup and one clock compare. Both are
timed in turns, so that a noisy machine is noisy for both; the best of all turns counts.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Mapping
from typing import Any

from secretcache import Secret, SecretCache

TURNS = 15
READS = 100_000
STARTS = 15


class Bare:
    """The least that a cache with a ttl can do."""

    def __init__(self, value: Secret) -> None:
        self._values = {"prod/db": (value, float("inf"))}

    def get(
        self,
        secret_id: str,
        *,
        version_stage: str | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> Secret | None:
        value, until = self._values[secret_id]
        return value if time.monotonic() < until else None


class OneSecret:
    """A region that holds one secret, without a network."""

    def prepare(self, region: str) -> None:
        """Nothing is needed."""

    def reload(self) -> None:
        """There are no credentials."""

    def send(self, call: Any) -> Mapping[str, Any]:
        return {
            "ARN": f"arn:aws:secretsmanager:{call.region}:123456789012:secret:prod/db-AbCdEf",
            "Name": "prod/db",
            "VersionId": "0" * 32,
            "VersionStages": ["AWSCURRENT"],
            "SecretString": '{"password": "x"}',
        }

    def host(self, region: str) -> str:
        return region

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    print(f"Python {platform.python_version()} on {platform.machine()}, {platform.system()}; best of {TURNS} turns\n")
    hits()
    imports()


def hits() -> None:
    cache = SecretCache(["ap-northeast-3"], _transport=OneSecret())
    secret = cache.get("prod/db")
    bare = Bare(secret)
    reads: dict[str, Callable[[], object]] = {
        "bare method": lambda: bare.get("prod/db"),
        "SecretCache.get": lambda: cache.get("prod/db"),
        'SecretCache.get(...)["password"]': lambda: cache.get("prod/db")["password"],
    }
    empty = min(timeit.repeat(lambda: None, number=READS, repeat=TURNS))
    best = dict.fromkeys(reads, float("inf"))
    for _ in range(TURNS):
        for what, read in reads.items():
            best[what] = min(best[what], timeit.timeit(read, number=READS) - empty)
    for what, seconds in best.items():
        print(f"{what:<36}{seconds / READS * 1e9:7.0f} ns {seconds / best['bare method']:7.2f} x bare")


def imports() -> None:
    bare = start("pass")
    print(f"\n{'bare interpreter':<36}{bare * 1e3:7.1f} ms")
    for what in ("import secretcache", "from secretcache import SecretCache", "import boto3"):
        print(f"{what:<36}{(start(what) - bare) * 1e3:7.1f} ms more")


def start(code: str) -> float:
    def once() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
        return time.perf_counter() - began

    return min(once() for _ in range(STARTS))


if __name__ == "__main__":
    main()
