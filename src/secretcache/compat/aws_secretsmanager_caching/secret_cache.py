"""The cache."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import cachetools

from secretcache import SecretCache as _Cache
from secretcache._client.shapes import READ, boto_error, fresh, value_of
from secretcache._errors import ConfigurationError, SecretCacheError, SecretNotFoundError
from secretcache._freshness import Retry
from secretcache._ids import CURRENT
from secretcache._version import __version__
from secretcache.compat.aws_secretsmanager_caching._hooked import Hooked, kept_in
from secretcache.compat.aws_secretsmanager_caching._session import options_of, exceptions_of
from secretcache.compat.aws_secretsmanager_caching.config import SecretCacheConfig
