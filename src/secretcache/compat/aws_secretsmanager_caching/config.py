"""The settings of a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secretcache.compat.aws_secretsmanager_caching.cache.secret_cache_hook import SecretCacheHook

__all__ = ["SecretCacheConfig"]


class SecretCacheConfig:
    """How a cache behaves. Times are seconds.

    Args:
        max_cache_size: how many secrets are held at most; each stage read of a secret counts.
        exception_retry_delay_base: how long to wait after a failed request before the next.
        exception_retry_growth_factor: by what the wait grows with each failure that follows.
        exception_retry_delay_max: the longest wait between failed requests.
        default_version_stage: the stage that is read unless told otherwise.
        secret_refresh_interval: how long a value is served before it is asked for again.
        secret_cache_hook: what stands between the cache and its memory.
    """

    def __init__(  # noqa: PLR0913 - the names and defaults of the original
        self,
        *,
        max_cache_size: int = 1024,
        exception_retry_delay_base: float = 1,
        exception_retry_growth_factor: float = 2,
        exception_retry_delay_max: float = 3600,
        default_version_stage: str = "AWSCURRENT",
        secret_refresh_interval: float = 3600,
        secret_cache_hook: SecretCacheHook | None = None,
    ) -> None:
        self.max_cache_size = max_cache_size
        self.exception_retry_delay_base = exception_retry_delay_base
        self.exception_retry_growth_factor = exception_retry_growth_factor
        self.exception_retry_delay_max = exception_retry_delay_max
        self.default_version_stage = default_version_stage
        self.secret_refresh_interval = secret_refresh_interval
        self.secret_cache_hook = secret_cache_hook
