"""The numbers of failover, each with its reason; one immutable value, so that tests can bring their own."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["RegionPolicy"]


class RegionPolicy(NamedTuple):
    """How regions are stepped over and come back. Times are seconds."""

    attempt_cap: float = 2.5
    """After so long an attempt is a region fault: two regions fit in the default timeout of 5 s."""
    making_cap: float = 2.5
    """What an attempt may take before its request is sent: making a session and a client."""
    hedges: bool = True
    hedge_after: float = 0.5
    """Silence after which a reader who has nothing else asks the next region too, and the region is suspect: gRPC's
    hedging delay."""
    hedge_slack: float = 0.15
    """How much later the hedge comes where the first request was not sent at once: its client had to be made."""
    prepare_after: float = 0.3
    """Silence after which the next region's client is made: making one takes 55-95 ms."""
    suspect_for: float = 5.0
    """How long readers start elsewhere: the second must not pay for the silence again."""

    failures_in_a_row: int = 3
    """Class-A failures that open a breaker."""
    ratio_window: float = 60.0
    ratio_calls: int = 6
    ratio: float = 0.5
    """Or half of at least six calls in a minute: a secrets client makes about 2 calls in 30 s."""
    open_first: float = 5.0
    open_longest: float = 60.0
    """Open time doubles between the two, times a random 0.5 to 1: a fleet's probes do not come in step."""
    good_probes: int = 2
    probe_pause: float = 1.0
    """Between a good probe and the next."""
    dwell: float = 30.0
    """From closing to being preferred again: a region that flaps does not take the reads with it."""
    last_chance_pause: float = 1.0
    """Where every region is open, one shared attempt in that time."""

    throttle_first: float = 1.0
    throttle_longest: float = 4.0
    """Without a hint of the server's, times a random 0.5 to 1: less than the default timeout, so that a cold read has a
    region to try."""
    hint_longest: float = 60.0
    hint_jitter: float = 0.1
    """The part of the server's hint that is added at random: processes that hear the same do not come back together."""
    outwaits_throttling: bool = True
    """Whether a reader without a value waits for the gate and asks again."""
    pace_first: float = 8.0
    """Requests a second once the gate opens; a quarter more with each answer, until the region throttles again."""
    pace_step: float = 0.5
    """From then on: requests a second more with each answer, half as many with each throttled one."""
    pace_lowest: float = 0.5
    pace_highest: float = 60.0
    """A pace above which there is none any more."""
    pace_longest: float = 10.0
    """Without being throttled for so long there is none either."""
    parked_for: float = 600.0
    """For a region that is not enabled for the account, or does not offer the service."""
    reloads: int = 1
    """How often a flight loads credentials anew that have failed."""
    identity_first: float = 1.0
    identity_longest: float = 10.0
    """A region whose credentials fail even when loaded anew is not asked, so that an error path is no call path."""
    remember_refusal: float = 60.0
    """What a region has said of one secret puts it behind the others for that secret."""

    retries: int = 1
    """How often a flight asks one of its regions again, when all have failed and its reader has nothing else."""
    retry_pause: float = 0.1
    """Before the same region is asked again, when all have failed: doubled at random."""
    tokens: float = 10.0
    token_floor: float = 5.0
    token_per_success: float = 0.1
    token_per_second: float = 0.1
    """The budget of retries, further hedges and failovers from throttling: bounds what an outage can multiply."""
