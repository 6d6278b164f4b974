"""`secretcache.client()`: in place of `boto3.client("secretsmanager")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secretcache._cache import SecretCache
from secretcache._errors import ConfigurationError
from secretcache._lazy import importing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_boto3_secretsmanager import SecretsManagerClient

    class CachingClient(SecretsManagerClient):
        """boto3's Secrets Manager client, and the cache behind it."""

        cache: SecretCache


__all__ = ["client"]


def client(regions: Sequence[str] | None = None, *, cache: SecretCache | None = None, **options: Any) -> CachingClient:
    """A drop-in for `boto3.client("secretsmanager")` whose reads are cached and fail over.

    `get_secret_value` and `batch_get_secret_value` (by `SecretIdList`) are answered by a `SecretCache`, in boto3's
    shapes and with boto3's exceptions. Everything else goes to a real client: reads of metadata to the first region,
    writes to the primary one (`primary_region`, or what DescribeSecret tells). After a write through it a read returns
    what was written. It is a botocore client: `exceptions`, `meta`, paginators, Stubber and moto work as they do.

    Make one and keep it, as each has a cache of its own. It is `client.cache`; `client.close()` closes both.

    Args:
        regions: region names, the preferred one first; as `SecretCache`.
        cache: a cache to stand on, instead of one made from `regions` and `options`; the client does not close it.
        **options: those of `SecretCache`: `ttl`, `max_stale`, `timeout`, `primary_region`, `endpoint_urls`, ...
            `client_config` is also the configuration of the real clients.

    Raises:
        ConfigurationError: an argument is not sound.
    """
    if cache is not None and (regions is not None or options):
        raise ConfigurationError("cache: a client over a cache of yours takes neither regions nor options")
    with importing("botocore"):
        from secretcache._client.front import make_client  # noqa: PLC0415 - imports botocore

    owns = cache is None
    if cache is None:
        cache = SecretCache(regions, **options)
        cache._warns = False  # noqa: SLF001 - nobody closes a boto client
    made: CachingClient = make_client(cache, owns=owns)
    return made
