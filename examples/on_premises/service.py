"""The service: this is what one writes.

Outside of AWS there is no role to assume. An IAM user's keys, allowed `secretsmanager:GetSecretValue` on its secrets in
both regions and nothing else, stand in a file that only the service may read: the profile `service` of
`~/.aws/credentials`, or of the file that AWS_SHARED_CREDENTIALS_FILE names.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from botocore.session import Session

from secretcache import RotationEvent, SecretCache, SecretUnavailableError
from secretcache.integrations.psycopg import connect

OSAKA, TOKYO = "ap-northeast-3", "ap-northeast-1"
log = logging.getLogger("service")


def session(region: str) -> Session:
    """A session of a region's own, with the keys from the file. A new key is taken up when the old one is refused."""
    made = Session(profile="service")
    made.set_config_variable("region", region)
    return made


def new_cache(endpoint_urls: Mapping[str, str] | None = None, **options: Any) -> SecretCache:
    """The nearer region first. Two days of outage are survived with what is in memory.

    Args:
        endpoint_urls: where the regions are, if it is not AWS: VPC endpoints over a Direct Connect, an emulator.
        **options: more of the cache's settings.
    """
    settings: dict[str, Any] = {"max_stale": 2 * 86_400.0, **options}
    return SecretCache(
        [OSAKA, TOKYO], primary_region=TOKYO, endpoint_urls=endpoint_urls, session_factory=session, **settings
    )


class Service:
    """Does a job now and then, each with a connection of its own."""

    def __init__(self, cache: SecretCache) -> None:
        self._cache = cache
        self.stop = threading.Event()
        self.stale = 0
        cache.add_rotation_hook("prod/db", self.rotated)

    def rotated(self, event: RotationEvent) -> None:
        """Called once for each new version."""
        log.info("%s has a new version, read from %s", event.secret_id, event.new.region)

    def start_up(self) -> None:
        """Waits until there is a secret: at its start a service has nothing in memory to stand in.

        Raises:
            SecretCacheError: waiting is of no use.
        """
        while not self.stop.is_set():
            try:
                self._cache.get("prod/db")
            except SecretUnavailableError as error:  # noqa: PERF203 - seldom, and then it waits
                log.warning("no region answers yet: %s", error)
                self.stop.wait(error.retry_after or 1.0)
            else:
                return

    def job(self) -> int:
        """One job: what the database is asked stands for the work."""
        self.stale += self._cache.get("prod/db").is_stale
        with connect("prod/db", cache=self._cache, connect_timeout=5) as connection:
            row = connection.execute("SELECT 42").fetchone()
        assert row is not None
        return int(row[0])
