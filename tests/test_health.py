"""What the outside is told: `region_health()`, event hooks, and the log."""

from __future__ import annotations

import logging
import threading

import pytest

from secretcache import CacheClosedError, ConfigurationError, SecretNotFoundError, SecretUnavailableError
from secretcache._events import Bulletin, Event
from secretcache._regions.policy import RegionPolicy
from secretcache._transport import Fault
from support import OSAKA, PATIENCE, TOKYO, House, InThread, answer

POLICY = RegionPolicy(retries=0)
BODY = "correct horse battery staple"


class Listener:
    """Keeps the events it is told."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.events: list[Event] = []
        self.handle = house.cache.add_event_hook(self.events.append)

    def until(self, number: int) -> list[tuple[str, str | None, str | None]]:
        """The first so many events, as soon as they are there; they may come after the read that caused them."""
        self._house.until(lambda: len(self.events) >= number)
        assert len(self.events) == number
        return [(event.name, event.region, event.outcome) for event in self.events]


@pytest.fixture
def house() -> House:
    return House(ttl=1000, _policy=POLICY)


@pytest.fixture
def listener(house: House) -> Listener:
    return Listener(house)


# region_health().


def test_the_regions_are_told_in_the_order_they_are_listed(house: House) -> None:
    health = house.cache.region_health()
    assert list(health) == [OSAKA, TOKYO]
    assert health[OSAKA].host == f"secretsmanager.{OSAKA}.amazonaws.com"
    with pytest.raises(TypeError):
        health[OSAKA] = health[TOKYO]  # type: ignore[index]


def test_calls_answers_failures_and_latencies_are_counted(house: House) -> None:
    house.regions.hold(OSAKA)
    reader = InThread(lambda: house.cache.get("a"))
    gate = house.regions.gate()
    house.runtime.advance(0.2)
    gate.answer(answer(OSAKA, "v1", "a"))
    reader.result()
    house.regions.hold()
    house.fails(OSAKA, Fault.MISSING, "ResourceNotFoundException")
    assert house.cache.get("b").region == TOKYO
    health = house.cache.region_health()
    osaka, tokyo = health[OSAKA], health[TOKYO]
    assert (osaka.calls, osaka.answers, osaka.failures, osaka.outcomes) == (2, 1, 1, {"missing": 1})
    assert osaka.latency_p50_seconds == pytest.approx(0.2)
    assert (osaka.last_error, osaka.failures_in_a_row) == ("ResourceNotFoundException", 0)
    assert (tokyo.calls, tokyo.answers, tokyo.failures) == (1, 1, 0)


def test_a_silent_region_is_told_to_be_suspect_and_its_attempt_stuck(house: House) -> None:
    house.regions.hold(OSAKA)
    reader = InThread(lambda: house.cache.get("a"))
    gate = house.regions.gate()
    house.runtime.until_waiting(1)
    house.runtime.advance(POLICY.hedge_after)
    assert reader.result().region == TOKYO
    house.until(lambda: house.cache.region_health()[OSAKA].suspect_seconds == POLICY.suspect_for)
    assert house.cache.region_health()[OSAKA].stuck_attempts == 0
    house.runtime.advance(2.5)
    house.cache.get("b")  # whoever looks next judges it
    waiting = InThread(lambda: house.cache.get("c", timeout=1))
    assert waiting.result().region == TOKYO
    gate.answer(answer(OSAKA, "v1", "a"))
    house.until(lambda: house.cache.region_health()[OSAKA].answers == 1)


def test_what_an_open_region_looks_like_from_outside(house: House) -> None:
    house.fails(OSAKA)
    for name in "abc":
        house.cache.get(name)
    house.runtime.advance(1)
    osaka = house.cache.region_health()[OSAKA]
    assert (osaka.state, osaka.state_seconds, osaka.failures_in_a_row) == ("open", 1.0, 3)
    assert osaka.next_probe_seconds == pytest.approx(0.75 * POLICY.open_first - 1)
    assert osaka.last_error == "InternalServiceError"


# Event hooks.


def test_events_come_in_the_order_of_what_happened(house: House, listener: Listener) -> None:
    house.cache.get("z")
    house.fails(OSAKA)
    for name in "abc":
        house.cache.get(name)
    assert listener.until(9) == [
        ("call", OSAKA, "answered"),
        ("call", OSAKA, "region"),
        ("call", TOKYO, "answered"),
        ("failover", TOKYO, None),
        ("call", OSAKA, "region"),
        ("call", TOKYO, "answered"),
        ("call", OSAKA, "region"),
        ("breaker", OSAKA, "open"),
        ("call", TOKYO, "answered"),
    ]


def test_hits_are_no_events(house: House, listener: Listener) -> None:
    for _ in range(100):
        house.cache.get("a")
    assert listener.until(1) == [("call", OSAKA, "answered")]


@pytest.mark.parametrize(
    ("fault", "name", "seconds"),
    [(Fault.THROTTLED, "throttled", 0.75), (Fault.IDENTITY, "identity", 1), (Fault.NOT_OFFERED, "not_offered", 600)],
)
def test_a_gate_that_closes_is_an_event(
    house: House, listener: Listener, fault: Fault, name: str, seconds: float
) -> None:
    house.fails(OSAKA, fault, "TheCode")
    house.cache.get("a")
    house.until(lambda: any(event.name == name for event in listener.events))
    event = next(event for event in listener.events if event.name == name)
    assert (event.region, event.outcome, event.seconds) == (OSAKA, "TheCode", seconds)


def test_a_hook_that_raises_changes_nothing_and_is_called_again(house: House, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Event] = []

    def faulty(event: Event) -> None:
        told.append(event)
        raise ZeroDivisionError

    house.cache.add_event_hook(faulty)
    listener = Listener(house)
    assert [house.cache.get(name).region for name in "ab"] == [OSAKA, OSAKA]
    listener.until(2)
    assert told == listener.events
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError] * 2


def test_a_hook_may_use_the_cache(house: House) -> None:
    seen: list[str] = []
    house.cache.add_event_hook(lambda event: seen.append(house.cache.region_health()[OSAKA].state))
    house.cache.get("a")
    house.until(lambda: len(seen) == 1)
    assert seen == ["closed"]


def test_a_hook_that_hangs_delays_neither_readers_nor_the_order(house: House) -> None:
    entered, go_on, told = threading.Event(), threading.Event(), []

    def slow(event: Event) -> None:
        entered.set()
        assert go_on.wait(PATIENCE)
        told.append(event.region)

    house.cache.add_event_hook(slow)
    assert house.cache.get("a").region == OSAKA
    assert entered.wait(PATIENCE)
    house.fails(OSAKA, Fault.MISSING)
    assert house.cache.get("b").region == TOKYO
    assert told == []
    go_on.set()
    house.until(lambda: len(told) == 4)
    assert told == [OSAKA, OSAKA, TOKYO, TOKYO]


def test_a_cancelled_hook_is_not_called_any_more(house: House, listener: Listener) -> None:
    other = Listener(house)
    house.cache.get("a")
    listener.until(1)
    listener.handle.cancel()
    listener.handle.cancel()
    house.cache.get("b")
    other.until(2)
    assert len(listener.events) == 1


def test_what_is_no_hook_is_refused(house: House) -> None:
    with pytest.raises(ConfigurationError, match="hook must be callable"):
        house.cache.add_event_hook("print")  # type: ignore[arg-type]

    async def awaited(_: Event) -> None: ...

    with pytest.raises(ConfigurationError, match="hook must be a plain function"):
        house.cache.add_event_hook(awaited)
    with pytest.raises(ConfigurationError, match=r"hook must be callable as hook\(event\), got one that takes \(\)"):
        house.cache.add_event_hook(lambda: None)  # type: ignore[misc,arg-type]
    house.cache.close()
    with pytest.raises(CacheClosedError):
        house.cache.add_event_hook(print)


# The log.


def test_each_change_of_a_breakers_state_is_a_record_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "secretcache")
    house = House(ttl=1000, _policy=POLICY, refresh="background")
    house.fails(OSAKA)
    for name in "abc":
        house.cache.get(name)
    house.rest()
    house.says(OSAKA, "v1")
    house.pass_time(10, step=0.25)
    told = [record for record in caplog.records if getattr(record, "secretcache_event", "") == "breaker"]
    assert [(record.levelname, vars(record)["secretcache_outcome"]) for record in told] == [
        ("WARNING", "open"),
        ("INFO", "half-open"),
        ("INFO", "closed"),
    ]
    assert {vars(record)["secretcache_region"] for record in told} == {OSAKA}
    assert told[0].getMessage() == (
        f"breaker: {OSAKA}; open; was closed; 3 failures in a row, the last InternalServiceError"
    )


def test_the_same_of_the_same_region_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    one = Bulletin(lambda: now)
    heard: list[Event] = []
    one.listen(heard.append)
    for second in range(121):
        now = float(second)
        one.post([Event("throttled", region=region, outcome="Throttling") for region in (OSAKA, TOKYO)])
        one.post([Event("breaker", region=OSAKA, outcome="open")])
        one.tell()
    assert len(caplog.records) == 3 * 3
    assert len(heard) == 3 * 121, "hooks are told all"


def test_the_memory_of_what_was_logged_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    one = Bulletin(lambda: now)
    for second in range(1000):
        now = float(second)
        one.post([Event("stale", secret_id=f"secret/{second}")])
        one.tell()
    assert len(caplog.records) == 1000
    assert len(one._logged) <= 60


def test_calls_are_not_logged(house: House, listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "secretcache")
    house.cache.get("a")
    listener.until(1)
    assert caplog.records == []


def test_two_threads_that_tell_at_once_keep_the_order() -> None:
    one = Bulletin(lambda: 0.0)
    entered, go_on, heard = threading.Event(), threading.Event(), []

    def slow(event: Event) -> None:
        heard.append(event.seconds)
        entered.set()
        assert go_on.wait(PATIENCE)

    one.listen(slow)
    one.post([Event("call", seconds=0)])
    first = InThread(one.tell)
    assert entered.wait(PATIENCE)
    one.post([Event("call", seconds=1), Event("call", seconds=2)])
    one.tell()  # returns at once: the first goes on with these
    assert heard == [0]
    go_on.set()
    first.result()
    assert heard == [0, 1, 2]


def test_nothing_of_a_secret_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    house = House(ttl=10, max_stale=20, _policy=POLICY)
    listener = Listener(house)
    house.says(OSAKA, BODY)
    house.says(TOKYO, BODY)
    house.cache.get("a")
    house.fails(OSAKA)
    for name in "bcd":
        assert house.cache.get(name).string == BODY
    house.runtime.advance(11)
    house.fails(TOKYO, Fault.THROTTLED, "ThrottlingException")
    house.cache.get("a")
    house.fails(TOKYO, Fault.MISSING)
    with pytest.raises((SecretNotFoundError, SecretUnavailableError)):
        house.patiently(lambda: house.cache.get("e"))
    house.until(lambda: len(listener.events) >= 10)
    told = [repr(event) for event in listener.events]
    told += [f"{record.getMessage()} {vars(record)!r}" for record in caplog.records]
    told.append(repr(house.cache.region_health()))
    assert any("breaker" in line for line in told)
    assert not [line for line in told if BODY in line or BODY.partition(" ")[0] in line]
