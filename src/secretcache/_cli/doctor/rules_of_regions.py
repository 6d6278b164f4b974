"""What can be wrong with a region, whatever the secret: endpoints, names, proxies, credentials, clocks."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from secretcache._cli.doctor.findings import FAILURE, NOTE, WARNING, Finding
from secretcache._cli.doctor.sight import Examination, RegionSight, place_of, region_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["RULES", "is_skewed", "sharers"]

_SKEW_WARNING, _SKEW_FAILURE = 30.0, 300.0
"""AWS refuses what was signed more than five minutes ago, or ahead."""
_SLOW_SECONDS = 1.0
"""From here on loading credentials is worth a word: it is half of what a request may take."""
_SLOW = 0.5
"""The hedging delay: behind it cold reads go to the next region too."""
_CLOCK_CODES = ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture")
_CLOCK_WORDS = re.compile(r"signature (not yet current|expired)|too skewed", re.IGNORECASE)
_SCOPE_WORDS = re.compile(r"scoped to a valid region|scoped to correct region", re.IGNORECASE)
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL")
_ENABLE = "aws account enable-region --region-name {region}"


def sharers(seen: Examination, region: str) -> list[str]:
    """The other regions that are asked at the same endpoint."""
    place = place_of(seen.sights[region].endpoint)
    return [
        other for other, sight in seen.sights.items() if place and other != region and place_of(sight.endpoint) == place
    ]


def is_skewed(sight: RegionSight) -> bool:
    """Whether the service says that the clock is wrong."""
    trouble = sight.trouble
    return trouble is not None and (trouble.code in _CLOCK_CODES or bool(_CLOCK_WORDS.search(trouble.message)))


def _one_region(seen: Examination) -> Iterator[Finding]:
    if len(seen.sights) == 1:
        (region,) = seen.sights
        yield Finding(
            severity=WARNING,
            code="one-region",
            region=region,
            what="one region is listed: there is nowhere to fail over to",
            mend=f"export SECRETCACHE_REGIONS={region},REPLICA_REGION",
        )


def _one_endpoint(seen: Examination) -> Iterator[Finding]:
    told: set[str] = set()
    for region in seen.sights:
        others = sharers(seen, region)
        if others and region not in told:
            told.update((region, *others))
            yield Finding(
                severity=FAILURE,
                code="one-endpoint",
                region=region,
                what=f"{', '.join((region, *others))} are asked at one endpoint, {seen.sights[region].endpoint}: "
                "they fail together, and it belongs to one region at most",
                mend=_separate_endpoints(seen, (region, *others)),
            )


def _separate_endpoints(seen: Examination, regions: tuple[str, ...]) -> str:
    variable = next((name for name in _ENDPOINT_VARIABLES if os.environ.get(name)), None)
    if variable and not any(region in seen.settings.endpoint_urls for region in regions):
        return f"unset {variable}"
    pairs = ",".join(f"{region}=https://secretsmanager.{region}.amazonaws.com" for region in regions)
    return f"export SECRETCACHE_ENDPOINT_URLS={pairs}"


def _foreign_endpoint(seen: Examination) -> Iterator[Finding]:
    for region, sight in seen.sights.items():
        other = _told_region(sight)
        if sharers(seen, region) or other in {None, region}:
            continue
        of = f"of {other}" if other else "of another region"
        yield Finding(
            severity=FAILURE,
            code="foreign-endpoint",
            region=region,
            what=f"{sight.endpoint} is the endpoint {of}: {region} is not asked there",
            mend=f"export SECRETCACHE_ENDPOINT_URLS={region}=https://secretsmanager.{region}.amazonaws.com",
        )


def _told_region(sight: RegionSight) -> str | None:
    """The region an endpoint is seen to belong to; empty: another one; None: nothing says so."""
    if sight.trouble is not None and _SCOPE_WORDS.search(sight.trouble.message):
        return region_in(place_of(sight.endpoint) or "") or ""
    by_name = region_in((place_of(sight.endpoint) or "").partition(":")[0])
    return sight.answers_as or by_name


def _unreachable(seen: Examination) -> Iterator[Finding]:
    for region, sight in seen.sights.items():
        trouble = sight.trouble
        if trouble is None or trouble.fault not in {"region", "local"} or _told_region(sight) not in {None, region}:
            continue
        if trouble.fault == "local":
            yield _finding(sight, "local", f"this process could not ask it: {trouble}", "ulimit -n 4096")
        elif sight.proxy:
            yield _finding(
                sight,
                "proxy",
                f"the proxy {sight.proxy} stands in the way of {place_of(sight.endpoint)}: {trouble}",
                _proxy_credentials(sight) if "407" in str(trouble) else _no_proxy(sight),
            )
        elif _lacks_private_dns(seen, sight):
            yield _private_dns(seen, sight, FAILURE, f"and cannot be reached: {trouble}")
        elif sight.resolve_error:
            what = f"{place_of(sight.endpoint)} has no address: {sight.resolve_error}"
            yield _finding(sight, "no-address", what, _endpoint_line(region))
        else:
            what = f"{place_of(sight.endpoint)} cannot be reached: {trouble}"
            yield _finding(sight, "unreachable", what, f"curl --max-time 3 --verbose {sight.endpoint}")


def _finding(sight: RegionSight, code: str, what: str, mend: str, severity: str = FAILURE) -> Finding:
    return Finding(severity=severity, code=code, region=sight.region, what=what, mend=mend)


def _proxy_credentials(sight: RegionSight) -> str:
    parts = urlsplit(sight.proxy or "")
    scheme = urlsplit(sight.endpoint or "").scheme.upper()
    return f"export {scheme}_PROXY={parts.scheme}://USER:PASSWORD@{place_of(sight.proxy)}"


def _no_proxy(sight: RegionSight) -> str:
    host = (place_of(sight.endpoint) or "").partition(":")[0]
    return f"export NO_PROXY={','.join(filter(None, (sight.no_proxy, host)))}"


def _endpoint_line(region: str) -> str:
    return f"export SECRETCACHE_ENDPOINT_URLS={region}=https://VPCE-ID.secretsmanager.{region}.vpce.amazonaws.com"


def _lacks_private_dns(seen: Examination, sight: RegionSight) -> bool:
    """Whether another region is reached by a private address, and this one's name has none."""
    others = (other.address_kind for other in seen.sights.values() if other is not sight)
    return "private" in others and sight.address_kind in {"public", "unknown"}


