"""A Django site with health checks, under gunicorn: rotations, killed sessions and a silent region at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from django_commands import Account, site_environment
from django_serving import PATIENCE, Server, gunicorn
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Silent
from secretcache._demo.postgres import EmbeddedPostgres
from servers import need
from support import OSAKA

ROTATIONS = 10
KILLED, SILENT = {3, 7}, {5, 7}  # which of them: the seventh has both

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn does not run here")


@pytest.fixture
def account(manager: EmbeddedSecretsManager, postgres: EmbeddedPostgres) -> Iterator[Account]:
    """A user who may read the site's table."""
    made = Account(manager, postgres, postgres.create_role)
    with postgres.admin() as admin:
        admin.execute("CREATE TABLE IF NOT EXISTS rotating_site_visit (id BIGINT PRIMARY KEY, who VARCHAR(20))")
        admin.execute(f"GRANT ALL ON rotating_site_visit TO {made.user}")
    yield made
    with postgres.admin() as admin:
        admin.execute("DROP TABLE rotating_site_visit")


def test_ten_rotations_with_killed_sessions_and_a_silent_region(
    account: Account,
    manager: EmbeddedSecretsManager,
    postgres: EmbeddedPostgres,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    need("gunicorn")
    manager.create("prod/django", "x" * 50)
    # A busy machine may take its time: what is shown is which answers come, not how soon.
    patient = {"SECRETCACHE_TTL": "1", "SECRETCACHE_TIMEOUT": str(PATIENCE)}
    env = site_environment(manager, **aliases(account)) | patient
    checked = Server(
        "checked", gunicorn("--workers=2", "--threads=4"), ("/sync/default", "/sync/persistent", "/sync/pool"), 2
    )
    # One thread, whose connection lives on: it meets each kill.
    unchecked = Server("unchecked", gunicorn("--workers=1", "--threads=1"), ("/sync/unchecked",), 1)
    with ExitStack() as running:
        for server in (checked, unchecked):
            running.enter_context(server.running(env, tmp_path / server.name))
            server.until_warm()
        for number in range(1, ROTATIONS + 1):
            if number in SILENT:
                manager.proxies[OSAKA].set_fault(Silent())
            account.open_window()
            if number in KILLED:
                kill(postgres, account, checked, unchecked)
            rotate_on(account, checked, unchecked)
            manager.proxies[OSAKA].heal()
    record_property("statuses", str({server.name: dict(server.counts) for server in (checked, unchecked)}))
    assert checked.errors == []
    assert postgres.refused_logins(account.user) >= ROTATIONS, "each window is met"
    assert unchecked.counts["/sync/unchecked"][500] == len(KILLED), "the kills bite where nothing is checked"


def rotate_on(account: Account, *servers: Server) -> None:
    """From the middle of a rotation's window to its end; returns when every process has noticed."""
    for server in servers:
        server.until_answered_anew()
    account.close_window()
    for server in servers:
        server.until_noticed(account.version)
        server.until_answered_anew()


def kill(postgres: EmbeddedPostgres, account: Account, *servers: Server) -> None:
    """Ends every session of the account, between two requests: what is cut in the middle of one is lost in any case."""
    with ExitStack() as held:
        for server in servers:
            held.enter_context(server.between_requests())
        with postgres.admin() as admin:
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = %s", [account.user]
            ).fetchall()
    assert ended, "there was something to kill"
    assert all(done for (done,) in ended)


def aliases(account: Account) -> dict[str, dict[str, Any]]:
    bridge = {"SECRET_BRIDGE": {"timeout": PATIENCE}}
    bare = account.alias("postgresql", NAME="postgres", **bridge)
    checked = {**bare, "CONN_HEALTH_CHECKS": True}
    return {
        "default": {**checked, "CONN_MAX_AGE": 0},
        "persistent": {**checked, "CONN_MAX_AGE": None},
        "pool": {**checked, "OPTIONS": {"pool": {"min_size": 1, "max_size": 4, "timeout": PATIENCE}}},
        "unchecked": {**bare, "CONN_MAX_AGE": None},
    }
