"""A region's session and client: how they are made, who uses them, and when they are let go. Imports botocore."""

from __future__ import annotations

import functools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    DataNotFoundError,
    ParamValidationError,
    UnknownServiceError,
)
from botocore.loaders import Loader, create_loader
from botocore.session import Session
from botocore.validate import ParamValidator

from secretcache._transport import BatchCall, Call, Failure, Fault
from secretcache._transport._classify import classify, is_local
from secretcache._transport._credentials import Held, named, note_providers, provider_name
from secretcache._transport._endpoints import regions_with_fips
from secretcache._transport._http import guard
from secretcache._transport._reasons import about_certificates
from secretcache._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from secretcache._settings import Settings
    from secretcache._transport import Reply, Request

__all__ = ["CONNECT_SECONDS", "POOL", "READ_SECONDS", "RegionClient", "default_session", "new_client"]

_SERVICE = "secretsmanager"
CONNECT_SECONDS = 1
READ_SECONDS = 2
POOL = 32  # as many connections as a lane has threads at most


class _Request(threading.local):
    url = ""


class RegionClient:
    """One region's client and the credentials it signs with. Closed once it is retired and nobody uses it."""

    def __init__(self, client: Any, credentials: Any) -> None:
        self.client = client
        self.endpoint = str(client.meta.endpoint_url)
        """Where requests go, as far as is known: with dual-stack only the first one shows it."""
        self.credentials = credentials
        self._lock = threading.Lock()
        self._users, self._retired = 0, False
        self.provider = provider_name(str(getattr(credentials, "method", None) or "unknown"))
        self.bundle: object = None
        """By which CA bundle the service's certificate is checked: a path, or True for botocore's own."""
        self._request = _Request()
        self._held = Held(credentials)
        signer: Any = getattr(client, "_request_signer", None)
        if credentials is not None and _is_ours(client) and getattr(signer, "_credentials", None) is credentials:
            signer._credentials = self._held  # noqa: SLF001 - of this client alone: the session may be the user's
        client.meta.events.register("before-send.secrets-manager", self._leaves)

    def take(self) -> bool:
        """Begins a use; False if it is retired. Whoever has taken it gives it back."""
        with self._lock:
            self._users += not self._retired
            return not self._retired

    def give_back(self) -> None:
        """Ends a use."""
        with self._lock:
            self._users -= 1
            unused = self._retired and not self._users
        if unused:
            self.client.close()

    def retire(self) -> None:
        """Lets no further use begin, and closes the connections: now, or with the last request under way."""
        # Not under a request: with no connection yet it finds the pool closed (older urllib3), and blames its region.
        with self._lock:
            unused, self._retired = not self._users and not self._retired, True
        if unused:
            self.client.close()

    def has_credentials(self) -> bool:
        """Whether there are credentials that a request can be signed with at once; never loads any."""
        return self._held.good()

    def load_credentials(self) -> Failure | None:
        """Gets or renews the credentials, as signing would: here whatever fails on the way is known to be identity."""
        try:
            with named(self.provider):
                self._held.load()
        except BaseException as error:  # noqa: BLE001 - classified: nothing escapes a lane's thread
            return _of_identity(error)
        return None

    def send(self, call: Request) -> Reply:
        """One request."""
        self._request.url = ""
        operation, method, arguments = _spell(call)
        try:
            if isinstance(call, Call) and not call.query.is_current and isinstance(self.client, BaseClient):
                _check(self.client, operation, arguments)
            reply: Reply = getattr(self.client, method)(**arguments)
        except BaseException as error:  # noqa: BLE001 - classified: nothing escapes a lane's thread
            failure = classify(error, operation=operation, endpoint=self._request.url)
            return about_certificates(failure, self.bundle)
        return reply

    def _leaves(self, request: Any, **_: Any) -> None:
        """It is signed: from here on what fails is on the way to the service. Told in the thread that sends."""
        self._request.url = self.endpoint = str(request.url)


def _check(client: Any, operation: str, arguments: dict[str, Any]) -> None:
    """Botocore's own check, where a caller gave more than an id, which is checked already: it is 8 % of a request."""
    report = ParamValidator().validate(arguments, client.meta.service_model.operation_model(operation).input_shape)
    if report.has_errors():
        raise ParamValidationError(report=report.generate_report())


def _spell(call: Request) -> tuple[str, str, dict[str, Any]]:
    if isinstance(call, BatchCall):
        return "BatchGetSecretValue", "batch_get_secret_value", {"SecretIdList": call.secret_ids}
    if not isinstance(call, Call):
        return "DescribeSecret", "describe_secret", {"SecretId": call.secret_id}
    picked = {"SecretId": call.secret_id, "VersionStage": call.query.stage, "VersionId": call.query.version_id}
    return "GetSecretValue", "get_secret_value", {name: text for name, text in picked.items() if text}


