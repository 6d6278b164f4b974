"""Rotation hooks: called once per accepted change of AWSCURRENT, in order per secret, outside every lock."""

from __future__ import annotations

import inspect
import weakref
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from secretcache._errors import ConfigurationError
from secretcache._events import complain, passes
from secretcache._lazy import importing
from secretcache._regions.lanes import Lane

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures
    from collections.abc import Callable, Iterable

    from secretcache._ids import SecretId
    from secretcache._runtime import Runtime
    from secretcache._secret import Secret

__all__ = ["Hooks", "RotationEvent", "Subscription", "check_hook", "is_async"]

_LOOP_SECONDS = 1.0
"""How often one who waits for an async hook looks whether its loop still runs."""
_Hook: TypeAlias = "Callable[[RotationEvent], Any]"


@dataclass(frozen=True, slots=True)
class RotationEvent:
    """AWSCURRENT of a secret has moved to another version: forward, or back by a rollback."""

    secret_id: str
    """The id that the hook was registered with."""
    old: Secret
    new: Secret


@dataclass(eq=False, repr=False)
class Subscription:
    """One registered hook, and what it has not been called for yet."""

    secret_id: str
    secret: SecretId
    _hook: Callable[[], _Hook | None]
    """Weak where the hook is a method: the hooks of collected owners go away."""
    loop: asyncio.AbstractEventLoop | None
    """Where an async hook runs: the loop it was registered from."""
    seen: Secret | None = None
    """The version it knows of."""
    lane: Lane | None = None
    key: object = field(default_factory=object)
    """What its handle knows it by, in a forked child too."""
    pending: deque[RotationEvent] = field(default_factory=deque)
    runner: object = None
    """Who calls the hook now: an object that only the caller knows."""
    begun: bool = False
    """Whether the hook itself was reached: an interrupt before that leaves the event to the next caller."""
    load_at: float = float("-inf")
    """When to try to load the secret, if nobody has read it."""

    @property
    def gone(self) -> bool:
        """Whether the hook's owner was collected."""
        return self._hook() is None

    def call(self, event: RotationEvent) -> bool:
        """Calls the hook; whatever it raises is logged. Returns whether it raised nothing.

        Raises:
            KeyboardInterrupt, SystemExit: the hook raised it, in a thread that is not the cache's own.
        """
        try:
            hook = self._hook()
            if hook is not None:
                self._call(hook, event)
        except BaseException as error:
            if not self.begun:  # an interrupt
                raise
            complain("a rotation hook of secret %r failed; the new version is in use all the same", self.secret_id)
            if passes(error):
                raise
            return False
        return True

    def _call(self, hook: _Hook, event: RotationEvent) -> None:
        if self.loop is None:
            self.begun = True
            hook(event)
            return
        import asyncio  # noqa: PLC0415 - loaded already: the hook came from a loop

        self.begun = True
        awaiting = _await(hook, event)
        try:
            running = asyncio.run_coroutine_threadsafe(awaiting, self.loop)
        except RuntimeError:  # the loop is closed
            awaiting.close()
            raise
        if not _runs_here(self.loop):  # it would wait for itself
            _wait(running, self.loop)


@dataclass(eq=False, repr=False, slots=True)
class _Awaited:
    """Hooks that workers call while a task waits for their end."""

    wake: Callable[[], None]
    left: dict[Subscription, None]
    """In the order in which they were registered."""

    def end(self, one: Subscription) -> None:
        self.left.pop(one, None)
        self.wake()


