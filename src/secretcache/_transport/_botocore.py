"""The transport that asks AWS, through botocore.

One session and one client per region, each made once, when the region is first asked.

botocore takes 200 ms to import, so it is imported by a lane's thread when the first request is made, not with this
package.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from secretcache._transport import BatchCall, Call, Failure, Fault, Reply
from secretcache._transport._quiet import quiet_bodies
from secretcache._version import __version__

if TYPE_CHECKING:
    from botocore.config import Config
    from botocore.session import Session

    from secretcache._settings import Settings

__all__ = ["BotocoreTransport", "making"]

_SERVICE = "secretsmanager"
_CONNECT_SECONDS = 1
_READ_SECONDS = 2
_MAKING_SECONDS = 5.0
_POOL = 4  # as many connections as a lane has threads


class _Making:
    """Counts the threads that import botocore or make a client, so that a fork can wait until there is none."""

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """In a child: the threads that were counted are not there."""
        self._changed = threading.Condition(threading.Lock())
        self._threads = 0

    def __enter__(self) -> None:
        with self._changed:
            self._threads += 1

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._threads -= 1
            self._changed.notify_all()

    def pause(self) -> None:
        """Lets none begin, once those who did have ended; waits for them, five seconds at most."""
        self._changed.acquire()
        self._changed.wait_for(lambda: not self._threads, _MAKING_SECONDS)

    def go_on(self) -> None:
        """Takes `pause` back."""
        self._changed.release()


making = _Making()


class BotocoreTransport:
    """Sends requests through one botocore client per region."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[str, Future[Any]] = {}

    def prepare(self, region: str) -> Failure | None:
        with quiet_bodies(), making:
            client = self._client(region)
        return client if isinstance(client, Failure) else None

    def reload(self) -> None:
        self._clients = {}

    def send(self, call: Any) -> Reply:
        """One request, without retries of botocore's own."""
        with quiet_bodies():
            with making:
                client = self._client(call.region)
            return client if isinstance(client, Failure) else _send(client, call)

    def host(self, region: str) -> str:
        """The client's own endpoint host once there is a client; before that, the one it is expected to use."""
        made = self._clients.get(region)
        if made is not None and made.done() and not made.exception():
            return _hostname(made.result().meta.endpoint_url)
        return _hostname(self._settings.endpoint_urls.get(region, f"https://{_SERVICE}.{region}.amazonaws.com"))

    def close(self) -> None:
        """Closes the clients' idle connections; a request under way keeps its own until it ends."""
        for made in self._clients.copy().values():
            if made.done() and not made.exception():
                made.result().close()

    def _client(self, region: str) -> Any | Failure:
        # The first thread makes the client, the others wait for it: no lock is held while user code (session_factory)
        # runs.
        mine: Future[Any] = Future()
        made = self._clients.setdefault(region, mine)
        if made is mine:
            self._make(region, mine)
        error = made.exception()
        if error is None:
            return made.result()
        return self._not_made(region, error)

    def _make(self, region: str, client: Future[Any]) -> None:
        try:
            client.set_result(self._new_client(region))
        except BaseException as error:  # noqa: BLE001 - whatever a session factory raises is told to the caller
            del self._clients[region]  # the next read tries again
            client.set_exception(error)

    def _new_client(self, region: str) -> Any:
        factory = self._settings.session_factory or _default_session
        session: Any = factory(region)
        make = getattr(session, "create_client", None) or session.client  # botocore's session, or boto3's
        return make(
            _SERVICE, region_name=region, endpoint_url=self._settings.endpoint_urls.get(region), config=self._config()
        )

    def _config(self) -> Config:
        from botocore.config import Config  # noqa: PLC0415

        given: Config = self._settings.client_config or Config()
        agent = " ".join(
            part for part in (getattr(given, "user_agent_extra", None), f"secretcache/{__version__}") if part
        )
        own = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": 1},
            max_pool_connections=_POOL,
            user_agent_extra=agent,
        )
        return given.merge(own)

    def _not_made(self, region: str, error: BaseException) -> Failure:
        made_by = f"session_factory({region!r})" if self._settings.session_factory else f"the AWS session for {region}"
        failure = _classify(error, "", self.host(region))
        if failure.fault in (Fault.IDENTITY, Fault.NOT_OFFERED):
            return failure
        return Failure(
            Fault.CALLER, type(error).__name__, f"{made_by} made no client: {error}", cause=error.with_traceback(None)
        )


def _default_session(region: str) -> Session:
    from botocore.session import Session  # noqa: PLC0415

    session = Session()
    # The session's region is where its STS client will be: each region depends on its own.
    session.set_config_variable("region", region)
    return session


def _send(client: Any, call: Call | BatchCall) -> Reply:
    operation = "GetSecretValue" if isinstance(call, Call) else "BatchGetSecretValue"
    try:
        return _get_secret_value(client, call) if isinstance(call, Call) else _batch_get(client, call)
    except Exception as error:  # noqa: BLE001 - classified: nothing escapes a lane's thread
        return _classify(error, operation, _hostname(client.meta.endpoint_url))


def _get_secret_value(client: Any, call: Call) -> Reply:
    picked = {"VersionStage": call.query.stage, "VersionId": call.query.version_id}
    response: Reply = client.get_secret_value(
        SecretId=call.secret_id, **{name: text for name, text in picked.items() if text}
    )
    return response


def _batch_get(client: Any, call: BatchCall) -> Reply:
    response: Reply = client.batch_get_secret_value(SecretIdList=call.secret_ids)
    return response


def _classify(error: BaseException, operation: str, host: str) -> Failure:
    from secretcache._transport._classify import classify  # noqa: PLC0415 - imports botocore

    return classify(error, operation=operation, host=host)


def _hostname(url: str) -> str:
    return urlsplit(url).hostname or url
