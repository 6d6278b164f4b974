"""Keeps the bodies of our own calls out of botocore's log.

`botocore.parsers` logs response bodies at DEBUG: with the root logger at DEBUG a secret would be in the log.
"""

from __future__ import annotations

import logging
import threading

__all__ = ["quiet_bodies"]


class _Here(threading.local):
    quiet = False


_here = _Here()
_parsers = logging.getLogger("botocore.parsers")


def _not_ours(_record: logging.LogRecord) -> bool:
    return not _here.quiet


class quiet_bodies:  # noqa: N801 - a context, used as a function is; a generator would cost five times as much
    """Within it, this thread's calls log no body; other threads, and the application's own calls, log as before."""

    __slots__ = ()

    def __enter__(self) -> None:
        _parsers.addFilter(_not_ours)  # adding it again is no change
        _here.quiet = True

    def __exit__(self, *error: object) -> None:
        _here.quiet = False
