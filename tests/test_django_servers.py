"""A Django site under gunicorn and under an ASGI server, through ten rotations while one region is down."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from django_commands import Account, site_environment
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Refuse
from secretcache._demo.postgres import EmbeddedPostgres
from servers import MariaDB, need
from support import OSAKA

PATIENCE = 90.0  # real seconds: only a test that fails waits so long
ROTATIONS = 10
PAUSE = 0.3  # seconds between two requests of a visitor
ALIASES = ("default", "persistent", "pool", "mysql")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn does not run here")


def gunicorn(*options: str) -> Callable[[int], list[str]]:
    workers = ["--worker-class=gthread", "--threads=8", *options]
    return lambda listener: ["-m", "gunicorn", *workers, f"--bind=fd://{listener}", "rotating_site.wsgi:application"]


def uvicorn(listener: int) -> list[str]:
    return [
        "-m",
        "uvicorn",
        f"--fd={listener}",
        "--lifespan=off",
        "--log-level=warning",
        "rotating_site.asgi:application",
    ]


@dataclass
class Server:
    """A server of the site in processes of its own, and its visitors: one for each path, all the time."""

    name: str
    command: Callable[[int], list[str]]
    paths: tuple[str, ...]
    processes: int
    counts: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """By path, how many answers had which status."""
    versions: dict[int, list[str]] = field(default_factory=dict)
    """By process, the versions of the secrets that its last answer told."""
    asked: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By path, when the last request that was answered began."""
    errors: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def running(self, env: dict[str, str], log: Path) -> Iterator[None]:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._log = log
        self._port = int(listener.getsockname()[1])
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, *self.command(listener.fileno())],
                env=env,
                pass_fds=[listener.fileno()],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        listener.close()
        over = threading.Event()
        visitors = [threading.Thread(target=self._visit, args=(path, over), daemon=True) for path in self.paths]
        try:
            for visitor in visitors:
                visitor.start()
            yield
            over.set()
            for visitor in visitors:  # while the server is there: a request that is under way is answered
                visitor.join(PATIENCE)
        finally:
            over.set()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)

    def until(self, true: Callable[[], bool]) -> None:
        """Returns when answers have made that true."""
        with self.changed:
            assert self.changed.wait_for(true, PATIENCE), self._story()

    def until_warm(self) -> None:
        """Returns when every process and every path has answered. What came before was the start, and is forgotten."""
        self.until(lambda: len(self.versions) == self.processes and all(self.counts[path][200] for path in self.paths))
        with self.changed:
            self.counts.clear()
            self.errors.clear()

    def until_answered(self, since: float) -> None:
        """Returns when each path has had an answer that was asked for after that moment."""
        self.until(lambda: all(self.asked[path] >= since for path in self.paths))

    def until_noticed(self, *versions: str) -> None:
        """Returns when every process has these versions."""
        self.until(lambda: all(held == sorted(versions) for held in self.versions.values()))

    def _story(self) -> str:
        log = self._log.read_text()[-4000:]
        return f"{self.name}: {dict(self.counts)} {self.versions} {self.errors[:3]}; its log ends:\n{log}"

    def _visit(self, path: str, over: threading.Event) -> None:
        while not over.wait(PAUSE):
            began = time.monotonic()
            status, told = self._ask(path)
            with self.changed:
                self.asked[path] = began
                self.counts[path].update([status])
                if status == http.client.OK:
                    answer = json.loads(told)
                    self.versions[answer["pid"]] = answer["versions"]
                else:
                    self.errors.append(f"{path}: {status} {told!r:.200}")
                self.changed.notify_all()

    def _ask(self, path: str) -> tuple[int, bytes]:
        # The first waits in the socket's queue until the server is up.
        visitor = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            visitor.request("GET", path)
            response = visitor.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error).encode()
        finally:
            visitor.close()


