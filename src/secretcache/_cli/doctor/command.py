"""The command `secretcache doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from secretcache._cli.common import Endpoints, Regions, Timeout, environment, exits, say_json, settings_of
from secretcache._cli.doctor.checks import examine
from secretcache._cli.doctor.findings import exit_code, findings_of
from secretcache._cli.doctor.outages import outages_of
from secretcache._cli.doctor.report import as_json, show_report
from secretcache._ids import parse_secret_id
from secretcache._settings import Settings

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        help="Looks at every region as a cache would use it: what is wrong, what mends it, what each outage would do. "
        "Exits with 0, 1 (warnings) or 2 (failures)."
    )(doctor)


def doctor(
    secrets: Annotated[list[str], typer.Argument(metavar="SECRET", help="Names or ARNs.")],
    *,
    in_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    regions: Regions = None,
    endpoint_urls: Endpoints = None,
    timeout: Timeout = None,
) -> None:
    """Examines, and exits with the gravest finding."""
    with exits():
        settings = Settings(**settings_of(environment(regions, endpoint_urls, timeout)))
        wanted = {text: parse_secret_id(text, settings.regions) for text in dict.fromkeys(secrets)}
        seen = examine(settings, wanted)
        findings, outages = findings_of(seen), outages_of(seen)
        if in_json:
            say_json(as_json(seen, findings, outages))
        else:
            show_report(seen, findings, outages)
        code = exit_code(findings)
    raise typer.Exit(code)
