"""Two regions for the doctor: each a server of its own that says what the test plants, operation by operation."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from command_line import CANARY
from local_aws import Asked, LocalAws, Said
from support import OSAKA, TOKYO, arn

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NEW", "OLD", "TwoRegions", "refusal"]

NEW, OLD = "22222222-0000-0000-0000-000000000000", "11111111-0000-0000-0000-000000000000"
_WHO = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::123456789012:user/reader</Arn><UserId>U</UserId><Account>123456789012</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""


def refusal(code: str, message: str = "told so") -> Said:
    """An error of the service's."""
    return Said(400, json.dumps({"__type": code, "message": message}))


class TwoRegions:
    """Osaka replicates from Tokyo, in step, and everything is allowed: until a test plants something else."""

    def __init__(self) -> None:
        self.servers = {region: LocalAws() for region in (OSAKA, TOKYO)}
        self.planted: dict[tuple[str, str], Said] = {}
        self.versions = {OSAKA: NEW, TOKYO: NEW}
        self.created = {region: datetime.now(timezone.utc) - timedelta(hours=3) for region in self.servers}
        self.primaries: dict[str, str | None] = {OSAKA: TOKYO, TOKYO: TOKYO}
        self.replicas: dict[str, list[dict[str, str]]] = {TOKYO: [{"Region": OSAKA, "Status": "InSync"}]}
        self.keys: dict[str, str] = {}
        self.clock_ahead = timedelta()
        for region, server in self.servers.items():
            server.says = self._speaker(region)

    @property
    def urls(self) -> dict[str, str]:
        return {region: server.url() for region, server in self.servers.items()}

    def plant(self, region: str, operation: str, said: Said) -> None:
        """What that region's server says to that operation; `*`: to any of Secrets Manager's."""
        self.planted[region, operation] = said

    def asked(self, operation: str) -> list[Asked]:
        return [one for server in self.servers.values() for one in server.of(operation)]

    def _speaker(self, here: str) -> Any:
        return lambda asked: self._dated(self._say(here, asked))

    def _say(self, here: str, asked: Asked) -> Said | None:
        of_sts = asked.operation in {"GetCallerIdentity", "AssumeRole"}
        planted = self.planted.get((here, asked.operation)) or (None if of_sts else self.planted.get((here, "*")))
        if planted is not None or asked.operation == "AssumeRole":
            return planted
        if asked.operation == "GetCallerIdentity":
            return Said(200, _WHO)
        told = {"GetSecretValue": self._value, "DescribeSecret": self._description, "BatchGetSecretValue": self._batch}
        return Said(200, json.dumps(told[asked.operation](here)))

    def _dated(self, said: Said | None) -> Said | None:
        if said is None:
            return None
        date = format_datetime(datetime.now(timezone.utc) + self.clock_ahead, usegmt=True)
        return said._replace(headers=(*said.headers, ("Date", date)))

    def _value(self, here: str) -> dict[str, Any]:
        return {
            "ARN": arn(here),
            "Name": "prod/db",
            "VersionId": self.versions[here],
            "VersionStages": ["AWSCURRENT"],
            "SecretString": json.dumps({"password": CANARY}),
            "CreatedDate": self.created[here].timestamp(),
        }

    def _description(self, here: str) -> dict[str, Any]:
        current = self.versions[here]
        told = {
            "ARN": arn(here),
            "Name": "prod/db",
            "PrimaryRegion": self.primaries[here],
            "ReplicationStatus": self.replicas.get(here),
            "KmsKeyId": self.keys.get(here),
            "VersionIdsToStages": {current: ["AWSCURRENT"], OLD: ["AWSPREVIOUS"]}
            if current == NEW
            else {OLD: ["AWSCURRENT"]},
        }
        return {name: value for name, value in told.items() if value is not None}

    def _batch(self, here: str) -> dict[str, Any]:
        return {"SecretValues": [self._value(here)], "Errors": []}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for server in self.servers.values():
            server.__exit__(*error)
