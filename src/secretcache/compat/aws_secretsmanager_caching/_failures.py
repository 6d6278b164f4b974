"""Which reads have failed, and when they may be tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretcache._errors import SecretCacheError
    from secretcache._freshness import Retry

__all__ = ["Failures"]

_Key: TypeAlias = "tuple[str, str]"


@dataclass(slots=True)
class _Failure:
    error: SecretCacheError
    times: int
    retry_at: float


class Failures:
    """The last failure of each secret and stage that has no value.

    Takes no lock, which a fork could leave held: each step is one operation on one dictionary.
    """

    def __init__(self, retry: Retry, most: int, now: Callable[[], float]) -> None:
        self._retry = retry
        self._now = now
        self._most = most
        self._failures: dict[_Key, _Failure] = {}

    def __bool__(self) -> bool:
        return bool(self._failures)

    def of(self, key: _Key) -> SecretCacheError | None:
        """The failure, if the last read was one."""
        failure = self._failures.get(key)
        return failure.error if failure else None

    def must_wait(self, key: _Key) -> bool:
        """Whether it is too early to ask again. If not, others wait while the caller asks."""
        failure, now = self._failures.get(key), self._now()
        if failure is None or now < failure.retry_at:
            return failure is not None
        failure.retry_at = now + self._retry.seconds(failure.times + 1, 1.0)
        return False

    def note(self, key: _Key, error: SecretCacheError) -> None:
        """A read has failed."""
        before = self._failures.pop(key, None)
        times = before.times + 1 if before else 1
        for oldest in list(self._failures)[: max(0, len(self._failures) - self._most + 1)]:
            self._failures.pop(oldest, None)
        self._failures[key] = _Failure(error, times, self._now() + self._retry.seconds(times, 1.0))

    def forget(self, key: _Key) -> None:
        """It was read."""
        self._failures.pop(key, None)
