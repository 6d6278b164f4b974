"""Every fault x the region it is in x a cold or a warm read, over real sockets: what came of it, and what it cost.

    python tests/fault_matrix.py

prints one table. `tests/test_fault_matrix.py` asserts of every cell what `complaints` finds.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fault_kinds import KINDS, Endpoint, Kind, Site
from secretcache import SecretCache, SecretCacheError
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._regions.policy import RegionPolicy
from secretcache._transport import Fault
from support import OSAKA, REGIONS, TOKYO

if TYPE_CHECKING:
    from secretcache import Secret
    from secretcache._regions.health import RegionHealth

__all__ = ["CELLS", "Cell", "Read", "Result", "complaints", "run"]

TIMEOUT = 5.0
SLACK = 1.5
"""Seconds that a noisy machine may add; the table prints what it was."""
_AT_ONCE = {True: 22, False: 4}
"""Cells at a time: those whose region is silent do nothing but wait."""
_WHERE = {"first": (OSAKA,), "second": (TOKYO,), "both": REGIONS}
_NEXT_COLD = 3
"""Cold reads after the first one: enough that a breaker that has to open does, and the last meets it open."""
_GATE_SECONDS = 0.5
"""What is throttled, or whose credentials failed, is asked again after that at the earliest."""
_ASKED_BEHIND_GATES = 4
"""Requests to one region within 5 s, whose gate is closed for 0.5, 1 and 2 s at the least: that reader has no value."""
_SETTLE_SECONDS = 15.0
_HELD = "held"
_FINAL = {
    Fault.DENIED: "SecretAccessDeniedError",
    Fault.MISSING: "SecretNotFoundError",
}


@dataclass(frozen=True)
class Cell:
    """One experiment."""

    kind: Kind
    where: str
    warm: bool
    """Whether a value past its `ttl` is held."""

    def __str__(self) -> str:
        return f"{self.kind.name}, {self.where}, {'warm' if self.warm else 'cold'}"

    @property
    def faulty(self) -> Sequence[str]:
        return _WHERE[self.where]

    @property
    def next_reads(self) -> int:
        """How many reads follow: of other secrets in a cold cell, of the same one in a warm one."""
        if self.where == "second" or (self.where == "both" and not self.warm):
            return 0
        return 1 if self.warm else _NEXT_COLD


CELLS = tuple(Cell(kind, where, warm) for kind in KINDS for where in _WHERE for warm in (False, True))


@dataclass(frozen=True)
class Read:
    """What one read returned: a region, "held" for the older value, or an error's name; and after how long."""

    answer: str
    seconds: float
    calls: dict[str, int]
    """Requests sent until then, in all."""


@dataclass(frozen=True)
class Result:
    """What was seen in one cell."""

    cell: Cell
    reads: list[Read] = field(default_factory=list)
    health: dict[str, RegionHealth] = field(default_factory=dict)
    """When every request had been judged."""

    def charged(self, region: str) -> int:
        """Failures of class A."""
        return self.health[region].outcomes.get("region", 0)


# Running.


def run(cells: Sequence[Cell] = CELLS) -> dict[Cell, Result]:
    """Runs the cells, some at a time."""
    with EmbeddedSecretsManager(TOKYO, [OSAKA]) as manager, Site.opened(manager) as site:
        for number in range(_NEXT_COLD + 1):
            manager.create(f"secret/{number}", "value")
        return {result.cell: result for group in _groups(cells) for result in _run_group(site, group)}


def _groups(cells: Sequence[Cell]) -> Iterator[Sequence[Cell]]:
    for silent, width in _AT_ONCE.items():
        alike = [cell for cell in cells if cell.kind.silent is silent]
        yield from (alike[start : start + width] for start in range(0, len(alike), width))


def _run_group(site: Site, cells: Sequence[Cell]) -> list[Result]:
    # Made one after the other before any of them reads: making clients would show in the figures.
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(cells)) as pool:
        benches = [stack.enter_context(Bench(site, cell).open()) for cell in cells]
        return list(pool.map(Bench.read_all, benches))


