"""A TCP endpoint for one region which passes HTTP requests on to a server, or fails in a chosen way."""

import contextlib
import json
import re
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_HOST = "127.0.0.1"
_BACKLOG = 128
_CHUNK = 65536
_MAX_HEAD = 65536
_JSON = "application/x-amz-json-1.1"
_HEAD_END = b"\r\n\r\n"
_SCOPE = re.compile(r"Credential=[^/,\s]+/\d+/([^/,\s]+)/")
_JOIN_SECONDS = 2.5
_CONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Refuse:
    """Refuse connections: nothing listens, while the port stays bound."""


@dataclass(frozen=True)
class Reset:
    """Read the request, then reset the connection."""


@dataclass(frozen=True)
class ResetMidway:
    """Send the real head and half of the real body, then reset the connection."""


@dataclass(frozen=True)
class Silent:
    """Read the request and never answer; the connection is reset when the fault changes."""


@dataclass(frozen=True)
class Delay:
    """Wait, then forward the request; a change of fault ends the wait early.

    Attributes:
        seconds: How long to wait before the request is forwarded.
    """

    seconds: float


@dataclass(frozen=True)
class Drip:
    """Send the real answer byte by byte; the connection is reset when the fault changes.

    Attributes:
        seconds_per_byte: How long to wait before each byte.
    """

    seconds_per_byte: float


@dataclass(frozen=True)
class Respond:
    """Send a canned answer; the request is not forwarded.

    Attributes:
        status: The HTTP status.
        body: The whole body.
        content_type: The value of the Content-Type header.
        headers: Further headers, as pairs of name and value.
    """

    status: int
    body: bytes
    content_type: str = _JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Hold:
    """Read the request, and forward it once it is released or the fault changes."""


Fault = Refuse | Reset | ResetMidway | Silent | Delay | Drip | Respond | Hold


def service_error(code: str, message: str = "", status: int = 400) -> Respond:
    """Make an answer in the shape of an AWS JSON error.

    Args:
        code: The error code, such as ``"ThrottlingException"``.
        message: The error message.
        status: The HTTP status.

    Returns:
        The fault which gives this answer.
    """
    return Respond(status, json.dumps({"__type": code, "message": message}).encode())


EMPTY_200 = Respond(200, b"")
HTML_200 = Respond(200, b"<html><body>Please sign in</body></html>", "text/html")
HTML_503 = Respond(503, b"<html><body>Service Unavailable</body></html>", "text/html")
INTERNAL_500 = service_error("InternalServiceError", "An error occurred on the server side.", 500)


@dataclass(frozen=True)
class RecordedRequest:
    """One request which the proxy has fully read.

    Attributes:
        operation: The operation's name, such as ``"GetSecretValue"``; None when absent.
        secret_id: The ``SecretId`` of the body; None when absent.
        region: The region the request was signed for; None when it was not signed.
        body: The JSON body; empty when it is not a JSON object.
        at: When the request was read, on the monotonic clock.
    """

    operation: str | None
    secret_id: str | None
    region: str | None
    body: dict[str, Any]
    at: float


@dataclass(frozen=True)
class _Message:
    """An HTTP request or response: everything up to the blank line, and the rest."""

    head: bytes
    body: bytes


@dataclass(frozen=True)
class _Call:
    """A request with the fault in force when it was read; the gate opens when that fault is over."""

    client: socket.socket
    request: _Message
    fault: Fault | None
    gate: threading.Event


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _receive(sock: socket.socket) -> bytes:
    data = sock.recv(_CHUNK)
    if not data:
        raise ConnectionAbortedError("the peer closed the connection too early")
    return data


def _read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while _HEAD_END not in data:
        if len(data) > _MAX_HEAD:
            raise ConnectionAbortedError("the head is too long")
        data += _receive(sock)
    head, _, rest = data.partition(_HEAD_END)
    return head + _HEAD_END, rest


def _read_exactly(sock: socket.socket, length: int, body: bytes) -> bytes:
    while len(body) < length:
        body += _receive(sock)
    return body[:length]


def _read_to_end(sock: socket.socket, body: bytes) -> bytes:
    while data := sock.recv(_CHUNK):
        body += data
    return body


def _read_request(sock: socket.socket) -> _Message:
    head, rest = _read_head(sock)
    length = int(_headers(head).get("content-length", 0))
    return _Message(head, _read_exactly(sock, length, rest))


def _read_response(sock: socket.socket) -> _Message:
    head, rest = _read_head(sock)
    length = _headers(head).get("content-length")
    # moto closes some 10 ms after its last byte, so the end of the stream is awaited only where nothing else tells it.
    body = _read_to_end(sock, rest) if length is None else _read_exactly(sock, int(length), rest)
    return _Message(head, body)


