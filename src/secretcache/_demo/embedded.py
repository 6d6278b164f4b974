"""Moto's Secrets Manager in a thread of this process, with one faultable endpoint per region."""

import contextlib
import copy
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import botocore.loaders
import botocore.session
from botocore.config import Config

from secretcache._demo.proxy import FaultProxy

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer
    from typing_extensions import Self

_Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

_SERVICE = "secretsmanager"
_DUMMY = "testing"
_MISSING = 'the embedded Secrets Manager needs moto: pip install "secretcache[demo]"'
# Moto's state is shared by the whole process, so this lock is too.
_moto_lock = threading.Lock()


def _import_moto() -> "type[ThreadedMotoServer]":
    try:
        from moto.server import ThreadedMotoServer  # noqa: PLC0415  (slow)
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return ThreadedMotoServer


def _reset_moto() -> None:
    from moto.backends import get_backend  # noqa: PLC0415  (slow)

    with _moto_lock:
        for _, _, backend in list(get_backend("secretsmanager").iter_backends()):
            backend.reset()


def _replicas_in(region: str) -> "list[Any]":
    """Moto's replicas in a region: each shows what its source, the secret in the primary region, shows."""
    from moto.backends import get_backend  # noqa: PLC0415  (slow)

    backends: list[Any] = [backend for _, at, backend in get_backend("secretsmanager").iter_backends() if at == region]
    return [secret for backend in backends for secret in backend.secrets.values() if hasattr(secret, "source")]


def _as_it_is(source: Any) -> Any:
    """A copy of a moto secret that goes on showing what it shows now."""
    copied = copy.copy(source)
    copied.versions = copy.deepcopy(source.versions)
    return copied


def _one_at_a_time(application: _Application) -> _Application:
    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with _moto_lock:
            return application(environ, start_response)

    return call


def _say_nothing(*_: object) -> None:
    """Stand in for a method which writes to the log."""


def _adapt(moto: "ThreadedMotoServer") -> None:
    server: Any = moto._server  # noqa: SLF001  (moto shows it in no other way)
    # Moto changes its dictionaries while other threads iterate over them: a read beside a rotation gets a 500.
    server.app = _one_at_a_time(server.app)
    # Here rather than at werkzeug's logger, which belongs to the whole process.
    server.RequestHandlerClass = type("QuietHandler", (server.RequestHandlerClass,), {"log_request": _say_nothing})


def _stop_moto(moto: "ThreadedMotoServer") -> None:
    address = moto.get_host_and_port()
    stopper = threading.Thread(target=moto.stop, name="embedded-moto-stop", daemon=True)
    stopper.start()
    while stopper.is_alive():
        # A connection makes the server look at its stop flag at once, rather than within half a second.
        with contextlib.suppress(OSError):
            socket.create_connection(address, timeout=1).close()
        stopper.join(0.02)


def _isolated_session() -> botocore.session.Session:
    """Make a session whose variables come from no environment and no file."""
    variables = {
        name: (None, None, default, convert)
        for name, (_, _, default, convert) in botocore.session.Session.SESSION_VARIABLES.items()
    }
    for name in ("config_file", "credentials_file"):
        variables[name] = (None, None, os.devnull, None)
    return botocore.session.Session(session_vars=variables)


