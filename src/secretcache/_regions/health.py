"""The frozen record in which a region's condition is told."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RegionHealth"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionHealth:
    """One region at one moment, as `SecretCache.region_health()` tells it. Durations are seconds."""

    region: str
    host: str
    """Where its requests go, as far as it is known."""
    state: str
    """Of the circuit breaker: `"closed"`, `"open"` or `"half-open"`."""
    state_seconds: float
    """For how long it has been in that state."""
    next_probe_seconds: float | None
    """While the breaker is not closed: until the next probe is due; 0 while one is due or under way."""
    preferred_in_seconds: float
    """After the breaker closed: until the region is put back in its place; 0 when it is there."""
    suspect_seconds: float
    """For how much longer cold reads start elsewhere, because it was silent for half a second; 0 if they do not."""
    throttled_seconds: float
    """For how much longer it is not asked, because it was asked too often; 0 if it is."""
    parked_seconds: float
    """For how much longer it is not asked, because it is not enabled or not offered; 0 if it is."""
    identity_seconds: float
    """For how much longer it is not asked, because the credentials failed; 0 if it is."""
    calls: int
    """Requests sent."""
    answers: int
    """Requests that brought a value."""
    failures: int
    """Requests that brought none, whatever the reason."""
    outcomes: dict[str, int]
    """The failures by class: region, throttled, missing, deleted, denied, identity, not_offered, caller, local."""
    failures_in_a_row: int
    """Region faults since the last answer of the service."""
    stuck_attempts: int
    """Requests left behind at their cap that have not ended yet: each holds one of the region's threads."""
    latency_p50_seconds: float | None
    """Of the last 128 answers, from the request being sent; None before the first."""
    latency_p90_seconds: float | None
    latency_p99_seconds: float | None
    last_error: str | None
    """The code of the last region fault, or why the region is not asked."""
