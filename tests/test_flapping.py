"""A region that is up for a second and down for a second, for ten minutes: few switches, nobody past a deadline.

On the manual clock. While it is down it either fails at once or keeps silent.
"""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from secretcache import Secret
from secretcache._regions.policy import RegionPolicy
from secretcache._runtime import Event
from secretcache._transport import Call, Reply
from support import OSAKA, PATIENCE, TOKYO, House, InThread, answer, failure

SECONDS = 600.0
STEP = 0.25
TIMEOUT = 5.0
POLICY = RegionPolicy()
READ_TIMEOUT = 2.0  # botocore's, as the transport sets it


class Flapping:
    """Osaka, flapping; Tokyo, well."""

    def __init__(self, house: House, *, silent: bool) -> None:
        self._house, self._silent = house, silent
        self._began = house.runtime.now()
        self.kept = 0
        """Requests that Osaka keeps without an answer."""
        house.regions.replies = {OSAKA: self._reply, TOKYO: _well}

    @property
    def up(self) -> bool:
        return int(self._house.runtime.now() - self._began) % 2 == 0

    def _reply(self, call: Call) -> Reply:
        if self.up:
            return _well(call)
        if self._silent:
            self._keep()
        return failure(code="ReadTimeoutError" if self._silent else "InternalServiceError")

    def _keep(self) -> None:
        runtime = self._house.runtime
        self.kept += 1
        try:
            runtime.wait(runtime.event(), runtime.now() + READ_TIMEOUT)
        finally:
            self.kept -= 1


def _well(call: Call) -> Reply:
    return answer(call.region, "v1", call.query.secret.bare_name)


class Clock:
    """Moves on when nothing but time can move the cache: every thread rests, or waits for what is not there yet."""

    def __init__(self, house: House, osaka: Flapping) -> None:
        self._runtime, self._osaka = house.runtime, osaka
        self._lanes = house.cache._engine._loads._lanes.values()
        self._waits: set[tuple[Event, float]] = set()
        self._wait = house.runtime.wait
        house.runtime.wait = self._counted_wait  # type: ignore[method-assign]

    def _counted_wait(self, event: Event, until: float) -> bool:
        self._waits.add((event, until))
        try:
            return self._wait(event, until)
        finally:
            self._waits.discard((event, until))

    def step(self, reader: InThread | None = None) -> None:
        """The next quarter of a second, unless the reader ends without it."""
        deadline = time.monotonic() + PATIENCE
        while not self._quiet(reader):
            if reader is not None and not reader.running:
                return
            assert time.monotonic() < deadline, "does not come to rest"
            time.sleep(0)
        self._runtime.advance(STEP)

    def _quiet(self, reader: InThread | None) -> bool:
        waits, kept = self._waits.copy(), self._osaka.kept
        hopeless = all(not event.is_set() and until > self._runtime.now() for event, until in waits)
        at_rest = all(box.resting for box in self._runtime.mailboxes)
        working = sum(len(lane._unfinished) for lane in self._lanes) - kept
        return hopeless and at_rest and not working and len(waits) == kept + (reader is not None)


@pytest.fixture
def house() -> House:
    made = House(refresh="background", ttl=20.0, timeout=TIMEOUT, max_entries=64, _policy=POLICY)
    made.runtime.random = random.Random(7).random  # type: ignore[method-assign] # noqa: S311 - jitter
    return made


def read(house: House, clock: Clock, secret_id: str) -> tuple[Secret, float]:
    """What a read returns, and how long it took on the manual clock."""
    began = house.runtime.now()
    reader = InThread(lambda: house.cache.get(secret_id))
    while reader.running:
        clock.step(reader)
    return reader.result(), house.runtime.now() - began


@pytest.mark.parametrize(("silent", "longest"), [(False, 0.0), (True, POLICY.hedge_after)], ids=["fails", "silent"])
def test_a_flapping_region_takes_the_reads_along_a_few_times_at_most(
    house: House, *, silent: bool, longest: float
) -> None:
    clock = Clock(house, Flapping(house, silent=silent))
    answered: list[str] = []
    end = house.runtime.now() + SECONDS
    while house.runtime.now() < end:
        _, waited = read(house, clock, "warm")
        secret, waited_cold = read(house, clock, f"cold/{len(answered)}")
        assert max(waited, waited_cold) <= longest, f"{house.runtime.now() - end} s before the end"
        answered.append(secret.region)
        clock.step()
    switches = sum(one != other for one, other in pairwise(answered))
    # Once there and back for each time that Osaka closes, stays so for the dwell and is preferred again; and the
    # failovers until it opens first. By the second it would be 600.
    assert switches <= 2 * (SECONDS / POLICY.dwell + POLICY.failures_in_a_row)
    assert answered.count(TOKYO) > len(answered) / 2
    assert house.cache.region_health()[TOKYO].failures == 0
