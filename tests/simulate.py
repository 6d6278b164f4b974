"""Runs the real cache under simulated time, threads, network and chance, and checks the invariants at every step.

    PYTHONPATH=src:tests python tests/simulate.py --seeds 120 --steps 12000
    PYTHONPATH=src:tests python tests/simulate.py --seed 17 --steps 12000 --trace     # replay one, exactly
    PYTHONPATH=src:tests python tests/simulate.py --seed 17 --steps 12000 --shrink    # and make it short
    PYTHONPATH=src:tests python tests/simulate.py --planted                           # bugs planted on purpose

A step is one choice of the scheduler among at least two tasks that can run. A run fails if an invariant of
semantics.md does not hold, and, from a million steps on, if one of the rare paths was reached fewer than 100 times.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from simulation.plan import plan_of
from simulation.run import Outcome, machinery, run
from simulation.shrink import Shrinker
from simulation.world import PATHS

_ENOUGH, _FROM_STEPS = 100, 1_000_000
_STEPS = 12_000


@dataclass
class Report:
    """What many stories add up to."""

    seeds: int = 0
    steps: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    counters: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.steps += outcome.steps
        self.seconds += outcome.seconds
        self.counters += outcome.counters
        if outcome.number is not None:
            self.failures.append(outcome)

    def merge(self, other: Report) -> None:
        self.seeds, self.steps = self.seeds + other.seeds, self.steps + other.steps
        self.seconds, self.processor = self.seconds + other.seconds, self.processor + other.processor
        self.counters += other.counters
        self.failures += other.failures

    @property
    def seldom(self) -> list[str]:
        """Rare paths that a long run should have reached more often."""
        if self.steps < _FROM_STEPS:
            return []
        return [path for path in PATHS if self.counters[path] < _ENOUGH]

    @property
    def good(self) -> bool:
        return not self.failures and not self.seldom


def play(seeds: range, steps: int) -> Report:
    """The stories of these seeds, in this process."""
    report, began = Report(), time.process_time()
    with machinery():
        for seed in seeds:
            report.add(run(plan_of(seed, steps)))
            gc.collect()
            if len(report.failures) >= 20:
                break
    report.processor = time.process_time() - began
    return report


def play_all(first: int, count: int, steps: int, processes: int) -> Report:
    """Many seeds, in several processes."""
    if processes <= 1:
        return play(range(first, first + count), steps)
    size = max(1, min(50, -(-count // processes)))
    chunks = [range(start, min(start + size, first + count)) for start in range(first, first + count, size)]
    total = Report()
    # A process for each chunk: stories that were cut off leave greenlets behind, which slow the collector down.
    with multiprocessing.Pool(processes, maxtasksperchild=1) as pool:
        for report in pool.imap(partial(play, steps=steps), chunks):
            total.merge(report)
    return total


def commit() -> str:
    """The commit that is checked out, if that can be told."""
    try:
        told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell(report: Report, wall: float) -> None:
    """The figures of a run."""
    say(f"commit {commit()}: {report.seeds} seeds, {report.steps:,} steps, {report.seconds / 3600:.1f} simulated hours")
    rate = report.steps / max(report.processor, 0.001)
    say(f"{wall:.0f} s, {report.processor:.0f} s of processor time: {rate:,.0f} steps a second and process")
    say("rare paths: " + ", ".join(f"{path} {report.counters[path]}" for path in PATHS))
    rest = {name: count for name, count in sorted(report.counters.items()) if name not in PATHS}
    say("besides: " + ", ".join(f"{name} {count}" for name, count in rest.items()))
    for path in report.seldom:
        say(f"REACHED TOO SELDOM: {path}, {report.counters[path]} times")
    for outcome in report.failures:
        tell_failure(outcome)
    say(f"violations: {len(report.failures)}")


def tell_failure(outcome: Outcome) -> None:
    say(f"FAILED: seed {outcome.plan.seed}, commit {commit()}, after {outcome.steps} steps: invariant {outcome.number}")
    say(f"  {outcome.text}")
    say(f"  again: python tests/simulate.py --seed {outcome.plan.seed} --steps {outcome.plan.steps} --trace")


def play_one(seed: int, steps: int, *, trace: bool, shrink: bool) -> int:
    """One story: its trace, or the shortest that fails as it does."""
    with machinery():
        outcome = run(plan_of(seed, steps), trace=trace)
        if shrink and outcome.number is not None:
            shrinker = Shrinker(outcome)
            outcome = run(shrinker.shrink().plan, trace=True)
            say(f"made short in {shrinker.runs} runs")
    for line in outcome.trace:
        say(line)
    say(f"{outcome.plan}\nevents: {', '.join(f'{event.at:g} {event.kind}' for event in outcome.plan.events)}")
    say(f"{outcome.steps} steps, {outcome.seconds:.1f} simulated seconds, digest {outcome.digest:016x}")
    if outcome.number is not None:
        tell_failure(outcome)
    return int(outcome.number is not None)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many stories")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--steps", type=int, default=_STEPS, help="steps of a story, until nothing fails any more")
    parser.add_argument("--seed", type=int, help="one story only")
    parser.add_argument("--trace", action="store_true", help="show what happens in it")
    parser.add_argument("--shrink", action="store_true", help="make it short, if it fails")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--planted", action="store_true", help="plant bugs, and see each caught by the invariant it breaks"
    )
    given = parser.parse_args(arguments)
    if given.planted:
        from simulation.planted import table  # noqa: PLC0415

        return table(say)
    if given.seed is not None:
        return play_one(given.seed, given.steps, trace=given.trace, shrink=given.shrink)
    began = time.monotonic()
    report = play_all(given.first, given.seeds, given.steps, given.processes)
    tell(report, time.monotonic() - began)
    return int(not report.good)


if __name__ == "__main__":
    sys.exit(main())