class Hooks:
    """The rotation hooks of one cache."""

    def __init__(self, runtime: Runtime, *, background: bool) -> None:
        self._runtime = runtime
        self._background = background
        self._subscriptions: tuple[Subscription, ...] = ()
        self._awaited: dict[_Awaited, None] = {}
        self._lock = runtime.lock()
        """Over who runs a hook; never held while one runs."""
        self.failures = 0

    def __len__(self) -> int:
        return len(self._subscriptions)

    @property
    def left_to_readers(self) -> bool:
        """Whether there are any, and the read that notices calls them."""
        return bool(self._subscriptions) and not self._background

    def subscribe(self, secret_id: str, secret: SecretId, hook: _Hook) -> Subscription:
        """Registers a hook.

        Raises:
            ConfigurationError: it is not callable as hook(event), or is async and registered outside of an event loop.
        """
        check_hook(hook)
        one = Subscription(secret_id, secret, _reference(hook), _loop_of(hook))
        self._subscriptions += (one,)
        return one

    def cancel(self, key: object) -> None:
        """Ends a registration; what it has not been called for yet is dropped."""
        ended = [one for one in self._subscriptions if one.key is key]
        self._subscriptions = tuple(one for one in self._subscriptions if one.key is not key)
        for one in ended:
            self._drop(one)

    def alive(self) -> tuple[Subscription, ...]:
        """Those whose owners are there."""
        if any(one.gone for one in self._subscriptions):
            self._subscriptions = tuple(one for one in self._subscriptions if not one.gone)
        return self._subscriptions

    def inherit(self, parent: Hooks) -> None:
        """Takes over a parent process's hooks; what was pending there is called there."""
        self._subscriptions = tuple(
            Subscription(one.secret_id, one.secret, one._hook, one.loop, one.seen, key=one.key)  # noqa: SLF001
            for one in parent._subscriptions
        )

    def noticed(self, those: Iterable[Subscription], new: Secret, *, awaited: bool = True) -> list[Callable[[], None]]:
        """Notes that a value was accepted as current; returns what is to be done after the lock is released.

        Awaited: by a reader who, in `on_access` mode, sees to the hooks before it returns.
        """
        act: list[Callable[[], None]] = []
        for one in those:
            old, one.seen = one.seen, new
            if old is None or old.version_id == new.version_id:
                continue
            one.pending.append(RotationEvent(one.secret_id, old, new))
            if self._background or not awaited:
                act.append(partial(self._submit, one))
        return act

    def run(self) -> None:
        """In `on_access` mode: calls what is pending, in the thread of the read that noticed."""
        those = self._left_to_readers()
        if not those:
            return
        try:
            for one in those:
                self._work(one)
        except BaseException:  # a hook that exits, or an interrupt: workers call what is left
            self.hand_over()
            raise

    def start(self, wake: Callable[[], None]) -> Callable[[], bool]:
        """`run` for a task, which must not block its loop: workers call what is pending.

        Returns what tells whether they are through; `wake` is called whenever that may have changed. Whoever waits may
        leave: the hooks are called all the same.
        """
        those = _Awaited(wake, {})
        try:
            for one in self._left_to_readers():
                if self._claim(one, those):
                    those.left[one] = None
            if those.left:
                self._awaited[those] = None
            for one in tuple(those.left):
                self._to_worker(one, partial(self._call_claimed, one, those))
        except BaseException:  # an interrupt: what no worker has taken up is free again
            self._awaited.pop(those, None)
            for one in self._subscriptions:
                if one.runner is those:
                    one.runner = None
            self.hand_over()
            raise
        return lambda: not those.left or those not in self._awaited

    def hand_over(self) -> None:
        """In `on_access` mode: has workers call what is pending, since the reader who noticed cannot."""
        for one in self._left_to_readers():
            self._submit(one)

    def _left_to_readers(self) -> list[Subscription]:
        return [one for one in self._subscriptions if one.pending and one.runner is None and not self._background]

    def close(self) -> list[Callable[[], None]]:
        """Lets the workers go, and forgets the values; returns the wake-ups of those who wait for hooks."""
        waiting, self._awaited = self._awaited, {}
        for one in self._subscriptions:
            if one.lane is not None:
                one.lane.close()
            self._drop(one)
        self._subscriptions = ()
        return [those.wake for those in waiting]

    def _submit(self, one: Subscription) -> None:
        self._to_worker(one, partial(self._work, one))

    def _to_worker(self, one: Subscription, job: Callable[[], None]) -> None:
        # A worker of its own for each: a slow hook delays only the later calls of itself.
        with self._lock:
            lane = one.lane = one.lane or Lane(f"hook-{one.secret.name}", self._runtime, width=1)
        if not lane.submit(job):
            job()  # no thread is to be had: better here than not at all

    def _drop(self, one: Subscription) -> None:
        with self._lock:
            one.pending.clear()
            one.seen = None

    def _work(self, one: Subscription) -> None:
        me = object()
        try:
            if self._claim(one, me):
                self._drain(one, me)
        finally:  # no call: the interpreter would look for an interrupt at its begin, and the hook be called no more
            if one.runner is me:
                one.runner = None

    def _call_claimed(self, one: Subscription, those: _Awaited) -> None:
        me = object()
        try:
            with self._lock:
                mine = one.runner is those
                if mine:
                    one.runner = me
            if mine:
                self._drain(one, me)
        finally:
            if one.runner is me:
                one.runner = None
            those.end(one)
            if not those.left:
                self._awaited.pop(those, None)

    def _claim(self, one: Subscription, me: object) -> bool:
        """Whether the hook is now the caller's to call: nobody else does, be it a hook that reads or another reader."""
        with self._lock:
            if one.runner is None and one.pending:
                one.runner = me
            return one.runner is me

    def _drain(self, one: Subscription, me: object) -> None:
        event: RotationEvent | None = None
        try:
            while True:
                with self._lock:
                    if one.runner is not me:
                        return
                    if not one.pending:
                        one.runner = None
                        return
                    one.begun = False
                    event = one.pending[0]
                    del one.pending[0]  # with pop() an interrupt could come before the event is known here
                if not one.call(event):
                    self._count_failure()
                event = None
        except BaseException:  # a hook that exits, or an interrupt
            if event is not None and one.begun:
                self._count_failure()
            elif event is not None:
                one.pending.appendleft(event)
            raise

    def _count_failure(self) -> None:
        with self._lock:
            self.failures += 1


