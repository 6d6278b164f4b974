"""The pytest fixtures. pytest imports this in every run, before coverage begins: nothing else is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from secretcache import SecretCache
    from secretcache.testing import FakeSecretsManager, ManualClock

__all__ = ["fake_secrets_manager", "secret_cache", "secretcache_clock", "secretcache_options", "secretcache_regions"]


@pytest.fixture
def secretcache_regions() -> Sequence[str]:
    """The regions of `fake_secrets_manager`, the primary one last; override it for others."""
    return ("ap-northeast-3", "ap-northeast-1")


@pytest.fixture
def secretcache_options() -> dict[str, Any]:
    """The options of `secret_cache`, as `SecretCache` takes them; override it for others."""
    return {}


@pytest.fixture
def secretcache_clock() -> ManualClock:
    """The clock of `fake_secrets_manager` and `secret_cache`."""
    from secretcache.testing import ManualClock  # noqa: PLC0415

    return ManualClock()


@pytest.fixture
def fake_secrets_manager(
    secretcache_clock: ManualClock, secretcache_regions: Sequence[str]
) -> Iterator[FakeSecretsManager]:
    """An empty Secrets Manager in memory."""
    from secretcache.testing import FakeSecretsManager  # noqa: PLC0415

    with FakeSecretsManager(secretcache_regions, clock=secretcache_clock) as manager:
        yield manager


@pytest.fixture
def secret_cache(
    fake_secrets_manager: FakeSecretsManager, secretcache_options: dict[str, Any]
) -> Iterator[SecretCache]:
    """A cache over `fake_secrets_manager`, which is also the `default_cache()` during the test."""
    from secretcache import set_default_cache  # noqa: PLC0415

    cache = fake_secrets_manager.cache(**secretcache_options)
    before = set_default_cache(cache)
    yield cache
    set_default_cache(before)
