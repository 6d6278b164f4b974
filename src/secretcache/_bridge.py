"""Which version a login tries next: the policy of `connect`, written once for threads and tasks.

Steps are values: a read, a login, a wait. `_connect` carries them out.
"""

from __future__ import annotations

import contextlib
import inspect
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from secretcache._bridged import Seeker
from secretcache._errors import ConfigurationError, LoginNotTriedError, SecretFormatError
from secretcache._events import Event
from secretcache._ids import CURRENT, PREVIOUS
from secretcache._logins import Limits, Turn, Verdict, logins_of
from secretcache._settings import check_count, check_duration
from secretcache._steps import Clock, Login, Read, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable

    from secretcache._bridged import Found
    from secretcache._cache import SecretCache
    from secretcache._runtime import Runtime
    from secretcache._secret import Secret
    from secretcache._steps import Step

__all__ = ["Bridge", "Request"]

_T = TypeVar("_T")
PENDING = "AWSPENDING"
_STAGES = (CURRENT, PENDING, PREVIOUS)
_LONG = 1.0
"""Seconds after which AWSCURRENT is worth another read where AWSPENDING was gone."""


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
        if _is_coroutine_function(is_auth_error):
            raise ConfigurationError("is_auth_error must be a plain function, got a coroutine function")
        if not for_task and _is_coroutine_function(connect):
            raise ConfigurationError("connect must be a plain function, got a coroutine function: use aconnect")
        after = retry_refused_after
        return cls(
            secret_id=secret_id,
            is_auth_error=cast("Callable[[Exception], bool]", is_auth_error),
            target=_check_hashable("target", target),
            timeout=check_duration("timeout", timeout, positive=True),
            limits=Limits(
                None if max_refusals is None else check_count("max_refusals", max_refusals, or_else=", or None"),
                None if after is None else check_duration("retry_refused_after", after, positive=True),
            ),
        )


