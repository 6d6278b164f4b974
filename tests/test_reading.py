"""Reads over scripted regions and a clock moved by hand: who is asked, who waits, what is held."""

from __future__ import annotations

import gc
import weakref

import pytest

from secretcache import (
    CacheClosedError,
    ConfigurationError,
    CredentialsError,
    SecretAccessDeniedError,
    SecretCache,
    SecretNotFoundError,
    SecretUnavailableError,
)
from secretcache._transport import Fault
from support import NOTHING_REMEMBERED, OSAKA, PATIENCE, TOKYO, House, InThread, answer, arn, failure


def test_the_first_region_that_answers_wins() -> None:
    house = House()
    house.says(OSAKA, "from osaka")
    secret = house.cache.get("prod/db")
    assert (secret.string, secret.region, secret.arn) == ("from osaka", OSAKA, arn(OSAKA))
    assert house.regions.asked() == [OSAKA]


def test_a_hit_makes_no_call_and_stamps_the_entry() -> None:
    house = House(ttl=100)
    first = house.cache.get("prod/db")
    house.runtime.advance(69)
    assert house.cache.get("prod/db") is first
    assert len(house.regions.calls) == 1
    assert house.cache._hot["prod/db"].last_read == house.runtime.now()


def test_after_ttl_the_value_is_asked_for_again() -> None:
    house = House(ttl=100)
    house.cache.get("prod/db")
    house.says(OSAKA, "v2")
    house.runtime.advance(100)
    assert house.cache.get("prod/db").string == "v2"


def test_age_counts_from_when_the_request_was_sent() -> None:
    house = House(regions=[OSAKA], ttl=100)
    house.regions.hold(OSAKA)
    reader = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate()
    house.runtime.advance(2)
    gate.answer(answer(OSAKA))
    secret = reader.result()
    assert secret.age() == 2
    assert not secret.is_stale
    house.runtime.advance(99)
    assert secret.is_stale


@pytest.mark.parametrize("fault", [Fault.REGION, Fault.THROTTLED, Fault.MISSING, Fault.DENIED, Fault.IDENTITY])
def test_a_region_that_fails_is_stepped_over(fault: Fault) -> None:
    house = House()
    house.fails(OSAKA, fault)
    assert house.cache.get("prod/db").region == TOKYO
    # Credentials that fail are loaded anew, once, before the next region is asked.
    assert house.regions.asked() == [OSAKA] * (2 if fault is Fault.IDENTITY else 1) + [TOKYO]
    assert house.regions.reloads == (fault is Fault.IDENTITY)


@pytest.mark.parametrize(
    ("osaka", "tokyo", "raised"),
    [
        (Fault.REGION, Fault.REGION, SecretUnavailableError),
        (Fault.REGION, Fault.MISSING, SecretUnavailableError),
        (Fault.MISSING, Fault.MISSING, SecretNotFoundError),
        (Fault.MISSING, Fault.DELETED, SecretNotFoundError),
        (Fault.MISSING, Fault.DENIED, SecretAccessDeniedError),
        (Fault.IDENTITY, Fault.IDENTITY, CredentialsError),
    ],
)
def test_what_the_failures_add_up_to(osaka: Fault, tokyo: Fault, raised: type[Exception]) -> None:
    house = House()
    house.fails(OSAKA, osaka)
    house.fails(TOKYO, tokyo)
    with pytest.raises(raised, match=r"ap-northeast-3 \(secretsmanager.*ap-northeast-1 \(secretsmanager") as caught:
        house.cache.get("prod/db")
    asked = [attempt.region for attempt in caught.value.attempts]  # type: ignore[attr-defined]
    assert asked == [OSAKA] * (2 if osaka is Fault.IDENTITY else 1) + [TOKYO]
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("fault", [Fault.DENIED, Fault.DELETED])
def test_the_primary_has_the_last_word_on_denied_and_deleted(fault: Fault) -> None:
    house = House(primary_region=TOKYO)
    house.fails(OSAKA, Fault.REGION)
    house.fails(TOKYO, fault)
    with pytest.raises((SecretAccessDeniedError, SecretNotFoundError)):
        house.cache.get("prod/db")


