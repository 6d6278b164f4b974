"""One request to one region: what goes out, what comes back, and the one method between them.

Nothing here imports botocore: `_botocore.py` does, when a region is first asked.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from secretcache._ids import Query

__all__ = ["BatchCall", "Call", "Failure", "Fault", "Reply", "Transport"]


class Fault(enum.Enum):
    """What a failure says, and of whom. The letters are those of the decision table in the project's semantics."""

    REGION = "A: the region's endpoint failed"
    THROTTLED = "B: the region answered that it is asked too often"
    MISSING = "C: this region does not have the secret, its stage or its version"
    DELETED = "C: in this region the secret is marked for deletion"
    DENIED = "C: this region refuses this secret, by IAM, resource policy or KMS key"
    IDENTITY = "E: the credentials, or the host they come from, failed"
    NOT_OFFERED = "F: the region is not enabled for the account, or the service is not offered there"
    CALLER = "G: the request itself is wrong"
    LOCAL = "H: this process could not send the request; it says nothing of the region"


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that brought no usable answer. Carries nothing of a response's body."""

    fault: Fault
    code: str
    message: str
    cause: BaseException | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


@dataclass(frozen=True, slots=True)
class Call:
    """A GetSecretValue request to one region."""

    region: str
    query: Query

    @property
    def secret_id(self) -> str:
        """The id this region knows the secret by."""
        return self.query.secret.in_region(self.region)


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A BatchGetSecretValue request to one region: current versions of at most twenty secrets."""

    region: str
    queries: tuple[Query, ...]

    @property
    def secret_ids(self) -> list[str]:
        """The ids this region knows the secrets by."""
        return [query.secret.in_region(self.region) for query in self.queries]


Reply: TypeAlias = Mapping[str, Any] | Failure


class Transport(Protocol):
    """Sends requests. Called from several threads at once; may block; does not raise."""

    def send(self, call: Call | BatchCall) -> Reply:
        """The operation's response as botocore parses it, not yet judged, or the failure."""

    def host(self, region: str) -> str:
        """The host that requests to the region go to, as far as it is known."""

    def close(self) -> None:
        """Lets go of clients and their idle connections."""
