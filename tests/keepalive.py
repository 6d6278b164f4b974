"""A Secrets Manager that keeps connections open and tells them, and the processes behind them, apart.

Two processes that write to one socket read each other's answers. Here that shows: every request is kept with the
connection it came on and the process that sent it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, TypeAlias

from secretcache import Secret, SecretCache
from support import OSAKA, PATIENCE, arn

if TYPE_CHECKING:
    from types import TracebackType

    from botocore.session import Session
    from typing_extensions import Self

__all__ = ["Answer", "KeepAliveSecretsManager", "Request", "answer_in", "make_cache", "tagged_session"]

_PROCESS = "X-Process"


@dataclass(frozen=True)
class Request:
    """One request, and where it came from."""

    serial: int
    """Its number: it stands in the answer, which so tells what request it answers."""
    connection: int
    process: int
    secret_ids: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What this Secrets Manager says of a secret: which secret was asked for, and by which request."""

    secret_id: str
    request: int
    process: int


def answer_in(secret: Secret) -> Answer:
    return Answer(**secret.json())


def tagged_session(region: str) -> Session:
    """A session whose requests tell the process that sends them, at the moment of sending: not who made the client."""
    from botocore.session import Session  # noqa: PLC0415 - imported as late as the cache itself imports it

    session = Session()
    session.set_credentials("test", "test")
    session.register("before-send.secretsmanager", _tell_process)
    return session


def _tell_process(**event: Any) -> None:
    event["request"].headers[_PROCESS] = str(os.getpid())


def make_cache(url: str, **options: Any) -> SecretCache:
    """A cache over one region, which is the server at that URL."""
    return SecretCache([OSAKA], endpoint_urls={OSAKA: url}, session_factory=tagged_session, **options)


class KeepAliveSecretsManager:
    """Answers for every secret it is asked for; holds its answers back when told to."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._held = False
        self._server = _Server(self._answer, self._changed)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join(PATIENCE)
        self._server.hang_up()
        self._server.server_close()

    @property
    def requests(self) -> list[Request]:
        """What was asked until now, in order."""
        with self._changed:
            return self._requests.copy()

    def hold(self) -> None:
        """From now on requests are taken down and not answered."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        """Answers what was held, and what comes."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def wait_for(self, enough: Callable[[list[Request]], bool]) -> list[Request]:
        """Returns the requests as soon as they are enough."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self._requests), PATIENCE), f"asked: {self._requests[-30:]}"
            return self._requests.copy()

    def wait_for_requests(self, number: int, process: int | None = None) -> list[Request]:
        """Returns the first requests, of all or of one process, as soon as there are that many."""

        def wanted(requests: list[Request]) -> list[Request]:
            return [one for one in requests if process in (None, one.process)]

        return wanted(self.wait_for(lambda requests: len(wanted(requests)) >= number))[:number]

    def shared_connections(self) -> dict[int, set[int]]:
        """The connections on which more than one process has asked, and those processes."""
        processes = defaultdict(set)
        for request in self.requests:
            processes[request.connection].add(request.process)
        return {connection: those for connection, those in processes.items() if len(those) > 1}

    def _answer(self, connection: int, process: int, region: str, asked: dict[str, Any]) -> dict[str, Any]:
        batch: list[str] | None = asked.get("SecretIdList")
        request = self._take_down(connection, process, tuple(batch or [asked["SecretId"]]))
        values = [_value(secret_id, region, request) for secret_id in request.secret_ids]
        return values[0] if batch is None else {"SecretValues": values, "Errors": []}

    def _take_down(self, connection: int, process: int, secret_ids: tuple[str, ...]) -> Request:
        with self._changed:
            request = Request(len(self._requests), connection, process, secret_ids)
            self._requests.append(request)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._held)
            return request


def _value(secret_id: str, region: str, request: Request) -> dict[str, Any]:
    name = re.sub(r"^arn:.*:secret:(.*)-\w{6}$", r"\1", secret_id)
    return {
        "ARN": arn(region, name),
        "Name": name,
        "VersionId": f"{request.serial:032d}",
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": 1_795_000_000,
        "SecretString": json.dumps({"secret_id": secret_id, "request": request.serial, "process": request.process}),
    }


_Answering: TypeAlias = Callable[[int, int, str, dict[str, Any]], dict[str, Any]]
"""Takes the connection, the process, the region and what is asked."""


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, answer: _Answering, changed: threading.Condition) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.answer = answer
        self.connections = 0
        self._changed = changed
        self._open: set[socket.socket] = set()

    def opened(self, connection: socket.socket) -> int:
        with self._changed:
            self._open.add(connection)
            self.connections += 1
            return self.connections

    def closed(self, connection: socket.socket) -> None:
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    def hang_up(self) -> None:
        """Ends all connections: their threads, which close them, end by that."""
        with self._changed:
            for connection in self._open:
                connection.shutdown(socket.SHUT_RDWR)
            assert self._changed.wait_for(lambda: not self._open, PATIENCE), "connections are still open"

    def handle_error(self, *_: object) -> None:
        """A client that goes away in the middle of an answer is no error here: killed children do."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.number = self.server.opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.closed(self.connection)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/", self.headers["Authorization"])
        assert scope is not None, "not signed with SigV4"
        self._reply(self.server.answer(self.number, int(self.headers.get(_PROCESS, 0)), scope[1], asked))

    def _reply(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
