"""What one login has found out while AWSCURRENT does not log in, the others use: no read, no refusal, no wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import Any, cast

import pytest

from rotating import (
    CURRENT,
    PENDING,
    PREVIOUS,
    Database,
    FakeCache,
    WrongPasswordError,
    is_wrong_password,
    secret,
)
from secretcache import LoginNotTriedError, Secret, SecretCache, SecretFormatError
from secretcache._bridge import Bridge, Request
from secretcache._bridged import UNUSED_SECONDS, Bridged, Seeker
from secretcache._steps import Login, Step, Wait
from support import PATIENCE, InThread, ManualRuntime


@pytest.fixture
def cache() -> FakeCache:
    """A secret in the middle of a rotation: AWSCURRENT is v1, and the database takes v2, which is AWSPENDING."""
    cache = FakeCache("v1", AWSPREVIOUS="v0")
    cache.primary[PENDING] = "v2"
    return cache


def bridge(cache: FakeCache, version: str = "v2", **options: Any) -> Database:
    """A database that takes another version than AWSCURRENT, and one login that has found out which."""
    database = Database(version)
    cache.log_in(database.log_in, **options)
    database.seen.clear()
    database.refused = 0
    cache.reads.clear()
    return database


# What is remembered


def test_later_logins_begin_with_the_version_that_worked(cache: FakeCache) -> None:
    database = bridge(cache)
    for _ in range(50):
        assert cache.log_in(database.log_in) == "app in with v2"
    assert (database.seen, database.refused, cache.reads) == (["v2"] * 50, 0, [])
    assert cache.get("prod/db").version_id == "v1", "it never becomes what get() returns"


def test_each_login_that_bridges_is_told(cache: FakeCache) -> None:
    database = bridge(cache)
    cache.events.clear()
    cache.log_in(database.log_in)
    assert [(event.name, event.detail) for event in cache.events] == [("bridged", PENDING)]


def test_so_do_tasks(cache: FakeCache) -> None:
    database = bridge(cache)

    async def log_in(given: Secret) -> str:
        return database.log_in(given)

    async def main() -> list[str]:
        return await asyncio.gather(*(cache.alog_in(log_in) for _ in range(20)))

    assert asyncio.run(main()) == ["app in with v2"] * 20
    assert (database.refused, cache.reads) == (0, [])


def test_another_target_knows_nothing_of_it(cache: FakeCache) -> None:
    bridge(cache, target="one")
    other = Database("v1")
    assert cache.log_in(other.log_in, target="two") == "app in with v1"
    assert other.seen == ["v1"]


def test_once_current_has_moved_it_is_used_no_more(cache: FakeCache) -> None:
    database = bridge(cache)
    cache.moves_to("v3")
    database.version = "v3"
    assert cache.log_in(database.log_in) == "app in with v3"
    assert database.seen == ["v3"]


def test_where_current_moves_to_it_nothing_is_remembered_any_more(cache: FakeCache) -> None:
    database = bridge(cache)
    cache.moves_to("v2")
    cache.log_in(database.log_in)
    cache.moves_to("v1")
    database.version = "v1"
    assert cache.log_in(database.log_in) == "app in with v1"
    assert database.seen == ["v2", "v1"], "a rollback is no return to the bridge"


def test_a_login_that_waited_for_its_turn_while_current_moved_does_not_use_it(cache: FakeCache) -> None:
    database = bridge(cache)
    inside, go = threading.Event(), threading.Event()

    def hold(given: Secret) -> None:
        if len(database.seen) < 3:
            if len(database.seen) == 2:
                inside.set()
            assert go.wait(PATIENCE)

    database.before = hold
    holding = [InThread(lambda: cache.log_in(database.log_in)) for _ in range(2)]
    assert inside.wait(PATIENCE)
    waiting = InThread(lambda: cache.log_in(database.log_in))
    cache._runtime.until_waiting(1)
    cache.moves_to("v3")
    database.version = "v3"
    go.set()
    assert {one.result() for one in [*holding, waiting]} == {"app in with v3"}
    assert database.seen[2:].count("v2") == 0


def test_a_quarter_of_an_hour_without_a_login_ends_it(cache: FakeCache) -> None:
    database = bridge(cache)
    cache._runtime.advance(UNUSED_SECONDS - 1.0)
    cache.log_in(database.log_in)
    cache._runtime.advance(UNUSED_SECONDS - 1.0)
    cache.log_in(database.log_in)
    assert cache.reads == [], "each success counts anew"
    cache._runtime.advance(UNUSED_SECONDS)
    cache.log_in(database.log_in)
    assert cache.reads[0] == (CURRENT, "v1"), "what may have changed is asked for"


def test_a_cache_that_is_closed_remembers_nothing_not_even_of_a_login_under_way() -> None:
    bridged = Bridged(ManualRuntime())
    bridged.remember("app", secret("v2"), PENDING, "v1")
    bridged.clear(closed=True)
    bridged.remember("app", secret("v2"), PENDING, "v1")
    assert bridged.find("app", "v1") is None


def test_what_is_remembered_of_one_account_is_bounded() -> None:
    bridged = Bridged(ManualRuntime())
    for number in range(5000):
        bridged.remember(number, secret("v2"), PENDING, "v1")
    assert bridged.find(0, "v1") is None
    assert bridged.find(4999, "v1") is not None


def test_a_login_during_which_current_moves_is_no_bridge(cache: FakeCache) -> None:
    """A server that takes both passwords for a while: the new version is to be used, and was not refused."""
    database = Database("v1")
    database.before = lambda _: cache.moves_to("v9") if cache.held != "v9" else None
    assert cache.log_in(database.log_in) == "app in with v1"
    database.version = "v9"
    assert cache.log_in(database.log_in) == "app in with v9"
    assert database.seen == ["v1", "v9"]


# The look behind


def test_current_is_looked_at_meanwhile_spaced_and_by_one_login(cache: FakeCache) -> None:
    database = bridge(cache)
    for _ in range(10):
        cache.log_in(database.log_in)
    assert cache.looks == [], "it was read a moment ago"
    moments = []
    for second in range(120):
        cache._runtime.advance(1.0)
        before = len(cache.looks)
        for _ in range(10):
            cache.log_in(database.log_in)
        moments += [second] * (len(cache.looks) - before)
    spaces = [later - earlier for earlier, later in pairwise(moments)]
    assert set(cache.looks) == {"v1"}
    assert spaces == sorted(spaces), "longer and longer"
    assert 10 <= max(spaces) <= 15
    assert len(moments) <= 15


# A rotation that is given up, and the next one


def test_a_rotation_that_is_given_up_costs_one_refusal(cache: FakeCache) -> None:
    database = bridge(cache)
    database.version = "v1"
    for _ in range(20):
        assert cache.log_in(database.log_in) == "app in with v1"
    assert database.refused == 1
    assert database.seen == ["v2", *["v1"] * 20]
    assert cache.reads == [(CURRENT, "v1"), (PENDING, "v1")], "of one login: reads tell more cheaply than refusals"


def test_so_does_the_next_rotation_inside_the_first_one_s_window(cache: FakeCache) -> None:
    database = bridge(cache)
    cache.primary[PENDING] = database.version = "v3"
    for _ in range(20):
        assert cache.log_in(database.log_in) == "app in with v3"
    assert database.refused == 1
    assert database.seen == ["v2", *["v3"] * 20]
    assert cache.reads == [(CURRENT, "v1"), (PENDING, "v1")]


def test_a_rotation_that_is_retried_ten_minutes_later_costs_one_refusal_each_time(cache: FakeCache) -> None:
    database = bridge(cache)
    for version in ("v3", "v4", "v5"):
        cache._runtime.advance(600.0)
        cache.log_in(database.log_in)
        cache.primary[PENDING] = database.version = version
        for _ in range(5):
            assert cache.log_in(database.log_in) == f"app in with {version}"
    assert database.refused == 3


# Many at once


def together(cache: FakeCache, database: Database, threads: int, **options: Any) -> list[InThread]:
    barrier = threading.Barrier(threads)

    def log_in() -> str:
        barrier.wait(PATIENCE * 6)
        return cache.log_in(database.log_in, **options)

    return [InThread(log_in) for _ in range(threads)]


@pytest.mark.parametrize("max_refusals", [4, None])
def test_of_many_logins_one_searches_and_the_others_wait_for_it(cache: FakeCache, max_refusals: int | None) -> None:
    database = Database("v1", lockout=10_000)
    cache.log_in(database.log_in, max_refusals=max_refusals)
    database.version = "v2"
    threads = together(cache, database, 200, max_refusals=max_refusals)
    assert {one.result() for one in threads} == {"app in with v2"}
    assert cache.reads == [(CURRENT, "v1"), (PENDING, "v1")]
    assert cache._runtime.now() == 1000.0, "no login waited for a moment to come"
    assert database.refused <= (2 if max_refusals else 200)


def test_where_no_account_is_locked_logins_wait_for_nothing(cache: FakeCache) -> None:
    database, inside, go = Database("v1"), threading.Semaphore(0), threading.Event()

    def hold(_: Secret) -> None:
        inside.release()
        assert go.wait(PATIENCE)

    database.before = hold
    threads = [InThread(lambda: cache.log_in(database.log_in, max_refusals=None)) for _ in range(30)]
    assert all(inside.acquire(timeout=PATIENCE) for _ in threads), "the first login of a version does not go alone"
    go.set()
    assert {one.result() for one in threads} == {"app in with v1"}
    assert database.most_at_once == 30


def ended_as_time_goes_by(cache: FakeCache, threads: list[InThread]) -> None:
    """Each of them ends in an error. While all wait for a moment to come, it comes."""
    for one in threads:
        while not one.over.is_set():
            if cache._runtime.is_waited_for(one.over):
                cache._runtime.advance(1.0)
        with pytest.raises((WrongPasswordError, LoginNotTriedError)):
            one.result()


def test_after_a_refusal_they_go_one_at_a_time_there_too(cache: FakeCache) -> None:
    database = Database("none", lockout=10_000)
    threads = together(cache, database, 30, max_refusals=None, timeout=1.0)
    ended_as_time_goes_by(cache, threads)
    begun_together = database.most_at_once
    database.most_at_once = 0
    database.version = "v2"
    cache.moves_to("v2")
    assert cache.log_in(database.log_in, max_refusals=None) == "app in with v2"
    assert begun_together <= 30
    assert database.refused <= 30 + 2, "AWSPENDING and AWSPREVIOUS once each, whoever searches"


def searching(cache: FakeCache) -> Seeker:
    """Another login, which leads a search."""
    account = ("db", "5432", "app"), "prod/db"
    seeker = Seeker(account, cache._runtime.now() + 60.0, lambda: None)
    assert cache.bridged.look(seeker) is None
    assert seeker.leads
    return seeker


def in_vain(cache: FakeCache, seeker: Seeker) -> None:
    cache.bridged.in_vain(seeker)
    cache.bridged.end(seeker)


def test_a_login_waits_for_two_searches_of_others_at_most(cache: FakeCache) -> None:
    """The first may have begun before it was refused. The second has not, so it has looked for this login too."""
    database, runtime = Database("none"), cache._runtime
    request = Request.checked(
        "prod/db",
        database.log_in,
        is_auth_error=is_wrong_password,
        target=None,
        timeout=60.0,
        max_refusals=4,
        retry_refused_after=None,
        for_task=False,
    )
    call: Bridge[str] = Bridge(cast("SecretCache", cache), request, runtime, lambda: None)

    def carry_out(steps: Generator[Step[str], None, bool]) -> Iterator[float | bool]:
        """Carries each step out; yields until when it waits, and at the end whether the call is over."""
        try:
            while True:
                step = next(steps)
                with step:
                    if isinstance(step, Login):
                        database.log_in(step.secret)
                    elif isinstance(step, Wait):
                        look_at = step.room.first(step.waiter)
                        while look_at is not None:
                            yield look_at
                            look_at = step.room.look(step.waiter)
                        step.room.leave(step.waiter)
                    else:
                        assert step.stage is None, "it does not search by itself"
                        step.secret = cache.get("prod/db")
        except StopIteration as stop:
            yield stop.value

    first = searching(cache)
    assert next(carry_out(call.begin())) is False
    round_ = carry_out(call.round_())
    assert next(round_) == 1060.0, "it waits for the search that is under way"
    in_vain(cache, first)
    assert next(round_) == 1001.0, "the next one is not to follow at once"
    runtime.advance(1.0)
    second = searching(cache)
    assert next(round_) == 1060.0
    in_vain(cache, second)
    assert next(round_) is False
    assert database.seen == ["v1"]
    assert call.tried[-1] == "another login of this process searched, and found no version that works"


def test_a_search_that_has_found_a_version_is_followed_at_once_by_the_next(cache: FakeCache) -> None:
    bridged, account = cache.bridged, (("db", "5432", "app"), "prod/db")
    in_vain(cache, searching(cache))
    assert bridged.look(Seeker(account, 2000.0, lambda: None)) == 1001.0
    assert bridged.look(Seeker(account, 1000.5, lambda: None)) == 1000.5, "its own time is over first"
    bridged.remember(account, secret("v2"), PENDING, "v1")
    searching(cache)


def test_a_task_that_is_cancelled_in_its_search_leaves_it_to_the_next(cache: FakeCache) -> None:
    async def main() -> str:
        searching = asyncio.Event()
        database = Database("v2")

        async def log_in(given: Secret) -> str:
            return database.log_in(given)

        async def hang(given: Secret) -> str:
            if given.version_id != "v1":
                searching.set()
                await asyncio.Event().wait()
            return database.log_in(given)

        first = asyncio.ensure_future(cache.alog_in(hang))
        await searching.wait()
        second = asyncio.ensure_future(cache.alog_in(log_in))
        await asyncio.to_thread(cache._runtime.until_waiting, 1)
        assert not second.done()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert asyncio.run(main()) == "app in with v2"


def test_a_search_that_ends_wakes_every_login_that_waits_for_it() -> None:
    runtime = ManualRuntime()
    bridged, woken = Bridged(runtime), list[int]()
    leader = Seeker("app", 1010.0, lambda: woken.append(0))
    others = [Seeker("app", 1010.0, lambda n=n: woken.append(n)) for n in range(1, 6)]  # type: ignore[misc]
    assert bridged.look(leader) is None
    assert leader.leads
    assert [bridged.look(one) for one in others] == [1010.0] * 5
    bridged.leave(others[0])
    bridged.end(leader)
    assert woken == [2, 3, 4, 5]
    assert [bridged.look(one) for one in others[1:]] == [None] * 4
    assert not any(one.leads for one in others)
    runtime.advance(20.0)
    late = Seeker("app", 1010.0, lambda: None)
    assert bridged.look(late) is None
    assert late.leads, "nothing is under way: its own time is looked at by its own search"


# Versions that cannot be used


def text_only(version: str) -> Secret:
    plain = secret(version)
    fields = ("arn", "name", "version_id", "version_stages", "region", "created_date", "requested_at")
    given = {field: getattr(plain, field) for field in fields}
    return Secret("hush, no JSON", **given, lifetime=plain._lifetime)


def garble(cache: FakeCache, *versions: str) -> None:
    """These versions are text that is no JSON."""
    real = cache._secret
    cache._secret = lambda version: text_only(version) if version in versions else real(version)  # type: ignore[method-assign]


def test_a_malformed_current_version_is_passed_over_for_the_previous_one(cache: FakeCache) -> None:
    del cache.primary[PENDING]
    garble(cache, "v1")
    database = Database("v0")
    for _ in range(3):
        assert cache.log_in(database.log_in) == "app in with v0"
    assert database.seen.count("v1") == 2, "the caller's function is asked, and the server is not"
    assert database.refused == 0
    told = [event for event in cache.events if event.name == "unusable"]
    assert {(event.outcome, event.secret_id) for event in told} == {("v1", "prod/db")}
    assert "AWSCURRENT cannot be used: secret 'prod/db' is text but not JSON" in told[0].detail
    assert not any("hush" in f"{event}" for event in cache.events)


def test_a_malformed_pending_version_is_passed_over(cache: FakeCache) -> None:
    garble(cache, "v2")
    database = Database("v0")
    assert cache.log_in(database.log_in) == "app in with v0"
    assert database.refused == 1, "v1 alone"


def test_a_missing_key_is_such_a_version_too(cache: FakeCache) -> None:
    del cache.primary[PENDING]
    cache.fields["v1"] = {"password": None}
    assert cache.log_in(Database("v0").log_in) == "app in with v0"


def test_where_no_version_can_be_used_the_error_comes_at_once(cache: FakeCache) -> None:
    garble(cache, "v0", "v1", "v2")
    with pytest.raises(SecretFormatError, match="text but not JSON") as error:
        cache.log_in(Database("v1").log_in)
    assert cache._runtime.now() == 1000.0, "waiting would not mend it"
    story = error.value.secretcache_tried  # type: ignore[attr-defined]
    assert [part.split(":")[0] for part in story.split("; ")][1:] == [
        "AWSCURRENT v1",
        "AWSPENDING v2",
        "AWSPREVIOUS v0",
    ]
    assert "hush" not in story


def test_a_refusal_says_more_than_a_version_that_cannot_be_used(cache: FakeCache) -> None:
    garble(cache, "v2")
    logging_in = InThread(lambda: cache.log_in(Database("none").log_in, timeout=1.0))
    with pytest.raises(WrongPasswordError) as error:
        logging_in.result()
    assert f"{PENDING} v2: cannot be used" in error.value.secretcache_tried  # type: ignore[attr-defined]


def test_a_key_that_is_missing_is_a_key_error_and_a_format_error() -> None:
    with pytest.raises(KeyError) as error:
        secret("v1")["pasword"]
    assert isinstance(error.value, SecretFormatError)
    assert str(error.value) == "secret 'prod/db' has no key 'pasword'"
    assert f"{PREVIOUS}" not in str(error.value)
