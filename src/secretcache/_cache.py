"""The facade: arguments in, a `Secret` or an error out."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
import weakref
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, SupportsIndex, TypeVar

from secretcache._engine import Engine
from secretcache._errors import ConfigurationError, SecretNotFoundError
from secretcache._events import Handle
from secretcache._fork import begin_in_child, process_lock, watch
from secretcache._freshness import Retry
from secretcache._hits import HitClock
from secretcache._hooks import check_hook, is_async
from secretcache._ids import CURRENT, PREVIOUS, Query, parse_secret_id
from secretcache._lazy import importing
from secretcache._runtime import SystemRuntime
from secretcache._secret import Secret
from secretcache._settings import (
    Settings,
    check_duration,
    check_regions,
    check_surroundings,
    default_regions,
    settings_from_env,
)
from secretcache._transport._botocore import BotocoreTransport, making
from secretcache._waiting import TaskWait, ThreadWait
from secretcache._written import UpToDate, Written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
    from types import ModuleType, TracebackType

    from typing_extensions import Self  # for type checkers only: nothing is imported

    from secretcache._bridged import Bridged
    from secretcache._events import Event
    from secretcache._flight import Waiter
    from secretcache._hooks import RotationEvent
    from secretcache._prefetch import Prefetch, PrefetchResult
    from secretcache._regions.health import RegionHealth
    from secretcache._regions.policy import RegionPolicy
    from secretcache._runtime import Runtime
    from secretcache._stats import CacheStats
    from secretcache._store import HotKey
    from secretcache._transport import Transport

__all__ = ["SecretCache"]

_HookT = TypeVar("_HookT", bound="Callable[[RotationEvent], object]")
_PAIR_TRIES = 4
"""A secret does not rotate so often: after that the pair is as consistent as its regions show it."""
_T = TypeVar("_T")


class _Ask(NamedTuple):
    """One question, as it was put."""

    key: HotKey
    secret_id: str
    stage: str | None
    version_id: str | None
    timeout: float | None
    forced: bool = False
    newer_than: str | None = None


class SecretCache:
    """A thread-safe cache in front of GetSecretValue, over an ordered list of regions.

    A read that the cache can answer costs a dictionary lookup. Any other asks the regions in their order: the first
    that can answer wins, and each is asked by its own ARN. Reads of one secret at one time share one request.

    Args:
        regions: region names, the preferred one first, for example `["ap-northeast-3", "ap-northeast-1"]`. Without it:
            `SECRETCACHE_REGIONS` (comma-separated), else the one region of the AWS session. Every other variable is
            read by `from_env` alone.
        ttl: seconds for which a value is served without asking again, counted from when its request was sent. 0 asks
            on every read.
        max_stale: seconds beyond `ttl` for which an old value may stand in while no region can answer. 0 never lets
            one stand in. It never stands in for a secret that was deleted or whose access was revoked.
        timeout: seconds that a read may take in all, whatever the regions do; `get(timeout=...)` sets it for one read.
        max_entries: how many versions of secrets are held; the one read longest ago goes first.
        refresh: `"background"` (the default): a daemon thread refreshes what is in use ahead of `ttl`, so that
            readers do not wait. `"on_access"` (the default under AWS Lambda): no such thread; one reader per step pays.
        primary_region: the listed region that the others replicate from, if known: its word that a secret is deleted
            or denied is final.
        endpoint_urls: URLs by region, for VPC endpoints and emulators.
        session_factory: called as `session_factory(region)`, returns the boto3 or botocore session for that region.
        client_config: a `botocore.config.Config`, or one per listed region as a mapping, laid under the cache's own
            timeouts (1 s to connect, 2 s to read, no retries of botocore's own). `parameter_validation` has no effect:
            ids are checked when they are read, stages and version ids as botocore does.

    Raises:
        ConfigurationError: an argument is not sound; the message names it and what was expected.

    Warns:
        UserWarning: AWS_ENDPOINT_URL_SECRETS_MANAGER or AWS_ENDPOINT_URL gives several listed regions one endpoint.
    """

    _warns = True
    """Whether one that is dropped without `close()` warns: not where its owner's model is never closed."""

    def __init__(  # noqa: PLR0913 - each is a setting of its own, named and with a default
        self,
        regions: Sequence[str] | None = None,
        *,
        ttl: float = 300.0,
        max_stale: float = 86_400.0,
        timeout: float = 5.0,
        max_entries: int = 1024,
        refresh: str | None = None,
        primary_region: str | None = None,
        endpoint_urls: Mapping[str, str] | None = None,
        session_factory: Callable[[str], Any] | None = None,
        client_config: Any = None,
        _runtime: Runtime | None = None,
        _transport: Transport | None = None,
        _retry: Retry | None = None,
        _wrap: Callable[[Transport], Transport] | None = None,
        _policy: RegionPolicy | None = None,
    ) -> None:
        settings = Settings(
            regions=default_regions() if regions is None else check_regions(regions),
            ttl=ttl,
            max_stale=max_stale,
            timeout=timeout,
            max_entries=max_entries,
            refresh=refresh,
            primary_region=primary_region,
            endpoint_urls=endpoint_urls or {},
            session_factory=session_factory,
            client_config=client_config,
            retry=_retry or Retry(),
        )
        if _transport is None:
            check_surroundings(settings)
        self._settings = settings
        self._given_runtime, self._given_transport = _runtime, _transport
        self._wrap = _wrap or _as_it_is
        self._runtime: Runtime = _runtime or SystemRuntime()
        self._now = self._runtime.now
        self._clock = HitClock(self._now)
        self._hit_now = self._clock.now
        self._written = Written(self._now)
        self._engine = Engine(settings, self._runtime, self._new_transport(), _policy)
        self._hot = self._engine.store.hot
        self._bridged: Bridged | None = None
        watch(self)

    @classmethod
    def from_env(cls) -> SecretCache:
        """A cache whose settings come from `SECRETCACHE_*` variables.

        REGIONS, TTL, MAX_STALE, TIMEOUT, MAX_ENTRIES, REFRESH, PRIMARY_REGION, ENDPOINT_URLS.

        Raises:
            ConfigurationError: a variable is unknown, malformed or out of range; the message names it.
        """
        return cls(**settings_from_env())

    def get(
        self,
        secret_id: str,
        *,
        version_stage: str | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> Secret:
        """The secret, from memory while it is younger than `ttl`, else from the first region that can answer.

        Readers of one secret share one request. Where no value is held that may be served they all wait for it, each at
        most until its own deadline. Else the background asks ahead of `ttl` and nobody waits; past `ttl` one reader
        waits for the answer, and the others for 0.5 s at most (the hedge delay). While no region answers the old value
        is returned, up to `ttl + max_stale` seconds old; its `is_stale` says so.

        Args:
            secret_id: the secret's name, or its partial or full ARN in any listed region.
            version_stage: the stage to read; AWSCURRENT unless told otherwise.
            version_id: one version, which never changes its value. Together with `version_stage` the version must
                carry that stage.
            timeout: seconds this read may take, instead of the cache's own.

        Returns:
            The value with its version, region and age. It never changes: after a rotation another one is returned.

        Raises:
            SecretNotFoundError: every listed region says it does not exist.
            SecretAccessDeniedError: every listed region refuses it.
            SecretUnavailableError: no region could answer in time, and no value younger than `ttl + max_stale` is held.
            CredentialsError: the AWS credentials are missing, expired or revoked.
            ConfigurationError: an argument is not sound, or the service called the request malformed.
            CacheClosedError: the cache was closed.
        """
        if version_stage is None and version_id is None:
            try:
                entry = self._hot[secret_id]
            except (KeyError, TypeError):
                return self._read(_Ask(secret_id, secret_id, None, None, timeout))
            now = self._hit_now()
            if now < entry.serve_until:
                entry.last_read = now
                return entry.secret
            self._clock.late()
            return self._read(_Ask(secret_id, secret_id, None, None, timeout))
        return self._get_version(secret_id, version_stage, version_id, timeout)

    async def aget(
        self,
        secret_id: str,
        *,
        version_stage: str | None = None,
        version_id: str | None = None,
        timeout: float | None = None,
    ) -> Secret:
        """`get` for asyncio: the same entries, the same requests, the same errors.

        A hit awaits nothing. A miss leaves the event loop to others until the answer is here; cancelling the task harms
        no other reader, and the request goes on.
        """
        key = _key(secret_id, version_stage, version_id)
        held = self._held(key)
        return held or await self._aread(_Ask(key, secret_id, version_stage, version_id, timeout))

    def get_pair(self, secret_id: str) -> tuple[Secret, Secret | None]:
        """AWSCURRENT and AWSPREVIOUS, consistent with one another, for those who verify signatures and tokens.

        Two lookups in memory where both are fresh and the previous was read after the current version was accepted;
        else it is read again, from the primary first. An AWSPREVIOUS that is the current version held proves that
        AWSCURRENT has moved: then both are read again. Each read may take `timeout` seconds.

        Returns:
            Both; None in place of a previous version that no region has.

        Raises:
            SecretCacheError: as `get`, of either stage.
        """
        moved_to: Secret | None = None
        for _ in range(_PAIR_TRIES):
            current = self.get(secret_id)
            previous = self._previous(secret_id, current)
            is_one = previous is not None and previous.version_id == current.version_id
            if is_one and moved_to is None:
                moved_to = self.refresh(secret_id, newer_than=current.version_id)
            elif is_one or self._held_version(secret_id) in (current.version_id, None):
                break
        if previous is None or not is_one or moved_to is None:
            return current, previous
        # It is not held where nobody can place its version yet; its region's AWSPREVIOUS belongs to it all the same.
        return moved_to, None if moved_to.version_id == previous.version_id else previous

    def refresh(self, secret_id: str, *, newer_than: str | None = None) -> Secret:
        """The current value, from a request that is sent after this call.

        Readers meanwhile get the value held. Waits for `timeout` at most. A remembered refusal is forgotten.

        Args:
            secret_id: the secret's name, or its partial or full ARN in any listed region.
            newer_than: the id of a version that does not work (any more). If the cache holds another one, that is
                returned with no request at all. Otherwise the primary is asked, or every region until one shows
                another version; requests are shared by all who ask and spaced 1 s apart, waiting within `timeout`; the
                current value is returned even if it is still that version.

        Raises:
            SecretCacheError: as `get`; never an older value instead. The value held stays, unless access was revoked.
        """
        _check_text("newer_than", newer_than)
        return self._read(_Ask(secret_id, secret_id, None, None, None, forced=True, newer_than=newer_than))

    async def arefresh(self, secret_id: str, *, newer_than: str | None = None) -> Secret:
        """`refresh` for asyncio."""
        _check_text("newer_than", newer_than)
        return await self._aread(_Ask(secret_id, secret_id, None, None, None, forced=True, newer_than=newer_than))

    def on_rotation(self, secret_id: str) -> Callable[[_HookT], _HookT]:
        """Decorates a hook: `add_rotation_hook` for a function that is there as long as the cache.

        Raises:
            ConfigurationError: `secret_id` is not sound; so is `@cache.on_rotation` without one.
        """
        if callable(secret_id):
            raise ConfigurationError("on_rotation must be given the secret's id: @cache.on_rotation('prod/db')")
        parse_secret_id(secret_id, self._settings.regions)

        def register(hook: _HookT) -> _HookT:
            self.add_rotation_hook(secret_id, hook)
            return hook

        return register

    def add_rotation_hook(self, secret_id: str, hook: Callable[[RotationEvent], object]) -> Handle:
        """Calls `hook(RotationEvent)` once for each accepted change of the secret's AWSCURRENT.

        In their order, outside every lock, after `get()` returns the new value. A first load is no change, nor is a
        region switch or a lagging replica; a rollback is one. In background mode each hook has a worker thread of its
        own, and a rotation is noticed within `ttl` even if nobody reads the secret.

        In `on_access` mode hooks run before the read that noticed returns, however long they take: its `timeout` does
        not bound them. `get` and `refresh` run them in their own thread. `aget`, `arefresh` and `aprefetch` leave the
        event loop to others meanwhile: a plain hook runs in a worker thread, an async one on its own loop. One read
        runs a hook; others that noticed the same, and what the hook itself reads, do not wait for it. Where that read
        was cancelled or out of time, a worker runs the hook all the same.

        A hook may use the cache. What it raises is logged and changes nothing; `KeyboardInterrupt` and `SystemExit` go
        on in the thread of a read that runs the hook, and end no thread of the cache's own.

        Args:
            secret_id: the secret's name, or its partial or full ARN in any listed region.
            hook: a function, or a coroutine function registered from within the event loop that it is to run in. A
                bound method is held weakly: the hooks of collected owners go away.

        Returns:
            A handle; its `cancel()` ends the registration.

        Raises:
            ConfigurationError: an argument is not sound.
            CacheClosedError: the cache was closed.
        """
        secret = parse_secret_id(secret_id, self._settings.regions)
        key = self._current().subscribe(secret_id, secret, hook)
        return Handle(partial(_unsubscribe, weakref.ref(self), key))

    def invalidate(self, secret_id: str) -> None:
        """Forgets a secret, all its stages and versions, and what was remembered of a refusal.

        The next read waits for a new answer. A request that is under way cannot bring the old value back; who waits for
        it still gets it.
        """
        self._current().invalidate(parse_secret_id(secret_id, self._settings.regions))
        if self._bridged is not None:
            self._bridged.clear()

    def connect(  # noqa: PLR0913 - as __init__
        self,
        secret_id: str,
        connect: Callable[[Secret], _T],
        *,
        is_auth_error: Callable[[Exception], bool],
        target: Hashable = None,
        timeout: float = 10.0,
        max_refusals: int | None = 4,
        retry_refused_after: float | None = None,
    ) -> _T:
        """Logs in with a secret, also while its rotation is under way.

        Calls `connect(secret)` and returns what it returns. While all is well that is all: AWSCURRENT, from memory.

        A rotation changes the password before AWSCURRENT moves, and replicas learn of it later still. So when the
        target refuses AWSCURRENT, this call looks for the version that works: AWSCURRENT read anew, AWSPENDING,
        AWSPREVIOUS; and again after 1 s to 10 s, until `timeout`. Other logins at that target wait for this search
        instead of making their own. The version found never becomes what `get()` returns, but later logins at the
        target begin with it: they need no read and are not refused. It is forgotten when AWSCURRENT moves, when the
        target refuses it, and after 15 minutes without a successful login. Meanwhile AWSCURRENT is read in the
        background, every 1 s at first and every 10 s to 15 s later, as long as logins go on.

        A version that `connect` cannot use (it raises `SecretFormatError`: text that is no JSON, a key that is missing)
        is passed over in the same way, without asking the target. An event `unusable` and a WARNING name it.

        Some databases lock an account after a few wrong passwords. So this method limits refused logins, for each
        target and *process* (with ten processes the server sees ten times as many): a refused version is tried again
        only when AWSCURRENT has moved to it, or when a version that has worked since is refused in its turn; after a
        refusal logins go one at a time until one succeeds. With a number as `max_refusals`, besides: at most
        `max_refusals - 2` logins are in flight, and never more than 3, also while all is well; a version that has not
        logged in yet goes alone; after `max_refusals` refusals in 30 s without a success in between the call ends.

        Args:
            secret_id: as for `get`.
            connect: makes one login, with one attempt: a retry of its own would count double at the server. It should
                have a time limit of its own, for it is not interrupted.
            is_auth_error: tells whether an exception of `connect` means that the target refused the credentials. Any
                other exception passes through at once and unchanged.
            target: the account as the server counts refusals, such as `(host, port, user)`. Without it: the secret's
                JSON keys `host`, `port` and `username`, as far as they are there, and the secret itself without `host`.
            timeout: seconds after which no further login is begun; waiting for a turn and for reads is part of it.
            max_refusals: refused logins that this call risks at the target, those of other calls counted in. None: the
                server locks no accounts, so the number of logins in flight has no bound while none is refused. Say
                None for PostgreSQL and Redis, which lock none, and for MySQL and MariaDB unless
                `FAILED_LOGIN_ATTEMPTS` or `max_password_errors` is set there: the default of 4 makes a burst of logins
                go two at a time.
            retry_refused_after: seconds after which a refused version may be tried again although AWSCURRENT has not
                moved. Only for servers that lock no accounts, such as PostgreSQL as it comes. None: never.

        Raises:
            Exception: the last login's own error, when no version worked within the limits. What was tried stands in
                its note and its attribute `secretcache_tried`: stages and version ids, never values.
            LoginNotTriedError: the same, but this call could not even try one login.
            SecretFormatError: no version can be used; the error is that of the first one tried.
            SecretCacheError: as `get`, when there is no value to begin with.
            ConfigurationError: an argument is not sound; the message names it.
        """
        _connect = _login_room()
        request = _connect.Request.checked(
            secret_id,
            connect,
            is_auth_error=is_auth_error,
            target=target,
            timeout=timeout,
            max_refusals=max_refusals,
            retry_refused_after=retry_refused_after,
            for_task=False,
        )
        connected: _T = _connect.connect(self, request, connect)
        return connected

    async def aconnect(  # noqa: PLR0913 - as __init__
        self,
        secret_id: str,
        connect: Callable[[Secret], Awaitable[_T]],
        *,
        is_auth_error: Callable[[Exception], bool],
        target: Hashable = None,
        timeout: float = 10.0,
        max_refusals: int | None = 4,
        retry_refused_after: float | None = None,
    ) -> _T:
        """`connect` for asyncio: the same steps and limits, shared with the threads of the process.

        `connect` is a coroutine function, or returns another awaitable; `is_auth_error` is a plain function. Cancelling
        the task gives its turn back; a login cut off in the middle is not counted, although the server may refuse it.
        """
        _connect = _login_room()
        request = _connect.Request.checked(
            secret_id,
            connect,
            is_auth_error=is_auth_error,
            target=target,
            timeout=timeout,
            max_refusals=max_refusals,
            retry_refused_after=retry_refused_after,
            for_task=True,
        )
        connected: _T = await _connect.aconnect(self, request, connect)
        return connected

    def prefetch(self, secret_ids: Iterable[str], *, timeout: float = 30.0) -> PrefetchResult:
        """Warms many secrets at once: twenty a request (BatchGetSecretValue), one by one where that is not allowed.

        Args:
            secret_ids: names and ARNs. Those whose value is fresh are not asked for.
            timeout: seconds for all of it; waits where it is throttled.

        Returns:
            The ids that succeeded, and an error for each that did not.

        Raises:
            ConfigurationError: an id is malformed; nothing was asked for.
            CacheClosedError: the cache was closed.
        """
        wait = ThreadWait(self._current_runtime())
        plan = self._prefetch(secret_ids, timeout, wait.wake)
        for waiter in plan.steps():
            wait.until_over(plan.engine, waiter)
        plan.engine.rotations.hooks.run()
        return plan.result()

    async def aprefetch(self, secret_ids: Iterable[str], *, timeout: float = 30.0) -> PrefetchResult:
        """`prefetch` for asyncio."""
        wait = TaskWait(self._current_runtime())
        plan = self._prefetch(secret_ids, timeout, wait.wake)
        for waiter in plan.steps():
            await wait.until_over(plan.engine, waiter)
        await wait.until(plan.engine.rotations.hooks.start(wait.wake))
        return plan.result()

    def get_secret_value(self, **params: Any) -> dict[str, Any]:
        """`get` in boto3's shape: the parameters, the response and the exceptions of `client.get_secret_value`.

        Args:
            **params: `SecretId`, and perhaps `VersionId` or `VersionStage`.

        Raises:
            botocore.exceptions.ClientError: what the service said, of the class botocore gives it.
            botocore.exceptions.BotoCoreError: the parameters are not valid, or no region could be reached.
            CacheClosedError: the cache was closed.
        """
        with importing("botocore"), making.one():
            from secretcache._client.shapes import get_secret_value  # noqa: PLC0415 - imports botocore

        return get_secret_value(self, params)

    def stats(self) -> CacheStats:
        """What is held, what was read and what was asked, at this moment, and what it cost."""
        return self._current().stats(self._clock.hits)

    def region_health(self) -> Mapping[str, RegionHealth]:
        """The condition of each listed region at this moment, in the order they are listed."""
        return self._current().health()

    def add_event_hook(self, hook: Callable[[Event], object]) -> Handle:
        """Calls `hook(event)` for what happens inside: calls, breakers, failovers, rotations; for metrics.

        It is called in their order, outside every lock, by whichever thread noticed: it should return at once. Its
        exceptions are logged and change nothing, but for `KeyboardInterrupt` and `SystemExit` in a thread of the
        application, where they go on. Hits are no events.

        Returns:
            A handle; its `cancel()` ends it.

        Raises:
            ConfigurationError: `hook` is not callable as hook(event), or is async.
            CacheClosedError: the cache was closed.
        """
        check_hook(hook)
        if is_async(hook):
            raise ConfigurationError("hook must be a plain function, got a coroutine function: nobody would await it")
        return Handle(partial(_stop_listening, weakref.ref(self), self._current().listen(hook)))

    def close(self) -> None:
        """Ends every wait with `CacheClosedError`, forgets every value, and refuses further reads.

        The background thread is joined, two seconds at most. An attempt stuck in I/O ends by itself and changes
        nothing. Closing again does nothing. A signal handler should set a flag, and leave closing to the program: where
        it has interrupted its thread inside the cache, this raises `SecretUnavailableError`.
        """
        self._current().close()
        if self._bridged is not None:
            self._bridged.clear(closed=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "a SecretCache is not pickled: it holds locks, threads and secrets' values. Make one in each process "
            "(`SecretCache(...)`, or `default_cache()`), where multiprocessing passes arguments too"
        )

    def __repr__(self) -> str:
        return f"<SecretCache regions={list(self._settings.regions)} ttl={self._settings.ttl:g} s>"

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is None or not engine.busy or sys.is_finalizing():
            return
        engine.dismiss()
        if not self._warns:
            return
        warnings.warn(f"{self!r} was dropped without close()", ResourceWarning, source=self, stacklevel=2)

    def _held(self, key: HotKey) -> Secret | None:
        try:
            entry = self._hot.get(key)
        except TypeError:  # an id that is no text: refused by name where it is read
            return None
        if entry is None:
            return None
        now = self._hit_now()
        if now >= entry.serve_until:
            self._clock.late()
            return None
        entry.last_read = now
        return entry.secret

    def _get_version(self, secret_id: str, stage: str | None, version_id: str | None, timeout: float | None) -> Secret:
        key = _key(secret_id, stage, version_id)
        return self._held(key) or self._read(_Ask(key, secret_id, stage, version_id, timeout))

    def _read(self, ask: _Ask) -> Secret:
        wait = ThreadWait(self._runtime)
        engine, begun = self._begin(ask, wait.wake)
        if isinstance(begun, Secret):
            return begun
        return _answer(engine, begun, wait)

    async def _aread(self, ask: _Ask) -> Secret:
        wait = TaskWait(self._runtime)
        engine, begun = self._begin(ask, wait.wake)
        if isinstance(begun, Secret):
            return begun
        return await _aanswer(engine, begun, wait)

    def _begin(self, ask: _Ask, wake: Callable[[], None]) -> tuple[Engine, Secret | Waiter]:
        engine, seconds = self._current(), self._seconds(ask.timeout)
        query = self._query(ask.secret_id, ask.stage, ask.version_id)
        return engine, engine.begin(ask.key, query, seconds, wake, forced=ask.forced, newer_than=ask.newer_than)

    def _previous(self, secret_id: str, current: Secret) -> Secret | None:
        engine = self._current()
        entry, _ = engine.current(parse_secret_id(secret_id, self._settings.regions))
        previous = self._stage_before(secret_id)
        if entry is None or entry.secret.version_id != current.version_id or engine.is_paired(entry, previous):
            return previous
        try:
            fresh = self._fresh(secret_id, stage=PREVIOUS, timeout=self._settings.timeout)
        except SecretNotFoundError:
            entry.paired = ""
            return None
        if fresh.version_id != entry.secret.version_id:  # else AWSCURRENT has moved: they are no pair
            entry.paired = fresh.version_id
        return fresh

    def _stage_before(self, secret_id: str) -> Secret | None:
        try:
            return self.get(secret_id, version_stage=PREVIOUS)
        except SecretNotFoundError:
            return None

    def _fresh(
        self,
        secret_id: str,
        *,
        stage: str = CURRENT,
        newer_than: str | None = None,
        useless: frozenset[str] = frozenset(),
        timeout: float,
    ) -> Secret:
        """A stage's value from a request sent after this call, from the primary first where it is known.

        `newer_than`: every region is asked until one shows another version than this, and none of the `useless` ones.
        """
        wait = ThreadWait(self._runtime)
        engine, begun = self._begin_fresh(secret_id, stage, newer_than, useless, timeout, wait.wake)
        if isinstance(begun, Secret):
            return begun
        return _answer(engine, begun, wait)

    async def _afresh(
        self,
        secret_id: str,
        *,
        stage: str = CURRENT,
        newer_than: str | None = None,
        useless: frozenset[str] = frozenset(),
        timeout: float,
    ) -> Secret:
        """`_fresh` for asyncio."""
        wait = TaskWait(self._runtime)
        engine, begun = self._begin_fresh(secret_id, stage, newer_than, useless, timeout, wait.wake)
        if isinstance(begun, Secret):
            return begun
        return await _aanswer(engine, begun, wait)

    def _begin_fresh(  # noqa: PLR0913, PLR0917 - what sets one question apart from another
        self,
        secret_id: str,
        stage: str,
        newer_than: str | None,
        useless: frozenset[str],
        timeout: float,
        wake: Callable[[], None],
    ) -> tuple[Engine, Secret | Waiter]:
        engine, query = self._current(), self._query(secret_id, stage, None)
        if newer_than is not None:
            return engine, engine.begin_search(query, newer_than, useless, timeout, wake)
        return engine, engine.begin_afresh(query, timeout, wake)

    def _held_version(self, secret_id: str) -> str | None:
        """The version that AWSCURRENT has, as far as is known without a request."""
        version, _ = self._standing(secret_id)
        return version

    def _held_secret(self, secret_id: str) -> Secret | None:
        """AWSCURRENT as it is held, without a request; None where nothing is held that may still be served."""
        entry, _ = self._current().current(parse_secret_id(secret_id, self._settings.regions))
        return entry.secret if entry is not None and self._now() < entry.dead_at else None

    def _look_behind(self, secret_id: str, newer_than: str) -> None:
        """Has AWSCURRENT asked for, as `refresh(newer_than=)` does, and waits for nothing."""
        self._current().look_behind(self._query(secret_id, CURRENT, None), newer_than)

    def _bridged_logins(self) -> Bridged:
        """What the logins of this cache have found out, made when the first one logs in."""
        if self._bridged is None:
            from secretcache._bridged import Bridged  # noqa: PLC0415 - as _connect, which has imported it

            runtime = self._current_runtime()
            with self._engine.lock:  # two logins at once share one
                self._bridged = self._bridged or Bridged(runtime)
        return self._bridged

    def _standing(self, secret_id: str) -> tuple[str | None, int]:
        """The version that AWSCURRENT has, as `_held_version`, and how often it was seen to move in this process."""
        entry, lineage = self._current().current(parse_secret_id(secret_id, self._settings.regions))
        return entry.secret.version_id if entry is not None else None, lineage.moves if lineage is not None else 0

    def _emit(self, event: Event) -> None:
        """Tells an event that happened outside of the engine."""
        bulletin = self._current().bulletin
        bulletin.post((event,))
        bulletin.tell()

    def _prefetch(self, secret_ids: Iterable[str], timeout: float, wake: Callable[[], None]) -> Prefetch:
        if isinstance(secret_ids, (str, bytes)) or not isinstance(secret_ids, Iterable):
            raise ConfigurationError(f"secret_ids must be a list of names and ARNs, got {type(secret_ids).__name__}")
        with importing("secretcache._prefetch"), making.one():
            from secretcache._prefetch import Prefetch  # noqa: PLC0415 - a process that never prefetches needs none

        seconds = check_duration("timeout", timeout, positive=True)
        wanted = {text: Query(parse_secret_id(text, self._settings.regions)) for text in secret_ids}
        return Prefetch(self._current(), wanted, self._now() + seconds, self._now, wake)

    def _seconds(self, timeout: float | None) -> float:
        return self._settings.timeout if timeout is None else check_duration("timeout", timeout, positive=True)

    def _current_runtime(self) -> Runtime:
        self._current()
        return self._runtime

    def _current(self) -> Engine:
        """The engine of this process. uWSGI's workers are forked without Python's fork hooks: the pid tells."""
        if self._engine.pid != os.getpid():
            with process_lock():
                if self._engine.pid != os.getpid():
                    begin_in_child()
                    self._after_fork_in_child()
        return self._engine

    def _before_fork(self) -> None:
        self._engine.lock.acquire()

    def _after_fork_in_parent(self) -> None:
        with contextlib.suppress(RuntimeError):  # an interrupt came before it was taken
            self._engine.lock.release()

    def _after_fork_in_child(self) -> None:
        # The parent's lock may be held for ever by a thread that is not in this process: it is left alone.
        self._begin_anew(with_values=True)

    def _after_restore(self) -> None:
        # Nobody knows how long the snapshot lay: what it held is asked for again.
        self._engine.dismiss()
        self._begin_anew(with_values=False)

    def _begin_anew(self, *, with_values: bool) -> None:
        self._runtime = self._given_runtime or SystemRuntime()
        self._now = self._runtime.now
        self._clock = HitClock(self._now)
        self._hit_now = self._clock.now
        self._written.begin_anew()
        engine = self._engine.heir(self._runtime, self._new_transport(), with_values=with_values)
        self._bridged = None  # its lock may be held for ever by a thread that is not in this process
        # The engine last: by its pid other threads tell that all is in place.
        self._hot, self._engine = engine.store.hot, engine

    def _new_transport(self) -> Transport:
        return self._wrap(UpToDate(self._given_transport or BotocoreTransport(self._settings), self._written))

    def _query(self, secret_id: str, stage: str | None, version_id: str | None) -> Query:
        _check_text("version_stage", stage)
        _check_text("version_id", version_id)
        secret = parse_secret_id(secret_id, self._settings.regions)
        return Query(secret, stage if stage or version_id else CURRENT, version_id)


def _answer(engine: Engine, waiter: Waiter, wait: ThreadWait) -> Secret:
    try:
        wait.until_over(engine, waiter)
        engine.rotations.hooks.run()
    except BaseException:  # interrupted, or a hook exits: what its flight has brought is told all the same
        engine.cut_off()
        raise
    return engine.conclude(waiter)


async def _aanswer(engine: Engine, waiter: Waiter, wait: TaskWait) -> Secret:
    try:
        await wait.until_over(engine, waiter)
        over = engine.rotations.hooks.start(wait.wake)
    except GeneratorExit:  # collected: a finalizer takes no lock, and the next reader sees to what is pending
        engine.collected()
        raise
    except BaseException:  # cancelled: what its flight has brought is told all the same
        engine.cut_off()
        raise
    await wait.until(over)
    return engine.conclude(waiter)


def _login_room() -> ModuleType:
    """The module that carries logins out: a process that never logs in starts without it."""
    room = sys.modules.get("secretcache._connect")
    if room is not None and hasattr(room, "aconnect"):  # its last name: it is not half-way through its own import
        return room
    with importing("secretcache._connect"), making.one():
        from secretcache import _connect  # noqa: PLC0415 - see above

    return _connect


def _unsubscribe(owner: weakref.ref[SecretCache], key: object) -> None:
    cache = owner()
    if cache is not None:  # in a forked child: the child's own engine
        cache._current().unsubscribe(key)  # noqa: SLF001


def _stop_listening(owner: weakref.ref[SecretCache], key: object) -> None:
    cache = owner()
    if cache is not None:  # in a forked child: the child's own bulletin
        cache._current().bulletin.forget(key)  # noqa: SLF001


def _as_it_is(transport: Transport) -> Transport:
    return transport


def _key(secret_id: str, stage: str | None, version_id: str | None) -> HotKey:
    return secret_id if stage is None and version_id is None else (secret_id, stage, version_id)


def _check_text(argument: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigurationError(f"{argument} must be a text of one character or more, or None, got {value!r}")