SYNC = tuple(f"/sync/{alias}" for alias in ALIASES)
ASYNC = tuple(f"/async/{alias}" for alias in ALIASES)


@pytest.fixture
def accounts(
    manager: EmbeddedSecretsManager, postgres: EmbeddedPostgres, mariadb: MariaDB
) -> Iterator[tuple[Account, Account]]:
    """One user of each database, who may read the site's table there."""
    first, second = Account(manager, postgres, postgres.create_role), Account(manager, mariadb, mariadb.create_user)
    columns = "rotating_site_visit (id BIGINT PRIMARY KEY, who VARCHAR(20))"
    with postgres.admin() as admin:
        admin.execute(f"CREATE TABLE IF NOT EXISTS {columns}")
        admin.execute(f"GRANT ALL ON rotating_site_visit TO {first.user}")
    mariadb.execute(f"CREATE DATABASE {second.user}")
    mariadb.execute(f"CREATE TABLE {second.user}.{columns}")
    mariadb.execute(f"GRANT ALL ON {second.user}.* TO '{second.user}'")
    yield first, second
    with postgres.admin() as admin:
        admin.execute("DROP TABLE rotating_site_visit")


def test_ten_rotations_while_a_region_is_down(
    accounts: tuple[Account, Account],
    manager: EmbeddedSecretsManager,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    for module in ("gunicorn", "uvicorn", "MySQLdb"):
        need(module)
    manager.create("prod/django", "x" * 50)
    # A busy machine may take its time: what is shown is which answers come, not how soon.
    patient = {"SECRETCACHE_TTL": "1", "SECRETCACHE_TIMEOUT": str(PATIENCE)}
    env = site_environment(manager, **databases(*accounts)) | patient
    stock = Server("stock", gunicorn("--workers=1"), ("/stock",), 1)
    servers = [
        Server("gthread", gunicorn("--workers=2"), SYNC, 2),
        Server("gthread --preload", gunicorn("--workers=2", "--preload"), SYNC, 2),
        Server("ASGI", uvicorn, ASYNC, 1),
    ]
    with ExitStack() as running:
        for server in (*servers, stock):  # one after the other: each takes a second of a processor's time to start
            running.enter_context(server.running(env, tmp_path / server.name))
            server.until_warm()
        manager.proxies[OSAKA].set_fault(Refuse())
        for _ in range(ROTATIONS):
            rotate(accounts, servers, stock)
    figures = {server.name: dict(server.counts) for server in (*servers, stock)}
    record_property("statuses", figures)
    assert [error for server in servers for error in server.errors] == [], figures
    assert stock.counts["/stock"][500] >= ROTATIONS, figures
    logs = "".join((tmp_path / server.name).read_text() for server in servers)
    assert not [password for account in accounts for password in account.passwords if password in logs]


def rotate(accounts: tuple[Account, Account], servers: list[Server], stock: Server) -> None:
    """One of each account, at the same time; ends when every process has noticed."""
    failed = stock.counts["/stock"][500]
    for account in accounts:
        account.open_window()
    opened = time.monotonic()
    for server in servers:
        server.until_answered(since=opened)
    stock.until(lambda: stock.counts["/stock"][500] > failed)
    for account in accounts:
        account.close_window()
    for server in (*servers, stock):
        server.until_noticed(*(account.version for account in accounts))
    noticed = time.monotonic()
    for server in servers:
        server.until_answered(since=noticed)


def databases(first: Account, second: Account) -> dict[str, dict[str, Any]]:
    bridge = {"SECRET_BRIDGE": {"timeout": PATIENCE}}
    postgres = first.alias("postgresql", NAME="postgres", **bridge)
    pool = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 4, "timeout": PATIENCE}}}
    return {
        "default": postgres,
        "persistent": {**postgres, "CONN_MAX_AGE": None},
        "pool": {**postgres, **pool},
        "mysql": second.alias("mysql", NAME=second.user, **bridge),
    }
