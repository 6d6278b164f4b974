"""The proxy's faults that act before a request is read, over real sockets."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from certificates import self_signed
from secretcache._demo.faults import Babble, Fault, Refuse, ResetOnAccept, Respond, Tls, Unanswered
from secretcache._demo.proxy import FaultProxy

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse where Linux keeps silent")


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """A proxy whose upstream says "here"."""
    with FaultProxy(("127.0.0.1", 1)) as upstream, FaultProxy(upstream.address) as made:
        upstream.set_fault(Respond(200, b"here"))
        yield made
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(f"fault-proxy-{made.port}-")]


def read(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def ask(proxy: FaultProxy) -> bytes:
    with socket.create_connection(proxy.address, timeout=10) as sock:
        sock.sendall(REQUEST)
        return read(sock)


def connect_slowly(proxy: FaultProxy) -> None:
    socket.create_connection(proxy.address, timeout=0.2).close()


@on_linux
def test_nobody_answers_a_syn(proxy: FaultProxy) -> None:
    proxy.set_fault(Unanswered())
    for _ in range(3):  # those who gave up leave no place behind
        with pytest.raises(TimeoutError):
            connect_slowly(proxy)
    proxy.heal()
    assert ask(proxy).endswith(b"here")
    assert len(proxy.requests) == 1


@on_linux
@pytest.mark.parametrize("other", [Refuse(), Unanswered(), ResetOnAccept()])
def test_unanswered_before_and_after_other_faults(proxy: FaultProxy, other: Fault) -> None:
    port = proxy.port
    for fault in (other, Unanswered(), other, Unanswered()):
        proxy.set_fault(fault)
    with pytest.raises(TimeoutError):
        connect_slowly(proxy)
    proxy.heal()
    assert (ask(proxy)[-4:], proxy.port) == (b"here", port)


def test_unanswered_keeps_the_port(proxy: FaultProxy) -> None:
    proxy.set_fault(Unanswered())
    with socket.socket() as other, pytest.raises(OSError) as caught:
        other.bind(proxy.address)
    assert caught.value.errno == errno.EADDRINUSE


def test_unanswered_ends_with_the_proxy(proxy: FaultProxy) -> None:
    proxy.set_fault(Unanswered())
    proxy.close()
    with pytest.raises(ConnectionRefusedError):
        connect_slowly(proxy)


def test_reset_on_accept_reads_nothing(proxy: FaultProxy) -> None:
    proxy.set_fault(ResetOnAccept())
    with socket.create_connection(proxy.address, timeout=10) as sock, pytest.raises(ConnectionResetError):
        read(sock)
    assert proxy.requests == ()
    proxy.heal()
    assert ask(proxy).endswith(b"here")


def test_babble_speaks_first(proxy: FaultProxy) -> None:
    proxy.set_fault(Babble(b"220 mail.example ESMTP\r\n"))
    with socket.create_connection(proxy.address, timeout=10) as sock:
        assert read(sock) == b"220 mail.example ESMTP\r\n"
    assert proxy.requests == ()


def encrypted(proxy: FaultProxy, trusted: str | None) -> bytes:
    context = ssl.create_default_context(cadata=trusted)
    with (
        socket.create_connection(proxy.address, timeout=10) as sock,
        context.wrap_socket(sock, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(REQUEST)
        return read(secure)


def test_tls_with_a_certificate_that_is_trusted_or_not(proxy: FaultProxy) -> None:
    context, certificate = self_signed()
    proxy.set_fault(Tls(context))
    assert encrypted(proxy, certificate).endswith(b"here")
    with pytest.raises(ssl.SSLCertVerificationError):
        encrypted(proxy, None)
    assert len(proxy.requests) == 1


def test_close_ends_a_handshake_that_hangs(proxy: FaultProxy) -> None:
    proxy.set_fault(Tls(self_signed()[0]))
    with socket.create_connection(proxy.address, timeout=10) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00")  # a record that promises 512 bytes
        deadline = time.monotonic() + 10
        while not proxy.connections:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        proxy.close()
        with contextlib.suppress(ConnectionError):
            assert read(sock)[:1] in (b"", b"\x15")  # nothing, or an alert; the fixture finds no thread left
