"""Logs in with a secret, also while its rotation has changed the password but has not moved AWSCURRENT yet.

The policy is one generator of steps, `Bridge.steps`; a thread's loop and a task's loop carry the steps out.
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from secretcache._errors import (
    CacheClosedError,
    ConfigurationError,
    LoginNotTriedError,
    SecretCacheError,
    SecretFormatError,
)
from secretcache._events import Event
from secretcache._ids import CURRENT, PREVIOUS
from secretcache._lazy import importing
from secretcache._logins import Limits, Turn, Verdict, logins_of
from secretcache._settings import check_count, check_duration
from secretcache._transport._botocore import making
from secretcache._waiting import TaskWait, ThreadWait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Hashable
    from types import TracebackType

    from tenacity import RetryCallState, Retrying

    from secretcache._cache import SecretCache
    from secretcache._runtime import Runtime
    from secretcache._secret import Secret
    from secretcache._waiting import Room

__all__ = ["Request", "aconnect", "connect"]

_T = TypeVar("_T")
PENDING = "AWSPENDING"
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a caller of `connect` asked for, checked."""

    secret_id: str
    is_auth_error: Callable[[Exception], bool]
    target: Hashable
    timeout: float
    limits: Limits

    @classmethod
    def checked(  # noqa: PLR0913 - the arguments of connect
        cls,
        secret_id: str,
        connect: object,
        *,
        is_auth_error: object,
        target: object,
        timeout: object,
        max_refusals: object,
        retry_refused_after: object,
        for_task: bool,
    ) -> Request:
        """The arguments, each refused by name where it is not sound."""
        for argument, value in (("connect", connect), ("is_auth_error", is_auth_error)):
            if not callable(value):
                raise ConfigurationError(f"{argument} must be callable, got {type(value).__name__}")
        if isinstance(is_auth_error, type):
            name = is_auth_error.__name__
            raise ConfigurationError(
                f"is_auth_error must be a function that tells of an exception whether it is a refusal, got the class "
                f"{name}: pass lambda error: isinstance(error, {name})"
            )
        if inspect.iscoroutinefunction(is_auth_error):
            raise ConfigurationError("is_auth_error must be a plain function, got a coroutine function")
        if not for_task and inspect.iscoroutinefunction(connect):
            raise ConfigurationError("connect must be a plain function, got a coroutine function: use aconnect")
        after = retry_refused_after
        return cls(
            secret_id=secret_id,
            is_auth_error=cast("Callable[[Exception], bool]", is_auth_error),
            target=_check_hashable("target", target),
            timeout=check_duration("timeout", timeout, positive=True),
            limits=Limits(
                check_count("max_refusals", max_refusals),
                None if after is None else check_duration("retry_refused_after", after, positive=True),
            ),
        )


class Read:
    """A step: a stage's value, or nothing. As a context it takes the error of a stage that cannot be had."""

    def __init__(self, timeout: float, stage: str | None = None, newer_than: str | None = None) -> None:
        self.timeout, self.stage, self.newer_than = timeout, stage, newer_than
        self.secret: Secret | None = None
        self.failed = ""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        # The first read is the caller's own: its error is his. What is read to bridge may be missing.
        if self.stage is None or not isinstance(error, SecretCacheError) or isinstance(error, CacheClosedError):
            return False
        self.failed = type(error).__name__
        return True


class Login(Generic[_T]):
    """A step: the caller's own function. As a context it takes the error of a login that was refused."""

    def __init__(self, secret: Secret, is_auth_error: Callable[[Exception], bool]) -> None:
        self.secret = secret
        self.is_auth_error = is_auth_error
        self.value: _T | None = None
        self.error: Exception | None = None
        self.over = False

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        refused = isinstance(error, Exception) and self.is_auth_error(error)
        self.error = cast("Exception", error) if refused else None
        self.over = refused or error is None
        return bool(refused)


@dataclass(frozen=True, slots=True)
class Wait:
    """A step: until there is nothing left to wait for."""

    room: Room[Any]
    waiter: Any

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