class Bench:
    """One cell's endpoints and its cache."""

    def __init__(self, site: Site, cell: Cell) -> None:
        self._cell = cell
        self._endpoints = {region: Endpoint(site, cell.kind if region in cell.faulty else None) for region in REGIONS}
        self._cache = SecretCache(
            list(REGIONS),
            ttl=0.0 if cell.warm else 300.0,
            timeout=TIMEOUT,
            endpoint_urls={region: endpoint.url for region, endpoint in self._endpoints.items()},
            session_factory=site.session,
        )
        self._held: Secret | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[Bench]:
        try:
            for region in REGIONS:
                assert self._cache._engine._transport.prepare(region) is None
            if self._cell.warm:
                self._held = self._warm_up()
            yield self
        finally:
            for endpoint in self._endpoints.values():
                endpoint.close()
            self._cache.close()

    def _warm_up(self) -> Secret:
        """The value, from the first region, which is not suspect: on a noisy machine it may be for 5 s."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            secret = self._cache.get("secret/0")
            if secret.region == OSAKA and not self._cache.region_health()[OSAKA].suspect_seconds:
                return secret
            assert time.monotonic() < deadline, f"{self._cell}: the first region does not answer"
            time.sleep(0.1)

    def read_all(self) -> Result:
        before = {region: health.calls for region, health in self._cache.region_health().items()}
        for endpoint in self._endpoints.values():
            endpoint.fail()
        reads = [self._read(0, before)]
        self._until_suspect()
        reads += [self._read(number, before) for number in range(1, 1 + self._cell.next_reads)]
        self._settle()
        return Result(self._cell, reads, dict(self._cache.region_health()))

    def _until_suspect(self) -> None:
        """Half a second after its request was sent; on a noisy machine the read was over, by its hedge, before that."""
        cell, deadline = self._cell, time.monotonic() + _SETTLE_SECONDS
        while cell.kind.silent and cell.where == "first" and not cell.warm:
            if self._cache.region_health()[OSAKA].suspect_seconds:
                return
            assert time.monotonic() < deadline, f"{cell}: the first region does not become suspect"
            time.sleep(0.01)

    def _read(self, number: int, before: dict[str, int]) -> Read:
        began = time.monotonic()
        answer = self._answer("secret/0" if self._cell.warm else f"secret/{number}")
        seconds = time.monotonic() - began
        now = self._cache.region_health()
        return Read(answer, seconds, {region: now[region].calls - before[region] for region in REGIONS})

    def _answer(self, secret_id: str) -> str:
        try:
            secret = self._cache.get(secret_id)
        except SecretCacheError as error:
            return type(error).__name__
        return _HELD if secret is self._held else secret.region

    def _settle(self) -> None:
        """Returns when every request has been judged: what a read left behind is, at its cap."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while any(one.calls > one.answers + one.failures for one in self._cache.region_health().values()):
            assert time.monotonic() < deadline, f"{self._cell}: a request is never judged"
            time.sleep(0.02)


# What the decision table demands.


def expected_answer(cell: Cell) -> str:
    if cell.where != "both":
        return TOKYO if cell.where == "first" else OSAKA
    if cell.kind.meaning in _FINAL:  # revoked access is not masked
        return _FINAL[cell.kind.meaning]
    if cell.warm:
        return _HELD
    return "CredentialsError" if cell.kind.meaning is Fault.IDENTITY else "SecretUnavailableError"


def goal(cell: Cell) -> float:
    """Seconds within which the first read is to end, on a machine that has nothing else to do."""
    if cell.where == "second":
        return 0.1
    if cell.where == "both":
        return TIMEOUT
    if not cell.kind.silent:
        return 0.3
    return TIMEOUT / 2 if cell.warm else 0.6  # hedges never run for refreshes


def complaints(result: Result) -> list[str]:
    """In what a result differs from the decision table."""
    return [*_of_the_answer(result), *_of_the_calls(result), *_of_the_breakers(result), *_of_the_next_reads(result)]


def _of_the_answer(result: Result) -> Iterable[str]:
    cell, first = result.cell, result.reads[0]
    if first.answer != expected_answer(cell):
        yield f"{first.answer} rather than {expected_answer(cell)}"
    if first.seconds > goal(cell) + SLACK:
        yield f"{first.seconds:.2f} s rather than {goal(cell)} s"


