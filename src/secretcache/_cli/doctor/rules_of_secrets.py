"""What can be wrong with a secret: permissions, keys, replication, versions."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from secretcache._cli.doctor.findings import FAILURE, NOTE, WARNING, Finding
from secretcache._ids import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secretcache._cli.doctor.sight import Examination, SecretSight, Trouble

__all__ = ["RULES", "ago", "behind_seconds", "is_kms"]

_LAG_SECONDS = 300.0
"""Replication takes seconds; five minutes later it has failed, whatever its status says."""
_KMS = re.compile(r"\bkms\b|decrypt", re.IGNORECASE)
_DAY, _HOUR, _MINUTE = 86_400, 3600, 60


def is_kms(trouble: Trouble) -> bool:
    """Whether a refusal is that of a key, and not of the secret."""
    return bool(_KMS.search(trouble.message)) or "KMS" in trouble.code or trouble.code.startswith("DecryptionFailure")


def ago(seconds: float) -> str:
    """A duration in words: its greatest unit."""
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def behind_seconds(seen: Examination, name: str, region: str) -> float | None:
    """For how long a region has not had the primary's current version; None if it has it, or nobody can tell."""
    primary = seen.primary_of(name)
    if primary is None or primary not in seen.sights:
        return None
    newest, here = seen.sights[primary].of(name), seen.sights[region].of(name)
    if None in {newest.version_id, here.version_id} or newest.version_id == here.version_id or newest.created is None:
        return None
    return (seen.at - newest.created).total_seconds()


def _each(seen: Examination) -> Iterator[tuple[str, str, SecretSight]]:
    for name in seen.secrets:
        for region, sight in seen.sights.items():
            if name in sight.secrets:
                yield name, region, sight.of(name)


def _refused(seen: Examination) -> Iterator[Finding]:
    for name, region, one in _each(seen):
        trouble = one.trouble
        if trouble is None or trouble.fault != "denied":
            continue
        code, line = ("kms-denied", _key_line(seen, name, region)) if is_kms(trouble) else ("denied", None)
        mend = line or _allow("secretsmanager:GetSecretValue", seen.arn_in(name, region))
        yield _finding(code, region, name, f"reading {name} is refused: {trouble}", mend)


def _key_line(seen: Examination, name: str, region: str) -> str:
    one = seen.sights[region].of(name)
    key = one.kms_key or f"arn:aws:kms:{region}:{seen.sights[region].account or '*'}:key/KEY_ID"
    if one.trouble is not None and re.search(
        r"disabled|pending deletion|InvalidState", f"{one.trouble}", re.IGNORECASE
    ):
        return f"aws kms enable-key --region {region} --key-id {key}"
    return _allow("kms:Decrypt", key)


def _allow(action: str, resource: str) -> str:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps(statement)


def _finding(code: str, region: str, name: str, what: str, mend: str, severity: str = FAILURE) -> Finding:  # noqa: PLR0913, PLR0917
    return Finding(severity=severity, code=code, region=region, secret=name, what=what, mend=mend)


def _missing(seen: Examination) -> Iterator[Finding]:
    for name, region, one in _each(seen):
        if one.trouble is None or one.trouble.fault != "missing":
            continue
        readers = seen.readers(name)
        if not readers:
            line = f"aws secretsmanager list-secrets --region {region} --filters Key=name,Values={seen.name_of(name)}"
            yield _finding("missing", region, name, f"{name} does not exist here: {one.trouble}", line)
            continue
        source = seen.primary_of(name) or readers[0]
        status, why = seen.sights[source].of(name).replicas.get(region, ("", "")) if source in seen.sights else ("", "")
        told = f" (replication {status}: {why})" if status else ""
        what = f"{name} is in {', '.join(readers)} but not here{told}"
        yield _finding("replica-missing", region, name, what, _replicate(seen, name, source, region))


def _replicate(seen: Examination, name: str, source: str, region: str, *, overwrite: bool = False) -> str:
    force = " --force-overwrite-replica-secret" if overwrite else ""
    return (
        f"aws secretsmanager replicate-secret-to-regions --region {source} --secret-id {seen.name_of(name)} "
        f"--add-replica-regions Region={region}{force}"
    )


