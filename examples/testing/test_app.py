"""The application's own tests: what does it do when a password rotates, and when Osaka is down? No AWS, no sleeping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app import Orders, sign
from secretcache.testing import FakeDatabase

if TYPE_CHECKING:
    from secretcache import SecretCache
    from secretcache.testing import FakeSecretsManager, ManualClock

OSAKA, TOKYO = "ap-northeast-3", "ap-northeast-1"


@pytest.fixture
def database(fake_secrets_manager: FakeSecretsManager) -> FakeDatabase:
    """The database of the orders, whose password follows its secret's rotation."""
    fake_secrets_manager.put("prod/orders-db", {"username": "orders", "password": "first"})
    return FakeDatabase(fake_secrets_manager, "prod/orders-db", lock_after=5)


@pytest.fixture
def orders(database: FakeDatabase, secret_cache: SecretCache) -> Orders:  # noqa: ARG001 - it is the default_cache()
    """The application, warm."""
    made = Orders(database)
    assert made.handle() == "ok"
    return made


@pytest.mark.usefixtures("orders")
def test_a_user_who_comes_while_the_password_rotates_notices_nothing(
    database: FakeDatabase, fake_secrets_manager: FakeSecretsManager
) -> None:
    fake_secrets_manager.lag(OSAKA, 30)
    rotation = fake_secrets_manager.rotate("prod/orders-db", until="set")  # the password has changed, AWSCURRENT not
    fresh = Orders(database)
    assert fresh.handle() == "ok"
    rotation.finish()
    assert database.refused == 1


def test_the_session_is_made_anew_after_a_rotation(
    orders: Orders, fake_secrets_manager: FakeSecretsManager, secretcache_clock: ManualClock
) -> None:
    fake_secrets_manager.rotate("prod/orders-db")
    secretcache_clock.advance(300)  # noticed within ttl
    assert orders.handle() == "ok"
    assert orders.logins == 2


def test_osaka_is_down(fake_secrets_manager: FakeSecretsManager, secret_cache: SecretCache) -> None:
    fake_secrets_manager.put("prod/signing-key", b"key")
    fake_secrets_manager.fail_region(OSAKA, "hang")
    assert sign(b"message")
    assert secret_cache.get("prod/signing-key").region == TOKYO


def test_both_regions_are_down_for_an_hour_and_come_back(
    orders: Orders, fake_secrets_manager: FakeSecretsManager, secretcache_clock: ManualClock, secret_cache: SecretCache
) -> None:
    for region in (OSAKA, TOKYO):
        fake_secrets_manager.fail_region(region)
    secretcache_clock.advance(3600)
    assert orders.handle() == "ok"
    assert secret_cache.get("prod/orders-db").is_stale
    fake_secrets_manager.heal()
    secretcache_clock.advance(300)
    assert not secret_cache.get("prod/orders-db").is_stale
