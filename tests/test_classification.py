"""What each failure means: every row of the table, and every code that botocore or AWS knows of has one."""

from __future__ import annotations

import contextlib
import errno
from typing import Any

import botocore.session
import pytest
from botocore import exceptions as errors
from botocore import parsers
from botocore.retries import standard

from secretcache._transport import Failure, Fault
from secretcache._transport._classify import BY_CLASS, BY_CODE, classify
from secretcache._transport._reasons import without_code

URL = "https://secretsmanager.ap-northeast-3.amazonaws.com/"
STS = "https://sts.ap-northeast-1.amazonaws.com/"
OPERATIONS = ("GetSecretValue", "BatchGetSecretValue", "DescribeSecret")

# Written out a second time on purpose: whoever moves or deletes a row in the table has to mean it.
CODES = {
    "InternalError": Fault.REGION,
    "InternalFailure": Fault.REGION,
    "InternalServerError": Fault.REGION,
    "InternalServerErrorException": Fault.REGION,
    "InternalServiceError": Fault.REGION,
    "InternalServiceErrorException": Fault.REGION,
    "InternalServiceException": Fault.REGION,
    "MalformedHttpRequestException": Fault.REGION,
    "RequestAbortedException": Fault.REGION,
    "RequestTimeout": Fault.REGION,
    "RequestTimeoutException": Fault.REGION,
    "ServiceUnavailable": Fault.REGION,
    "ServiceUnavailableException": Fault.REGION,
    "BandwidthLimitExceeded": Fault.THROTTLED,
    "EC2ThrottledException": Fault.THROTTLED,
    "KMSThrottlingException": Fault.THROTTLED,
    "LimitExceededException": Fault.THROTTLED,
    "PriorRequestNotComplete": Fault.THROTTLED,
    "ProvisionedThroughputExceededException": Fault.THROTTLED,
    "RequestLimitExceeded": Fault.THROTTLED,
    "RequestThrottled": Fault.THROTTLED,
    "RequestThrottledException": Fault.THROTTLED,
    "SlowDown": Fault.THROTTLED,
    "ThrottledException": Fault.THROTTLED,
    "Throttling": Fault.THROTTLED,
    "ThrottlingException": Fault.THROTTLED,
    "TooManyRequests": Fault.THROTTLED,
    "TooManyRequestsException": Fault.THROTTLED,
    "TransactionInProgressException": Fault.THROTTLED,
    "ResourceNotFoundException": Fault.MISSING,
    "InvalidRequestException": Fault.DENIED,
    "AccessDenied": Fault.DENIED,
    "AccessDeniedException": Fault.DENIED,
    "DecryptionFailure": Fault.DENIED,
    "DecryptionFailureException": Fault.DENIED,
    "KMSAccessDeniedException": Fault.DENIED,
    "KMSDisabledException": Fault.DENIED,
    "KMSInvalidStateException": Fault.DENIED,
    "KMSNotFoundException": Fault.DENIED,
    "KMSOptInRequired": Fault.DENIED,
    "NotAuthorized": Fault.DENIED,
    "UnauthorizedOperation": Fault.DENIED,
    "AuthFailure": Fault.IDENTITY,
    "ExpiredToken": Fault.IDENTITY,
    "ExpiredTokenException": Fault.IDENTITY,
    "IncompleteSignature": Fault.IDENTITY,
    "IncompleteSignatureException": Fault.IDENTITY,
    "InvalidAccessKeyId": Fault.IDENTITY,
    "InvalidClientTokenId": Fault.IDENTITY,
    "InvalidSignatureException": Fault.IDENTITY,
    "InvalidToken": Fault.IDENTITY,
    "MissingAuthenticationToken": Fault.IDENTITY,
    "MissingAuthenticationTokenException": Fault.IDENTITY,
    "RequestExpired": Fault.IDENTITY,
    "RequestTimeTooSkewed": Fault.IDENTITY,
    "SignatureDoesNotMatch": Fault.IDENTITY,
    "UnrecognizedClientException": Fault.IDENTITY,
    "OptInRequired": Fault.NOT_OFFERED,
    "SubscriptionRequiredException": Fault.NOT_OFFERED,
    "InvalidAction": Fault.CALLER,
    "InvalidNextTokenException": Fault.CALLER,
    "InvalidParameterCombination": Fault.CALLER,
    "InvalidParameterException": Fault.CALLER,
    "InvalidParameterValue": Fault.CALLER,
    "InvalidQueryParameter": Fault.CALLER,
    "MalformedQueryString": Fault.CALLER,
    "MissingAction": Fault.CALLER,
    "MissingParameter": Fault.CALLER,
    "RequestEntityTooLargeException": Fault.CALLER,
    "SerializationException": Fault.CALLER,
    "UnknownOperationException": Fault.CALLER,
    "ValidationError": Fault.CALLER,
    "ValidationException": Fault.CALLER,
}
CLASSES = {
    "ChecksumError": Fault.REGION,
    "ConnectionError": Fault.REGION,
    "HTTPClientError": Fault.REGION,
    "IncompleteReadError": Fault.REGION,
    "ResponseParserError": Fault.REGION,
    "ConfigNotFound": Fault.IDENTITY,
    "ConfigParseError": Fault.IDENTITY,
    "CredentialRetrievalError": Fault.IDENTITY,
    "InvalidConfigError": Fault.IDENTITY,
    "InvalidIMDSEndpointError": Fault.IDENTITY,
    "InvalidIMDSEndpointModeError": Fault.IDENTITY,
    "InvalidSTSRegionalEndpointsConfigError": Fault.IDENTITY,
    "LoginError": Fault.IDENTITY,
    "MetadataRetrievalError": Fault.IDENTITY,
    "MissingDependencyException": Fault.IDENTITY,
    "NoAuthTokenError": Fault.IDENTITY,
    "NoCredentialsError": Fault.IDENTITY,
    "PartialCredentialsError": Fault.IDENTITY,
    "ProfileNotFound": Fault.IDENTITY,
    "RefreshWithMFAUnsupportedError": Fault.IDENTITY,
    "SSOError": Fault.IDENTITY,
    "TokenRetrievalError": Fault.IDENTITY,
    "UnknownCredentialError": Fault.IDENTITY,
    "UnknownTokenProviderError": Fault.IDENTITY,
    "EndpointProviderError": Fault.NOT_OFFERED,
    "EndpointVariantError": Fault.NOT_OFFERED,
    "ServiceNotInRegionError": Fault.NOT_OFFERED,
    "UnknownEndpointError": Fault.NOT_OFFERED,
    "UnknownFIPSEndpointError": Fault.NOT_OFFERED,
    "UnknownRegionError": Fault.NOT_OFFERED,
    "DataNotFoundError": Fault.CALLER,
    "InvalidDefaultsMode": Fault.CALLER,
    "InvalidEndpointConfigurationError": Fault.CALLER,
    "InvalidProxiesConfigError": Fault.CALLER,
    "InvalidRetryConfigurationError": Fault.CALLER,
    "NoRegionError": Fault.CALLER,
    "ParamValidationError": Fault.CALLER,
    "UnknownSignatureVersionError": Fault.CALLER,
    "UnsupportedSignatureVersionError": Fault.CALLER,
    "ValidationError": Fault.CALLER,
}
# AWS's documented errors common to all services: today's list, and the one before it.
COMMON = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InternalFailure",
    "InvalidAction",
    "InvalidClientTokenId",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "InvalidQueryParameter",
    "MalformedHttpRequestException",
    "MalformedQueryString",
    "MissingAction",
    "MissingAuthenticationToken",
    "MissingParameter",
    "NotAuthorized",
    "OptInRequired",
    "RequestAbortedException",
    "RequestEntityTooLargeException",
    "RequestExpired",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ThrottlingException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationError",
]


