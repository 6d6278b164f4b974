"""Runs a server for as long as its owner lives. A program of its own, so that it outlives an owner that is killed.

The owner holds the other end of standard input: when a byte comes from there, or the end, the server is stopped and its
folder removed. The one argument is JSON: `folder`, `user` (or null), `signal` (the name of the one that asks the server
to stop), `grace` in seconds, and `commands`, of which all but the last prepare what the last one serves.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any


class Guard:
    """One server, from its preparation to its end.

    Args:
        folder: Where the commands run; removed at the end.
        user: The user as whom they run, or None for the owner's.
        stop: The signal that asks a command to end.
        grace: Seconds that a command then has before it is killed.
    """

    def __init__(self, folder: str, user: str | None, stop: signal.Signals, grace: float) -> None:
        self._folder, self._user, self._stop, self._grace = folder, user, stop, grace
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._released = False

    def run(self, commands: Sequence[Sequence[str]]) -> int:
        """Runs the commands one after the other until one fails or `release` is called; returns the last exit code."""
        code = 0
        try:
            for command in commands:
                code = self._run_one(command)
                if code:
                    break
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        return code

    def _run_one(self, command: Sequence[str]) -> int:
        with self._lock:
            if self._released:
                return 1
            self._running = running = self._start(command)
        return running.wait()

    def _start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        # A session of its own: a Ctrl-C at the terminal is for the owner, who then stops the server in order.
        return subprocess.Popen(  # noqa: S603 - the owner's own commands
            command, stdin=subprocess.DEVNULL, cwd=self._folder, start_new_session=True, **as_user(self._user)
        )

    def release(self) -> None:
        """Ends the command that runs, and lets none start. May be called from any thread."""
        with self._lock:
            self._released = True
            running = self._running
        if running is not None and running.poll() is None:
            self._end(running)

    def _end(self, running: "subprocess.Popen[bytes]") -> None:
        os.killpg(running.pid, self._stop)
        try:
            running.wait(self._grace)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)


def as_user(user: str | None) -> dict[str, Any]:
    """What makes `subprocess` run a command as that user, with that user's group alone."""
    if user is None:
        return {}
    import pwd  # noqa: PLC0415 - not on every system

    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def main() -> int:
    """Guards what the argument says until standard input tells otherwise, or SIGTERM comes."""
    order = json.loads(sys.argv[1])
    guard = Guard(order["folder"], order["user"], signal.Signals[order["signal"]], order["grace"])

    def until_let_go() -> None:
        os.read(sys.stdin.fileno(), 1)
        guard.release()

    threading.Thread(target=until_let_go, daemon=True).start()
    # In a thread: the main one may hold the lock while the signal arrives.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=guard.release, daemon=True).start())
    return guard.run(order["commands"])


if __name__ == "__main__":
    sys.exit(main())
