"""Django under gunicorn with health checks, through rotations, killed sessions and a silent region: every answer timed."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from django_commands import Account, site_environment
from django_window import Site, Visits
from measure import Case, Line, Outcome, Scale, at_most
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Silent
from secretcache._demo.postgres import EmbeddedPostgres
from support import OSAKA, TOKYO

REQUESTS_PER_SECOND = 30
ROTATIONS = 10
KILLED, SILENT = {3, 7}, {5, 8}
LIMIT = 0.7
ALIASES = {"CONN_MAX_AGE=0": "default", "CONN_MAX_AGE=None": "persistent", "pool": "pool"}


@dataclass(frozen=True)
class Ground:
    """What a rotation touches."""

    manager: EmbeddedSecretsManager
    postgres: EmbeddedPostgres
    account: Account
    site: Site
    seconds: float
    """How long each half of a rotation is visited."""

    def rotate(self, number: int) -> dict[str, Visits]:
        """One rotation, and what came of the requests, by alias."""
        if number in SILENT:
            self.manager.proxies[OSAKA].set_fault(Silent())
        self.account.open_window()
        if number in KILLED:
            self._kill()
        before_the_move = self._visit()
        self.account.close_window()
        after_it = self._visit()
        self.manager.proxies[OSAKA].heal()
        return {alias: visits.with_(after_it[alias]) for alias, visits in before_the_move.items()}

    def _visit(self) -> dict[str, Visits]:
        turns = cycle(ALIASES.values())
        return self.site.visit(self.seconds, REQUESTS_PER_SECOND, lambda: f"/sync/{next(turns)}")

    def _kill(self) -> None:
        """Between two phases: what is cut in the middle of a request is lost in any case."""
        with self.postgres.admin() as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = %s", [self.account.user]
            )


def rotations(scale: Scale) -> Outcome:
    with (
        EmbeddedPostgres() as postgres,
        EmbeddedSecretsManager(TOKYO, [OSAKA]) as manager,
        tempfile.TemporaryDirectory() as folder,
    ):
        manager.create("prod/django", "x" * 50)
        account = Account(manager, postgres, postgres.create_role)
        with postgres.admin() as admin:
            admin.execute("CREATE TABLE IF NOT EXISTS rotating_site_visit (id BIGINT PRIMARY KEY, who VARCHAR(20))")
            admin.execute(f"GRANT ALL ON rotating_site_visit TO {account.user}")
        env = site_environment(manager, **_aliases(account)) | {"SECRETCACHE_TTL": "2"}
        with Site.running(env, Path(folder) / "log", threads=4) as site:
            ground = Ground(manager, postgres, account, site, float(scale(4, 3)))
            ground._visit()  # the start, and what it loads
            quiet = ground._visit()
            found = [ground.rotate(number) for number in range(1, 1 + scale(ROTATIONS, 1))]
    return _outcome(quiet, found)


def _outcome(quiet: dict[str, Visits], found: list[dict[str, Visits]]) -> Outcome:
    kinds = {"no rotation": [quiet], "a rotation": [], "and sessions killed": [], "and the first region silent": []}
    for number, one in enumerate(found, 1):
        kind = "killed" if number in KILLED else "silent" if number in SILENT else "a rotation"
        next(rounds for name, rounds in kinds.items() if kind in name and name != "no rotation").append(one)
    lines = [
        Line(f"longest answer, {words}: {name}", max(one[f"/sync/{alias}"].longest for one in rounds) * 1000, "ms")
        for name, rounds in kinds.items()
        for words, alias in ALIASES.items()
        if rounds
    ]
    every = [visits for one in found for visits in one.values()]
    statuses = sum((visits.statuses for visits in every), Counter[int]())
    failed = sum(count for status, count in statuses.items() if status != 200)
    longest = max(visits.longest for visits in every)
    return Outcome(
        lines,
        [at_most("answers that are no 200", failed, 0), at_most("longest answer, seconds", longest, LIMIT)],
        [
            " ".join(
                (
                    f"gunicorn, 2 processes of 4 threads, {REQUESTS_PER_SECOND} requests a second,",
                    f"CONN_HEALTH_CHECKS on, {len(found)} rotations, statuses {dict(statuses)}.",
                    "The primary region is not named, so that each read of a window asks the silent one first.",
                )
            )
        ],
    )


def _aliases(account: Account) -> dict[str, dict[str, Any]]:
    checked = account.alias("postgresql", NAME="postgres", CONN_HEALTH_CHECKS=True)
    return {
        "default": {**checked, "CONN_MAX_AGE": 0},
        "persistent": {**checked, "CONN_MAX_AGE": None},
        "pool": {**checked, "OPTIONS": {"pool": {"min_size": 1, "max_size": 4}}},
    }


CASES = [Case("django-rotations", "Django with health checks, through ten rotations with trouble", rotations)]
