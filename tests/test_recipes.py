"""docs/any-client.md: the recipes for drivers that have no module, as they stand there, through rotations."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from driver_rotation import of_mariadb, of_postgres
from rotation_load import HALF_FAILED, WHOLE, Load, Rotating
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST
from servers import MariaDB, Redis, need

PAGE = Path(__file__).parent.parent / "docs" / "any-client.md"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"_rotations._SPACING": 0.1, "_connect._FIRST_PAUSE": 0.1}.items():
        monkeypatch.setattr(f"secretcache.{name}", seconds)


def recipe(module: str, account: Rotating) -> Any:
    """The page's block that imports a driver, for the secret of this test."""
    need(module)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (code,) = (block for block in blocks if f"import {module}\n" in block)
    names: dict[str, Any] = {}
    exec(code.replace("prod/db", account.secret_id), names)  # noqa: S102 - our own page
    return SimpleNamespace(**names)


class _Probe:
    """Stands in the place of a load: called in each phase of a rotation."""

    def __init__(self, use: Callable[[], None]) -> None:
        self.went_on = use


def rotate(account: Rotating, log_in: Callable[[], str]) -> None:
    """Logs in at each step of two rotations; `log_in` tells as whom."""
    seen = list[str]()
    for kind, bridge in ((WHOLE, "AWSPENDING"), (HALF_FAILED, "AWSPREVIOUS")):
        bridges = account.bridges()
        account.rotate(kind, cast("Load", _Probe(lambda: seen.append(log_in()))))
        assert set(bridges) == {bridge}, "the window is real"
    assert seen == [account.user] * 6


def test_psycopg2_and_a_pool_of_it(postgres: EmbeddedPostgres) -> None:
    with of_postgres(postgres) as account:
        pool = recipe("psycopg2", account).pool(account.cache)

        def log_in() -> str:
            connection = pool.connect()
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_user")
                (user,) = cursor.fetchone()
            connection.invalidate()  # the next use logs in anew
            return str(user)

        rotate(account, log_in)
        held = pool.connect()
        held.close()
        assert pool.checkedin() == 1, "the pool keeps what is given back"
        pool.dispose()


def test_asyncmy_alone_and_sqlalchemys_pool_of_it(mariadb: MariaDB) -> None:
    asked = "SELECT substring_index(current_user(), '@', 1)"
    with of_mariadb(mariadb) as account:
        page = recipe("asyncmy", account)

        async def alone() -> str:
            connection = await page.one(account.cache)
            async with connection.cursor() as cursor:
                await cursor.execute(asked)
                (user,) = await cursor.fetchone()
            connection.close()
            return str(user)

        async def pooled() -> str:
            engine = page.pool(account.cache)
            async with engine.connect() as connection:
                user = (await connection.exec_driver_sql(asked)).scalar_one()
            await engine.dispose()
            return str(user)

        for use in (alone, pooled):
            rotate(account, lambda use=use: asyncio.run(use()))  # type: ignore[misc]


def test_valkey(redis_server: Redis) -> None:
    fields: dict[str, Any] = {"host": HOST, "port": redis_server.port}
    with Rotating(redis_server.create_user, redis_server.set_password, **fields) as account:
        page = recipe("valkey", account)

        def log_in() -> str:
            client = page.client(account.cache)
            try:
                return str(client.acl_whoami())
            finally:
                client.close()

        rotate(account, log_in)
