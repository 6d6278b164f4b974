"""The settings of a cache: checked once, by argument name, then immutable."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from secretcache._errors import ConfigurationError
from secretcache._freshness import Retry
from secretcache._ids import is_region, partition_of
from secretcache._lazy import importing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Settings",
    "check_count",
    "check_duration",
    "check_regions",
    "check_surroundings",
    "default_regions",
    "settings_from_env",
]

_PREFIX = "SECRETCACHE_"
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a `SecretCache` was told; see there for the meaning of each."""

    regions: tuple[str, ...]
    ttl: float = 300.0
    max_stale: float = 86_400.0
    timeout: float = 5.0
    max_entries: int = 1024
    refresh: str | None = None
    primary_region: str | None = None
    endpoint_urls: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    session_factory: Callable[[str], Any] | None = None
    client_config: Any = None
    retry: Retry = field(default_factory=Retry)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "regions", check_regions(self.regions))
        put(self, "ttl", check_duration("ttl", self.ttl))
        put(self, "max_stale", check_duration("max_stale", self.max_stale))
        put(self, "timeout", check_duration("timeout", self.timeout, positive=True))
        put(self, "max_entries", check_count("max_entries", self.max_entries))
        put(self, "refresh", _check_refresh(self.refresh))
        put(self, "primary_region", _check_listed("primary_region", self.primary_region, self.regions))
        put(self, "endpoint_urls", _check_endpoint_urls(self.endpoint_urls, self.regions))
        _check_callable("session_factory", self.session_factory)
        put(self, "client_config", _check_client_config(self.client_config, self.regions))

    def config_of(self, region: str) -> Any:
        """What `client_config` says for a region: a botocore Config, or None."""
        given = self.client_config
        return given.get(region) if isinstance(given, MappingProxyType) else given


def check_regions(regions: object) -> tuple[str, ...]:
    """A region list as a tuple: not empty, each well-formed and named once, all of one partition."""
    if isinstance(regions, (str, bytes)) or not isinstance(regions, (list, tuple)):
        raise ConfigurationError(
            f'regions must be a list of region names, for example ["ap-northeast-3", "ap-northeast-1"], got {regions!r}'
        )
    if not regions:
        raise ConfigurationError("regions must name at least one region, got an empty list")
    for region in regions:
        _check_fips_name(region)
        if not isinstance(region, str) or not is_region(region):
            raise ConfigurationError(f"regions: {region!r} is not the name of a region, such as 'ap-northeast-3'")
    doubled = sorted({region for region in regions if regions.count(region) > 1})
    if doubled:
        raise ConfigurationError(f"regions: {', '.join(doubled)} is listed more than once")
    partitions = {partition_of(region) for region in regions}
    if len(partitions) > 1:
        raise ConfigurationError(
            f"regions: {', '.join(regions)} are of different partitions ({', '.join(sorted(partitions))}): "
            "a secret is replicated within one only"
        )
    return tuple(regions)


def _check_fips_name(region: object) -> None:
    """Older SDKs took `fips-us-east-1` for a region: it is a name for a host."""
    plain = region.removeprefix("fips-").removesuffix("-fips") if isinstance(region, str) else region
    if plain != region:
        raise ConfigurationError(
            f"regions: {region!r} names a FIPS host and is no region: list {plain!r}, and pass "
            "client_config=Config(use_fips_endpoint=True) or set AWS_USE_FIPS_ENDPOINT=true"
        )


def check_duration(argument: str, value: object, *, positive: bool = False) -> float:
    """A finite number of seconds, not negative (or above zero), that is no bool."""
    wanted = "a number of seconds above 0" if positive else "a number of seconds, 0 or more"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"{argument} must be {wanted}, got {value!r}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise ConfigurationError(f"{argument} must be {wanted}, got {value!r}")
    return float(value)


