"""What the doctor saw: frozen records, one a region and one a secret in it. Never a value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from secretcache._ids import SecretId
    from secretcache._settings import Settings
    from secretcache._transport import Failure

__all__ = ["Examination", "RegionSight", "SecretSight", "Trouble", "place_of", "region_in"]

_REGION_IN_HOST = re.compile(r"(?:^|\.)([a-z]{2,8}(?:-[a-z]+)+-[0-9]{1,2})(?=\.)")
_GLOBAL_STS = "sts.amazonaws.com"
"""STS without a region is in us-east-1."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something was not done."""

    fault: str
    """The class of failure, as in `region_health()`: region, throttled, missing, deleted, denied, identity, …"""
    code: str
    message: str

    @classmethod
    def of(cls, failure: Failure) -> Trouble:
        """A failure of the transport."""
        return cls(failure.fault.name.lower(), failure.code, failure.message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSight:
    """One secret, as one region shows it."""

    trouble: Trouble | None = None
    """Why it could not be read."""
    arn: str | None = None
    version_id: str | None = None
    created: datetime | None = None
    """When the version was created in that region."""
    describe_trouble: Trouble | None = None
    described: bool = False
    primary_region: str | None = None
    replicas: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Of a primary: status and message of each replica."""
    kms_key: str | None = None
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rotates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionSight:
    """One region, as a cache in this process would meet it."""

    region: str
    trouble: Trouble | None = None
    """Why it could not be asked, whatever the secret."""
    endpoint: str | None = None
    addresses: tuple[str, ...] = ()
    address_kind: str = "unknown"
    """private, public, mixed, this machine or unknown."""
    resolve_error: str | None = None
    proxy: str | None = None
    no_proxy: str | None = None
    credentials: str | None = None
    """The kind: env, shared-credentials-file, assume-role, iam-role, container-role, sso, …"""
    credentials_seconds: float = 0.0
    """How long the slowest provider took that was asked for them."""
    account: str | None = None
    principal: str | None = None
    identity_hosts: tuple[str, ...] = ()
    """The hosts that were asked on the way to credentials: STS, SSO."""
    identity_trouble: Trouble | None = None
    latency_seconds: float | None = None
    skew_seconds: float | None = None
    """By how much the service's clock is ahead of this machine's."""
    answers_as: str | None = None
    """The region in its answers' ARNs."""
    batch: str = "not tried"
    calls: int = 0
    secrets: Mapping[str, SecretSight] = field(default_factory=dict)

    @property
    def asked(self) -> bool:
        """Whether it answered at all."""
        return self.latency_seconds is not None

    def of(self, name: str) -> SecretSight:
        """What it shows of a secret; nothing, where it was not asked."""
        return self.secrets.get(name, SecretSight(trouble=self.trouble))


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was seen, and when."""

    settings: Settings
    secrets: Mapping[str, SecretId]
    """By what the user called them."""
    sights: Mapping[str, RegionSight]
    at: datetime

    def readers(self, name: str) -> list[str]:
        """The regions that showed the secret's value."""
        return [region for region, sight in self.sights.items() if sight.of(name).version_id]

    def primary_of(self, name: str) -> str | None:
        """The secret's primary region, as far as DescribeSecret or the settings tell; the one that has replicas."""
        seen = {region: sight.of(name) for region, sight in self.sights.items()}
        told = next((one.primary_region for one in seen.values() if one.primary_region), None)
        return self.settings.primary_region or told or next((name for name, one in seen.items() if one.replicas), None)

    def name_of(self, name: str) -> str:
        """The name for a command line: without ARN and suffix."""
        return self.secrets[name].bare_name

    def arn_in(self, name: str, region: str) -> str:
        """The secret's ARN in a region, with what is known: as another region tells it, else with wildcards."""
        arns = [arn for sight in self.sights.values() if (arn := sight.of(name).arn)]
        account = next((sight.account for sight in self.sights.values() if sight.account), "*")
        known = arns[0] if arns else f"arn:aws:secretsmanager::{account}:secret:{self.name_of(name)}-??????"
        parts = known.split(":")
        return ":".join([*parts[:3], region, *parts[4:]])


def place_of(url: str | None) -> str | None:
    """Host and port of a URL, the port only where it is not the scheme's own."""
    if url is None:
        return None
    parts = urlsplit(url)
    usual = parts.port in (None, 443 if parts.scheme == "https" else 80)
    return parts.hostname if usual else f"{parts.hostname}:{parts.port}"


def region_in(host: str, examination: Examination | None = None) -> str | None:
    """The region that a host belongs to, by its name; or the listed region whose endpoint it is."""
    if host == _GLOBAL_STS:
        return "us-east-1"
    found = _REGION_IN_HOST.findall(host)
    if found or examination is None:
        return str(found[-1]) if found else None
    sights = examination.sights.values()
    return next((sight.region for sight in sights if place_of(sight.endpoint) == host), None)
