"""A Django site under gunicorn and under an ASGI server, through ten rotations while one region is down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from django_commands import Account, site_environment
from django_serving import PATIENCE, Server, gunicorn, uvicorn
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Refuse
from secretcache._demo.postgres import EmbeddedPostgres
from servers import MariaDB, need
from support import OSAKA

ROTATIONS = 10
ALIASES = ("default", "persistent", "pool", "mysql")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn does not run here")


SYNC = tuple(f"/sync/{alias}" for alias in ALIASES)
ASYNC = tuple(f"/async/{alias}" for alias in ALIASES)


@pytest.fixture
def accounts(
    manager: EmbeddedSecretsManager, postgres: EmbeddedPostgres, mariadb: MariaDB
) -> Iterator[tuple[Account, Account]]:
    """One user of each database, who may read the site's table there."""
    first, second = Account(manager, postgres, postgres.create_role), Account(manager, mariadb, mariadb.create_user)
    columns = "rotating_site_visit (id BIGINT PRIMARY KEY, who VARCHAR(20))"
    with postgres.admin() as admin:
        admin.execute(f"CREATE TABLE IF NOT EXISTS {columns}")
        admin.execute(f"GRANT ALL ON rotating_site_visit TO {first.user}")
    mariadb.execute(f"CREATE DATABASE {second.user}")
    mariadb.execute(f"CREATE TABLE {second.user}.{columns}")
    mariadb.execute(f"GRANT ALL ON {second.user}.* TO '{second.user}'")
    yield first, second
    with postgres.admin() as admin:
        admin.execute("DROP TABLE rotating_site_visit")


def test_ten_rotations_while_a_region_is_down(
    accounts: tuple[Account, Account],
    manager: EmbeddedSecretsManager,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    for module in ("gunicorn", "uvicorn", "MySQLdb"):
        need(module)
    manager.create("prod/django", "x" * 50)
    # A busy machine may take its time: what is shown is which answers come, not how soon.
    patient = {"SECRETCACHE_TTL": "1", "SECRETCACHE_TIMEOUT": str(PATIENCE)}
    env = site_environment(manager, **databases(*accounts)) | patient
    stock = Server("stock", gunicorn("--workers=1"), ("/stock",), 1)
    servers = [
        Server("gthread", gunicorn("--workers=2"), SYNC, 2),
        Server("gthread --preload", gunicorn("--workers=2", "--preload"), SYNC, 2),
        Server("ASGI", uvicorn, ASYNC, 1),
    ]
    with ExitStack() as running:
        for server in (*servers, stock):  # one after the other: each takes a second of a processor's time to start
            running.enter_context(server.running(env, tmp_path / server.name))
            server.until_warm()
        manager.proxies[OSAKA].set_fault(Refuse())
        for _ in range(ROTATIONS):
            rotate(accounts, servers, stock)
    figures = {server.name: dict(server.counts) for server in (*servers, stock)}
    record_property("statuses", str(figures))  # a text: xdist hands it to another process
    assert [error for server in servers for error in server.errors] == [], figures
    assert stock.counts["/stock"][500] >= ROTATIONS, figures
    logs = "".join((tmp_path / server.name).read_text() for server in servers)
    assert not [password for account in accounts for password in account.passwords if password in logs]


def rotate(accounts: tuple[Account, Account], servers: list[Server], stock: Server) -> None:
    """One of each account, at the same time; ends when every process has noticed."""
    failed = stock.counts["/stock"][500]
    for account in accounts:
        account.open_window()
    opened = time.monotonic()
    for server in servers:
        server.until_answered(since=opened)
    stock.until(lambda: stock.counts["/stock"][500] > failed)
    for account in accounts:
        account.close_window()
    for server in (*servers, stock):
        server.until_noticed(*(account.version for account in accounts))
    noticed = time.monotonic()
    for server in servers:
        server.until_answered(since=noticed)


def databases(first: Account, second: Account) -> dict[str, dict[str, Any]]:
    bridge = {"SECRET_BRIDGE": {"timeout": PATIENCE}}
    postgres = first.alias("postgresql", NAME="postgres", **bridge)
    pool = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 4, "timeout": PATIENCE}}}
    return {
        "default": postgres,
        "persistent": {**postgres, "CONN_MAX_AGE": None},
        "pool": {**postgres, **pool},
        "mysql": second.alias("mysql", NAME=second.user, **bridge),
    }
