"""The value a read returns: immutable, from one response, and silent about its content."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, SupportsIndex

from secretcache._errors import SecretFormatError, SecretKeyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["Lifetime", "Secret"]

_NO_JSON = object()


class Lifetime(NamedTuple):
    """How a cache's secrets tell their age; one object shared by all of them."""

    now: Callable[[], float]
    ttl: float


class Secret:
    """One version of a secret: value, version, stages and region of a single response.

    A `Secret` never changes. Its value is shown by `string`, `binary`, `json()` and `secret["key"]` only: `repr`,
    `str`, `format` and exceptions leave it out, and it refuses to be pickled, so that it does not reach a log, a
    queue or a disk by accident. `copy` and `deepcopy` give the same object.

    Attributes:
        name: the secret's name.
        version_id: the version's id, the same in every region.
        version_stages: the stages attached to that version when it was read, for example `("AWSCURRENT",)`.
        region: the region that answered.
        requested_at: when the request was sent, on the cache's own clock: for `age()`, not a date.
        created_date: when the version was created *in that region*: for people, never to order versions by.
    """

    __slots__ = (
        "__weakref__",
        "_arn",
        "_lifetime",
        "_moved",
        "_parsed",
        "_value",
        "created_date",
        "name",
        "region",
        "requested_at",
        "version_id",
        "version_stages",
    )

    name: str
    version_id: str
    version_stages: tuple[str, ...]
    region: str
    created_date: datetime | None
    _arn: str
    _moved: bool
    """Whether that is the ARN in another region than the one that answered."""
    _value: str | bytes
    requested_at: float
    _lifetime: Lifetime
    _parsed: Any

    def __init__(  # noqa: PLR0913 - one field each of one response
        self,
        value: str | bytes,
        *,
        arn: str,
        name: str,
        version_id: str,
        version_stages: tuple[str, ...],
        region: str,
        created_date: datetime | None,
        requested_at: float,
        lifetime: Lifetime,
    ) -> None:
        put = super().__setattr__
        put("_value", value)
        put("_arn", arn)
        put("_moved", False)  # noqa: FBT003
        put("name", name)
        put("version_id", version_id)
        put("version_stages", version_stages)
        put("region", region)
        put("created_date", created_date)
        put("requested_at", requested_at)
        put("_lifetime", lifetime)
        put("_parsed", None)

    @property
    def arn(self) -> str:
        """The secret's ARN in the region that answered."""
        if not self._moved:
            return self._arn
        arn, partition, service, _, rest = self._arn.split(":", 4)
        return f"{arn}:{partition}:{service}:{self.region}:{rest}"

    def keep_arn(self, same: str) -> str:
        """Holds this text, the same ARN in any region, in place of its own: a second one would be a copy."""
        if same == self._arn:
            return self._arn
        super().__setattr__("_moved", True)  # first: no reader may take the other region's for its own
        super().__setattr__("_arn", same)
        return same

    @property
    def string(self) -> str:
        """The text of the secret.

        Raises:
            SecretFormatError: the secret is binary.
        """
        if isinstance(self._value, str):
            return self._value
        raise SecretFormatError(f"secret {self.name!r} is binary: read .binary instead of .string")

    @property
    def binary(self) -> bytes:
        """The bytes of a binary secret.

        Raises:
            SecretFormatError: the secret is text.
        """
        if isinstance(self._value, bytes):
            return self._value
        raise SecretFormatError(f"secret {self.name!r} is text: read .string instead of .binary")

    def json(self) -> Any:
        """The secret's JSON, parsed anew at each call: what the caller does to it reaches nobody else.

        Raises:
            SecretFormatError: its text, or its bytes, are no JSON.
        """
        parsed = _parse(self._value)
        if parsed is _NO_JSON:
            kind, read = ("text", ".string") if isinstance(self._value, str) else ("binary", ".binary")
            raise SecretFormatError(f"secret {self.name!r} is {kind} but not JSON: read {read}, or store a JSON object")
        return parsed

    def __getitem__(self, key: str) -> Any:
        """One key of a JSON secret. The JSON is parsed once, when it is first needed.

        Raises:
            SecretKeyError: there is no such key. It is a KeyError, too.
            SecretFormatError: the secret is no JSON object.
        """
        if self._parsed is None:
            self._parse_once()
        if key in self._parsed:
            return self._parsed[key]
        raise SecretKeyError(f"secret {self.name!r} has no key {key!r}")

    def __contains__(self, key: object) -> bool:
        if self._parsed is None:
            self._parse_once()
        return key in self._parsed

    __iter__ = None  # with __getitem__ alone, Python would try secret[0], secret[1], ...

    def _parse_once(self) -> None:
        # Two threads may both parse; either result serves, and no reader sees half of one. No local here holds a
        # value: a traceback shows locals.
        super().__setattr__("_parsed", _object_or_none(self.json()))
        if self._parsed is None:
            raise SecretFormatError(f"secret {self.name!r} is JSON but not an object: read .json() instead of a key")

    def age(self) -> float:
        """Seconds since the request that brought this answer was sent.

        It never shrinks, and runs on through suspend where the system can tell.
        """
        return max(0.0, self._lifetime.now() - self.requested_at)

    @property
    def is_stale(self) -> bool:
        """Whether this is older than the cache's `ttl`.

        It stands in because no region could answer, or it was kept by its reader.
        """
        return self.age() > self._lifetime.ttl

    def __repr__(self) -> str:
        stages = ",".join(self.version_stages)
        return f"<Secret {self.name!r} version_id={self.version_id!r} stages={stages!r} region={self.region!r}>"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return format(repr(self), format_spec)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Secret does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Secret does not change: {name!r} cannot be deleted")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "a Secret is not pickled, so that its value is not written anywhere: "
            "pass the secret's name and read it where it is needed"
        )


def _parse(value: str | bytes) -> Any:
    # The decoder's error and its frames hold the whole text: they end here.
    try:
        # Editors on Windows put a byte order mark in front: Python takes it in bytes, and not in text.
        return json.loads(value.removeprefix("\ufeff") if isinstance(value, str) else value)
    except (ValueError, RecursionError):
        return _NO_JSON


def _object_or_none(parsed: Any) -> dict[str, Any] | None:
    return parsed if isinstance(parsed, dict) else None
