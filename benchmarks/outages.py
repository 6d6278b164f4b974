"""The first region accepts connections and says nothing: what a read costs then."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from keepalive import tagged_session
from measure import Case, Line, Outcome, Scale, at_most, turns
from parts import POWERTOOLS, SMC, served
from secretcache import SecretCache
from support import OSAKA, TOKYO

WATCHED = 10.0
"""Seconds after which a peer is not watched any longer: botocore's defaults wait 3 × 60 s."""
_PEERS = {
    "boto3": 'import boto3; boto3.client("secretsmanager").get_secret_value(SecretId="prod/db")',
    SMC: 'from aws_secretsmanager_caching import SecretCache; SecretCache().get_secret_string("prod/db")',
    POWERTOOLS: 'from aws_lambda_powertools.utilities import parameters; parameters.get_secret("prod/db")',
}


@contextmanager
def silent() -> Iterator[str]:
    """A server that accepts and never answers."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    held: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                held.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for one in held:
            one.close()


def silent_region(scale: Scale) -> Outcome:
    watched = WATCHED if not scale.quick else 1.5
    with silent() as dead, served() as alive:
        fresh = [_fresh_process(dead, alive.url) for _ in range(scale(5, 1))]
        ours = [_in_one_process(dead, alive.url) for _ in range(scale(7, 1))]
        lines = [
            Line(f"{what}, cold read", seconds, "s", note="" if ended else "not over: no longer watched")
            for what, (seconds, ended) in ((what, _peer(code, dead, watched)) for what, code in _PEERS.items())
        ]
    cold, second, healthy, warm, warm_before = (median(those) for those in zip(*ours, strict=True))
    lines += [
        Line("SecretCache, cold read", cold, "s"),
        Line("SecretCache, cold read in a fresh process", median(fresh), "s", note="from its first line, import apart"),
        Line("SecretCache, the next cold read", second, "s"),
        Line("SecretCache, cold read with both regions well", healthy, "s"),
        Line("SecretCache, warm read", warm, "s"),
        Line("SecretCache, warm read with both regions well", warm_before, "s"),
    ]
    return Outcome(
        lines,
        [
            at_most("cold read, s", cold, 0.6),
            at_most("cold read in a fresh process, s", median(fresh), 0.75),
            at_most("the next cold read, × healthy", second / healthy, 1.2),
            at_most("warm read, × before", warm / warm_before, 1.2),
        ],
        ["The cold read is one with both regions' clients made; in a fresh process the second is made meanwhile."],
    )


def _peer(code: str, url: str, watched: float) -> tuple[float, bool]:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": OSAKA,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": url,
    }
    began = time.perf_counter()
    try:
        subprocess.run([sys.executable, "-c", code], env=environment, timeout=watched, check=False, capture_output=True)
    except subprocess.TimeoutExpired:
        return watched, False
    return time.perf_counter() - began, True


_FRESH = """
import sys, time
sys.path[:0] = {path!r}
from keepalive import tagged_session
from secretcache import SecretCache
import botocore.session, botocore.client
began = time.perf_counter()
with SecretCache({regions!r}, endpoint_urls={urls!r}, session_factory=tagged_session) as cache:
    cache.get("prod/db")
    print(time.perf_counter() - began)
"""


def _fresh_process(dead: str, alive: str) -> float:
    tests = str(Path(__file__).resolve().parent.parent / "tests")
    code = _FRESH.format(path=[tests], regions=[OSAKA, TOKYO], urls={OSAKA: dead, TOKYO: alive})
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(told.stdout)


def _in_one_process(dead: str, alive: str) -> tuple[float, float, float, float, float]:
    """Cold, the next cold, healthy cold, warm, warm before: seconds."""

    def cache(first: str, **options: Any) -> SecretCache:
        urls = {OSAKA: first, TOKYO: alive}
        return SecretCache([OSAKA, TOKYO], endpoint_urls=urls, session_factory=tagged_session, **options)

    def once(one: SecretCache, name: str) -> float:
        return turns({"": lambda: one.get(name)}, 1)[""][0]

    with cache(alive) as well:
        for region in (OSAKA, TOKYO):
            well._engine._transport.prepare(region)
        once(well, "a")
        healthy = median(once(well, f"cold/{number}") for number in range(9))
        warm_before = median(turns({"": lambda: well.get("a")}, 999)[""])
    with cache(dead) as ill:
        for region in (OSAKA, TOKYO):
            ill._engine._transport.prepare(region)
        cold = once(ill, "a")
        second = median(once(ill, f"cold/{number}") for number in range(9))
        warm = median(turns({"": lambda: ill.get("a")}, 999)[""])
    return cold, second, healthy, warm, warm_before


CASES = [Case("silent", "Silent first region", silent_region, log=True)]
