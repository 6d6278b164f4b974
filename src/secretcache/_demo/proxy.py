"""A TCP endpoint for one region which passes HTTP requests on to a server, or fails in a chosen way."""

import contextlib
import selectors
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from secretcache._demo.faults import (
    Babble,
    Delay,
    Drip,
    Fault,
    Hold,
    Refuse,
    ResetMidway,
    ResetOnAccept,
    Respond,
    Silent,
    Tls,
    Unanswered,
)
from secretcache._demo.wire import (
    HOST,
    Exchange,
    Message,
    RecordedRequest,
    bound_socket,
    canned,
    closing,
    drip,
    fill_queue,
    read_request,
    read_response,
    recorded,
    reset_on_close,
)

if TYPE_CHECKING:
    from typing_extensions import Self

_BACKLOG = 128
_JOIN_SECONDS = 2.5
_CONNECT_SECONDS = 2.0


class FaultProxy:
    """A faultable endpoint for one region, in front of an HTTP server.

    It listens on a port of 127.0.0.1 which the system chooses. Each connection serves one request. A request meets
    the fault in force at the moment it has been fully read, whatever was in force when it connected, but for the
    faults that act before anything is read. All methods may be called from any thread.

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
        self._queued: list[socket.socket] = []
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
        for owned in (self._selector, self._socket, self._wake, self._woken, *self._queued):
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
        return HOST, self.port

    @property
    def url(self) -> str:
        """The endpoint URL for a client."""
        return f"http://{HOST}:{self.port}"

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
        self._socket = bound_socket(0)
        self._port = int(self._socket.getsockname()[1])
        self._woken, self._wake = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._listen_or_refuse()

    def _listen_or_refuse(self) -> None:
        listen, unanswered = not isinstance(self._fault, Refuse | Unanswered), isinstance(self._fault, Unanswered)
        if (self._listening and not listen) or (self._queued and not unanswered):
            self._stop_listening()
        if listen and not self._listening:
            self._socket.listen(_BACKLOG)
            self._selector.register(self._socket, selectors.EVENT_READ)
        if unanswered and not self._queued:
            self._queued = fill_queue(self._socket)
        self._listening = listen

    def _stop_listening(self) -> None:
        if self._listening:
            self._selector.unregister(self._socket)
        self._listening = False
        self._socket.close()
        while self._queued:
            self._queued.pop().close()
        self._socket = bound_socket(self.port)

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
            reset_on_close(client)
        finally:
            self._drop(client)
            with self._changed:
                self._threads.discard(threading.current_thread())

    def _converse(self, client: socket.socket) -> None:
        match self._fault:
            case ResetOnAccept():
                raise ConnectionAbortedError("reset on accept")
            case Babble(data):
                client.sendall(data)
            case Tls(context):
                self._encrypt(client, context)
            case _:
                self._take(client)

    def _encrypt(self, client: socket.socket, context: ssl.SSLContext) -> None:
        # The descriptor moves to the new socket before the handshake, so that close() can end one that hangs.
        encrypted = context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        try:
            self._keep(encrypted)
            encrypted.do_handshake()
            self._take(encrypted)
        finally:
            self._drop(encrypted)

    def _take(self, client: socket.socket) -> None:
        request = read_request(client)
        with self._changed:
            self._requests.append(recorded(request))
            call = Exchange(client, request, self._fault, self._gate)
            self._changed.notify_all()
        self._answer(call)

    def _answer(self, call: Exchange) -> None:
        match call.fault:
            case None | Tls():
                self._forward(call)
            case Respond():
                call.client.sendall(canned(call.fault))
            case Delay(seconds):
                call.gate.wait(seconds)
                self._forward(call)
            case Hold():
                call.gate.wait()
                self._forward(call)
            case Drip(seconds_per_byte):
                answer = self._ask_upstream(call.request)
                drip(call, answer.head + answer.body, seconds_per_byte)
            case ResetMidway():
                answer = self._ask_upstream(call.request)
                call.client.sendall(answer.head + answer.body[: len(answer.body) // 2])
                raise ConnectionAbortedError("reset midway")
            case Silent():
                call.gate.wait()
                raise ConnectionAbortedError("the fault is over")
            case _:  # Reset, and those which act earlier: they have come into force since
                raise ConnectionAbortedError("reset")

    def _forward(self, call: Exchange) -> None:
        answer = self._ask_upstream(call.request)
        call.client.sendall(answer.head + answer.body)

    def _ask_upstream(self, request: Message) -> Message:
        upstream = socket.create_connection(self._upstream, timeout=_CONNECT_SECONDS)
        try:
            upstream.settimeout(None)
            self._keep(upstream)
            outgoing = closing(request)
            upstream.sendall(outgoing.head + outgoing.body)
            return closing(read_response(upstream))
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
