"""Runs a worker of two processes on embedded services, and gives it tasks all the time while the password rotates."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from examples.celery_worker.services import CeleryServices
from examples.embedded import arguments, rotate_under

WORKER = "-m celery -A examples.celery_worker.tasks worker --pool prefork --concurrency 2 --loglevel WARNING"
OPTIONS = "--without-heartbeat --without-gossip --without-mingle"


@contextmanager
def working() -> Iterator[None]:
    """The worker, a program of its own."""
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
    with CeleryServices() as services, working():
        from examples.celery_worker.tasks import add  # noqa: PLC0415 - the environment says where Secrets Manager is

        lock = threading.Lock()

        def use() -> None:
            told = add.delay(40, 2).get(timeout=60)
            if told["sum"] != 42:  # noqa: PLR2004 - the answer
                raise ValueError("a wrong answer")
            with lock:
                processes.add(told["process"])

        code = rotate_under(services, use, options, people=2)
        print(f"{len(processes)} processes did it", flush=True)
        return code


if __name__ == "__main__":
    sys.exit(main())