def _of_the_calls(result: Result) -> Iterable[str]:
    cell, calls = result.cell, result.reads[0].calls
    most = len(REGIONS) + 1 + (cell.kind.meaning is Fault.IDENTITY)
    if cell.kind.meaning is Fault.THROTTLED and cell.where == "both" and not cell.warm:
        most = len(REGIONS) * _ASKED_BEHIND_GATES
    if sum(calls.values()) > most:
        yield f"{sum(calls.values())} calls rather than {most} at most"
    if cell.where == "second" and calls[TOKYO] and result.reads[0].seconds < RegionPolicy().hedge_after:
        yield "the second region was asked though the first had answered"
    if calls[OSAKA] < 1:
        yield "the first region was not asked"


def _of_the_breakers(result: Result) -> Iterable[str]:
    cell = result.cell
    for region in REGIONS:
        blamed = cell.kind.meaning is Fault.REGION and region in cell.faulty and result.health[region].calls > 0
        if blamed and not result.charged(region):
            yield f"{region} failed and its breaker counts nothing"
        if not blamed and (result.charged(region) or result.health[region].state != "closed"):
            yield f"{region} is blamed: {result.charged(region)}, {result.health[region].state}"


def _of_the_next_reads(result: Result) -> Iterable[str]:
    cell, later = result.cell, result.reads[1:]
    for read in later:
        if read.answer != expected_answer(cell):
            yield f"a later read: {read.answer} rather than {expected_answer(cell)}"
        if read.seconds > SLACK + 0.3:
            yield f"a later read took {read.seconds:.2f} s"
    if later and _stays_away(result) and later[-1].calls[OSAKA] > result.reads[0].calls[OSAKA]:
        yield "the first region was asked again"
    if cell.where == "first" and not cell.warm and cell.kind.meaning is Fault.REGION and not cell.kind.silent:
        yield from _of_the_open_breaker(result)


def _stays_away(result: Result) -> bool:
    """Whether the first region is not to be asked again by the reads that follow at once."""
    cell, meaning = result.cell, result.cell.kind.meaning
    if meaning in _FINAL:  # remembered for that secret
        return cell.warm
    if meaning in (Fault.THROTTLED, Fault.IDENTITY):
        return sum(read.seconds for read in result.reads) < _GATE_SECONDS
    return cell.kind.silent or cell.where == "both"


def _of_the_open_breaker(result: Result) -> Iterable[str]:
    if result.reads[-1].calls[OSAKA] > result.reads[-2].calls[OSAKA]:
        yield "a region was asked a fourth time after three failures"
    # On a machine so busy that a read takes half a second the region is suspect, and not asked three times.
    suspect = any(read.seconds >= RegionPolicy().hedge_after for read in result.reads)
    if result.health[OSAKA].state == "closed" and not (suspect and result.charged(OSAKA) < _NEXT_COLD):
        yield "three failures did not open the breaker"


# The table.


def main() -> None:
    from rich.console import Console  # noqa: PLC0415 - for the command alone
    from rich.table import Table  # noqa: PLC0415

    logging.getLogger("secretcache").addHandler(logging.NullHandler())  # the table says it
    began = time.monotonic()
    results = run()
    table = Table(title="Faults by region and read; class A failures counted by each region's breaker")
    for heading in ("fault", "in", "read", "answer", "s", "goal", "calls", "next", "s", OSAKA, TOKYO, ""):
        table.add_column(heading, no_wrap=True)
    for cell in CELLS:
        table.add_row(*_row(results[cell]), end_section=cell.where == "both" and cell.warm)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    wrong = {cell: complaints(results[cell]) for cell in CELLS if complaints(results[cell])}
    for cell, what in wrong.items():
        console.print(f"{cell}: {'; '.join(what)}")
    console.print(f"{len(CELLS)} cells, {len(wrong)} not as they should be, {time.monotonic() - began:.0f} s")
    sys.exit(bool(wrong))


def _row(result: Result) -> list[str]:
    cell, first, later = result.cell, result.reads[0], result.reads[1:]
    return [
        cell.kind.name,
        cell.where,
        "warm" if cell.warm else "cold",
        first.answer,
        f"{first.seconds:.2f}",
        f"{goal(cell):.1f}",
        "+".join(str(first.calls[region]) for region in REGIONS),
        ", ".join(dict.fromkeys(read.answer for read in later)),
        " ".join(f"{read.seconds:.2f}" for read in later),
        *(f"{result.health[region].state} {result.charged(region)}" for region in REGIONS),
        "NO" if complaints(result) else "",
    ]


if __name__ == "__main__":
    main()
