"""Where the hook's interface is found."""

from __future__ import annotations

from secretcache.compat.aws_secretsmanager_caching.cache.secret_cache_hook import SecretCacheHook

__all__ = ["SecretCacheHook"]
