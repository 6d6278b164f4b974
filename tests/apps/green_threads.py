"""A process of green threads: `python green_threads.py gevent|eventlet URL`. Prints what it saw, as JSON."""

# ruff: noqa: E402 - the patch comes before everything that it patches

import sys

KIND, URL = sys.argv[1:]
if KIND == "gevent":
    import gevent as green
    from gevent import monkey

    monkey.patch_all()
else:
    import eventlet as green

    green.monkey_patch()

import contextlib
import json
import socket
import time
from typing import Any

from keepalive import make_cache
from secretcache import SecretUnavailableError

ticks: list[float] = []


class CutError(Exception):
    """What a time limit of the green threads raises."""


def tick() -> None:
    while True:
        ticks.append(time.monotonic())
        green.sleep(0.01)


def result(thread: Any) -> Any:
    return thread.get() if KIND == "gevent" else thread.wait()


def healthy() -> dict[str, Any]:
    """Twenty readers of one secret, a prefetch, a rotation hook, a login."""
    moves: list[str] = []
    with make_cache(URL) as cache:
        readers = [green.spawn(cache.get, "cold") for _ in range(20)]
        versions = {result(reader).version_id for reader in readers}
        calls = sum(region.calls for region in cache.stats().regions.values())
        warmed = cache.prefetch(["a", "b", "c"])
        cache.add_rotation_hook("cold", lambda event: moves.append(event.secret_id))
        cache.refresh("cold")
        end = time.monotonic() + 10
        while not moves and time.monotonic() < end:
            green.sleep(0.01)
        connected = cache.connect("cold", lambda secret: secret.name, is_auth_error=lambda _: False)
    return {
        "versions": len(versions),
        "calls": calls,
        "warmed": len(warmed.succeeded),
        "moves": moves,
        "connected": connected,
    }


def silent() -> dict[str, Any]:
    """A region that takes requests and never answers: a deadline, a kill, a time limit."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        cache = make_cache(f"http://127.0.0.1:{mute.getsockname()[1]}")
        before = len(ticks)
        try:
            cache.get("late", timeout=0.5)
            ended = "answered"
        except SecretUnavailableError:
            ended = "unavailable"
        others_went_on = len(ticks) > before + 5
        reader = green.spawn(cache.get, "killed")
        green.sleep(0.05)
        green.kill(reader)
        cut = "not cut"
        try:
            with green.Timeout(0.2, CutError):
                cache.get("cut")
        except CutError:
            cut = "cut"
        left = [flight.awaited for flight in cache._engine._loads.open]
        cache.close()
    return {"ended": ended, "others_went_on": others_went_on, "cut": cut, "still_awaited": any(left)}


ticker = green.spawn(tick)
told = {**healthy(), **silent()}
with contextlib.suppress(BaseException):
    green.kill(ticker)
print(json.dumps(told))  # noqa: T201
