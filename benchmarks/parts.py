"""What the cases are made of: the floor, the peers, regions in memory, servers in processes of their own."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from typing import Any

import aws_secretsmanager_caching
import cachebox
import cachetools
from aws_lambda_powertools.utilities.parameters import SecretsProvider

from keepalive import KeepAliveSecretsManager, tagged_session
from secretcache import Secret, SecretCache
from support import OSAKA

__all__ = [
    "HOUR",
    "OSAKA",
    "Bare",
    "Client",
    "Memory",
    "boto_client",
    "cache_in_memory",
    "peers",
    "served",
]

HOUR = 3600
SMC, POWERTOOLS = "aws-secretsmanager-caching", "aws-lambda-powertools"


class Bare:
    """The least that a cache with a ttl can do, with the signature of `SecretCache.get`."""

    def __init__(self, value: object) -> None:
        self._values = {"prod/db": (value, float("inf"))}

    def get(
        self,
        secret_id: str,
        *,
        version_stage: str | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> object:
        value, until = self._values[secret_id]
        return value if time.monotonic() < until else None


def answer(region: str, secret_id: str, version: str = "1", size: int = 0) -> dict[str, Any]:
    name = secret_id.rsplit(":", 1)[-1].removesuffix("-AbCdEf")
    return {
        "ARN": f"arn:aws:secretsmanager:{region}:123456789012:secret:{name}-AbCdEf",
        "Name": name,
        "VersionId": version.rjust(36, "0"),
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": datetime.now(timezone.utc),
        "SecretString": "x" * size if size else json.dumps({"username": "app", "password": f"pw-{version}"}),
    }


class Memory:
    """Regions without a network, as `SecretCache` sees them. `pause`: seconds until each answer."""

    def __init__(self, pause: float = 0.0, size: int = 0) -> None:
        self.pause, self.size, self.version = pause, size, "1"
        self.calls = 0
        self.gate: threading.Event | None = None
        """Answers wait for it."""

    def ready(self, region: str) -> bool:
        """Nothing is needed."""
        return True

    def prepare(self, region: str) -> None:
        """Nothing is needed."""

    def pending(self, region: str) -> str:
        """There is nothing to wait for."""
        return ""

    def reload(self) -> None:
        """There are no credentials."""

    def send(self, call: Any) -> Mapping[str, Any]:
        self.calls += 1
        if self.pause:
            time.sleep(self.pause)
        if self.gate is not None:
            self.gate.wait()
        return answer(call.region, call.secret_id, self.version, self.size)

    def host(self, region: str) -> str:
        return region

    def close(self) -> None:
        """Nothing is open."""


def cache_in_memory(memory: Memory | None = None, **options: Any) -> SecretCache:
    return SecretCache([OSAKA], _transport=memory or Memory(), **options)


class Client:
    """The same, as boto3's client looks to the peers."""

    def __init__(self, pause: float = 0.0, size: int = 0) -> None:
        self.pause, self.size, self.version = pause, size, "1"
        self.calls = 0
        self._lock = threading.Lock()
        self.meta = self

    def get_secret_value(self, *, SecretId: str, **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's spelling
        self._count()
        return answer(OSAKA, SecretId, self.version, self.size)

    def describe_secret(self, *, SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's spelling
        self._count()
        whole = answer(OSAKA, SecretId, self.version)
        stages = {whole["VersionId"]: ["AWSCURRENT"]}
        return {"ARN": whole["ARN"], "Name": whole["Name"], "VersionIdsToStages": stages}

    def _count(self) -> None:
        with self._lock:
            self.calls += 1
        if self.pause:
            time.sleep(self.pause)


def peers(make: Callable[[], Any], ttl: int = 300) -> dict[str, Callable[..., Any]]:
    """What reads a secret in each peer; each has a client of its own."""
    config = aws_secretsmanager_caching.SecretCacheConfig(secret_refresh_interval=ttl)
    smc = aws_secretsmanager_caching.SecretCache(config=config, client=make())
    provider = SecretsProvider(boto3_client=make())
    return {
        SMC: smc.get_secret_string,
        POWERTOOLS: lambda secret_id, **more: provider.get(secret_id, max_age=ttl, **more),
    }


def bounded(value: Secret) -> dict[str, Callable[[str], object]]:
    """What the two stores of bounded caches take for a hit."""
    tools: cachetools.TTLCache[str, object] = cachetools.TTLCache(1024, 300)
    box: cachebox.TTLCache[str, object] = cachebox.TTLCache(1024, 300)
    tools["prod/db"] = box["prod/db"] = value
    lock = threading.Lock()

    def under_lock(key: str) -> object:
        with lock:
            return tools[key]

    return {"cachetools.TTLCache under a lock": under_lock, "cachebox.TTLCache": box.get}


def boto_client(url: str) -> Any:
    return tagged_session(OSAKA).create_client("secretsmanager", region_name=OSAKA, endpoint_url=url)


class Served:
    """A server in a process of its own, and how often it was asked."""

    def __init__(self, url: str, pipe: Connection) -> None:
        self.url = url
        self._pipe = pipe

    def calls(self) -> int:
        self._pipe.send("count")
        return int(self._pipe.recv())


@contextmanager
def served(pause: float = 0.0) -> Iterator[Served]:
    """A Secrets Manager that keeps connections open, and answers after so many seconds."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, pause), daemon=True)
    process.start()
    try:
        yield Served(ours.recv(), ours)
    finally:
        ours.send("stop")
        process.join()


class _Slow(KeepAliveSecretsManager):
    pause = 0.0

    def _answer(self, *asked: Any) -> dict[str, Any]:
        time.sleep(self.pause)
        whole = super()._answer(*asked)
        # DescribeSecret's answer too: nothing here asks for both of one secret's forms.
        return {**whole, "VersionIdsToStages": {whole.get("VersionId", ""): ["AWSCURRENT"]}}


def _serve(pipe: Connection, pause: float) -> None:
    with _Slow() as manager:
        manager.pause = pause
        pipe.send(manager.url)
        while pipe.recv() == "count":
            pipe.send(len(manager.requests))
