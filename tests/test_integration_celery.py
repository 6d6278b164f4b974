"""Celery's worker on Redis, broker and results, through rotations; what `follow` refuses."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from rotation_load import HALF_FAILED, WHOLE, Rotating
from secretcache import ConfigurationError
from secretcache._demo.private import HOST
from secretcache.integrations.celery import follow
from servers import Redis

PATIENCE = 60.0  # real seconds: only a test that fails waits so long


def application(**settings: Any) -> Celery:
    app = Celery("tasks", broker="redis://", backend="redis://", set_as_current=False)
    app.conf.update(broker_connection_retry_on_startup=True, **settings)
    return app


def double_of(number: int) -> int:
    return 2 * number


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Celery calls what redis-py 8 has newer names for
def test_tasks_are_sent_and_run_through_three_rotations(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"_rotations._SPACING": 0.1, "_connect._FIRST_PAUSE": 0.1}.items():
        monkeypatch.setattr(f"secretcache.{name}", seconds)
    fields: dict[str, Any] = {"host": HOST, "port": redis_server.port}
    with Rotating(redis_server.create_user, redis_server.set_password, **fields) as account:
        app = application(broker_pool_limit=None)  # each task is sent over a connection of its own
        follow(app, broker=account.secret_id, backend=account.secret_id, cache=account.cache)
        double = app.task(double_of, name="double")
        bridges, done = account.bridges(), list[int]()

        class Sender:
            """Stands in the place of a load: called in each phase of a rotation."""

            def went_on(self) -> None:
                app.backend.client.connection_pool.disconnect(inuse_connections=False)
                done.append(double.delay(len(done)).get(timeout=PATIENCE))

        sender: Any = Sender()
        with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=PATIENCE):
            for kind in (WHOLE, HALF_FAILED, WHOLE):
                account.rotate(kind, sender)
        assert done == [2 * number for number in range(9)]
        assert set(bridges) == {"AWSPENDING", "AWSPREVIOUS"}


@pytest.mark.parametrize(
    ("settings", "told", "message"),
    [
        ({}, {}, "follow needs a secret"),
        ({"broker_url": "sqs://"}, {"broker": "prod/redis"}, "broker_url must be a URL of one of redis://"),
        ({"result_backend": "amqp://"}, {"backend": "prod/redis"}, "result_backend must be a URL of one of redis://"),
        ({"broker_url": "redis://:leaked@db"}, {"broker": "prod/redis"}, "broker_url has a user or a password"),
    ],
)
def test_what_cannot_follow_a_secret_is_refused_by_name(
    settings: dict[str, Any], told: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        follow(application(**settings), **told)
    assert "leaked" not in str(caught.value)
