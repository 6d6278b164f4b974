"""A few minutes of everything at once, and then: is it flat? Memory, threads, file descriptors.

    python benchmarks/soak.py --minutes 3

200 secrets of the embedded Secrets Manager, 32 reading threads and some tasks, faults switched on both regions by a
seeded generator, rotations, invalidations and refreshes meanwhile. At the end all faults are healed, every secret must
converge to its newest value, and what the process holds must be what it held after the first half minute. Exit code 1
otherwise.

    python benchmarks/soak.py --minutes 30 --everything

Besides all of that: reads in the main thread under signals whose handler raises, forks, and hooks that raise whatever
can be raised. Each read is timed against its timeout, and memory, threads and descriptors are looked at each minute.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from secretcache import SecretCache, SecretCacheError, SecretUnavailableError
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import HTML_503, INTERNAL_500, Delay, Drip, Fault, Refuse, Reset, ResetMidway, Silent
from soak_trouble import Forks, Interrupter, Misbehaving, Reads

OSAKA, TOKYO = "ap-northeast-3", "ap-northeast-1"
FAULTS: list[Fault] = [Refuse(), Reset(), ResetMidway(), Silent(), Delay(0.3), Drip(0.2), INTERNAL_500, HTML_503]
SECRETS, THREADS, TASKS = 200, 32, 4
HOOKED = 100
TTL = 10.0
WARM_UP = 30.0
SETTLE = 70.0  # seconds: the longest retry, and a ttl


@dataclass
class Soak:
    """What is read and what came of it."""

    manager: EmbeddedSecretsManager
    cache: SecretCache
    seed: int
    stop: threading.Event = field(default_factory=threading.Event)
    faulty: set[str] = field(default_factory=set)
    last_faulty: float = 0.0
    reads: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    newest: dict[str, str] = field(default_factory=dict)
    times: Reads = field(default_factory=Reads)
    still: threading.Lock = field(default_factory=threading.Lock)
    """Over the servers' ports: see `Forks`."""

    def read_on(self, number: int) -> None:
        """One thread's reads, a thousand a second at most."""
        chance = random.Random(self.seed + number)  # noqa: S311
        while not self.stop.wait(0.001):
            name = f"soak/{chance.randrange(SECRETS)}"
            try:
                what = chance.random()
                if what < 0.0002:
                    self.cache.invalidate(name)
                elif what < 0.0006:
                    self.times.timed("refresh", 5.0, partial(self.cache.refresh, name))
                else:
                    self.times.timed("get", 5.0, partial(self.cache.get, name))
                self.reads["answered"] += 1
            except SecretCacheError as error:
                self.tell(error)
            except (SystemExit, KeyboardInterrupt):  # an event hook's, in the thread that tells it
                self.reads["exits"] += 1

    async def read_as_task(self, number: int) -> None:
        chance = random.Random(self.seed - number)  # noqa: S311
        while not self.stop.is_set():
            try:
                await asyncio.wait_for(self.cache.aget(f"soak/{chance.randrange(SECRETS)}"), chance.choice([0.01, 10]))
                self.reads["answered"] += 1
            except asyncio.TimeoutError:
                self.reads["cancelled"] += 1
            except SecretCacheError as error:
                self.tell(error)
            except (SystemExit, KeyboardInterrupt, asyncio.CancelledError):  # as above
                self.reads["exits"] += 1
            await asyncio.sleep(0.002)

    def tell(self, error: SecretCacheError) -> None:
        """An error is right while the regions are, or just were, in trouble."""
        fits = isinstance(error, SecretUnavailableError) and time.monotonic() - self.last_faulty < 10
        self.errors["expected" if fits or self.faulty else f"UNEXPECTED {error!r:.300}"] += 1

    def trouble(self, seconds: float) -> None:
        """Faults and rotations, one after the other."""
        chance, end = random.Random(self.seed + int(seconds)), time.monotonic() + seconds  # noqa: S311
        while time.monotonic() < end:
            region = chance.choice([OSAKA, TOKYO])
            fault = chance.choice([None, None, *FAULTS])
            with self.still:
                self.manager.proxies[region].set_fault(fault)
            (self.faulty.add if fault else self.faulty.discard)(region)
            self.last_faulty = time.monotonic()
            name = f"soak/{chance.randrange(SECRETS)}"
            self.newest[name] = self.manager.rotate(name, f"value {chance.random()}")
            self.stop.wait(chance.uniform(0.5, 3))
        with self.still:
            for proxy in self.manager.proxies.values():
                proxy.heal()
        self.faulty.clear()
        self.last_faulty = time.monotonic()

    def close_servers(self) -> None:
        """In a child."""
        for proxy in self.manager.proxies.values():
            proxy._socket.close()

    def not_converged(self) -> list[str]:
        return [name for name, version in self.newest.items() if self.cache.get(name).version_id != version]


