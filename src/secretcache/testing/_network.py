"""Between who asks and the service in memory: faults, silence, the record of calls; and the cache's transport."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secretcache._transport import BatchCall, Call
from secretcache.testing._faults import Fault, refused
from secretcache.testing._service import Refusal, Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretcache._transport import Failure, Reply, Request
    from secretcache.testing._clock import ManualClock

__all__ = ["FakeTransport", "Network", "RecordedCall"]


@dataclass(frozen=True)
class RecordedCall:
    """One request that reached a region, or was meant to. Values are not recorded."""

    region: str
    operation: str
    """As AWS spells it: `GetSecretValue`."""
    secret_ids: tuple[str, ...]
    """The ids as they were sent: the region's own ARNs, or names."""
    at: float
    """When it was sent, on the clock."""
    version_stage: str | None = None
    version_id: str | None = None
    client: bool = False
    """Whether `FakeSecretsManager.client` sent it, and not a cache."""

    @property
    def secret_id(self) -> str:
        """The one id that was asked for; of a batch the first."""
        return self.secret_ids[0] if self.secret_ids else ""


class Network:
    """The way to every region."""

    def __init__(self, service: Service, clock: ManualClock) -> None:
        self.service, self.clock = service, clock
        self.faults: dict[str, Fault] = {}
        self.calls: list[RecordedCall] = []
        self.lock = threading.RLock()
        """Over the service's state: its operations are called from several threads."""
        self._healed: dict[str, Any] = {region: clock.runtime.event() for region in service.regions}

    def host(self, region: str) -> str:
        """The region's host."""
        return f"secretsmanager.{region}.amazonaws.com"

    def fail(self, region: str, fault: Fault) -> None:
        """From now on requests meet that fault; those that are stuck stay so."""
        self.faults[region] = fault

    def heal(self, region: str) -> None:
        """From now on the region answers; requests that are stuck there are cut off."""
        self.faults.pop(region, None)
        healed, self._healed[region] = self._healed[region], self.clock.runtime.event()
        healed.set()

    def ask(
        self, region: str, operation: str, params: Mapping[str, Any], timeouts: tuple[float, float] | None = None
    ) -> dict[str, Any] | None:
        """The response; None: one that cannot be understood.

        Args:
            region: where.
            operation: what, as AWS spells it.
            params: its parameters.
            timeouts: of a client that is not the cache: seconds to connect and to read.

        Raises:
            Exception: botocore's own.
        """
        fault = self._arrive(region, operation, params, client=timeouts is not None)
        if fault is not None:
            waits = fault.waits(*timeouts or ())
            if waits:
                self._wait(region, waits)
            error = fault.error(operation, f"https://{self.host(region)}/")
            if error is not None:
                raise error
            if fault.how == "garbage":
                return None
        return self._perform(region, operation, params)

    def _arrive(self, region: str, operation: str, params: Mapping[str, Any], *, client: bool) -> Fault | None:
        ids = params.get("SecretIdList") or [params[key] for key in ("SecretId", "Name") if key in params]
        stage, version_id = params.get("VersionStage"), params.get("VersionId")
        call = RecordedCall(region, operation, tuple(ids), self.clock.now(), stage, version_id, client)
        with self.lock:
            self.calls.append(call)
            fault = self.faults.get(region)
            if fault is None or not fault.use():
                return None
        # botocore's own timeouts are no bound for a region that drips; a plain client would wait for ever.
        return Fault("hang") if client and fault.how == "stuck" else fault

    def _wait(self, region: str, seconds: float) -> None:
        healed = self._healed[region] if seconds == float("inf") else self.clock.runtime.event()
        self.clock.runtime.wait(healed, self.clock.now() + seconds)

    def _perform(self, region: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        try:
            with self.lock:
                return self.service.perform(region, operation, params)
        except Refusal as refusal:
            no = refusal
        raise refused(no, operation)


class FakeTransport:
    """What a `SecretCache` asks in place of botocore."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def ready(self, region: str) -> bool:  # noqa: ARG002
        """There is nothing to make."""
        return True

    def prepare(self, region: str) -> Failure | None:
        """There is nothing to make."""

    def send(self, call: Request) -> Reply:
        """The response, or what botocore's error means, by the cache's own table."""
        operation, params = _spell(call)
        try:
            reply = self._network.ask(call.region, operation, params)
        except Exception as error:  # noqa: BLE001 - as a region's own client: it is classified
            from secretcache._transport._classify import classify  # noqa: PLC0415 - imports botocore

            return classify(error, operation=operation, endpoint=f"https://{self.host(call.region)}/")
        return reply or {}

    def pending(self, region: str) -> str:  # noqa: ARG002
        """There is nothing to wait for."""
        return ""

    def reload(self) -> None:
        """There are no credentials."""

    def host(self, region: str) -> str:
        """The region's host."""
        return self._network.host(region)

    def close(self) -> None:
        """There is nothing to let go of."""


def _spell(call: Request) -> tuple[str, dict[str, Any]]:
    if isinstance(call, BatchCall):
        return "BatchGetSecretValue", {"SecretIdList": call.secret_ids}
    if not isinstance(call, Call):
        return "DescribeSecret", {"SecretId": call.secret_id}
    picked = {"SecretId": call.secret_id, "VersionStage": call.query.stage, "VersionId": call.query.version_id}
    return "GetSecretValue", {name: text for name, text in picked.items() if text}
