"""connect and aconnect: a login outlives the window in which AWSCURRENT is wrong, and locks no account."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from functools import partial
from typing import Any

import pytest

from rotating import (
    CURRENT,
    PENDING,
    PREVIOUS,
    Database,
    FakeCache,
    LockedError,
    WrongPasswordError,
    is_wrong_password,
    secret,
)
from secretcache import CacheClosedError, ConfigurationError, LoginNotTriedError, Secret, SecretCache
from secretcache._transport import Call, Failure, Fault, Reply
from support import OSAKA, PATIENCE, TOKYO, House, InThread, ScriptedRegions, answer


@pytest.fixture
def cache() -> FakeCache:
    return FakeCache("v1", AWSPREVIOUS="v0")


def test_a_login_that_works_is_all_there_is(cache: FakeCache) -> None:
    database = Database("v1")
    assert cache.log_in(database.log_in) == "app in with v1"
    assert (database.seen, cache.reads, cache.events) == (["v1"], [], [])


# The window


def test_in_the_window_of_a_single_user_rotation_the_pending_version_logs_in(cache: FakeCache) -> None:
    cache.primary[PENDING] = "v2"
    database = Database("v2")
    assert cache.log_in(database.log_in) == "app in with v2"
    assert database.seen == ["v1", "v2"]
    assert cache.reads == [(CURRENT, "v1"), (PENDING, "v1")]
    assert [(event.name, event.secret_id, event.detail) for event in cache.events] == [("bridged", "prod/db", PENDING)]
    assert cache.get("prod/db").version_id == "v1", "a bridged value never becomes what get() returns"


def test_a_bridged_value_is_for_logins_only(cache: FakeCache) -> None:
    cache.primary[PENDING] = "v2"
    database = Database("v2")
    for _ in range(3):
        assert cache.log_in(database.log_in) == "app in with v2"
        assert cache.get("prod/db").version_id == "v1"
    assert database.seen == ["v1", "v2", "v2", "v2"], "a refused version is not tried again"


def test_after_the_window_the_current_version_is_read_anew(cache: FakeCache) -> None:
    cache.primary |= {CURRENT: "v2", PREVIOUS: "v1"}
    database = Database("v2")
    assert cache.log_in(database.log_in) == "app in with v2"
    assert cache.reads == [(CURRENT, "v1")]
    assert cache.events == []


def test_a_window_that_closes_while_the_pending_version_is_waited_for_is_noticed(cache: FakeCache) -> None:
    """Reads are spaced: AWSPENDING had become AWSCURRENT, and was gone, by the time it was asked for."""
    cache.primary[PENDING] = "v2"

    def finish(stage: str) -> None:
        if stage == PENDING:
            cache._runtime.advance(1.0)
            cache.primary = {CURRENT: "v2", PREVIOUS: "v1"}

    cache.on_read = finish
    logging_in = InThread(lambda: cache.log_in(Database("v2").log_in))
    assert logging_in.result() == "app in with v2", "without a pause"
    assert [stage for stage, _ in cache.reads] == [CURRENT, PENDING, PREVIOUS, CURRENT]


def test_with_alternating_users_the_other_user_logs_in(cache: FakeCache) -> None:
    cache.fields["v2"] = {"username": "app_clone"}
    cache.primary |= {CURRENT: "v2", PREVIOUS: "v1"}
    database = Database("v2")
    assert cache.log_in(database.log_in) == "app_clone in with v2"


def test_in_a_half_failed_rotation_the_previous_version_logs_in(cache: FakeCache) -> None:
    cache.primary[PENDING] = "v2"
    database = Database("v0")
    assert cache.log_in(database.log_in) == "app in with v0"
    assert database.seen == ["v1", "v2", "v0"]
    assert [stage for stage, _ in cache.reads] == [CURRENT, PENDING, PREVIOUS]
    assert cache.events[-1].detail == PREVIOUS


def test_a_half_failed_rotation_that_is_mended_is_noticed(cache: FakeCache) -> None:
    """AWSCURRENT moved first and the password later: v2 was refused once, and AWSCURRENT will not move again."""
    cache.primary |= {PREVIOUS: "v1"}
    cache.moves_to("v2")
    database = Database("v1")
    assert cache.log_in(database.log_in) == "app in with v1"
    database.version = "v2"
    assert cache.log_in(database.log_in) == "app in with v2", "at once: the bridge has shown that the password changed"
    assert database.seen == ["v2", "v1", "v1", "v2"]


def test_a_lagging_replica_is_passed_over(cache: FakeCache) -> None:
    cache.primary = {CURRENT: "v2", PREVIOUS: "v1"}
    assert cache.replica[CURRENT] == "v1"
    assert cache.log_in(Database("v2").log_in) == "app in with v2"


def test_with_the_primary_down_the_replica_may_hold_the_pending_version(cache: FakeCache) -> None:
    cache.primary_up = False
    cache.replica[PENDING] = "v2"
    assert cache.log_in(Database("v2").log_in) == "app in with v2"
    assert cache.events[-1].region == OSAKA


def test_a_primary_that_comes_back_within_the_time_is_enough(cache: FakeCache) -> None:
    cache.primary |= {PENDING: "v2"}
    cache.primary_up = False
    logging_in = InThread(lambda: cache.log_in(Database("v2").log_in))
    for pause in (1.5, 2.5):
        cache._runtime.until_waiting_for(pause)
        cache.primary_up = pause == 2.5
        cache._runtime.advance(pause)
    assert logging_in.result() == "app in with v2"


def test_a_managed_secret_has_no_host(cache: FakeCache) -> None:
    for version in ("v1", "v2"):
        cache.fields[version] = {"host": None, "port": None}
    cache.primary[PENDING] = "v2"
    database = Database("v2")
    assert [cache.log_in(database.log_in) for _ in range(2)] == ["app in with v2"] * 2
    assert database.seen == ["v1", "v2", "v2"]


def test_a_secret_that_is_no_json_has_a_target_too(cache: FakeCache) -> None:
    plain = Secret(
        "hush",
        **{
            field: getattr(secret("v1"), field)
            for field in ("arn", "name", "version_id", "version_stages", "region", "created_date", "requested_at")
        },
        lifetime=secret("v1")._lifetime,
    )
    cache.get = lambda *_, **__: plain  # type: ignore[method-assign]
    assert cache.log_in(lambda given: given.string) == "hush"


# The limits


def refuse(_: Secret) -> str:
    raise WrongPasswordError("no")


async def arefuse(_: Secret) -> str:
    raise WrongPasswordError("no")


def test_when_nothing_works_the_last_login_s_own_error_is_raised_in_time(cache: FakeCache) -> None:
    cache.primary[PENDING] = "v2"
    raised: list[WrongPasswordError] = []

    def log_in(given: Secret) -> str:
        raised.append(WrongPasswordError(given.version_id))
        raise raised[-1]

    logging_in = InThread(lambda: cache.log_in(log_in, timeout=10.0))
    for pause in (1.5, 2.5, 4.5):
        cache._runtime.until_waiting_for(pause)
        cache._runtime.advance(pause)
    with pytest.raises(WrongPasswordError) as error:
        logging_in.result()
    assert error.value is raised[-1]
    assert error.value.args == ("v0",)
    assert len(raised) == 3, "each version once"
    assert cache._runtime.now() == pytest.approx(1008.5)
    assert [stage for stage, _ in cache.reads] == [CURRENT, PENDING, PREVIOUS] * 4


def test_the_error_says_what_was_tried_and_no_value(cache: FakeCache) -> None:
    with pytest.raises(WrongPasswordError) as error:
        cache.log_in(refuse, timeout=1.0)
    story = error.value.secretcache_tried  # type: ignore[attr-defined]
    assert story == (
        "secretcache: connect('prod/db'): no version logged in: AWSCURRENT v1: refused; "
        "AWSCURRENT v1: refused before, and AWSCURRENT has not moved to it since; "
        "AWSPENDING: SecretNotFoundError; AWSPREVIOUS v0: refused"
    )
    if sys.version_info >= (3, 11):
        assert error.value.__notes__ == [story]
    assert error.value.__cause__ is None
    assert error.value.__context__ is None
    assert "pw-" not in story


def test_an_error_that_takes_no_attributes_is_raised_as_it_is(cache: FakeCache) -> None:
    class BareError(Exception):
        __slots__ = ()

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    def log_in(_: Secret) -> str:
        raise BareError

    with pytest.raises(BareError):
        cache.log_in(log_in, is_auth_error=lambda _: True, timeout=1.0)


def test_a_call_that_cannot_even_try_says_so(cache: FakeCache) -> None:
    for _ in range(2):
        cache._runtime.advance(1.0)  # a search in vain is not followed at once by the next one
        with pytest.raises((WrongPasswordError, LoginNotTriedError)) as error:
            cache.log_in(refuse, timeout=1.0)
    assert isinstance(error.value, LoginNotTriedError)
    assert error.value.tried[0] == "AWSCURRENT v1: refused before, and AWSCURRENT has not moved to it since"
    assert all(one in str(error.value) for one in error.value.tried)


def test_after_four_refusals_the_call_ends_with_the_last_error(cache: FakeCache) -> None:
    versions = iter(f"n{number}" for number in range(100))
    cache.on_read = lambda stage: cache.primary.update({stage: next(versions)})
    database = Database("none", lockout=5)
    with pytest.raises(WrongPasswordError):
        cache.log_in(database.log_in)
    assert database.refused == 4
    for _ in range(10):
        with pytest.raises(LoginNotTriedError, match="as many logins as it may"):
            cache.log_in(database.log_in)
    assert database.refused == 4
    cache._runtime.advance(30.0)
    database.version = "v9"
    cache.on_read = lambda _: cache.moves_to("v9")
    assert cache.log_in(database.log_in) == "app in with v9"


def test_the_number_of_refusals_can_be_set(cache: FakeCache) -> None:
    cache.primary[PENDING] = "v2"
    database = Database("v2")
    with pytest.raises(WrongPasswordError):
        cache.log_in(database.log_in, max_refusals=1)
    assert database.seen == ["v1"]


def test_a_refused_version_is_tried_again_when_current_has_moved_to_it(cache: FakeCache) -> None:
    cache.primary[PENDING] = "v2"
    database = Database("none", lockout=100)
    with pytest.raises(WrongPasswordError):
        cache.log_in(database.log_in, timeout=1.0)
    assert database.seen == ["v1", "v2", "v0"]
    database.version = "v2"
    cache.moves_to("v2")
    assert cache.log_in(database.log_in) == "app in with v2"
    assert cache.log_in(database.log_in) == "app in with v2"


def test_a_refused_version_can_be_given_a_time_after_which_it_is_tried_again(cache: FakeCache) -> None:
    database = Database("none")
    with pytest.raises(WrongPasswordError):
        cache.log_in(database.log_in, timeout=1.0)
    database.version = "v1"
    cache._runtime.advance(3600.0)
    with pytest.raises(LoginNotTriedError):
        cache.log_in(database.log_in, timeout=1.0)
    assert cache.log_in(database.log_in, timeout=1.0, retry_refused_after=60.0) == "app in with v1"


def test_a_slow_login_that_is_refused_past_the_time_ends_the_call(cache: FakeCache) -> None:
    cache.primary[PENDING] = "v2"
    database = Database("v2")
    database.before = lambda _: cache._runtime.advance(11.0)
    with pytest.raises(WrongPasswordError):
        cache.log_in(database.log_in)
    assert database.seen == ["v1"]
    assert cache.reads == []


def test_a_slow_login_that_works_past_the_time_is_returned(cache: FakeCache) -> None:
    database = Database("v1")
    database.before = lambda _: cache._runtime.advance(11.0)
    assert cache.log_in(database.log_in) == "app in with v1"


def test_a_read_leaves_time_for_what_comes_after_it(cache: FakeCache) -> None:
    cache.on_read = lambda _: cache._runtime.advance(cache.seconds[-1])
    with pytest.raises(WrongPasswordError):
        cache.log_in(refuse)
    assert cache.seconds[:3] == [5.0, 2.5, 1.25]


# What is not ours


def test_other_errors_of_the_login_pass_through_at_once_and_unchanged(cache: FakeCache) -> None:
    error = ConnectionRefusedError("down")

    def log_in(_: Secret) -> str:
        raise error

    with pytest.raises(ConnectionRefusedError) as raised:
        cache.log_in(log_in)
    assert raised.value is error
    assert (error.__cause__, error.__context__, getattr(error, "__notes__", None)) == (None, None, None)
    assert cache.reads == []
    assert cache.log_in(Database("v1").log_in) == "app in with v1", "its turn was given back"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, StopIteration, GeneratorExit, SystemExit])
def test_so_does_what_is_no_error(cache: FakeCache, kind: type[BaseException]) -> None:
    def log_in(_: Secret) -> str:
        raise kind

    with pytest.raises(kind):
        cache.log_in(log_in)
    assert cache.log_in(Database("v1").log_in) == "app in with v1"


def test_an_error_in_the_middle_of_a_bridge_passes_through_too(cache: FakeCache) -> None:
    cache.primary[PENDING] = "v2"

    def log_in(given: Secret) -> str:
        if given.version_id == "v2":
            raise ConnectionRefusedError
        raise WrongPasswordError

    with pytest.raises(ConnectionRefusedError):
        cache.log_in(log_in)


def test_an_is_auth_error_that_raises_ends_the_call(cache: FakeCache) -> None:
    def judge(_: Exception) -> bool:
        raise TypeError("cannot tell")

    with pytest.raises(TypeError, match="cannot tell") as error:
        cache.log_in(refuse, is_auth_error=judge)
    assert isinstance(error.value.__context__, WrongPasswordError)
    assert cache.log_in(Database("v1").log_in) == "app in with v1", "its turn was given back"


def test_a_cache_that_is_closed_meanwhile_ends_the_call(cache: FakeCache) -> None:
    def close(_: str) -> None:
        raise CacheClosedError("closed")

    cache.on_read = close
    with pytest.raises(CacheClosedError):
        cache.log_in(refuse)


async def acoroutine(_: Any) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"max_refusals": 0}, "max_refusals must be a whole number of 1 or more, or None"),
        ({"max_refusals": True}, "max_refusals"),
        ({"max_refusals": 2.5}, "max_refusals"),
        ({"retry_refused_after": -1}, "retry_refused_after"),
        ({"is_auth_error": None}, "is_auth_error"),
        ({"is_auth_error": acoroutine}, "is_auth_error"),
        (
            {"is_auth_error": PermissionError},
            "got the class PermissionError: pass lambda error: isinstance",
        ),
        ({"target": ["db", 5432]}, "target"),
        ({"login": "app"}, "connect"),
        ({"login": acoroutine}, "use aconnect"),
    ],
)
def test_bad_arguments_are_refused_by_name(cache: FakeCache, options: dict[str, Any], named: str) -> None:
    given = {"login": Database().log_in, **options}
    with pytest.raises(ConfigurationError, match=named):
        cache.log_in(**given)


# Many at once


def all_at_once(cache: FakeCache, database: Database, threads: int) -> list[InThread]:
    barrier = threading.Barrier(threads)

    def log_in() -> str:
        barrier.wait(PATIENCE * 6)
        return cache.log_in(database.log_in)

    return [InThread(log_in) for _ in range(threads)]


def test_a_thousand_threads_that_fail_at_once_cost_two_refusals_at_most(cache: FakeCache) -> None:
    database = Database("v1")
    cache.log_in(database.log_in)  # v1 has worked here: two of them may go at once
    cache.primary[PENDING] = database.version = "v2"
    assert {one.result() for one in all_at_once(cache, database, 1000)} == {"app in with v2"}
    assert 1 <= database.refused <= 2
    assert database.most_at_once <= 2
    assert len(database.seen) == 1 + 1000 + database.refused


def test_a_thousand_threads_with_nothing_that_works_lock_no_account(cache: FakeCache) -> None:
    cache.primary[PENDING] = "v2"
    database = Database("v1", lockout=5)
    cache.log_in(database.log_in)
    database.version = "none"
    threads = all_at_once(cache, database, 200)
    refused: list[BaseException] = []
    cache._runtime.until_waiting(200)
    for one in threads:
        while not one.over.is_set():
            if cache._runtime.is_waited_for(one.over):
                cache._runtime.advance(1.0)
        with pytest.raises((WrongPasswordError, LoginNotTriedError)) as error:
            one.result()
        refused.append(error.value)
    assert database.refused <= 4
    assert not any(isinstance(one, LockedError) for one in refused)


def test_who_waits_for_a_turn_waits_no_longer_than_its_own_time(cache: FakeCache) -> None:
    database, inside, go = Database("v1"), threading.Event(), threading.Event()

    def hold(_: Secret) -> None:
        inside.set()
        assert go.wait(PATIENCE)

    database.before = hold
    first = InThread(lambda: cache.log_in(database.log_in))
    assert inside.wait(PATIENCE)
    second = InThread(lambda: cache.log_in(database.log_in, timeout=3.0))
    cache._runtime.until_waiting_for(3.0)
    cache._runtime.advance(3.0)
    with pytest.raises(LoginNotTriedError, match="the time was over"):
        second.result()
    go.set()
    assert first.result() == "app in with v1"


def test_a_stuck_target_holds_up_no_other(cache: FakeCache) -> None:
    database, inside, go = Database("v1"), threading.Event(), threading.Event()

    def hold(_: Secret) -> str:
        inside.set()
        assert go.wait(PATIENCE)
        return "held"

    held = InThread(lambda: cache.log_in(hold, target="one"))
    assert inside.wait(PATIENCE)
    assert cache.log_in(database.log_in, target="two") == "app in with v1"
    go.set()
    assert held.result() == "held"


# Over the real cache


def stages(regions: dict[str, dict[str, str]]) -> ScriptedRegions:
    """Regions that show these stages' versions; v1 has the password pw-v1."""

    def reply(call: Call) -> Reply:
        stage = call.query.stage or CURRENT
        version = regions[call.region].get(stage)
        if version is None:
            return Failure(Fault.MISSING, "ResourceNotFoundException", "no such stage", answered=True)
        text = secret(version).string
        return answer(call.region, text, VersionId=version.ljust(36, "-"), VersionStages=[stage])

    scripted = ScriptedRegions()
    scripted.replies = dict.fromkeys(regions, reply)
    return scripted


