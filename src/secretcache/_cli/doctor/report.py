"""The doctor's report: regions side by side, findings, outages, cost; as text or JSON. Never a value."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from secretcache._cli.common import show, width
from secretcache._cli.doctor.findings import FAILURE, SEVERITIES, WARNING, Finding, exit_code
from secretcache._cli.doctor.rules_of_secrets import ago, behind_seconds
from secretcache._stats import usd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secretcache._cli.doctor.outages import Outage
    from secretcache._cli.doctor.sight import Examination, RegionSight, SecretSight

__all__ = ["as_json", "show_report"]

_COLUMN = 24
"""Narrower than that a region's column says nothing: one region below the other then."""
_STYLES = {FAILURE: "bold red", WARNING: "yellow"}
_MONTH = 30 * 86_400
_REFRESH_PART = 0.8
"""Where a refresh falls in `ttl`, at the middle."""
_VERSION = 8


def show_report(seen: Examination, findings: list[Finding], outages: list[Outage]) -> None:
    """Draws the report, as wide as there is room."""
    room = width()
    if room >= _COLUMN * (len(seen.sights) + 1):
        show(_table(seen, list(seen.sights)))
    else:
        show(*(_table(seen, [region]) for region in seen.sights))
    show(Text(), *_told(findings), Text(), *_consequences(outages), Text(), *map(Text, _cost(seen)))


def as_json(seen: Examination, findings: list[Finding], outages: list[Outage]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "regions": {region: asdict(sight) for region, sight in seen.sights.items()},
        "versions_agree": {name: _agree(seen, name) for name in seen.secrets},
        "behind_seconds": {
            name: {region: behind_seconds(seen, name, region) for region in seen.sights} for name in seen.secrets
        },
        "findings": [asdict(one) for one in findings],
        "outages": [asdict(one) for one in outages],
        "cost": _figures(seen),
        "exit_code": exit_code(findings),
    }


# Side by side.


def _table(seen: Examination, regions: list[str]) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, expand=False)
    table.add_column("", style="dim", overflow="fold")
    for region in regions:
        table.add_column(region, overflow="fold")
    sights = [seen.sights[region] for region in regions]
    for title, cell in _ROWS:
        table.add_row(title, *(escape(cell(sight)) for sight in sights))
    for name in seen.secrets:
        table.add_row(escape(name))
        for title, of in _SECRET_ROWS:
            table.add_row(f"  {title}", *(escape(of(seen, sight, name)) for sight in sights))
    return table


def _credentials(sight: RegionSight) -> str:
    trouble = f" ({sight.identity_trouble.code})" if sight.identity_trouble else ""
    return f"{sight.credentials or 'not looked for'}{trouble}"


def _address(sight: RegionSight) -> str:
    if sight.addresses:
        return f"{sight.addresses[0]} ({sight.address_kind})"
    return sight.resolve_error or "not looked up"


def _reach(sight: RegionSight) -> str:
    if sight.latency_seconds is not None and sight.trouble is None:
        return f"yes, {sight.latency_seconds * 1000:.0f} ms"
    return f"no: {sight.trouble.code}" if sight.trouble else "not asked"


def _clock(sight: RegionSight) -> str:
    if sight.skew_seconds is None:
        return "not told"
    return f"{-sight.skew_seconds:+.0f} s" if abs(sight.skew_seconds) >= 2 else "right"  # noqa: PLR2004 - whole seconds


_ROWS: tuple[tuple[str, Callable[[RegionSight], str]], ...] = (
    ("credentials", _credentials),
    ("account", lambda sight: sight.account or "unknown"),
    ("they depend on", lambda sight: ", ".join(sight.identity_hosts) or "no host of AWS's"),
    ("endpoint", lambda sight: sight.endpoint or "unknown"),
    ("address", _address),
    ("proxy", lambda sight: sight.proxy or "none"),
    ("NO_PROXY", lambda sight: sight.no_proxy or "none"),
    ("reachable", _reach),
    ("this clock", _clock),
    ("BatchGetSecretValue", lambda sight: sight.batch),
)


