"""The HTTP exchange below botocore: how much of an answer is read, for how long, and over which connections.

botocore reads a body to its end whatever its size, its read timeout starts anew with every packet, and it blames the
host for a pooled connection that a NAT gateway or a proxy dropped while it was idle. Imports botocore.
"""

from __future__ import annotations

import contextlib
import functools
import io
import socket
import threading
import time
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.exceptions import ConnectionClosedError, HTTPClientError, ReadTimeoutError, SSLError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST_ANSWER", "REUSED_SECONDS", "WHOLE_SECONDS", "AnswerTooLongError", "guard"]

LONGEST_ANSWER = 8 * 1024 * 1024
"""Bytes, headers included. A batch is 20 secrets of 64 KiB, each byte of which JSON may write as six (`\\u0001`): 7.5
MiB, and the rest for ARNs and stages. Base64 needs less."""
WHOLE_SECONDS = 2.5
"""The time for a whole answer. As the attempt's cap: after that its region has failed, and nobody wants the rest."""
REUSED_SECONDS = 0.5
"""Silence on a pooled connection after which a new one is tried; the hedging delay, so that no reader waits longer."""
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""The system's own default of two hours is longer than any NAT gateway waits (AWS's: 350 s)."""


class AnswerTooLongError(HTTPClientError):  # type: ignore[misc,unused-ignore]
    """The answer is longer than any answer of the service."""

    fmt = "more than {limit} bytes came from {endpoint_url}, which no answer of Secrets Manager has"


class AnswerTooSlowError(ReadTimeoutError):  # type: ignore[misc,unused-ignore]
    """The answer came in pieces and was not whole in time."""

    fmt = "no whole answer within {seconds} s from {endpoint_url}"


class _StoppedError(OSError):
    """Reading was ended by us."""


class _Exchange(threading.local):
    """The request that this thread is sending, and what came back of it so far."""

    deadline = float("inf")
    received = 0
    reused = False
    """Whether it went out on a connection that was used before."""
    stopped: type[HTTPClientError] | None = None
    """Why reading was ended by us, if it was."""

    def begin(self, deadline: float) -> None:
        self.deadline, self.received, self.reused, self.stopped = deadline, 0, False, None


class _Guard:
    """What one client's connections share."""

    def __init__(self, is_closed: Callable[[], bool]) -> None:
        self.is_closed = is_closed
        self.exchange = _Exchange()
        self.distrusted_at = float("-inf")
        """Connections that were idle then are not used again."""
        self.slow = False
        """Whether the last answer took so long that silence says nothing of the connection."""

    def patience(self, usual: float | None) -> float:
        """Seconds to wait for the next bytes of an answer.

        Raises:
            OSError: no more is to be read.
        """
        exchange, left = self.exchange, self.exchange.deadline - time.monotonic()
        if exchange.received > LONGEST_ANSWER:
            exchange.stopped = AnswerTooLongError
        elif left <= 0 or self.is_closed():
            exchange.stopped = AnswerTooSlowError
        if exchange.stopped is not None:
            raise _StoppedError
        first = REUSED_SECONDS if exchange.reused and not exchange.received and not self.slow else left
        return min(first, left) if usual is None else min(first, left, usual)


class _Metered(io.RawIOBase):
    """The socket of a response: counts what comes, headers and chunk sizes included, and stops when it is enough."""

    def __init__(self, raw: Any, sock: Any, guard: _Guard) -> None:
        super().__init__()
        self._raw, self._sock, self._guard = raw, sock, guard
        self._usual = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._sock.settimeout(self._guard.patience(self._usual))
        count = self._raw.readinto(buffer)
        self._guard.exchange.received += count or 0
        return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.close()


