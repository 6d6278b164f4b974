"""The second act: a database password rotates while threads log in to a real PostgreSQL.

Two ways to log in stand side by side: through `connect`, and with AWSCURRENT alone, as `get` has it. Each has a role
and a cache of its own, so that the server counts for each and neither profits from what the other has learned; the
roles have the same password, so that one rotation is both's.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.load import Arm, Plan, Stage, Tally, join_all
from secretcache._demo.private import HOST
from secretcache._demo.rotation_report import Broken, Logins, RotationPhase, RotationReport
from secretcache._demo.rotation_view import RotationMoment, Shown
from secretcache._demo.scenario import OSAKA, TOKYO, VALUE_PREFIX, new_cache, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from secretcache._cache import SecretCache
    from secretcache._demo.postgres import EmbeddedPostgres
    from secretcache._demo.report import ActReport
    from secretcache._demo.screen import Screen
    from secretcache._hooks import RotationEvent
    from secretcache._secret import Secret

__all__ = ["PHASES", "STEPS", "Step", "perform", "seconds_at"]

PHASES = BEFORE, WINDOW, LAG, AFTER = "before", "window", "replica lags", "after"

_NAME = "demo/login"
_BRIDGED, _ALONE = "application", "control"  # the roles
_THREADS = 4, 2
_PAUSE = 0.1  # a thread's, after each of its logins
_IN, _REFUSED = "in", "refused"
_REFRESH_SECONDS = 0.2
_PATIENCE = 30.0  # for what a step is meant to show; on an idle machine it has shown it in its time


class Rotation:
    """What a rotation function does, and who has which password."""

    def __init__(self, embedded: EmbeddedSecretsManager, server: EmbeddedPostgres) -> None:
        self._embedded, self._server = embedded, server
        self._passwords: list[str] = []
        self._versions: list[str] = []
        self.database = self.primary = self.replica = "old"

    def prepare(self) -> None:
        """Two roles, and the secret with their password, in both regions."""
        password = self._new_password()
        for role in (_BRIDGED, _ALONE):
            self._server.create_role(role, password)
        self._embedded.create(_NAME, self._content(password))
        self._versions.append(self._current(TOKYO))

    def create_secret(self) -> None:
        """A new password becomes AWSPENDING; from here on the replica lags."""
        self._embedded.lag(OSAKA)
        made = self._embedded.admin().put_secret_value(
            SecretId=_NAME, SecretString=self._content(self._new_password()), VersionStages=["AWSPENDING"]
        )
        self._versions.append(made["VersionId"])

    def set_secret(self) -> None:
        """The database takes the new password: AWSCURRENT is wrong from here on."""
        for role in (_BRIDGED, _ALONE):
            self._server.set_password(role, self._passwords[-1])
        self.database = "new"

    def test_secret(self) -> None:
        """Logs in with the new password."""
        self._server.connect(_BRIDGED, self._passwords[-1]).close()

    def finish_secret(self) -> None:
        """AWSCURRENT moves to the new password, in the primary region."""
        old, new = self._versions
        # In one call, and AWSPENDING is left where it is, as AWS asks of a rotation function.
        self._embedded.admin().update_secret_version_stage(
            SecretId=_NAME, VersionStage="AWSCURRENT", MoveToVersionId=new, RemoveFromVersionId=old
        )

    def replicate(self) -> None:
        """The replica catches up."""
        self._embedded.catch_up()

    def look(self) -> None:
        """Sees what either region shows, past the application and its faults."""
        self.primary, self.replica = self.named(self._current(TOKYO)), self.named(self._current(OSAKA))

    def named(self, version: str | None) -> str:
        """What the viewer is told instead of a version's id."""
        return "new" if version in self._versions[1:] else "old"

    def _current(self, region: str) -> str:
        shown = self._embedded.admin(region).get_secret_value(SecretId=_NAME, VersionStage="AWSCURRENT")
        return str(shown["VersionId"])

    def _content(self, password: str) -> str:
        return json.dumps({"host": HOST, "port": self._server.port, "username": _BRIDGED, "password": password})

    def _new_password(self) -> str:
        self._passwords.append(VALUE_PREFIX + secrets.token_hex(8))
        return self._passwords[-1]


