"""What a waiter may not miss between being woken and leaving: a close, a rotation, an attempt that was left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from secretcache import CacheClosedError, SecretCache, SecretUnavailableError
from secretcache._regions.policy import RegionPolicy
from secretcache._runtime import Event
from secretcache._transport import BatchCall, Failure, Fault
from support import NO_RETRIES, OSAKA, PATIENCE, TOKYO, House, InThread, answer

STRICT = RegionPolicy(attempt_cap=1.0, hedges=False, retries=0, suspect_for=0.01)


def in_another_thread(call: Callable[[], object]) -> None:
    InThread(call).result()


def when_woken(house: House, then: Callable[[], object]) -> None:
    """Does that once, in another thread, between the test's own thread being woken and its clearing the bell."""
    runtime, me, real = house.runtime, threading.current_thread(), house.runtime.wait
    left = [then]

    def wait(event: Event, until: float) -> bool:
        rings = real(event, until)
        if rings and left and threading.current_thread() is me:
            in_another_thread(left.pop())
        return rings

    runtime.wait = wait  # type: ignore[method-assign]


def test_a_close_whose_ring_is_cleared_with_anothers_is_told_at_once() -> None:
    house = House([OSAKA])
    first, second = [f"first/{number}" for number in range(20)], [f"second/{number}" for number in range(20)]
    hung = threading.Event()

    def send(call: BatchCall) -> Any:
        if call.queries[0].secret.name.startswith("second"):
            assert hung.wait(PATIENCE)
        return {"SecretValues": [answer(OSAKA, "v1", query.secret.name) for query in call.queries]}

    house.regions._batch = send  # type: ignore[method-assign]
    when_woken(house, house.cache.close)
    before = house.runtime.now()
    with pytest.raises(CacheClosedError):
        house.cache.prefetch([*first, *second])
    hung.set()
    assert house.runtime.now() == before


def test_a_prefetch_that_is_overtaken_by_a_close_raises_it() -> None:
    house = House([OSAKA])
    house.regions.batch_replies[OSAKA] = lambda: {"SecretValues": [answer(OSAKA, "v1", "one")]}
    when_woken(house, house.cache.close)
    with pytest.raises(CacheClosedError):
        house.cache.prefetch(["one", "two", "three"])


def test_a_close_while_a_throttled_prefetch_waits_is_told_at_once() -> None:
    house = House([OSAKA])
    house.regions.batch_replies[OSAKA] = lambda: Failure(Fault.THROTTLED, "Throttled", "", answered=True)
    warmed = InThread(lambda: house.cache.prefetch(["one", "two"]))
    house.until(lambda: house.cache.region_health()[OSAKA].throttled_seconds > 0)
    house.cache.close()
    with pytest.raises(CacheClosedError):
        warmed.result()


def test_a_close_between_two_singles_of_a_prefetch_is_no_failure_of_one_secret() -> None:
    house = House([OSAKA])
    house.regions.batch_replies[OSAKA] = lambda: Failure(Fault.DENIED, "AccessDeniedException", "", answered=True)
    begin = house.cache._engine.begin

    def closed_before(*arguments: Any, **more: Any) -> Any:
        in_another_thread(house.cache.close)
        return begin(*arguments, **more)

    house.cache._engine.begin = closed_before  # type: ignore[method-assign]
    with pytest.raises(CacheClosedError):
        house.cache.prefetch(["one", "two"])


def test_the_late_answer_of_another_region_has_its_hook_called_before_the_read_that_noticed_returns() -> None:
    house = House([OSAKA, TOKYO], primary_region=OSAKA, _policy=RegionPolicy(retries=0))
    told: list[tuple[str, str]] = []
    house.cache.add_rotation_hook(
        "prod/db", lambda event: told.append((event.new.version_id, threading.current_thread().name))
    )
    house.cache.get("prod/db")
    for entry in house.cache._engine.store.entries():
        entry.dead_at = entry.serve_until = float("-inf")
    house.says(TOKYO, "v1")
    house.regions.hold(OSAKA)
    entered, left = threading.Event(), threading.Event()
    rotations = house.cache._engine.rotations
    arrived, run = rotations.arrived, rotations.hooks.run

    def slowly(secrets: Any, *arguments: Any, **more: Any) -> None:
        if any(secret.region == OSAKA for secret in secrets.values()):
            entered.set()  # with the lock held, and it is known that somebody waits
            left.wait(0.2)  # who does not need the lock leaves meanwhile
        arrived(secrets, *arguments, **more)

    def leave() -> None:
        run()
        left.set()

    rotations.arrived = slowly  # type: ignore[method-assign]
    rotations.hooks.run = leave  # type: ignore[method-assign]

    def answers_late() -> None:
        house.regions.gate(0).answer(answer(OSAKA, "v2"))
        assert entered.wait(PATIENCE)

    when_woken(house, answers_late)

    def hedge() -> None:
        house.regions.gate(0)
        house.runtime.until_waiting(1)
        house.runtime.advance(0.5)

    hedging = InThread(hedge)
    new = house.cache.get("prod/db")
    assert "v2" in new.version_id
    assert told == [(new.version_id, threading.current_thread().name)]
    hedging.result()