def check_count(argument: str, value: object, *, or_else: str = "") -> int:
    """A whole number of 1 or more that is no bool. `or_else`: what else the message says the argument may be."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{argument} must be a whole number of 1 or more{or_else}, got {value!r}")
    return value


def _check_refresh(value: object) -> str:
    if value is None:
        return "on_access" if os.environ.get("AWS_LAMBDA_FUNCTION_NAME") else "background"
    if value not in ("background", "on_access"):
        raise ConfigurationError(f"refresh must be 'background' or 'on_access', got {value!r}")
    return str(value)


def _check_listed(argument: str, region: object, regions: Sequence[str]) -> str | None:
    if region is None or (isinstance(region, str) and region in regions):
        return region
    raise ConfigurationError(f"{argument} must be one of regions={list(regions)}, got {region!r}")


def _check_endpoint_urls(urls: object, regions: Sequence[str]) -> Mapping[str, str]:
    if urls is None:
        return MappingProxyType({})
    if not isinstance(urls, (dict, MappingProxyType)):
        raise ConfigurationError(f"endpoint_urls must map regions to URLs, got {type(urls).__name__}")
    for region, url in urls.items():
        _check_listed("endpoint_urls: each key", region, regions)
        _check_url(region, url)
    return MappingProxyType(dict(urls))


def _check_url(region: str, url: object) -> None:
    parts = _split_url(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f"endpoint_urls[{region!r}] must be an http:// or https:// URL, got {url!r}")
    if parts.username or parts.password:
        raise ConfigurationError(f"endpoint_urls[{region!r}] must not carry a user name or password")


def _split_url(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a bracket left open, a port that is none
        return None
    return None if port == 0 else parts


def _check_callable(argument: str, value: object) -> None:
    if value is not None and not callable(value):
        raise ConfigurationError(f"{argument} must be callable as {argument}(region), got {type(value).__name__}")


def _check_client_config(value: object, regions: Sequence[str]) -> Any:
    if isinstance(value, (dict, MappingProxyType)):
        for region, config in value.items():
            _check_listed("client_config: each key", region, regions)
            _check_config(f"client_config[{region!r}]", config)
        return MappingProxyType(dict(value))
    if value is not None:
        _check_config("client_config", value, "or a mapping of listed regions to such, ")
    return value


def _check_config(argument: str, value: object, alternative: str = "") -> None:
    # By what it can do and not by its class: a check of the class would import botocore here.
    if not hasattr(value, "merge"):
        raise ConfigurationError(
            f"{argument} must be a botocore.config.Config, {alternative}got {type(value).__name__}"
        )


def check_surroundings(settings: Settings) -> None:
    """What the environment and `client_config` make of the listed regions; once, when a cache is made.

    Raises:
        ConfigurationError: a region is to be asked at a FIPS host that does not exist.
    """
    at_aws = [region for region in settings.regions if region not in settings.endpoint_urls]
    asked_by = {region: by for region in at_aws if (by := _fips_asked_by(settings.config_of(region)))}
    if asked_by:
        _check_fips(asked_by)
    name = next((name for name in _ENDPOINT_VARIABLES if os.environ.get(name)), None)
    if name and len(at_aws) > 1 and not _is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        warnings.warn(
            f"{name} is set: {', '.join(at_aws)} have one endpoint, and fail together. "
            "Pass endpoint_urls={region: URL} with one for each",
            UserWarning,
            stacklevel=3,
        )


def _fips_asked_by(config: Any) -> str:
    asked = getattr(config, "use_fips_endpoint", None)
    if asked is None:
        return "AWS_USE_FIPS_ENDPOINT" if _is_true("AWS_USE_FIPS_ENDPOINT") else ""
    return "client_config" if asked else ""


def _check_fips(asked_by: Mapping[str, str]) -> None:
    with importing("botocore"):
        from secretcache._transport._endpoints import regions_with_fips  # noqa: PLC0415 - imports botocore

    for region in [region for region in asked_by if region not in regions_with_fips()]:
        raise ConfigurationError(
            f"{asked_by[region]} asks for FIPS endpoints, but Secrets Manager has none in {region}: leave it out, "
            "give it an endpoint_urls entry, or pass client_config={region: Config(use_fips_endpoint=False)}"
        )


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").lower() == "true"


def default_regions(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The regions of a cache that was given none: `SECRETCACHE_REGIONS`, else the region of the AWS session.

    Raises:
        ConfigurationError: neither is there, or the variable is malformed.
    """
    text = (os.environ if environ is None else environ).get("SECRETCACHE_REGIONS")
    if text is not None:
        return _named("SECRETCACHE_REGIONS", check_regions, _read_variable("SECRETCACHE_REGIONS", text))
    # As botocore would: a session of its own costs 10 ms, its import 100 ms.
    # AWS_REGION is what Lambda, ECS and other SDKs set; boto3 alone does not read it.
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or _region_of_session()
    if region is None:
        raise ConfigurationError(
            'regions: none given: pass SecretCache(["ap-northeast-3", ...]), '
            "or set SECRETCACHE_REGIONS, AWS_DEFAULT_REGION or AWS_REGION"
        )
    return check_regions([region])


