"""Asks each region what a cache would ask it, with the same session, client, timeouts and ids."""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from secretcache._cli.doctor import surroundings
from secretcache._cli.doctor.sight import Examination, RegionSight, SecretSight, Trouble, place_of
from secretcache._ids import Query
from secretcache._secret import Lifetime
from secretcache._transport import BatchCall, Call, DescribeCall, Failure, Fault
from secretcache._transport._quiet import quiet_bodies
from secretcache._versions import read_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretcache._ids import SecretId
    from secretcache._settings import Settings
    from secretcache._transport import Reply, Request
    from secretcache._transport._sessions import RegionClient

__all__ = ["examine"]

_SECONDS = 15.0
_SECONDS_A_SECRET = 6.0
"""Two requests of at most three seconds each: whatever a region does, the doctor ends."""
_BATCH = 20
_OF_THE_REGION = (Fault.REGION, Fault.IDENTITY, Fault.NOT_OFFERED, Fault.LOCAL)
_UNFINISHED = Trouble("region", "Unfinished", "it answers too slowly to come to an end")
_AGELESS = Lifetime(lambda: 0.0, 0.0)


def examine(settings: Settings, secrets: Mapping[str, SecretId]) -> Examination:
    """Asks all regions at once. A region that does not end in time is told as such."""
    examiners = {region: _Examiner(settings, region, secrets) for region in settings.regions}
    threads = [
        threading.Thread(target=one.run, name=f"doctor-{region}", daemon=True) for region, one in examiners.items()
    ]
    deadline = time.monotonic() + _SECONDS + _SECONDS_A_SECRET * len(secrets)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    sights = {
        region: examiners[region].outcome(over=not thread.is_alive())
        for region, thread in zip(examiners, threads, strict=True)
    }
    return Examination(settings, secrets, sights, datetime.fromtimestamp(surroundings.wall_clock(), timezone.utc))


