"""Those who use the cache, in threads and in tasks, and what each checks of what it gets."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from random import Random
from typing import Any

from secretcache import CacheClosedError, LoginNotTriedError, Secret, SecretCache, SecretCacheError
from secretcache._ids import Query, parse_secret_id
from simulation.cloud import CANARY, RefusedError, version_id
from simulation.loops import Loop
from simulation.machine import chance
from simulation.world import Call, House, World

CURRENT = "AWSCURRENT"
_ANYTHING = "*"
_NOW = ("get", "aget", "refresh", "arefresh", "version", "newer")
"""Calls that return what they find at their end."""


class Caller:
    """One thread of an application, or one event loop with a task."""

    def __init__(self, world: World, house: House, number: int, *, lives: int | None = None) -> None:
        self.world, self.house, self.machine = world, house, world.machine
        self.draw: Random = chance("caller", world.plan.seed, house.process.pid, number)
        self._lives = lives
        self._stays = number < 2
        """In peace, two a process are enough."""
        self._errors = 0

    def run(self) -> None:
        """Calls until the house is left."""
        while not self.house.leaving and not self.world.over and self._lives != 0:
            if self._lives is not None:
                self._lives -= 1
            self._think()
            if self.world.peace and not self._stays:
                return
            if not self.house.leaving:
                operations = _IN_PEACE if self.world.peace else _OPERATIONS
                self.draw.choice(operations)(self, self.draw.choice(self.world.plan.names))

    def _think(self) -> None:
        draw, calm = self.draw.random(), self.world.plan.calm
        if self.world.peace:
            self.machine.sleep(2.0 + 18.0 * draw)
        elif draw < 0.3:
            self.machine.pause()
        elif draw < 0.8:
            self.machine.sleep(0.25 * calm * self.draw.randint(1, 8))
        else:
            self.machine.sleep(10.0 * calm * self.draw.random())

    # The operations.

    def get(self, name: str) -> None:
        timeout = self._timeout()
        text = self._id(name)
        self._read("get", name, timeout or 5.0, lambda _: self.house.cache.get(text, timeout=timeout))

    def get_often(self, name: str) -> None:
        for _ in range(self.draw.randint(1, 12)):
            self._read("get", name, 5.0, lambda _: self.house.cache.get(name))

    def aget(self, name: str) -> None:
        timeout = self._timeout()
        self._in_loop("aget", name, timeout or 5.0, lambda cache, _: cache.aget(name, timeout=timeout))

    def refresh(self, name: str) -> None:
        if self.draw.random() < 0.3:
            self._in_loop("arefresh", name, 5.0, lambda cache, _: cache.arefresh(name))
        else:
            self._read("refresh", name, 5.0, lambda _: self.house.cache.refresh(name))

    def refresh_newer(self, name: str) -> None:
        known = version_id(self.draw.choice(self.world.cloud.vaults[name].history[-2:]))
        timeout = 5.0
        found = self._call("newer", name, timeout, lambda _: self.house.cache.refresh(name, newer_than=known))
        if isinstance(found, tuple):
            call, secret = found
            self._check_answer(call, secret)
            # Else its turn, one second after the last, has not come. A clock jump counts, which `deadline` forgives.
            in_time = self.machine.time < call.began + timeout
            if (
                secret.version_id == known
                and self.world.answered(secret).sent <= call.sends
                and in_time
                and not self._lagged(call)
            ):
                self.world.fail(14, f"refresh(newer_than) of {name} returns what was requested before the call")

    def get_version(self, name: str) -> None:
        stage = self.draw.choice(["AWSPENDING", "AWSPREVIOUS"])
        number = self.draw.choice(self.world.cloud.vaults[name].history[-3:])
        which: dict[str, str] = (
            {"version_id": version_id(number)} if self.draw.random() < 0.4 else {"version_stage": stage}
        )
        found = self._call("version", name, 5.0, lambda _: self.house.cache.get(name, **which))  # type: ignore[arg-type]
        if isinstance(found, tuple):
            self._check_answer(*found)
            call, secret = found
            self._check_floor(call, secret, (name, which.get("version_stage"), which.get("version_id")))
            self._check_floor(call, secret, (name, _ANYTHING, None))

    def get_pair(self, name: str) -> None:
        found = self._call("pair", name, 60.0, lambda _: self.house.cache.get_pair(name))
        if isinstance(found, tuple):
            current, previous = found[1]
            for secret in (current, previous):
                if secret is not None:
                    self._check_answer(found[0], secret)
            if previous is not None and previous.version_id == current.version_id:
                self.world.fail(4, f"a pair of {name} is version {current.version_id[:8]} twice")

    def prefetch(self, _: str) -> None:
        names = [self._id(name) for name in self.world.plan.names]
        self._call("prefetch", ",".join(names), 12.0, lambda _: self.house.cache.prefetch(names, timeout=12.0))

    def invalidate(self, name: str) -> None:
        if not self.world.plan.forgets:
            return  # the next read would take whatever it finds first
        self._call("invalidate", name, 0.0, lambda _: self.house.cache.invalidate(name))

    def foreign(self, _: str) -> None:
        """The other secret of the same name is there for who asks for it by its ARN."""
        cloud = self.world.cloud
        if cloud.foreign_in:
            text = cloud.foreign.arn(cloud.foreign_in)
            found = self._call("foreign", cloud.foreign.name, 5.0, lambda _: self.house.cache.get(text))
            if isinstance(found, tuple):
                self.world.counters["foreign read by its ARN"] += 1
                if self._check_answer(*found).vault is not cloud.foreign:
                    self.world.fail(4, f"{text} is asked for, and {found[1].arn} is returned")

    def look(self, name: str) -> None:
        """What is told of it carries no value."""
        found = self._call("stats", name, 0.0, lambda _: (self.house.cache.stats(), self.house.cache.region_health()))
        if CANARY in f"{found} {self.house.cache!r}":
            self.world.fail(17, "the figures carry a value")

    def connect(self, name: str) -> None:
        timeout = self.draw.choice([10.0, 10.0, 3.0, 30.0])
        self._call(
            "connect",
            name,
            timeout,
            lambda call: self.house.cache.connect(
                name,
                lambda secret: self._log_in(call, secret),
                is_auth_error=_is_refused,
                timeout=timeout,
                max_refusals=4 if self.world.databases[name].locks else None,
            ),
        )

    def connect_often(self, name: str) -> None:
        for _ in range(self.draw.randint(2, 8)):
            self.connect(name)
            self.machine.sleep(self.draw.choice([0.0, 0.1, 1.0, 5.0]))

    def aconnect(self, name: str) -> None:
        async def log_in(call: Call, secret: Secret) -> int:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, Loop)
            database, pid = self._begin_login(call, secret)
            await loop.sleep(0.05 * self.draw.random())
            took = database.judge(pid, int(secret.version_id[:8]))
            await loop.sleep(0.05 * self.draw.random())
            return self._end_login(call, database, took=took)

        def run(cache: Any, call: Call) -> Any:
            limit = 4 if self.world.databases[name].locks else None
            return cache.aconnect(
                name, lambda secret: log_in(call, secret), is_auth_error=_is_refused, timeout=10.0, max_refusals=limit
            )

        self._call("connect async", name, 10.0, lambda call: self._loop().run(run(self.house.cache, call)))

    def _log_in(self, call: Call, secret: Secret) -> int:
        database, pid = self._begin_login(call, secret)
        self.machine.sleep(0.05 * self.draw.random())
        took = database.judge(pid, int(secret.version_id[:8]))
        self.machine.sleep(0.05 * self.draw.random())
        return self._end_login(call, database, took=took)

    def _begin_login(self, call: Call, secret: Secret) -> tuple[Any, int]:
        call.in_user_code += 1
        self._check_answer(call, secret)
        self._check_remembered(call, secret)
        database, pid = self.world.databases[call.name], self.house.process.pid
        database.begin(pid)
        return database, pid

    def _end_login(self, call: Call, database: Any, *, took: bool) -> int:
        database.end(self.house.process.pid)
        call.in_user_code -= 1
        call.deadline = max(call.deadline, self.machine.time)
        if not took:
            raise RefusedError
        self.world.counters["login"] += 1
        return 1

    # How a call is made, and what is checked of it.

    def _loop(self) -> Loop:
        return Loop(self.machine, self.machine.current)

    def _in_loop(self, what: str, name: str, timeout: float, ask: Callable[[Any, Call], Any]) -> None:
        def run(call: Call) -> Any:
            loop = self._loop()
            if self.draw.random() < 0.3:
                call.cancelled = True
                self.machine.at(self.machine.time + self.draw.choice([0.0, 0.01, 0.3, 1.0]), loop.cancel)
            return loop.run(ask(self.house.cache, call))

        self._read(what, name, timeout, run)

    def _read(self, what: str, name: str, timeout: float, run: Callable[[Call], Any]) -> None:
        found = self._call(what, name, timeout, run)
        if isinstance(found, tuple):
            self._check_current(*found)

    def _call(self, what: str, name: str, timeout: float, run: Callable[[Call], Any]) -> Any:
        world, machine, house = self.world, self.machine, self.house
        call = Call(
            what,
            name,
            machine.time,
            machine.time + timeout,
            world.sends,
            house.epoch[name],
            house.low.get(name, 0),
            house.cache,
            floors=dict(house.floors),
            moves=_current(house.cache, name)[1],
        )
        me = machine.current
        world.calls[me] = call
        machine.note(f"{what} {name} within {timeout} s")
        try:
            value = run(call)
        except SecretCacheError as error:
            self._check_error(call, error)
            return None
        except RefusedError as error:
            self._check_error(call, error)
            return None
        except asyncio.CancelledError:
            if not call.cancelled:
                world.fail(3, f"{what} of {name} is cancelled, and nobody has cancelled it")
            return None
        finally:
            world.calls.pop(me, None)
        if what == "invalidate":
            house.raise_floor((name, _ANYTHING, None), call.sends, 15)
        machine.note(f"{what} {name} returns {_short(value)}" if machine.trace is not None else "")
        return call, value

    def _check_current(self, call: Call, secret: Secret) -> None:
        name = call.name
        answered = self._check_answer(call, secret)
        self._check_floor(call, secret, (name, CURRENT, None))
        self._check_floor(call, secret, (name, _ANYTHING, None))
        if secret["key"] not in self.world.spare:  # row K's last resort: nobody could place it
            self._check_order(call, answered.version)
        if call.what.endswith("refresh") and answered.sent <= call.sends and not self._lagged(call):
            self.world.fail(14, f"{call.what} of {name} returns the answer to request {answered.sent}, begun before it")

    def _lagged(self, call: Call) -> bool:
        """Whether a request sent since the call began was answered by a region that may be behind."""
        return self.house.lagged.get(call.name, 0) > call.sends

    def _check_answer(self, call: Call, secret: Secret) -> Any:
        world, plan = self.world, self.world.plan
        answered = world.answered(secret)
        vault = answered.vault
        told = (secret.version_id, secret.version_stages, secret.region, secret.arn, secret.name)
        said = (version_id(answered.version), answered.stages, answered.region, vault.arn(answered.region), vault.name)
        if told != said or vault.name != call.name or secret["password"] != f"{CANARY}-{answered.version}":
            world.fail(4, f"{call.what} of {call.name} returns {told}, but the answer was {said}")
        if vault.foreign and call.what != "foreign":
            world.fail(5, f"{call.what} of {call.name} returns {secret.arn}, which only has the name")
        age = self.machine.current.read_at - answered.sent_at
        # Of a pair, one was read before the other; a login waits for its turn with its value in hand.
        before = world.cloud.arrived.get(answered.sent, self.machine.time) < call.began and call.what in _NOW
        # Where nothing may be kept at all, whoever joins a flight gets what was asked for since it began.
        kept = plan.ttl + plan.max_stale > 0.0
        spare = world.plan.flight if secret["key"] in world.spare or not kept else 0.0
        if age > plan.ttl + plan.max_stale + spare + 1e-6 and before:
            world.fail(6, f"{call.what} of {call.name} returns a value {age:.3f} s old")
        if secret.requested_at > answered.sent_at + 1e-6:
            world.fail(
                6, f"a value of {call.name} looks {secret.requested_at - answered.sent_at:.3f} s younger than it is"
            )
        if age > plan.ttl and before:
            world.counters["stale served"] += 1
        if CANARY in f"{secret!r}{secret}":
            world.fail(17, "a secret's repr shows its value")
        return answered

    def _check_remembered(self, call: Call, secret: Secret) -> None:
        """A remembered version is used only while AWSCURRENT is the one it stands in for, which was refused."""
        bridged = call.cache._bridged
        held, moves = _current(call.cache, call.name)
        for found in list(bridged._found.values()) if bridged is not None else []:
            if found.secret is not secret:
                continue
            self.world.counters["remembered"] += 1
            if int(found.instead_of[:8]) not in self.world.databases[call.name].refused:
                self.world.fail(25, f"{call.what} of {call.name} logs in instead of a version that was never refused")
            # A move during this call may have come between the look at AWSCURRENT and the login.
            if held not in (None, found.instead_of, secret.version_id) and moves == call.moves:
                self.world.fail(25, f"{call.what} of {call.name} logs in with what stood in for another AWSCURRENT")

    def _check_floor(self, call: Call, secret: Secret, key: tuple[str, str | None, str | None]) -> None:
        floor, number = call.floors.get(key, (0, 0))
        sent = self.world.answered(secret).sent
        if sent <= floor and call.cache is self.house.cache:
            why = "was refused for good" if number == 7 else "was invalidated"
            self.world.fail(
                number, f"{call.what} of {call.name} returns the answer to request {sent}; it {why} after {floor}"
            )

    def _check_order(self, call: Call, version: int) -> None:
        house, name = self.house, call.name
        if call.cache is not house.cache:
            return
        history = self.world.cloud.vaults[name].history
        low = call.low if call.epoch == house.epoch[name] else 0
        place = next((number for number in range(low, len(history)) if history[number] == version), None)
        if place is None:
            self.world.fail(5, f"{call.what} of {name} goes back to version {version}, behind {history[low]}")
        elif call.epoch == house.epoch[name]:
            house.low[name] = max(house.low.get(name, 0), place)

    def _check_error(self, call: Call, error: Exception) -> None:
        world = self.world
        self.machine.note(f"{call.what} {call.name} raises {error!r:.200}" if self.machine.trace is not None else "")
        if isinstance(error, CacheClosedError) and not self.house.leaving and call.cache is self.house.cache:
            world.counters["closed"] += 1
        if not isinstance(error, (SecretCacheError, RefusedError)) or isinstance(error, ValueError):
            world.fail(0, f"{call.what} of {call.name} raises {error!r}")
        texts = [str(error), repr(error), repr(error.__cause__), repr(vars(error))]
        if isinstance(error, LoginNotTriedError):
            texts.append(str(error.tried))
        self._errors += 1
        if self._errors % 16 == 1 and not isinstance(error, RefusedError):
            told = traceback.TracebackException.from_exception(error, capture_locals=True)
            texts += list(told.format())
        if any(CANARY in text for text in texts):
            world.fail(17, f"{type(error).__name__} carries a value")

    # What is drawn.

    def _timeout(self) -> float | None:
        return self.draw.choice([None, None, None, 0.02, 0.3, 1.0, 20.0])

    def _id(self, name: str) -> str:
        vault = self.world.cloud.vaults[name]
        drawn = self.draw.random()
        if drawn < 0.7:
            return name
        arn = vault.arn(self.draw.choice(self.world.plan.regions))
        return arn if drawn < 0.9 else arn.rpartition("-")[0]


def _current(cache: SecretCache, name: str) -> tuple[str | None, int]:
    """The version that AWSCURRENT has in this cache, and how often it has moved; without a lock, since nobody runs."""
    secret, store = parse_secret_id(name, cache._settings.regions), cache._engine.store
    entry, lineage = store.find(Query(secret)), store.lineage_of(secret)
    return entry.secret.version_id if entry else None, lineage.moves if lineage else 0


def _short(value: Any) -> str:
    return f"{value.version_id[:8]} of {value.region}" if isinstance(value, Secret) else f"{value!s:.80}"


def _is_refused(error: Exception) -> bool:
    return isinstance(error, RefusedError)


_IN_PEACE: tuple[Callable[[Caller, str], None], ...] = (Caller.get, Caller.get_often, Caller.aget, Caller.look)
"""What forces nothing: each key has to converge by itself."""
_OPERATIONS: tuple[Callable[[Caller, str], None], ...] = (
    *[Caller.get] * 8,
    *[Caller.get_often] * 6,
    *[Caller.aget] * 4,
    *[Caller.refresh] * 3,
    *[Caller.refresh_newer] * 2,
    *[Caller.get_version] * 3,
    Caller.get_pair,
    Caller.prefetch,
    *[Caller.invalidate] * 2,
    Caller.look,
    *[Caller.connect] * 3,
    *[Caller.connect_often] * 2,
    Caller.aconnect,
)