def test_a_malformed_request_is_not_tried_elsewhere() -> None:
    house = House()
    house.fails(OSAKA, Fault.CALLER, "ValidationException")
    with pytest.raises(ConfigurationError, match="ValidationException"):
        house.cache.get("prod/db")
    assert house.regions.asked() == [OSAKA]


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {**answer(OSAKA), "SecretBinary": b"both"},
        {**answer(OSAKA), "SecretString": 12},
        {**answer(OSAKA), "SecretString": None},
        {**answer(OSAKA, b"x"), "SecretBinary": "no bytes"},
        {**answer(OSAKA), "VersionId": 3},
        {**answer(OSAKA), "VersionId": ""},
        {**answer(OSAKA), "ARN": None},
        {**answer(OSAKA), "Name": ["prod/db"]},
        {**answer(OSAKA), "VersionStages": 5},
        {**answer(OSAKA), "VersionStages": "AWSCURRENT"},
        {**answer(OSAKA), "VersionStages": ["AWSCURRENT", None]},
        {key: value for key, value in answer(OSAKA).items() if key != "SecretString"},
        {**answer(OSAKA), "VersionId": None},
        {**answer(OSAKA), "ARN": "not an arn"},
        answer(OSAKA, name="prod/other"),
        answer(TOKYO),
        answer(OSAKA, VersionStages=["AWSPREVIOUS"]),
    ],
    ids=[
        *("empty", "both kinds", "a number", "null", "bytes that are text", "number of a version", "empty version"),
        *("null for an arn", "list of names", "number of stages", "text for stages", "null among stages"),
        *("neither kind", "no version", "no arn", "other secret", "other region", "other stage"),
    ],
)
def test_an_answer_that_is_not_whole_or_not_the_one_asked_for_is_a_region_fault(reply: dict[str, object]) -> None:
    house = House()
    house.says(OSAKA, reply)
    assert house.cache.get("prod/db").region == TOKYO
    assert house.cache.stats().regions[OSAKA].failures == 1


def test_an_answer_of_another_version_than_asked_for_is_refused() -> None:
    house = House()
    with pytest.raises(SecretUnavailableError, match="another version"):
        house.cache.get("prod/db", version_id="0" * 32)


def test_every_arn_of_the_secret_and_its_name_are_one_record() -> None:
    house = House()
    house.cache.get("prod/db")
    for alias in (arn(OSAKA), arn(TOKYO), arn(OSAKA, suffix=""), arn(TOKYO, suffix=""), "prod/db"):
        assert house.cache.get(alias).string == "v1"
    assert len(house.regions.calls) == 1
    assert house.cache.stats().entries == 1


def test_each_region_is_asked_by_its_own_arn() -> None:
    house = House()
    house.fails(OSAKA)
    house.cache.get(arn(TOKYO))
    assert [call.secret_id for call in house.regions.calls] == [arn(OSAKA), arn(TOKYO)]


def test_a_name_is_not_answered_with_another_accounts_secret() -> None:
    house = House()
    house.cache.get(arn(OSAKA))  # for all the cache knows, of another account
    house.says(OSAKA, {**answer(OSAKA, "ours"), "ARN": arn(OSAKA).replace("123456789012", "999999999999")})
    assert house.cache.get("prod/db").string == "ours"
    assert house.cache.get(arn(OSAKA)).string == "v1"
    assert house.cache.stats().entries == 2


def test_an_arn_of_any_account_stands_for_its_partial_arn_too() -> None:
    house = House()
    house.cache.get(arn(TOKYO))
    for alias in (arn(OSAKA), arn(TOKYO, suffix=""), arn(OSAKA, suffix="")):
        house.cache.get(alias)
    assert len(house.regions.calls) == 1


