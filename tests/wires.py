"""A server whose every connection does what the test says, byte by byte."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from support import OSAKA, PATIENCE, arn

__all__ = ["Wire", "answer", "serving"]

Script: TypeAlias = "Callable[[Wire], None]"


class Wire:
    """One connection, as its server sees it."""

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        """Counted from 1, in the order in which they were opened."""
        self.requests = 0
        self.sent = 0
        self.ended = threading.Event()
        """Set when the client is gone."""
        self._sock = sock

    def read(self) -> bool:
        """Reads one request; False if the client is gone."""
        head = b""
        while b"\r\n\r\n" not in head:
            part = self._sock.recv(65_536)
            if not part:
                return False
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while len(body) < int(length[1] if length else 0):
            body += self._sock.recv(65_536)
        self.requests += 1
        return True

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)
        self.sent += len(data)

    def wait_for_end(self) -> None:
        """Says nothing until the client hangs up."""
        with contextlib.suppress(OSError):
            while self._sock.recv(65_536):
                pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def answer(name: str = "x", value: str = "value") -> bytes:
    """A whole answer of Secrets Manager."""
    told = {"ARN": arn(OSAKA, name), "Name": name, "VersionId": "v" * 32, "SecretString": value}
    body = json.dumps({**told, "VersionStages": ["AWSCURRENT"]}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@contextmanager
def serving(script: Script) -> Iterator[tuple[str, list[Wire]]]:
    """A server: its URL, and its connections so far."""
    wires: list[Wire] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def serve(wire: Wire) -> None:
        try:
            with contextlib.suppress(OSError):
                script(wire)
        finally:
            wire.ended.set()
            wire.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                wires.append(Wire(len(wires) + 1, sock))
                threading.Thread(target=serve, args=(wires[-1],), daemon=True).start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", wires
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for wire in wires:
            wire.close()
        acceptor.join(PATIENCE)
