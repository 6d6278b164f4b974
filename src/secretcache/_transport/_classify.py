"""The one table that says which failure means what: by error code and by the host that failed, never by HTTP status.

AccessDenied, Throttling and DecryptionFailure are all HTTP 400. A code that is a bare number was made up by botocore
because the body held
none: a proxy or a load balancer spoke, not the service.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from botocore import exceptions as errors
from botocore.parsers import ResponseParserError

from secretcache._transport import Failure, Fault

__all__ = ["classify"]


def _table(rows: dict[Fault, str]) -> dict[str, Fault]:
    return {code: fault for fault, codes in rows.items() for code in codes.split()}


_BY_CODE = _table({
    Fault.REGION: """
        InternalServiceError InternalServiceErrorException InternalFailure InternalServerError RequestTimeout
        RequestTimeoutException ServiceUnavailable ServiceUnavailableException""",
    Fault.THROTTLED: """
        BandwidthLimitExceeded LimitExceededException PriorRequestNotComplete RequestLimitExceeded RequestThrottled
        RequestThrottledException SlowDown ThrottledException Throttling ThrottlingException
        TooManyRequestsException""",
    Fault.MISSING: "ResourceNotFoundException",
    Fault.DELETED: "InvalidRequestException",
    Fault.DENIED: """
        AccessDenied AccessDeniedException DecryptionFailure DecryptionFailureException KMSAccessDeniedException
        KMSDisabledException KMSInvalidStateException KMSNotFoundException NotAuthorized UnauthorizedOperation""",
    Fault.IDENTITY: """
        AuthFailure ExpiredToken ExpiredTokenException IncompleteSignature InvalidAccessKeyId InvalidClientTokenId
        InvalidSignatureException MissingAuthenticationToken MissingAuthenticationTokenException RequestExpired
        SignatureDoesNotMatch UnrecognizedClientException""",
    Fault.NOT_OFFERED: "OptInRequired SubscriptionRequiredException",
    Fault.CALLER: """
        InvalidAction InvalidParameterCombination InvalidParameterException InvalidParameterValue
        InvalidQueryParameter MalformedQueryString MissingAction MissingParameter SerializationException
        UnknownOperationException ValidationError ValidationException""",
})  # fmt: skip

_IDENTITY_ERRORS = (
    errors.NoCredentialsError,
    errors.PartialCredentialsError,
    errors.CredentialRetrievalError,
    errors.TokenRetrievalError,
    errors.SSOError,
    errors.ProfileNotFound,
    errors.MetadataRetrievalError,
    errors.InvalidConfigError,
    errors.RefreshWithMFAUnsupportedError,
)
_NOT_OFFERED_ERRORS = (errors.EndpointVariantError, errors.UnknownEndpointError, errors.EndpointProviderError)
_CALLER_ERRORS = (errors.ParamValidationError,)
_QUOTING = (errors.HTTPClientError, errors.ResponseStreamingError, ResponseParserError)
"""Of exactly these classes: the text of an unforeseen error is in theirs, and in it perhaps a body."""


def classify(error: BaseException, *, operation: str, host: str) -> Failure:
    """What an exception from a call to `host` means.

    The failure's cause is that exception, or one like it, without what could quote a response: no traceback, whose
    frames hold locals, no chain, no body that a parser could not make sense of.
    """
    fault, code, message = _judge(error, operation, host)
    return Failure(fault, code, message, cause=_clean(error))


def _judge(error: BaseException, operation: str, host: str) -> tuple[Fault, str, str]:
    if isinstance(error, errors.ClientError):
        return _judge_answer(error, operation)
    code, message = type(error).__name__, _message(error)
    if isinstance(error, _IDENTITY_ERRORS) or _failed_elsewhere(error, host):
        return Fault.IDENTITY, code, message
    if isinstance(error, _NOT_OFFERED_ERRORS):
        return Fault.NOT_OFFERED, code, message
    if isinstance(error, _CALLER_ERRORS):
        return Fault.CALLER, code, message
    return Fault.REGION, code, message


def _message(error: BaseException) -> str:
    """What an exception says, unless it may quote what came over the wire."""
    if _quotes(error):
        inner = getattr(error, "kwargs", {}).get("error")
        return type(inner).__name__ if isinstance(inner, BaseException) else "the response could not be read"
    return str(error)


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


def _judge_answer(error: errors.ClientError, operation: str) -> tuple[Fault, str, str]:
    told = error.response.get("Error", {})
    code, message = str(told.get("Code", "Unknown")), str(told.get("Message", ""))
    if error.operation_name != operation:  # AssumeRole and its kin, made on the way to credentials
        return Fault.IDENTITY, code, f"{error.operation_name}: {message}"
    return _BY_CODE.get(code, Fault.REGION), code, "" if code.isdigit() else message


def _failed_elsewhere(error: BaseException, host: str) -> bool:
    """Whether the host that failed is another than the one that was called: STS, SSO or a metadata service."""
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    return bool(url) and urlsplit(str(url)).hostname != host
