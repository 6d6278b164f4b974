"""connect through long windows, on real databases: the threads are real, and the cache's clock is moved on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import pytest

from rotation_load import Load, Rotating
from secretcache import Secret
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._runtime import SystemRuntime
from servers import MariaDB, is_locked, is_refused
from support import REGIONS, TOKYO

THREADS = 16
LOCKOUT = 5


class Advanced(SystemRuntime):
    """The system's clock, a while later."""

    def __init__(self) -> None:
        super().__init__()
        self.later = 0.0
        self.now: Callable[[], float] = lambda: time.monotonic() + self.later


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_a_function_that_fails_after_set_secret_and_is_retried_ten_minutes_later(
    database: str, request: pytest.FixtureRequest
) -> None:
    server: Any = request.getfixturevalue(database)
    locks: AbstractContextManager[Any] = nullcontext()
    connect = server.connect
    create = server.create_role if isinstance(server, EmbeddedPostgres) else server.create_user
    if isinstance(server, MariaDB):
        locks, connect = server.max_password_errors(LOCKOUT), partial(server.connect, ssl_disabled=True)
    runtime = Advanced()
    with locks, Rotating(create, server.set_password, {"_runtime": runtime}) as account:

        def one(secret: Secret) -> None:
            connect(secret["username"], secret["password"]).close()

        def log_in() -> None:
            refused = server.is_refused if isinstance(server, EmbeddedPostgres) else is_refused
            # Longer than the clock is ever moved on while a login waits for its turn.
            account.cache.connect(account.secret_id, one, is_auth_error=refused, target=account.user, timeout=3600.0)

        with Load(log_in, workers=THREADS) as load:
            load.went_on()
            refused = [in_a_window_of_thirty_seconds(account, load, runtime, server)]
            runtime.later += 600.0 - 30.0
            load.went_on()
            refused.append(in_a_window_of_thirty_seconds(account, load, runtime, server))
            finish(account, load)
    assert load.errors == []
    assert not any(is_locked(error) for error in load.errors)
    assert all(1 <= one <= 2 for one in refused), f"the server refused {refused}"
    assert server.refused_logins(account.user) == sum(refused), "closing the window costs none"


def in_a_window_of_thirty_seconds(account: Rotating, load: Load, runtime: Advanced, server: Any) -> int:
    """createSecret and setSecret. Returns how many logins the server refused while all threads log in on."""
    before = server.refused_logins(account.user)
    pending = account._new()
    account._show(REGIONS, AWSCURRENT=account.version, AWSPENDING=pending)
    account.change_password(pending)
    for _ in range(10):
        load.went_on()
        runtime.later += 3.0
    account.pending = pending  # type: ignore[attr-defined]
    return int(server.refused_logins(account.user)) - int(before)


def finish(account: Rotating, load: Load) -> None:
    """finishSecret, and the replica after it."""
    new = account.pending  # type: ignore[attr-defined]
    for regions in ((TOKYO,), REGIONS):
        account._show(regions, AWSCURRENT=new, AWSPREVIOUS=account.version)
        load.went_on()
