"""Logs in with a secret, also while its rotation has changed the password but has not moved AWSCURRENT yet.

`Bridge` decides which step comes next. A thread and a task carry the same steps out, and tenacity repeats the rounds.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from secretcache._bridge import Bridge, Request
from secretcache._errors import ConfigurationError
from secretcache._lazy import importing
from secretcache._steps import Login, Wait
from secretcache._transport._botocore import making
from secretcache._waiting import TaskWait, ThreadWait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from tenacity import RetryCallState

    from secretcache._cache import SecretCache
    from secretcache._secret import Secret
    from secretcache._steps import Step

__all__ = ["Request", "aconnect", "connect"]

_T = TypeVar("_T")
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0


def connect(cache: SecretCache, request: Request, login: Callable[[Secret], _T]) -> _T:
    """Carries the steps out in a thread."""
    wait = ThreadWait(cache._runtime)  # noqa: SLF001
    bridge: Bridge[_T] = Bridge(cache, request, cache._runtime, wait.wake)  # noqa: SLF001

    def carry_out(step: Step[_T]) -> None:
        if isinstance(step, Login):
            step.value = login(step.secret)
        elif isinstance(step, Wait):
            wait.until_over(step.room, step.waiter)
        elif step.stage is None:
            step.secret = cache.get(request.secret_id, timeout=step.timeout)
        else:
            step.secret = cache._fresh(  # noqa: SLF001
                request.secret_id,
                stage=step.stage,
                newer_than=step.newer_than,
                useless=step.useless,
                timeout=step.timeout,
            )

    def drive(steps: Generator[Step[_T], None, bool]) -> bool:
        with contextlib.closing(steps):
            step = _next(steps)
            while not isinstance(step, bool):
                with step:
                    carry_out(step)
                step = _next(steps)
            return step

    if not drive(bridge.begin()):
        with importing("tenacity"), making.one():
            from tenacity import Retrying  # noqa: PLC0415 - 36 ms, and needed only while AWSCURRENT does not log in

        rounds = Retrying(**_rounds(bridge), sleep=lambda seconds: carry_out(bridge.pause(seconds)))
        rounds(lambda: drive(bridge.round_()))
    return bridge.result()


async def aconnect(cache: SecretCache, request: Request, login: Callable[[Secret], Awaitable[_T]]) -> _T:
    """Carries the same steps out in a task."""
    wait = TaskWait(cache._runtime)  # noqa: SLF001
    bridge: Bridge[_T] = Bridge(cache, request, cache._runtime, wait.wake)  # noqa: SLF001

    async def carry_out(step: Step[_T]) -> None:
        if isinstance(step, Login):
            step.value = await _awaitable(login(step.secret))
        elif isinstance(step, Wait):
            await wait.until_over(step.room, step.waiter)
        elif step.stage is None:
            step.secret = await cache.aget(request.secret_id, timeout=step.timeout)
        else:
            step.secret = await cache._afresh(  # noqa: SLF001
                request.secret_id,
                stage=step.stage,
                newer_than=step.newer_than,
                useless=step.useless,
                timeout=step.timeout,
            )

    async def drive(steps: Generator[Step[_T], None, bool]) -> bool:
        with contextlib.closing(steps):
            step = _next(steps)
            while not isinstance(step, bool):
                with step:
                    await carry_out(step)
                step = _next(steps)
            return step

    async def pause(seconds: float) -> None:
        await carry_out(bridge.pause(seconds))

    async def search() -> bool:
        return await drive(bridge.round_())

    if not await drive(bridge.begin()):
        with importing("tenacity"), making.one():
            from tenacity import AsyncRetrying  # noqa: PLC0415 - as in connect

        await AsyncRetrying(**_rounds(bridge), sleep=pause)(search)
    return bridge.result()


def _next(steps: Generator[Step[_T], None, bool]) -> Step[_T] | bool:
    """The step to carry out, or whether the call is over where there is none."""
    try:
        return next(steps)
    except StopIteration as stop:
        return bool(stop.value)


def _awaitable(logging_in: Awaitable[_T]) -> Awaitable[_T]:
    if not inspect.isawaitable(logging_in):
        raise ConfigurationError(
            "connect must be a coroutine function, or return another awaitable; "
            f"it returned {type(logging_in).__name__}: use connect for a plain function"
        )
    return logging_in


def _rounds(bridge: Bridge[Any]) -> dict[str, Any]:
    """The settings of tenacity: rounds until one says that the call is over, with 1 s to 10 s between two of them."""
    import tenacity  # noqa: PLC0415 - as in connect

    runtime, deadline = bridge.runtime, bridge.deadline
    longer = tenacity.wait_exponential(min=_FIRST_PAUSE, max=_LONGEST_PAUSE)

    def pause(state: RetryCallState) -> float:
        return min(longer(state) + runtime.random(), _LONGEST_PAUSE)

    def late(state: RetryCallState) -> bool:
        return bridge.is_hopeless or runtime.now() + state.upcoming_sleep >= deadline

    return {
        "retry": tenacity.retry_if_result(lambda over: not over),
        "wait": pause,
        "stop": late,
        "retry_error_callback": lambda _: None,
    }