class _Loader(Loader):
    """botocore's, but that it opens no folder of another service to tell whether a name is one: 30 ms a client."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - what is not there fails to load
        """Every name that may be a service's."""
        folders = (path for path in self.search_paths if Path(path).is_dir())
        names = {name for path in folders for name in os.listdir(path)}  # noqa: PTH208 - ten times as fast
        return sorted(name for name in names if "." not in name and not name.startswith("_"))

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        """As botocore's, with its error for a service that has none of this kind."""
        try:
            return super().load_service_model(service_name, type_name, api_version)
        except UnknownServiceError:
            raise
        except DataNotFoundError as error:
            known = ", ".join(self.list_available_services(type_name))
            raise UnknownServiceError(service_name=service_name, known_service_names=known) from error


@functools.cache
def _loader(data_path: str | None) -> _Loader:
    """One for all regions: what botocore is told of a service is read once, as with one session."""
    return _Loader(extra_search_paths=create_loader(data_path).search_paths, include_default_search_paths=False)


def default_session(region: str) -> Session:
    """A session of the region's own: the region it says is where its STS client will be."""
    session = Session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    session.set_config_variable("region", region)
    return session


def new_client(
    settings: Settings,
    region: str,
    alone_with: Callable[[object], AbstractContextManager[object]],
    is_closed: Callable[[], bool] = bool,
    note: Callable[[str], object] = str,
) -> RegionClient | Failure:
    """A session and a client for a region, or why there is none. Runs user code; raises nothing.

    Args:
        settings: the cache's settings.
        region: the region.
        alone_with: holds off whoever else makes a client from the same session: botocore's are not made for threads.
        is_closed: whether nobody waits for the client's answers any more.
        note: told which credential provider is being asked.
    """
    try:
        session: Any = (settings.session_factory or default_session)(region)
        if settings.session_factory is None:
            note_providers(session, note)
        with alone_with(session):
            made = RegionClient(_create(session, settings, region), session.get_credentials())
        made.provider = provider_name(str(getattr(made.credentials, "method", None) or "unknown"), session)
        if _is_ours(made.client):
            made.bundle = guard(made.client, is_closed)
        return _without_fips_host(settings, region, made.endpoint) or made
    except BaseException as error:  # noqa: BLE001 - whatever a session factory raises is told to the caller
        return _not_made(settings, region, error)


def _is_ours(client: Any) -> bool:
    """Whether a client was made with our configuration: a factory may hand out one that its application uses too."""
    config = getattr(getattr(client, "meta", None), "config", None)
    return f"secretcache/{__version__}" in str(getattr(config, "user_agent_extra", None))


def _create(session: Any, settings: Settings, region: str) -> Any:
    create = getattr(session, "create_client", None) or session.client  # botocore's session, or boto3's
    return create(
        _SERVICE,
        region_name=region,
        endpoint_url=settings.endpoint_urls.get(region),
        config=_config(settings.config_of(region)),
    )


def _config(given: Config | None) -> Config:
    agent = " ".join(part for part in (getattr(given, "user_agent_extra", None), f"secretcache/{__version__}") if part)
    own = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1},
        max_pool_connections=POOL,
        parameter_validation=False,  # _check
        user_agent_extra=agent,
    )
    if getattr(given, "tcp_keepalive", None) is None:
        own = own.merge(Config(tcp_keepalive=True))
    return own if given is None else given.merge(own)


def _not_made(settings: Settings, region: str, error: BaseException) -> Failure:
    if isinstance(error, (OSError, ClientError)):  # of a factory that asks STS, or a vault, by itself
        return _of_identity(error)
    failure = classify(error, operation="", endpoint="")
    if failure.fault in (Fault.IDENTITY, Fault.NOT_OFFERED, Fault.LOCAL) and isinstance(
        error, (BotoCoreError, MemoryError)
    ):
        return failure
    made_by = f"session_factory({region!r})" if settings.session_factory else f"the AWS session for {region}"
    message = f"{made_by} made no client: {error}"
    return Failure(Fault.CALLER, type(error).__name__, message, cause=error.with_traceback(None))


def _of_identity(error: BaseException) -> Failure:
    fault = Fault.LOCAL if is_local(error) else Fault.IDENTITY
    return classify(error, operation="", endpoint="")._replace(fault=fault)


def _without_fips_host(settings: Settings, region: str, endpoint: str) -> Failure | None:
    """What nobody could tell at construction: a profile, or a session of the user's own, asks for FIPS."""
    host = urlsplit(endpoint).hostname or ""
    asked = region not in settings.endpoint_urls and host.startswith(f"{_SERVICE}-fips.")
    if not asked or region in regions_with_fips():
        return None
    return Failure(Fault.NOT_OFFERED, "NoFipsEndpoint", f"Secrets Manager has no FIPS endpoint in {region}")
