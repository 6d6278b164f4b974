"""What a process pays before its first secret, and what a cached secret costs in memory. Each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from measure import Case, Line, Outcome, Scale, at_most, told
from parts import POWERTOOLS, SMC, served

_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "ap-northeast-3"}
_FIRST = {
    "boto3": """
import boto3
boto3.client("secretsmanager").get_secret_value(SecretId="prod/db")""",
    SMC: """
from aws_secretsmanager_caching import SecretCache
SecretCache().get_secret_string("prod/db")""",
    POWERTOOLS: """
from aws_lambda_powertools.utilities import parameters
parameters.get_secret("prod/db")""",
    "secretcache": """
import os
from secretcache import SecretCache
with SecretCache(endpoint_urls={"ap-northeast-3": os.environ["AWS_ENDPOINT_URL_SECRETS_MANAGER"]}) as cache:
    cache.get("prod/db")""",
}
_IMPORTS = {
    "bare interpreter": "pass",
    "import secretcache": "import secretcache",
    "from secretcache import SecretCache": "from secretcache import SecretCache",
    "import boto3": "import boto3",
}


def _run(code: str, **environment: str) -> str:
    every = {**os.environ, **_ENVIRONMENT, **environment}
    every.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled once, by pip: so is this checkout
    return subprocess.run([sys.executable, "-c", code], env=every, check=True, capture_output=True, text=True).stdout


def _timed(codes: dict[str, str], count: int, **environment: str) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {what: [] for what in codes}
    for code in codes.values():
        _run(code, **environment)
    for _ in range(count):
        for what, code in codes.items():
            began = time.perf_counter()
            _run(code, **environment)
            taken[what].append(time.perf_counter() - began)
    return taken


def first_secret(scale: Scale) -> Outcome:
    with served() as server:
        taken = _timed(_FIRST, scale(15, 1), AWS_ENDPOINT_URL_SECRETS_MANAGER=server.url)
    lines = told(taken, "ms", 1e3)
    return Outcome(lines, [at_most("process start to first secret, × boto3", lines[-1].ratio or 0.0, 0.9)])


def imports(scale: Scale) -> Outcome:
    lines = told(_timed(_IMPORTS, scale(25, 1)), "ms", 1e3)
    bare = lines[0].value
    more = {line.what: line.value - bare for line in lines}
    lines = [
        Line(one.what, one.value, one.unit, one.low, one.high, one.ratio, f"{more[one.what]:+.1f} ms") for one in lines
    ]
    return Outcome(
        lines,
        [
            at_most("import secretcache, ms over the bare interpreter", more["import secretcache"], 15),
        ],
    )


_HOLD = """
import gc, json, resource, sys, tracemalloc
sys.path[:0] = {path!r}
from parts import {peers}
SIZE, COUNT = 50, {count}
names = [f"prod/service/database-{{number}}" for number in range(COUNT)]
{make}
for number in range(200):
    read(f"warm/{{number}}")
gc.collect()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tracemalloc.start({frames})
for name in names:
    read(name)
gc.collect()
held = tracemalloc.get_traced_memory()[0] / COUNT - sys.getsizeof("x" * SIZE)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([held, (after - before) * 1024 / COUNT]))
"""
_MAKE = {
    SMC: ("Client, peers, SMC", "read = peers(lambda: Client(size=SIZE))[SMC]"),
    POWERTOOLS: ("Client, peers, POWERTOOLS", "read = peers(lambda: Client(size=SIZE))[POWERTOOLS]"),
    "secretcache": (
        "Memory, cache_in_memory",
        "cache = cache_in_memory(Memory(size=SIZE), max_entries=COUNT + 300); read = cache.get",
    ),
}


def memory(scale: Scale) -> Outcome:
    found = Outcome(
        notes=[
            "Over the value, a text of 50 characters; by tracemalloc. Growth of the resident set is measured without it.",
            "aws-secretsmanager-caching holds 1024 secrets by default: 800 are read.",
        ]
    )
    number = scale(800, 50)
    held = {what: _held(what, number) for what in _MAKE}
    found.lines = [Line(f"{what}, traced", bytes_, "bytes") for what, (bytes_, _) in held.items()]
    found.lines += [Line(f"{what}, resident set", bytes_, "bytes") for what, (_, bytes_) in held.items()]
    found.goals = [at_most("bytes of a cached secret over its value", held["secretcache"][0], 1024)]
    return found


def _held(what: str, count: int) -> tuple[float, float]:
    peers, make = _MAKE[what]

    def code(text: str) -> str:
        return text.format(path=sys.path[:2], peers=peers, make=make, count=count, frames=1)

    traced, _ = json.loads(_run(code(_HOLD)))
    # tracemalloc itself takes room: the resident set is that of a run without it.
    untraced = _HOLD.replace("tracemalloc.start({frames})", "").replace("tracemalloc.get_traced_memory()[0]", "0")
    _, resident = json.loads(_run(code(untraced)))
    return traced, resident


CASES = [
    Case("start", "Process start to first secret", first_secret),
    Case("import", "Import", imports),
    Case("memory", "Memory of a cached secret", memory),
]
