"""The steps of a login, as values: `Bridge` says which comes next, a thread or a task carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from secretcache._errors import CacheClosedError, SecretCacheError, SecretFormatError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from secretcache._secret import Secret
    from secretcache._waiting import Room

__all__ = ["Clock", "Login", "Read", "Step", "Wait"]

_T = TypeVar("_T")


class Read:
    """A step: a stage's value, or nothing. As a context it takes the error of a stage that cannot be had."""

    def __init__(
        self,
        timeout: float,
        stage: str | None = None,
        newer_than: str | None = None,
        useless: frozenset[str] = frozenset(),
    ) -> None:
        self.timeout, self.stage, self.newer_than, self.useless = timeout, stage, newer_than, useless
        self.secret: Secret | None = None
        self.failed = ""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        # The first read is the caller's own, and so is its error. A stage that is read to bridge may be missing.
        if self.stage is None or not isinstance(error, SecretCacheError) or isinstance(error, CacheClosedError):
            return False
        self.failed = type(error).__name__
        return True


class Login(Generic[_T]):
    """A step: the caller's own function. As a context it takes the error of a version that does not log in."""

    def __init__(self, secret: Secret, is_auth_error: Callable[[Exception], bool]) -> None:
        self.secret = secret
        self.is_auth_error = is_auth_error
        self.value: _T | None = None
        self.error: Exception | None = None
        """The target refused the version."""
        self.unusable: SecretFormatError | None = None
        """The caller's function could not use the version: the target was not asked."""
        self.succeeded = False

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if isinstance(error, SecretFormatError):
            self.unusable = error
        elif isinstance(error, Exception) and self.is_auth_error(error):
            self.error = error
        self.succeeded = error is None
        return self.error is not None or self.unusable is not None


@dataclass(frozen=True, slots=True)
class Wait:
    """A step: until there is nothing left to wait for."""

    room: Room[Any]
    waiter: Any

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


Step: TypeAlias = "Read | Wait | Login[_T]"


class Clock:
    """The room of those who wait for a moment."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def first(self, moment: float) -> float | None:
        return self.look(moment)

    def look(self, moment: float) -> float | None:
        return moment if self._now() < moment else None

    def leave(self, moment: float) -> None:
        """Nothing else waits for it."""
