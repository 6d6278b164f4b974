"""What the breakers of a thousand processes add up to: no storm of probes, and all find back within a minute."""

from __future__ import annotations

from statistics import mean

import pytest

from fleet import POLICY, TTL, simulate


@pytest.mark.parametrize(
    ("processes", "silent"), [(1000, False), (200, True)], ids=["1000-refuses-connections", "200-is-silent"]
)
def test_a_fleet_through_an_hours_outage(processes: int, *, silent: bool) -> None:
    fleet = simulate(processes, silent=silent)
    assert 18 <= fleet.probes_per_second * 1000 / processes <= 28
    assert fleet.busiest_second <= 5 * fleet.probes_per_second, "they are not in step"
    assert fleet.most_under_way == 1
    assert fleet.ordinary_in_outage == processes * POLICY.failures_in_a_row, "none once it is open"
    assert fleet.unanswered == 0
    assert 15 <= mean(fleet.found) <= 30
    assert max(fleet.found) <= POLICY.open_longest + POLICY.attempt_cap + 1
    assert min(fleet.closing) >= POLICY.probe_pause
    assert max(fleet.closing) <= POLICY.probe_pause + 1
    assert POLICY.dwell <= min(fleet.failed_back)
    assert max(fleet.failed_back) <= POLICY.dwell + TTL, "by the next refresh"
