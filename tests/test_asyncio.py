"""The same entries and flights, waited for by tasks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from secretcache import CacheClosedError, ConfigurationError, SecretNotFoundError, SecretUnavailableError
from secretcache._transport import Fault
from support import OSAKA, PATIENCE, TOKYO, House, InThread, answer, failure

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def run_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    import uvloop  # noqa: PLC0415

    return uvloop.run(main)


RUNNERS = [asyncio.run] if sys.platform == "win32" else [asyncio.run, run_uvloop]


@pytest.fixture(params=RUNNERS, ids=["asyncio", "uvloop"][: len(RUNNERS)])
def run(request: pytest.FixtureRequest) -> Run:
    runner: Run = request.param
    return runner


async def in_thread(call: Callable[[], Any]) -> Any:
    return await asyncio.wait_for(asyncio.to_thread(call), PATIENCE)


def test_a_hit_awaits_nothing() -> None:
    house = House()
    held = house.cache.get("prod/db")
    reading = house.cache.aget("prod/db")
    with pytest.raises(StopIteration) as returned:
        reading.send(None)
    assert returned.value.value is held
    stage = house.cache.get("prod/db", version_stage="AWSCURRENT")
    reading = house.cache.aget("prod/db", version_stage="AWSCURRENT")
    with pytest.raises(StopIteration) as returned:
        reading.send(None)
    assert returned.value.value is stage


def test_a_miss_leaves_the_loop_to_others(run: Run) -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)

    async def main() -> None:
        reading = asyncio.ensure_future(house.cache.aget("prod/db"))
        gate = await in_thread(house.regions.gate)
        assert not reading.done()
        gate.answer(answer(OSAKA))
        assert (await reading).string == "v1"

    run(main())


def test_100_tasks_and_8_threads_on_one_cold_secret_make_one_call(run: Run) -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    threads = [InThread(lambda: house.cache.get("prod/db")) for _ in range(8)]

    async def main() -> set[str]:
        tasks = [asyncio.ensure_future(house.cache.aget("prod/db")) for _ in range(100)]
        await in_thread(lambda: house.runtime.until_waiting(108))
        house.regions.gate().answer(answer(OSAKA))
        return {secret.string for secret in await asyncio.gather(*tasks)}

    assert run(main()) == {"v1"}
    assert {thread.result().string for thread in threads} == {"v1"}
    assert len(house.regions.calls) == 1


def test_cancelling_a_task_harms_nobody(run: Run) -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)

    async def main() -> None:
        first = asyncio.ensure_future(house.cache.aget("prod/db"))
        other = asyncio.ensure_future(house.cache.aget("prod/db"))
        thread = InThread(lambda: house.cache.get("prod/db"))
        await in_thread(lambda: house.runtime.until_waiting(3))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        house.regions.gate().answer(answer(OSAKA))
        assert (await other).string == "v1"
        assert (await in_thread(thread.result)).string == "v1"

    run(main())
    assert len(house.regions.calls) == 1


def test_the_answer_to_a_cancelled_read_is_kept(run: Run) -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)

    async def main() -> None:
        only = asyncio.ensure_future(house.cache.aget("prod/db"))
        gate = await in_thread(house.regions.gate)
        only.cancel()
        await asyncio.gather(only, return_exceptions=True)
        gate.answer(answer(OSAKA))

    run(main())
    house.until(lambda: house.cache.stats().entries == 1)


@pytest.mark.parametrize("collected", [False, True])
def test_an_attempt_whose_only_reader_was_cancelled_is_judged_at_its_cap(run: Run, *, collected: bool) -> None:
    house = House(regions=[OSAKA], refresh="background")
    house.cache.get("prod/db")
    house.pass_time(1.0)  # the background has looked, and means to look again in minutes
    house.regions.hold(OSAKA)

    async def main() -> None:
        reading = house.cache.arefresh("prod/db")
        if collected:
            reading.send(None)
            await in_thread(house.regions.gate)
            reading.close()
            return
        only = asyncio.ensure_future(reading)
        await in_thread(house.regions.gate)
        only.cancel()
        await asyncio.gather(only, return_exceptions=True)

    run(main())
    house.rest()
    house.runtime.advance(2.5)
    house.rest()
    assert house.cache.stats().regions[OSAKA].stuck_attempts == 1


def test_a_loop_that_was_closed_meanwhile_harms_nobody(run: Run) -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)

    async def abandon() -> None:
        reading = house.cache.aget("prod/db")
        reading.send(None)  # begun, and never awaited again
        abandoned.append(reading)

    abandoned: list[Coroutine[Any, Any, Any]] = []
    run(abandon())
    thread = InThread(lambda: house.cache.get("prod/db"))
    house.runtime.until_waiting(2)
    house.regions.gate().answer(answer(OSAKA))
    assert thread.result().string == "v1"
    for reading in abandoned:
        reading.close()


def test_a_task_has_its_own_deadline(run: Run) -> None:
    house = House()
    house.regions.hold(OSAKA, TOKYO)

    async def main() -> None:
        reading = asyncio.ensure_future(house.cache.aget("prod/db", timeout=1))
        await in_thread(lambda: house.regions.gate(0))
        house.runtime.advance(0.5)
        await in_thread(lambda: house.regions.gate(1))
        house.runtime.advance(0.5)
        with pytest.raises(SecretUnavailableError, match="no answer yet"):
            await asyncio.wait_for(reading, PATIENCE)

    run(main())
    for gate in house.regions.gates:
        gate.answer(failure())


def test_loops_in_threads_of_their_own_share_one_request(run: Run) -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)

    async def main() -> str:
        secret = await house.cache.aget("prod/db")
        return secret.string

    loops = [InThread(lambda: run(main())) for _ in range(4)]
    house.runtime.until_waiting(4)
    house.regions.gate().answer(answer(OSAKA))
    assert [loop.result() for loop in loops] == ["v1"] * 4
    assert len(house.regions.calls) == 1


def test_errors_are_those_of_get(run: Run) -> None:
    house = House()
    house.fails(OSAKA, Fault.MISSING)
    house.fails(TOKYO, Fault.MISSING)
    with pytest.raises(SecretNotFoundError):
        run(house.cache.aget("prod/db"))
    with pytest.raises(ConfigurationError, match=r"^secret_id"):
        run(house.cache.aget(5))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"^timeout"):
        run(house.cache.aget("x", timeout=0))
    house.cache.close()
    with pytest.raises(CacheClosedError):
        run(house.cache.aget("prod/db"))


def test_arefresh(run: Run) -> None:
    house = House()
    house.cache.get("prod/db")
    house.says(OSAKA, "v2")
    assert run(house.cache.arefresh("prod/db")).string == "v2"


def test_close_ends_the_wait_of_a_task(run: Run) -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)

    async def main() -> None:
        reading = asyncio.ensure_future(house.cache.aget("prod/db"))
        await in_thread(house.regions.gate)
        await in_thread(house.cache.close)
        with pytest.raises(CacheClosedError):
            await reading

    run(main())
    house.regions.gate().answer(failure())