def _region_of_session() -> str | None:
    with importing("botocore"):
        import botocore.session  # noqa: PLC0415 - 100 ms, and needed only where no region is given

    region: str | None = botocore.session.Session().get_config_variable("region")
    return region


def settings_from_env(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The arguments of a `SecretCache` from `SECRETCACHE_*` variables.

    Raises:
        ConfigurationError: a variable is not known, malformed or out of range. The variable is named.
    """
    environ = os.environ if environ is None else environ
    texts = {name: text for name, text in environ.items() if name.startswith(_PREFIX)}
    unknown = sorted(texts.keys() - _READERS.keys())
    if unknown:
        raise ConfigurationError(f"{', '.join(unknown)}: no such setting; known are {', '.join(sorted(_READERS))}")
    given = {name.removeprefix(_PREFIX).lower(): _read_variable(name, text) for name, text in texts.items()}
    given["regions"] = default_regions(environ)
    for setting in given.keys() - {"regions"}:
        _named(_PREFIX + setting.upper(), partial(_check_one, given["regions"], setting), given[setting])
    return given


def _check_one(regions: tuple[str, ...], setting: str, value: Any) -> None:
    arguments: dict[str, Any] = {"regions": regions, setting: value}
    Settings(**arguments)


def _read_variable(name: str, text: str) -> Any:
    reader, form = _READERS[name]
    try:
        return reader(text.strip())
    except ValueError:
        malformed = ConfigurationError(f"{name} must be {form}, got {text!r}")
    raise malformed


def _named(variable: str, check: Callable[[Any], _T], value: Any) -> _T:
    """Checks a value that came from a variable, so that the error names the variable."""
    try:
        return check(value)
    except ConfigurationError as error:
        unsound = ConfigurationError(f"{variable}: {error}")
    raise unsound


def _list_of(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _pairs_of(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in _list_of(text)]
    if not all(equals for _, equals, _ in pairs) or len({key for key, _, _ in pairs}) < len(pairs):
        raise ValueError
    return {key.strip(): value.strip() for key, _, value in pairs}


_SECONDS = "a number of seconds, for example 300"
_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "SECRETCACHE_REGIONS": (_list_of, "regions separated by commas"),
    "SECRETCACHE_TTL": (float, _SECONDS),
    "SECRETCACHE_MAX_STALE": (float, _SECONDS),
    "SECRETCACHE_TIMEOUT": (float, _SECONDS),
    "SECRETCACHE_MAX_ENTRIES": (int, "a whole number"),
    "SECRETCACHE_REFRESH": (str, "'background' or 'on_access'"),
    "SECRETCACHE_PRIMARY_REGION": (str, "a region"),
    "SECRETCACHE_ENDPOINT_URLS": (_pairs_of, "region=URL pairs separated by commas, each region once"),
}