def _deleted(seen: Examination) -> Iterator[Finding]:
    for name, region, one in _each(seen):
        if one.trouble is not None and one.trouble.fault == "deleted":
            line = f"aws secretsmanager restore-secret --region {region} --secret-id {seen.name_of(name)}"
            yield _finding("deleted", region, name, f"{name} is marked for deletion: {one.trouble}", line)


def _throttled(seen: Examination) -> Iterator[Finding]:
    for name, region, one in _each(seen):
        if one.trouble is not None and one.trouble.fault == "throttled":
            line = f"aws service-quotas list-service-quotas --region {region} --service-code secretsmanager"
            yield _finding("throttled", region, name, f"asked too often: {one.trouble}", line, WARNING)


def _malformed(seen: Examination) -> Iterator[Finding]:
    for name, region, one in _each(seen):
        if one.trouble is not None and one.trouble.fault == "caller":
            what = f"the service does not understand the request: {one.trouble}"
            line = f"aws secretsmanager list-secrets --region {region} --filters Key=name,Values={seen.name_of(name)}"
            yield _finding("malformed", region, name, what, line)


def _foreign(seen: Examination) -> Iterator[Finding]:
    """Secrets of one name that were made separately: a replica has its primary's suffix."""
    for name in seen.secrets:
        keeps = _keeper_of_name(seen, name)
        for region in seen.readers(name):
            if keeps is not None and _are_two(seen, name, region, keeps):
                here, there = (seen.sights[one].of(name).arn for one in (region, keeps))
                what = (
                    f"{here} is another secret than {there}, under the same name: it cannot stand in for it, "
                    f"and reads that begin with it get another value (the command overwrites it with {keeps}'s)"
                )
                yield _finding(
                    "another-secret", region, name, what, _replicate(seen, name, keeps, region, overwrite=True)
                )


def _keeper_of_name(seen: Examination, name: str) -> str | None:
    """The region whose secret is meant by a name: the named primary, else the first that shows it."""
    readers = seen.readers(name)
    return seen.settings.primary_region if seen.settings.primary_region in readers else next(iter(readers), None)


def _are_two(seen: Examination, name: str, region: str, other: str) -> bool:
    suffixes = {(seen.sights[one].of(name).arn or "").rpartition(":")[2] for one in (region, other)} - {""}
    return len(suffixes) > 1


def _out_of_step(seen: Examination) -> Iterator[Finding]:
    """Replicas that are not what their primary is: failed or behind."""
    for name in seen.secrets:
        source = seen.primary_of(name)
        alone = _standing_alone(seen, name)
        for region in seen.readers(name):
            there = source if source is not None and source in seen.sights else seen.readers(name)[0]
            if region not in {source, *alone} and not _are_two(seen, name, region, there):
                yield from _replica(seen, name, source, region)


def _replica(seen: Examination, name: str, source: str | None, region: str) -> Iterator[Finding]:
    there = source if source in seen.readers(name) else next(one for one in seen.readers(name))
    agrees = seen.sights[region].of(name).version_id == seen.sights[there].of(name).version_id
    status, why = seen.sights[there].of(name).replicas.get(region, ("", ""))
    if status == "Failed" or (not agrees and (behind_seconds(seen, name, region) or 0.0) > _LAG_SECONDS):
        mend = _replicate(seen, name, there, region, overwrite=True)
        yield _finding("out-of-sync", region, name, _lag(seen, name, region, status, why), mend)
    elif not agrees and source is None:
        mend = _allow("secretsmanager:DescribeSecret", seen.arn_in(name, region))
        what = f"{name} has another current version than in {there}; which is the newer one, DescribeSecret would tell"
        yield _finding("versions-differ", region, name, what, mend, WARNING)
    elif not agrees:
        yield _finding(
            "behind", region, name, _lag(seen, name, region, status, why), f"secretcache watch {name}", WARNING
        )