def _closing(message: _Message) -> _Message:
    """Make the message say that its connection serves one request only."""
    lines = message.head[: -len(_HEAD_END)].split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith((b"connection:", b"keep-alive:"))]
    return _Message(b"\r\n".join([*kept, b"Connection: close", b"", b""]), message.body)


def _canned(fault: Respond) -> bytes:
    known = {status.value: status.phrase for status in HTTPStatus}
    lines = [
        f"HTTP/1.1 {fault.status} {known.get(fault.status, 'Unknown')}",
        f"Content-Type: {fault.content_type}",
        f"Content-Length: {len(fault.body)}",
        *(f"{name}: {value}" for name, value in fault.headers),
        "Connection: close",
    ]
    return "\r\n".join(lines).encode("latin-1") + _HEAD_END + fault.body


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _recorded(request: _Message) -> RecordedRequest:
    headers = _headers(request.head)
    body = _json_object(request.body)
    scope = _SCOPE.search(headers.get("authorization", ""))
    return RecordedRequest(
        operation=headers.get("x-amz-target", "").rpartition(".")[2] or None,
        secret_id=body.get("SecretId"),
        region=scope[1] if scope else None,
        body=body,
        at=time.monotonic(),
    )


def _reset_on_close(sock: socket.socket) -> None:
    # The peer may have gone already, which some systems report as an error.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _bound_socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((_HOST, port))
    except OSError:
        sock.close()
        raise
    sock.settimeout(0)
    return sock


def _drip(call: _Call, answer: bytes, interval: float) -> None:
    for byte in answer:
        if call.gate.wait(interval):
            raise ConnectionAbortedError("the fault is over")
        call.client.sendall(bytes([byte]))