def _private_dns(seen: Examination, sight: RegionSight, severity: str, then: str) -> Finding:
    private = next(one for one in seen.sights.values() if one.address_kind == "private")
    host, where = place_of(sight.endpoint), f"the public address {sight.addresses[0]}" if sight.addresses else "nothing"
    return Finding(
        severity=severity,
        code="private-dns-missing",
        region=sight.region,
        what=f"{host} resolves to {where}, while {private.region} is private ({private.addresses[0]}): an interface "
        f"endpoint's private DNS covers its own region only, {then}",
        mend=_endpoint_line(sight.region),
    )


def _reached_in_public(seen: Examination) -> Iterator[Finding]:
    for sight in seen.sights.values():
        if sight.asked and not sight.proxy and _lacks_private_dns(seen, sight):
            yield _private_dns(seen, sight, WARNING, "so these reads leave through the internet")


def _private_through_proxy(seen: Examination) -> Iterator[Finding]:
    for sight in seen.sights.values():
        if sight.proxy and sight.asked and sight.address_kind == "private":
            what = f"requests to a private address ({sight.addresses[0]}) go through the proxy {sight.proxy}"
            yield _finding(sight, "proxy", what, _no_proxy(sight), WARNING)


def _slow_credentials(seen: Examination) -> Iterator[Finding]:
    for region, sight in seen.sights.items():
        if sight.credentials_seconds >= _SLOW_SECONDS:
            what = (
                f"credentials took {sight.credentials_seconds:.1f} s to load ({sight.credentials}): a process's first "
                "read waits for that, and one that lives for less reads nothing"
            )
            line = f"time aws sts get-caller-identity --region {region}"
            yield _finding(sight, "slow-credentials", what, line, WARNING)


def _one_proxy(seen: Examination) -> Iterator[Finding]:
    proxies = {sight.proxy for sight in seen.sights.values()}
    if len(seen.sights) > 1 and len(proxies) == 1 and None not in proxies:
        first = next(iter(seen.sights.values()))
        what = f"every region is reached through the one proxy {first.proxy}: without it none can be asked"
        yield _finding(first, "one-proxy", what, _no_proxy(first), NOTE)


def _one_address(seen: Examination) -> Iterator[Finding]:
    for region, sight in seen.sights.items():
        others = [
            other
            for other, there in seen.sights.items()
            if set(there.addresses) & set(sight.addresses) and sight.address_kind in {"private", "public"}
        ]
        if len(others) > 1 and others[0] == region and not sharers(seen, region) and not sight.proxy:
            what = f"{', '.join(others)} are reached at one address, {sight.addresses[0]}: they may fail together"
            yield _finding(sight, "one-address", what, _endpoint_line(region), WARNING)


def _identity(seen: Examination) -> Iterator[Finding]:
    for sight in seen.sights.values():
        trouble = sight.identity_trouble or (
            sight.trouble if sight.trouble and sight.trouble.fault == "identity" else None
        )
        if trouble is None or is_skewed(sight) or _told_region(sight) not in {None, sight.region}:
            continue
        elsewhere = [host for host in sight.identity_hosts if region_in(host, seen) not in {None, sight.region}]
        if elsewhere:
            what = f"its credentials depend on {_named(seen, elsewhere[0])}, which failed: {trouble}"
            yield _finding(sight, "sts-pinned", what, _sts_line(sight.region, elsewhere[0]))
        else:
            yield _finding(sight, "credentials", f"no valid credentials: {trouble}", _login_line(sight))


