"""Runs a worker of two processes on embedded services, and gives it tasks all the time while the password rotates."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.embedded import Services, arguments, rotate_under

WORKER = "-m celery -A examples.celery_worker.tasks worker --pool prefork --concurrency 2 --loglevel WARNING"
OPTIONS = "--without-heartbeat --without-gossip --without-mingle"


@contextmanager
def working(folder: str) -> Iterator[None]:
    """The worker, a program of its own."""
    os.environ["EXAMPLE_BROKER"] = folder
    for name in ("control", "queue", "results"):
        Path(folder, name).mkdir()
    worker = subprocess.Popen([sys.executable, *WORKER.split(), *OPTIONS.split()])  # noqa: S603 - this Python
    try:
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)


def main() -> int:
    """Starts everything; ends it after the rotations that were asked for, or at Ctrl-C."""
    options = arguments(__doc__ or "")
    processes: set[int] = set()
    with Services() as services, tempfile.TemporaryDirectory() as folder, working(folder):
        from examples.celery_worker.tasks import add  # noqa: PLC0415 - the environment says where the broker is

        lock = threading.Lock()

        def use() -> None:
            with lock:  # a broker of files is no place for a crowd
                told = add.delay(40, 2).get(timeout=60, interval=0.02)
            if told["sum"] != 42:  # noqa: PLR2004 - the answer
                raise ValueError("a wrong answer")
            processes.add(told["process"])

        code = rotate_under(services, use, options, people=2)
        print(f"{len(processes)} processes did it", flush=True)
        return code


if __name__ == "__main__":
    sys.exit(main())