@pytest.mark.parametrize("how", ["prefetch", "fresh", "read"])
def test_whatever_is_read_next_finds_the_attempts_that_were_left_behind_past_their_cap(how: str) -> None:
    house = House([OSAKA, TOKYO], _policy=STRICT)
    house.regions.hold(OSAKA)
    for number in range(3):
        read = InThread(lambda number=number: house.cache.get(f"hung/{number}", timeout=0.2))  # type: ignore[misc]
        house.regions.gate(number)
        house.runtime.until_waiting(1)
        house.runtime.advance(0.2)
        with pytest.raises(SecretUnavailableError):
            read.result()
    house.runtime.advance(0.9)
    house.regions.calls.clear()
    if how == "prefetch":
        assert not house.cache.prefetch(["one", "two"]).failed
    elif how == "fresh":
        house.cache._fresh("one", timeout=5.0)
    else:
        house.cache.get("one")
    assert set(house.regions.asked()) == {TOKYO}
    assert house.cache.region_health()[OSAKA].outcomes == {"region": 3}


def test_an_attempt_that_reaches_its_cap_beside_another_read_is_judged_at_its_end() -> None:
    house = House([OSAKA], _policy=STRICT)
    house.regions.hold(OSAKA)
    hung = InThread(lambda: house.cache.get("hung", timeout=0.2))
    house.regions.gate(0)
    house.runtime.until_waiting(1)
    house.runtime.advance(0.2)
    with pytest.raises(SecretUnavailableError):
        hung.result()
    other = InThread(lambda: house.cache.get("other"))
    house.regions.gate(1)
    house.runtime.until_waiting(1)
    house.runtime.advance(0.7)
    when = house.runtime.now()
    house.runtime._time = when + 0.15  # the first is past its cap, and nobody was woken for that
    house.regions.gate(1).answer(answer(OSAKA, "v1", "other"))
    other.result()
    assert house.cache.region_health()[OSAKA].outcomes == {"region": 1}


class Importing:
    """Does something when a module is looked for, and leaves it to others to find it."""

    def __init__(self, name: str, then: Callable[[], object]) -> None:
        self._name, self._then = name, then

    def find_spec(self, name: str, *_: object) -> None:
        if name == self._name:
            self._then()


def test_no_room_is_read_from_disk_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House([OSAKA])
    monkeypatch.delitem(sys.modules, "secretcache._regions.health", raising=False)
    monkeypatch.delattr(sys.modules["secretcache._regions"], "health", raising=False)
    held: list[bool] = []
    lock: Any = house.cache._engine.lock
    look = Importing("secretcache._regions.health", lambda: held.append(lock._is_owned()))
    monkeypatch.setattr(sys, "meta_path", [look, *sys.meta_path])
    house.cache.region_health()
    assert held == [False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_while_a_room_is_imported_has_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SecretCache([OSAKA], refresh="on_access", _transport=House([OSAKA]).regions, _policy=NO_RETRIES)
    cache.get("prod/db")
    monkeypatch.delitem(sys.modules, "secretcache._stats", raising=False)
    inside, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        inside.set()
        go_on.wait(0.3)  # a fork that does not wait for it comes first

    monkeypatch.setattr(sys, "meta_path", [Importing("secretcache._stats", slowly), *sys.meta_path])
    reading = InThread(cache.stats)
    assert inside.wait(PATIENCE)
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        os._exit(0 if cache.stats().entries == 1 else 1)
    go_on.set()
    reading.result()
    assert os.waitpid(child, 0)[1] == 0
    cache.close()