def test_an_arn_and_then_its_name_become_one_record() -> None:
    house = House()
    house.cache.get(arn(OSAKA))
    house.cache.get("prod/db")
    assert house.cache.stats().entries == 1
    house.cache.get("prod/other")
    house.cache.get(arn(TOKYO, "prod/other"))
    assert len(house.regions.calls) == 3, "once an account is known as our own, an ARN's name is an alias too"


def test_a_new_suffix_under_the_same_name_is_a_new_secret() -> None:
    house = House(ttl=10)
    house.cache.get("prod/db")
    house.cache.get(arn(TOKYO))
    house.says(OSAKA, {**answer(OSAKA, "made again"), "ARN": arn(OSAKA, suffix="ZZZZZZ")})
    house.runtime.advance(10)
    assert house.cache.get("prod/db").string == "made again"
    assert house.cache.stats().entries == 1
    house.fails(OSAKA, Fault.MISSING)
    house.fails(TOKYO, Fault.MISSING)
    with pytest.raises(SecretNotFoundError):
        house.cache.get(arn(TOKYO))


def test_the_entry_read_longest_ago_goes_first() -> None:
    house = House(max_entries=2)
    house.cache.get("a")
    house.runtime.advance(1)
    house.cache.get("b")
    house.runtime.advance(1)
    house.cache.get("a")
    house.runtime.advance(1)
    house.cache.get("c")
    assert house.cache.stats().entries == 2
    assert house.cache.stats().evictions == 1
    calls = len(house.regions.calls)
    house.cache.get("a")
    house.cache.get("c")
    assert len(house.regions.calls) == calls
    house.cache.get("b")
    assert len(house.regions.calls) == calls + 1


def test_what_was_dropped_leaves_nothing_behind() -> None:
    house = House(max_entries=1)
    for number in range(5):
        house.cache.get(f"secret-{number}")
        house.cache.get(arn(TOKYO, f"secret-{number}"))
    store = house.cache._engine.store
    assert len(store.hot) == 2
    assert len(store._records) == 2
    secret = weakref.ref(store.hot["secret-4"].secret)
    store.clear()
    gc.collect()
    assert secret() is None
    assert not store.hot
    assert not store._records


def test_stages_and_versions_are_held_apart() -> None:
    house = House(ttl=10, max_stale=100)
    previous = answer(OSAKA, "old", VersionStages=["AWSPREVIOUS"])
    house.cache.get("prod/db")
    house.says(OSAKA, previous)
    assert house.cache.get("prod/db", version_stage="AWSPREVIOUS").string == "old"
    by_id = house.cache.get("prod/db", version_id=previous["VersionId"])
    house.runtime.advance(99)
    assert house.cache.get("prod/db", version_id=previous["VersionId"]) is by_id
    calls = len(house.regions.calls)
    assert calls == 3
    house.runtime.advance(1)
    house.cache.get("prod/db", version_id=previous["VersionId"])
    assert len(house.regions.calls) == calls + 1, "the right to read it is asked again after max_stale"


def test_64_threads_on_one_cold_secret_make_one_call() -> None:
    house = House()
    house.regions.hold(OSAKA)
    readers = [InThread(lambda: house.cache.get("prod/db")) for _ in range(64)]
    house.runtime.until_waiting(64)
    house.regions.gate().answer(answer(OSAKA))
    assert {reader.result().string for reader in readers} == {"v1"}
    assert len(house.regions.calls) == 1
    assert house.cache.stats().waits == 64


def test_ten_callers_of_a_failing_load_make_one_call_each_with_an_error_of_its_own() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    readers = [InThread(lambda: house.cache.get("prod/db")) for _ in range(10)]
    house.runtime.until_waiting(10)
    house.regions.gate().answer(failure())
    errors = set()
    for reader in readers:
        with pytest.raises(SecretUnavailableError) as caught:
            reader.result()
        errors.add(id(caught.value))
    assert len(errors) == 10
    assert len(house.regions.calls) == 1


def test_one_silent_secret_delays_no_other() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    silent = InThread(lambda: house.cache.get("silent"))
    house.regions.gate()
    house.regions.hold()
    assert house.cache.get("prod/db").string == "v1"
    house.regions.gate().answer(answer(OSAKA, name="silent"))
    assert silent.result().name == "silent"