def test_the_pending_version_is_read_afresh_whatever_was_read_before() -> None:
    regions = {OSAKA: {CURRENT: "v1", PENDING: "v2"}, TOKYO: {CURRENT: "v1", PENDING: "v2"}}
    with SecretCache([OSAKA, TOKYO], refresh="on_access", _transport=stages(regions)) as cache:
        assert cache.get("prod/db", version_stage=PENDING).version_id.startswith("v2")
        regions[OSAKA][PENDING] = regions[TOKYO][PENDING] = "v3"
        # A target of its own: what one refuses is remembered for the whole process.
        log_in = partial(cache.connect, "prod/db", is_auth_error=is_wrong_password, target="afresh")
        assert log_in(Database("v3").log_in).startswith("app in")


def test_a_pending_version_of_the_past_that_a_replica_shows_hides_the_primarys_from_no_login() -> None:
    """The primary is not known, the replica lags, and the target has refused what it shows."""
    regions = {OSAKA: {CURRENT: "v1"}, TOKYO: {CURRENT: "v1"}}
    database = Database("v1")
    with SecretCache([OSAKA, TOKYO], refresh="on_access", _transport=stages(regions)) as cache:
        log_in = partial(cache.connect, "prod/db", database.log_in, is_auth_error=is_wrong_password, target="past")
        regions[OSAKA][PENDING] = regions[TOKYO][PENDING] = database.version = "v2"
        assert log_in().endswith("v2".ljust(36, "-"))
        regions[TOKYO][PENDING] = database.version = "v3"
        assert log_in().endswith("v3".ljust(36, "-"))
        regions[TOKYO][PENDING] = database.version = "v4"
        for _ in range(5):
            assert log_in().endswith("v4".ljust(36, "-"))
    assert [seen[:2] for seen in database.seen] == ["v1", "v2", "v2", "v3", "v3", *["v4"] * 5]


