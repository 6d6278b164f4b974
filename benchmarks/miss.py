"""What a miss costs beside the same call made with botocore alone: one run, medians and their ratio, no thresholds.

    python benchmarks/miss.py

All ask a server on this machine that keeps connections open and runs in a process of its own. They take turns, so that
a noisy machine is noisy for all. A miss runs in a lane's thread, so that its reader can leave it: what such a hand-over
costs by itself is timed too. Against a real region the same microseconds are a smaller part: this server answers in
less time than a network needs.
"""

from __future__ import annotations

import multiprocessing
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from keepalive import KeepAliveSecretsManager, make_cache, tagged_session
from support import OSAKA

READS = 1500
WARM_UP = 100


def main() -> None:
    print(f"Python {platform.python_version()} on {platform.machine()}, {platform.system()}; {READS} reads each\n")
    with served() as url:
        client = tagged_session(OSAKA).create_client("secretsmanager", region_name=OSAKA, endpoint_url=url)
        with make_cache(url, max_entries=READS) as cache, ThreadPoolExecutor(1) as pool:
            ids = (f"cold/{number}" for number in count())

            def raw() -> object:
                return client.get_secret_value(SecretId=next(ids))

            reads: dict[str, Callable[[], object]] = {
                "botocore's get_secret_value": raw,
                "the same, in a thread of its own": lambda: pool.submit(raw).result(),
                "SecretCache.get, a cold secret": lambda: cache.get(next(ids)),
            }
            tell(in_turns(reads))


def in_turns(reads: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {what: [] for what in reads}
    for _ in range(WARM_UP + READS):
        for what, read in reads.items():
            began = time.perf_counter()
            read()
            seconds[what].append(time.perf_counter() - began)
    return {what: taken[WARM_UP:] for what, taken in seconds.items()}


def tell(seconds: dict[str, list[float]]) -> None:
    raw = median(next(iter(seconds.values())))
    for what, taken in seconds.items():
        middle, p90 = median(taken), quantiles(taken, n=10)[-1]
        print(f"{what:<34}median {middle * 1e6:7.0f} us  p90 {p90 * 1e6:7.0f} us {middle / raw:7.3f} x botocore")
    print(f"{'a miss costs':<34}{(median(list(seconds.values())[-1]) - raw) * 1e6:+13.0f} us at the median")


@contextmanager
def served() -> Iterator[str]:
    """The URL of a server in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        process.join()


def serve(pipe: Connection) -> None:
    with KeepAliveSecretsManager() as manager:
        pipe.send(manager.url)
        pipe.recv()


if __name__ == "__main__":
    main()
