"""The error tree. Every error names what to do next; none carries a byte of a secret."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Attempt",
    "CacheClosedError",
    "ConfigurationError",
    "CredentialsError",
    "LoginNotTriedError",
    "SecretAccessDeniedError",
    "SecretCacheError",
    "SecretFormatError",
    "SecretKeyError",
    "SecretNotFoundError",
    "SecretUnavailableError",
]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to one region, as told in the error of the read it belonged to."""

    region: str
    """The region that was asked."""
    host: str
    """The host the request went to, or was about to go to."""
    error: str
    """What came of it: an error code or the kind of failure, and its message."""
    seconds: float
    """How long it took, in seconds, from being wanted to its end or to the moment of this record."""

    def __str__(self) -> str:
        return f"{self.region} ({self.host}): {self.error} ({self.seconds:.2f} s)"


class SecretCacheError(Exception):
    """The root of every error this package raises."""


class ConfigurationError(SecretCacheError, ValueError):
    """An argument, a setting or a variable is not sound, or the service refused the request as malformed."""


class CacheClosedError(SecretCacheError):
    """The cache was closed: make a new one, or close it later."""


class LoginNotTriedError(SecretCacheError):
    """`connect` ended without a login of its own.

    Its target has refused every version that the secret shows, or as many logins as it may, or other logins took all of
    the time. A call that did log in, and was refused, raises the driver's own error instead.

    Attributes:
        tried: what was looked for and what came of it: stages and versions, never values.
    """

    def __init__(self, message: str, tried: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.tried = tried


class SecretFormatError(SecretCacheError):
    """The secret is not what was asked of it.

    Text of a binary one, JSON of text that is none. Never carries the text.
    """


class SecretKeyError(SecretFormatError, KeyError):
    """The JSON of the secret has no such key."""

    __str__ = Exception.__str__  # KeyError's own shows the repr of the message


class _ReadError(SecretCacheError):
    """A read that ended without a value, and the requests it made."""

    def __init__(self, message: str, attempts: tuple[Attempt, ...] = ()) -> None:
        super().__init__(message)
        self.attempts = attempts


class SecretNotFoundError(_ReadError):
    """Every listed region says that the secret, its stage or its version does not exist or is marked for deletion."""


class SecretAccessDeniedError(_ReadError):
    """Every listed region refuses, by IAM, by a resource policy or by the KMS key.

    A cached value is not served either.
    """


class CredentialsError(_ReadError):
    """The AWS credentials are missing, expired, revoked or could not be fetched."""


class SecretUnavailableError(_ReadError):
    """No region could answer in time, or this process could not ask.

    It has no thread or file descriptor left, its interpreter is shutting down, or the call came from a signal handler
    or finalizer that interrupted its own thread inside the cache; the message says which.

    Attributes:
        attempts: each request made: region, endpoint host, error, seconds.
        retry_after: seconds after which asking again is worth it.
    """

    def __init__(self, message: str, attempts: tuple[Attempt, ...] = (), retry_after: float = 1.0) -> None:
        super().__init__(message, attempts)
        self.retry_after = retry_after