class FaultProxy:
    """A faultable endpoint for one region, in front of an HTTP server.

    It listens on a port of 127.0.0.1 which the system chooses. Each connection serves one request. A request meets
    the fault in force at the moment it has been fully read, whatever was in force when it connected. All methods may
    be called from any thread.

    Args:
        upstream: The host and port of the server to which requests are forwarded.
    """

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._changed = threading.Condition()
        self._fault: Fault | None = None
        self._gate = threading.Event()
        self._requests: list[RecordedRequest] = []
        self._connections = 0
        self._sockets: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._acceptor: threading.Thread | None = None
        self._port: int | None = None
        self._listening = False
        self._closed = False

    def __enter__(self) -> "Self":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Bind a port and accept connections.

        Raises:
            RuntimeError: If the proxy was started or closed before.
        """
        with self._changed:
            if self._closed or self._port is not None:
                raise RuntimeError("a FaultProxy starts once: make a new one")
            self._open_sockets()
            self._acceptor = threading.Thread(
                target=self._accept_loop, name=f"fault-proxy-{self._port}-accept", daemon=True
            )
            self._acceptor.start()

    def close(self) -> None:
        """Reset every open connection, end every thread and give the port back; closing again does nothing."""
        with self._changed:
            acceptor, was_closed = self._acceptor, self._closed
            self._closed = True
            self._gate.set()
        if acceptor is None or was_closed:
            return
        self._wake.send(b"\0")
        acceptor.join(_JOIN_SECONDS)
        self._end_connections()
        for owned in (self._selector, self._socket, self._wake, self._woken):
            owned.close()

    @property
    def port(self) -> int:
        """The port; it stays the same from the start to the end.

        Raises:
            RuntimeError: If the proxy was not started.
        """
        if self._port is None:
            raise RuntimeError("the FaultProxy has no port before start()")
        return self._port

    @property
    def address(self) -> tuple[str, int]:
        """The host and port."""
        return _HOST, self.port

    @property
    def url(self) -> str:
        """The endpoint URL for a client."""
        return f"http://{_HOST}:{self.port}"

    @property
    def fault(self) -> Fault | None:
        """The fault in force; None while requests pass through."""
        return self._fault

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The requests fully read so far, oldest first, whatever became of them."""
        with self._changed:
            return tuple(self._requests)

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return self._connections

    def set_fault(self, fault: Fault | None) -> None:
        """Put a fault in force, and end the one before for the requests which it still keeps.

        Those under Silent and Drip are reset; those under Delay and Hold are forwarded.

        Args:
            fault: The fault for requests read from now on; None lets them pass.
        """
        with self._changed:
            self._fault = fault
            self._open_gate()
            if self._port is not None and not self._closed:
                self._listen_or_refuse()

    def heal(self) -> None:
        """End the fault in force: the same as ``set_fault(None)``."""
        self.set_fault(None)

    def release(self) -> None:
        """Forward the requests which Hold has kept so far; it stays in force for those to come."""
        with self._changed:
            if isinstance(self._fault, Hold):
                self._open_gate()

    def wait_for_requests(self, n: int, timeout: float = 10.0) -> None:
        """Block until at least ``n`` requests were fully read since the last ``clear()``.

        Args:
            n: How many requests to wait for.
            timeout: How many seconds to wait at most.

        Raises:
            TimeoutError: If fewer were read in that time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= n, timeout):
                raise TimeoutError(f"{len(self._requests)} of {n} requests were read in {timeout} s")

    def clear(self) -> None:
        """Forget the recorded requests."""
        with self._changed:
            self._requests.clear()

    def _open_sockets(self) -> None:
        self._socket = _bound_socket(0)
        self._port = int(self._socket.getsockname()[1])
        self._woken, self._wake = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._listen_or_refuse()

    def _listen_or_refuse(self) -> None:
        refuse = isinstance(self._fault, Refuse)
        if refuse and self._listening:
            self._stop_listening()
        elif not refuse and not self._listening:
            self._socket.listen(_BACKLOG)
            self._selector.register(self._socket, selectors.EVENT_READ)
        self._listening = not refuse

    def _stop_listening(self) -> None:
        self._selector.unregister(self._socket)
        self._socket.close()
        self._socket = _bound_socket(self.port)

    def _open_gate(self) -> None:
        self._gate.set()
        self._gate = threading.Event()
        if self._closed:
            self._gate.set()

    def _accept_loop(self) -> None:
        while not self._closed:
            self._selector.select()
            self._accept()

    def _accept(self) -> None:
        with self._changed:
            if self._closed or not self._listening:
                return
            # The client may have gone between the selection and now.
            with contextlib.suppress(OSError):
                client, _ = self._socket.accept()
                self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        client.settimeout(None)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections += 1
        name = f"fault-proxy-{self._port}-connection-{self._connections}"
        thread = threading.Thread(target=self._serve, args=(client,), name=name, daemon=True)
        self._sockets.add(client)
        self._threads.add(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            self._converse(client)
        except (OSError, ValueError):
            _reset_on_close(client)
        finally:
            self._drop(client)
            with self._changed:
                self._threads.discard(threading.current_thread())

    def _converse(self, client: socket.socket) -> None:
        request = _read_request(client)
        with self._changed:
            self._requests.append(_recorded(request))
            call = _Call(client, request, self._fault, self._gate)
            self._changed.notify_all()
        self._answer(call)

    def _answer(self, call: _Call) -> None:
        match call.fault:
            case None:
                self._forward(call)
            case Respond():
                call.client.sendall(_canned(call.fault))
            case Delay(seconds):
                call.gate.wait(seconds)
                self._forward(call)
            case Hold():
                call.gate.wait()
                self._forward(call)
            case Drip(seconds_per_byte):
                answer = self._ask_upstream(call.request)
                _drip(call, answer.head + answer.body, seconds_per_byte)
            case ResetMidway():
                answer = self._ask_upstream(call.request)
                call.client.sendall(answer.head + answer.body[: len(answer.body) // 2])
                raise ConnectionAbortedError("reset midway")
            case Silent():
                call.gate.wait()
                raise ConnectionAbortedError("the fault is over")
            case Reset() | Refuse():
                raise ConnectionAbortedError("reset")

    def _forward(self, call: _Call) -> None:
        answer = self._ask_upstream(call.request)
        call.client.sendall(answer.head + answer.body)

    def _ask_upstream(self, request: _Message) -> _Message:
        upstream = socket.create_connection(self._upstream, timeout=_CONNECT_SECONDS)
        try:
            upstream.settimeout(None)
            self._keep(upstream)
            outgoing = _closing(request)
            upstream.sendall(outgoing.head + outgoing.body)
            return _closing(_read_response(upstream))
        finally:
            self._drop(upstream)

    def _keep(self, sock: socket.socket) -> None:
        with self._changed:
            if self._closed:
                raise ConnectionAbortedError("the proxy is closed")
            self._sockets.add(sock)

    def _drop(self, sock: socket.socket) -> None:
        # Under the lock, so that _shut_down never meets the number of a descriptor which has been given to another.
        with self._changed:
            self._sockets.discard(sock)
            sock.close()

    def _end_connections(self) -> None:
        # Ending the reading side first wakes a reader without sending a FIN, so that the client gets the reset alone.
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self._shut_down(how)
            self._join_connections(time.monotonic() + _JOIN_SECONDS)

    def _shut_down(self, how: int) -> None:
        with self._changed:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(how)

    def _join_connections(self, deadline: float) -> None:
        with self._changed:
            threads = tuple(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
