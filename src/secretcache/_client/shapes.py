"""boto3's shapes: its responses made of a `Secret`, its exceptions made of ours, its checks of parameters.

Everything is made anew at each call: what a caller does to it reaches nobody else.
"""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

from botocore.errorfactory import ClientExceptionsFactory
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.validate import ParamValidator

from secretcache._errors import (
    ConfigurationError,
    CredentialsError,
    SecretAccessDeniedError,
    SecretCacheError,
    SecretNotFoundError,
    SecretUnavailableError,
)
from secretcache._lazy import importing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.model import ServiceModel

    from secretcache._cache import SecretCache
    from secretcache._secret import Secret

__all__ = ["BATCH", "READ", "answer", "boto_error", "fresh", "get_secret_value", "read", "service", "value_of"]

READ, BATCH = "GetSecretValue", "BatchGetSecretValue"
_REFUSALS: tuple[tuple[type[SecretCacheError], str], ...] = (
    (SecretNotFoundError, "ResourceNotFoundException"),
    (SecretAccessDeniedError, "AccessDeniedException"),
    (ConfigurationError, "InvalidParameterException"),
)


def value_of(secret: Secret) -> dict[str, Any]:
    """A secret as boto3 gives it in GetSecretValue's response and in the entries of BatchGetSecretValue's."""
    value = secret._value  # noqa: SLF001 - text or bytes, without asking twice
    told: dict[str, Any] = {
        "ARN": secret.arn,
        "Name": secret.name,
        "VersionId": secret.version_id,
        "SecretString" if isinstance(value, str) else "SecretBinary": value,
        "VersionStages": [*secret.version_stages],
        "CreatedDate": secret.created_date,
    }
    if not secret.version_stages:
        del told["VersionStages"]
    if secret.created_date is None:
        del told["CreatedDate"]
    return told


def answer(secret: Secret) -> dict[str, Any]:
    """GetSecretValue's response."""
    told = value_of(secret)
    told["ResponseMetadata"] = metadata(
        {
            "x-secretcache-region": secret.region,
            "x-secretcache-age": "%.3f" % secret.age(),  # noqa: UP031 - half the time of an f-string's format
        }
    )
    return told


def metadata(headers: dict[str, str]) -> dict[str, Any]:
    """A response's metadata. No request was made for it, so it has no request id: an invented one would mislead."""
    return {"RequestId": "", "HTTPStatusCode": 200, "HTTPHeaders": headers, "RetryAttempts": 0}


def read(cache: SecretCache, params: Mapping[str, Any]) -> Secret:
    """The secret that GetSecretValue's parameters ask for."""
    return cache.get(params["SecretId"], version_stage=params.get("VersionStage"), version_id=params.get("VersionId"))


def boto_error(error: SecretCacheError, operation: str, exceptions: Any) -> Exception:
    """The exception that boto3 raises where the cache raises `error`; `error` itself where boto3 has none.

    It is the service's or botocore's own, of the region that decided, and `error`, its cause, lists every region.
    """
    raised = _raised(error, operation, exceptions)
    if raised is not error:
        raised.__cause__ = error.with_traceback(None)
    return raised


def _raised(error: SecretCacheError, operation: str, exceptions: Any) -> Exception:
    cause = error.__cause__
    if isinstance(cause, ClientError) and cause.operation_name in (READ, BATCH):
        response: Any = copy.deepcopy(cause.response)
        response.get("ResponseMetadata", {}).pop("MaxAttemptsReached", None)  # of botocore's retries, which are off
        return _client_error(response, operation, exceptions)
    if isinstance(cause, (BotoCoreError, ClientError)):
        return fresh(cause)
    if cause is None and isinstance(error, SecretUnavailableError):
        host = error.attempts[-1].host if error.attempts else "secretsmanager"
        return ReadTimeoutError(endpoint_url=f"https://{host}/", error=str(error))
    if cause is None and isinstance(error, CredentialsError):  # remembered from a request before
        return CredentialRetrievalError(provider="secretcache", error_msg=str(error))
    code = next((code for kind, code in _REFUSALS if cause is None and isinstance(error, kind)), None)
    if code is None:
        return error
    told = {"Error": {"Code": code, "Message": str(error)}, "ResponseMetadata": {**metadata({}), "HTTPStatusCode": 400}}
    return _client_error(told, operation, exceptions)


def _client_error(response: Any, operation: str, exceptions: Any) -> Exception:
    made: Exception = exceptions.from_code(response.get("Error", {}).get("Code"))(response, operation)
    return made


def fresh(error: BaseException) -> Exception:
    """An exception like this one: one that many raise would grow a traceback for each of them."""
    kind: Any = type(error)
    made: Exception = kind.__new__(kind, *error.args)
    made.args = error.args
    made.__dict__.update(error.__dict__)
    return made


def get_secret_value(cache: SecretCache, params: Mapping[str, Any]) -> dict[str, Any]:
    """GetSecretValue, as a client would answer it, without one."""
    model, exceptions = service()
    shape: Any = model.operation_model(READ).input_shape
    report = ParamValidator().validate(params, shape)
    if report.has_errors():
        raise ParamValidationError(report=report.generate_report())
    try:
        return answer(read(cache, params))
    except SecretCacheError as error:
        unanswered = boto_error(error, READ, exceptions)
    raise unanswered


@functools.cache
def service() -> tuple[ServiceModel, Any]:
    """Secrets Manager's model, and the exceptions made of it, for those who have no client."""
    with importing("botocore's model of Secrets Manager"):
        from botocore.session import Session  # noqa: PLC0415 - once, and not by those who have a client

        model = Session().get_service_model("secretsmanager")
    return model, ClientExceptionsFactory().create_client_exceptions(model)
