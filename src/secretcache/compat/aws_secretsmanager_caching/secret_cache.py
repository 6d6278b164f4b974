"""The cache."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

import secretcache
from secretcache._cache import _Ask
from secretcache._client.shapes import READ, boto_error, fresh
from secretcache._errors import ConfigurationError, SecretCacheError, SecretNotFoundError
from secretcache._freshness import Retry
from secretcache._ids import CURRENT
from secretcache._version import __version__
from secretcache.compat.aws_secretsmanager_caching._failures import Failures
from secretcache.compat.aws_secretsmanager_caching._given import exceptions_of, options_of
from secretcache.compat.aws_secretsmanager_caching._hooked import Hooked, kept_in
from secretcache.compat.aws_secretsmanager_caching.config import SecretCacheConfig

if TYPE_CHECKING:
    from secretcache._secret import Secret

__all__ = ["SecretCache"]


class SecretCache:
    """A cache of secrets, with the names of `aws-secretsmanager-caching`, on a `secretcache.SecretCache`.

    Args:
        config: how it behaves.
        client: a botocore client to ask with, that of `secretcache.client([...])` for several regions. Without one the
            regions are those of `SECRETCACHE_REGIONS`, else the one of the AWS session.
    """

    __version__ = __version__

    def __init__(self, config: SecretCacheConfig | None = None, client: Any = None) -> None:
        config = config or SecretCacheConfig()
        retry = Retry(
            first=config.exception_retry_delay_base,
            longest=config.exception_retry_delay_max,
            growth=config.exception_retry_growth_factor,
            spread=0.0,  # what is documented is a number of seconds
        )
        self._stage = config.default_version_stage
        self._hook = config.secret_cache_hook
        self._cache = secretcache.SecretCache(
            **options_of(client),
            ttl=config.secret_refresh_interval,
            max_entries=config.max_cache_size,
            _retry=retry,
            _wrap=partial(Hooked, hook=self._hook) if self._hook is not None else None,
        )
        self._cache._warns = False  # noqa: SLF001 - the original has no close()
        self._exceptions = exceptions_of(client)
        self._failures = Failures(retry, config.max_cache_size, self._cache._now)  # noqa: SLF001
        self._stages: set[str] = set()

    def get_secret_string(self, secret_id: str, version_stage: str | None = None) -> str | None:
        """The text of a secret; None if it is binary, or has no version of that stage."""
        text: str | None = self._content(secret_id, version_stage, str)
        return text

    def get_secret_binary(self, secret_id: str, version_stage: str | None = None) -> bytes | None:
        """The bytes of a secret; None if it is text, or has no version of that stage."""
        content: bytes | None = self._content(secret_id, version_stage, bytes)
        return content

    def refresh_secret_now(self, secret_id: str) -> bool:
        """Asks for a secret at once, in every stage that was ever read.

        Returns:
            Whether that succeeded. If not, the value held stays, unless access to it was revoked.
        """
        try:
            self._ask(secret_id, self._stage, forced=True)
            for stage in tuple(self._stages):
                self._existing(secret_id, stage, forced=True)
        except SecretCacheError as error:
            if self._cache._held(_key(secret_id, self._stage)) is None:  # noqa: SLF001
                self._failures.note((secret_id, self._stage), error)
            return False
        for stage in (self._stage, *self._stages):
            self._failures.forget((secret_id, stage))
        return True

    def close(self) -> None:
        """Ends the cache, where that is wanted before the process ends. A client that was passed stays open."""
        self._cache.close()

    def _content(self, secret_id: str, stage: str | None, kind: type) -> Any:
        secret = self._read(secret_id, stage or self._stage)
        if secret is None:
            return None
        if self._hook is None:
            value: Any = secret._value  # noqa: SLF001
            return value if isinstance(value, kind) else None
        told = self._hook.get(kept_in(secret))
        return told.get("SecretString" if kind is str else "SecretBinary") if told else None

    def _read(self, secret_id: str, stage: str) -> Secret | None:
        key = (secret_id, stage)
        failed = self._failures.of(key) if self._failures else None
        if failed is None:
            return self._first_read(secret_id, stage)
        held = self._cache._held(_key(secret_id, stage))  # noqa: SLF001
        if held is not None:
            self._failures.forget(key)
            return held
        if self._failures.must_wait(key):
            raise self._raised(failed)
        secret = self._reported(secret_id, stage, forced=True)
        self._failures.forget(key)
        return secret

    def _first_read(self, secret_id: str, stage: str) -> Secret | None:
        if stage != self._stage:
            self._stages.add(stage)
        return self._reported(secret_id, stage, forced=False)

    def _reported(self, secret_id: str, stage: str, *, forced: bool) -> Secret | None:
        try:
            return self._existing(secret_id, stage, forced=forced)
        except SecretCacheError as error:
            self._failures.note((secret_id, stage), error)
            raised = self._raised(error)
        raise raised

    def _existing(self, secret_id: str, stage: str, *, forced: bool) -> Secret | None:
        """The version of that stage; None if the secret has none."""
        try:
            return self._ask(secret_id, stage, forced=forced)
        except SecretNotFoundError:
            if stage == CURRENT:
                raise
            self._cache.get(secret_id)  # the error, if there is no such secret
            return None

    def _ask(self, secret_id: str, stage: str, *, forced: bool) -> Secret:
        if forced:
            picked = None if stage == CURRENT else stage
            return self._cache._read(_Ask(_key(secret_id, stage), secret_id, picked, None, None, forced=True))  # noqa: SLF001
        return self._cache.get(secret_id) if stage == CURRENT else self._cache.get(secret_id, version_stage=stage)

    def _raised(self, error: SecretCacheError) -> Exception:
        cause = error.__cause__
        of_the_hook = isinstance(error, ConfigurationError) and not isinstance(cause, (BotoCoreError, ClientError))
        return fresh(cause) if of_the_hook and cause is not None else boto_error(error, READ, self._exceptions)


def _key(secret_id: str, stage: str) -> Any:
    return secret_id if stage == CURRENT else (secret_id, stage, None)
