"""One suite, run twice: against boto3's client and against ours, over the same Secrets Manager (moto, real HTTP)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ParamValidationError
from botocore.stub import ANY, StubAssertionError, Stubber, UnStubbedResponseError

import secretcache
from secretcache._demo.embedded import EmbeddedSecretsManager
from support import OSAKA, REGIONS, TOKYO

pytestmark = pytest.mark.usefixtures("steady_regions")

NO_VERSION = "00000000-0000-0000-0000-000000000000"
NOT_FOUND = "ResourceNotFoundException"


def boto3_client(manager: EmbeddedSecretsManager, region: str) -> Any:
    session = boto3.Session(botocore_session=manager.session(region))
    return session.client("secretsmanager", region_name=region, endpoint_url=manager.endpoint_urls[region])


@pytest.fixture(params=["boto3", "secretcache"])
def client(request: pytest.FixtureRequest, manager: EmbeddedSecretsManager) -> Iterator[Any]:
    """A client that reads in Osaka, a replica."""
    if request.param == "boto3":
        made: Any = boto3_client(manager, OSAKA)
    else:
        made = secretcache.client(REGIONS, endpoint_urls=manager.endpoint_urls, session_factory=manager.session)
    yield made
    made.close()


@pytest.fixture
def name(manager: EmbeddedSecretsManager) -> str:
    made = f"test/{uuid4().hex}"
    manager.create(made, "v1")
    return made


def put(manager: EmbeddedSecretsManager, name: str, value: str, **more: Any) -> str:
    return str(manager.admin().put_secret_value(SecretId=name, SecretString=value, **more)["VersionId"])


def arn_of(manager: EmbeddedSecretsManager, name: str) -> str:
    return str(manager.admin(OSAKA).describe_secret(SecretId=name)["ARN"])


def as_the_service_has_it(manager: EmbeddedSecretsManager, **params: Any) -> dict[str, Any]:
    told: dict[str, Any] = manager.admin(OSAKA).get_secret_value(**params)
    del told["ResponseMetadata"]
    return told


def test_the_response_is_whole(client: Any, manager: EmbeddedSecretsManager, name: str) -> None:
    for _ in range(2):  # from the service, and from memory
        told = client.get_secret_value(SecretId=name)
        about = told.pop("ResponseMetadata")
        assert told == as_the_service_has_it(manager, SecretId=name)
        assert list(told) == ["ARN", "Name", "VersionId", "SecretString", "VersionStages", "CreatedDate"]
        assert told["CreatedDate"].tzinfo is not None
        assert about["HTTPStatusCode"] == 200
        assert about["RetryAttempts"] == 0
        assert isinstance(about["RequestId"], str)
        assert isinstance(about["HTTPHeaders"], dict)


def test_by_arn(client: Any, manager: EmbeddedSecretsManager, name: str) -> None:
    arn = arn_of(manager, name)
    told = client.get_secret_value(SecretId=arn)
    assert (told["ARN"], told["SecretString"]) == (arn, "v1")


def test_a_binary_secret(client: Any, manager: EmbeddedSecretsManager) -> None:
    name = f"test/{uuid4().hex}"
    manager.create(name, b"\x00\xff")
    for _ in range(2):
        told = client.get_secret_value(SecretId=name)
        assert told["SecretBinary"] == b"\x00\xff"
        assert type(told["SecretBinary"]) is bytes
        assert "SecretString" not in told


@pytest.mark.parametrize(("stage", "value"), [("AWSCURRENT", "v2"), ("AWSPREVIOUS", "v1"), ("blue", "v3")])
def test_by_stage(client: Any, manager: EmbeddedSecretsManager, name: str, stage: str, value: str) -> None:
    put(manager, name, "v2")
    put(manager, name, "v3", VersionStages=["blue"])
    for _ in range(2):
        told = client.get_secret_value(SecretId=name, VersionStage=stage)
        assert (told["SecretString"], told["VersionStages"]) == (value, [stage])


def test_by_version_id(client: Any, manager: EmbeddedSecretsManager, name: str) -> None:
    first = manager.admin().get_secret_value(SecretId=name)["VersionId"]
    second = put(manager, name, "v2")
    told = [client.get_secret_value(SecretId=name, VersionId=one) for one in (first, second, first)]
    assert [one["SecretString"] for one in told] == ["v1", "v2", "v1"]
    assert told[0]["VersionId"] == first


def test_by_version_id_and_stage(client: Any, manager: EmbeddedSecretsManager, name: str) -> None:
    first = manager.admin().get_secret_value(SecretId=name)["VersionId"]
    put(manager, name, "v2")
    told = client.get_secret_value(SecretId=name, VersionId=first, VersionStage="AWSPREVIOUS")
    assert told["SecretString"] == "v1"
    with pytest.raises(client.exceptions.InvalidRequestException):
        client.get_secret_value(SecretId=name, VersionId=first, VersionStage="AWSCURRENT")


@pytest.mark.parametrize("picked", [{}, {"VersionStage": "AWSPENDING"}, {"VersionId": NO_VERSION}])
def test_what_is_not_there(client: Any, name: str, picked: dict[str, str]) -> None:
    secret_id = name if picked else "no/such"
    for _ in range(2):  # the second from what is remembered
        with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
            client.get_secret_value(SecretId=secret_id, **picked)
        error = caught.value
        assert isinstance(error, ClientError)
        assert error.response["Error"]["Code"] == NOT_FOUND
        assert error.response["Error"]["Message"]
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] in {400, 404}  # AWS's and moto's
        assert error.operation_name == "GetSecretValue"
        assert str(error).startswith(f"An error occurred ({NOT_FOUND}) when calling the GetSecretValue operation: ")


def test_a_deleted_secret(client: Any, manager: EmbeddedSecretsManager) -> None:
    name = f"test/{uuid4().hex}"
    manager.admin(OSAKA).create_secret(Name=name, SecretString="v1")
    manager.admin(OSAKA).delete_secret(SecretId=name)
    with pytest.raises(ClientError) as caught:
        client.get_secret_value(SecretId=name)
    assert caught.value.response["Error"]["Code"] in {"InvalidRequestException", NOT_FOUND}


def test_an_arn_of_a_region_that_is_not_listed(client: Any) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_secret_value(SecretId="arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf")


def test_an_id_that_is_blank(client: Any) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_secret_value(SecretId=" ")


@pytest.mark.parametrize(
    ("params", "report"),
    [
        ({}, 'Missing required parameter in input: "SecretId"'),
        ({"SecretId": None}, "Invalid type for parameter SecretId, value: None"),
        ({"SecretId": 7}, "Invalid type for parameter SecretId, value: 7"),
        ({"SecretId": b"x"}, "Invalid type for parameter SecretId"),
        ({"SecretId": ""}, "Invalid length for parameter SecretId, value: 0, valid min length: 1"),
        ({"SecretId": "x", "VersionId": None}, "Invalid type for parameter VersionId, value: None"),
        ({"SecretId": "x", "VersionId": "short"}, "Invalid length for parameter VersionId, value: 5, valid min length"),
        ({"SecretId": "x", "VersionStage": ""}, "Invalid length for parameter VersionStage, value: 0"),
        ({"SecretId": "x", "VersionStage": 1}, "Invalid type for parameter VersionStage, value: 1"),
        ({"SecretId": "x", "Stage": "y"}, 'Unknown parameter in input: "Stage"'),
        ({"secret_id": "x"}, 'Unknown parameter in input: "secret_id"'),
    ],
)
def test_parameters_are_checked(client: Any, params: dict[str, Any], report: str) -> None:
    with pytest.raises(ParamValidationError) as caught:
        client.get_secret_value(**params)
    assert report in str(caught.value)


def test_only_keyword_arguments(client: Any) -> None:
    with pytest.raises(TypeError, match=r"get_secret_value\(\) only accepts keyword arguments"):
        client.get_secret_value("x")


def test_what_a_caller_does_to_a_response_reaches_nobody_else(
    client: Any, manager: EmbeddedSecretsManager, name: str
) -> None:
    for _ in range(2):
        told = client.get_secret_value(SecretId=name)
        assert (told["SecretString"], told["VersionStages"]) == ("v1", ["AWSCURRENT"])
        told["VersionStages"].append("mine")
        told["ResponseMetadata"]["HTTPHeaders"]["mine"] = "mine"
        told["SecretString"] = "mine"
    with pytest.raises(ClientError) as first:
        client.get_secret_value(SecretId="no/such")
    first.value.response["Error"]["Code"] = "Mine"
    with pytest.raises(ClientError) as second:
        client.get_secret_value(SecretId="no/such")
    assert second.value.response["Error"]["Code"] == NOT_FOUND
    assert second.value is not first.value


# BatchGetSecretValue


def test_a_batch(client: Any, manager: EmbeddedSecretsManager, name: str) -> None:
    other = f"test/{uuid4().hex}"
    manager.create(other, b"\x01")
    for _ in range(2):
        told = client.batch_get_secret_value(SecretIdList=[name, "no/such", other])
        assert told["SecretValues"] == [as_the_service_has_it(manager, SecretId=one) for one in (name, other)]
        (error,) = told["Errors"]
        assert (error["SecretId"], error["ErrorCode"]) == ("no/such", NOT_FOUND)
        assert error["Message"]
        assert told["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert "NextToken" not in told


def test_a_batch_by_arn(client: Any, manager: EmbeddedSecretsManager, name: str) -> None:
    arn = arn_of(manager, name)
    told = client.batch_get_secret_value(SecretIdList=[arn])
    assert [one["ARN"] for one in told["SecretValues"]] == [arn]


def test_a_batch_with_an_id_of_no_listed_region(client: Any, name: str) -> None:
    other = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf"
    told = client.batch_get_secret_value(SecretIdList=[name, other])
    assert [one["SecretString"] for one in told["SecretValues"]] == ["v1"]
    assert [one["SecretId"] for one in told["Errors"]] == [other]


def test_a_batch_by_filter_in_pages(client: Any, manager: EmbeddedSecretsManager) -> None:
    prefix = f"filter/{uuid4().hex}"
    for number in range(3):
        manager.create(f"{prefix}/{number}", f"v{number}")
    asked: dict[str, Any] = {"Filters": [{"Key": "name", "Values": [prefix]}], "MaxResults": 2}
    first = client.batch_get_secret_value(**asked)
    rest = client.batch_get_secret_value(**asked, NextToken=first["NextToken"])
    assert [one["SecretString"] for one in first["SecretValues"]] == ["v0", "v1"]
    assert [one["SecretString"] for one in rest["SecretValues"]] == ["v2"]


@pytest.mark.parametrize(
    "params",
    [
        {"SecretIdList": ["x"], "MaxResults": 5},
        {"SecretIdList": ["x"], "Filters": [{"Key": "name", "Values": ["x"]}]},
    ],
)
def test_a_batch_the_service_refuses(client: Any, params: dict[str, Any]) -> None:
    with pytest.raises(client.exceptions.InvalidParameterException) as caught:
        client.batch_get_secret_value(**params)
    assert caught.value.operation_name == "BatchGetSecretValue"


@pytest.mark.parametrize(
    ("params", "report"),
    [
        ({"SecretIdList": "x"}, "Invalid type for parameter SecretIdList"),
        ({"SecretIdList": []}, "Invalid length for parameter SecretIdList, value: 0"),
        ({"SecretIdList": [""]}, "Invalid length for parameter SecretIdList[0], value: 0"),
        ({"SecretIdList": [1]}, "Invalid type for parameter SecretIdList[0]"),
        ({"Filters": [{"Key": "name", "Values": []}]}, "Invalid length for parameter Filters[0].Values, value: 0"),
        ({"MaxResults": 0}, "for parameter MaxResults, value: 0, valid min value: 1"),
        ({"MaxResults": "1"}, "Invalid type for parameter MaxResults"),
        ({"NextToken": ""}, "Invalid length for parameter NextToken, value: 0"),
        ({"SecretIds": ["x"]}, 'Unknown parameter in input: "SecretIds"'),
    ],
)
def test_a_batchs_parameters_are_checked(client: Any, params: dict[str, Any], report: str) -> None:
    with pytest.raises(ParamValidationError) as caught:
        client.batch_get_secret_value(**params)
    assert report in str(caught.value)


# everything else about a client


def test_it_is_a_botocore_client(client: Any) -> None:
    assert isinstance(client, BaseClient)
    assert type(client).__name__ == "SecretsManager"
    assert client.meta.region_name == OSAKA
    assert client.meta.service_model.service_name == "secretsmanager"
    assert client.meta.method_to_api_mapping["get_secret_value"] == "GetSecretValue"
    assert {"get_secret_value", "put_secret_value", "exceptions", "meta"} <= set(dir(client))
    assert client.can_paginate("list_secrets")
    assert not client.can_paginate("get_secret_value")
    with pytest.raises(AttributeError):
        _ = client.get_secret_values  # type: ignore[attr-defined]


def test_metadata_is_read_in_the_first_region(client: Any, manager: EmbeddedSecretsManager, name: str) -> None:
    told = client.describe_secret(SecretId=name)
    assert (told["ARN"], told["PrimaryRegion"]) == (arn_of(manager, name), TOKYO)
    assert "SecretString" not in told
    found = [one["Name"] for page in client.get_paginator("list_secrets").paginate() for one in page["SecretList"]]
    assert name in found
    assert len(client.get_random_password(PasswordLength=20)["RandomPassword"]) == 20
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_secret(SecretId="no/such")


def test_handlers_are_called(client: Any, name: str) -> None:
    seen: list[str] = []
    for event in ("before-parameter-build", "before-call", "after-call"):
        client.meta.events.register(f"{event}.secrets-manager.GetSecretValue", _noting(seen, event))
    client.get_secret_value(SecretId=name)
    client.get_secret_value(SecretId=name)
    assert seen == ["before-parameter-build", "before-call", "after-call"] * 2


def _noting(seen: list[str], event: str) -> Callable[..., None]:
    def note(**_: Any) -> None:
        seen.append(event)

    return note


def test_a_handler_may_change_parameters(client: Any, name: str) -> None:
    def change(params: dict[str, Any], **_: Any) -> None:
        params["SecretId"] = name

    client.meta.events.register("before-parameter-build.secrets-manager.GetSecretValue", change)
    assert client.get_secret_value(SecretId="another")["Name"] == name


def test_stubber(client: Any, manager: EmbeddedSecretsManager, name: str) -> None:
    assert client.get_secret_value(SecretId=name)["SecretString"] == "v1"
    with Stubber(client) as stub:
        stub.add_response("get_secret_value", {"SecretString": "stubbed"}, {"SecretId": name})
        stub.add_client_error("get_secret_value", NOT_FOUND, "none", 400)
        stub.add_response("batch_get_secret_value", {"SecretValues": []}, {"SecretIdList": ANY})
        stub.add_response("put_secret_value", {"VersionId": NO_VERSION}, {"SecretId": name, "SecretString": "x"})
        assert client.get_secret_value(SecretId=name) == {"SecretString": "stubbed"}
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.get_secret_value(SecretId=name)
        assert client.batch_get_secret_value(SecretIdList=["a"]) == {"SecretValues": []}
        assert client.put_secret_value(SecretId=name, SecretString="x") == {"VersionId": NO_VERSION}
        stub.assert_no_pending_responses()
        with pytest.raises(UnStubbedResponseError):
            client.get_secret_value(SecretId=name)
        stub.add_response("get_secret_value", {"SecretString": "stubbed"}, {"SecretId": "another"})
        with pytest.raises(StubAssertionError):
            client.get_secret_value(SecretId=name)
    assert client.get_secret_value(SecretId=name)["SecretString"] == "v1"