@dataclass
class _Examiner:
    """One region's examination, in a thread of its own."""

    settings: Settings
    region: str
    secrets: Mapping[str, SecretId]
    _session: Any = None
    _hosts: list[str] = field(default_factory=list)
    _skews: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sight = RegionSight(region=self.region)

    def outcome(self, *, over: bool) -> RegionSight:
        """What was seen; not over: as far as it came."""
        return self.sight if over else replace(self.sight, trouble=_UNFINISHED)

    def run(self) -> None:
        """Fills `sight`, piece by piece; raises nothing."""
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - one region's trouble is not another's
            # Without its text, which may quote anything.
            told = Trouble("local", type(error).__name__, "an error of the doctor's own: please report it")
            self._note(trouble=told)

    def _run(self) -> None:
        from secretcache._transport._botocore import making  # noqa: PLC0415
        from secretcache._transport._sessions import new_client  # noqa: PLC0415 - imports botocore

        watched = replace(self.settings, session_factory=self._new_session)
        with quiet_bodies():
            client = new_client(watched, self.region, making.alone_with)
        if isinstance(client, Failure):
            trouble = Trouble.of(client)
            self._note(trouble=trouble, identity_trouble=trouble if client.fault is Fault.IDENTITY else None)
            return
        try:
            self._look_around(client)
            self._identify(client)
            if self.sight.identity_trouble is None:
                self._ask_all(client)
        finally:
            client.retire()

    def _note(self, **seen: Any) -> None:
        self.sight = replace(self.sight, **seen)

    def _new_session(self, region: str) -> Any:
        from secretcache._transport._credentials import note_providers  # noqa: PLC0415 - imports botocore
        from secretcache._transport._sessions import default_session  # noqa: PLC0415 - imports botocore

        self._session = (self.settings.session_factory or default_session)(region)
        if self.settings.session_factory is None:
            note_providers(self._session, str, self._loaded)
        # Clients take a copy of the session's hooks when they are made: those that fetch credentials too.
        events = getattr(self._session, "events", None) or self._session.get_component("event_emitter")
        events.register("before-send", self._leaves)
        return self._session

    def _loaded(self, seconds: float) -> None:
        self._note(credentials_seconds=max(seconds, self.sight.credentials_seconds))

    def _leaves(self, request: Any, **_: Any) -> None:
        self._hosts.append(place_of(str(request.url)) or "")

    def _look_around(self, client: RegionClient) -> None:
        parts = urlsplit(client.endpoint)
        self._note(
            endpoint=client.endpoint,
            proxy=surroundings.proxy_for(client.endpoint, client.client.meta.config.proxies),
            no_proxy=surroundings.no_proxy(),
        )
        try:
            addresses = surroundings.resolve(parts.hostname or "", parts.port or 443)
            self._note(addresses=addresses, address_kind=surroundings.kind_of(addresses))
        except OSError as error:
            self._note(resolve_error=str(error.strerror or error))

    def _identify(self, client: RegionClient) -> None:
        credentials = client.credentials
        self._hosts.clear()
        with quiet_bodies():  # of STS too: its answer holds keys
            failure = client.load_credentials()
        hosts = tuple(dict.fromkeys(self._hosts))
        self._note(credentials=getattr(credentials, "method", None) or "none", identity_hosts=hosts)
        if failure is None and credentials is None:
            failure = Failure(Fault.IDENTITY, "NoCredentialsError", "Unable to locate credentials")
        if failure is not None:
            trouble = Trouble.of(failure)
            self._note(trouble=trouble, identity_trouble=trouble)
        else:
            self._ask_who()

    def _ask_who(self) -> None:
        """The account that the credentials belong to: it needs no permission, and nothing depends on it."""
        from botocore.config import Config  # noqa: PLC0415

        create = getattr(self._session, "create_client", None) or self._session.client
        config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})
        # Whatever hinders STS hinders no read.
        with suppress(Exception), closing(create("sts", region_name=self.region, config=config)) as sts:
            told = sts.get_caller_identity()
            self._note(account=told.get("Account"), principal=told.get("Arn"))

    def _ask_all(self, client: RegionClient) -> None:
        for name, secret in self.secrets.items():
            if self.sight.trouble is None:
                self._ask_about(client, name, Query(secret))
        if self.sight.trouble is None:
            self._ask_batch(client)
        # Of what a proxy or a load balancer says by itself, the clock is as good as any: the nearest counts.
        self._note(skew_seconds=min(self._skews, key=abs, default=None))

    def _ask_about(self, client: RegionClient, name: str, query: Query) -> None:
        call = Call(self.region, query)
        reply = self._send(client, call)
        if not isinstance(reply, Failure):
            self._note(answers_as=_region_of(reply.get("ARN")))
        found = read_answer(call, reply, 0.0, _AGELESS)
        if isinstance(found, Failure):
            seen = SecretSight(trouble=Trouble.of(found))
        else:
            seen = SecretSight(arn=found.arn, version_id=found.version_id, created=found.created_date)
        del reply, found  # with the value
        if seen.trouble is not None and seen.trouble.fault in [fault.name.lower() for fault in _OF_THE_REGION]:
            self._note(trouble=seen.trouble)
        else:
            seen = _with_description(seen, self._send(client, DescribeCall(self.region, query)))
        self._note(secrets={**self.sight.secrets, name: seen})

    def _ask_batch(self, client: RegionClient) -> None:
        queries = tuple(Query(secret) for secret in self.secrets.values())[:_BATCH]
        reply = self._send(client, BatchCall(self.region, queries))
        failed = isinstance(reply, Failure)
        self._note(batch=Trouble.of(reply).fault if failed else "allowed")  # type: ignore[arg-type] # then it is one

    def _send(self, client: RegionClient, call: Request) -> Reply:
        begun = time.monotonic()
        with quiet_bodies():
            reply = client.send(call)
        seconds, now = time.monotonic() - begun, surroundings.wall_clock()
        self._note(calls=self.sight.calls + 1, endpoint=client.endpoint.rstrip("/"))
        if not isinstance(reply, Failure) or reply.answered:
            self._note(latency_seconds=min(seconds, self.sight.latency_seconds or seconds))
        if (ahead := surroundings.skew(_headers(reply), now)) is not None:
            self._skews.append(ahead)
        return reply


def _headers(reply: Reply) -> Mapping[str, Any]:
    told: Any = getattr(reply.cause, "response", None) or {} if isinstance(reply, Failure) else reply
    metadata: Any = told.get("ResponseMetadata") if hasattr(told, "get") else None
    return (metadata or {}).get("HTTPHeaders") or {}


def _with_description(seen: SecretSight, reply: Reply) -> SecretSight:
    if isinstance(reply, Failure):
        return replace(seen, describe_trouble=Trouble.of(reply))
    replicas = {
        str(one.get("Region")): (str(one.get("Status")), str(one.get("StatusMessage") or ""))
        for one in reply.get("ReplicationStatus") or ()
    }
    return replace(
        seen,
        arn=seen.arn or reply.get("ARN"),
        described=True,
        primary_region=reply.get("PrimaryRegion"),
        replicas=replicas,
        kms_key=reply.get("KmsKeyId"),
        versions={name: tuple(stages) for name, stages in (reply.get("VersionIdsToStages") or {}).items()},
        rotates=bool(reply.get("RotationEnabled")),
    )


def _region_of(arn: object) -> str | None:
    parts = arn.split(":") if isinstance(arn, str) else ()
    return parts[3] if len(parts) > 3 else None  # noqa: PLR2004 - the fourth field of an ARN
