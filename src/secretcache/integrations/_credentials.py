"""A database secret, as AWS documents it, turned into what a driver wants to know.

`engine`, `host`, `port`, `dbname`, `username` and `password`. The secrets that RDS manages (`rds!...`) hold the last
two alone; others hold more (`masterarn`, `dbInstanceIdentifier`), which nobody needs to log in.

A replica secret is a copy of its primary, host included. AWS's advice is to add pairs of one's own for each region, and
names none: here `host`, `port` and `dbname` are looked for under `host_ap-northeast-3` first, for the region in which
the application runs, and hosts in a mapping `"hosts": {"ap-northeast-3": ...}` after that.

Without a host, drivers log in to the machine they run on, and whatever listens there gets the password: so a secret
without one is refused, unless the settings name the place.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, cast

from secretcache._errors import ConfigurationError, SecretFormatError
from secretcache.integrations._words import PLAIN

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from secretcache._cache import SecretCache
    from secretcache._secret import Secret
    from secretcache.integrations._words import Words

__all__ = ["KEYS", "Credentials", "app_region_of", "check_hosts", "check_overrides", "credentials_of", "target_of"]

KEYS = ("engine", "host", "port", "dbname", "username", "password")
"""What a database secret tells, and what may be overridden."""
_REGIONAL = ("host", "port", "dbname")
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_LAST_PORT = 65_535
_log = logging.getLogger("secretcache")
_warned: set[tuple[str, str]] = set()
"""Where a pinned user was warned of, and the secret's id: once for each in a process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Where to log in, and as whom. None: neither the secret nor the settings tell."""

    engine: str | None
    host: str | None
    """Several, for a driver that takes them, are joined by commas."""
    port: int | str | None
    """Several are a text, joined by commas."""
    dbname: str | None
    username: str = field(repr=False)
    password: str = field(repr=False)


