"""What is left of what was dropped, by itself."""

from __future__ import annotations

import pytest

from secretcache import _tombstones
from secretcache._tombstones import Tombstones

CURRENT, PENDING = ("AWSCURRENT", None), ("AWSPENDING", None)


def test_what_was_dropped_is_known_of_one_version_or_of_all() -> None:
    stones = Tombstones()
    assert stones.ticket("a", CURRENT) == 0
    stones.set("a", 3, CURRENT)
    stones.set("a", 2)
    assert [stones.ticket("a", which) for which in (CURRENT, PENDING)] == [3, 2]
    assert stones.ticket("b", CURRENT) == 0


def test_none_is_ever_lowered() -> None:
    stones = Tombstones()
    for ticket, known in [(3, 3), (2, 3), (5, 5)]:
        stones.set("a", ticket, CURRENT)
        assert stones.ticket("a", CURRENT) == known


@pytest.fixture
def room_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tombstones, "_MOST", 2)


@pytest.mark.usefixtures("room_for_two")
def test_those_that_there_is_no_room_for_count_for_every_secret() -> None:
    stones = Tombstones()
    for name, ticket in [("a", 5), ("b", 3), ("c", 9)]:
        stones.set(name, ticket, CURRENT)
    assert [stones.ticket(name, CURRENT) for name in "abcd"] == [5, 5, 9, 5]
    stones.set("d", 1, PENDING)
    assert stones.ticket("nobody", PENDING) == 5, "b's 3 lowers nothing"
    assert len(stones) == 2


@pytest.mark.usefixtures("room_for_two")
def test_what_is_known_already_needs_no_room() -> None:
    stones = Tombstones()
    for name, ticket in [("a", 5), ("b", 3), ("a", 6)]:
        stones.set(name, ticket, CURRENT)
    assert stones.ticket("nobody", CURRENT) == 0


def test_256_are_known_singly() -> None:
    stones = Tombstones()
    for number in range(256):
        stones.set(f"{number}", number + 1)
    assert stones.ticket("nobody", CURRENT) == 0
    stones.set("one more", 300)
    assert stones.ticket("nobody", CURRENT) == 1


@pytest.mark.usefixtures("room_for_two")
def test_a_childs_are_its_own() -> None:
    parent, child = Tombstones(), Tombstones()
    for name, ticket in [("a", 5), ("b", 6), ("c", 7)]:
        parent.set(name, ticket, CURRENT)
    child.adopt(parent)
    child.set("c", 8, CURRENT)
    assert [child.ticket(name, CURRENT) for name in "abc"] == [5, 6, 8]
    assert parent.ticket("c", CURRENT) == 7
