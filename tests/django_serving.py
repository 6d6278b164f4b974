"""The tests' Django site under its servers, in processes of their own, with visitors on each path all the time."""

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

__all__ = ["PATIENCE", "Server", "gunicorn", "uvicorn"]

PATIENCE = 90.0  # real seconds: only a test that fails waits so long
PAUSE = 0.3  # seconds between two requests of a visitor


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
    turns: dict[str, threading.Lock] = field(init=False)
    """By path: held while its visitor's request is under way."""

    def __post_init__(self) -> None:
        self.turns = {path: threading.Lock() for path in self.paths}

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

    @contextmanager
    def between_requests(self) -> Iterator[None]:
        """A moment in which no request is under way, and none begins."""
        with ExitStack() as held:
            for turn in self.turns.values():
                held.enter_context(turn)
            yield

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

    def until_answered_anew(self) -> None:
        """Returns when each path has had an answer that was asked for after this call."""
        self.until_answered(since=time.monotonic())

    def until_noticed(self, *versions: str) -> None:
        """Returns when every process has these versions."""
        self.until(lambda: all(held == sorted(versions) for held in self.versions.values()))

    def _story(self) -> str:
        log = self._log.read_text()[-4000:]
        return f"{self.name}: {dict(self.counts)} {self.versions} {self.errors[:3]}; its log ends:\n{log}"

    def _visit(self, path: str, over: threading.Event) -> None:
        while not over.wait(PAUSE):
            with self.turns[path]:
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
