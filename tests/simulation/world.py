"""One seed's story: processes with a cache each, their callers, and what befalls them; first faults, then peace."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from secretcache import SecretCache
from secretcache._transport import Failure
from simulation.cloud import CANARY, Answered, Cloud, Database, Sent, Wire, kind_of, version_id
from simulation.machine import Machine, Process, Task, ViolationError, chance
from simulation.primitives import Lock, SimulatedRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.plan import Plan

PATHS = (
    "failover",
    "failback",
    "hedge won",
    "hedge lost",
    "lag",
    "rollback",
    "row K",
    "throttle gate",
    "queued",
    "moved",
    "probe lost",
    "AWSPENDING bridge",
    "fork in flight",
    "clock jump",
    "stale served",
    "definitive drop",
)
"""The rare paths of semantics.md."""
CROWD = tuple(f"crowd/{number}" for number in range(24))
"""Secrets that are read in crowds only: each cold read of one waits for a thread of its own."""
PARKED, OPEN_LONGEST, DWELL = 600.0, 60.0, 30.0
PEACE_LAG = 5.0


@dataclass(eq=False)
class Call:
    """A call of the cache that has not returned."""

    what: str
    name: str
    began: float
    deadline: float
    sends: int
    """The number of the request begun last when it began."""
    epoch: int
    low: int
    cache: SecretCache
    moves: int = 0
    """How often its secret's AWSCURRENT had moved when it began."""
    closing: bool = False
    in_user_code: int = 0
    cancelled: bool = False
    floors: dict[tuple[str, str | None, str | None], tuple[int, int]] = field(default_factory=dict)
    """As the house's, when it began."""


@dataclass(eq=False)
class House:
    """A process and its cache, and what the checks know of it."""

    world: World
    process: Process
    runtime: SimulatedRuntime
    wire: Wire
    process_lock: Lock
    cache: SecretCache = None  # type: ignore[assignment] # made in a task of its own process
    engine: Any = None
    low: dict[str, int] = field(default_factory=dict)
    """By secret: the place in the primary's history before which no later read may go back."""
    epoch: Counter[str] = field(default_factory=Counter)
    """How often a secret's readers were allowed to go back: row K's last resort, and where nothing newer was there."""
    lagged: dict[str, int] = field(default_factory=dict)
    """By secret: the last request to a region whose word does not count that did not bring the version held. A reader
    who insists on a request of his own may get the version held then, whenever it was asked for."""
    floors: dict[tuple[str, str | None, str | None], tuple[int, int]] = field(default_factory=dict)
    """By what was asked: the first request of the refusal that was final, or of the last `invalidate`."""
    permits: dict[str, float] = field(default_factory=dict)
    gates: dict[str, float] = field(default_factory=dict)
    """By region: until when it is left alone, because it has throttled."""
    throttled_at: dict[str, float] = field(default_factory=dict)
    paced: set[str] = field(default_factory=set)
    """Regions that have answered since they throttled last."""
    moved: dict[str, float] = field(default_factory=dict)
    """By region: when a thread last sent a request."""
    breakers: dict[Any, str] = field(default_factory=dict)
    hooks: dict[int, str] = field(default_factory=dict)
    """By hook: the version it was told of last."""
    gone: set[int] = field(default_factory=set)
    """Hooks of a cache that was closed: one that ran then may come to its end later."""
    hook_low: dict[int, int] = field(default_factory=dict)
    hook_of: dict[int, str] = field(default_factory=dict)
    hooks_running: int = 0
    hook_ended_at: float = float("-inf")
    tries: int = 0
    tried_at: float = float("-inf")
    leaving: bool = False
    reopening: bool = False
    parked: bool = False
    numbers: set[int] = field(default_factory=set)
    """Of the hooks that its cache has."""

    def note_lag(self, name: str, sent: int) -> None:
        """An answer did not show the version held, and its region is not believed."""
        self.lagged[name] = max(sent, self.lagged.get(name, 0))

    def forgive(self, query: Any) -> None:
        """A reader may be taken back: there was nothing newer to be had."""
        name = self.world.name_of(query)
        self.epoch[name] += 1
        self.low[name] = 0
        self.world.machine.note(f"readers of {name} may be taken back")

    def refused(self, query: Any, first: int) -> None:
        """Class D: what was asked for before is not served any more."""
        self.raise_floor((self.world.name_of(query), query.stage, query.version_id), first, 7)

    def raise_floor(self, key: tuple[str, str | None, str | None], sent: int, number: int) -> None:
        self.world.machine.note(f"{key} is refused or forgotten: what was asked for up to {sent} is gone ({number})")
        if sent > self.floors.get(key, (0, 0))[0]:
            self.floors[key] = sent, number


