"""What boto3's client cannot: reads from memory, and from the next region; in boto3's shapes and exceptions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.stub import Stubber
from moto import mock_aws
from mypy import api

import secretcache
from offline import offline
from secretcache import CacheClosedError, ConfigurationError, SecretCache, SecretUnavailableError
from secretcache._client.shapes import fresh
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Refuse, Silent, service_error
from secretcache._regions.policy import RegionPolicy
from secretcache._transport import Failure, Fault
from support import OSAKA, REGIONS, TOKYO, House

Make = Callable[..., Any]


@pytest.fixture
def make(manager: EmbeddedSecretsManager) -> Iterator[Make]:
    made: list[Any] = []

    def client(**options: Any) -> Any:
        given = {"endpoint_urls": manager.endpoint_urls, "session_factory": manager.session, **options}
        made.append(secretcache.client(REGIONS, **given))
        return made[-1]

    yield client
    for one in made:
        one.close()


@pytest.fixture
def name(manager: EmbeddedSecretsManager) -> str:
    made = f"test/{uuid4().hex}"
    manager.create(made, "v1")
    return made


def requests(manager: EmbeddedSecretsManager) -> int:
    return sum(len(proxy.requests) for proxy in manager.proxies.values())


def test_reads_are_cached(manager: EmbeddedSecretsManager, make: Make, name: str) -> None:
    client = make(_policy=RegionPolicy(hedge_after=30))  # no second region, however slow the machine
    first = client.get_secret_value(SecretId=name)
    asked = requests(manager)
    second = client.get_secret_value(SecretId=name)
    batch = client.batch_get_secret_value(SecretIdList=[name])
    assert requests(manager) == asked
    assert {**first, "ResponseMetadata": 0} == {**second, "ResponseMetadata": 0}
    assert batch["SecretValues"][0]["SecretString"] == "v1"
    assert client.cache.get(name).string == "v1"
    assert second["ResponseMetadata"]["HTTPHeaders"]["x-secretcache-region"] in REGIONS


def test_reads_fail_over(manager: EmbeddedSecretsManager, make: Make, name: str) -> None:
    client = make()
    manager.proxies[OSAKA].set_fault(Refuse())
    assert client.get_secret_value(SecretId=name)["ARN"].split(":")[3] == TOKYO
    asked = {"Filters": [{"Key": "name", "Values": [name]}]}
    assert [one["Name"] for one in client.batch_get_secret_value(**asked)["SecretValues"]] == [name]
    manager.proxies[OSAKA].set_fault(service_error("InternalServiceError", status=500))
    assert [one["Name"] for one in client.batch_get_secret_value(**asked)["SecretValues"]] == [name]


def test_where_no_region_can_be_reached_the_error_is_botocores(
    manager: EmbeddedSecretsManager, make: Make, name: str
) -> None:
    client = make(timeout=20)
    client.get_secret_value(SecretId=name)
    manager.proxies[OSAKA].set_fault(Refuse())
    client.cache.refresh(name)  # both regions' clients are there: beside busy processes they take seconds to make
    client.cache.invalidate(name)
    manager.proxies[TOKYO].set_fault(Refuse())
    with pytest.raises(EndpointConnectionError, match="Could not connect to the endpoint URL") as caught:
        client.get_secret_value(SecretId=name)
    told = caught.value.__cause__
    assert isinstance(told, SecretUnavailableError)
    assert {attempt.region for attempt in told.attempts} == set(REGIONS)
    with pytest.raises(EndpointConnectionError):
        client.batch_get_secret_value(SecretIdList=[name, "no/such"])
    with pytest.raises(EndpointConnectionError):
        client.batch_get_secret_value(Filters=[{"Key": "name", "Values": [name]}])
    with pytest.raises(EndpointConnectionError):
        client.cache.get_secret_value(SecretId=name)


def test_a_region_that_says_nothing_is_a_timeout(manager: EmbeddedSecretsManager, make: Make, name: str) -> None:
    for proxy in manager.proxies.values():
        proxy.set_fault(Silent())
    with pytest.raises(ReadTimeoutError):
        make(timeout=0.3).get_secret_value(SecretId=name)


def test_an_older_value_stands_in_for_a_read_and_for_a_batch() -> None:
    house = House(ttl=60, session_factory=offline)
    client = secretcache.client(cache=house.cache)
    client.get_secret_value(SecretId="prod/db")
    house.fails(OSAKA)
    house.fails(TOKYO)
    house.runtime.advance(61)
    assert client.get_secret_value(SecretId="prod/db")["SecretString"] == "v1"
    told = client.batch_get_secret_value(SecretIdList=["prod/db"])
    assert (told["SecretValues"][0]["SecretString"], told["Errors"]) == ("v1", [])


def test_a_batch_tells_a_refusal_of_one_secret_and_raises_for_all(make: Make, name: str) -> None:
    house = House(session_factory=offline)
    client = secretcache.client(cache=house.cache)
    for region in REGIONS:
        house.says(region, _refusal("AccessDeniedException", Fault.DENIED))
    told = client.batch_get_secret_value(SecretIdList=["prod/db"])
    assert [one["ErrorCode"] for one in told["Errors"]] == ["AccessDeniedException"]
    house.cache.invalidate("prod/db")
    for region in REGIONS:
        house.says(region, _refusal("InternalServiceError", Fault.REGION))
    with pytest.raises(client.exceptions.InternalServiceError) as caught:
        client.batch_get_secret_value(SecretIdList=["prod/db"])
    assert caught.value.operation_name == "BatchGetSecretValue"


def _refusal(code: str, fault: Fault) -> Failure:
    cause = ClientError({"Error": {"Code": code, "Message": "no"}}, "GetSecretValue")
    return Failure(fault, code, "no", cause=cause, answered=True)


@pytest.mark.parametrize(
    ("fault", "cause", "raised", "code"),
    [
        (Fault.MISSING, None, ClientError, "ResourceNotFoundException"),
        (Fault.DENIED, None, ClientError, "AccessDeniedException"),
        (Fault.IDENTITY, None, CredentialRetrievalError, ""),
        (Fault.IDENTITY, NoCredentialsError(), NoCredentialsError, ""),
        (Fault.IDENTITY, ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole"), ClientError, "AccessDenied"),
        (Fault.REGION, None, ReadTimeoutError, ""),
        (Fault.CALLER, ValueError("of a session factory"), ConfigurationError, ""),
    ],
)
def test_each_failure_is_the_exception_boto3_has_for_it(
    fault: Fault, cause: Exception | None, raised: type[Exception], code: str
) -> None:
    for of_a_client in (True, False):
        house = House(session_factory=offline)
        for region in REGIONS:
            house.says(region, Failure(fault, "Code", "told so", cause=cause, answered=True))
        read: Any = secretcache.client(cache=house.cache) if of_a_client else house.cache
        with pytest.raises(raised) as caught:
            read.get_secret_value(SecretId="prod/db")
        assert caught.value is not cause
        if code:
            assert isinstance(caught.value, ClientError)
            assert caught.value.response["Error"]["Code"] == code


def test_a_copied_exception_is_like_its_original() -> None:
    for error in (NoCredentialsError(), EndpointConnectionError(endpoint_url="https://x/"), OSError(2, "none")):
        made = fresh(error)
        assert (type(made), str(made), made.args) == (type(error), str(error), error.args)
        assert made is not error
    assert issubclass(EndpointConnectionError, BotoCoreError)


def test_get_secret_value_of_a_cache_needs_no_client(make: Make, name: str) -> None:
    cache = make().cache
    assert cache.get_secret_value(SecretId=name)["SecretString"] == "v1"
    with pytest.raises(ParamValidationError):
        cache.get_secret_value(SecretId="")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        cache.get_secret_value(SecretId="no/such")
    with pytest.raises(ClientError, match="InvalidParameterException"):
        cache.get_secret_value(SecretId="arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf")


def test_closing(make: Make, name: str) -> None:
    client = make()
    client.get_secret_value(SecretId=name)
    client.describe_secret(SecretId=name)
    client.batch_get_secret_value(Filters=[{"Key": "name", "Values": [name]}])
    client.close()
    with pytest.raises(CacheClosedError):
        client.get_secret_value(SecretId=name)
    with pytest.raises(CacheClosedError):
        client.batch_get_secret_value(SecretIdList=[name])


def test_on_a_cache_of_the_callers(make: Make, name: str) -> None:
    cache = make().cache
    client = secretcache.client(cache=cache)
    assert client.get_secret_value(SecretId=name)["SecretString"] == "v1"
    assert client.cache is cache
    client.close()
    assert cache.get(name).string == "v1"
    with pytest.raises(ConfigurationError, match="cache"):
        secretcache.client(REGIONS, cache=cache)


def test_arguments_are_those_of_a_cache() -> None:
    with pytest.raises(ConfigurationError, match="ttl"):
        secretcache.client(REGIONS, ttl=-1)
    with pytest.raises(TypeError, match="region_name"):
        secretcache.client(REGIONS, region_name=OSAKA)


def test_with_boto3_sessions(manager: EmbeddedSecretsManager, make: Make, name: str) -> None:
    client = make(session_factory=lambda region: boto3.Session(botocore_session=manager.session(region)))
    assert client.get_secret_value(SecretId=name)["SecretString"] == "v1"


def test_a_hit_is_cheap(make: Make, name: str) -> None:
    client = make()
    client.get_secret_value(SecretId=name)
    began = time.perf_counter()
    for _ in range(1000):
        client.get_secret_value(SecretId=name)
    assert time.perf_counter() - began < 1.0, "4 us each on the machine it was written on; a request takes 5 ms"


# code that is tested with moto or a Stubber


def code_under_test(client: Any) -> str:
    return str(client.get_secret_value(SecretId="prod/db")["SecretString"])


@mock_aws
def test_code_that_uses_ours_under_mock_aws() -> None:
    boto3.client("secretsmanager", region_name=TOKYO).create_secret(
        Name="prod/db", SecretString="v1", AddReplicaRegions=[{"Region": OSAKA}]
    )
    client = secretcache.client(REGIONS, primary_region=TOKYO)
    assert code_under_test(client) == "v1"
    client.put_secret_value(SecretId="prod/db", SecretString="v2")
    assert code_under_test(client) == "v2"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_secret_value(SecretId="no/such")
    client.close()


def test_code_that_uses_ours_with_a_stubber() -> None:
    client = secretcache.client(REGIONS, session_factory=offline)
    with Stubber(client) as stub:
        stub.add_response("get_secret_value", {"SecretString": "stubbed"}, {"SecretId": "prod/db"})
        assert code_under_test(client) == "stubbed"


def test_a_dropped_client_does_not_warn() -> None:
    house = House()
    assert SecretCache._warns
    client = secretcache.client(REGIONS, session_factory=offline)
    assert not client.cache._warns
    assert house.cache._warns


def test_type_checkers_see_boto3s_types(tmp_path: Path) -> None:
    code = tmp_path / "uses.py"
    code.write_text(
        "import secretcache\n"
        "client = secretcache.client(['eu-west-1'])\n"
        "reveal_type(client.get_secret_value(SecretId='x')['SecretString'])\n"
        "reveal_type(client.cache)\n"
        "client.get_secret_value(SecretId=1)\n"
    )
    told, _, _ = api.run([str(code), "--cache-dir", str(tmp_path / "cache")])
    assert 'Revealed type is "str"' in told.replace("builtins.", "")
    assert "secretcache._cache.SecretCache" in told
    assert 'Argument "SecretId" to "get_secret_value"' in told
