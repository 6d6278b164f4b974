"""A few minutes of everything at once, and then: is it flat? Memory, threads, file descriptors.

    python benchmarks/soak.py --minutes 3

200 secrets of the embedded Secrets Manager, 32 reading threads and some tasks, faults switched on both regions by a
seeded generator, rotations, invalidations and refreshes meanwhile. At the end all faults are healed, every secret must
converge to its newest value, and what the process holds must be what it held after the first half minute. Exit code 1
otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from secretcache import SecretCache, SecretCacheError, SecretUnavailableError
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import HTML_503, INTERNAL_500, Delay, Drip, Fault, Refuse, Reset, ResetMidway, Silent

OSAKA, TOKYO = "ap-northeast-3", "ap-northeast-1"
FAULTS: list[Fault] = [Refuse(), Reset(), ResetMidway(), Silent(), Delay(0.3), Drip(0.2), INTERNAL_500, HTML_503]
SECRETS, THREADS, TASKS = 200, 32, 4
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
                    self.cache.refresh(name)
                else:
                    self.cache.get(name)
                self.reads["answered"] += 1
            except SecretCacheError as error:
                self.tell(error)

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
            await asyncio.sleep(0.002)

    def tell(self, error: SecretCacheError) -> None:
        """An error is right while the regions are, or just were, in trouble."""
        fits = isinstance(error, SecretUnavailableError) and time.monotonic() - self.last_faulty < 10
        self.errors["expected" if fits or self.faulty else f"UNEXPECTED {error!r:.300}"] += 1

    def trouble(self, seconds: float) -> None:
        """Faults and rotations, one after the other."""
        chance, end = random.Random(self.seed), time.monotonic() + seconds  # noqa: S311
        while time.monotonic() < end:
            region = chance.choice([OSAKA, TOKYO])
            fault = chance.choice([None, None, *FAULTS])
            self.manager.proxies[region].set_fault(fault)
            (self.faulty.add if fault else self.faulty.discard)(region)
            self.last_faulty = time.monotonic()
            name = f"soak/{chance.randrange(SECRETS)}"
            self.newest[name] = self.manager.rotate(name, f"value {chance.random()}")
            self.stop.wait(chance.uniform(0.5, 3))
        for proxy in self.manager.proxies.values():
            proxy.heal()
        self.faulty.clear()
        self.last_faulty = time.monotonic()

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


def run(minutes: float, seed: int) -> list[str]:
    with EmbeddedSecretsManager(TOKYO, [OSAKA]) as manager:
        for number in range(SECRETS):
            manager.create(f"soak/{number}", "first value")
        with SecretCache(
            [OSAKA, TOKYO], ttl=TTL, endpoint_urls=manager.endpoint_urls, session_factory=manager.session
        ) as cache:
            soak = Soak(manager, cache, seed)
            cache.prefetch([f"soak/{number}" for number in range(SECRETS)])
            return endure(soak, minutes * 60)


def endure(soak: Soak, seconds: float) -> list[str]:
    threads = [threading.Thread(target=soak.read_on, args=(number,), daemon=True) for number in range(THREADS)]
    threads.append(threading.Thread(target=lambda: asyncio.run(tasks(soak)), daemon=True))
    for thread in threads:
        thread.start()
    soak.trouble(WARM_UP)
    before = show("after warm-up", soak)
    soak.trouble(seconds - WARM_UP)
    soak.stop.wait(SETTLE)
    late = soak.not_converged()
    soak.stop.set()
    for thread in threads:
        thread.join(10)
    after = show("at the end", soak)
    return judge(soak, before, after, late)


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
    print(soak.cache.stats())
    return wrong


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=3.0)
    options.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311
    given = options.parse_args()
    print(f"seed {given.seed}, Python {sys.version.split()[0]}")
    wrong = run(given.minutes, given.seed)
    print("FLAT" if not wrong else "FAILED: " + "; ".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