def _reference(hook: _Hook) -> Callable[[], _Hook | None]:
    if inspect.ismethod(hook):
        return weakref.WeakMethod(hook)
    return lambda: hook


def check_hook(hook: Callable[[Any], object]) -> None:
    """Refuses what cannot be called as hook(event): it would be known at the first event only."""
    if not callable(hook):
        raise ConfigurationError(f"hook must be callable as hook(event), got {type(hook).__name__}")
    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):  # some built-in functions tell nothing of themselves
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise ConfigurationError(f"hook must be callable as hook(event), got one that takes {signature}") from error


def is_async(hook: Callable[..., object]) -> bool:
    """Whether what it returns has to be awaited."""
    return inspect.iscoroutinefunction(inspect.unwrap(hook)) or inspect.iscoroutinefunction(
        getattr(hook, "__call__", None)  # noqa: B004 - whether it is async, not whether it can be called
    )


def _loop_of(hook: _Hook) -> asyncio.AbstractEventLoop | None:
    if not is_async(hook):
        return None
    with importing("asyncio"):
        import asyncio  # noqa: PLC0415 - 25 ms, and loaded already where a loop runs

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise ConfigurationError("an async hook must be registered from within the event loop that it is to run in")


async def _await(hook: _Hook, event: RotationEvent) -> None:
    await hook(event)


def _wait(running: concurrent.futures.Future[None], loop: asyncio.AbstractEventLoop) -> None:
    """Waits for a hook's end, as long as its loop runs."""
    import concurrent.futures  # noqa: PLC0415 - asyncio has loaded it

    while loop.is_running() or running.done():
        done, _ = concurrent.futures.wait((running,), _LOOP_SECONDS)
        if done:
            return running.result()
    return None


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    import asyncio  # noqa: PLC0415

    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