def test_a_silent_region_is_left_behind_at_its_cap_and_its_late_answer_replaces_nothing() -> None:
    house = House()
    house.regions.hold(OSAKA)
    reader = InThread(lambda: house.cache.get("prod/db"))
    gate = house.regions.gate()
    house.runtime.until_waiting(1)
    house.runtime.advance(2.5)
    secret = reader.result()
    assert secret.region == TOKYO
    assert house.cache.stats().regions[OSAKA].stuck_attempts == 1
    gate.answer(answer(OSAKA, "late"))
    house.until(lambda: house.cache.stats().regions[OSAKA].stuck_attempts == 0)
    assert house.cache.get("prod/db") is secret


def test_two_silent_regions_are_two_attempts_within_the_timeout() -> None:
    house = House(timeout=5)
    house.regions.hold(OSAKA, TOKYO)
    reader = InThread(lambda: house.cache.get("prod/db"))
    house.regions.gate(0)
    house.runtime.until_waiting(1)
    house.runtime.advance(2.5)
    house.regions.gate(1)
    house.runtime.until_waiting(1)
    house.runtime.advance(2.5)
    with pytest.raises(SecretUnavailableError) as caught:
        reader.result()
    assert [(attempt.region, attempt.seconds) for attempt in caught.value.attempts] == [(OSAKA, 2.5), (TOKYO, 2.5)]
    _release(house)


def test_any_number_of_regions_fits_in_the_timeout() -> None:
    regions = [OSAKA, TOKYO, "us-east-1", "us-east-2", "us-west-2"]
    house = House(regions=regions, timeout=5)
    house.regions.hold(*regions)
    reader = InThread(lambda: house.cache.get("prod/db"))
    for number in range(5):
        house.regions.gate(number)
        house.runtime.until_waiting(1)
        house.runtime.advance(1)
    with pytest.raises(SecretUnavailableError) as caught:
        reader.result()
    assert [attempt.seconds for attempt in caught.value.attempts] == pytest.approx([1.0] * 5)
    _release(house)


def test_a_hurried_reader_tries_every_region_but_judges_none() -> None:
    house = House()
    house.regions.hold(OSAKA)
    reader = InThread(lambda: house.cache.get("prod/db", timeout=0.2))
    gate = house.regions.gate()
    house.runtime.until_waiting(1)
    house.runtime.advance(0.1)
    assert reader.result().region == TOKYO
    assert house.cache.stats().regions[OSAKA].failures == 0
    gate.answer(answer(OSAKA))
    house.until(lambda: house.cache.stats().regions[OSAKA].answers == 1)


def test_a_reader_that_gives_up_harms_no_other_and_the_answer_is_kept() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    patient = InThread(lambda: house.cache.get("prod/db"))
    house.runtime.until_waiting(1)
    hurried = InThread(lambda: house.cache.get("prod/db", timeout=0.5))
    house.runtime.until_waiting(2)
    house.runtime.advance(0.5)
    with pytest.raises(SecretUnavailableError, match="no answer yet"):
        hurried.result()
    house.regions.gate().answer(answer(OSAKA))
    assert patient.result().string == "v1"
    assert house.cache.get("prod/db", timeout=0.001).string == "v1"
    assert len(house.regions.calls) == 1


def test_a_flight_that_everybody_left_does_not_fail_who_comes_later() -> None:
    house = House()
    house.regions.hold(OSAKA, TOKYO)
    hurried = InThread(lambda: house.cache.get("prod/db", timeout=0.2))
    house.regions.gate(0)
    house.runtime.until_waiting(1)
    house.runtime.advance(0.1)
    house.regions.gate(1)
    house.runtime.until_waiting(1)
    house.runtime.advance(0.1)
    with pytest.raises(SecretUnavailableError):
        hurried.result()
    house.regions.hold()
    house.runtime.advance(6)
    assert house.cache.get("prod/db").string == "v1"
    assert house.cache.stats().regions[OSAKA].failures == 1, "the silent attempt was judged by whoever came next"
    _release(house)


