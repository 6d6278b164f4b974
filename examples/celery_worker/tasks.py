"""The worker: this is what one writes. `celery -A examples.celery_worker.tasks worker`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from secretcache import default_cache
from secretcache.integrations.celery import follow
from secretcache.integrations.psycopg_pool import ConnectionPool

app = Celery("tasks", broker="redis://", backend="redis://")  # the secret says which host
follow(app, broker="prod/redis", backend="prod/redis")
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)

_pools: list[ConnectionPool] = []


@worker_process_init.connect  # type: ignore[untyped-decorator]
def open_pool(**_: object) -> None:
    """In each process, after the fork: neither sockets nor a pool's threads outlive one. The cache does."""
    _pools.append(ConnectionPool("prod/db", min_size=1, max_size=2, open=True))


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def close_pool(**_: object) -> None:
    """What the process has opened."""
    while _pools:
        _pools.pop().close()
    default_cache().close()


@app.task  # type: ignore[untyped-decorator]
def add(x: int, y: int) -> dict[str, Any]:
    """A task that uses the database, and tells in which process."""
    with _pools[0].connection() as connection:
        row = connection.execute("SELECT %s::int + %s::int, pg_backend_pid()", (x, y)).fetchone()
    assert row is not None
    return {"sum": row[0], "session": row[1], "process": os.getpid()}
