"""The botocore edge: sessions, clients, configuration, and what each failure means."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import boto3
import botocore.session
import pytest
from botocore import exceptions as errors
from botocore.config import Config

from secretcache import ConfigurationError, CredentialsError, SecretCache
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._settings import Settings
from secretcache._transport import Fault
from secretcache._transport._botocore import BotocoreTransport, _default_session
from secretcache._transport._classify import classify
from support import OSAKA, REGIONS, TOKYO, InThread

HOST = "secretsmanager.ap-northeast-3.amazonaws.com"
URL = f"https://{HOST}/"
STS = "https://sts.ap-northeast-1.amazonaws.com/"


def client_error(code: str, operation: str = "GetSecretValue", status: int = 400) -> errors.ClientError:
    told: Any = {"Error": {"Code": code, "Message": "told"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return errors.ClientError(told, operation)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (errors.EndpointConnectionError(endpoint_url=URL), Fault.REGION),
        (errors.ConnectTimeoutError(endpoint_url=URL), Fault.REGION),
        (errors.ReadTimeoutError(endpoint_url=URL), Fault.REGION),
        (errors.ConnectionClosedError(endpoint_url=URL), Fault.REGION),
        (errors.SSLError(endpoint_url=URL, error=OSError("x")), Fault.REGION),
        (errors.ProxyConnectionError(proxy_url="http://proxy:3128"), Fault.REGION),
        (errors.ResponseStreamingError(error="x"), Fault.REGION),
        (errors.IncompleteReadError(actual_bytes=1, expected_bytes=2), Fault.REGION),
        (errors.HTTPClientError(error="x"), Fault.REGION),
        (OSError("x"), Fault.REGION),
        (client_error("InternalServiceError", status=500), Fault.REGION),
        (client_error("503", status=503), Fault.REGION),
        (client_error("403", status=403), Fault.REGION),
        (client_error("SomethingNew"), Fault.REGION),
        (client_error("ThrottlingException"), Fault.THROTTLED),
        (client_error("ResourceNotFoundException"), Fault.MISSING),
        (client_error("InvalidRequestException"), Fault.DELETED),
        (client_error("AccessDeniedException"), Fault.DENIED),
        (client_error("DecryptionFailure"), Fault.DENIED),
        (client_error("ExpiredTokenException"), Fault.IDENTITY),
        (client_error("UnrecognizedClientException"), Fault.IDENTITY),
        (client_error("AccessDenied", "AssumeRole"), Fault.IDENTITY),
        (client_error("ThrottlingException", "AssumeRole"), Fault.IDENTITY),
        (errors.EndpointConnectionError(endpoint_url=STS), Fault.IDENTITY),
        (errors.ReadTimeoutError(endpoint_url=STS), Fault.IDENTITY),
        (errors.NoCredentialsError(), Fault.IDENTITY),
        (errors.ProfileNotFound(profile="x"), Fault.IDENTITY),
        (errors.CredentialRetrievalError(provider="x", error_msg="y"), Fault.IDENTITY),
        (client_error("OptInRequired"), Fault.NOT_OFFERED),
        (errors.ParamValidationError(report="x"), Fault.CALLER),
        (client_error("InvalidParameterException"), Fault.CALLER),
    ],
    ids=lambda one: one.name if isinstance(one, Fault) else type(one).__name__,
)
def test_a_failure_is_classified_by_code_and_host(error: Exception, fault: Fault) -> None:
    with contextlib.suppress(Exception):
        raise error
    assert error.__traceback__ is not None
    failure = classify(error, operation="GetSecretValue", host=HOST)
    assert failure.fault is fault
    assert failure.cause is error or isinstance(failure.cause, errors.HTTPClientError)
    assert failure.cause.__traceback__ is None


@pytest.mark.parametrize(
    "error",
    [
        errors.HTTPClientError(error=ValueError("InvalidChunkLength(got length b'canary')"), request="canary"),
        errors.ResponseStreamingError(error=ValueError("canary")),
        errors.EndpointConnectionError(endpoint_url=URL, error=ValueError("canary")),
        ValueError("canary"),
    ],
)
def test_what_an_error_quotes_of_the_wire_goes_no_further(error: Exception) -> None:
    with contextlib.suppress(Exception):
        try:
            raise ValueError("canary")  # noqa: TRY301
        except ValueError:
            raise error  # noqa: B904
    failure = classify(error, operation="GetSecretValue", host=HOST)
    assert failure.cause is not None
    chain = (failure.cause, failure.cause.__cause__, failure.cause.__context__)
    assert "canary" not in f"{failure!r} {failure} {chain} {vars(failure.cause)}"


def test_every_error_of_the_operation_has_a_row() -> None:
    model = botocore.session.Session().get_service_model("secretsmanager").operation_model("GetSecretValue")
    told = {
        shape.name: classify(client_error(shape.name), operation="GetSecretValue", host=HOST).fault
        for shape in model.error_shapes
    }
    assert told == {
        "ResourceNotFoundException": Fault.MISSING,
        "InvalidParameterException": Fault.CALLER,
        "InvalidRequestException": Fault.DELETED,
        "DecryptionFailure": Fault.DENIED,
        "InternalServiceError": Fault.REGION,
    }


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
    client: Any = transport._client(OSAKA)
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == (1, 2, 1)
    assert (config.tcp_keepalive, config.proxies) == (True, {})
    assert config.user_agent_extra.startswith("team/1 secretcache/")


def test_each_regions_session_depends_on_no_other_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", TOKYO)
    transport = BotocoreTransport(Settings(regions=REGIONS))
    assert transport.host(OSAKA) == HOST
    client: Any = transport._client(OSAKA)
    assert client.meta.endpoint_url == URL.rstrip("/")
    assert _default_session(OSAKA).get_config_variable("region") == OSAKA
