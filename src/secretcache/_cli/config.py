"""`secretcache config`: every setting in force, and where it came from."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from secretcache._cli.common import Endpoints, Regions, Timeout, environment, exits, say_json, settings_of, show, warned
from secretcache._regions.policy import RegionPolicy
from secretcache._settings import Settings, check_surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["add", "without_password"]

_OPTIONS = {"regions": "--regions", "endpoint_urls": "--endpoint-urls", "timeout": "--timeout"}
_AROUND = (
    "AWS_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_STS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "AWS_LAMBDA_FUNCTION_NAME",
)
"""What AWS's libraries take from the environment, and matters to these calls. No variable that holds a credential."""
_PASSWORD = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting in force."""

    group: str
    name: str
    value: str
    source: str


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Shows every setting in force, and where it came from.")(config)


def config(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    regions: Regions = None,
    endpoint_urls: Endpoints = None,
    timeout: Timeout = None,
) -> None:
    """Shows the settings."""
    with exits():
        settings = Settings(**settings_of(environment(regions, endpoint_urls, timeout)))
        options = {"regions": regions, "endpoint_urls": endpoint_urls, "timeout": timeout}
        rows = [*_own(settings, options), *_requests(), *_failover(), *_surroundings(os.environ)]
        if as_json:
            say_json([{one.name: getattr(row, one.name) for one in fields(row)} for row in rows])
        else:
            show(_table(rows))
        with warned():
            check_surroundings(settings)


def _own(settings: Settings, options: Mapping[str, str | None]) -> Iterator[Setting]:
    names = ("regions", "ttl", "max_stale", "timeout", "max_entries", "refresh", "primary_region", "endpoint_urls")
    for name in names:
        yield Setting("cache", name, _text(getattr(settings, name)), _source(name, options))


def _source(name: str, options: Mapping[str, str | None]) -> str:
    variable = f"SECRETCACHE_{name.upper()}"
    if options.get(name) is not None:
        return _OPTIONS[name]
    if variable in os.environ:
        return variable
    if name == "regions":
        return _region_source()
    return "AWS_LAMBDA_FUNCTION_NAME" if name == "refresh" and os.environ.get("AWS_LAMBDA_FUNCTION_NAME") else "default"


def _region_source() -> str:
    if os.environ.get("AWS_DEFAULT_REGION"):
        return "AWS_DEFAULT_REGION"
    return f"the AWS configuration, profile {os.environ.get('AWS_PROFILE') or 'default'}"


def _requests() -> Iterator[Setting]:
    from secretcache._transport import _sessions as made  # noqa: PLC0415 - imports botocore

    told = {
        "connect_timeout": made.CONNECT_SECONDS,
        "read_timeout": made.READ_SECONDS,
        "attempts of botocore": 1,
        "connections a region": made.POOL,
    }
    for name, value in told.items():
        yield Setting("requests", name, str(value), "built in")


def _failover() -> Iterator[Setting]:
    policy = RegionPolicy()
    for name in policy._fields:
        yield Setting("failover", name, _text(getattr(policy, name)), "built in")


def _surroundings(environ: Mapping[str, str]) -> Iterator[Setting]:
    for name in _AROUND:
        if environ.get(name):
            yield Setting("environment", name, without_password(environ[name]), "environment variable")


def without_password(url: str) -> str:
    """A URL without the user name and password that it may carry."""
    return _PASSWORD.sub("***@", url)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    if hasattr(value, "items"):
        return ", ".join(f"{region}={url}" for region, url in value.items()) or "none"
    return "none" if value is None else str(value)


def _table(rows: list[Setting]) -> Table:
    table = Table(box=None, pad_edge=False)
    for field in fields(Setting):
        table.add_column(field.name, overflow="fold")
    for row in rows:
        table.add_row(row.group, row.name, row.value, row.source)
    return table
