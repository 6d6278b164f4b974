"""What a region's endpoint can be made to do, for the demo and the tests."""

import json
import ssl
from dataclasses import dataclass

JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class Refuse:
    """Refuse connections: nothing listens, while the port stays bound."""


@dataclass(frozen=True)
class Unanswered:
    """Leave a client's SYN without an answer, as a firewall or a dead host does.

    The port listens with a queue that is full already. Linux drops further SYNs then; other systems may refuse.
    """


@dataclass(frozen=True)
class ResetOnAccept:
    """Reset the connection once it is there, before anything is read from it."""


@dataclass(frozen=True)
class Babble:
    """Say something once the connection is there, before anything is read from it, and close it.

    Attributes:
        data: What to say.
    """

    data: bytes


@dataclass(frozen=True)
class Tls:
    """Speak TLS, and then forward the request; to a client that does not trust the certificate, a failed handshake.

    Attributes:
        context: The server's side, with its certificate.
    """

    context: ssl.SSLContext


@dataclass(frozen=True)
class Reset:
    """Read the request, then reset the connection."""


@dataclass(frozen=True)
class ResetMidway:
    """Send the real head and half of the real body, then reset the connection."""


@dataclass(frozen=True)
class Silent:
    """Read the request and never answer; the connection is reset when the fault changes."""


@dataclass(frozen=True)
class Delay:
    """Wait, then forward the request; a change of fault ends the wait early.

    Attributes:
        seconds: How long to wait before the request is forwarded.
    """

    seconds: float


@dataclass(frozen=True)
class Drip:
    """Send the real answer byte by byte; the connection is reset when the fault changes.

    Attributes:
        seconds_per_byte: How long to wait before each byte.
    """

    seconds_per_byte: float


@dataclass(frozen=True)
class Respond:
    """Send a canned answer; the request is not forwarded.

    Attributes:
        status: The HTTP status.
        body: The whole body.
        content_type: The value of the Content-Type header.
        headers: Further headers, as pairs of name and value.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Hold:
    """Read the request, and forward it once it is released or the fault changes."""


Fault = (
    Refuse | Unanswered | ResetOnAccept | Babble | Tls | Reset | ResetMidway | Silent | Delay | Drip | Respond | Hold
)


def service_error(code: str, message: str = "", status: int = 400) -> Respond:
    """Make an answer in the shape of an AWS JSON error.

    Args:
        code: The error code, such as ``"ThrottlingException"``.
        message: The error message.
        status: The HTTP status.

    Returns:
        The fault which gives this answer.
    """
    return Respond(status, json.dumps({"__type": code, "message": message}).encode())


EMPTY_200 = Respond(200, b"")
HTML_200 = Respond(200, b"<html><body>Please sign in</body></html>", "text/html")
HTML_503 = Respond(503, b"<html><body>Service Unavailable</body></html>", "text/html")
INTERNAL_500 = service_error("InternalServiceError", "An error occurred on the server side.", 500)
