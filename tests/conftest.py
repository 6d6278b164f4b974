"""The embedded Secrets Manager that tests over real HTTP share: one faultable endpoint per region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from secretcache import SecretCache
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._regions.policy import RegionPolicy
from server_fixtures import mariadb, mariadb_ed25519, pgbouncer, postgres, rabbitmq, redis_server
from support import OSAKA, REGIONS, TOKYO, House

__all__ = ["mariadb", "mariadb_ed25519", "pgbouncer", "postgres", "rabbitmq", "redis_server"]


@pytest.fixture(autouse=True)
def close_houses() -> Iterator[None]:
    """Closes every cache that a test made over scripted regions."""
    yield
    while House.built:
        House.built.pop().close()


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedSecretsManager]:
    with EmbeddedSecretsManager(TOKYO, [OSAKA]) as embedded:
        yield embedded


@pytest.fixture
def manager(running: EmbeddedSecretsManager) -> Iterator[EmbeddedSecretsManager]:
    """Both regions healthy, and nothing recorded."""
    _heal(running)
    yield running
    _heal(running)


def _heal(manager: EmbeddedSecretsManager) -> None:
    for proxy in manager.proxies.values():
        proxy.heal()
        proxy.clear()


@pytest.fixture
def make_cache(manager: EmbeddedSecretsManager) -> Iterator[Callable[..., SecretCache]]:
    """Makes caches over the embedded regions, and closes them."""
    made = []

    def make(**options: Any) -> SecretCache:
        given = {"endpoint_urls": manager.endpoint_urls, "session_factory": manager.session, **options}
        made.append(SecretCache(list(REGIONS), **given))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


@pytest.fixture
def steady_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches that do not hedge: on a busy machine a healthy region may be silent for half a second."""
    monkeypatch.setattr("secretcache._engine.RegionPolicy", partial(RegionPolicy, hedges=False, suspect_for=0.0))