@dataclass(frozen=True)
class Step:
    """A part of the act; several make a phase."""

    phase: str
    title: str
    caption: str
    """What is to be seen in it, in one line."""
    seconds: float
    """How long it lasts at least."""
    enter: Callable[[Rotation], None]
    """What happens when it begins."""
    shown: Callable[[_Play], bool] = lambda _: True
    """Whether what it is there for has happened: on a busy machine it lasts until then."""


def _answered(answer: str, arms: Callable[[_Play], Sequence[Arm]]) -> Callable[[_Play], bool]:
    return lambda play: any(arm.tallies[play.stage.phase].answered.get(answer) for arm in arms(play))


def _both(bridged: str, alone: str) -> Callable[[_Play], bool]:
    first, second = _answered(bridged, lambda play: play.bridged), _answered(alone, lambda play: play.alone)
    return lambda play: first(play) and second(play)


def _told_and_in(play: _Play) -> bool:
    return bool(play.events) and _both(_IN, _REFUSED)(play)


STEPS = (
    Step(BEFORE, "before", "every login works", 1.5, lambda _: None, _both(_IN, _IN)),
    Step(
        BEFORE,
        "createSecret",
        "AWSPENDING has a new password, in Tokyo alone: Osaka lags from here on",
        0.8,
        Rotation.create_secret,
    ),
    Step(WINDOW, "setSecret", "the database takes it, and AWSCURRENT is wrong", 2.0, Rotation.set_secret),
    Step(WINDOW, "testSecret", "the new password works", 1.0, Rotation.test_secret, _both(_IN, _REFUSED)),
    Step(LAG, "finishSecret", "AWSCURRENT moves in Tokyo, and not in Osaka", 2.5, Rotation.finish_secret, _told_and_in),
    Step(AFTER, "replicated", "AWSCURRENT is right in Osaka too", 2.2, Rotation.replicate, _both(_IN, _IN)),
)


def seconds_at(pace: float) -> float:
    """How long the act is meant to last."""
    return sum(step.seconds for step in STEPS) * pace


class _Play:
    """One run of the act: what the steps' conditions look at, and what is measured."""

    def __init__(self, rotation: Rotation, server: EmbeddedPostgres, caches: Sequence[SecretCache]) -> None:
        self.stage = Stage(len(PHASES))
        self.events: list[tuple[float, int, RotationEvent]] = []
        """What the hook was told: when, and in which phase."""
        self._told = 0
        self._rotation, self._server = rotation, server
        self._cache, other = caches
        through, alone = _through_connect(self._cache, server), _with_current_alone(other, server)
        self.bridged = [Arm(f"login-{n}", self.stage, through, _login_plan()) for n in range(_THREADS[0])]
        self.alone = [Arm(f"control-{n}", self.stage, alone, _login_plan()) for n in range(_THREADS[1])]
        self._marks: list[tuple[int, int]] = []
        self._begun = time.monotonic()
        self._cache.add_rotation_hook(_NAME, self._take)

    def _take(self, event: RotationEvent) -> None:
        self.events.append((time.monotonic() - self._begun, self.stage.phase, event))

    def perform(self, screen: Screen, offset: float, total: float, pace: float) -> RotationReport:
        """Plays every step and tells what was measured."""
        self._begun = time.monotonic() - offset
        for arm in (*self.bridged, *self.alone):
            arm.thread.start()
        for step in STEPS:
            self._enter(step)
            screen.say(f"{self._elapsed():5.1f} s  {step.title}: {step.caption}")
            self._watch(step, screen, step.seconds * pace, total)
        unended = join_all(self.stage, (*self.bridged, *self.alone))
        self._marks.append(self._mark())
        return RotationReport(phases=[self._result(n) for n in range(len(PHASES))], window=WINDOW, unended=unended)

    def _enter(self, step: Step) -> None:
        number = PHASES.index(step.phase)
        if number == len(self._marks):
            self._marks.append(self._mark())
            # First, so that a login that meets with the change counts here.
            self.stage.phase = number
        step.enter(self._rotation)
        self._rotation.look()

    def _watch(self, step: Step, screen: Screen, seconds: float, total: float) -> None:
        until = self._elapsed() + seconds
        while (left := until - self._elapsed()) > 0 or (not step.shown(self) and left > -_PATIENCE):
            self._tell(screen)
            screen.show(self._moment(step, total))
            self.stage.over.wait(min(left, _REFRESH_SECONDS) if left > 0 else _REFRESH_SECONDS)
        self._tell(screen)

    def _tell(self, screen: Screen) -> None:
        for at, _, event in self.events[self._told :]:
            self._told += 1
            screen.say(f"{at:5.1f} s  on_rotation: the hook is called, {event.new.region} has shown the new version")

    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    def _mark(self) -> tuple[int, int]:
        return self._server.refused_logins(_BRIDGED), self._server.refused_logins(_ALONE)

    def _moment(self, step: Step, total: float) -> RotationMoment:
        by_server = self._mark()
        rotation, held = self._rotation, self._cache._held_version(_NAME)  # noqa: SLF001 - a read could wait
        bridged, alone = ([tally for arm in arms for tally in arm.tallies] for arms in (self.bridged, self.alone))
        return RotationMoment(
            title=f"rotation: {step.title}",
            elapsed=self._elapsed(),
            total=total,
            threads=_THREADS,
            bridged=_logins(bridged, by_server[0]),
            alone=_logins(alone, by_server[1]),
            shown=Shown(
                database=rotation.database,
                primary=rotation.primary,
                replica=rotation.replica,
                cache=rotation.named(held),
            ),
        )

    def _result(self, number: int) -> RotationPhase:
        before, after = self._marks[number], self._marks[number + 1]
        return RotationPhase(
            title=PHASES[number],
            bridged=_logins([arm.tallies[number] for arm in self.bridged], after[0] - before[0]),
            alone=_logins([arm.tallies[number] for arm in self.alone], after[1] - before[1]),
            hooks=sum(phase == number for _, phase, _ in self.events),
        )


