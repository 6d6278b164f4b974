"""`secretcache doctor`: looks at every region as a cache would use it, and says what to mend."""

from __future__ import annotations

from secretcache._cli.doctor.command import add

__all__ = ["add"]