def held() -> dict[str, int]:
    """What the process holds now."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("secretcache")]
    return {
        "rss_kib": resident,
        "threads": len(ours),
        "fds": len(list(Path("/proc/self/fd").iterdir())),
        "objects": len(gc.get_objects()),
    }


def run(minutes: float, seed: int, *, everything: bool) -> list[str]:
    with EmbeddedSecretsManager(TOKYO, [OSAKA]) as manager:
        for number in range(SECRETS):
            manager.create(f"soak/{number}", "first value")
        with SecretCache(
            [OSAKA, TOKYO], ttl=TTL, endpoint_urls=manager.endpoint_urls, session_factory=manager.session
        ) as cache:
            soak = Soak(manager, cache, seed)
            cache.prefetch([f"soak/{number}" for number in range(SECRETS)])
            if not everything:
                return endure(soak, minutes * 60, soak.trouble)
            logging.disable(logging.ERROR)  # what hooks raise is logged, thousands of times
            return endure_everything(soak, minutes * 60)


def endure_everything(soak: Soak, seconds: float) -> list[str]:
    """As `endure`, with the main thread under signals meanwhile."""
    names = [f"soak/{number}" for number in range(SECRETS)]
    hooks = Misbehaving(soak.cache, names[:HOOKED], soak.seed)
    forks = Forks(soak.cache, names, soak.seed, soak.still, soak.close_servers)
    forking = threading.Thread(target=forks.run_until, args=(soak.stop,), daemon=True)
    forking.start()
    interrupter = Interrupter(soak.cache, names, soak.times, soak.seed)

    def trouble(lasts: float) -> None:
        beside = threading.Thread(target=soak.trouble, args=(lasts,), daemon=True)
        beside.start()
        end = time.monotonic() + lasts
        while (now := time.monotonic()) < end:
            interrupter.run_until(min(now + 60, end))
            show(f"{end - time.monotonic():.0f} s before the end", soak)
        beside.join()

    wrong = endure(soak, seconds, trouble)
    forking.join(60)
    hooks.end()
    print(
        f"interrupted reads: {soak.times.interrupted}; forks: {forks.done}; hooks called: {sum(hooks.calls.values())}, "
        f"rotation hooks {hooks.calls['rotation hook']}; exits of hooks passed on to readers: "
        f"{soak.times.exits + soak.reads['exits']}; a read's worst time beyond its timeout: {soak.times.worst:.2f} s, "
        f"while the machine kept a thread waiting for up to {soak.times.stall:.2f} s"
    )
    return wrong + forks.failed


def endure(soak: Soak, seconds: float, trouble: Callable[[float], None]) -> list[str]:
    threads = [threading.Thread(target=soak.read_on, args=(number,), daemon=True) for number in range(THREADS)]
    threads.append(threading.Thread(target=lambda: asyncio.run(tasks(soak)), daemon=True))
    threads.append(threading.Thread(target=soak.times.watch_stalls, args=(soak.stop,), daemon=True))
    for thread in threads:
        thread.start()
    trouble(WARM_UP)
    before = show("after warm-up", soak)
    trouble(seconds - WARM_UP)
    soak.stop.wait(SETTLE)
    late = soak.not_converged()
    soak.stop.set()
    for thread in threads:
        thread.join(10)
    after = show("at the end", soak)
    still = [thread.name for thread in threads if thread.is_alive()]
    return judge(soak, before, after, late) + [f"{name} does not end" for name in still] + soak.times.late[:10]


async def tasks(soak: Soak) -> None:
    await asyncio.gather(*(soak.read_as_task(number) for number in range(TASKS)))


def show(when: str, soak: Soak) -> dict[str, int]:
    now = held()
    print(f"{when}: {now} {dict(soak.reads)} {dict(soak.errors)}", flush=True)
    return now


def judge(soak: Soak, before: dict[str, int], after: dict[str, int], late: list[str]) -> list[str]:
    wrong = [f"{count} x {what}" for what, count in soak.errors.items() if what != "expected"]
    wrong += [f"{len(late)} secrets did not converge: {late[:5]}"] if late else []
    for what, slack in {"rss_kib": 20_000, "threads": 2, "fds": 40, "objects": 20_000}.items():
        if after[what] > before[what] + slack:
            wrong.append(f"{what} grew from {before[what]} to {after[what]}")
    print(soak.cache.stats().regions)
    return wrong


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=3.0)
    options.add_argument("--everything", action="store_true", help="signals, forks and hooks that misbehave as well")
    options.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311
    given = options.parse_args()
    print(f"seed {given.seed}, Python {sys.version.split()[0]}")
    wrong = run(given.minutes, given.seed, everything=given.everything)
    print("FLAT" if not wrong else "FAILED: " + "; ".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
