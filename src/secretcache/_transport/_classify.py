"""The one table that says which failure means what: by error code and by the host that failed, never by HTTP status.

AccessDenied, Throttling and DecryptionFailure are all HTTP 400. A code that is a bare number was made up by botocore
because the body held none: a proxy or a load balancer spoke, not the service.
"""

from __future__ import annotations

import errno
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore import exceptions as errors
from botocore import parsers

from secretcache._transport import Failure, Fault
from secretcache._transport._reasons import about_proxy, without_code

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BY_CLASS", "BY_CODE", "classify", "is_local"]


def _rows(table: Mapping[Fault, str]) -> dict[str, Fault]:
    return {name: fault for fault, names in table.items() for name in names.split()}


# What the service says. `Throttling*` has a rule of its own besides; any other code is a region fault: the next region
# is asked, an old value may stand in, and nothing is concluded about the secret.
BY_CODE = _rows({
    Fault.REGION: """
        InternalError InternalFailure InternalServerError InternalServerErrorException InternalServiceError
        InternalServiceErrorException InternalServiceException MalformedHttpRequestException RequestAbortedException
        RequestTimeout RequestTimeoutException ServiceUnavailable ServiceUnavailableException""",
    Fault.THROTTLED: """
        BandwidthLimitExceeded EC2ThrottledException KMSThrottlingException LimitExceededException
        PriorRequestNotComplete ProvisionedThroughputExceededException RequestLimitExceeded RequestThrottled
        RequestThrottledException SlowDown ThrottledException Throttling ThrottlingException TooManyRequests
        TooManyRequestsException TransactionInProgressException""",
    Fault.MISSING: "ResourceNotFoundException",
    Fault.DENIED: """
        AccessDenied AccessDeniedException DecryptionFailure DecryptionFailureException InvalidRequestException
        KMSAccessDeniedException
        KMSDisabledException KMSInvalidStateException KMSNotFoundException KMSOptInRequired NotAuthorized
        UnauthorizedOperation""",
    Fault.IDENTITY: """
        AuthFailure ExpiredToken ExpiredTokenException IncompleteSignature IncompleteSignatureException
        InvalidAccessKeyId InvalidClientTokenId InvalidSignatureException InvalidToken MissingAuthenticationToken
        MissingAuthenticationTokenException RequestExpired RequestTimeTooSkewed SignatureDoesNotMatch
        UnrecognizedClientException""",
    Fault.NOT_OFFERED: "OptInRequired SubscriptionRequiredException",
    Fault.CALLER: """
        InvalidAction InvalidNextTokenException InvalidParameterCombination InvalidParameterException
        InvalidParameterValue InvalidQueryParameter MalformedQueryString MissingAction MissingParameter
        RequestEntityTooLargeException SerializationException UnknownOperationException ValidationError
        ValidationException""",
})  # fmt: skip

# What botocore says, by class; a subclass that has no row has that of its base. A region fault is one only if the host
# that failed is the one our request went to: see `_elsewhere`. What botocore of another version does not have, it does
# not raise.
BY_CLASS = _rows({
    Fault.REGION: "ChecksumError ConnectionError HTTPClientError IncompleteReadError ResponseParserError",
    Fault.IDENTITY: """
        ConfigNotFound ConfigParseError CredentialRetrievalError InvalidConfigError InvalidIMDSEndpointError
        InvalidIMDSEndpointModeError InvalidSTSRegionalEndpointsConfigError LoginError MetadataRetrievalError
        MissingDependencyException NoAuthTokenError NoCredentialsError PartialCredentialsError ProfileNotFound
        RefreshWithMFAUnsupportedError SSOError TokenRetrievalError UnknownCredentialError UnknownTokenProviderError""",
    Fault.NOT_OFFERED: """
        EndpointProviderError EndpointVariantError ServiceNotInRegionError UnknownEndpointError
        UnknownFIPSEndpointError UnknownRegionError""",
    Fault.CALLER: """
        DataNotFoundError InvalidDefaultsMode InvalidEndpointConfigurationError InvalidProxiesConfigError
        InvalidRetryConfigurationError NoRegionError ParamValidationError UnknownSignatureVersionError
        UnsupportedSignatureVersionError ValidationError""",
})  # fmt: skip
_CLASSES = {
    kind: fault
    for name, fault in BY_CLASS.items()
    if (kind := getattr(errors, name, None) or getattr(parsers, name, None))
}

_KEY_IS_UNKNOWN = ("InvalidClientTokenId", "UnrecognizedClientException")
_OUT_OF_MEANS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_DEEPEST = 5  # botocore's error, urllib3's, the machine's
_LONGEST_HINT = 60.0
"""Seconds: a server that asks for more is asked again after this."""
_WHOLE = re.compile(r"[0-9]{1,9}\Z")

_QUOTING = (errors.HTTPClientError, errors.ResponseStreamingError, parsers.ResponseParserError)
"""Of exactly these classes: the text of an unforeseen error is in theirs, and in it perhaps a body."""


def classify(error: BaseException, *, operation: str, endpoint: str) -> Failure:
    """What an exception from a request means.

    The failure's cause is that exception, or one like it, without what could quote a response: no traceback, whose
    frames hold locals, no chain, no body that a parser could not make sense of.

    Args:
        error: what was raised.
        operation: the operation that was asked for.
        endpoint: the URL that the request was sent to; empty if it had not left yet, so that whatever failed was on
            the way to credentials.
    """
    if isinstance(error, errors.ClientError):
        return _judge_answer(error, operation)
    return Failure(_judge(error, endpoint), type(error).__name__, _message(error), cause=_clean(error))


