"""The faults of the matrix, and the endpoints on which they are made: all over real sockets of this machine.

While it is healthy a faulty region answers by the same road that fails later: by a name, or over TLS. So its client is
made and used before the fault is there.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest import mock

from certificates import self_signed
from secretcache._demo import faults
from secretcache._demo.proxy import FaultProxy
from secretcache._transport import Fault

if TYPE_CHECKING:
    from botocore.session import Session

    from secretcache._demo.embedded import EmbeddedSecretsManager

__all__ = ["KINDS", "Endpoint", "Kind", "Resolver", "Site"]


@dataclass(frozen=True)
class Kind:
    """One way to fail."""

    name: str
    meaning: Fault
    """The class that the decision table puts it in."""
    proxy: faults.Fault | None = None
    road: str = "plain"
    """How its endpoint is reached: "plain", by a "name" that is looked up, or over "tls"."""
    silent: bool = False
    """Whether there is nothing to be seen of it for a second or more."""


def _says(name: str, meaning: Fault, code: str, message: str) -> Kind:
    return Kind(name, meaning, faults.service_error(code, message))


_UNTRUSTED = "TLS, untrusted"

KINDS = (
    Kind("silent after accept", Fault.REGION, faults.Silent(), silent=True),
    Kind("no SYN answer", Fault.REGION, faults.Unanswered(), silent=True),
    Kind("1 byte/s", Fault.REGION, faults.Drip(1.0), silent=True),
    Kind("DNS hangs", Fault.REGION, road="name", silent=True),
    Kind("DNS failure", Fault.REGION, road="name"),
    Kind("refused", Fault.REGION, faults.Refuse()),
    Kind("reset on accept", Fault.REGION, faults.ResetOnAccept()),
    Kind("reset after request", Fault.REGION, faults.Reset()),
    Kind("reset midway", Fault.REGION, faults.ResetMidway()),
    Kind("TLS, garbage", Fault.REGION, faults.Babble(b"220 mail.example ESMTP\r\n"), "tls"),
    Kind(_UNTRUSTED, Fault.REGION, road="tls"),
    Kind("500 InternalService", Fault.REGION, faults.INTERNAL_500),
    Kind("503 HTML", Fault.REGION, faults.HTML_503),
    Kind("403 {}", Fault.REGION, faults.Respond(403, b"{}")),
    Kind("empty 200", Fault.REGION, faults.EMPTY_200),
    Kind("HTML 200", Fault.REGION, faults.HTML_200),
    _says("throttled", Fault.THROTTLED, "ThrottlingException", "Rate exceeded"),
    _says("denied", Fault.DENIED, "AccessDeniedException", "not authorized to perform secretsmanager:GetSecretValue"),
    _says("KMS denied", Fault.DENIED, "AccessDeniedException", "Access to KMS is not allowed"),
    _says("KMS decryption", Fault.DENIED, "DecryptionFailure", "can't decrypt the protected secret text"),
    _says("expired token", Fault.IDENTITY, "ExpiredTokenException", "The security token is expired"),
    _says("not found", Fault.MISSING, "ResourceNotFoundException", "can't find the specified secret"),
)


class Resolver:
    """Stands before the system's resolver, for names that end in `.invalid` alone."""

    def __init__(self) -> None:
        self._system = socket.getaddrinfo
        self._failing: dict[str, threading.Event | None] = {}

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        with mock.patch.object(socket, "getaddrinfo", self._look_up):
            yield

    def fail(self, host: str) -> None:
        """From now on nobody knows this name."""
        self._failing[host] = None

    def hang(self, host: str) -> Callable[[], None]:
        """From now on looking this name up takes until the function that is returned is called."""
        over = self._failing[host] = threading.Event()
        return over.set

    def _look_up(self, host: Any, *arguments: Any, **options: Any) -> Any:
        if not str(host).endswith(".invalid"):
            return self._system(host, *arguments, **options)
        if host in self._failing:
            over = self._failing[host]
            if over is not None:
                over.wait()
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._system("127.0.0.1", *arguments, **options)


class _OneAtATime:
    """A session that several cells make their clients from."""

    def __init__(self, session: Session, lock: threading.Lock) -> None:
        self._session, self._lock = session, lock

    def create_client(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            return self._session.create_client(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class Site:
    """What the cells share: one Secrets Manager, one resolver, one certificate that is trusted and one that is not."""

    def __init__(self, manager: EmbeddedSecretsManager, directory: Path) -> None:
        self.manager = manager
        self.resolver = Resolver()
        host, port = manager.admin().meta.endpoint_url.removeprefix("http://").split(":")
        self.upstream = host, int(port)
        self._trusted, certificate = self_signed()
        self._untrusted, _ = self_signed()
        self._bundle = directory / "trusted.pem"
        self._bundle.write_text(certificate)
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    @classmethod
    @contextlib.contextmanager
    def opened(cls, manager: EmbeddedSecretsManager) -> Iterator[Site]:
        with TemporaryDirectory() as directory:
            site = cls(manager, Path(directory))
            with site.resolver.installed():
                yield site

    def session(self, region: str) -> Any:
        """A session for one cell. What is behind it is shared: to read the service's model for each takes 100 ms."""
        with self._lock:
            if region not in self._sessions:
                self._sessions[region] = self._new_session(region)
        return _OneAtATime(self._sessions[region], self._lock)

    def _new_session(self, region: str) -> Session:
        session = self.manager.session(region)
        session.set_config_variable("ca_bundle", str(self._bundle))
        return session

    def healthy(self, kind: Kind) -> faults.Fault | None:
        return faults.Tls(self._trusted) if kind.road == "tls" else None

    def faulty(self, kind: Kind) -> faults.Fault | None:
        return faults.Tls(self._untrusted) if kind.name == _UNTRUSTED else kind.proxy


class Endpoint:
    """One region's, healthy until it is told to fail in its way; None: it never does."""

    def __init__(self, site: Site, kind: Kind | None) -> None:
        self._site, self._kind = site, kind
        self._over: Callable[[], None] | None = None
        self.proxy = FaultProxy(site.upstream)
        if kind is not None:
            self.proxy.set_fault(site.healthy(kind))
        self.proxy.start()

    @property
    def url(self) -> str:
        road, port = self._kind.road if self._kind else "plain", self.proxy.port
        return {
            "plain": self.proxy.url,
            "name": f"http://{self._name}:{port}",
            "tls": f"https://127.0.0.1:{port}",
        }[road]

    @property
    def _name(self) -> str:
        return f"at-{self.proxy.port}.invalid"

    def fail(self) -> None:
        if self._kind is None:
            return
        if self._kind.road == "name":
            self._fail_by_name(self._kind)
        else:
            self.proxy.set_fault(self._site.faulty(self._kind))

    def _fail_by_name(self, kind: Kind) -> None:
        if kind.silent:
            self._over = self._site.resolver.hang(self._name)
        else:
            self._site.resolver.fail(self._name)

    def close(self) -> None:
        if self._over is not None:
            self._over()
        self.proxy.close()