class _Response(HTTPResponse):
    def __init__(self, sock: Any, *arguments: Any, guard: _Guard, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp: Any = io.BufferedReader(_Metered(self.fp.detach(), sock, guard))


def _keep_alive(sock: Any) -> None:
    """Sets the pace of keep-alive where it is on; a client_config may turn it off."""
    with contextlib.suppress(OSError, AttributeError):
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
            for name, value in _KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _Guarded:
    """A connection whose answers are metered."""

    response_class: Any
    sock: Any
    idle_since: float

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        _keep_alive(self.sock)


class _HttpConnection(_Guarded, AWSHTTPConnection):  # type: ignore[misc,unused-ignore]
    pass


class _HttpsConnection(_Guarded, AWSHTTPSConnection):  # type: ignore[misc,unused-ignore]
    pass


class _GuardedPool:
    """A pool that tells which of its connections are reused, and leaves those that are not trusted any more."""

    guard: _Guard

    def __init__(self, *arguments: Any, guard: _Guard, **options: Any) -> None:
        self.guard = guard
        super().__init__(*arguments, **options)

    def _new_conn(self) -> Any:
        made = super()._new_conn()  # type: ignore[misc]
        # Both: what is made anew on a connection that was closed, and what is made for each request.
        made.response_class = made._original_response_cls = functools.partial(_Response, guard=self.guard)  # noqa: SLF001
        return made

    def _get_conn(self, timeout: float | None = None) -> Any:
        taken = super()._get_conn(timeout)  # type: ignore[misc]
        if taken.sock is not None and taken.idle_since <= self.guard.distrusted_at:
            taken.close()  # it opens a new socket when it is used
        self.guard.exchange.reused = taken.sock is not None
        return taken

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = time.monotonic()
        super()._put_conn(conn)  # type: ignore[misc]


class _HttpPool(_GuardedPool, AWSHTTPConnectionPool):  # type: ignore[misc,unused-ignore]
    ConnectionCls = _HttpConnection


class _HttpsPool(_GuardedPool, AWSHTTPSConnectionPool):  # type: ignore[misc,unused-ignore]
    ConnectionCls = _HttpsConnection


class _Session:
    """botocore's HTTP session, with a second try where the first met a connection that had died in the pool."""

    def __init__(self, session: Any, guard: _Guard) -> None:
        self._session, self._guard = session, guard

    def send(self, request: Any) -> Any:
        """One request, twice where the first was lost with a pooled connection: all that we ask are reads."""
        deadline = time.monotonic() + WHOLE_SECONDS
        try:
            return self._send(request, deadline)
        except (ConnectionClosedError, ReadTimeoutError, SSLError):
            exchange = self._guard.exchange
            if exchange.received or not exchange.reused or self._guard.is_closed():
                raise
        request.reset_stream()
        return self._send(request, deadline)

    def _send(self, request: Any, deadline: float) -> Any:
        exchange, began = self._guard.exchange, time.monotonic()
        exchange.begin(deadline)
        try:
            answer = self._session.send(request)
        except HTTPClientError:
            if exchange.received and time.monotonic() >= deadline:
                exchange.stopped = exchange.stopped or AnswerTooSlowError
            if not exchange.received:  # its neighbours in the pool have waited as long, and may be as dead
                self._guard.distrusted_at = time.monotonic()
            if exchange.stopped is not None:
                told: Any = {"endpoint_url": request.url, "limit": LONGEST_ANSWER, "seconds": WHOLE_SECONDS}
                raise exchange.stopped(**told) from None
            raise
        self._guard.slow = time.monotonic() - began > REUSED_SECONDS
        return answer

    def close(self) -> None:
        """Closes idle connections."""
        self._session.close()


def guard(client: Any, is_closed: Callable[[], bool]) -> object:
    """Bounds what a client reads, and has it step over dead connections. Changes nothing of a client of another make.

    Args:
        client: a botocore client.
        is_closed: whether nobody waits for its answers any more.

    Returns:
        By what it checks certificates: the path of a CA bundle, True for botocore's own, None if that is not known.
    """
    endpoint = getattr(client, "_endpoint", None)
    session = getattr(endpoint, "http_session", None)
    classes = getattr(session, "_pool_classes_by_scheme", None)  # its managers, proxies' included, look here
    if endpoint is None or not isinstance(classes, dict):
        return None
    shared = _Guard(is_closed)
    classes["http"] = functools.partial(_HttpPool, guard=shared)
    classes["https"] = functools.partial(_HttpsPool, guard=shared)
    endpoint.http_session = _Session(session, shared)
    return getattr(session, "_verify", None)