class _Clock:
    """The room of those who wait for a moment."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def first(self, moment: float) -> float | None:
        return self.look(moment)

    def look(self, moment: float) -> float | None:
        return moment if self._now() < moment else None

    def leave(self, moment: float) -> None:
        """Nobody else waits for it."""


@dataclass
class Bridge(Generic[_T]):
    """The policy: which step next."""

    cache: SecretCache
    request: Request
    runtime: Runtime
    wake: Callable[[], None]
    tried: list[str] = field(default_factory=list)
    value: _T | None = None
    error: Exception | None = None
    logged_in: bool = False
    _deadline: float = 0.0
    _newer_than: str = ""
    _outdated: bool = False

    def steps(self) -> Generator[Read | Wait | Login[_T], None, None]:
        """Each step is carried out before the next is asked for; afterwards `result` tells how it ended."""
        self._deadline = self.runtime.now() + self.request.timeout
        first = Read(self.request.timeout)
        yield first
        secret = cast("Secret", first.secret)
        self._newer_than = secret.version_id
        if (yield from self._log_in(CURRENT, secret)):
            return
        pauses: list[float] = []
        for round_ in _rounds(self.runtime, self._deadline, pauses):
            while pauses:
                yield Wait(_Clock(self.runtime.now), self.runtime.now() + pauses.pop())
            round_.retry_state.set_result((yield from self._round()))

    def result(self) -> _T:
        """What the login returned, or the last login's own error."""
        if self.logged_in:
            return cast("_T", self.value)
        if self.error is None:
            raise LoginNotTriedError(self._story("no login was tried"), tuple(self.tried))
        error, self.error = self.error, None
        try:
            raise _annotated(error, self._story("every login was refused"))
        finally:
            del error  # its traceback holds this frame

    def _round(self) -> Generator[Read | Wait | Login[_T], None, bool]:
        """Each stage once: its value of a request sent after the refusal. Returns whether the call is over."""
        stages, looked_at = [CURRENT, PENDING, PREVIOUS], self.runtime.now()
        for stage in stages:
            left = self._deadline - self.runtime.now()
            if left <= 0:
                return True
            # Half of what is left: a silent region leaves time for the next stage and for the login.
            read = Read(left / 2, stage, self._newer_than)
            yield read
            if read.secret is None:
                self.tried.append(f"{stage}: {read.failed}")
                # Reads are spaced: by the time this one was sent, it may have become AWSCURRENT.
                stages += [CURRENT] if stage == PENDING and self.runtime.now() >= looked_at + _FIRST_PAUSE else []
                continue
            if stage == CURRENT:
                self._newer_than, looked_at = read.secret.version_id, self.runtime.now()
            if (yield from self._log_in(stage, read.secret)):
                return True
            if (
                self._outdated and stage != CURRENT
            ):  # a bridge that held until now: the window has closed, or another opened
                stages += [CURRENT, PENDING, PREVIOUS]
        return False

    def _log_in(self, stage: str, secret: Secret) -> Generator[Read | Wait | Login[_T], None, bool]:
        """One login, if it may be tried. Returns whether the call is over."""
        logins, turn = logins_of(self.runtime), self._turn(secret)
        step: Login[_T] = Login(secret, self.request.is_auth_error)
        spent = False
        logins.ask(turn)
        try:
            yield Wait(logins, turn)
            if turn.verdict is Verdict.GO:
                yield step
            if step.error is not None:
                spent = logins.refused(turn)
            elif step.over:
                logins.accepted(turn)
        finally:
            logins.end(turn)
        self._outdated = turn.outdated
        return self._ended(stage, secret, turn.verdict, step) or spent

    def _ended(self, stage: str, secret: Secret, verdict: Verdict | None, step: Login[_T]) -> bool:
        if verdict is not Verdict.GO and verdict is not None:
            self.tried.append(f"{stage} {secret.version_id}: {_WORDS[verdict]}")
            return verdict is not Verdict.KNOWN
        if step.error is None:
            self.value, self.logged_in = step.value, True
            self._tell(stage, secret)
            return True
        self.tried.append(f"{stage} {secret.version_id}: refused")
        self.error, step.error = step.error, None
        return False

    def _tell(self, stage: str, secret: Secret) -> None:
        if stage != CURRENT:
            event = Event("bridged", region=secret.region, secret_id=self.request.secret_id, detail=stage)
            self.cache._emit(event)  # noqa: SLF001

    def _turn(self, secret: Secret) -> Turn:
        request, cache = self.request, self.cache
        return Turn(
            _target(secret) if request.target is None else request.target,
            secret.version_id,
            request.limits,
            self._deadline,
            self.wake,
            cache,
            partial(_seen, cache, request.secret_id),
        )

    def _story(self, what: str) -> str:
        return f"secretcache: connect({self.request.secret_id!r}): {what}: " + "; ".join(self.tried)


