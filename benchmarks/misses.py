"""What goes to the service: a miss, a hundred, sixty-four threads at once."""

from __future__ import annotations

import threading
import timeit
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any

import boto3

from keepalive import make_cache
from measure import Case, Line, Outcome, Scale, at_most, told, turns
from parts import OSAKA, SMC, Client, Memory, boto_client, cache_in_memory, peers, served

HUNDRED = 100


def miss(scale: Scale) -> Outcome:
    found = Outcome(
        notes=[
            "Against a server on this machine that answers at once, and one that takes 10 ms, as a region and a network do.",
            "The hand-over to another thread is what makes a silent region something that can be left.",
        ]
    )
    for pause in (0.0, 0.01):
        lines = _miss(pause, scale(1500 if not pause else 400, 20))
        found.lines += lines
        found.goals.append(
            at_most(f"SecretCache.get of a cold secret, {lines[0].what[-7:]}, × boto3", _ratio(lines), 1.05)
        )
    return found


def _miss(pause: float, reads: int) -> list[Line]:
    where = f"{pause * 1e3:.0f} ms".rjust(7)
    ids = (f"cold/{number}" for number in count())
    with (
        served(pause) as server,
        make_cache(server.url, max_entries=reads + 200) as cache,
        ThreadPoolExecutor(1) as pool,
    ):
        session = boto3.Session("test", "test", region_name=OSAKA)
        client: Any = session.client("secretsmanager", endpoint_url=server.url)

        def raw() -> object:
            return client.get_secret_value(SecretId=next(ids))

        contenders: dict[str, Callable[[], object]] = {
            f"boto3's get_secret_value, server {where}": raw,
            f"the same in another thread, server {where}": lambda: pool.submit(raw).result(),
            f"SecretCache.get, a cold secret, server {where}": lambda: cache.get(next(ids)),
        }
        turns(contenders, min(100, reads))
        return told(turns(contenders, reads), "us", 1e6)


def _ratio(lines: list[Line]) -> float:
    return lines[-1].value / lines[0].value


def hundred(scale: Scale) -> Outcome:
    """A hundred cold secrets, one server, each contender with a process's first connections already made."""
    taken: dict[str, list[float]] = {}
    calls: dict[str, int] = {}
    for turn in range(scale(9, 1)):
        with served() as server:
            names = [f"hundred/{turn}/{number}" for number in range(HUNDRED)]
            client = boto_client(server.url)
            for what, read in _readers(server.url, client).items():
                read(["warm/up"])
                before = server.calls()
                taken.setdefault(what, []).append(timeit.timeit(partial(read, names), number=1))
                calls[what] = server.calls() - before
    lines = told(taken, "ms", 1e3)
    lines = [
        Line(one.what, one.value, one.unit, one.low, one.high, one.ratio, f"{calls[one.what]} calls") for one in lines
    ]
    ours = lines[-1]
    return Outcome(
        lines,
        [at_most("calls", calls[ours.what], 5), at_most("time, × boto3 one by one", ours.ratio or 0.0, 0.1)],
    )


def _readers(url: str, client: Any) -> dict[str, Callable[[list[str]], object]]:
    cache = make_cache(url)
    return {
        "boto3, one by one": lambda names: [client.get_secret_value(SecretId=name) for name in names],
        **{
            what: lambda names, read=read: [read(name) for name in names]  # type: ignore[misc]
            for what, read in peers(lambda: client).items()
        },
        "SecretCache.prefetch": cache.prefetch,
    }


def crowd(scale: Scale) -> Outcome:
    """Sixty-four threads that want one cold secret, which takes 50 ms: how many calls."""
    threads = scale(64, 8)
    clients: list[Client] = []

    def make() -> Client:
        clients.append(Client(pause=0.05))
        return clients[-1]

    memory = Memory(pause=0.05)
    cache = cache_in_memory(memory)
    lines = []
    for what, read in {**peers(make), "SecretCache.get": cache.get}.items():
        _all_at_once(read, threads)
        source: Any = memory if what == "SecretCache.get" else clients[0 if what == SMC else 1]
        lines.append(Line(what, source.calls, "calls"))
    cache.close()
    return Outcome(lines, [at_most("calls", memory.calls, 1)])


def _all_at_once(read: Callable[[str], object], threads: int) -> None:
    ready = threading.Barrier(threads)

    def work() -> None:
        ready.wait()
        read("prod/db")

    with ThreadPoolExecutor(threads) as pool:
        for one in [pool.submit(work) for _ in range(threads)]:
            one.result()


CASES = [
    Case("miss", "A miss over HTTP", miss),
    Case("hundred", "A hundred cold secrets", hundred, log=True),
    Case("crowd", "Sixty-four threads, one cold secret", crowd),
]
