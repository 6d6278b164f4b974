"""Where an operation that is no read of a value goes, and what it tells of the values."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from secretcache._errors import ConfigurationError
from secretcache._ids import CURRENT, parse_secret_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretcache._client.regions import Regions

__all__ = ["changes_values", "home_of", "in_region", "is_write", "shown_after"]

_READS = ("Describe", "Get", "List", "Validate")
_OF_THE_REPLICA = "StopReplicationToReplica"
"""Called in the region of the replica, which it makes a secret of its own."""
_OF_VALUES = ("CancelRotateSecret", "DeleteSecret", "RestoreSecret", "RotateSecret", "UpdateSecretVersionStage")
_MISSING = "ResourceNotFoundException"


def is_write(operation: str) -> bool:
    """Whether an operation changes something in Secrets Manager."""
    return not operation.startswith((*_READS, "BatchGet"))


def shown_after(operation: str, params: Mapping[str, Any], response: Mapping[str, Any]) -> dict[str, str]:
    """The versions, by stage, that the region written to shows from now on, as far as the write tells.

    A rotation's comes some time later.
    """
    version = response.get("VersionId")
    if operation == "PutSecretValue" and version:
        return dict.fromkeys(response.get("VersionStages") or (CURRENT,), version)
    if operation in ("CreateSecret", "UpdateSecret") and version:
        return {CURRENT: version}
    if operation == "RotateSecret" and version and params.get("RotateImmediately", True):
        return {CURRENT: version}
    if operation == "UpdateSecretVersionStage" and "MoveToVersionId" in params:
        return {params["VersionStage"]: params["MoveToVersionId"]}
    return {}


def changes_values(operation: str, shown: Mapping[str, str]) -> bool:
    """Whether a replica may lag behind an operation with a value; a policy or a tag is none."""
    return bool(shown) or operation in _OF_VALUES


def home_of(operation: str, params: Mapping[str, Any], regions: Regions) -> str:
    """The region an operation has to be sent to.

    Raises:
        ConfigurationError: it is a write, and which region is the primary is neither told nor to be learned.
    """
    if not is_write(operation):
        return regions.names[0]
    if operation == _OF_THE_REPLICA:
        return _region_of(str(params.get("SecretId")), regions)
    if regions.primary is not None:
        return regions.primary
    if "SecretId" not in params:
        raise ConfigurationError(
            f"primary_region: {operation} goes to the primary region, which cannot be learned from a secret here: "
            f"pass client(..., primary_region=...), one of {list(regions.names)}"
        )
    return _learned(operation, params["SecretId"], regions)


def _region_of(secret_id: str, regions: Regions) -> str:
    return next((one for one in regions.names if secret_id.split(":")[3:4] == [one]), regions.names[0])


def _learned(operation: str, secret_id: str, regions: Regions) -> str:
    """The primary region of a secret, from the first region that can describe it."""
    failures: list[Exception] = []
    for region in regions.names:
        told = _described(secret_id, region, regions)
        if not isinstance(told, Exception):
            return _listed(secret_id, told.get("PrimaryRegion") or region, regions)
        failures.append(told)
    if all(isinstance(one, ClientError) and one.response["Error"]["Code"] == _MISSING for one in failures):
        return regions.names[0]  # which says so, to the operation itself
    unknown = ConfigurationError(
        f"primary_region: {operation} goes to the primary region of {secret_id!r}, which no listed region could tell "
        f"({'; '.join(str(one) for one in failures)}): pass client(..., primary_region=...), "
        f"one of {list(regions.names)}, or allow secretsmanager:DescribeSecret"
    )
    raise unknown from failures[-1]


def _described(secret_id: str, region: str, regions: Regions) -> dict[str, Any] | Exception:
    try:
        told: dict[str, Any] = regions.client(region).describe_secret(SecretId=in_region(secret_id, region, regions))
    except (ClientError, BotoCoreError) as error:
        return error
    return told


def _listed(secret_id: str, region: str, regions: Regions) -> str:
    if region in regions.names:
        return region
    raise ConfigurationError(
        f"primary_region: the primary region of {secret_id!r} is {region!r}, which is not listed "
        f"(regions={list(regions.names)}): add it to regions to write through this client"
    )


def in_region(secret_id: str, region: str, regions: Regions) -> str:
    """The id by which a region knows a secret; one that is not understood as it is."""
    with suppress(ConfigurationError):
        return parse_secret_id(secret_id, regions.names).in_region(region)
    return secret_id
