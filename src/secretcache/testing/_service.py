"""Secrets Manager in memory: what its operations do to the secrets of several regions. No time passes here."""

from __future__ import annotations

import re
import uuid
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from secretcache._ids import CURRENT, partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["PENDING", "PREVIOUS", "Refusal", "Service", "Shown", "Stored", "Version"]

PENDING, PREVIOUS = "AWSPENDING", "AWSPREVIOUS"
_EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
_SUFFIX = re.compile(r"(.+)-([A-Za-z0-9]{6})\Z", re.DOTALL)
_ARN_FIELDS = 7


class Refusal(Exception):  # noqa: N818 - the service's word, which becomes a botocore error
    """The service's answer is no."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@dataclass(frozen=True)
class Version:
    """One version of a secret."""

    id: str
    content: str | bytes = field(repr=False)
    created: datetime


@dataclass(frozen=True)
class Shown:
    """What one region shows of a secret; never changed, only replaced."""

    versions: Mapping[str, Version] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    """Version ids by stage."""
    deleted: bool = False

    def with_version(self, version: Version) -> Shown:
        """One more version, without a stage."""
        return replace(self, versions={**self.versions, version.id: version})

    def moved(self, stage: str, version_id: str | None) -> Shown:
        """A stage on another version, or on none; AWSPREVIOUS follows AWSCURRENT, as the service does it."""
        stages = {name: held for name, held in self.stages.items() if name != stage}
        before = self.stages.get(stage)
        if version_id is not None:
            stages[stage] = version_id
        if stage == CURRENT and version_id is not None and before not in (None, version_id):
            stages[PREVIOUS] = str(before)
        return replace(self, stages=stages)

    def stages_of(self, version_id: str) -> list[str]:
        """The stages of a version."""
        return [stage for stage, held in self.stages.items() if held == version_id]


@dataclass
class _Replica:
    shown: Shown
    pending: deque[tuple[float, Shown]] = field(default_factory=deque)
    """What is on its way, and when it arrives."""

    def at(self, now: float) -> Shown:
        while self.pending and self.pending[0][0] <= now:
            self.shown = self.pending.popleft()[1]
        return self.shown

    def follow(self, shown: Shown, now: float, lag: float) -> None:
        self.at(now)
        # What would arrive after this one shows nothing any more.
        self.pending = deque(one for one in self.pending if one[0] <= now + lag)
        self.pending.append((now + lag, shown))

    def arrive(self) -> None:
        while self.pending:
            self.shown = self.pending.popleft()[1]


@dataclass
class Stored:
    """One secret: its primary region, and its replicas."""

    name: str
    suffix: str
    primary: str
    shown: Shown
    replicas: dict[str, _Replica] = field(default_factory=dict)

    def regions(self) -> list[str]:
        """Where it is."""
        return [self.primary, *self.replicas]

    def in_region(self, region: str, now: float) -> Shown | None:
        """What a region shows of it; None: it is not there."""
        if region == self.primary:
            return self.shown
        replica = self.replicas.get(region)
        return None if replica is None else replica.at(now)


class Service:
    """The secrets of one account, and the operations on them, as each region carries them out."""

    def __init__(self, regions: Sequence[str], account: str, now: Callable[[], float]) -> None:
        self.regions, self.account = tuple(regions), account
        self.lags = dict.fromkeys(regions, 0.0)
        self.secrets: dict[str, Stored] = {}
        self.denied: set[tuple[str, str]] = set()
        """Regions and names of which no value is given out."""
        self._now = now
        self._made = 0

    def perform(self, region: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """An operation's response as botocore parses it.

        Raises:
            Refusal: the service's answer is no.
        """
        does = _OPERATIONS.get(operation)
        if does is None:
            raise Refusal("UnknownOperationException", f"secretcache.testing does not know {operation}")
        return does(self, region, params)

    def write(self, stored: Stored, shown: Shown) -> None:
        """What the primary shows from now on; the replicas follow after their lag."""
        stored.shown = shown
        for region, replica in stored.replicas.items():
            replica.follow(shown, self._now(), self.lags[region])

    def replicate(self, stored: Stored, regions: Sequence[str]) -> None:
        """The replicas of these regions show what the primary shows."""
        for region in regions:
            stored.replicas.setdefault(region, _Replica(stored.shown)).arrive()

    def create(self, name: str, primary: str, replicas: Sequence[str]) -> Stored:
        """A new secret without a version."""
        self._made += 1
        stored = Stored(name, f"Fk{self._made:04d}", primary, Shown())
        stored.replicas = {region: _Replica(stored.shown) for region in replicas if region != primary}
        self.secrets[name] = stored
        return stored

    def version(self, content: str | bytes, token: str | None = None) -> Version:
        """A new version; its id tells nothing of its age, as in the service."""
        self._made += 1
        made = token or str(uuid.uuid5(uuid.NAMESPACE_OID, f"secretcache.testing {self._made}"))
        return Version(made, content, _EPOCH + timedelta(seconds=self._now()))

    def arn(self, stored: Stored, region: str) -> str:
        """The secret's ARN in a region."""
        head = f"arn:{partition_of(region)}:secretsmanager:{region}:{self.account}"
        return f"{head}:secret:{stored.name}-{stored.suffix}"

    # What an id leads to.

    def find(self, region: str, secret_id: str) -> Stored | None:
        """The secret of a name, a partial or a full ARN in a region."""
        named = secret_id if not secret_id.startswith("arn:") else self._named(region, secret_id)
        stored = self.secrets.get(named) if named is not None else None
        if stored is None or stored.in_region(region, self._now()) is None:
            return None
        return stored

    def _named(self, region: str, arn: str) -> str | None:
        fields = arn.split(":", _ARN_FIELDS - 1)
        if len(fields) < _ARN_FIELDS or fields[3] != region or fields[4] != self.account:
            return None
        # The service takes whatever ends in a hyphen and six characters for a complete ARN.
        complete = _SUFFIX.match(fields[6])
        if complete is None:
            return fields[6]
        stored = self.secrets.get(complete[1])
        return complete[1] if stored is not None and stored.suffix == complete[2] else None

    def _shown(self, region: str, params: Mapping[str, Any], *, deleted_too: bool = False) -> tuple[Stored, Shown]:
        stored = self.find(region, str(params.get("SecretId", "")))
        shown = stored.in_region(region, self._now()) if stored is not None else None
        if stored is None or shown is None:
            raise Refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        if shown.deleted and not deleted_too:
            message = "You can't perform this operation on the secret because it was marked for deletion."
            raise Refusal("InvalidRequestException", message)
        return stored, shown

    def _writable(self, region: str, params: Mapping[str, Any], *, deleted_too: bool = False) -> Stored:
        stored, _ = self._shown(region, params, deleted_too=deleted_too)
        if region != stored.primary:
            message = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
            raise Refusal("InvalidParameterException", message)
        return stored

    # Reads.

    def _get(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        stored, shown = self._shown(region, params)
        if (region, stored.name) in self.denied:
            message = "User is not authorized to perform: secretsmanager:GetSecretValue on this resource"
            raise Refusal("AccessDeniedException", message)
        version_id, stage = params.get("VersionId"), params.get("VersionStage")
        picked = version_id or shown.stages.get(stage or CURRENT)
        version = shown.versions.get(picked or "")
        if version is None:
            what = f"VersionId: {version_id}" if version_id else f"staging label: {stage or CURRENT}"
            message = f"Secrets Manager can't find the specified secret value for {what}"
            raise Refusal("ResourceNotFoundException", message)
        if version_id and stage and shown.stages.get(stage) != version_id:
            message = "You provided a VersionStage that is not associated to the provided VersionId."
            raise Refusal("InvalidRequestException", message)
        return self._value(stored, region, shown, version)

    def _value(self, stored: Stored, region: str, shown: Shown, version: Version) -> dict[str, Any]:
        kind = "SecretString" if isinstance(version.content, str) else "SecretBinary"
        return {
            "ARN": self.arn(stored, region),
            "Name": stored.name,
            "VersionId": version.id,
            "VersionStages": shown.stages_of(version.id),
            "CreatedDate": version.created,
            kind: version.content,
        }

    def _batch(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        values, errors = [], []
        ids = params.get("SecretIdList")
        if ids is None:
            ids = [one["Name"] for one in self._list(region, {})["SecretList"]]
        for secret_id in ids:
            told = self._get_or_refuse(region, secret_id)
            if isinstance(told, Refusal):
                errors.append({"SecretId": secret_id, "ErrorCode": told.code, "Message": told.message})
            else:
                values.append(told)
        return {"SecretValues": values, "Errors": errors}

    def _get_or_refuse(self, region: str, secret_id: str) -> dict[str, Any] | Refusal:
        try:
            return self._get(region, {"SecretId": secret_id})
        except Refusal as refusal:
            return refusal

    def _describe(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        stored, shown = self._shown(region, params, deleted_too=True)
        told = {
            **self._entry(stored, region, shown),
            "VersionIdsToStages": {one: stages for one in shown.versions if (stages := shown.stages_of(one))},
            "ReplicationStatus": [
                {"Region": one, "Status": "InProgress" if replica.pending else "InSync"}
                for one, replica in stored.replicas.items()
            ],
        }
        return told if region == stored.primary else {**told, "ReplicationStatus": []}

    def _entry(self, stored: Stored, region: str, shown: Shown) -> dict[str, Any]:
        told = {"ARN": self.arn(stored, region), "Name": stored.name, "PrimaryRegion": stored.primary}
        return {**told, "DeletedDate": _EPOCH} if shown.deleted else dict(told)

    def _list(self, region: str, _: Mapping[str, Any]) -> dict[str, Any]:
        here = ((stored, stored.in_region(region, self._now())) for stored in self.secrets.values())
        return {"SecretList": [self._entry(one, region, shown) for one, shown in here if shown and not shown.deleted]}

    def _list_versions(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        stored, shown = self._shown(region, params)
        everything = bool(params.get("IncludeDeprecated"))
        versions = [
            {"VersionId": one.id, "VersionStages": shown.stages_of(one.id), "CreatedDate": one.created}
            for one in shown.versions.values()
            if everything or shown.stages_of(one.id)
        ]
        return {"ARN": self.arn(stored, region), "Name": stored.name, "Versions": versions}

    # Writes.

    def _create(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        name = params["Name"]
        if name in self.secrets:
            message = f"The operation failed because the secret {name} already exists."
            raise Refusal("ResourceExistsException", message)
        replicas = [one["Region"] for one in params.get("AddReplicaRegions", ())]
        stored = self.create(name, region, replicas)
        self._put_into(stored, params)
        self.replicate(stored, replicas)
        return self._told(stored, region, stored.shown.stages.get(CURRENT))

    def _put(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        stored = self._writable(region, params)
        version_id = self._put_into(stored, params)
        stages = stored.shown.stages_of(version_id)
        return {**self._told(stored, region, version_id), "VersionStages": stages}

    def _update(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        stored = self._writable(region, params)
        has_value = "SecretString" in params or "SecretBinary" in params
        return self._told(stored, region, self._put_into(stored, params) if has_value else None)

    def _put_into(self, stored: Stored, params: Mapping[str, Any]) -> str:
        content = params["SecretString"] if "SecretString" in params else params.get("SecretBinary", "")
        version = self.version(content, params.get("ClientRequestToken"))
        shown = stored.shown.with_version(version)
        for stage in params.get("VersionStages") or [CURRENT]:
            shown = shown.moved(stage, version.id)
        self.write(stored, shown)
        return version.id

    def _move_stage(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        stored = self._writable(region, params)
        stage, there, here = params["VersionStage"], params.get("MoveToVersionId"), params.get("RemoveFromVersionId")
        holder = stored.shown.stages.get(stage)
        if holder is not None and holder not in (here, there):
            message = f"The parameter RemoveFromVersionId can't be empty. Staging label {stage} is attached elsewhere."
            raise Refusal("InvalidParameterException", message)
        if there is not None and there not in stored.shown.versions:
            raise Refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret version.")
        self.write(stored, stored.shown.moved(stage, there))
        return self._told(stored, region)

    def _delete(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        stored = self._writable(region, params, deleted_too=True)
        if params.get("ForceDeleteWithoutRecovery"):
            del self.secrets[stored.name]
        else:
            self.write(stored, replace(stored.shown, deleted=True))
        return {**self._told(stored, region), "DeletionDate": _EPOCH + timedelta(seconds=self._now(), days=30)}

    def _restore(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        stored = self._writable(region, params, deleted_too=True)
        self.write(stored, replace(stored.shown, deleted=False))
        return self._told(stored, region)

    def _add_replicas(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        stored = self._writable(region, params)
        self.replicate(stored, [one["Region"] for one in params["AddReplicaRegions"]])
        return {"ARN": self.arn(stored, region)}

    def _remove_replicas(self, region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        stored = self._writable(region, params)
        for one in params["RemoveReplicaRegions"]:
            stored.replicas.pop(one, None)
        return {"ARN": self.arn(stored, region)}

    def _told(self, stored: Stored, region: str, version_id: str | None = None) -> dict[str, Any]:
        told = {"ARN": self.arn(stored, region), "Name": stored.name}
        return told if version_id is None else {**told, "VersionId": version_id}


_OPERATIONS: dict[str, Callable[[Service, str, Mapping[str, Any]], dict[str, Any]]] = {
    "GetSecretValue": Service._get,  # noqa: SLF001 - the table of its own operations
    "BatchGetSecretValue": Service._batch,  # noqa: SLF001
    "DescribeSecret": Service._describe,  # noqa: SLF001
    "ListSecrets": Service._list,  # noqa: SLF001
    "ListSecretVersionIds": Service._list_versions,  # noqa: SLF001
    "CreateSecret": Service._create,  # noqa: SLF001
    "PutSecretValue": Service._put,  # noqa: SLF001
    "UpdateSecret": Service._update,  # noqa: SLF001
    "UpdateSecretVersionStage": Service._move_stage,  # noqa: SLF001
    "DeleteSecret": Service._delete,  # noqa: SLF001
    "RestoreSecret": Service._restore,  # noqa: SLF001
    "ReplicateSecretToRegions": Service._add_replicas,  # noqa: SLF001
    "RemoveRegionsFromReplication": Service._remove_replicas,  # noqa: SLF001
}