@dataclass
class Bridge(Generic[_T]):
    """The policy of one call: which step next.

    `begin` is tried first, and `round_` again and again until one of them returns True: the call is over. Each step is
    carried out before the next is asked for; afterwards `result` returns or raises what came of the call.
    """

    cache: SecretCache
    request: Request
    runtime: Runtime
    wake: Callable[[], None]
    tried: list[str] = field(default_factory=list)
    value: _T | None = None
    error: Exception | None = None
    """The last refusal."""
    unusable: SecretFormatError | None = None
    """Why the first version that could not be used could not."""
    logged_in: bool = False

    def __post_init__(self) -> None:
        self._bridged = self.cache._bridged_logins()  # noqa: SLF001
        self.deadline = self.runtime.now() + self.request.timeout
        self._held: Secret
        """AWSCURRENT, as the cache held it last."""
        self._newer_than = ""
        self._failed: set[str] = set()
        """Versions that did not log in, as far as this call has seen."""
        self._outdated = False

    def begin(self) -> Generator[Step[_T], None, bool]:
        """The login with what is known already: no request is made while the value is fresh."""
        first = Read(self.request.timeout)
        yield first
        self._held = cast("Secret", first.secret)
        self._newer_than = self._held.version_id
        return bool((yield from self._log_in_with_known()))

    def round_(self) -> Generator[Step[_T], None, bool]:
        """One search for a version that works: this login's own, or another login's that it waits for."""
        # The first search that this login finds under way may have asked before this login was refused. The second
        # one has begun afterwards: what that could not find, this login could not find either.
        for _ in range(2):
            seeker = Seeker(self._account(), self.deadline, self.wake)
            try:
                yield Wait(self._bridged, seeker)
                self._look_again()
                if not seeker.leads:
                    self._failed.clear()  # another login may have shown that one of them works after all
                over = yield from self._log_in_with_known()
                if over is None and seeker.leads:
                    over = yield from self._search()
                    if not over:
                        self._bridged.in_vain(seeker)
                if over is not None or seeker.late:
                    return over is not False
            finally:
                self._bridged.end(seeker)
        self.tried.append("another login of this process searched, and found no version that works")
        return False

    def pause(self, seconds: float) -> Wait:
        """The step that lets time pass between two rounds."""
        return Wait(Clock(self.runtime.now), self.runtime.now() + seconds)

    @property
    def is_hopeless(self) -> bool:
        """Whether waiting changes nothing: the target refused nothing, but no version can be used."""
        return self.error is None and self.unusable is not None

    def result(self) -> _T:
        """What the login returned, or the last login's own error."""
        if self.logged_in:
            return cast("_T", self.value)
        error, self.error = self.error or self.unusable, None
        if error is None:
            raise LoginNotTriedError(self._story("no login was tried"), tuple(self.tried))
        self.unusable = None
        try:
            raise _annotated(error, self._story("no version logged in"))
        finally:
            del error  # its traceback holds this frame

    def _log_in_with_known(self) -> Generator[Step[_T], None, bool | None]:
        """Logins that need no read: with the version that another login has found, else with AWSCURRENT as it is held.

        Returns True when the call is over; None where no version is left that this call has not tried.
        """
        found = self._bridged.find(self._account(), self._held.version_id)
        if found is not None:
            self._look_behind(found)
            if (yield from self._log_in(found.stage, found.secret, instead_of=found.instead_of)):
                return True
            self._look_again()  # AWSCURRENT may have moved while this login waited for its turn
        current = self._held
        if current.version_id in self._failed:
            return None
        return (yield from self._log_in(CURRENT, current)) or None

    def _look_again(self) -> None:
        """Takes AWSCURRENT as the cache holds it now."""
        self._held = self.cache._held_secret(self.request.secret_id) or self._held  # noqa: SLF001

    def _look_behind(self, found: Found) -> None:
        """Has AWSCURRENT looked at in the background: the login goes on with the version found."""
        if self._bridged.is_look_due(self._account()):
            self.cache._look_behind(self.request.secret_id, found.instead_of)  # noqa: SLF001

    def _search(self) -> Generator[Step[_T], None, bool]:
        """Each stage once: its value of a request sent after the refusal. Returns whether the call is over."""
        queue: deque[tuple[str, Secret | None]] = deque((stage, None) for stage in _STAGES)
        looked_at = self.runtime.now()
        while queue:
            if self._is_late():
                return True
            stage, known = queue.popleft()
            secret = known or (yield from self._read(stage))
            if secret is None:
                # A read may take long: by the time it was answered, AWSPENDING may have become AWSCURRENT.
                if stage == PENDING and self.runtime.now() >= looked_at + _LONG:
                    queue.append((CURRENT, None))
                continue
            if stage == CURRENT and known is None:
                self._look_again()
                # Of the version held: what a region showed instead may be an older one, to be tried and not held.
                self._newer_than, looked_at = self._held.version_id, self.runtime.now()
            if known is None and self._was_refused_formerly(secret):
                # The password has changed since then. A version that the target has not seen is likelier to work; if
                # there is none, the old password was set back: AWSCURRENT.
                queue.insert(1 if stage == CURRENT else len(queue), (stage, secret))
                continue
            if (yield from self._log_in(stage, secret, searched=True)):
                return True
            if self._outdated and stage != CURRENT:
                # A version that had worked until now was refused: the window has closed, or another has opened.
                queue.extend((stage, None) for stage in _STAGES)
        return False

    def _was_refused_formerly(self, secret: Secret) -> bool:
        return logins_of(self.runtime).has_refused_formerly(self._target(secret), secret.version_id)

    def _read(self, stage: str) -> Generator[Step[_T], None, Secret | None]:
        # Half of what is left: a silent region leaves time for the next stage and for the login.
        left = self.deadline - self.runtime.now()
        useless = logins_of(self.runtime).refused_by(self._target(self._held), formerly=stage == PENDING)
        read = Read(left / 2, stage, self._newer_than, useless)
        yield read
        if read.secret is None:
            self.tried.append(f"{stage}: {read.failed}")
        return read.secret

    def _log_in(
        self, stage: str, secret: Secret, *, instead_of: str | None = None, searched: bool = False
    ) -> Generator[Step[_T], None, bool]:
        """One login, if it may be tried. Returns whether the call is over."""
        logins, turn = logins_of(self.runtime), self._turn(secret, instead_of, searched=searched)
        step: Login[_T] = Login(secret, self.request.is_auth_error)
        spent = False
        try:
            if logins.is_calm(turn):  # as nearly always: nothing to wait for, and a success would say nothing new
                yield step
            else:
                logins.ask(turn)
                yield Wait(logins, turn)
                if turn.verdict is Verdict.GO:
                    yield step
            if step.error is not None:
                spent = logins.refused(turn)
            elif step.succeeded and turn.began:
                logins.accepted(turn)
        finally:
            logins.end(turn)
        self._outdated = turn.outdated
        return self._ended(stage, turn, secret, step) or spent

    def _ended(self, stage: str, turn: Turn, secret: Secret, step: Login[_T]) -> bool:
        verdict = turn.verdict
        if step.succeeded:
            self.value, self.logged_in = step.value, True
            self._remember(stage, secret, turn.instead_of)
            return True
        if verdict is Verdict.GO or verdict is Verdict.KNOWN:
            self._failed.add(secret.version_id)
            self._bridged.forget(self._account(), secret.version_id)
        if step.unusable is not None:
            self._unusable(stage, secret, step.unusable)
        elif step.error is not None:
            self.tried.append(f"{stage} {secret.version_id}: refused")
            self.error, step.error = step.error, None
        elif verdict is not None and verdict is not Verdict.GO:
            self.tried.append(f"{stage} {secret.version_id}: {_WORDS[verdict]}")
            return verdict in (Verdict.SPENT, Verdict.LATE)
        return False

    def _remember(self, stage: str, secret: Secret, instead_of: str | None) -> None:
        """Lets other logins begin with this version, as long as AWSCURRENT is one that does not log in."""
        if not self._failed and instead_of is None:
            return  # AWSCURRENT has logged in; if it has moved meanwhile, the new version has not been tried yet
        held = self.cache._held_version(self.request.secret_id) or self._held.version_id  # noqa: SLF001
        if held != secret.version_id and (held in self._failed or held == instead_of):
            self._bridged.remember(self._account(), secret, stage, held)
            self._tell("bridged", secret, stage)

    def _unusable(self, stage: str, secret: Secret, error: SecretFormatError) -> None:
        self.tried.append(f"{stage} {secret.version_id}: cannot be used, {error}")
        self.unusable = self.unusable or error
        self._tell("unusable", secret, f"{stage} cannot be used: {error}", secret.version_id)

    def _tell(self, name: str, secret: Secret, detail: str, outcome: str | None = None) -> None:
        event = Event(name, secret.region, self.request.secret_id, outcome, detail=detail)
        self.cache._emit(event)  # noqa: SLF001

    def _account(self) -> Hashable:
        return self._target(self._held), self._held.name

    def _target(self, secret: Secret) -> Hashable:
        return _target(secret) if self.request.target is None else self.request.target

    def _turn(self, secret: Secret, instead_of: str | None, *, searched: bool) -> Turn:
        request, cache = self.request, self.cache
        return Turn(
            self._target(secret),
            secret.version_id,
            request.limits,
            self.deadline,
            self.wake,
            cache,
            partial(cache._standing, request.secret_id),  # noqa: SLF001
            instead_of,
            searched,
        )

    def _is_late(self) -> bool:
        return self.runtime.now() >= self.deadline

    def _story(self, what: str) -> str:
        return f"secretcache: connect({self.request.secret_id!r}): {what}: " + "; ".join(self.tried)


_WORDS = {
    Verdict.KNOWN: "refused before, and AWSCURRENT has not moved to it since",
    Verdict.SPENT: "not tried, the target has refused as many logins as it may in 30 s",
    Verdict.LATE: "not tried, the time was over",
    Verdict.MOVED: "not tried, AWSCURRENT has moved meanwhile",
}


def _is_coroutine_function(function: object) -> bool:
    """As inspect has it, which takes 4 us for a plain function."""
    code = getattr(function, "__code__", None)
    return inspect.iscoroutinefunction(function) if code is None else bool(code.co_flags & inspect.CO_COROUTINE)


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
