"""A warm read: the price of a hit, alone, in many threads, and while others refresh."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import secretcache
from measure import Case, Line, Outcome, Scale, at_least, at_most, loops, spread, told
from parts import POWERTOOLS, SMC, Bare, Client, Memory, bounded, cache_in_memory, peers

THREADS = 8
OURS = "SecretCache.get"


def contenders() -> dict[str, Callable[..., Any]]:
    """What reads one warm secret, the floor first."""
    cache = cache_in_memory()
    secret = cache.get("prod/db")
    return {"bare method": Bare(secret).get, OURS: cache.get, **bounded(secret), **peers(Client)}


def one_thread(scale: Scale) -> Outcome:
    reads = contenders()
    for read in reads.values():
        read("prod/db")
    statements = {what: ('read("prod/db")', {"read": read}) for what, read in reads.items()}
    taken = loops(statements, scale(41, 3), 0.02)
    lines = told(taken, "ns", 1e9)
    by = {line.what: line.value for line in lines}
    return Outcome(
        lines,
        [
            at_most("SecretCache.get, × the bare method", by[OURS] / by["bare method"], 1.5),
            at_least(f"× faster than {SMC}", by[SMC] / by[OURS], 300),
            at_least(f"× faster than {POWERTOOLS}", by[POWERTOOLS] / by[OURS], 10),
        ],
    )


def many_threads(scale: Scale) -> Outcome:
    reads = contenders()
    rates: dict[str, list[float]] = {}
    for _ in range(scale(7, 1)):
        for what, read in reads.items():
            number = scale(3_000, 100) if what in (SMC, POWERTOOLS) else scale(300_000, 1_000)
            for threads in (1, THREADS):
                rates.setdefault(f"{what}, {threads} threads", []).append(_rate(read, threads, number))
    lines = [Line(what, spread(values)[0] / 1e6, "million reads/s", *_ends(values)) for what, values in rates.items()]
    by = {line.what: line.value for line in lines}
    eight = by[f"{OURS}, 8 threads"]
    return Outcome(
        lines,
        [
            at_least("8 threads in sum, × one thread", eight / by[f"{OURS}, 1 threads"], 0.9),
            at_least(f"8 threads, × {SMC}", eight / by[f"{SMC}, 8 threads"], 300),
        ],
    )


def _ends(values: list[float]) -> tuple[float, float]:
    _, low, high = spread(values)
    return low / 1e6, high / 1e6


def _rate(read: Callable[[str], object], threads: int, number: int) -> float:
    ready = threading.Barrier(threads + 1)

    def work() -> None:
        ready.wait()
        for _ in range(number):
            read("prod/db")

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(work) for _ in range(threads)]
        ready.wait()
        began = time.perf_counter()
        for one in running:
            one.result()
    return threads * number / (time.perf_counter() - began)


def while_others_refresh(scale: Scale) -> Outcome:
    number, rounds = scale(200_000, 2_000), scale(9, 1)
    memory = Memory()
    kinds: dict[str, Callable[[], Any]] = {
        "at rest": ExitStack,
        "while its refresh hangs": lambda: hanging(memory),
        "while 200 secrets refresh": lambda: refreshing(memory),
    }
    tails: dict[str, list[float]] = {}
    middles: dict[str, list[float]] = {}
    with cache_in_memory(memory) as cache:
        cache.get("prod/db")
        for _ in range(rounds):
            for what, busy in kinds.items():
                _BUSY["cache"] = cache
                with busy():
                    middle, tail = _tail(cache.get, number)
                tails.setdefault(what, []).append(tail)
                middles.setdefault(what, []).append(middle)
    lines = told({f"{what}, p99.9": values for what, values in tails.items()}, "ns", 1e9)
    lines += told({f"{what}, median": values for what, values in middles.items()}, "ns", 1e9)
    goals = [at_most(f"{line.what}, × at rest", line.ratio or 0.0, 2) for line in lines[1:3]]
    return Outcome(lines, goals, ["Each read timed by itself: a clock call is in every figure."])


_BUSY: dict[str, Any] = {}


@contextmanager
def hanging(memory: Memory) -> Iterator[None]:
    memory.gate = threading.Event()
    cache = _BUSY["cache"]
    thread = threading.Thread(target=lambda: cache.refresh("prod/db"))
    thread.start()
    try:
        yield
    finally:
        memory.gate.set()
        thread.join()
        memory.gate = None


@contextmanager
def refreshing(memory: Memory) -> Iterator[None]:
    cache, over = _BUSY["cache"], threading.Event()
    memory.pause = 0.005

    def work(part: int) -> None:
        while not over.is_set():
            for one in range(part, 200, 4):
                cache.refresh(f"other/{one}")

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
        memory.pause = 0.0


def _tail(read: Callable[[str], object], number: int) -> tuple[float, float]:
    clock = time.perf_counter_ns
    taken = []
    for _ in range(number):
        began = clock()
        read("prod/db")
        taken.append(clock() - began)
    taken.sort()
    return taken[number // 2] / 1e9, taken[int(number * 0.999)] / 1e9


def parsed(scale: Scale) -> Outcome:
    """What an application does with a hit: one key of its JSON."""
    cache = cache_in_memory()
    client = secretcache.client(cache=cache)
    powertools = peers(Client)[POWERTOOLS]
    parse, drop_in = "powertools, and json.loads each time", "drop-in get_secret_value"
    names: dict[str, Any] = {"get": cache.get, "client": client, "powertools": powertools, "loads": json.loads}
    statements = {
        f"{POWERTOOLS}, transform": 'powertools("json/db", transform="json")["password"]',
        parse: 'loads(powertools("prod/db"))["password"]',
        'SecretCache.get(...)["password"]': 'get("prod/db")["password"]',
        drop_in: 'client.get_secret_value(SecretId="prod/db")',
        f"{drop_in}, and json.loads": 'loads(client.get_secret_value(SecretId="prod/db")["SecretString"])["password"]',
    }
    lines = told(loops({what: (one, names) for what, one in statements.items()}, scale(41, 3), 0.02), "ns", 1e9)
    by = {line.what: line.value for line in lines}
    fastest = min(by[f"{POWERTOOLS}, transform"], by[parse])
    client.close()
    return Outcome(
        lines,
        [
            at_most('secret["password"], × the faster of both', by['SecretCache.get(...)["password"]'] / fastest, 1),
            at_most("drop-in get_secret_value, × the faster of both", by[drop_in] / fastest, 1),
        ],
    )


CASES = [
    Case("hit", "Warm read, one thread", one_thread, log=True),
    Case("hit-threads", "Warm reads in eight threads", many_threads, log=True),
    Case("hit-busy", "Warm read while others refresh", while_others_refresh, log=True),
    Case("hit-parsed", "One key of a warm secret, and the drop-in", parsed),
]
