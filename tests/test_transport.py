"""The botocore edge: sessions, clients, configuration, and what each failure means."""

from __future__ import annotations

import threading
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config

from secretcache import ConfigurationError, CredentialsError, SecretCache
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._settings import Settings
from secretcache._transport._botocore import BotocoreTransport
from secretcache._transport._sessions import RegionClient, default_session
from support import OSAKA, REGIONS, TOKYO, InThread

HOST = "secretsmanager.ap-northeast-3.amazonaws.com"
URL = f"https://{HOST}/"


def client_of(transport: BotocoreTransport, region: str) -> Any:
    assert transport.prepare(region) is None
    made = transport._clients[region].result()
    assert isinstance(made, RegionClient)
    return made.client


def test_one_session_and_client_per_region_made_once_and_only_when_needed(manager: EmbeddedSecretsManager) -> None:
    made: list[str] = []
    first, go_on = threading.Event(), threading.Event()

    def factory(region: str) -> botocore.session.Session:
        made.append(region)
        first.set()
        assert go_on.wait(10)
        return manager.session(region)

    for name in "abcd":
        manager.create(f"once/{name}", "x")
    with SecretCache(list(REGIONS), session_factory=factory, endpoint_urls=manager.endpoint_urls) as cache:
        readers = [InThread(lambda name=name: cache.get(f"once/{name}")) for name in "abcd"]  # type: ignore[misc]
        assert first.wait(10)
        go_on.set()
        assert [reader.result().region for reader in readers] == [OSAKA] * 4
        assert made == [OSAKA]


def test_a_boto3_session_will_do(manager: EmbeddedSecretsManager) -> None:
    manager.create("boto3", "x")
    keys: Any = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    with SecretCache(
        [OSAKA],
        endpoint_urls={OSAKA: manager.endpoint_urls[OSAKA]},
        session_factory=lambda region: boto3.Session(region_name=region, **keys),
    ) as cache:
        assert cache.get("boto3").string == "x"


def test_a_session_factory_that_fails_is_named_and_tried_again(manager: EmbeddedSecretsManager) -> None:
    manager.create("factory", "x")
    fails = [True]

    def factory(region: str) -> Any:
        if fails.pop():
            fails.append(False)
            raise RuntimeError("vault is sealed")
        fails.append(False)
        return manager.session(region)

    with SecretCache([OSAKA], session_factory=factory, endpoint_urls={OSAKA: manager.endpoint_urls[OSAKA]}) as cache:
        with pytest.raises(ConfigurationError, match=r"session_factory\('ap-northeast-3'\).*vault is sealed"):
            cache.get("factory")
        assert cache.get("factory").string == "x"


def test_missing_credentials_are_told_apart(monkeypatch: pytest.MonkeyPatch, manager: EmbeddedSecretsManager) -> None:
    def without_credentials(region: str) -> botocore.session.Session:
        session = manager.session(region)
        session.get_credentials = lambda: None  # type: ignore[method-assign]
        session._credentials = None  # type: ignore[attr-defined]
        return session

    with (
        SecretCache(list(REGIONS), session_factory=without_credentials, endpoint_urls=manager.endpoint_urls) as cache,
        pytest.raises(CredentialsError, match=r"NoCredentialsError.*aws sts get-caller-identity"),
    ):
        cache.get("any")


def test_client_config_lies_under_our_own_timeouts(manager: EmbeddedSecretsManager) -> None:
    given = Config(
        read_timeout=60, retries={"max_attempts": 9}, proxies={}, user_agent_extra="team/1", tcp_keepalive=True
    )
    transport = BotocoreTransport(Settings(regions=REGIONS, client_config=given, session_factory=manager.session))
    client = client_of(transport, OSAKA)
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == (1, 2, 1)
    assert (config.tcp_keepalive, config.proxies) == (True, {})
    assert config.user_agent_extra.startswith("team/1 secretcache/")


def test_each_regions_session_depends_on_no_other_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", TOKYO)
    transport = BotocoreTransport(Settings(regions=REGIONS))
    assert transport.host(OSAKA) == HOST
    client = client_of(transport, OSAKA)
    assert client.meta.endpoint_url == URL.rstrip("/")
    assert default_session(OSAKA).get_config_variable("region") == OSAKA