def answer(code: str, operation: str = "GetSecretValue", message: str = "told", **headers: str) -> errors.ClientError:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    told: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": named},
    }
    return errors.ClientError(told, operation)


def judge(error: BaseException, endpoint: str = URL, operation: str = "GetSecretValue") -> Failure:
    return classify(error, operation=operation, endpoint=endpoint)


def raised(error: Exception) -> Exception:
    with contextlib.suppress(type(error)):
        raise error
    return error


def of_class(name: str) -> Exception:
    """An exception of botocore's, without the words that its constructor wants."""
    kind = getattr(errors, name, None) or getattr(parsers, name)
    made: Exception = kind.__new__(kind)
    made.kwargs = {}  # type: ignore[attr-defined]
    return made


def test_no_row_is_missing_or_new() -> None:
    assert BY_CODE == CODES
    assert BY_CLASS == CLASSES


@pytest.mark.parametrize("code", CODES)
def test_a_code_of_the_services_own(code: str) -> None:
    failure = judge(raised(answer(code)))
    assert (failure.fault, failure.code, failure.message) == (CODES[code], code, "told")
    assert failure.answered
    assert failure.revoked == (code in ("UnrecognizedClientException", "InvalidClientTokenId"))
    assert failure.cause is not None
    assert failure.cause.__traceback__ is None