def credentials_of(  # noqa: PLR0913 - what an integration knows, each named
    secret: Secret,
    *,
    overrides: Mapping[str, object] | None = None,
    hosts: Mapping[str, str] | None = None,
    app_region: str | None = None,
    words: Words = PLAIN,
    elsewhere: bool = False,
    pinned_user: str | None = None,
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
        words: how the reader of messages writes those settings, and what the driver takes.
        elsewhere: whether the driver's own options name a place without a host: hostaddr, a service, a socket.
        pinned_user: the user that the settings name. The secret's own wins, since the password is that user's.

    Raises:
        SecretFormatError: the secret lacks `username` or `password`, or one of its keys is of the wrong type, or
            neither it nor the settings tell where to log in. The key is named, never its value.
        ConfigurationError: `overrides` or `hosts` is not sound.
    """
    region = app_region or _region_of_environment()
    given = check_overrides(overrides, words)
    local = check_hosts(hosts)
    source = _Source(secret, given, {"host": local.get(region or "")}, region, words)
    if pinned_user is not None or "username" in given:
        source.warn_of_pinned(pinned_user or given["username"])
    return Credentials(
        engine=source.text("engine"),
        host=source.host(elsewhere=elsewhere),
        port=source.port(),
        dbname=source.text("dbname"),
        username=source.text("username") or pinned_user or source.required("username"),
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


def check_overrides(overrides: object, words: Words = PLAIN) -> Mapping[str, object]:
    """What is to win over the secret's keys, checked by name. Done once by an integration, at its own start.

    Returns:
        By our names. Several hosts, and several ports, are joined by commas.
    """
    if overrides is None:
        return {}
    checked = _mapping("overrides", overrides)
    for key in checked:
        if key not in KEYS:
            raise ConfigurationError(f"overrides: {key!r} is no key of a database secret; those are {', '.join(KEYS)}")
    return {key: _override(key, value, words) for key, value in checked.items() if value is not None}


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
        self,
        secret: Secret,
        overrides: Mapping[str, object],
        settings: Mapping[str, object],
        region: str | None,
        words: Words,
    ) -> None:
        self._secret = secret
        self._given: tuple[Mapping[str, object], ...] = (overrides, settings)
        self._region = region
        self._words = words

    def text(self, key: str) -> str | None:
        place, name = self._find(key)
        if place is None or place[name] == "":
            return None
        if not isinstance(place[name], str):
            self._wrong(key, name, "a text", type(place[name]).__name__)
        return cast("str", place[name])

    def required(self, key: str) -> str:
        if self.text(key) is None:
            raise SecretFormatError(
                f"{self._named()} has no key {key!r}: store a JSON object with "
                f'"username" and "password"{self._words.advice(key)}'
            )
        return cast("str", self.text(key))

    def host(self, *, elsewhere: bool) -> str | None:
        """Where to log in. None only where the settings name a place that has no host."""
        host = self.text("host")
        if host is None and not elsewhere:
            # Each driver would take the machine that it runs on, and give the password to what listens there.
            raise SecretFormatError(
                f"{self._named()} has no key 'host', as secrets that RDS manages have none: "
                f"set {self._words.places()} in {self._words.where}, or add the key"
            )
        if host is not None and self._words.lists and not all(part.strip() for part in host.split(",")):
            self._wrong("host", "host", "a host name, or several without a gap", "str")
        return host

    def port(self) -> int | str | None:
        place, name = self._find("port")
        if place is None or place[name] == "":
            return None
        if self._words.lists and _is_ports(place[name]):
            return str(place[name])
        if not _is_port(place[name]):
            self._wrong("port", name, f"a number from 1 to {_LAST_PORT}", type(place[name]).__name__)
        return int(place[name])

    def warn_of_pinned(self, user: object) -> None:
        """Says once that the settings name another user than the secret does. Neither name is shown."""
        if not self._secret_has("username") or self._secret["username"] == user:
            return
        key = (self._words.of("username"), self._secret.arn)
        if key not in _warned:
            _warned.add(key)
            wins = "that one" if "username" in self._given[0] else "the secret's"
            _log.warning(
                "%s is not the user that secret %r names; %s is used. The password belongs to the secret's user, "
                "which may change with each rotation: take %r out",
                self._words.of("username"),
                self._secret.name,
                wins,
                self._words.names.get("username", "username"),
            )

    def _find(self, key: str) -> tuple[Any, str] | tuple[None, str]:
        """The first place that tells, and the name it tells it under."""
        for settings in self._given:
            # An empty text names no place; for the database it says that there is none.
            if settings.get(key) is not None and (settings[key] != "" or key == "dbname"):
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
            self._wrong("host", "hosts", "an object of regions and host names", type(self._secret["hosts"]).__name__)
        return cast("Mapping[str, object]", self._secret["hosts"])

    def _secret_has(self, key: str) -> bool:
        return key in self._secret and self._secret[key] not in (None, "")

    def _named(self) -> str:
        return f"secret {self._secret.name!r} (version {self._secret.version_id})"

    def _wrong(self, key: str, name: str, wanted: str, kind: str) -> NoReturn:
        raise SecretFormatError(
            f"{self._named()}: {name!r} must be {wanted}, and is not "
            f"(type {kind}): mend the secret{self._words.advice(key)}"
        )


def _region_of_environment() -> str | None:
    return next((os.environ[name] for name in _REGION_VARIABLES if os.environ.get(name)), None)


def _mapping(argument: str, value: object) -> Mapping[str, object]:
    if not hasattr(value, "keys") or not hasattr(value, "__getitem__"):
        raise ConfigurationError(f"{argument} must be a mapping, got {type(value).__name__}")
    return dict(cast("Mapping[str, object]", value))


def _override(key: str, value: object, words: Words) -> object:
    """One setting, sound and in our form."""
    if words.lists and key in ("host", "port") and isinstance(value, (list, tuple)):
        value = ",".join(map(str, value))
    if key == "port":
        if not (_is_port(value) or value == "" or (words.lists and _is_ports(value))):
            several = ", or several of them" if words.lists else ""
            raise ConfigurationError(f"{words.of(key)} must be a number from 1 to {_LAST_PORT}{several}")
    elif not isinstance(value, str):
        raise ConfigurationError(f"{words.of(key)} must be a text, got {type(value).__name__}")
    if words.lists and key == "host" and value and not all(part.strip() for part in str(value).split(",")):
        raise ConfigurationError(f"{words.of(key)} must name a host in each place: an empty one is this machine")
    return value


def _is_ports(value: Any) -> bool:
    """Several ports, as libpq writes them: an empty one is the default."""
    parts = value.split(",") if isinstance(value, str) else []
    return len(parts) > 1 and all(part == "" or _is_port(part) for part in parts)


def _is_port(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and len(value) <= len(str(_LAST_PORT)) and _is_port(int(value))
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LAST_PORT