class World:
    """The machine, the cloud and the houses of one run."""

    def __init__(self, plan: Plan, *, trace: bool = False) -> None:
        self.plan = plan
        self.machine = Machine(plan.seed, sticky=plan.sticky)
        if trace:
            from collections import deque  # noqa: PLC0415

            self.machine.trace = deque()
        self.machine.before_time_passes, self.machine.jumped = self._before_time_passes, self._jumped
        self.cloud = Cloud(
            self.machine, plan.regions, (*plan.names, *CROWD), chance("cloud", plan.seed), plan.foreign_in
        )
        self.databases = {
            name: Database(self.machine, vault, locks=name != plan.names[-1] or len(plan.names) == 1)
            for name, vault in self.cloud.vaults.items()
        }
        self.counters: Counter[str] = Counter()
        self.houses: dict[Process, House] = {}
        self.calls: dict[Task, Call] = {}
        self.sends = 0
        self.sent_of: dict[Any, Sent] = {}
        self.said: dict[Any, str] = {}
        self.brought: dict[Any, float] = {}
        self.judging: Any = None
        self.spare: set[str] = set()
        """Answers that were kept until no other region had a better one: as old as their flight, then."""
        self.peace = False
        self.over = False
        self.jumps = 0.0
        self._to_check: list[tuple[float, list[Task]]] = []
        """When somebody must be gone, and who."""
        self._unowned: dict[Any, int] = {}

    # Houses.

    def new_house(self) -> House:
        process = Process(len(self.houses) + 1)
        runtime = SimulatedRuntime(self.machine, process, self.plan.seed)
        wire = Wire(self.cloud, process, chance("wire", self.plan.seed, process.pid), self._note_reply)
        house = House(self, process, runtime, wire, Lock(self.machine, process))
        self.houses[process] = house
        return house

    def open_cache(self, house: House) -> None:
        """Makes the cache of a process, in a task of it."""
        plan = self.plan
        house.low.clear()
        house.floors.clear()
        house.permits.clear()
        house.gates.clear()
        house.paced.clear()
        house.throttled_at.clear()
        house.moved.clear()
        house.gone.update(house.numbers)  # one that was called when the old cache was closed tells of it later
        house.numbers.clear()
        house.hooks.clear()
        house.cache = SecretCache(
            list(plan.regions),
            ttl=plan.ttl,
            max_stale=plan.max_stale,
            max_entries=plan.max_entries,
            refresh=plan.refresh,
            primary_region=self.cloud.primary if plan.tells_primary else None,
            _runtime=house.runtime,
            _transport=house.wire,
        )
        house.cache._warns = False  # a story that fails ends where it is

    def house(self) -> House:
        """That of the task that runs."""
        return self.houses[self.machine.current.process]

    def name_of(self, query: Any) -> str:
        return self.cloud._vault(query.secret.name).name

    def fail(self, number: int, text: str) -> None:
        self.machine.fail(number, text)

    # What the watchers and the wire tell.

    def _note_reply(self, leg: Any, reply: Any, kind: str) -> None:
        kind = kind_of(reply, kind)
        if kind == "fair" and self.cloud.only_foreign(reply):
            kind = "foreign"
        if kind == "opt-in":
            self.house().parked = True
        if leg is not None:
            self.said[leg] = kind
            if isinstance(reply, Failure) and CANARY in str(reply):
                self.fail(17, "a failure carries a value")

    def noticed(self, bulletin: Any, event: Any) -> None:
        """An event of the cache."""
        self.machine.note(f"event {event.name} {event.region} {event.outcome} {event.detail}")
        if CANARY in f"{event}":
            self.fail(17, f"an event of {event.name} carries a value")
        if event.name == "failover":
            self.counters["failback" if event.region == self.plan.regions[0] else "failover"] += 1
        elif event.name == "throttled":
            self.counters["throttle gate"] += 1
        elif event.name == "bridged" and event.detail == "AWSPENDING":
            self.counters["AWSPENDING bridge"] += 1
        elif event.name == "divergence" and self.cloud.foreign.arn(self.cloud.foreign_in) in event.detail:
            self.counters["foreign told"] += 1
            ours = self.cloud.vaults[self.cloud.foreign.name]
            if not any(ours.arn(region) in event.detail for region in self.cloud.regions):
                self.fail(5, f"what was held is not named beside the foreign secret: {event.detail}")

    def check_permit(self, region: str, permit: Any) -> None:
        """A permit of which no request is known: it is given to one in the next step, or it has leaked."""
        self._unowned[permit] = self._unowned.get(permit, 0) + 1
        if self._unowned[permit] > 1:
            self.fail(10, f"a permit of {region} belongs to no request any more")

    def check_replaced(self, before: Any, after: Any) -> None:
        """15: what replaces a value was asked for later, or is the same version."""
        old, new = self.answered(before), self.answered(after)
        history = new.vault.history
        if new.sent >= old.sent or new.version == old.version or old.version not in history:
            return
        # What was rolled back to has more than one place: whoever has not seen all of it cannot tell which.
        last = len(history) - 1 - history[::-1].index(new.version) if new.version in history else -1
        if history.index(old.version) > last:
            self.fail(15, f"the late answer to request {new.sent} overwrites that to {old.sent}")

    def answered(self, secret: Any) -> Answered:
        """The answer that a value came in."""
        return self.cloud.answers[secret["key"]]

    # Time.

    def _before_time_passes(self) -> None:
        time = self.machine.time
        for task, call in self.calls.items():
            if self._waits_for_a_hook(task, call):
                continue
            if call.deadline < time - 1e-9 and not call.in_user_code:
                number = 21 if call.closing else 2
                self.fail(number, f"{call.what} of {call.name} goes on {time - call.deadline:.3f} s after its deadline")
        for due, tasks in [one for one in self._to_check if one[0] <= time - self.jumps]:
            self._to_check.remove((due, tasks))
            self._check_ended(tasks)
        if not self.peace and self.machine.steps >= self.plan.steps:
            self.make_peace()

    def _jumped(self, seconds: float) -> None:
        # Who waits for a moment wakes when it is past. Who was about to read the clock reads another time.
        self.jumps += seconds
        for task, call in self.calls.items():
            if not (task.blocked and task.timed) or call.what in ("pair", "prefetch"):  # they go on to further reads
                call.deadline += seconds

    def _waits_for_a_hook(self, task: Task, call: Call) -> bool:
        """In `on_access` mode a task waits for a hook that runs in a worker thread, however long that takes."""
        in_task = call.what in ("aget", "arefresh", "connect async")
        return in_task and self.plan.refresh == "on_access" and self.houses[task.process].hooks_running > 0

    @staticmethod
    def hook_begins(house: House, call: Call | None) -> None:
        """A hook runs: in a caller's own task, or in a worker for whoever awaits it."""
        house.hooks_running += 1
        if call is not None:
            call.in_user_code += 1

    def hook_ended(self, house: House, held: Call | None) -> None:
        """Who waited for a hook goes on now."""
        house.hooks_running -= 1
        house.hook_ended_at = self.machine.time
        if held is not None:
            held.in_user_code -= 1
            # A pair's reader goes on to further reads, each with its own time.
            held.deadline = max(held.deadline, self.machine.time + (60.0 if held.what == "pair" else 0.0))
        for task, call in self.calls.items():
            if self.houses[task.process] is house and call.what.startswith(("a", "connect async")):
                call.deadline = max(call.deadline, self.machine.time)

    # Peace.

    def make_peace(self) -> None:
        """From now on nothing fails any more."""
        if self.peace:
            return
        self.peace = True
        machine, cloud = self.machine, self.cloud
        machine.jump_at = 1 << 62
        machine.note("--- peace")
        cloud.lag = PEACE_LAG
        for weather in cloud.weather.values():
            weather.kind, weather.slow, weather.silence = "fair", 0.0, 0.0
        for house in self.houses.values():
            house.runtime.threads_allowed = True
        for vault in cloud.vaults.values():
            vault.refused.clear()
            vault.accepts = vault.now.current
            if vault.now.pending is not None:
                vault.change(pending=None)
            cloud.publish(vault, PEACE_LAG)
        bound = machine.time + self.plan.ttl + OPEN_LONGEST + DWELL + PEACE_LAG
        machine.at(machine.time + self.plan.ttl + PEACE_LAG, lambda: self._judge_houses(bound))

    def _judge_houses(self, bound: float) -> None:
        for house in self.houses.values():
            if not house.leaving and house.cache is not None:
                self.machine.start(lambda house=house: self._judge(house, bound), "judge", house.process)  # type: ignore[misc]

    def _judge(self, house: House, bound: float) -> None:
        """22: sooner or later, and before the bound, each key is what the primary says; then the house is left."""
        while (wrong := self._not_converged(house)) is not None:
            if self.machine.time < bound + self._parked():
                self.machine.sleep(min(5.0, bound + self._parked() - self.machine.time))
            elif wrong[0] == 13 and self._is_told(house):
                self.machine.sleep(5.0)
            else:
                break
        if wrong is not None:
            self.fail(*wrong)
        self.counters["converged"] += 1
        self._close(house)
        house.leaving = True
        if all(one.leaving or one.cache is None for one in self.houses.values()):
            self.over = True
            self.machine.sleep(60.0)  # whoever hangs, hangs no longer than that
            self._check_nobody_left()
            self.machine.stop()

    def _is_told(self, house: House) -> bool:
        """Whether a hook that blocks is on its way through the changes it was not told of yet, one after the other."""
        return house.hooks_running > 0 or self.machine.time < house.hook_ended_at + 1.0

    def _parked(self) -> float:
        # Told late, too: by an answer that was under way when peace began.
        return PARKED if any(house.parked for house in self.houses.values()) else 0.0

    def _not_converged(self, house: House) -> tuple[int, str] | None:
        for name in self.plan.names:
            vault = self.cloud.vaults[name]
            wanted = version_id(vault.now.current)
            try:
                version = house.cache.get(name).version_id
            except Exception as error:  # noqa: BLE001 - whatever it is, it is none that peace allows in the end
                version = repr(error)
            if version != wanted:
                return (
                    22,
                    f"process {house.process.pid} reads {version} of {name}, not {wanted}, long after the last fault",
                )
            for number, told in house.hooks.items():
                if house.hook_of[number] == name and told != wanted:
                    return 13, f"hook {number} of {name} was told of {told} last, not of {wanted}"
        return None

    def _close(self, house: House) -> None:
        """21: closes a cache, and has it looked at who is still there."""
        machine = self.machine
        cache, began, jumps = house.cache, machine.time, self.jumps
        inside = [task for task in house.process.tasks if task.name.startswith("secretcache")]
        cache.close()
        for call in self.calls.values():
            if call.cache is cache and not call.what.startswith("connect"):
                call.deadline, call.closing = min(call.deadline, machine.time), True
        if machine.time > began + 2.0 + self.jumps - jumps:
            self.fail(21, f"close() takes {machine.time - began:.1f} s")
        # The periodic thread goes at once; a lane's thread that misses the word goes when it was idle for ten seconds;
        # no request hangs for more than 30.
        periodic = [task for task in inside if task.name == "secretcache-refresh"]
        # Counted without jumps: they give nobody time to go.
        self._to_check += [(machine.time - self.jumps, periodic), (machine.time - self.jumps + 45.0, inside)]

    def _check_ended(self, tasks: list[Task]) -> None:
        for task in tasks:
            if not task.ended and not task.outside:
                frames = "".join(traceback.format_stack(task.green.gr_frame)) if task.green.gr_frame else ""
                self.fail(21, f"{task.name} is still there after close(), blocked: {task.blocked}\n{frames}")

    def _check_nobody_left(self) -> None:
        left = [
            task.name
            for house in self.houses.values()
            for task in house.process.tasks
            if task.name.startswith("secretcache")
        ]
        if left:
            self.fail(21, f"{', '.join(left)} outlive the caches")


class Ear(logging.Handler):
    """Hears every log record of the process, with the root logger at DEBUG."""

    def __init__(self, fail: Callable[[int, str], None]) -> None:
        super().__init__()
        self._fail = fail

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" {record.exc_info[1]!r}"
        if CANARY in text or any(
            CANARY in str(value) for name, value in vars(record).items() if name.startswith("secretcache")
        ):
            self._fail(17, f"a value is in a log record of {record.name}")
        if "please report" in text:
            self._fail(0, text)


__all__ = ["PATHS", "Call", "Ear", "House", "ViolationError", "World"]