@pytest.mark.parametrize("code", CODES)
def test_the_same_code_of_sts_is_identity(code: str) -> None:
    failure = judge(answer(code, "AssumeRole"))
    assert (failure.fault, failure.answered) == (Fault.IDENTITY, False)
    assert failure.message == "AssumeRole: told"
    assert failure.revoked == (code in ("UnrecognizedClientException", "InvalidClientTokenId"))


@pytest.mark.parametrize("name", [name for name in CLASSES if hasattr(errors, name) or hasattr(parsers, name)])
def test_a_class_of_botocores(name: str) -> None:
    failure = judge(raised(of_class(name)))
    assert failure.fault is CLASSES[name]
    assert not failure.answered


def test_nearly_every_class_is_there_to_be_tested() -> None:
    missing = {name for name in CLASSES if not hasattr(errors, name) and not hasattr(parsers, name)}
    assert missing <= {"LoginError"}, "a class that no botocore has is a misspelt row"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_error_of_a_read_in_botocores_own_model_has_a_row(operation: str) -> None:
    model: Any = botocore.session.Session().get_service_model("secretsmanager").operation_model(operation)
    codes = {shape.error_code for shape in model.error_shapes}
    assert codes
    assert codes <= BY_CODE.keys()
    assert {judge(answer(code, operation), operation=operation).answered for code in codes} == {True}


def test_every_common_error_has_a_row() -> None:
    retried: Any = standard
    transient = retried.TransientRetryableChecker._TRANSIENT_ERROR_CODES
    throttled = retried.ThrottledRetryableChecker._THROTTLED_ERROR_CODES
    definitions = botocore.session.Session().get_component("data_loader").load_data("_retry")["definitions"]
    responses = [one["applies_when"].get("response", {}) for one in definitions.values()]
    legacy = {one["service_error_code"] for one in responses if "service_error_code" in one}
    assert {*COMMON, *transient, *throttled, *legacy} <= BY_CODE.keys()
    assert {BY_CODE[code] for code in throttled} == {Fault.THROTTLED}


@pytest.mark.parametrize(
    "error",
    [
        errors.EndpointConnectionError(endpoint_url=URL),
        errors.ConnectTimeoutError(endpoint_url=URL),
        errors.ReadTimeoutError(endpoint_url=URL),
        errors.ConnectionClosedError(endpoint_url=URL),
        errors.SSLError(endpoint_url=URL, error=OSError("x")),
        errors.EndpointConnectionError(endpoint_url="https://SecretsManager.ap-northeast-3.amazonaws.com:443/x?y"),
        errors.ProxyConnectionError(proxy_url="http://proxy:3128"),
        errors.ResponseStreamingError(error="x"),
        errors.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        errors.HTTPClientError(error="x"),
        parsers.ResponseParserError("x"),
        OSError("x"),
        TimeoutError("x"),
        ConnectionResetError("x"),
        AttributeError("'list' object has no attribute 'get'"),
        ValueError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_once_the_request_has_left_it_is_the_regions_fault(error: Exception) -> None:
    assert judge(raised(error)).fault is Fault.REGION


@pytest.mark.parametrize(
    "error",
    [
        errors.EndpointConnectionError(endpoint_url=STS),
        errors.ConnectTimeoutError(endpoint_url=STS),
        errors.ReadTimeoutError(endpoint_url=STS),
        errors.SSLError(endpoint_url=STS, error=OSError("x")),
        errors.ConnectionClosedError(endpoint_url="http://169.254.169.254/latest"),
        errors.EndpointConnectionError(endpoint_url=URL.replace(".com", ".com:8443")),
    ],
    ids=lambda error: str(error.kwargs["endpoint_url"]),
)
def test_another_host_is_the_identitys(error: Exception) -> None:
    assert judge(raised(error)).fault is Fault.IDENTITY


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (errors.EndpointConnectionError(endpoint_url=URL), Fault.IDENTITY),
        (errors.ProxyConnectionError(proxy_url="http://proxy:3128"), Fault.IDENTITY),
        (errors.HTTPClientError(error="x"), Fault.IDENTITY),
        (FileNotFoundError("token"), Fault.IDENTITY),
        (errors.ParamValidationError(report="x"), Fault.CALLER),
        (TypeError("an event handler of the application's"), Fault.LOCAL),
    ],
    ids=lambda one: one.name if isinstance(one, Fault) else type(one).__name__,
)
def test_before_the_request_has_left_the_region_has_no_part_in_it(error: Exception, fault: Fault) -> None:
    assert judge(raised(error), endpoint="").fault is fault


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_a_process_without_files_or_memory_blames_no_region(number: int) -> None:
    inner = ConnectionError("could not connect")
    inner.__cause__ = OSError(number, "x")
    assert judge(errors.EndpointConnectionError(endpoint_url=URL, error=inner)).fault is Fault.LOCAL
    assert judge(OSError(number, "x")).fault is Fault.LOCAL
    assert judge(MemoryError()).fault is Fault.LOCAL
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "x")
    assert judge(errors.EndpointConnectionError(endpoint_url=URL, error=refused)).fault is Fault.REGION


