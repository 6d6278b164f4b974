"""Every argument that is not sound is refused at once and by name; the environment says the same things."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from secretcache import ConfigurationError, SecretCache, default_cache, set_default_cache
from secretcache._settings import Settings
from support import OSAKA, TOKYO, House

BOTH = [OSAKA, TOKYO]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("SECRETCACHE_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([], "at least one region"),
        ("ap-northeast-3", "must be a list"),
        ({OSAKA}, "must be a list"),
        ([OSAKA, OSAKA], "ap-northeast-3 is listed more than once"),
        (["osaka"], "'osaka' is not the name of a region"),
        (["AP-NORTHEAST-3"], "is not the name of a region"),
        ([OSAKA + " "], "is not the name of a region"),
        ([OSAKA, None], "None is not the name of a region"),
        ([OSAKA, "cn-north-1"], "are of different partitions"),
    ],
)
def test_regions(regions: Any, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^regions.*{expected}"):
        SecretCache(regions)


@pytest.mark.parametrize("argument", ["ttl", "max_stale", "timeout"])
@pytest.mark.parametrize("value", [True, False, -1, -0.001, float("nan"), float("inf"), "5", None, [5]])
def test_durations(argument: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{argument} must be a number of seconds.*got"):
        SecretCache(BOTH, **{argument: value})


def test_timeout_is_above_zero_and_ttl_may_be_zero() -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout must be a number of seconds above 0, got 0"):
        SecretCache(BOTH, timeout=0)
    SecretCache(BOTH, ttl=0, max_stale=0)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "10", None])
def test_max_entries(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^max_entries must be a whole number of 1 or more"):
        SecretCache(BOTH, max_entries=value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"primary_region": "us-east-1"}, "^primary_region must be one of.*got 'us-east-1'"),
        ({"endpoint_urls": ["http://x"]}, "^endpoint_urls must map regions to URLs, got list"),
        ({"endpoint_urls": {"us-east-1": "http://x"}}, "^endpoint_urls: each key must be one of.*'us-east-1'"),
        ({"endpoint_urls": {OSAKA: "x.example"}}, r"^endpoint_urls\['ap-northeast-3'\] must be an http"),
        ({"endpoint_urls": {OSAKA: "http://[::1"}}, "must be an http"),
        ({"endpoint_urls": {OSAKA: "http://x:99999"}}, "must be an http"),
        ({"endpoint_urls": {OSAKA: None}}, "must be an http"),
        ({"endpoint_urls": {OSAKA: "http://me:word@x"}}, "must not carry a user name or password"),
        ({"session_factory": "profile"}, "^session_factory must be callable"),
        ({"client_config": [1]}, "^client_config must be a botocore.config.Config, or a mapping.*, got list"),
        ({"client_config": {"read_timeout": 1}}, "^client_config: each key must be one of.*got 'read_timeout'"),
        ({"client_config": {"us-east-1": Config()}}, "^client_config: each key must be one of.*got 'us-east-1'"),
        (
            {"client_config": {OSAKA: {}}},
            r"^client_config\['ap-northeast-3'\] must be a botocore.config.Config, got dict",
        ),
        ({"client_config": {OSAKA: None}}, r"^client_config\['ap-northeast-3'\] must be a botocore"),
    ],
)
def test_the_others(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected) as caught:
        SecretCache(BOTH, **options)
    assert "word" not in str(caught.value).replace("password", "")


def test_sound_settings_are_taken() -> None:
    SecretCache(
        (OSAKA, TOKYO),
        primary_region=TOKYO,
        endpoint_urls={OSAKA: "https://vpce-1.example:8443/"},
        session_factory=lambda region: boto3.Session(region_name=region),
        client_config=Config(proxies={}),
    )


def test_client_config_is_for_all_regions_or_for_each() -> None:
    one, other = Config(), Config()
    settings = Settings(regions=(OSAKA, TOKYO), client_config=one)
    assert (settings.config_of(OSAKA), settings.config_of(TOKYO)) == (one, one)
    given = {OSAKA: one, TOKYO: other}
    settings = Settings(regions=(OSAKA, TOKYO), client_config=given)
    given.clear()
    assert (settings.config_of(OSAKA), settings.config_of(TOKYO)) == (one, other)
    settings = Settings(regions=(OSAKA, TOKYO), client_config={TOKYO: other})
    assert (settings.config_of(OSAKA), settings.config_of(TOKYO)) == (None, other)


FIPS = Config(use_fips_endpoint=True)


@pytest.mark.parametrize(
    ("regions", "options"),
    [
        (["us-east-1", "us-west-2", "ca-central-1", "ca-west-1"], {"client_config": FIPS}),
        (["us-gov-west-1", "us-gov-east-1"], {"client_config": FIPS}),
        (BOTH, {"client_config": FIPS, "endpoint_urls": {OSAKA: "https://a.example", TOKYO: "https://b.example"}}),
        (["us-east-1", TOKYO], {"client_config": {"us-east-1": FIPS}}),
        (BOTH, {"client_config": Config(use_dualstack_endpoint=True)}),
    ],
)
def test_fips_where_there_is_a_host_for_it(regions: list[str], options: dict[str, Any]) -> None:
    SecretCache(regions, **options)


@pytest.mark.parametrize("region", [OSAKA, TOKYO, "eu-west-1", "xx-nowhere-9"])
def test_a_fips_host_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    for config in (FIPS, {region: FIPS}):
        with pytest.raises(ConfigurationError, match=f"^client_config asks for FIPS.*none in {region}:.*endpoint_urls"):
            SecretCache(["us-east-1", region], client_config=config)
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "True")
    SecretCache(["us-east-1"])
    with pytest.raises(ConfigurationError, match=f"^AWS_USE_FIPS_ENDPOINT asks for FIPS.*none in {region}:"):
        SecretCache(["us-east-1", region], client_config=Config(proxies={}))
    SecretCache(["us-east-1", region], client_config={region: Config(use_fips_endpoint=False)})
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "no")
    SecretCache([region])


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"])
def test_one_endpoint_for_several_regions_is_warned_of(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "https://one.example")
    with pytest.warns(UserWarning, match=f"^{variable} is set: {OSAKA}, {TOKYO} have one.*endpoint_urls=") as caught:
        SecretCache(BOTH)
    assert [one.filename for one in caught] == [__file__]
    with pytest.warns(UserWarning, match=f"^{variable} is set: {OSAKA}, {TOKYO} have"):
        SecretCache([OSAKA, "us-east-1", TOKYO], endpoint_urls={"us-east-1": "https://a.example"})
    monkeypatch.setenv("SECRETCACHE_REGIONS", ",".join(BOTH))
    with pytest.warns(UserWarning, match=f"^{variable}"):
        SecretCache.from_env()


def test_one_endpoint_for_one_region_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://one.example")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "https://one.example")
    SecretCache([OSAKA])
    SecretCache(BOTH, endpoint_urls={OSAKA: "https://a.example"})
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    SecretCache(BOTH)


@pytest.mark.parametrize("argument", ["version_stage", "version_id"])
@pytest.mark.parametrize("value", ["", 1, b"x", ["AWSCURRENT"]])
def test_version_arguments(argument: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{argument} must be a text"):
        House().cache.get("prod/db", **{argument: value})


@pytest.mark.parametrize("value", [0, -1, True, "1", float("nan")])
def test_the_timeout_of_a_read(value: Any) -> None:
    house = House()
    with pytest.raises(ConfigurationError, match=r"^timeout must be a number of seconds above 0"):
        house.cache.get("prod/db", timeout=value)
    assert not house.regions.calls


@pytest.mark.parametrize("value", [None, 5, b"prod/db", ["prod/db"], {}])
def test_the_id_of_a_read(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^secret_id must be a secret's name or ARN"):
        House().cache.get(value)


def test_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "REGIONS": " ap-northeast-3 , ap-northeast-1 ",
        "TTL": "60",
        "MAX_STALE": "0",
        "TIMEOUT": "2.5",
        "MAX_ENTRIES": "7",
        "PRIMARY_REGION": TOKYO,
        "ENDPOINT_URLS": "ap-northeast-3=https://a.example?x=y, ap-northeast-1=https://b.example",
    }.items():
        monkeypatch.setenv(f"SECRETCACHE_{name}", text)
    settings = SecretCache.from_env()._settings
    assert settings.regions == (OSAKA, TOKYO)
    assert (settings.ttl, settings.max_stale, settings.timeout, settings.max_entries) == (60.0, 0.0, 2.5, 7)
    assert settings.primary_region == TOKYO
    assert settings.endpoint_urls == {OSAKA: "https://a.example?x=y", TOKYO: "https://b.example"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("TTTL", "5", "no such setting; known are .*SECRETCACHE_TTL"),
        ("TTL", "five", "must be a number of seconds.*got 'five'"),
        ("TTL", "-1", "ttl must be a number of seconds"),
        ("TTL", "nan", "ttl must be a number of seconds"),
        ("TIMEOUT", "0", "timeout must be"),
        ("MAX_ENTRIES", "1.5", "must be a whole number"),
        ("REGIONS", "", "'' is not the name of a region"),
        ("REGIONS", "ap-northeast-3,,ap-northeast-1", "'' is not the name of a region"),
        ("PRIMARY_REGION", "us-east-1", "primary_region must be one of"),
        ("ENDPOINT_URLS", "https://a.example", "region=URL pairs"),
        ("ENDPOINT_URLS", "ap-northeast-3=http://a,ap-northeast-3=http://b", "each region once"),
        ("ENDPOINT_URLS", "us-east-1=http://a", "endpoint_urls: each key must be one of"),
    ],
)
def test_an_unsound_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: str) -> None:
    monkeypatch.setenv("SECRETCACHE_REGIONS", "ap-northeast-3,ap-northeast-1")
    monkeypatch.setenv(f"SECRETCACHE_{name}", text)
    with pytest.raises(ConfigurationError, match=rf"^SECRETCACHE_{name}.*{expected}"):
        SecretCache.from_env()


def test_regions_come_from_the_variable_then_from_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"^regions: none given"):
        SecretCache()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert SecretCache()._settings.regions == ("eu-west-1",)
    monkeypatch.setenv("SECRETCACHE_REGIONS", "ap-northeast-3,ap-northeast-1")
    assert SecretCache()._settings.regions == (OSAKA, TOKYO)
    monkeypatch.setenv("SECRETCACHE_REGIONS", "osaka")
    with pytest.raises(ConfigurationError, match=r"^SECRETCACHE_REGIONS: regions: 'osaka'"):
        SecretCache()


@given(st.lists(st.one_of(st.text(max_size=12), st.none(), st.integers()), max_size=3))
def test_any_list_is_regions_or_refused_by_name(regions: list[Any]) -> None:
    try:
        SecretCache(regions)
    except ConfigurationError as error:
        assert str(error).startswith("regions")  # noqa: PT017 - either is right, and each is checked
    else:
        assert regions


def test_the_default_cache_is_one_made_when_first_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRETCACHE_REGIONS", OSAKA)
    before = set_default_cache(None)
    try:
        made = default_cache()
        assert default_cache() is made
        own = House().cache
        assert set_default_cache(own) is made
        assert default_cache() is own
        with pytest.raises(ConfigurationError, match=r"^cache must be a SecretCache or None, got str"):
            set_default_cache("cache")  # type: ignore[arg-type]
    finally:
        set_default_cache(before)
