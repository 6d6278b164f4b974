"""What would happen if each region failed, secret by secret. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secretcache._cli.doctor.rules_of_regions import sharers
from secretcache._cli.doctor.rules_of_secrets import ago, behind_seconds
from secretcache._cli.doctor.sight import region_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secretcache._cli.doctor.sight import Examination

__all__ = ["Outage", "outages_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One secret, were one region gone."""

    region: str
    secret: str
    served_by: str | None
    """The region that would answer a cold read; None: only what is cached stands in."""
    then: str
    """In words."""


def outages_of(seen: Examination) -> list[Outage]:
    """For each region and each secret, in their order."""
    return [_outage(seen, region, name) for region in seen.sights for name in seen.secrets]


def _outage(seen: Examination, region: str, name: str) -> Outage:
    served_by = next((one for one in seen.readers(name) if one != region and one not in sharers(seen, region)), None)
    if served_by is None:
        stays = ago(seen.settings.ttl + seen.settings.max_stale)
        then = f"NOT READABLE: {_why_not(seen, region, name)}; cached values stand in for up to {stays}"
        return Outage(region=region, secret=name, served_by=None, then=then)
    told = [f"{served_by} answers", *_but(seen, region, name, served_by)]
    return Outage(region=region, secret=name, served_by=served_by, then=", ".join(told))


def _why_not(seen: Examination, region: str, name: str) -> str:
    others = [sight for sight in seen.sights.values() if sight.region != region]
    if not others:
        return "no other region is listed"
    return ", ".join(_excuse(seen, region, sight.region, name) for sight in others)


def _excuse(seen: Examination, region: str, other: str, name: str) -> str:
    if other in sharers(seen, region):
        return f"{other} has the same endpoint"
    trouble = seen.sights[other].of(name).trouble
    return f"{other}: {trouble.code if trouble else 'not asked'}"


def _but(seen: Examination, region: str, name: str, served_by: str) -> Iterator[str]:
    behind = behind_seconds(seen, name, served_by)
    versions = {seen.sights[one].of(name).version_id for one in (region, served_by)}
    if behind is not None:
        yield f"{ago(behind)} behind"
    elif len(versions - {None}) > 1:
        yield "with the newer version" if seen.primary_of(name) == served_by else "with another version"
    hosts = [host for host in seen.sights[served_by].identity_hosts if region_in(host, seen) == region]
    if hosts:
        yield f"until its credentials expire: they come from {hosts[0]}"
    if seen.primary_of(name) == region:
        yield "and nothing rotates or can be written until it is back"
