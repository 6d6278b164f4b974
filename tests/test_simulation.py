"""A small share of the simulation: `tests/simulate.py` runs as much as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import simulate
from simulation.plan import plan_of
from simulation.planted import PLANTS, Plant, hunt
from simulation.run import machinery, run
from simulation.shrink import Shrinker

HERE = Path(__file__).parent
pytestmark = pytest.mark.greenlets
QUICK = (
    "each reader begins a flight of its own",
    "who leaves ends the flight for the others",
    "an answer has the stages of another",
    "a foreign secret of the same name is taken",
    "age counts from the answer",
    "a probe's permit is not given back",
    "every region is asked by the first one's ARN",
    "a forked child has its parent's lock",
    "a client is made with the lock held",
)


def test_no_invariant_breaks_in_some_stories() -> None:
    report = simulate.play(range(1, 13), 2500)
    assert [f"{one.plan.seed}: {one.number} {one.text}" for one in report.failures] == []
    assert report.steps > 10_000
    assert report.counters["converged"] >= 12


def test_a_foreign_secret_of_the_same_name_is_met_and_told_and_never_read() -> None:
    plans = [plan for seed in range(1, 60) if (plan := plan_of(seed, 1500)).foreign_in]
    with machinery():
        outcomes = [run(plan) for plan in plans]
    assert [one.text for one in outcomes if one.number is not None] == []
    assert sum(one.counters["foreign told"] for one in outcomes) > 0
    assert sum(one.counters["foreign read by its ARN"] for one in outcomes) > 0


def digest(seed: int, hash_seed: str) -> str:
    command = [sys.executable, str(HERE / "simulate.py"), "--seed", str(seed), "--steps", "1500"]
    path = os.pathsep.join([str(HERE.parent / "src"), str(HERE)])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)  # noqa: S603 - this file's own
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    return next(line for line in told.stdout.splitlines() if "digest" in line)


def test_a_story_is_the_same_each_time_in_every_process() -> None:
    with machinery():
        outcome = run(plan_of(7, 1500), trace=True)
        again = run(plan_of(7, 1500), trace=True)
    assert outcome.trace == again.trace
    assert len(outcome.trace) > 100
    assert digest(7, "1") == digest(7, "2")
    assert f"{outcome.steps} steps" in digest(7, "1")


@pytest.mark.parametrize("what", QUICK)
def test_a_planted_bug_is_caught_by_the_invariant_it_breaks(what: str) -> None:
    caught = hunt(planted(what), seeds=20, steps=1500)
    assert caught.seeds, caught


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.what)
def test_a_planted_bug_still_fits_the_code_it_is_planted_in(plant: Plant) -> None:
    caught = hunt(plant, seeds=2, steps=600)
    assert 0 not in caught.others, "it fails by itself, not by what it does"


def test_there_is_a_planted_bug_for_each_invariant() -> None:
    assert {plant.number for plant in PLANTS} == {*range(1, 23), 25, 26}


def planted(what: str) -> Plant:
    return next(plant for plant in PLANTS if plant.what == what)


def test_a_story_that_fails_is_made_short() -> None:
    plant = planted("every region is asked by the first one's ARN")
    plan = plan_of(hunt(plant, seeds=20, steps=1500).seeds, 1500)
    with plant.planted(), machinery():
        outcome = run(plan)
        short = Shrinker(outcome, most_runs=40).shrink()
    assert outcome.number == short.number == 16
    assert len(short.plan.events) < len(plan.events)


def test_a_failure_tells_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    with planted("age counts from the answer").planted():
        assert simulate.main(["--seed", "1", "--steps", "500", "--trace", "--shrink"]) == 1
    told = capsys.readouterr().out
    assert "invariant 6" in told
    assert "again: python tests/simulate.py --seed 1 --steps 500 --trace" in told
    assert "request 1 to" in told


def test_a_run_that_reaches_a_rare_path_too_seldom_fails() -> None:
    report = simulate.Report(steps=2_000_000)
    assert "failover" in report.seldom
    assert not report.good