@pytest.mark.parametrize("code", ["503", "403", "302", "407", "429", ""])
def test_an_answer_without_a_code_is_not_the_services(code: str) -> None:
    error = answer(code, message="<html>canary</html>")
    failure = judge(raised(error))
    assert (failure.fault, failure.answered) == (Fault.REGION, False)
    assert ("user name and a password" if code == "407" else "without an AWS error code") in failure.message
    assert isinstance(failure.cause, errors.ClientError)
    assert "canary" not in f"{failure!r} {failure.cause} {failure.cause.response} {failure.cause.args}"


def test_what_is_left_of_such_an_answer_is_its_status_and_operation() -> None:
    failure = judge(answer("503", message="<html>canary</html>", retry_after="7"))
    assert isinstance(failure.cause, errors.ClientError)
    assert failure.cause.operation_name == "GetSecretValue"
    assert failure.cause.response["Error"] == {"Code": "503", "Message": ""}
    assert failure.cause.response["ResponseMetadata"] == {"HTTPStatusCode": 400, "HTTPHeaders": {"retry-after": "7"}}
    assert failure.code == "503"
    assert judge(answer("")).code == "NoErrorCode"


@pytest.mark.parametrize("code", ["503", "ThrottlingException", "Throttling", "AccessDeniedException"])
def test_an_answer_without_metadata_is_judged_all_the_same(code: str) -> None:
    bare: Any = {"Error": {"Code": code}}
    failure = judge(errors.ClientError(bare, "GetSecretValue"))
    assert (failure.code, failure.retry_after) == (code, 0.0)
    assert failure.message == ("" if code != "503" else without_code("503"))
    assert judge(errors.ClientError({}, "GetSecretValue")).code == "NoErrorCode"


@pytest.mark.parametrize(
    ("failed", "sent", "fault"),
    [
        ("http://sm.internal:80/", "http://sm.internal/", Fault.REGION),
        ("http://sm.internal/", "http://sm.internal:80/", Fault.REGION),
        ("https://sm.internal:443/", "https://sm.internal/", Fault.REGION),
        ("https://sm.internal/", "http://sm.internal/", Fault.IDENTITY),
        ("http://sm.internal:4566/", "http://sm.internal:4567/", Fault.IDENTITY),
    ],
)
def test_a_host_is_the_same_with_its_default_port_spelled_out(failed: str, sent: str, fault: Fault) -> None:
    assert judge(errors.EndpointConnectionError(endpoint_url=failed, error="x"), endpoint=sent).fault is fault


# What a failure and its cause may quote.