def test_a_nearly_spent_flight_is_not_joined() -> None:
    house = House(regions=[OSAKA], timeout=2)
    house.regions.hold(OSAKA)
    first = InThread(lambda: house.cache.get("prod/db"))
    house.regions.gate(0)
    house.runtime.until_waiting(1)
    house.runtime.advance(1.5)
    second = InThread(lambda: house.cache.get("prod/db"))
    house.regions.gate(1).answer(answer(OSAKA, "v2"))
    assert second.result().string == "v2"
    house.regions.gate(0).answer(answer(OSAKA, "v1"))
    assert first.result().string == "v2", "an answer to an earlier request does not replace that to a later one"


def test_four_stuck_attempts_are_the_most_and_a_fifth_read_goes_elsewhere_at_once() -> None:
    house = House(_policy=NOTHING_REMEMBERED)
    house.regions.hold(OSAKA)
    readers = [InThread(lambda name=name: house.cache.get(name)) for name in "abcd"]  # type: ignore[misc]
    house.regions.gate(3)
    house.runtime.until_waiting(4)
    house.runtime.advance(2.5)
    assert {reader.result().region for reader in readers} == {TOKYO}
    assert house.cache.stats().regions[OSAKA].stuck_attempts == 4
    assert house.cache.get("e").region == TOKYO
    assert house.regions.asked().count(OSAKA) == 4
    _release(house)
    house.until(lambda: house.cache.stats().regions[OSAKA].stuck_attempts == 0)
    house.regions.hold()
    assert house.cache.get("f").region == OSAKA


def test_a_reader_queued_behind_busy_threads_goes_on_to_the_next_region_without_spinning() -> None:
    house = House()
    house.regions.hold(OSAKA)
    readers = [InThread(lambda name=name: house.cache.get(name)) for name in "abcde"]  # type: ignore[misc]
    house.regions.gate(3)
    house.runtime.until_waiting(5)
    house.runtime.advance(2.5)
    assert {reader.result().region for reader in readers} == {TOKYO}
    assert house.regions.asked().count(OSAKA) == 4
    _release(house)


def test_a_process_that_may_start_no_thread_says_so_and_recovers() -> None:
    house = House()
    house.runtime.threads_allowed = False
    with pytest.raises(SecretUnavailableError, match=r"no more threads \(RuntimeError: can't start new thread\)"):
        house.cache.get("prod/db")
    assert house.cache.stats().regions[OSAKA].calls == 0
    house.runtime.threads_allowed = True
    assert house.cache.get("prod/db").region == OSAKA


def test_an_old_value_stands_in_while_no_region_can_answer() -> None:
    house = House(ttl=10, max_stale=100)
    old = house.cache.get("prod/db")
    house.fails(OSAKA)
    house.fails(TOKYO)
    house.runtime.advance(10)
    calls = len(house.regions.calls)
    assert house.cache.get("prod/db") is old
    assert house.cache.get("prod/db") is old
    assert len(house.regions.calls) == calls + 2, "one read asked both regions, the next was a hit"
    house.runtime.advance(99.999)
    assert house.cache.get("prod/db") is old
    house.runtime.advance(0.001)
    with pytest.raises(SecretUnavailableError):
        house.cache.get("prod/db")


def test_an_old_value_never_stands_in_past_its_end_within_a_step() -> None:
    house = House(ttl=10, max_stale=2)
    house.cache.get("prod/db")
    house.fails(OSAKA)
    house.fails(TOKYO)
    house.runtime.advance(11)
    house.cache.get("prod/db")
    house.runtime.advance(1)
    with pytest.raises(SecretUnavailableError):
        house.cache.get("prod/db")


@pytest.mark.parametrize("fault", [Fault.DENIED, Fault.DELETED, Fault.MISSING])
def test_a_definitive_answer_drops_the_value(fault: Fault) -> None:
    house = House(ttl=10)
    house.cache.get("prod/db")
    house.fails(OSAKA, fault)
    house.fails(TOKYO, fault)
    house.runtime.advance(10)
    for _ in range(2):
        with pytest.raises((SecretNotFoundError, SecretAccessDeniedError)):
            house.cache.get("prod/db")
    assert house.cache.stats().entries == 0


