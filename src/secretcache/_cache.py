"""The facade: arguments in, a `Secret` or an error out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secretcache._engine import Engine
from secretcache._errors import ConfigurationError
from secretcache._ids import CURRENT, Query, parse_secret_id
from secretcache._runtime import SystemRuntime
from secretcache._secret import Secret
from secretcache._settings import Settings, check_duration, check_regions, default_regions, settings_from_env
from secretcache._transport._botocore import BotocoreTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only: nothing is imported

    from secretcache._runtime import Runtime
    from secretcache._stats import CacheStats
    from secretcache._store import HotKey
    from secretcache._transport import Transport

__all__ = ["SecretCache"]


class SecretCache:
    """A thread-safe cache in front of GetSecretValue, over an ordered list of regions.

    A read that the cache can answer costs a dictionary lookup. Any other asks the regions in their order: the first
    that can answer wins, and each is asked by its own ARN. Reads of one secret at one time share one request.

    Args:
        regions: region names, the preferred one first, for example `["ap-northeast-3", "ap-northeast-1"]`. Without it:
            `SECRETCACHE_REGIONS` (comma-separated), else the one region of the AWS session.
        ttl: seconds for which a value is served without asking again, counted from when its request was sent. 0 asks
            on every read.
        max_stale: seconds beyond `ttl` for which an old value may stand in while no region can answer. 0 never lets
            one stand in. It never stands in for a secret that was deleted or whose access was revoked.
        timeout: seconds that a read may take in all, whatever the regions do; `get(timeout=...)` sets it for one read.
        max_entries: how many versions of secrets are held; the one read longest ago goes first.
        primary_region: the listed region that the others replicate from, if known: its word that a secret is deleted
            or denied is final.
        endpoint_urls: URLs by region, for VPC endpoints and emulators.
        session_factory: called as `session_factory(region)`, returns the boto3 or botocore session for that region.
        client_config: a `botocore.config.Config`, laid under the cache's own timeouts (1 s to connect, 2 s to read,
            no retries of botocore's own).

    Raises:
        ConfigurationError: an argument is not sound; the message names it and what was expected.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own, named and with a default
        self,
        regions: Sequence[str] | None = None,
        *,
        ttl: float = 300.0,
        max_stale: float = 86_400.0,
        timeout: float = 5.0,
        max_entries: int = 1024,
        primary_region: str | None = None,
        endpoint_urls: Mapping[str, str] | None = None,
        session_factory: Callable[[str], Any] | None = None,
        client_config: Any = None,
        _runtime: Runtime | None = None,
        _transport: Transport | None = None,
    ) -> None:
        settings = Settings(
            regions=default_regions() if regions is None else check_regions(regions),
            ttl=ttl,
            max_stale=max_stale,
            timeout=timeout,
            max_entries=max_entries,
            primary_region=primary_region,
            endpoint_urls=endpoint_urls or {},
            session_factory=session_factory,
            client_config=client_config,
        )
        self._settings = settings
        self._runtime = _runtime or SystemRuntime()
        self._now = self._runtime.now
        self._engine = Engine(settings, self._runtime, _transport or BotocoreTransport(settings))
        self._hot = self._engine.store.hot

    @classmethod
    def from_env(cls) -> SecretCache:
        """A cache whose settings come from `SECRETCACHE_*` variables.

        REGIONS, TTL, MAX_STALE, TIMEOUT, MAX_ENTRIES, PRIMARY_REGION, ENDPOINT_URLS.

        Raises:
            ConfigurationError: a variable is unknown, malformed or out of range; the message names it.
        """
        return cls(**settings_from_env())

    def get(
        self,
        secret_id: str,
        *,
        version_stage: str | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> Secret:
        """The secret, from memory while it is younger than `ttl`, else from the first region that can answer.

        Readers of one secret share one request. While it is under way they all wait, each at most until its own
        deadline.

        Args:
            secret_id: the secret's name, or its partial or full ARN in any listed region.
            version_stage: the stage to read; AWSCURRENT unless told otherwise.
            version_id: one version, which never changes its value. Together with `version_stage` the version must
                carry that stage.
            timeout: seconds this read may take, instead of the cache's own.

        Raises:
            SecretNotFoundError: every listed region says it does not exist.
            SecretAccessDeniedError: every listed region refuses it.
            SecretUnavailableError: no region could answer in time, and no value younger than `ttl + max_stale` is held.
            CredentialsError: the AWS credentials are missing, expired or revoked.
            ConfigurationError: an argument is not sound, or the service called the request malformed.
            CacheClosedError: the cache was closed.
        """
        if version_stage is None and version_id is None:
            try:
                entry = self._hot[secret_id]
            except (KeyError, TypeError):
                return self._read(secret_id, secret_id, None, None, timeout)
            now = self._now()
            if now < entry.serve_until:
                entry.last_read = now
                return entry.secret
            return self._read(secret_id, secret_id, None, None, timeout)
        return self._get_version(secret_id, version_stage, version_id, timeout)

    def stats(self) -> CacheStats:
        """What is held and what was asked, at this moment."""
        return self._engine.stats()

    def close(self) -> None:
        """Ends every wait with `CacheClosedError`, forgets every value, and refuses further reads.

        Closing again does nothing.
        """
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SecretCache regions={list(self._settings.regions)} ttl={self._settings.ttl:g} s>"

    def _get_version(self, secret_id: str, stage: str | None, version_id: str | None, timeout: float | None) -> Secret:
        key = (secret_id, stage, version_id)
        entry = self._hot.get(key) if isinstance(secret_id, str) and _are_text(stage, version_id) else None
        now = self._now()
        if entry is not None and now < entry.serve_until:
            entry.last_read = now
            return entry.secret
        return self._read(key, secret_id, stage, version_id, timeout)

    def _read(
        self, key: HotKey, secret_id: str, stage: str | None, version_id: str | None, timeout: float | None
    ) -> Secret:
        seconds = self._settings.timeout if timeout is None else check_duration("timeout", timeout, positive=True)
        query = self._query(secret_id, stage, version_id)
        deadline = self._now() + seconds
        event = self._runtime.event()
        begun = self._engine.begin(key, query, seconds, event.set)
        if isinstance(begun, Secret):
            return begun
        try:
            while (until := self._engine.look(begun, deadline)) is not None:
                self._runtime.wait(event, until)
                event.clear()
            return self._engine.conclude(key, query, begun)
        finally:
            self._engine.leave(begun, event.set)

    def _query(self, secret_id: str, stage: str | None, version_id: str | None) -> Query:
        for argument, value in (("version_stage", stage), ("version_id", version_id)):
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigurationError(f"{argument} must be a text of one character or more, or None, got {value!r}")
        secret = parse_secret_id(secret_id, self._settings.regions)
        return Query(secret, stage if stage or version_id else CURRENT, version_id)


def _are_text(*values: object) -> bool:
    return all(value is None or isinstance(value, str) for value in values)
