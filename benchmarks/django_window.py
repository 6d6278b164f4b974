"""A Django site that logs in for each request, under gunicorn, through a rotation's window."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django_commands import Account, site_environment
from measure import Case, Line, Outcome, Scale, at_most
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.postgres import EmbeddedPostgres
from support import OSAKA, TOKYO

REQUESTS_PER_SECOND = 50
_VISITORS = 32
_PATIENCE = 60.0


@dataclass
class Visits:
    """What came of the requests of one phase."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def p99(self) -> float:
        ordered = sorted(self.seconds)
        return ordered[int(len(ordered) * 0.99)]

    @property
    def longest(self) -> float:
        return max(self.seconds)

    def with_(self, more: Visits) -> Visits:
        return Visits(self.seconds + more.seconds, self.statuses + more.statuses)


def window(scale: Scale) -> Outcome:
    with (
        EmbeddedPostgres() as postgres,
        EmbeddedSecretsManager(TOKYO, [OSAKA]) as manager,
        tempfile.TemporaryDirectory() as folder,
    ):
        manager.create("prod/django", "x" * 50)
        account = Account(manager, postgres, postgres.create_role)
        columns = "rotating_site_visit (id BIGINT PRIMARY KEY, who VARCHAR(20))"
        with postgres.admin() as admin:
            admin.execute(f"CREATE TABLE IF NOT EXISTS {columns}")
            admin.execute(f"GRANT ALL ON rotating_site_visit TO {account.user}")
        alias = account.alias("postgresql", NAME="postgres", CONN_MAX_AGE=0)
        env = site_environment(manager, default=alias)
        with Site.running(env, Path(folder) / "log") as site:
            site.visit(float(scale(5, 1)))  # the start, and what it loads
            (before,) = site.visit(float(scale(20, 2))).values()
            account.open_window()
            (inside,) = site.visit(float(scale(20, 2))).values()
            account.close_window()
            (after,) = site.visit(float(scale(10, 1))).values()
    lines = [
        Line(f"p99 of an answer, {phase}", visits.p99 * 1000, "ms", note=f"statuses {dict(visits.statuses)}")
        for phase, visits in (("before", before), ("in the window", inside), ("after", after))
    ]
    failed = sum(count for one in (before, inside, after) for status, count in one.statuses.items() if status != 200)
    return Outcome(
        lines,
        [
            at_most("answers that are no 200", failed, 0),
            at_most("p99 in the window, × before", inside.p99 / before.p99, 2.0),
        ],
        ["gunicorn, 2 processes of 8 threads, CONN_MAX_AGE=0, 50 requests a second, PostgreSQL, a window of 20 s."],
    )


@dataclass(frozen=True)
class Site:
    """The site under gunicorn, in two processes."""

    port: int

    @classmethod
    @contextmanager
    def running(cls, env: dict[str, str], log: Path, threads: int = 8) -> Iterator[Site]:
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        port = int(listener.getsockname()[1])
        options = ["--workers=2", "--worker-class=gthread", f"--threads={threads}", f"--bind=fd://{listener.fileno()}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *options, "rotating_site.wsgi:application"],
                env=env,
                pass_fds=[listener.fileno()],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        listener.close()
        try:
            yield cls(port)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(_PATIENCE)

    def visit(
        self, seconds: float, per_second: int = REQUESTS_PER_SECOND, path: Callable[[], str] = lambda: "/sync/default"
    ) -> dict[str, Visits]:
        """Requests at a steady pace, whatever the answers take: as visitors come. What came of them, by path."""
        visits: defaultdict[str, Visits] = defaultdict(Visits)
        lock, begun = threading.Lock(), time.perf_counter()
        turns = iter(range(int(seconds * per_second)))

        def one_by_one() -> None:
            while True:
                with lock:
                    number = next(turns, None)
                    if number is None:
                        return
                    where = path()
                due = begun + number / per_second
                time.sleep(max(0.0, due - time.perf_counter()))
                status = self._ask(where)
                with lock:
                    visits[where].seconds.append(time.perf_counter() - due)
                    visits[where].statuses[status] += 1

        visitors = [threading.Thread(target=one_by_one, daemon=True) for _ in range(_VISITORS)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        return visits

    def _ask(self, path: str) -> int:
        visitor = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        try:
            visitor.request("GET", path)
            response = visitor.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            return 0
        else:
            return response.status
        finally:
            visitor.close()


CASES = [Case("django-window", "Django that logs in for each request, through a rotation's window", window)]
