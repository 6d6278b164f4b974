"""`secretcache get`: one secret, as an application would read it. Never its value, unless told `--reveal`."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from secretcache._cli.common import (
    FAILED,
    Endpoints,
    Regions,
    Timeout,
    environment,
    exits,
    is_terminal,
    new_cache,
    note,
    say,
    say_json,
    show,
    width,
)
from secretcache._errors import ConfigurationError, SecretFormatError

if TYPE_CHECKING:
    from secretcache._cache import SecretCache
    from secretcache._secret import Secret

__all__ = ["add"]

_TABLE_WIDTH = 80
_JsonFlag = Annotated[bool, typer.Option("--json", help="As JSON.")]


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Reads a secret. Tells of it what is no secret; its value only with --reveal.")(get)


def get(  # noqa: PLR0913 - each an option of its own
    secret: Annotated[str, typer.Argument(metavar="SECRET", help="Its name or ARN.")],
    *,
    key: Annotated[str | None, typer.Option("--key", help="One key of a JSON secret.")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="The version stage; AWSCURRENT unless told.")] = None,
    version_id: Annotated[str | None, typer.Option("--version-id", help="One version.")] = None,
    as_json: _JsonFlag = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Write the value to standard output.")] = False,
    region_info: Annotated[
        bool, typer.Option("--region-info", help="Tell how each region did, on standard error beside a value.")
    ] = False,
    regions: Regions = None,
    endpoint_urls: Endpoints = None,
    timeout: Timeout = None,
) -> None:
    """Reads one secret, and tells of it."""
    with exits(), new_cache(environment(regions, endpoint_urls, timeout), refresh="on_access") as cache:
        found = cache.get(secret, version_stage=stage, version_id=version_id)
        _check_key(found, key)
        told = _described(found, key)
        if as_json:
            shown = {**told, **({"value": _plain_value(found, key)} if reveal else {})}
            say_json({**shown, **({"regions": _region_rows(cache)} if region_info else {})})
            return
        if reveal:
            _write_value(found, key)
        else:
            for name, text in told.items():
                say(f"{name}: {', '.join(text) if isinstance(text, list) else text}")
        if region_info:
            _tell_regions(cache, beside_value=reveal)


def _described(secret: Secret, key: str | None) -> dict[str, Any]:
    """What may be shown of a secret. Not the names of its keys: a secret may map tokens to their owners."""
    told = {
        "name": secret.name,
        "arn": secret.arn,
        "version_id": secret.version_id,
        "stages": list(secret.version_stages),
        "region": secret.region,
        "created": secret.created_date.isoformat(timespec="seconds") if secret.created_date else None,
        "kind": _kind(secret),
    }
    return told if key is None else {**told, "key": key}


def _kind(secret: Secret) -> str:
    if not _is_text(secret):
        return "binary"
    try:
        parsed = secret.json()
    except SecretFormatError:
        return "text"
    if not isinstance(parsed, dict):
        return "text (JSON, but no object)"
    return f"JSON object with {len(parsed)} key{'' if len(parsed) == 1 else 's'}"


def _is_text(secret: Secret) -> bool:
    try:
        return secret.string is not None
    except SecretFormatError:
        return False


def _check_key(secret: Secret, key: str | None) -> None:
    if key is not None and key not in secret:
        note(f"secret {secret.name!r} has no key {key!r}")
        raise typer.Exit(FAILED)


def _plain_value(secret: Secret, key: str | None) -> Any:
    if key is not None:
        return secret[key]
    return secret.string if _is_text(secret) else {"base64": base64.b64encode(secret.binary).decode()}


def _write_value(secret: Secret, key: str | None) -> None:
    if key is None and not _is_text(secret):
        if is_terminal():
            raise ConfigurationError("the secret is binary: send it to a file or a pipe, or use --json for base64")
        _write_bytes(secret.binary)
        return
    value = _plain_value(secret, key)
    if not isinstance(value, str):  # a number, a list: as it stands in the JSON
        say_json(value)
    elif is_terminal():
        say(value)
    else:  # whatever the locale: an error of encoding would quote the value, and a changed line end would change it
        _write_bytes(value.encode("utf-8", "surrogatepass") + b"\n")


def _write_bytes(value: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(value)
    sys.stdout.buffer.flush()


def _region_rows(cache: SecretCache) -> list[dict[str, Any]]:
    return [
        {
            "region": health.region,
            "host": health.host,
            "state": health.state,
            "calls": health.calls,
            "answers": health.answers,
            "failures": health.failures,
            "latency_seconds": round(health.latency_p50_seconds, 4) if health.latency_p50_seconds else None,
            "last_error": health.last_error,
        }
        for health in cache.region_health().values()
    ]


def _tell_regions(cache: SecretCache, *, beside_value: bool) -> None:
    rows = _region_rows(cache)
    if beside_value:  # standard output is the value's alone
        for row in rows:
            note(", ".join(f"{name} {text}" for name, text in row.items() if text is not None))
        return
    say()
    if width() < _TABLE_WIDTH:
        for row in rows:
            _tell_below_each_other(row)
    else:
        show(_table(rows))


def _tell_below_each_other(row: dict[str, Any]) -> None:
    say(f"{row['region']}:")
    for name, text in row.items():
        if name != "region" and text is not None:
            say(f"  {name} {text}")


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name.replace("_seconds", " s"), overflow="fold")
    for row in rows:
        table.add_row(*("" if text is None else str(text) for text in row.values()))
    return table
