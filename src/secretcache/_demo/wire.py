"""HTTP messages as the fault proxy reads and writes them, and what it records of them."""

import contextlib
import json
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from secretcache._demo.faults import Fault, Respond

_CHUNK = 65536
_MAX_HEAD = 65536
_QUEUE_SECONDS = 0.1
"""A connection on this machine that is not there by then is not coming."""
_HEAD_END = b"\r\n\r\n"
_SCOPE = re.compile(r"Credential=[^/,\s]+/\d+/([^/,\s]+)/")
HOST = "127.0.0.1"


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
class Message:
    """An HTTP request or response: everything up to the blank line, and the rest."""

    head: bytes
    body: bytes


@dataclass(frozen=True)
class Exchange:
    """A request with the fault in force when it was read; the gate opens when that fault is over."""

    client: socket.socket
    request: Message
    fault: Fault | None
    gate: threading.Event


def headers_of(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def receive(sock: socket.socket) -> bytes:
    data = sock.recv(_CHUNK)
    if not data:
        raise ConnectionAbortedError("the peer closed the connection too early")
    return data


def read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while _HEAD_END not in data:
        if len(data) > _MAX_HEAD:
            raise ConnectionAbortedError("the head is too long")
        data += receive(sock)
    head, _, rest = data.partition(_HEAD_END)
    return head + _HEAD_END, rest


def read_exactly(sock: socket.socket, length: int, body: bytes) -> bytes:
    while len(body) < length:
        body += receive(sock)
    return body[:length]


def read_to_end(sock: socket.socket, body: bytes) -> bytes:
    while data := sock.recv(_CHUNK):
        body += data
    return body


def read_request(sock: socket.socket) -> Message:
    head, rest = read_head(sock)
    length = int(headers_of(head).get("content-length", 0))
    return Message(head, read_exactly(sock, length, rest))


def read_response(sock: socket.socket) -> Message:
    head, rest = read_head(sock)
    length = headers_of(head).get("content-length")
    # moto closes some 10 ms after its last byte, so the end of the stream is awaited only where nothing else tells it.
    body = read_to_end(sock, rest) if length is None else read_exactly(sock, int(length), rest)
    return Message(head, body)


def closing(message: Message) -> Message:
    """Make the message say that its connection serves one request only."""
    lines = message.head[: -len(_HEAD_END)].split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith((b"connection:", b"keep-alive:"))]
    return Message(b"\r\n".join([*kept, b"Connection: close", b"", b""]), message.body)


def canned(fault: Respond) -> bytes:
    known = {status.value: status.phrase for status in HTTPStatus}
    lines = [
        f"HTTP/1.1 {fault.status} {known.get(fault.status, 'Unknown')}",
        f"Content-Type: {fault.content_type}",
        f"Content-Length: {len(fault.body)}",
        *(f"{name}: {value}" for name, value in fault.headers),
        "Connection: close",
    ]
    return "\r\n".join(lines).encode("latin-1") + _HEAD_END + fault.body


def json_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def recorded(request: Message) -> RecordedRequest:
    headers = headers_of(request.head)
    body = json_object(request.body)
    scope = _SCOPE.search(headers.get("authorization", ""))
    return RecordedRequest(
        operation=headers.get("x-amz-target", "").rpartition(".")[2] or None,
        secret_id=body.get("SecretId"),
        region=scope[1] if scope else None,
        body=body,
        at=time.monotonic(),
    )


def reset_on_close(sock: socket.socket) -> None:
    # The peer may have gone already, which some systems report as an error.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def bound_socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        raise
    sock.settimeout(0)
    return sock


def fill_queue(sock: socket.socket) -> list[socket.socket]:
    """Listen, and connect until nobody else can; returns the connections that fill the queue."""
    sock.listen(0)
    queued = []
    while True:
        queued.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        queued[-1].settimeout(_QUEUE_SECONDS)
        try:
            queued[-1].connect(sock.getsockname())
        except OSError:  # full: it would wait for its answer, and take the next place that falls free
            queued.pop().close()
            return queued


def drip(call: Exchange, answer: bytes, interval: float) -> None:
    for byte in answer:
        if call.gate.wait(interval):
            raise ConnectionAbortedError("the fault is over")
        call.client.sendall(bytes([byte]))