@pytest.mark.parametrize(
    ("error", "message", "quoted"),
    [
        (errors.HTTPClientError(error=ValueError("canary")), "ValueError", "HTTPClientError: ValueError"),
        (
            errors.ResponseStreamingError(error="canary"),
            "the response could not be read",
            "ResponseStreamingError: the response could not be read",
        ),
        (
            parsers.ResponseParserError("canary"),
            "the response could not be read",
            "ResponseParserError: the response could not be read",
        ),
        (ValueError("canary"), "the response could not be read", "ValueError: the response could not be read"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else "",
)
def test_an_error_that_may_quote_a_body_is_replaced_by_its_name(error: Exception, message: str, quoted: str) -> None:
    failure = judge(raised(error))
    assert failure.message == message
    assert type(failure.cause) is errors.HTTPClientError
    assert str(failure.cause).endswith(f": {quoted}")
    assert "canary" not in f"{failure!r} {failure.cause} {failure.cause.kwargs} {failure.cause.args}"


def test_an_error_that_cannot_is_kept_without_what_hangs_on_it() -> None:
    error = errors.ReadTimeoutError(request="canary", response="canary", endpoint_url=URL, error=OSError("x"))
    told = str(error)
    failure = judge(raised(error))
    assert failure.cause is error
    assert (failure.code, failure.message, str(error)) == ("ReadTimeoutError", told, told)
    assert (error.request, error.response, error.__traceback__) == (None, None, None)
    assert dict(error.kwargs) == {"endpoint_url": URL}


def test_an_error_of_another_kind_gets_nothing_that_it_had_not() -> None:
    error = errors.NoCredentialsError()
    assert judge(error).cause is error
    assert not hasattr(error, "request")
    assert not hasattr(error, "response")


def test_what_came_of_an_answer_and_of_a_request_for_credentials_is_its_cause() -> None:
    denied, role = answer("AccessDeniedException"), answer("AccessDenied", operation="AssumeRole")
    assert judge(raised(denied)).cause is denied
    failure = judge(raised(role))
    assert (failure.code, failure.message, failure.cause) == ("AccessDenied", "AssumeRole: told", role)
    assert role.__traceback__ is None


def test_a_code_nobody_knows_is_a_region_fault_and_an_answer() -> None:
    failure = judge(answer("SomethingNew"))
    assert (failure.fault, failure.answered) == (Fault.REGION, True)
    assert judge(answer("ThrottlingSomehow")).fault is Fault.THROTTLED


SENT = "Mon, 23 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": " 7 "}, 7.0),
        ({"retry_after": "86400"}, 60.0),
        ({"retry_after": "9" * 5000}, 0.0),
        ({"retry_after": "-1"}, 0.0),
        ({"retry_after": "nan"}, 0.0),
        ({"retry_after": "inf"}, 0.0),
        ({"retry_after": "soon"}, 0.0),
        ({"retry_after": "Mon, 23 Nov 2026 10:00:12 GMT", "date": SENT}, 12.0),
        ({"retry_after": "Mon, 23 Nov 2026 09:00:00 GMT", "date": SENT}, 0.0),
        ({"retry_after": "Mon, 23 Nov 2099 09:00:00 GMT", "date": SENT}, 60.0),
        ({"retry_after": "Mon, 23 Nov 2026 10:00:12 -0000", "date": SENT}, 0.0),
        ({"retry_after": "Mon, 23 Nov 2026 10:00:12 GMT"}, 0.0),
        ({"x_amz_retry_after": "1500"}, 1.5),
        ({"x_amz_retry_after": "1500", "retry_after": "7"}, 1.5),
        ({"x_amz_retry_after": "x", "retry_after": "7"}, 7.0),
    ],
)
def test_the_servers_hint(headers: dict[str, str], seconds: float) -> None:
    assert judge(answer("ThrottlingException", **headers)).retry_after == seconds
    assert judge(answer("InternalServiceError", **headers)).retry_after == 0


@pytest.mark.parametrize(
    "error",
    [
        errors.HTTPClientError(error=ValueError("InvalidChunkLength(got length b'canary')"), request="canary"),
        errors.ResponseStreamingError(error=ValueError("canary")),
        errors.EndpointConnectionError(endpoint_url=URL, error=ValueError("canary")),
        ValueError("canary"),
        UnicodeDecodeError("utf-8", b"canary", 0, 1, "canary"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_error_quotes_of_the_wire_goes_no_further(error: Exception) -> None:
    with contextlib.suppress(Exception):
        try:
            raise ValueError("canary")  # noqa: TRY301
        except ValueError:
            raise error  # noqa: B904
    failure = judge(error)
    assert failure.cause is not None
    assert failure.cause.__traceback__ is None
    chain = (failure.cause, failure.cause.__cause__, failure.cause.__context__)
    assert "canary" not in f"{failure!r} {failure} {chain} {vars(failure.cause)}"