def _login_line(sight: RegionSight) -> str:
    if sight.credentials in {"sso", "login"}:
        return "aws sso login"
    return "aws configure" if sight.credentials == "none" else f"aws sts get-caller-identity --region {sight.region}"


def _sts_line(region: str, host: str) -> str:
    variable = next((name for name in ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL") if os.environ.get(name)), None)
    if variable:
        return f"unset {variable}"
    if host.startswith("sts."):
        return "export AWS_STS_REGIONAL_ENDPOINTS=regional"
    return f"give {region} credentials of its own: SecretCache(session_factory=lambda region: …)"


def _named(seen: Examination, host: str) -> str:
    region = region_in(host, seen)
    return f"{host} in {region}" if region else host


def _pinned_identity(seen: Examination) -> Iterator[Finding]:
    for sight in seen.sights.values():
        if sight.identity_trouble is not None:
            continue  # told as what has failed
        for host in sight.identity_hosts:
            if region_in(host, seen) not in {None, sight.region}:
                what = f"its credentials come from {_named(seen, host)}: when that region fails, they are not renewed"
                yield _finding(sight, "sts-pinned", what, _sts_line(sight.region, host), WARNING)
    yield from _one_identity_host(seen)


def _one_identity_host(seen: Examination) -> Iterator[Finding]:
    for host in dict.fromkeys(host for sight in seen.sights.values() for host in sight.identity_hosts):
        those = [sight.region for sight in seen.sights.values() if host in sight.identity_hosts]
        if region_in(host, seen) is None and len(those) > 1:
            what = f"the credentials of {', '.join(those)} all come from {host}: one host for all regions"
            yield _finding(seen.sights[those[0]], "sts-pinned", what, _sts_line(those[0], host), WARNING)


def _clock(seen: Examination) -> Iterator[Finding]:
    mend = "sudo timedatectl set-ntp true"
    for sight in seen.sights.values():
        skew = abs(sight.skew_seconds or 0.0)
        way = "behind" if (sight.skew_seconds or 0.0) > 0 else "ahead of"
        if is_skewed(sight) or skew >= _SKEW_FAILURE:
            what = f"this machine's clock is {skew:.0f} s {way} {sight.region}'s: beyond 300 s requests are refused"
            yield _finding(sight, "clock", what, mend)
            return  # one clock, one finding
        if skew >= _SKEW_WARNING:
            yield _finding(
                sight, "clock", f"this machine's clock is {skew:.0f} s {way} {sight.region}'s", mend, WARNING
            )
            return


def _not_offered(seen: Examination) -> Iterator[Finding]:
    for region, sight in seen.sights.items():
        if sight.trouble is not None and sight.trouble.fault == "not_offered":
            what = f"not enabled for the account, or not offered there: {sight.trouble}"
            yield _finding(sight, "region-disabled", what, _ENABLE.format(region=region))


def _misconfigured(seen: Examination) -> Iterator[Finding]:
    for sight in seen.sights.values():
        if sight.trouble is not None and sight.trouble.fault == "caller" and not sight.secrets:
            yield _finding(sight, "configuration", f"could not be asked: {sight.trouble}", "secretcache config")


def _two_accounts(seen: Examination) -> Iterator[Finding]:
    accounts = {sight.region: sight.account for sight in seen.sights.values() if sight.account}
    if len(set(accounts.values())) > 1:
        what = "the credentials belong to different accounts: " + ", ".join(f"{r} {a}" for r, a in accounts.items())
        (first, *_), kind = accounts, WARNING
        yield Finding(severity=kind, code="two-accounts", region=first, what=what, mend="aws sts get-caller-identity")


def _slow(seen: Examination) -> Iterator[Finding]:
    for sight in seen.sights.values():
        if (sight.latency_seconds or 0.0) >= _SLOW:
            what = f"its fastest answer took {sight.latency_seconds:.2f} s: cold reads are sent to the next region too"
            order = [other for other in seen.sights if other != sight.region] + [sight.region]
            yield _finding(sight, "slow", what, f"export SECRETCACHE_REGIONS={','.join(order)}", NOTE)


RULES: tuple[Callable[[Examination], Iterator[Finding]], ...] = (
    _one_endpoint,
    _foreign_endpoint,
    _clock,
    _identity,
    _unreachable,
    _not_offered,
    _misconfigured,
    _pinned_identity,
    _reached_in_public,
    _private_through_proxy,
    _one_proxy,
    _slow_credentials,
    _one_address,
    _two_accounts,
    _one_region,
    _slow,
)
