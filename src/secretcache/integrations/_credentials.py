"""A database secret, as AWS documents it, turned into what a driver wants to know.

`engine`, `host`, `port`, `dbname`, `username` and `password`. The secrets that RDS manages (`rds!...`) hold the last
two alone; others hold more (`masterarn`, `dbInstanceIdentifier`), which nobody needs to log in.

A replica secret is a copy of its primary, host included. AWS's advice is to add pairs of one's own for each region, and
names none: here `host`, `port` and `dbname` are looked for under `host_ap-northeast-3` first, for the region in which
the application runs, and hosts in a mapping `"hosts": {"ap-northeast-3": ...}` after that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, cast

from secretcache._errors import ConfigurationError, SecretFormatError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from secretcache._cache import SecretCache
    from secretcache._secret import Secret

__all__ = ["KEYS", "Credentials", "app_region_of", "check_hosts", "check_overrides", "credentials_of", "target_of"]

KEYS = ("engine", "host", "port", "dbname", "username", "password")
"""What a database secret tells, and what may be overridden."""
_REGIONAL = ("host", "port", "dbname")
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Where to log in, and as whom. None: neither the secret nor the settings tell."""

    engine: str | None
    host: str | None
    port: int | None
    dbname: str | None
    username: str = field(repr=False)
    password: str = field(repr=False)


def credentials_of(
    secret: Secret,
    *,
    overrides: Mapping[str, object] | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
) -> Credentials:
    """What a database secret says, and what the settings say instead.

    Each is looked for in this order: `overrides`; `hosts`, for the host; the secret's key for the region
    (`host_ap-northeast-3`), then its mapping `hosts`; the secret's own key. An empty text counts as none.

    Args:
        secret: the secret to log in with.
        overrides: any of `KEYS`, which win over the secret's; None in place of a value overrides nothing.
        hosts: host names by application region.
        app_region: the region in which the application runs; AWS_REGION or AWS_DEFAULT_REGION unless given.
            Never the region that answered: that one changes with a failover.

    Raises:
        SecretFormatError: the secret lacks `username` or `password`, or one of its keys is of the wrong type. The key
            is named, never its value.
        ConfigurationError: `overrides` or `hosts` is not sound.
    """
    region = app_region or _region_of_environment()
    given = check_overrides(overrides)
    local = check_hosts(hosts)
    source = _Source(secret, given, {"host": local.get(region or "")}, region)
    return Credentials(
        engine=source.text("engine"),
        host=source.text("host"),
        port=source.port(),
        dbname=source.text("dbname"),
        username=source.required("username"),
        password=source.required("password"),
    )


def app_region_of(cache: SecretCache) -> str:
    """The region in which the application runs: AWS_REGION, AWS_DEFAULT_REGION, else the one the cache prefers."""
    return _region_of_environment() or cache._settings.regions[0]  # noqa: SLF001


def target_of(
    secret_id: str, overrides: Mapping[str, object], hosts: Mapping[str, str], app_region: str | None
) -> Hashable:
    """The `target` of `connect`: None, for what the secret says, unless the settings send it to a host of their own."""
    host = overrides.get("host") or hosts.get(app_region or "")
    return None if host is None else (host, overrides.get("port"), secret_id)


def check_overrides(overrides: object) -> Mapping[str, object]:
    """What is to win over the secret's keys, checked by name. Done once by an integration, at its own start."""
    if overrides is None:
        return {}
    checked = _mapping("overrides", overrides)
    for key in checked:
        if key not in KEYS:
            raise ConfigurationError(f"overrides: {key!r} is no key of a database secret; those are {', '.join(KEYS)}")
    for key in KEYS:
        _check_override(key, checked)
    return {key: value for key, value in checked.items() if value is not None}


def check_hosts(hosts: object) -> Mapping[str, str]:
    """Host names by region, checked."""
    if hosts is None:
        return {}
    checked = _mapping("hosts", hosts)
    if not all(isinstance(name, str) and name for pair in checked.items() for name in pair):
        raise ConfigurationError('hosts must map regions to host names, for example {"ap-northeast-3": "db.osaka"}')
    return cast("Mapping[str, str]", checked)


class _Source:
    """Where each value is looked for. Values stay out of local variables: a traceback shows those."""

    def __init__(
        self, secret: Secret, overrides: Mapping[str, object], settings: Mapping[str, object], region: str | None
    ) -> None:
        self._secret = secret
        self._given: tuple[Mapping[str, object], ...] = (overrides, settings)
        self._region = region

    def text(self, key: str) -> str | None:
        place, name = self._find(key)
        if place is None or place[name] == "":
            return None
        if not isinstance(place[name], str):
            self._wrong(name, "a text", type(place[name]).__name__)
        return cast("str", place[name])

    def required(self, key: str) -> str:
        if self.text(key) is None:
            raise SecretFormatError(
                f"secret {self._secret.name!r} (version {self._secret.version_id}) has no key {key!r}: store a JSON "
                f'object with "username" and "password", or give {key!r} in the settings'
            )
        return cast("str", self.text(key))

    def port(self) -> int | None:
        place, name = self._find("port")
        if place is None or place[name] == "":
            return None
        if not _is_port(place[name]):
            self._wrong(name, f"a number from 1 to {_LAST_PORT}", type(place[name]).__name__)
        return int(place[name])

    def _find(self, key: str) -> tuple[Any, str] | tuple[None, str]:
        """The first place that tells, and the name it tells it under."""
        for settings in self._given:
            if settings.get(key) is not None:
                return settings, key
        for place, name in self._places(key):
            if name in place and place[name] is not None:
                return place, name
        return None, key

    def _places(self, key: str) -> tuple[tuple[Any, str], ...]:
        own = (self._secret, key)
        if self._region is None or key not in _REGIONAL:
            return (own,)
        regional = (self._secret, f"{key}_{self._region}")
        return (regional, (self._hosts(), self._region), own) if key == "host" else (regional, own)

    def _hosts(self) -> Mapping[str, object]:
        if "hosts" not in self._secret or self._secret["hosts"] is None:
            return {}
        if not isinstance(self._secret["hosts"], dict):
            self._wrong("hosts", "an object of regions and host names", type(self._secret["hosts"]).__name__)
        return cast("Mapping[str, object]", self._secret["hosts"])

    def _wrong(self, name: str, wanted: str, kind: str) -> NoReturn:
        raise SecretFormatError(
            f"secret {self._secret.name!r} (version {self._secret.version_id}): {name!r} must be {wanted}, and is not "
            f"(type {kind}): mend the secret, or override it in the settings"
        )


def _region_of_environment() -> str | None:
    return next((os.environ[name] for name in _REGION_VARIABLES if os.environ.get(name)), None)


def _mapping(argument: str, value: object) -> Mapping[str, object]:
    if not hasattr(value, "keys") or not hasattr(value, "__getitem__"):
        raise ConfigurationError(f"{argument} must be a mapping, got {type(value).__name__}")
    return dict(cast("Mapping[str, object]", value))


def _check_override(key: str, overrides: Mapping[str, object]) -> None:
    if overrides.get(key) is None:
        return
    if key == "port":
        if not _is_port(overrides[key]):
            raise ConfigurationError(f"overrides: 'port' must be a number from 1 to {_LAST_PORT}")
    elif not isinstance(overrides[key], str):
        raise ConfigurationError(f"overrides: {key!r} must be a text, got {type(overrides[key]).__name__}")


def _is_port(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and len(value) <= len(str(_LAST_PORT)) and _is_port(int(value))
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LAST_PORT
