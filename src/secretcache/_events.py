"""What happens inside a cache, told to those who log and count it: one frozen record an event."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Event"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. Never carries a byte of a secret's value."""

    name: str
    """What: `call`, `breaker`, `suspect`, `throttled`, `identity`, `not_offered`, `failover`, `stale`, `rotation`,
    `divergence` or `bridged`."""
    region: str | None = None
    secret_id: str | None = None
    outcome: str | None = None
    """Of a call: `answered` or the class of its failure. Of a breaker: its new state."""
    seconds: float | None = None
    """Of a call: how long it took. Of a gate: for how long it is closed."""
    detail: str = ""
    """The rest, in words."""
