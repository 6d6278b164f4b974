"""One request to one region: what goes out, what comes back, and the one method between them.

Nothing here imports botocore: `_botocore.py` does, when a region is first asked.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from secretcache._ids import Query

__all__ = ["OF_THE_SECRET", "BatchCall", "Call", "DescribeCall", "Failure", "Fault", "Reply", "Request", "Transport"]


class Fault(enum.Enum):
    """What a failure says, and of whom. The letters are those of docs/semantics.md."""

    REGION = "A: the region's endpoint failed"
    THROTTLED = "B: the region answered that it is asked too often"
    MISSING = "C: this region does not have the secret, its stage or its version"
    DELETED = "C: in this region the secret is marked for deletion"
    DENIED = "C: this region refuses this secret, by IAM, resource policy or KMS key"
    IDENTITY = "E: the credentials, or the host they come from, failed"
    NOT_OFFERED = "F: the region is not enabled for the account, or the service is not offered there"
    FOREIGN = "K: this region has another secret of the same name: it says nothing of this one"
    CALLER = "G: the request itself is wrong"
    LOCAL = "H: this process could not send the request; it says nothing of the region"


OF_THE_SECRET = (Fault.DENIED, Fault.DELETED, Fault.MISSING)
"""What a region says of one secret, in the order in which one of them names the verdict of several regions."""


class Failure(NamedTuple):
    """A request that brought no usable answer. Carries nothing of a response's body."""

    fault: Fault
    code: str
    message: str
    cause: BaseException | None = None
    answered: bool = False
    """Whether the service itself gave this answer, well-formed: its region works, then."""
    revoked: bool = False
    """Of an identity failure: whether the service does not know the key (any more)."""
    retry_after: float = 0.0
    """Seconds after which the server asked to be asked again; 0 if it did not say."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class Call(NamedTuple):
    """A GetSecretValue request to one region."""

    region: str
    query: Query

    @property
    def secret_id(self) -> str:
        """The id this region knows the secret by."""
        return self.query.secret.in_region(self.region)


class BatchCall(NamedTuple):
    """A BatchGetSecretValue request to one region: current versions of at most twenty secrets."""

    region: str
    queries: tuple[Query, ...]

    @property
    def secret_ids(self) -> list[str]:
        """The ids this region knows the secrets by."""
        return [query.secret.in_region(self.region) for query in self.queries]


class DescribeCall(NamedTuple):
    """A DescribeSecret request to one region: which region is the secret's primary?"""

    region: str
    query: Query

    @property
    def secret_id(self) -> str:
        """The id this region knows the secret by."""
        return self.query.secret.in_region(self.region)


Request: TypeAlias = "Call | BatchCall | DescribeCall"
Reply: TypeAlias = Mapping[str, Any] | Failure


class Transport(Protocol):
    """Sends requests. Called from several threads at once; may block; does not raise."""

    def ready(self, region: str) -> bool:
        """Whether `prepare` would have nothing to do. Neither blocks nor runs user code."""

    def prepare(self, region: str) -> Failure | None:
        """Makes what a request to the region needs (a session, a client), if it is not there; the failure if it cannot.

        May take long and run user code. After it has returned None, `send` sends at once.
        """

    def pending(self, region: str) -> str:
        """What `prepare` is waiting for, in words. Asked only while it is under way."""

    def send(self, call: Request) -> Reply:
        """The operation's response as botocore parses it, not yet judged, or the failure."""

    def reload(self) -> None:
        """Forgets every region's session: the next request makes one anew, and so loads the credentials anew."""

    def host(self, region: str) -> str:
        """The host that requests to the region go to, as far as it is known."""

    def close(self) -> None:
        """Lets go of clients and their idle connections."""
