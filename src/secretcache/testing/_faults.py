"""How a region fails, and the botocore error that tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from secretcache._transport._botocore import making

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretcache.testing._service import Refusal

__all__ = ["FAULTS", "Fault", "How", "refused"]

How: TypeAlias = Literal[
    "refused",
    "reset",
    "unreachable",
    "hang",
    "stuck",
    "slow",
    "error",
    "unavailable",
    "throttled",
    "garbage",
    "denied",
    "expired-credentials",
    "unknown-key",
    "not-enabled",
]
"""The ways in which a region fails; what each means stands at `FakeSecretsManager.fail_region`."""
FAULTS: tuple[str, ...] = get_args(How)

_ANSWERS = {
    "error": ("InternalServiceError", "An error occurred on the server side.", 500),
    "unavailable": ("ServiceUnavailableException", "The service is unavailable.", 503),
    "throttled": ("ThrottlingException", "Rate exceeded", 400),
    "denied": ("AccessDeniedException", "User is not authorized to perform this operation", 400),
    "expired-credentials": ("ExpiredTokenException", "The security token included in the request is expired", 400),
    "unknown-key": ("UnrecognizedClientException", "The security token included in the request is invalid.", 400),
    "not-enabled": ("OptInRequired", "The region is not enabled for this account", 403),
}
_CONNECT_SECONDS, _READ_SECONDS = 1.0, 2.0
"""The cache's own timeouts."""


@dataclass(eq=False)
class Fault:
    """What is wrong with a region now."""

    how: How
    seconds: float | None = None
    left: int | None = None
    """Requests that still fail; None: all."""

    def use(self) -> bool:
        """Whether it is there for one request more."""
        if self.left is None:
            return True
        self.left -= 1
        return self.left >= 0

    def waits(self, connect: float = _CONNECT_SECONDS, read: float = _READ_SECONDS) -> float:
        """Seconds until a request hears of it."""
        if self.how == "stuck":
            return float("inf")
        silent = {"unreachable": connect, "hang": read}.get(self.how, 0.0)
        return silent if self.seconds is None else self.seconds

    def error(self, operation: str, url: str) -> Exception | None:
        """What botocore raises; None where the region answers."""
        if self.how in _ANSWERS:
            return client_error(operation, *_ANSWERS[self.how])
        name = _RAISED.get(self.how)
        if name is None:
            return None
        with making.one():  # a fork waits for the import
            from botocore import exceptions  # noqa: PLC0415 - not before a region fails

        return getattr(exceptions, name)(endpoint_url=url, error="told so by secretcache.testing")  # type: ignore[no-any-return]


_RAISED = {
    "refused": "EndpointConnectionError",
    "reset": "ConnectionClosedError",
    "unreachable": "ConnectTimeoutError",
    "hang": "ReadTimeoutError",
    "stuck": "ConnectionClosedError",
}


def refused(no: Refusal, operation: str) -> Exception:
    """What botocore raises when the service says no."""
    return client_error(operation, no.code, no.message, 400)


def client_error(operation: str, code: str, message: str, status: int) -> Exception:
    """A `ClientError`."""
    with making.one():
        from botocore.exceptions import ClientError  # noqa: PLC0415

    told: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": answered(status)}
    return ClientError(told, operation)


def answered(status: int) -> Mapping[str, Any]:
    """A response's metadata."""
    return {"RequestId": "", "HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}
