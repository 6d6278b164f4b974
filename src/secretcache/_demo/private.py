"""Server programs that run for this process alone, on a free port of 127.0.0.1, and end with it however it ends."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from secretcache._demo import guard

if TYPE_CHECKING:
    from typing_extensions import Self

HOST = "127.0.0.1"
START_SECONDS = 60.0  # each takes one to five on an idle machine
_GRACE_SECONDS = 10.0
_TRIES = 5
_LOOK_SECONDS = 0.02
_LOG_TAIL = 2000  # characters
_TAKEN = "Address already in use"


@dataclass(frozen=True)
class Plan:
    """What makes a server: files by name, the commands that prepare it, and the one that is the server."""

    serve: Sequence[str]
    prepare: Sequence[Sequence[str]] = ()
    files: Mapping[str, str] = field(default_factory=dict)


class PortTakenError(RuntimeError):
    """Another program was faster to take the port."""


class PrivateServer(ABC):
    """A server in a folder of its own, which is removed with it.

    A small process guards it, and stops it when `__exit__` says so or when this process is gone, even if killed. As
    root, the server runs as the user nobody. Enter it once.
    """

    name: ClassVar[str]
    ready: ClassVar[str]  # what it says in its log when it takes connections
    stop_signal: ClassVar[str] = "SIGTERM"

    def __init__(self) -> None:
        self._port: int | None = None
        self._log: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _plan(self, folder: Path, port: int) -> Plan:
        """What to run, as `unprivileged()`, in that folder and on that port."""

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 on which it listens."""
        if self._port is None:
            raise RuntimeError(f"{self.name} is not running: use it in a with statement")
        return self._port

    def __enter__(self) -> "Self":
        """Starts it and waits until it takes connections, or raises RuntimeError within `START_SECONDS`."""
        for _ in range(_TRIES - 1):
            with suppress(PortTakenError):
                self._start(free_port())
                return self
        self._start(free_port())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Stops it, established connections and all; killed if it does not stop within 10 s."""
        self._port = None
        guarding, self._guard = self._guard, None
        if guarding is not None:
            # The byte, and not the end of the pipe alone: a forked child may hold a copy of this end.
            guarding.communicate(b".", timeout=2 * _GRACE_SECONDS)

    def log_lines(self) -> list[str]:
        """What the server has said until now."""
        if self._log is None or self._port is None:
            raise RuntimeError(f"{self.name} is not running: use it in a with statement")
        return self._log.read_text(errors="replace").splitlines()

    def _start(self, port: int) -> None:
        folder = Path(tempfile.mkdtemp(prefix=f"secretcache-{self.name.lower()}-"))
        try:
            plan = self._plan(folder, port)
            _lay_out(folder, plan.files)
            self._log = folder / "log"
            self._guard = self._launch(folder, plan)
            self._wait_until_ready(self._log, self._guard)
            self._port = port
        except BaseException:
            self.__exit__()
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _launch(self, folder: Path, plan: Plan) -> "subprocess.Popen[bytes]":
        order = {
            "folder": str(folder),
            "user": unprivileged(),
            "signal": self.stop_signal,
            "grace": _GRACE_SECONDS,
            "commands": [*plan.prepare, plan.serve],
        }
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - this Python, and a module beside this one
                [sys.executable, guard.__file__, json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_until_ready(self, log: Path, guarding: "subprocess.Popen[bytes]") -> None:
        # A log gives no event, and connecting instead could find another program's server on that port.
        deadline = time.monotonic() + START_SECONDS
        said = ""
        with log.open(errors="replace") as lines:
            while self.ready not in said:
                ended, late = guarding.poll() is not None, time.monotonic() > deadline
                said += lines.read()
                if _TAKEN in said:
                    raise PortTakenError(f"{self.name} found its port taken")
                if ended or late:
                    why = "ended" if ended else f"is not ready after {START_SECONDS:.0f} s"
                    raise RuntimeError(f"{self.name} {why}; it said:\n{said[-_LOG_TAIL:]}")
                time.sleep(_LOOK_SECONDS)


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def unprivileged() -> str | None:
    """The user as whom servers run: None for this process's own, unless that is root, as whom databases refuse to."""
    return "nobody" if hasattr(os, "geteuid") and os.geteuid() == 0 else None


def hand_over(path: Path) -> None:
    """Makes a file, or a folder with all that is in it, the property of `unprivileged()`."""
    user = unprivileged()
    if user is not None:
        ids = guard.as_user(user)["group"]
        for each in [path, *path.rglob("*")]:
            shutil.chown(each, user, ids)


def _lay_out(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).touch(0o600)
        (folder / name).write_text(text)
    hand_over(folder)
