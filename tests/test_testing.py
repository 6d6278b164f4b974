"""`secretcache.testing`: what applications test themselves with does what AWS and production do."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

import secretcache
from secretcache import (
    ConfigurationError,
    Secret,
    SecretAccessDeniedError,
    SecretNotFoundError,
    SecretUnavailableError,
)
from secretcache.testing import (
    AccountLockedError,
    ClockError,
    FakeDatabase,
    FakeSecretsManager,
    LoginRefusedError,
    ManualClock,
)
from support import InThread

OSAKA, TOKYO = "ap-northeast-3", "ap-northeast-1"
LOGIN = {"username": "app", "password": "one"}


@pytest.fixture
def manager() -> Iterator[FakeSecretsManager]:
    with FakeSecretsManager() as made:
        made.put("prod/db", LOGIN)
        yield made


def asked(manager: FakeSecretsManager) -> list[str]:
    return [call.region for call in manager.calls]


# The cache over it.


def test_neither_the_import_nor_a_healthy_read_loads_botocore() -> None:
    code = (
        "import sys; from secretcache.testing import FakeSecretsManager; import secretcache.testing._plugin\n"
        "m = FakeSecretsManager(); m.put('a', 'b'); assert m.cache().get('a').string == 'b'; m.close()\n"
        "print([name for name in sys.modules if name.startswith('boto')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout.strip() == "[]"


def test_every_public_name_is_there_and_in_order() -> None:
    names = secretcache.testing.__all__
    assert list(names) == sorted(names)
    assert all(getattr(secretcache.testing, name) and name in dir(secretcache.testing) for name in names)
    with pytest.raises(AttributeError, match="no attribute 'ManualClok'"):
        _ = secretcache.testing.ManualClok


@pytest.mark.parametrize(
    ("how", "took", "cause"),
    [
        ("refused", 0.0, "EndpointConnectionError"),
        ("reset", 0.0, "ConnectionClosedError"),
        ("unreachable", 0.5, "ConnectTimeoutError"),
        ("hang", 0.5, "ReadTimeoutError"),
        ("stuck", 0.5, "NoneType"),
        ("error", 0.0, "ClientError"),
        ("unavailable", 0.0, "ClientError"),
        ("throttled", 0.0, "ClientError"),
        ("garbage", 0.0, "NoneType"),
        ("denied", 0.0, "ClientError"),
        ("expired-credentials", 0.0, "ClientError"),
        ("unknown-key", 0.0, "ClientError"),
        ("not-enabled", 0.0, "ClientError"),
    ],
)
def test_a_region_that_fails_is_stepped_over_and_the_clock_tells_what_it_cost(
    manager: FakeSecretsManager, how: Any, took: float, cause: str
) -> None:
    manager.fail_region(OSAKA, how)
    cache, began = manager.cache(), manager.clock.now()
    assert cache.get("prod/db").region == TOKYO
    assert manager.clock.now() - began == pytest.approx(took)
    manager.fail_region(TOKYO, how)
    alone = manager.cache(regions=[TOKYO], timeout=3.0)
    with pytest.raises(secretcache.SecretCacheError) as caught:
        alone.get("prod/db")
    assert type(caught.value.__cause__).__name__ == cause
    assert TOKYO in str(caught.value)


def test_an_outage_lets_the_old_value_stand_in_and_the_cache_finds_the_region_back(manager: FakeSecretsManager) -> None:
    cache = manager.cache(regions=[OSAKA], ttl=100.0, max_stale=1000.0)
    assert cache.get("prod/db")["password"] == "one"
    manager.fail_region(OSAKA)
    manager.clock.advance(200)
    assert cache.get("prod/db").is_stale
    manager.heal()
    manager.clock.advance(60)
    assert not cache.get("prod/db").is_stale
    manager.fail_region(OSAKA)
    manager.clock.advance(1101)
    with pytest.raises(SecretUnavailableError):
        cache.get("prod/db")


def test_refresh_ahead_comes_at_80_percent_of_ttl_by_itself(manager: FakeSecretsManager) -> None:
    cache = manager.cache(ttl=100.0)
    cache.get("prod/db")
    manager.clock.advance(79.9)
    assert len(manager.calls) == 1
    manager.clock.advance(0.1)
    assert [call.at for call in manager.calls] == pytest.approx([1000.0, 1080.0])
    manager.rotate("prod/db")
    cache.get("prod/db")
    manager.clock.chance = 0.0
    manager.clock.advance(80)
    assert cache.get("prod/db")["password"] == "rotated-1"


def test_a_hook_has_been_called_when_the_clock_has_come_to_rest(manager: FakeSecretsManager) -> None:
    cache, seen = manager.cache(ttl=100.0), []
    cache.add_rotation_hook("prod/db", lambda event: seen.append(event.new["password"]))
    cache.get("prod/db")
    manager.rotate("prod/db", {**LOGIN, "password": "two"})
    manager.clock.advance(80)
    assert seen == ["two"]
    manager.rollback("prod/db")
    cache.refresh("prod/db")
    manager.clock.settle()
    assert seen == ["two", "one"]


def test_slow_counts_on_the_clock_and_times_ends_a_fault(manager: FakeSecretsManager) -> None:
    manager.fail_region(OSAKA, "slow", seconds=0.2)
    cache = manager.cache()
    assert cache.get("prod/db").region == OSAKA
    assert manager.clock.now() == pytest.approx(1000.2)
    manager.fail_region(OSAKA, "error", times=1)
    assert cache.refresh("prod/db").region == TOKYO
    assert cache.refresh("prod/db").region == OSAKA


def test_stuck_requests_are_counted_and_end_when_the_region_heals(manager: FakeSecretsManager) -> None:
    manager.fail_region(OSAKA, "stuck")
    cache = manager.cache()
    cache.get("prod/db")
    manager.clock.advance(3)
    assert cache.stats().regions[OSAKA].stuck_attempts == 1
    manager.heal(OSAKA)
    manager.clock.settle()
    assert cache.stats().regions[OSAKA].stuck_attempts == 0


def test_the_cache_is_given_no_longer_what_was_denied_or_deleted(manager: FakeSecretsManager) -> None:
    cache = manager.cache(ttl=0.0)
    manager.deny("prod/db", region=OSAKA)
    assert cache.get("prod/db").region == TOKYO
    manager.deny("prod/db")
    with pytest.raises(SecretAccessDeniedError):
        cache.get("prod/db")
    manager.allow("prod/db")
    cache.invalidate("prod/db")
    assert cache.get("prod/db").string
    manager.delete("prod/db")
    with pytest.raises(SecretNotFoundError, match="marked for deletion"):
        cache.get("prod/db")
    manager.restore("prod/db")
    cache.invalidate("prod/db")
    manager.delete("prod/db", region=OSAKA)
    assert cache.get("prod/db").region == TOKYO
    old = manager.arn("prod/db")
    manager.delete("prod/db", forever=True)
    manager.put("prod/db", "anew")
    assert manager.arn("prod/db") != old
    cache.invalidate("prod/db")
    assert cache.get("prod/db").string == "anew"


def test_a_replica_lags_and_catches_up(manager: FakeSecretsManager) -> None:
    manager.lag(OSAKA, 30)
    manager.rotate("prod/db", {**LOGIN, "password": "two"})
    osaka, tokyo = (manager.cache(regions=[region], ttl=0.0) for region in (OSAKA, TOKYO))
    assert (osaka.get("prod/db")["password"], tokyo.get("prod/db")["password"]) == ("one", "two")
    manager.clock.advance(30)
    assert osaka.get("prod/db")["password"] == "two"
    manager.lag(OSAKA, math.inf)
    manager.rotate("prod/db")
    manager.clock.advance(10_000)
    assert osaka.get("prod/db")["password"] == "two"
    manager.replicate("prod/db")
    assert osaka.get("prod/db")["password"] == "rotated-1"


def test_a_later_write_with_less_lag_is_not_undone_by_an_earlier_one(manager: FakeSecretsManager) -> None:
    cache = manager.cache(regions=[OSAKA], ttl=0.0)
    manager.lag(OSAKA, 100)
    manager.put("prod/db", "two")
    manager.lag(OSAKA, 0)
    manager.put("prod/db", "three")
    assert cache.get("prod/db").string == "three"
    manager.clock.advance(101)
    assert cache.get("prod/db").string == "three"


def test_a_secret_can_be_in_one_region_only_and_be_replicated_later(manager: FakeSecretsManager) -> None:
    manager.put("new", b"\x00\xff", regions=[])
    cache = manager.cache(regions=[OSAKA])
    with pytest.raises(SecretNotFoundError):
        cache.get("new")
    manager.replicate("new", OSAKA)
    cache.invalidate("new")
    assert cache.get("new").binary == b"\x00\xff"


def test_a_secret_is_found_by_the_arn_of_each_region_partial_and_full(manager: FakeSecretsManager) -> None:
    cache = manager.cache()
    full = manager.arn("prod/db", TOKYO)
    assert cache.get(full).region == OSAKA
    assert manager.calls[-1].secret_id == manager.arn("prod/db", OSAKA)
    assert cache.get(full[:-7]).arn == manager.arn("prod/db", OSAKA)
    other = manager.cache()
    for wrong in (full[:-6] + "AAAAAA", full.replace("123456789012", "999999999999")):
        with pytest.raises(SecretNotFoundError):
            other.get(wrong)


def test_what_is_recorded_names_regions_ids_and_stages_and_no_value(manager: FakeSecretsManager) -> None:
    manager.put("other", "s3cr3t")
    cache = manager.cache()
    cache.prefetch(["prod/db", "other"])
    cache.get("prod/db", version_id=manager.version_id("prod/db"))
    batch, single = manager.calls
    assert (batch.operation, batch.secret_ids) == ("BatchGetSecretValue", ("prod/db", "other"))
    assert (single.operation, single.version_id, single.client) == (
        "GetSecretValue",
        manager.version_id("prod/db"),
        False,
    )
    manager.forget_calls()
    assert not manager.calls
    shown = f"{manager!r} {manager.clock!r} {batch!r} {manager._service.secrets!r} {manager.rotate('prod/db')!r}"
    assert "s3cr3t" not in shown
    assert "password" not in shown


# Rotation and logins.


def test_a_rotation_goes_step_by_step(manager: FakeSecretsManager) -> None:
    cache, before = manager.cache(ttl=0.0), manager.version_id("prod/db")
    rotation = manager.rotate("prod/db", {**LOGIN, "password": "two"}, until="create")
    assert cache.get("prod/db", version_stage="AWSPENDING")["password"] == "two"
    assert cache.get("prod/db")["password"] == "one"
    assert rotation.set().test().step == "test"
    assert cache.get("prod/db")["password"] == "one"
    rotation.finish()
    assert cache.get("prod/db")["password"] == "two"
    assert cache.get("prod/db", version_stage="AWSPREVIOUS").version_id == before
    with pytest.raises(SecretNotFoundError):
        cache.get("prod/db", version_stage="AWSPENDING")
    with pytest.raises(ConfigurationError, match="'finish' was taken already"):
        rotation.finish()


def test_an_abandoned_rotation_stays_pending(manager: FakeSecretsManager) -> None:
    rotation = manager.rotate("prod/db", until="set")
    rotation.abandon()
    with pytest.raises(ConfigurationError, match="abandoned after 'set'"):
        rotation.finish()
    assert manager.version_id("prod/db", "AWSPENDING") == rotation.version_id
    assert manager.rotate("prod/db").version_id == manager.version_id("prod/db")


@pytest.mark.parametrize("until", ["set", "test", "finish"])
def test_connect_bridges_the_window_between_set_and_finish(manager: FakeSecretsManager, until: Any) -> None:
    database = FakeDatabase(manager, "prod/db", lock_after=5)
    cache = manager.cache()

    def log_in() -> int:
        return cache.connect("prod/db", database.log_in, is_auth_error=database.is_auth_error).login

    assert log_in() == 1
    manager.lag(OSAKA, 5)
    manager.rotate("prod/db", until=until)
    assert log_in() == 2
    assert (database.accepted, database.refused) == (2, 1)


def test_a_database_locks_the_account_and_an_administrator_unlocks_it(manager: FakeSecretsManager) -> None:
    database = FakeDatabase(manager, "prod/db", lock_after=2)
    for password in ("no", "neither"):
        with pytest.raises(LoginRefusedError) as caught:
            database.connect("app", password)
        assert password not in str(caught.value)
    assert database.locked
    with pytest.raises(AccountLockedError):
        database.connect("app", "one")
    database.unlock()
    with pytest.raises(LoginRefusedError):
        database.connect("somebody", "one")
    assert database.connect("app", "one").username == "app"


def test_a_bare_password_is_followed_too(manager: FakeSecretsManager) -> None:
    manager.put("bare", "pw1")
    database = FakeDatabase(manager, "bare")
    manager.rotate("bare", "pw2")
    assert database.connect("whoever", "pw2").login == 1


# The clock.


def test_the_clock_stands_still_until_it_is_moved_where_that_was_asked_for() -> None:
    clock = ManualClock(autojump=False)
    with FakeSecretsManager(clock=clock) as manager:
        manager.put("prod/db", LOGIN)
        manager.fail_region(OSAKA, "hang")
        reader = InThread(lambda: manager.cache().get("prod/db"))
        while not manager.calls:
            clock.settle()
        assert reader.running
        clock.advance(0.5)
        assert reader.result().region == TOKYO


def test_a_wait_that_nobody_can_end_is_an_error_that_says_so() -> None:
    with FakeSecretsManager(clock=ManualClock(autojump=False, patience=0.05)) as manager:
        manager.put("prod/db", LOGIN)
        manager.fail_region(OSAKA, "hang")
        with pytest.raises(ClockError, match=r"autojump=False.*advance\(\) from another thread"):
            manager.cache().get("prod/db")


def test_a_hook_that_waits_for_the_test_is_named() -> None:
    over = threading.Event()
    with FakeSecretsManager(clock=ManualClock(patience=0.05)) as manager:
        manager.put("prod/db", LOGIN)
        cache = manager.cache()
        cache.add_rotation_hook("prod/db", lambda _: over.wait(10))
        cache.get("prod/db")
        manager.rotate("prod/db")
        cache.refresh("prod/db")
        with pytest.raises(ClockError, match="secretcache-hook-prod/db"):
            manager.clock.settle()
        over.set()


def test_a_hook_that_moves_the_clock_is_refused(manager: FakeSecretsManager, caplog: pytest.LogCaptureFixture) -> None:
    cache = manager.cache()
    cache.add_rotation_hook("prod/db", lambda _: manager.clock.advance(1))
    cache.get("prod/db")
    manager.rotate("prod/db")
    cache.refresh("prod/db")
    manager.clock.settle()
    assert "advance() was called from within a hook" in caplog.text


def test_a_test_that_is_a_task_awaits_the_clock(manager: FakeSecretsManager) -> None:
    async def test() -> list[Secret]:
        seen: list[Secret] = []

        async def hook(event: Any) -> None:
            seen.append(event.new)

        cache = manager.cache(ttl=100.0)
        manager.fail_region(OSAKA, "hang")
        assert (await asyncio.gather(*(cache.aget("prod/db") for _ in range(10))))[0].region == TOKYO
        assert manager.clock.now() == pytest.approx(1000.5)
        cache.add_rotation_hook("prod/db", hook)
        manager.rotate("prod/db")
        await manager.clock.aadvance(100)
        with pytest.raises(ClockError, match=r"await clock.aadvance"):
            manager.clock.advance(1)
        with pytest.raises(ClockError, match=r"await clock.asettle"):
            manager.clock.settle()
        await manager.clock.asettle()
        return seen

    (new,) = asyncio.run(test())
    assert new["password"] == "rotated-1"


def test_tasks_that_wait_are_woken_by_a_clock_that_another_task_moves() -> None:
    async def test() -> str:
        with FakeSecretsManager(clock=ManualClock(autojump=False)) as manager:
            manager.put("prod/db", LOGIN)
            manager.fail_region(OSAKA, "hang")
            reading = asyncio.ensure_future(manager.cache(refresh="on_access").aget("prod/db"))
            await manager.clock.asettle()
            assert not reading.done()
            await manager.clock.aadvance(0.5)
            return (await reading).region

    assert asyncio.run(test()) == TOKYO


def test_many_threads_that_wait_share_a_request_and_none_is_left(manager: FakeSecretsManager) -> None:
    manager.fail_region(OSAKA, "hang")
    cache = manager.cache()
    readers = [InThread(lambda: cache.get("prod/db")) for _ in range(16)]
    assert {reader.result().region for reader in readers} == {TOKYO}
    assert len([call for call in manager.calls if call.region == TOKYO]) <= 2


# The client.


@pytest.fixture
def client(manager: FakeSecretsManager) -> Any:
    return manager.client()


def test_a_client_reads_and_writes_as_botos(manager: FakeSecretsManager, client: Any) -> None:
    told = client.get_secret_value(SecretId="prod/db")
    assert json.loads(told["SecretString"]) == LOGIN
    assert (told["ARN"], told["VersionStages"]) == (manager.arn("prod/db"), ["AWSCURRENT"])
    assert told["CreatedDate"].year == 2026
    put = client.put_secret_value(SecretId="prod/db", SecretBinary=b"\x00", VersionStages=["AWSPENDING"])
    assert client.get_secret_value(SecretId="prod/db", VersionStage="AWSPENDING")["SecretBinary"] == b"\x00"
    current = manager.version_id("prod/db")
    client.update_secret_version_stage(
        SecretId="prod/db", VersionStage="AWSCURRENT", MoveToVersionId=put["VersionId"], RemoveFromVersionId=current
    )
    assert manager.version_id("prod/db") == put["VersionId"]
    assert manager.version_id("prod/db", "AWSPREVIOUS") == current
    described = client.describe_secret(SecretId="prod/db")
    assert described["PrimaryRegion"] == TOKYO
    assert described["VersionIdsToStages"][current] == ["AWSPREVIOUS"]
    assert len(client.list_secret_version_ids(SecretId="prod/db")["Versions"]) == 2
    assert manager.calls[-1].client


def test_a_client_makes_replicates_deletes_and_lists(manager: FakeSecretsManager, client: Any) -> None:
    client.create_secret(Name="a", SecretString="1", AddReplicaRegions=[{"Region": OSAKA}])
    client.create_secret(Name="b", SecretString="2")
    osaka = cast("Any", manager.client(OSAKA))
    assert [one["Name"] for page in osaka.get_paginator("list_secrets").paginate() for one in page["SecretList"]] == [
        "prod/db",
        "a",
    ]
    client.replicate_secret_to_regions(SecretId="b", AddReplicaRegions=[{"Region": OSAKA}])
    batch = osaka.batch_get_secret_value(SecretIdList=["a", "b", "c"])
    assert [one["SecretString"] for one in batch["SecretValues"]] == ["1", "2"]
    assert [one["ErrorCode"] for one in batch["Errors"]] == ["ResourceNotFoundException"]
    client.remove_regions_from_replication(SecretId="b", RemoveReplicaRegions=[OSAKA])
    with pytest.raises(osaka.exceptions.ResourceNotFoundException):
        osaka.get_secret_value(SecretId="b")
    client.update_secret(SecretId="b", SecretString="3")
    client.delete_secret(SecretId="b")
    with pytest.raises(client.exceptions.InvalidRequestException):
        client.get_secret_value(SecretId="b")
    client.restore_secret(SecretId="b")
    assert client.get_secret_value(SecretId="b")["SecretString"] == "3"
    client.delete_secret(SecretId="b", ForceDeleteWithoutRecovery=True)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_secret(SecretId="b")
    with pytest.raises(client.exceptions.ResourceExistsException):
        client.create_secret(Name="a", SecretString="again")


def test_a_client_is_told_no_in_the_services_words(manager: FakeSecretsManager, client: Any) -> None:
    manager.deny("prod/db")
    with pytest.raises(ClientError) as denied:
        client.get_secret_value(SecretId="prod/db")
    assert denied.value.response["Error"]["Code"] == "AccessDeniedException"
    osaka = cast("Any", manager.client(OSAKA))
    with pytest.raises(osaka.exceptions.InvalidParameterException, match="primary"):
        osaka.put_secret_value(SecretId="prod/db", SecretString="x")
    manager.allow("prod/db")
    with pytest.raises(client.exceptions.InvalidRequestException, match="not associated"):
        client.get_secret_value(SecretId="prod/db", VersionStage="OTHER", VersionId=manager.version_id("prod/db"))
    with pytest.raises(ClientError, match="does not know RotateSecret"):
        client.rotate_secret(SecretId="prod/db")
    with pytest.raises(client.exceptions.InvalidParameterException, match="RemoveFromVersionId"):
        client.update_secret_version_stage(SecretId="prod/db", VersionStage="AWSCURRENT", MoveToVersionId="0" * 32)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.update_secret_version_stage(SecretId="prod/db", VersionStage="NEW", MoveToVersionId="0" * 32)


def test_a_clients_region_fails_as_a_network_does(manager: FakeSecretsManager, client: Any) -> None:
    manager.fail_region(TOKYO)
    with pytest.raises(EndpointConnectionError):
        client.get_secret_value(SecretId="prod/db")
    for how in ("hang", "stuck"):
        manager.fail_region(TOKYO, how)
        began = manager.clock.now()
        with pytest.raises(ReadTimeoutError):
            client.get_secret_value(SecretId="prod/db")
        assert manager.clock.now() - began == 60.0
    manager.fail_region(TOKYO, "unavailable")
    with pytest.raises(ClientError) as caught:
        client.get_secret_value(SecretId="prod/db")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_the_drop_in_client_stands_on_it(manager: FakeSecretsManager) -> None:
    client = secretcache.client(cache=manager.cache(primary_region=TOKYO))
    manager.lag(OSAKA, 60)
    client.put_secret_value(SecretId="prod/db", SecretString="written")
    assert client.get_secret_value(SecretId="prod/db")["SecretString"] == "written"
    manager.fail_region(TOKYO)
    assert client.get_secret_value(SecretId="prod/db")["SecretString"] == "written"
    client.close()


def test_a_session_is_of_secrets_manager_only(manager: FakeSecretsManager) -> None:
    with pytest.raises(NotImplementedError, match="service_name"):
        manager.session(TOKYO).client("s3")


# Misuse.


@pytest.mark.parametrize(
    ("argument", "misuse"),
    [
        ("regions", lambda m: FakeSecretsManager([])),
        ("primary_region", lambda m: FakeSecretsManager(primary_region="eu-west-1")),
        ("clock", lambda m: FakeSecretsManager(clock=cast(Any, 7))),
        ("account", lambda m: FakeSecretsManager(account="12")),
        ("autojump", lambda m: ManualClock(autojump=cast(Any, 1))),
        ("patience", lambda m: ManualClock(patience=0)),
        ("seconds", lambda m: m.clock.advance(-1)),
        ("regions", lambda m: m.cache(regions=["eu-west-1"])),
        ("ttl", lambda m: m.cache(ttl=-1)),
        ("region", lambda m: m.client("eu-west-1")),
        ("name", lambda m: m.put("arn:aws:x", "v")),
        ("value", lambda m: m.put("x", 7)),
        ("value", lambda m: m.put("x", {"a": {1}})),
        ("regions", lambda m: m.put("x", "v", regions=["eu-west-1"])),
        ("name", lambda m: m.rotate("nobody")),
        ("value", lambda m: m.rotate("plain")),
        ("until", lambda m: m.rotate("prod/db", until="done")),
        ("name", lambda m: m.rollback("prod/db")),
        ("region", lambda m: m.lag("eu-west-1", 1)),
        ("region", lambda m: m.lag(TOKYO, 1)),  # the primary
        ("seconds", lambda m: m.lag(OSAKA, -1)),
        ("regions", lambda m: m.replicate("prod/db", "eu-west-1")),
        ("region", lambda m: m.delete("prod/db", region=TOKYO)),
        ("how", lambda m: m.fail_region(OSAKA, "broken")),
        ("seconds", lambda m: m.fail_region(OSAKA, "slow")),
        ("seconds", lambda m: m.fail_region(OSAKA, "stuck", seconds=1)),
        ("times", lambda m: m.fail_region(OSAKA, times=0)),
        ("region", lambda m: m.heal("eu-west-1")),
        ("step", lambda m: m.rotate("prod/db", until="create").until("half")),
        ("secret_id", lambda m: FakeDatabase(m, "nobody")),
        ("lock_after", lambda m: FakeDatabase(m, "prod/db", lock_after=True)),
    ],
)
def test_misuse_is_refused_by_the_arguments_name(manager: FakeSecretsManager, argument: str, misuse: Any) -> None:
    manager.put("plain", "s3cr3t")
    with pytest.raises(ConfigurationError, match=rf"^{argument}\b") as caught:
        misuse(manager)
    assert "s3cr3t" not in str(caught.value)


def test_nothing_of_a_value_is_logged(manager: FakeSecretsManager, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "secretcache")
    cache = manager.cache(ttl=0.0)
    manager.put("prod/db", "s3cr3t")
    cache.get("prod/db")
    manager.fail_region(OSAKA)
    manager.rotate("prod/db", "s3cr3t-too")
    cache.get("prod/db")
    assert "s3cr3t" not in caplog.text


def test_the_drop_in_client_says_throttled_where_every_region_throttles(manager: FakeSecretsManager) -> None:
    client = secretcache.client(cache=manager.cache())
    for region in manager.regions:
        manager.fail_region(region, "throttled")
    with pytest.raises(ClientError) as caught:
        client.get_secret_value(SecretId="prod/db")
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"
    client.close()
