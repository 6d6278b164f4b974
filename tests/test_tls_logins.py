"""Logins over TLS: how many refusals one costs by `sslmode`, on a PostgreSQL that takes both kinds of connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from driver_rotation import of_postgres
from local_aws import Authority
from rotation_load import Rotating
from secretcache.integrations import asyncpg, psycopg
from secretcache.integrations._auth_errors import psycopg2_refused
from support import REGIONS
from tls_servers import PostgresWithTls, debian_postgres

LogIn = Callable[[Rotating, "str | None", Path], object]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[PostgresWithTls]:
    with PostgresWithTls(debian_postgres(), authority) as running:
        yield running


def libpq(mode: str | None, bundle: Path) -> dict[str, Any]:
    return {} if mode is None else {"sslmode": mode, "sslrootcert": str(bundle)}


def with_psycopg(account: Rotating, mode: str | None, bundle: Path) -> bool:
    with psycopg.connect(account.secret_id, cache=account.cache, **libpq(mode, bundle)) as connection:
        return bool(connection.pgconn.ssl_in_use)


def with_psycopg2(account: Rotating, mode: str | None, bundle: Path) -> bool:
    names = {"host": "host", "port": "port", "dbname": "dbname", "user": "username", "password": "password"}

    def log_in(secret: Any) -> Any:
        return psycopg2.connect(**{name: secret[key] for name, key in names.items()}, **libpq(mode, bundle))

    connection: Any = account.cache.connect(account.secret_id, log_in, is_auth_error=psycopg2_refused)
    try:
        return bool(connection.info.ssl_in_use)
    finally:
        connection.close()


def with_asyncpg(account: Rotating, mode: str | None, bundle: Path) -> bool:
    async def log_in() -> bool:
        options: dict[str, Any] = {} if mode is None else {"ssl": ssl.create_default_context(cafile=str(bundle))}
        connection = await asyncpg.connect(account.secret_id, cache=account.cache, **options)
        try:
            asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            return bool(await connection.fetchval(asked))
        finally:
            await connection.close()

    return asyncio.run(log_in())


@pytest.mark.parametrize("log_in", [with_psycopg, with_psycopg2, with_asyncpg])
@pytest.mark.parametrize(("mode", "refusals"), [(None, 2), ("verify-full", 1)])
def test_a_login_in_a_window_is_refused_twice_by_default_and_once_with_verify_full(
    mode: str | None, refusals: int, log_in: LogIn, server: PostgresWithTls, authority: Authority
) -> None:
    with of_postgres(server) as account:
        assert log_in(account, mode, authority.bundle), "over TLS"
        new = account._new()
        account._show(REGIONS, AWSCURRENT=account.version, AWSPENDING=new)
        account.change_password(new)
        assert log_in(account, mode, authority.bundle)
        assert server.refused_logins(account.user) == refusals
