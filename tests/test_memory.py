"""What a cached secret costs: at most 1 KiB over its value, and one copy of that."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

from secretcache import Secret
from secretcache._transport import Call
from support import OSAKA, REGIONS, TOKYO, House, answer, failure

SECRETS = 500


def as_parsed(call: Call, value: str) -> Mapping[str, Any]:
    """An answer whose texts are its own, as those of a parsed response are."""
    whole = {**answer(call.region, value, call.query.secret.name), "CreatedDate": None}
    return {**json.loads(json.dumps(whole)), "CreatedDate": answer(OSAKA)["CreatedDate"]}


@pytest.mark.parametrize("region", REGIONS)
def test_a_secret_costs_at_most_1_kib_over_its_value(region: str) -> None:
    house = House(max_entries=2 * SECRETS, refresh="background")
    house.regions.replies = {
        OSAKA: lambda call: as_parsed(call, "x" * 50),
        TOKYO: lambda call: as_parsed(call, "x" * 50),
    }
    if region == TOKYO:
        house.regions.replies[OSAKA] = lambda _: failure()
    for number in range(20):  # what is made once, and the first growth of every table
        house.cache.get(f"prod/service/warm-{number}")
    house.regions.calls.clear()
    names = [f"prod/service/database-{number}" for number in range(SECRETS)]
    gc.collect()
    tracemalloc.start()
    for name in names:
        house.cache.get(name)
    house.regions.calls.clear()
    gc.collect()
    each = tracemalloc.get_traced_memory()[0] / SECRETS
    tracemalloc.stop()
    assert house.cache.stats().entries == SECRETS + 20
    assert each - 99 <= 1024, "99 bytes are the value: a str of 50 characters"


def test_there_is_one_copy_of_each_value() -> None:
    house = House()
    size = 1_000_000
    house.regions.replies[OSAKA] = lambda call: answer(call.region, "x" * size, call.query.secret.name)
    tracemalloc.start()
    held: list[Secret] = []
    for number in range(5):
        held += [house.cache.get(f"big-{number}"), house.cache.get(f"big-{number}")]
    house.regions.calls.clear()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 5 * size <= grown < 5.1 * size