def _promoted(seen: Examination) -> Iterator[Finding]:
    """Secrets of one name that are no replicas of each other."""
    for name in seen.secrets:
        alone = _standing_alone(seen, name)
        if len(alone) < 2:  # noqa: PLR2004 - it takes two
            continue
        keeps = _keeper(seen, name, alone)
        for region in alone:
            if region != keeps and not _are_two(seen, name, region, keeps):
                agrees = seen.sights[region].of(name).version_id == seen.sights[keeps].of(name).version_id
                yield _alone(name, region, keeps, agrees, _replicate(seen, name, keeps, region, overwrite=True))


def _standing_alone(seen: Examination, name: str) -> list[str]:
    """The regions whose secret is nobody's replica, as far as DescribeSecret tells."""
    found = {region: seen.sights[region].of(name) for region in seen.readers(name)}
    replicas = {replica for region, one in found.items() for replica in one.replicas if replica != region}
    return [
        region
        for region, one in found.items()
        if one.described and one.primary_region in {None, region} and region not in replicas
    ]


def _keeper(seen: Examination, name: str, alone: list[str]) -> str:
    """Whose value is kept: the primary's, if it is known; else that of the region that was written to last."""
    if seen.settings.primary_region in alone:
        return str(seen.settings.primary_region)

    def written(region: str) -> tuple[bool, float]:
        one = seen.sights[region].of(name)
        return bool(one.replicas), one.created.timestamp() if one.created else 0.0

    return max(alone, key=written)


def _alone(name: str, region: str, source: str, agrees: bool, mend: str) -> Finding:  # noqa: FBT001
    if agrees:
        what = f"{name} is no replica of {source}'s: the next rotation will not reach it (the command overwrites it)"
        return _finding("not-replicated", region, name, what, mend, WARNING)
    what = (
        f"{name} is a secret of its own here (a promoted replica?), with another current version than {source}'s: "
        f"reads differ by region (the command overwrites it with {source}'s)"
    )
    return _finding("diverged", region, name, what, mend)


def _lag(seen: Examination, name: str, region: str, status: str, why: str) -> str:
    here, primary = seen.sights[region].of(name), seen.primary_of(name)
    seconds = behind_seconds(seen, name, region)
    if seconds is None:
        return f"{name}: replication {status or 'unknown'}{': ' + why if why else ''}"
    there = seen.sights[str(primary)].of(name)
    stages = ",".join(there.versions.get(str(here.version_id), ())) or "no stage"
    told = f"; replication {status}{': ' + why if why else ''}" if status and status != "InSync" else ""
    return (
        f"{name} shows version {here.version_id} ({stages} in {primary}), "
        f"{ago(seconds)} after {primary} moved {CURRENT} to {there.version_id}{told}"
    )


def _no_description(seen: Examination) -> Iterator[Finding]:
    for name, region, one in _each(seen):
        if one.trouble is None and one.describe_trouble is not None:
            what = (
                "DescribeSecret is not allowed: neither replication nor the primary region can be told "
                f"({one.describe_trouble.code})"
            )
            line = _allow("secretsmanager:DescribeSecret", seen.arn_in(name, region))
            yield _finding("no-describe", region, name, what, line, NOTE)


def _no_batch(seen: Examination) -> Iterator[Finding]:
    for region, sight in seen.sights.items():
        if sight.batch == "denied":
            what = "BatchGetSecretValue is not allowed: prefetch reads one by one"
            line = _allow("secretsmanager:BatchGetSecretValue", "*")
            yield Finding(severity=NOTE, code="no-batch", region=region, what=what, mend=line)


def _unlisted_primary(seen: Examination) -> Iterator[Finding]:
    for name in seen.secrets:
        primary = seen.primary_of(name)
        if primary is not None and primary not in seen.sights:
            what = f"the primary of {name} is not listed: rotations are seen when they reach a replica"
            line = f"export SECRETCACHE_REGIONS={','.join((*seen.sights, primary))}"
            yield _finding("primary-not-listed", primary, name, what, line, NOTE)


RULES: tuple[Callable[[Examination], Iterator[Finding]], ...] = (
    _refused,
    _missing,
    _deleted,
    _foreign,
    _promoted,
    _out_of_step,
    _throttled,
    _malformed,
    _no_description,
    _no_batch,
    _unlisted_primary,
)