def test_where_the_newest_version_was_lost_with_its_region_what_the_other_one_shows_logs_in() -> None:
    """Tokyo is lost before its last rotation was replicated, and the database was restored in Osaka."""
    regions = {OSAKA: {CURRENT: "v1"}, TOKYO: {CURRENT: "v2", PREVIOUS: "v1"}}
    scripted, database = stages(regions), Database("v2")
    with SecretCache([TOKYO, OSAKA], refresh="on_access", _transport=scripted) as cache:
        log_in = partial(cache.connect, "prod/db", database.log_in, is_auth_error=is_wrong_password, target="lost")
        assert log_in() == f"app in with {'v2'.ljust(36, '-')}"
        lost = Failure(Fault.REGION, "ConnectTimeoutError", "lost")
        scripted.replies[TOKYO] = lambda _: lost
        database.version = "v1"
        for _ in range(10):
            assert log_in() == f"app in with {'v1'.ljust(36, '-')}"
        assert cache.get("prod/db").version_id.startswith("v2"), "a reader is not taken back so soon"
    assert database.refused == 1
    assert [seen[:2] for seen in database.seen] == ["v2", "v2", *["v1"] * 10]


def test_a_thousand_threads_that_fail_at_once_cost_a_few_reads() -> None:
    regions = {OSAKA: {CURRENT: "v1"}, TOKYO: {CURRENT: "v1"}}
    scripted, database, barrier = stages(regions), Database("v1"), threading.Barrier(1000)
    begun_at = time.monotonic()
    with SecretCache([OSAKA, TOKYO], refresh="on_access", primary_region=TOKYO, _transport=scripted) as cache:
        log_in = partial(
            cache.connect,
            "prod/db",
            database.log_in,
            is_auth_error=is_wrong_password,
            target="a thousand",
            timeout=PATIENCE * 6,
        )

        def log_in_together() -> str:
            barrier.wait(PATIENCE * 6)
            return log_in()

        log_in()
        regions[TOKYO][PENDING], database.version = "v2", "v2"
        threads = [threading.Thread(target=log_in_together, daemon=True) for _ in range(1000)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(PATIENCE * 6)
    assert len(database.seen) == 1 + 1000 + database.refused
    assert database.refused <= 2
    # Forced reads of a stage are shared and a second apart, of both regions where one shows the version that failed.
    seconds = time.monotonic() - begun_at
    assert len(scripted.calls) <= 2 * 2 * (seconds + 2)


# Tasks


def test_a_task_bridges_as_a_thread_does(cache: FakeCache) -> None:
    cache.primary[PENDING] = "v2"
    database = Database("v2")

    async def log_in(given: Secret) -> str:
        await asyncio.sleep(0)
        return database.log_in(given)

    assert asyncio.run(cache.alog_in(log_in)) == "app in with v2"
    assert database.seen == ["v1", "v2"]


def test_a_task_that_fails_raises_the_login_s_own_error(cache: FakeCache) -> None:
    async def main() -> None:
        logging_in = asyncio.ensure_future(cache.alog_in(arefuse, timeout=3.0))
        await asyncio.to_thread(cache._runtime.until_waiting, 1)
        cache._runtime.advance(1.5)
        with pytest.raises(WrongPasswordError):
            await logging_in

    asyncio.run(main())


def test_a_task_cancelled_in_its_login_gives_its_turn_back(cache: FakeCache) -> None:
    async def main() -> str:
        inside = asyncio.Event()

        async def hang(_: Secret) -> str:
            inside.set()
            await asyncio.Event().wait()
            return "never"

        async def log_in(given: Secret) -> str:
            return Database("v1").log_in(given)

        hanging = asyncio.ensure_future(cache.alog_in(hang))
        await inside.wait()
        waiting = asyncio.ensure_future(cache.alog_in(log_in))
        await asyncio.to_thread(cache._runtime.until_waiting, 1)
        assert not waiting.done()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        return await waiting

    assert asyncio.run(main()) == "app in with v1"


def test_a_task_cancelled_while_it_waits_takes_no_turn_along(cache: FakeCache) -> None:
    async def main() -> list[str]:
        inside, go = asyncio.Event(), asyncio.Event()
        database = Database("v1")

        async def hold(given: Secret) -> str:
            inside.set()
            await go.wait()
            return database.log_in(given)

        first = asyncio.ensure_future(cache.alog_in(hold))
        await inside.wait()
        others = [asyncio.ensure_future(cache.alog_in(hold)) for _ in range(5)]
        await asyncio.to_thread(cache._runtime.until_waiting, 5)
        # Woken and cancelled in the same turn of the loop: the wake-up must not be lost with it.
        go.set()
        await first
        for one in others[:3]:
            one.cancel()
        gathered = await asyncio.gather(*others, return_exceptions=True)
        return [one for one in gathered if isinstance(one, str)]

    assert asyncio.run(main()) == ["app in with v1"] * 2


def test_is_wrong_password_tells_a_refusal_from_the_rest() -> None:
    assert is_wrong_password(WrongPasswordError())
    assert not is_wrong_password(LockedError())


@pytest.mark.usefixtures("close_houses")
def test_a_plain_function_is_told_to_aconnect_that_it_is_one() -> None:
    log_in: Any = lambda _: "session"  # noqa: E731
    with pytest.raises(ConfigurationError, match="it returned str: use connect for a plain function"):
        asyncio.run(House().cache.aconnect("prod/db", log_in, is_auth_error=is_wrong_password))
