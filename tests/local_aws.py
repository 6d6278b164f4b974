"""AWS on this machine's own sockets: Secrets Manager, STS and a container's credentials, plain or TLS; and a proxy."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support import PATIENCE, arn

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Asked", "Authority", "ForwardProxy", "LocalAws", "Said"]

_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")
_ROLE = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser>
<Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""


class Asked(NamedTuple):
    """One request, and what its signature says."""

    operation: str
    host: str
    region: str
    key: str


class Said(NamedTuple):
    """An answer as it goes over the wire."""

    status: int = 200
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()


_Answers: TypeAlias = Callable[[Asked], "Said | None"]


@dataclass
class LocalAws:
    """One local port that answers as Secrets Manager and STS, by the region of the signature, and with credentials."""

    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    says: _Answers = lambda _: None
    """What the test has it say instead."""
    container_key: str = "CONTAINER"

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._connections = 0
        self._server = _Http(self)
        if self.tls:
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        _serve(self._server)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def of(self, operation: str) -> list[Asked]:
        return [one for one in self.asked if one.operation == operation]

    def until_connections(self, number: int) -> None:
        """Returns when so many connections are open."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._connections == number, PATIENCE), self._connections

    def count(self, change: int) -> None:
        with self._changed:
            self._connections += change
            self._changed.notify_all()

    def answer(self, asked: Asked, body: str) -> Said:
        self.asked.append(asked)
        return self.says(asked) or self._plain(asked, body)

    def _plain(self, asked: Asked, body: str) -> Said:
        if asked.operation == "AssumeRole":
            return Said(200, _ROLE.format(key=f"ROLE-{asked.region}"))
        if asked.operation == "credentials":
            words = {"AccessKeyId": self.container_key, "SecretAccessKey": "s", "Token": "t"}
            return Said(200, json.dumps({**words, "Expiration": "2099-01-01T00:00:00Z"}))
        name = json.loads(body)["SecretId"]
        told = {"ARN": arn(asked.region, name), "Name": name, "VersionId": "v" * 32, "SecretString": asked.key}
        return Said(200, json.dumps({**told, "VersionStages": ["AWSCURRENT"]}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._server)


class _Http(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False

    def __init__(self, aws: LocalAws) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.aws = aws

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust the certificate, or has gone, is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.server.aws.count(+1)
        try:
            super().handle()
        finally:
            self.server.aws.count(-1)

    def do_GET(self) -> None:
        self._say(self.server.aws.answer(Asked("credentials", self._host(), "", ""), ""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        key, region, service = self._scope()
        target = self.headers.get("X-Amz-Target", "").partition(".")[2]
        operation = parse_qs(body)["Action"][0] if service == "sts" else target
        self._say(self.server.aws.answer(Asked(operation, self._host(), region, key), body))

    def _host(self) -> str:
        return str(self.headers["Host"]).partition(":")[0]

    def _scope(self) -> tuple[str, str, str]:
        found = _SCOPE.search(self.headers.get("Authorization", ""))
        assert found, "a request that is not signed"
        key, region, service = found.groups()
        return key, region, service

    def _say(self, said: Said) -> None:
        body = said.body.encode()
        # A header of its own replaces the server's.
        (self.send_response_only if "Date" in dict(said.headers) else self.send_response)(said.status)
        for name, text in (*said.headers, ("Content-Length", str(len(body)))):
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class ForwardProxy:
    """An HTTP proxy that tells which hosts it was asked for, and takes every host for one local port."""

    def __init__(self, upstream: int) -> None:
        self.hosts: list[str] = []
        self.refuses: dict[str, int] = {}
        """The status with which a host is refused."""
        self.upstream = upstream
        self._server = _Proxy(("127.0.0.1", 0), _Tunnel)
        self._server.proxy = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        _serve(self._server)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._server)


class _Proxy(ThreadingTCPServer):
    daemon_threads, block_on_close = True, False
    proxy: ForwardProxy


class _Tunnel(BaseRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self._handle(self.request, self.server.proxy)

    def _handle(self, client: socket.socket, proxy: ForwardProxy) -> None:
        head = self._head(client)
        if not head:
            return
        method, where = head.decode("latin-1").split(" ")[:2]
        host = re.sub(r"^http://|[:/].*", "", where)
        proxy.hosts.append(host)
        if host in proxy.refuses:
            client.sendall(f"HTTP/1.1 {proxy.refuses[host]} No\r\nContent-Length: 13\r\n\r\n<html></html>".encode())
            return
        with socket.create_connection(("127.0.0.1", proxy.upstream), PATIENCE) as upstream:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(head)
            threading.Thread(target=_pump, args=(client, upstream), daemon=True).start()
            _pump(upstream, client)

    def _head(self, client: socket.socket) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            part = client.recv(65536)
            if not part:
                return b""
            head += part
        return head


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)


def _serve(server: Any) -> None:
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()


def _end(server: Any) -> None:
    server.shutdown()
    server.server_close()


class Authority:
    """A certificate authority that nobody knows, and servers' certificates from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("a test's own authority")
        made = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.bundle = folder / "ca.pem"
        self.bundle.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self, *hosts: str) -> ssl.SSLContext:
        """What a server of those hosts needs, `*.` allowed."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
        made = self._builder(_name("a test's server"), key).add_extension(names, critical=False)
        held = self._folder / "server.pem"
        held.write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(held)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
