"""Imports that a process makes when it first needs them: what stops one is told in words of the package's own."""

from __future__ import annotations

from secretcache._errors import SecretCacheError, SecretUnavailableError

__all__ = ["importing"]


class importing:  # noqa: N801 - a context, used as a function is
    """Within it stands an import statement: `with importing("tenacity"), making.one():`.

    A process without a free file descriptor cannot read a module, and a bare OSError would name neither the cause nor
    what to do. Python keeps nothing of an import that failed: the next call makes it anew.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ImportError, MemoryError)) and not isinstance(error, SecretCacheError):
            raise SecretUnavailableError(
                f"this process could not load {self._what} ({type(error).__name__}: {error}). Check how many files it "
                "has open against its limit (`ulimit -n`), and its memory; the next call tries again"
            ) from error