def test_an_answer_asked_for_before_a_denial_does_not_bring_the_value_back() -> None:
    house = House(ttl=10)
    house.cache.get("prod/db")
    house.runtime.advance(10)
    house.regions.hold(OSAKA)
    hurried = InThread(lambda: house.cache.get("prod/db", timeout=0.2))
    early = house.regions.gate(0)
    house.runtime.until_waiting(1)
    house.fails(TOKYO, Fault.DENIED)
    house.runtime.advance(0.1)
    house.runtime.until_waiting(1)
    house.runtime.advance(0.1)
    hurried.result()  # the old value stands in for this reader
    house.regions.hold()
    house.runtime.advance(5)
    house.fails(OSAKA, Fault.DENIED)
    with pytest.raises(SecretAccessDeniedError):
        house.cache.get("prod/db")
    early.answer(answer(OSAKA, "revoked"))
    house.until(lambda: house.cache.stats().regions[OSAKA].stuck_attempts == 0)
    with pytest.raises(SecretAccessDeniedError):
        house.cache.get("prod/db")


def test_ttl_0_asks_on_every_read_and_max_stale_0_lets_nothing_stand_in() -> None:
    house = House(ttl=0, max_stale=0)
    house.cache.get("prod/db")
    house.cache.get("prod/db")
    assert len(house.regions.calls) == 2
    house.fails(OSAKA)
    house.fails(TOKYO)
    with pytest.raises(SecretUnavailableError):
        house.cache.get("prod/db")


def test_close_ends_every_wait_at_once_and_refuses_reads() -> None:
    house = House(regions=[OSAKA])
    house.cache.get("warm")
    house.regions.hold(OSAKA)
    readers = [InThread(lambda: house.cache.get("prod/db")) for _ in range(3)]
    house.runtime.until_waiting(3)
    gate = house.regions.gate()
    house.cache.close()
    for reader in readers:
        with pytest.raises(CacheClosedError):
            reader.result()
    for name in ("warm", "prod/db"):
        with pytest.raises(CacheClosedError, match="closed"):
            house.cache.get(name)
    gate.answer(answer(OSAKA))
    house.cache.close()
    assert house.regions.closed


def test_a_closed_cache_has_no_thread_left() -> None:
    house = House()
    with house.cache:
        house.cache.get("prod/db")
    for thread in house.runtime.threads:
        thread.join(PATIENCE)
    assert [thread.is_alive() for thread in house.runtime.threads] == [False]


def test_a_dropped_cache_is_not_kept_by_its_threads() -> None:
    house = House()
    house.regions.hold(OSAKA)
    reader = InThread(lambda: house.cache.get("prod/db", timeout=0.5))
    gate = house.regions.gate()
    house.runtime.until_waiting(1)
    house.runtime.advance(0.25)
    assert reader.result().region == TOKYO
    engine = weakref.ref(house.cache._engine)
    del reader
    with pytest.warns(ResourceWarning, match="dropped without close"):
        house.drop()
    gc.collect()  # the warning that was caught held the cache
    assert engine() is None
    gate.answer(answer(OSAKA))


def test_an_interrupted_reader_leaves_no_trace() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    house.runtime.wait = interrupted  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt):
        house.cache.get("prod/db")
    (flight,) = house.cache._engine._loads.open
    assert flight.waiters() == ()
    house.regions.gate().answer(answer(OSAKA))
    house.until(lambda: house.cache.stats().entries == 1)


def test_a_cache_says_what_it_is() -> None:
    assert repr(House().cache) == "<SecretCache regions=['ap-northeast-3', 'ap-northeast-1'] ttl=300 s>"
    assert isinstance(House().cache, SecretCache)


def _release(house: House) -> None:
    for gate in house.regions.gates:
        gate.answer(failure())
