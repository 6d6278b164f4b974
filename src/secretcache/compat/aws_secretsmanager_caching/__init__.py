"""The public names of `aws-secretsmanager-caching` 1.2, on a `secretcache.SecretCache`.

Change the import, and keep the rest:

from secretcache.compat.aws_secretsmanager_caching import SecretCache, SecretCacheConfig

What is promised is what that package documents. docs/migration.md lists where it behaves otherwise.
"""

from __future__ import annotations

from secretcache.compat.aws_secretsmanager_caching.config import SecretCacheConfig
from secretcache.compat.aws_secretsmanager_caching.decorators import InjectKeywordedSecretString, InjectSecretString
from secretcache.compat.aws_secretsmanager_caching.secret_cache import SecretCache

__all__ = ["InjectKeywordedSecretString", "InjectSecretString", "SecretCache", "SecretCacheConfig"]