def _judge(error: BaseException, endpoint: str) -> Fault:
    if is_local(error) or not isinstance(error, Exception):  # an event handler's sys.exit()
        return Fault.LOCAL
    if isinstance(error, errors.InvalidConfigError) and "CA bundle" in str(
        error
    ):  # it has nothing to do with credentials
        return Fault.CALLER
    fault = next((_CLASSES[kind] for kind in type(error).__mro__ if kind in _CLASSES), None)
    if fault is not None and fault is not Fault.REGION:
        return fault
    if not _elsewhere(error, endpoint):
        return Fault.REGION
    return Fault.IDENTITY if fault or isinstance(error, OSError) else Fault.LOCAL


def is_local(error: BaseException) -> bool:
    """Whether this process, or its machine, had no file or memory left: every region would look down."""
    if isinstance(error, MemoryError):
        return True
    chain: list[Any] = [error]
    while isinstance(chain[-1], BaseException) and len(chain) < _DEEPEST:
        chain.append(getattr(chain[-1], "kwargs", {}).get("error") or chain[-1].__cause__)
    return any(isinstance(one, OSError) and one.errno in _OUT_OF_MEANS for one in chain)


def _elsewhere(error: BaseException, endpoint: str) -> bool:
    """Whether another host has failed than the one our request went to: STS, SSO or a metadata service."""
    failed = getattr(error, "kwargs", {}).get("endpoint_url")
    return not endpoint or (bool(failed) and _place(str(failed)) != _place(endpoint))


def _place(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)


def _judge_answer(error: errors.ClientError, operation: str) -> Failure:
    told: Mapping[str, Any] = error.response.get("Error", {})
    code, message = str(told.get("Code", "")), str(told.get("Message", ""))
    revoked = code in _KEY_IS_UNKNOWN
    if error.operation_name != operation:  # AssumeRole and its kin, made on the way to credentials
        return Failure(Fault.IDENTITY, code, f"{error.operation_name}: {message}", cause=_clean(error), revoked=revoked)
    if not code or code.isdigit():
        return Failure(Fault.REGION, code or "NoErrorCode", without_code(code), cause=_without_body(error, code))
    fault = Fault.THROTTLED if code.startswith("Throttling") else BY_CODE.get(code, Fault.REGION)
    if code == "InvalidRequestException":
        fault = _of_invalid_request(message)
    hint = _retry_after(error) if fault is Fault.THROTTLED else 0.0
    return Failure(fault, code, message, cause=_clean(error), answered=True, revoked=revoked, retry_after=hint)


def _of_invalid_request(message: str) -> Fault:
    """The code has many meanings: a parameter is not valid for the state that the secret is in."""
    if re.search(r"delet", message, re.IGNORECASE):
        return Fault.DELETED
    if re.search(r"VersionStage|VersionId|staging label", message, re.IGNORECASE):  # a stage that is not the version's
        return Fault.CALLER
    return Fault.DENIED


def _retry_after(error: errors.ClientError) -> float:
    headers: Any = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    milliseconds = str(headers.get("x-amz-retry-after", "")).strip()
    if _WHOLE.match(milliseconds):
        return min(int(milliseconds) / 1000, _LONGEST_HINT)
    text = str(headers.get("retry-after", "")).strip()
    seconds = float(text) if _WHOLE.match(text) else _seconds_between(headers.get("date"), text)
    return min(max(seconds, 0.0), _LONGEST_HINT)


def _seconds_between(sent: str | None, until: str) -> float:
    """By the server's own clock: ours may be wrong."""
    try:
        return (parsedate_to_datetime(until) - parsedate_to_datetime(sent or "")).total_seconds()
    except (TypeError, ValueError, IndexError, OverflowError):  # no date, or one without a zone
        return 0.0


def _message(error: BaseException) -> str:
    """What an exception says, unless it may quote what came over the wire."""
    if _quotes(error):
        inner = getattr(error, "kwargs", {}).get("error")
        return type(inner).__name__ if isinstance(inner, BaseException) else "the response could not be read"
    return about_proxy(error) if isinstance(error, errors.ProxyConnectionError) else str(error)


def _quotes(error: BaseException) -> bool:
    return type(error) in _QUOTING or not isinstance(error, (errors.BotoCoreError, errors.ClientError, OSError))


def _clean(error: BaseException) -> BaseException:
    if _quotes(error):
        return errors.HTTPClientError(error=f"{type(error).__name__}: {_message(error)}")
    error.__cause__ = error.__context__ = None
    for where in ("request", "response") if isinstance(error, errors.HTTPClientError) else ():
        setattr(error, where, None)
    if isinstance(error, errors.BotoCoreError):
        error.kwargs = {name: value for name, value in error.kwargs.items() if not isinstance(value, BaseException)}
    return error.with_traceback(None)


def _without_body(error: errors.ClientError, code: str) -> BaseException:
    """One like it: the message of an answer that botocore could not read is that answer's whole body."""
    metadata = error.response.get("ResponseMetadata", {})
    told: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": metadata}
    return errors.ClientError(told, error.operation_name)
