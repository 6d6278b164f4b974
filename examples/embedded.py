"""What every example runs on: Secrets Manager in two regions and PostgreSQL, on this machine, for this process alone.

An application of yours needs none of this: AWS and your database take its place.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from typing_extensions import Self

OSAKA, TOKYO = "ap-northeast-3", "ap-northeast-1"
SECRET_ID, USER = "prod/db", "app"
WINDOW = 0.5  # seconds between the new password and the new AWSCURRENT, in which AWSCURRENT is wrong


class Services:
    """Both, with one database secret, replicated to Osaka; the environment tells the application where they are."""

    def __init__(self) -> None:
        self.secrets = EmbeddedSecretsManager(TOKYO, [OSAKA])
        self.database = EmbeddedPostgres()
        self.rotations = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.secrets)
            stack.enter_context(self.database)
            password = secrets.token_urlsafe()
            self.database.create_role(USER, password)
            self.secrets.create(SECRET_ID, self._content(password))
            self.secrets.create("prod/app", json.dumps({"api_key": secrets.token_urlsafe()}))
            os.environ.update(self.environment())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def environment(self) -> dict[str, str]:
        """What `SecretCache.from_env()`, and so `default_cache()`, reads; and credentials, which nobody checks here."""
        return {
            "SECRETCACHE_REGIONS": f"{OSAKA},{TOKYO}",
            "SECRETCACHE_PRIMARY_REGION": TOKYO,
            "SECRETCACHE_ENDPOINT_URLS": ",".join(
                f"{region}={url}" for region, url in self.secrets.endpoint_urls.items()
            ),
            "SECRETCACHE_TTL": "1",  # so that a few seconds show what takes minutes with the default of 300
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "NO_PROXY": "127.0.0.1",
        }

    def rotate(self) -> None:
        """Rotates the database password as AWS does for a single user, with the window in which AWSCURRENT is wrong."""
        password = secrets.token_urlsafe()
        content = self._content(password)
        pending = {"SecretId": SECRET_ID, "SecretString": content, "VersionStages": ["AWSPENDING"]}
        self.secrets.admin().put_secret_value(**pending)
        self.database.set_password(USER, password)
        threading.Event().wait(WINDOW)
        self.secrets.rotate(SECRET_ID, content)
        self.rotations += 1

    def _content(self, password: str) -> str:
        place = {"engine": "postgres", "host": "127.0.0.1", "port": self.database.port}
        return json.dumps({**place, "dbname": self.database.database, "username": USER, "password": password})


def arguments(about: str) -> argparse.Namespace:
    """What every example's command takes."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(
        "--rotations", type=int, default=None, metavar="N", help="end after so many (default: go on until Ctrl-C)"
    )
    parser.add_argument(
        "--every", type=float, default=5.0, metavar="SECONDS", help="seconds between two rotations (default: 5)"
    )
    return parser.parse_args()


class Crowd:
    """Threads that use the application all the time, and how often it failed them."""

    def __init__(self, use: Callable[[], object], people: int = 4) -> None:
        self.uses = self.failures = 0
        self.first_failure: Exception | None = None
        self._use, self._stop, self._lock = use, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(people)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            failure: Exception | None = None
            try:
                self._use()
            except Exception as error:  # noqa: BLE001 - each is counted
                failure = error
            with self._lock:
                self.uses += 1
                self.failures += failure is not None
                self.first_failure = self.first_failure or failure


def rotate_under(services: Services, use: Callable[[], object], options: argparse.Namespace, people: int = 4) -> int:
    """Rotates while the application is used. Returns the exit code: whether it never failed."""
    use()  # it is up
    try:
        with Crowd(use, people) as crowd:
            while options.rotations is None or services.rotations < options.rotations:
                threading.Event().wait(options.every)
                services.rotate()
                print(f"rotation {services.rotations}: {crowd.uses} uses, {crowd.failures} failed", flush=True)
            threading.Event().wait(options.every)
    except KeyboardInterrupt:
        print()
    print(f"in all: {crowd.uses} uses, {crowd.failures} failed", flush=True)
    print(f"the database refused {services.database.refused_logins(USER)} logins, which were bridged", flush=True)
    if crowd.first_failure is not None:
        print(f"the first: {type(crowd.first_failure).__name__}", flush=True)
    return 0 if crowd.uses and not crowd.failures else 1
