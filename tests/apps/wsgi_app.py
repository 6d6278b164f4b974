"""What gunicorn and uWSGI serve in the tests: imported before they fork, so that its caches are warm and at work."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from keepalive import answer_in, make_cache

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

URL = os.environ["SECRETS_MANAGER_URL"]
CACHES = {
    "steady": make_cache(URL),  # its value outlives the test
    "brisk": make_cache(URL, ttl=float(os.environ["BRISK_TTL"])),
}
for name, cache in CACHES.items():
    cache.get(name)
THREADS = [thread.name for thread in threading.enumerate()]


def _until_the_others_rest() -> None:
    """uWSGI lets go of the interpreter's lock before it forks: a thread that has it then keeps it from the worker.

    Such a worker never starts, whatever its application is made of. One that waits for the lock is seen to wake often.
    """
    before: dict[str, tuple[str, ...]] = {}
    for _ in range(250):
        now = {task.name: _state(task) for task in Path("/proc/self/task").iterdir()}
        now.pop(str(threading.get_native_id()))
        if now == before and all(state == "S" for state, *_ in now.values()):
            return
        before = now
        threading.Event().wait(0.02)


def _state(task: Path) -> tuple[str, ...]:
    lines = dict(line.split(":\t") for line in (task / "status").read_text().splitlines())
    return lines["State"][0], lines["voluntary_ctxt_switches"], lines["nonvoluntary_ctxt_switches"]


if sys.platform == "linux":
    _until_the_others_rest()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """`/read?cache=brisk&id=prod/db` reads a secret, `/pid` tells who serves."""
    asked = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    told = {"pid": os.getpid(), "threads": THREADS, **(_read(**asked) if environ["PATH_INFO"] == "/read" else {})}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


def _read(cache: str, id: str) -> dict[str, Any]:  # noqa: A002 - as the query says it
    secret = CACHES[cache].get(id)
    return {"name": secret.name, "answer": dataclasses.asdict(answer_in(secret))}
