"""What a secret id means: the same secret in each region, and the key under which the cache knows it.

A replica's ARN differs from the primary's in the region alone (semantics.md), so a parsed ARN keeps everything but
the region, and ARNs of all listed regions become one `SecretId`.
"""

from __future__ import annotations

import re
import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from secretcache._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CURRENT", "PREVIOUS", "Query", "SecretId", "parse_secret_id", "partition_of"]

CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"
_LONGEST_ID = 2048  # GetSecretValue's own limit
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}\Z")
_SUFFIX_LENGTH = 7
_REGION = re.compile(r"[a-z]{2,8}(-[a-z]+)+-[0-9]{1,2}\Z")
_ACCOUNT = re.compile(r"[0-9]{12}\Z")
_ARN_FIELDS = 7
_PARTITIONS = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("us-iso-", "aws-iso"),
    ("eu-isoe-", "aws-iso-e"),
    ("eusc-", "aws-eusc"),
)


class SecretId(NamedTuple):
    """A secret's name, or its ARN without the region. `account` and `partition` are empty for a name."""

    name: str
    account: str = ""
    partition: str = ""

    @property
    def is_arn(self) -> bool:
        """Whether this came from an ARN, full or partial."""
        return bool(self.partition)

    def in_region(self, region: str) -> str:
        """The id to send to a region: its own ARN, or the name as it is."""
        if not self.partition:
            return self.name
        return f"arn:{self.partition}:secretsmanager:{region}:{self.account}:secret:{self.name}"

    def without_suffix(self) -> SecretId:
        """The partial ARN of a full one; an id without a suffix as it is."""
        if not self.partition or not _SUFFIX.search(self.name):
            return self
        return SecretId(self.name[:-_SUFFIX_LENGTH], self.account, self.partition)

    @property
    def bare_name(self) -> str:
        """What all ids of one secret have in common; secrets of other accounts may have it too."""
        return self.without_suffix().name

    def names(self, answered: SecretId) -> bool:
        """Whether an answer's full ARN is an answer to this id: the ARN itself, or the partial ARN of it."""
        return self in (answered, answered.without_suffix())

    def __str__(self) -> str:
        return self.in_region("*")


class Query(NamedTuple):
    """What is asked: a secret, and which version of it. The key of entries and flights."""

    secret: SecretId
    stage: str | None = CURRENT
    version_id: str | None = None

    @property
    def which(self) -> tuple[str | None, str | None]:
        """Stage and version id."""
        return self.stage, self.version_id

    @property
    def is_current(self) -> bool:
        """Whether it asks for the version that AWSCURRENT leads to."""
        return self.version_id is None and self.stage == CURRENT

    def may_be(self, other: Query) -> bool:
        """Whether both may ask for the same: under another id a secret may be known without anybody knowing it."""
        return self.which == other.which and self.secret.bare_name == other.secret.bare_name

    def __str__(self) -> str:
        picked = " ".join(part for part in (self.stage, self.version_id) if part)
        return f"{str(self.secret)!r} ({picked})"


@cache
def partition_of(region: str) -> str:
    """The partition a region belongs to, by its prefix."""
    return next((partition for prefix, partition in _PARTITIONS if region.startswith(prefix)), "aws")


def is_region(text: str) -> bool:
    """Whether a text has the form of a region's name, such as `ap-northeast-3`."""
    return _REGION.match(text) is not None


def parse_secret_id(text: object, regions: Sequence[str]) -> SecretId:
    """Reads a name, a partial ARN or a full ARN of any listed region.

    Raises:
        ConfigurationError: the id is no text, is empty or too long, or is an ARN that is malformed, of another
            service, of a region that is not listed or of another partition.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"secret_id must be a secret's name or ARN (str), got {type(text).__name__}")
    if not text.strip() or len(text) > _LONGEST_ID:
        raise ConfigurationError(f"secret_id must have 1 to {_LONGEST_ID} characters, got {len(text)} ({text[:20]!r})")
    return _parse_arn(text, tuple(regions)) if text.startswith("arn:") else SecretId(text)


@lru_cache(maxsize=24)  # an answer's ARN is read three times on its way in; a batch brings twenty
def _parse_arn(text: str, regions: tuple[str, ...]) -> SecretId:
    fields = text.split(":", _ARN_FIELDS - 1)
    if len(fields) < _ARN_FIELDS or not all(fields) or fields[2] != "secretsmanager" or fields[5] != "secret":
        raise ConfigurationError(
            f"secret_id {text!r} is not a Secrets Manager ARN; expected "
            "arn:PARTITION:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX"
        )
    _, partition, _, region, account, _, name = fields
    partition, account = sys.intern(partition), sys.intern(account)  # the same few texts in every id that is held
    if region not in regions:
        raise ConfigurationError(
            f"secret_id {text!r} is of region {region!r}, which is not listed "
            f"(regions={list(regions)}): add that region, or pass the secret's name"
        )
    if not _ACCOUNT.match(account):
        raise ConfigurationError(f"secret_id {text!r} has {account!r} for an account: expected twelve digits")
    if partition != partition_of(region):
        raise ConfigurationError(
            f"secret_id {text!r} is of partition {partition!r}, but {region} is in {partition_of(region)!r}: "
            "copy the ARN from that region"
        )
    return SecretId(name, account, partition)