_WORDS = {
    Verdict.KNOWN: "refused before, and AWSCURRENT has not moved to it since",
    Verdict.SPENT: "not tried, the target has refused as many logins as it may in 30 s",
    Verdict.LATE: "not tried, the time was over",
}


def connect(cache: SecretCache, request: Request, login: Callable[[Secret], _T]) -> _T:
    """Carries the steps out in a thread."""
    wait = ThreadWait(cache._runtime)  # noqa: SLF001
    bridge: Bridge[_T] = Bridge(cache, request, cache._runtime, wait.wake)  # noqa: SLF001
    with contextlib.closing(bridge.steps()) as steps:
        for step in steps:
            with step:
                if isinstance(step, Login):
                    step.value = login(step.secret)
                elif isinstance(step, Wait):
                    wait.until_over(step.room, step.waiter)
                elif step.stage is None:
                    step.secret = cache.get(request.secret_id, timeout=step.timeout)
                else:
                    step.secret = cache._fresh(  # noqa: SLF001
                        request.secret_id, stage=step.stage, newer_than=step.newer_than, timeout=step.timeout
                    )
    return bridge.result()


async def aconnect(cache: SecretCache, request: Request, login: Callable[[Secret], Awaitable[_T]]) -> _T:
    """Carries the same steps out in a task."""
    wait = TaskWait(cache._runtime)  # noqa: SLF001
    bridge: Bridge[_T] = Bridge(cache, request, cache._runtime, wait.wake)  # noqa: SLF001
    with contextlib.closing(bridge.steps()) as steps:
        for step in steps:
            with step:
                if isinstance(step, Login):
                    step.value = await _awaitable(login(step.secret))
                elif isinstance(step, Wait):
                    await wait.until_over(step.room, step.waiter)
                elif step.stage is None:
                    step.secret = await cache.aget(request.secret_id, timeout=step.timeout)
                else:
                    step.secret = await cache._afresh(  # noqa: SLF001
                        request.secret_id, stage=step.stage, newer_than=step.newer_than, timeout=step.timeout
                    )
    return bridge.result()


def _awaitable(logging_in: Awaitable[_T]) -> Awaitable[_T]:
    if not inspect.isawaitable(logging_in):
        raise ConfigurationError(
            "connect must be a coroutine function, or return another awaitable; "
            f"it returned {type(logging_in).__name__}: use connect for a plain function"
        )
    return logging_in


def _rounds(runtime: Runtime, deadline: float, pauses: list[float]) -> Retrying:
    """Rounds until one says that the call is over, or the time is. What to sleep before a round is left in `pauses`."""
    with importing("tenacity"), making.one():  # a child forked in the middle of an import could never finish it
        import tenacity  # noqa: PLC0415 - 36 ms, and seldom needed

    longer = tenacity.wait_exponential(min=_FIRST_PAUSE, max=_LONGEST_PAUSE)

    def pause(state: RetryCallState) -> float:
        return min(longer(state) + runtime.random(), _LONGEST_PAUSE)

    def late(state: RetryCallState) -> bool:
        return runtime.now() + state.upcoming_sleep >= deadline

    return tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda over: not over),
        wait=pause,
        stop=late,
        sleep=pauses.append,
        retry_error_callback=lambda _: None,
    )


def _seen(cache: SecretCache, secret_id: str) -> tuple[str | None, int]:
    return cache._held_version(secret_id), cache._moves(secret_id)  # noqa: SLF001


def _target(secret: Secret) -> Hashable:
    """The account: host, port and user where the secret tells them; the secret itself in place of a host."""
    host, port, user = (_text(secret, key) for key in ("host", "port", "username"))
    # Account and name with suffix: the same in every region, and whatever id the secret was asked by.
    return host.lower() or tuple(secret.arn.split(":")[4:]), port, user


def _text(secret: Secret, key: str) -> str:
    try:
        return str(secret[key]) if key in secret else ""
    except SecretFormatError:
        return ""


def _annotated(error: Exception, story: str) -> Exception:
    with contextlib.suppress(AttributeError, TypeError):  # Python 3.10 has no notes; some errors take no attributes
        error.secretcache_tried = story  # type: ignore[attr-defined]
        error.add_note(story)  # type: ignore[attr-defined,unused-ignore]
    return error


def _check_hashable(argument: str, value: object) -> Hashable:
    try:
        hash(value)
    except TypeError:
        message = f"{argument} must be hashable, such as (host, port, user), got {type(value).__name__}"
        raise ConfigurationError(message) from None
    return value