def perform(screen: Screen, server: EmbeddedPostgres, *, offset: float, total: float, pace: float = 1.0) -> ActReport:
    """Plays the act.

    Args:
        screen: where it is seen.
        server: a PostgreSQL that was not started yet.
        offset: seconds that the play has lasted before.
        total: seconds that it lasts in all.
        pace: a factor for how long each step lasts.
    """
    screen.say("starting a PostgreSQL: a password rotates while threads log in all the time")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(server)
        except RuntimeError as error:
            return Broken(str(error))
        embedded = stack.enter_context(EmbeddedSecretsManager(TOKYO, [OSAKA]))
        caches = [stack.enter_context(new_cache(embedded)) for _ in range(2)]
        rotation = Rotation(embedded, server)
        rotation.prepare()
        for cache in caches:
            warm_up(cache, _NAME)
        play = _Play(rotation, server, caches)
        try:
            return play.perform(screen, offset, total, pace)
        finally:
            play.stage.over.set()
            # Closed before the threads are waited for: one that was interrupted may wait for a version that works.
            for cache in caches:
                cache.close()
            embedded.close()
            join_all(play.stage, (*play.bridged, *play.alone))


def _through_connect(cache: SecretCache, server: EmbeddedPostgres) -> Callable[[str], str]:
    def log_in(secret: Secret) -> str:
        server.connect(_BRIDGED, secret["password"]).close()
        return _IN

    def attempt(secret_id: str) -> str:
        return cache.connect(secret_id, log_in, is_auth_error=server.is_refused, timeout=_PATIENCE, max_refusals=None)

    return _told(attempt, server)


def _with_current_alone(cache: SecretCache, server: EmbeddedPostgres) -> Callable[[str], str]:
    def attempt(secret_id: str) -> str:
        server.connect(_ALONE, cache.get(secret_id)["password"]).close()
        return _IN

    return _told(attempt, server)


def _told(attempt: Callable[[str], str], server: EmbeddedPostgres) -> Callable[[str], str]:
    """The same, but a refused login is told rather than raised: it is counted apart from other errors."""

    def told(secret_id: str) -> str:
        try:
            return attempt(secret_id)
        except Exception as error:
            if not server.is_refused(error):
                raise
            return _REFUSED

    return told


def _login_plan() -> Plan:
    return Plan(repeat([_NAME]), _PAUSE)


def _logins(tallies: Iterable[Tally], by_server: int) -> Logins:
    tallies = tuple(tallies)
    return Logins(
        tried=sum(tally.reads for tally in tallies),
        refused=sum(tally.answered.get(_REFUSED, 0) for tally in tallies),
        errors=sum(tally.errors for tally in tallies),
        first_error=next((tally.first_error for tally in tallies if tally.first_error), None),
        by_server=by_server,
        longest=max(tally.longest for tally in tallies),
    )