def _read(_seen: Examination, sight: RegionSight, name: str) -> str:
    one = sight.of(name)
    if one.trouble is not None:
        return one.trouble.code
    return "allowed" if one.version_id else "not asked"


def _describe(_seen: Examination, sight: RegionSight, name: str) -> str:
    one = sight.of(name)
    return one.describe_trouble.code if one.describe_trouble else ("allowed" if one.described else "not asked")


def _version(seen: Examination, sight: RegionSight, name: str) -> str:
    one = sight.of(name)
    if one.version_id is None:
        return "none"
    behind = behind_seconds(seen, name, sight.region)
    return one.version_id[:_VERSION] + (f", {ago(behind)} behind" if behind is not None else "")


def _replication(seen: Examination, sight: RegionSight, name: str) -> str:
    primary = seen.primary_of(name)
    if primary == sight.region:
        return "primary"
    if primary is None or primary not in seen.sights:
        return "unknown" if primary is None else f"replica of {primary}"
    status, _ = seen.sights[primary].of(name).replicas.get(sight.region, ("none of its replicas", ""))
    return f"replica of {primary}: {status}" if sight.of(name).described or status else "unknown"


def _key(_seen: Examination, sight: RegionSight, name: str) -> str:
    one: SecretSight = sight.of(name)
    return one.kms_key or ("aws/secretsmanager" if one.described else "unknown")


_SECRET_ROWS: tuple[tuple[str, Callable[[Examination, RegionSight, str], str]], ...] = (
    ("GetSecretValue", _read),
    ("DescribeSecret", _describe),
    ("AWSCURRENT", _version),
    ("replication", _replication),
    ("KMS key", _key),
)


def _agree(seen: Examination, name: str) -> bool | None:
    shown = [seen.sights[region].of(name).version_id for region in seen.readers(name)]
    return None if len(shown) < 2 else len(set(shown)) == 1  # noqa: PLR2004 - it takes two


# Findings, outages, cost.


def _told(findings: list[Finding]) -> Iterator[Text]:
    if not findings:
        yield Text("nothing to mend", style="bold green")
    for one in findings:
        head = ": ".join(filter(None, (one.severity.upper(), one.code, one.region, one.what)))
        yield Text(head, style=_STYLES.get(one.severity, ""))
        yield Text(f"    {one.mend}")
    counts = {severity: sum(one.severity == severity for one in findings) for severity in SEVERITIES}
    if findings:
        yield Text(", ".join(f"{number} {severity}{'s' * (number != 1)}" for severity, number in counts.items()))


def _consequences(outages: list[Outage]) -> Iterator[Text]:
    for one in outages:
        style = "" if one.served_by else "bold red"
        yield Text(f"if {one.region} failed: {one.secret}: {one.then}", style=style)


def _figures(seen: Examination) -> dict[str, Any]:
    calls = sum(sight.calls for sight in seen.sights.values())
    monthly = round(len(seen.secrets) * _MONTH / (_REFRESH_PART * seen.settings.ttl)) if seen.settings.ttl else None
    uncached = len(seen.secrets) * _MONTH
    return {
        "calls_made": calls,
        "calls_made_usd": usd(calls),
        "calls_a_month_and_process": monthly,
        "calls_a_month_and_process_usd": None if monthly is None else usd(monthly),
        "calls_saved_at_a_read_a_second": None if monthly is None else uncached - monthly,
        "calls_saved_at_a_read_a_second_usd": None if monthly is None else usd(uncached - monthly),
    }


def _cost(seen: Examination) -> Iterator[str]:
    cost = _figures(seen)
    yield f"this examination made {cost['calls_made']} calls ({cost['calls_made_usd']:.5f} USD)"
    if cost["calls_a_month_and_process"] is not None:
        monthly, price = cost["calls_a_month_and_process"], cost["calls_a_month_and_process_usd"]
        saved, worth = cost["calls_saved_at_a_read_a_second"], cost["calls_saved_at_a_read_a_second_usd"]
        yield (
            f"a process that uses these secrets makes about {monthly:,} calls a month at ttl={seen.settings.ttl:g} "
            f"({price:.2f} USD); at one read a second of each it saves {saved:,} ({worth:.2f} USD)"
        )
