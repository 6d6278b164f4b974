"""Runs one story, or many."""

from __future__ import annotations

import gc
import logging
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from simulation import faults, watch
from simulation.callers import Caller
from simulation.machine import Task, chance
from simulation.plan import Plan
from simulation.world import Ear, World


@dataclass(frozen=True)
class Outcome:
    """What came of one story."""

    plan: Plan
    steps: int
    seconds: float
    """Simulated."""
    digest: int
    number: int | None
    """The invariant that does not hold; None: all do."""
    text: str
    counters: Counter[str]
    trace: tuple[str, ...] = ()


def run(plan: Plan, *, trace: bool = False) -> Outcome:
    """Runs one story from its beginning to its end."""
    world = World(plan, trace=trace)
    crashes: list[str] = []
    world.machine.crashed = lambda task, error: crashes.append(_crash(task, error))
    watch.HERE.append(world)
    try:
        with _listening(world):
            _begin(world)
            world.machine.run()
            world.machine.kill([house.process for house in world.houses.values()])
    finally:
        watch.HERE.pop()
    return _outcome(world, crashes)


def _crash(task: Task, error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def _begin(world: World) -> None:
    house = world.new_house()

    def set_up() -> None:
        world.open_cache(house)
        faults.begin(world)
        if world.plan.foreign_in:
            faults.read_ours(world, house)
        for number in range(2):
            draw = chance("hooks", world.plan.seed, number)
            world.machine.start(lambda draw=draw: faults.subscribe(world, house, draw), "subscriber", house.process)  # type: ignore[misc]
        for number in range(world.plan.callers):
            world.machine.start(Caller(world, house, number).run, f"caller {number}", house.process)

    world.machine.start(set_up, "set-up", house.process)


def _outcome(world: World, crashes: list[str]) -> Outcome:
    machine, failure = world.machine, world.machine.failure
    text = "" if failure is None else "\n".join([failure.text, *crashes])
    number = None if failure is None else failure.number
    digest = hash((machine.digest, machine.steps, world.sends)) & ((1 << 64) - 1)
    lines = tuple(line for line in machine.trace or () if line)
    return Outcome(world.plan, machine.steps, machine.time - 1000.0, digest, number, text, world.counters, lines)


@contextmanager
def _listening(world: World) -> Iterator[None]:
    ear = Ear(world.fail)
    root = logging.getLogger()
    level, handlers = root.level, root.handlers
    root.handlers = [ear]
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers = handlers


@contextmanager
def machinery() -> Iterator[None]:
    """The machine in place, and the collector at rest: it would run where it likes."""
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with watch.installed():
            yield
    finally:
        if collects:
            gc.enable()
        gc.collect()
