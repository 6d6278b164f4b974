"""Keeps the bodies of our own calls out of botocore's log.

`botocore.parsers` logs response bodies at DEBUG: with the root logger at DEBUG a secret would be in the log.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["quiet_bodies"]


class _Here(threading.local):
    quiet = False


_here = _Here()


def _not_ours(_record: logging.LogRecord) -> bool:
    return not _here.quiet


@contextmanager
def quiet_bodies() -> Iterator[None]:
    """Within it, this thread's calls log no body; other threads, and the application's own calls, log as before."""
    logging.getLogger("botocore.parsers").addFilter(_not_ours)  # adding it again is no change
    _here.quiet = True
    try:
        yield
    finally:
        _here.quiet = False