class EmbeddedSecretsManager:
    """A Secrets Manager for a primary region and its replicas, without an AWS account.

    Moto keeps its secrets per process, not per server: starting an instance forgets the secrets of every other one
    in the process, and two which run at once share theirs.

    Args:
        primary: The region in which secrets are created and rotated.
        replicas: The regions to which they are replicated.

    Attributes:
        endpoint_urls: The URL of each region's proxy; empty before the start.
        proxies: Each region's proxy; empty before the start.
    """

    def __init__(self, primary: str, replicas: Sequence[str]) -> None:
        self._primary = primary
        self._replicas = tuple(replicas)
        self._regions = (primary, *self._replicas)
        if len(set(self._regions)) != len(self._regions):
            raise ValueError(f"a region is named twice: {', '.join(self._regions)}")
        self.endpoint_urls: dict[str, str] = {}
        self.proxies: dict[str, FaultProxy] = {}
        self._moto: ThreadedMotoServer | None = None
        self._admins: dict[str, Any] = {}
        self._lock = threading.RLock()
        # Reading botocore's description of the service is most of what a client costs: once for all sessions.
        self._loader = botocore.loaders.create_loader()
        self._lagging: list[tuple[Any, Any]] = []

    def __enter__(self) -> "Self":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start moto with no secrets, and a proxy per region; the first start in a process imports moto.

        Raises:
            ImportError: If moto is not installed.
            RuntimeError: If it runs already.
        """
        server_class = _import_moto()
        if self._moto is not None:
            raise RuntimeError("the embedded Secrets Manager runs already")
        _reset_moto()
        self._moto = server_class(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        _adapt(self._moto)
        self._start_proxies(self._moto.get_host_and_port())

    def close(self) -> None:
        """Stop the proxies and moto; closing again does nothing."""
        for proxy in self.proxies.values():
            proxy.close()
        for admin in self._admins.values():
            admin.close()
        self._admins.clear()
        moto, self._moto = self._moto, None
        if moto is not None:
            _stop_moto(moto)

    def session(self, region: str) -> botocore.session.Session:
        """Make a session with dummy credentials, which heeds no environment variable and no AWS configuration file.

        Clients made from it go to the public AWS endpoint unless they are given one of ``endpoint_urls``.

        Args:
            region: The session's region.

        Returns:
            A new session.
        """
        session = _isolated_session()
        session.register_component("data_loader", self._loader)
        session.set_config_variable("region", region)
        session.set_credentials(_DUMMY, _DUMMY)
        # Otherwise HTTP_PROXY would apply to 127.0.0.1 too.
        session.set_default_client_config(Config(proxies={}))
        return session

    def admin(self, region: str | None = None) -> Any:
        """Give the client which goes directly to moto, whatever the region's fault.

        Args:
            region: The client's region; the primary by default.

        Returns:
            The botocore client, the same one at each call.
        """
        with self._lock:
            chosen = region or self._primary
            if chosen not in self._admins:
                self._admins[chosen] = self._new_admin(chosen)
            return self._admins[chosen]

    def create(self, name: str, value: str | bytes) -> str:
        """Create a secret in the primary region, with its replicas.

        Args:
            name: The secret's name.
            value: A string for a SecretString, or bytes for a SecretBinary.

        Returns:
            The ARN in the primary region.
        """
        kind = "SecretString" if isinstance(value, str) else "SecretBinary"
        request: dict[str, Any] = {"Name": name, kind: value}
        if self._replicas:
            request["AddReplicaRegions"] = [{"Region": region} for region in self._replicas]
        return str(self.admin().create_secret(**request)["ARN"])

    def rotate(self, name: str, value: str) -> str:
        """Put a new current value, and check that each replica shows it.

        Args:
            name: The secret's name or primary ARN.
            value: The new value.

        Returns:
            The new version's id.

        Raises:
            RuntimeError: If a replica does not show the new version as the current one.
        """
        # Another rotation in between would look like a replica which lags behind.
        with self._lock:
            answer = self.admin().put_secret_value(SecretId=name, SecretString=value)
            for region in self._replicas:
                self._check_replica(region, answer["Name"], answer["VersionId"])
            return str(answer["VersionId"])

    def lag(self, region: str) -> None:
        """Let a replica lag: it shows what it shows now until it catches up, whatever happens in the primary.

        Moto has no lag of its own. It holds for the secrets that are there already.

        Args:
            region: The replica's region.
        """
        with _moto_lock:
            for replica in _replicas_in(region):
                self._lagging.append((replica, replica.source))
                replica.source = _as_it_is(replica.source)

    def catch_up(self) -> None:
        """Let every replica that lags show what the primary shows, from now on."""
        with _moto_lock:
            while self._lagging:
                replica, source = self._lagging.pop()
                replica.source = source

    def _start_proxies(self, upstream: tuple[str, int]) -> None:
        self.proxies = {region: FaultProxy(upstream) for region in self._regions}
        for proxy in self.proxies.values():
            proxy.start()
        self.endpoint_urls = {region: proxy.url for region, proxy in self.proxies.items()}

    def _new_admin(self, region: str) -> Any:
        if self._moto is None:
            raise RuntimeError("the embedded Secrets Manager does not run: start() it first")
        host, port = self._moto.get_host_and_port()
        return self.session(region).create_client(
            _SERVICE, endpoint_url=f"http://{host}:{port}", config=Config(proxies={})
        )

    def _check_replica(self, region: str, name: str, version_id: str) -> None:
        shown = self.admin(region).get_secret_value(SecretId=name)["VersionId"]
        if shown != version_id:
            raise RuntimeError(f"{region} shows version {shown} of {name} rather than {version_id}")
