"""Every order in which two regions can show the versions of one secret, against models of the primary and of the table.

The cache is the real one, over two regions of which one replicates the other with lag; nothing runs in a thread: who
waits does the lanes' work. So each run is one order of requests and answers, and every order of a short history is
tried. Two models stand beside it. The *world* knows the primary's history and at which point of it each answer was
given: what is read never goes back in it (5), and ends at its end (22). The *table* is rows I, J and K of the decision
table, written down once more: what is held after each answer, and what hooks are told (13).
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from secretcache import Event, Secret, SecretCache, SecretUnavailableError
from secretcache._hooks import RotationEvent
from secretcache._regions.lanes import Lane
from secretcache._runtime import Event as RuntimeEvent
from secretcache._transport import Call, DescribeCall, Failure, Fault, Reply, Request
from support import NOTHING_REMEMBERED, OSAKA, TOKYO, House, ManualRuntime, answer, failure

NAME, CURRENT = "prod/db", "AWSCURRENT"
REPLICA, PRIMARY = OSAKA, TOKYO
TTL, LAST_RESORT = 100.0, 900.0
REPLICA_ONLY, PRIMARY_ONLY, BOTH = (REPLICA,), (PRIMARY,), (REPLICA, PRIMARY)
History = tuple[str, ...]
Step = tuple[tuple[str, ...], int, int]
"""One read: which regions can be reached, how far the primary is in its history, and how far the replica."""
HISTORIES = [
    ("v1", "v2", "v3"),
    ("v1", "v2", "v1"),
    ("v1", "v2", "v3", "v2"),
    ("v1", "v2", "v3", "v1"),
    ("v1", "v2", "v1", "v3"),
    ("v1", "v2", "v1", "v2"),
]


class Pump(ManualRuntime):
    """A machine without threads: who waits does what the lanes have to do, in its order; else time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: deque[Callable[[], None]] = deque()

    def wait(self, event: RuntimeEvent, until: float) -> bool:
        while not event.is_set() and self.jobs:
            self.jobs.popleft()()
        if not event.is_set():
            self._time = max(self._time, until)
        return event.is_set()

    def work(self) -> None:
        while self.jobs:
            self.jobs.popleft()()


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(lane: Lane, job: Callable[[], None]) -> bool:
        assert isinstance(lane._runtime, Pump)
        lane._runtime.jobs.append(job)
        return True

    monkeypatch.setattr(Lane, "submit", submit)


@dataclass
class Table:
    """Rows I, J and K: which version is held, as answers come. Knows nothing of the world but those."""

    primary: str | None
    held: str | None = None
    others: bool = False
    """Whether it has seen any other version."""
    superseded: list[str] = field(default_factory=list)
    seen_in: dict[str, str] = field(default_factory=dict)
    """By region: the version it showed last."""
    seen_at: dict[str, int] = field(default_factory=dict)
    up: set[str] = field(default_factory=set)
    """Regions that have shown the version held since it is: who showed it before says nothing of today."""
    brought: int = 0
    accepted: int = 0
    confirmed: float = 0.0
    doubted: str | None = None
    vouched: tuple[str, int] | None = None
    silent: dict[str, float] = field(default_factory=dict)
    """By region: since when it has answered nothing."""
    moves: list[tuple[str, str]] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)

    def current(self, region: str, version: str, number: int, sent: int, now: float) -> None:
        """A region has shown a version, in the request of that number; so many have been sent by now."""
        if self.held is None:
            self.held, self.accepted = version, sent
        if not self.others and version == self.held:  # as long as there is one version, only its last answer is known
            if number > self.brought:
                self.brought, self.confirmed = number, now
                self.seen_in, self.seen_at, self.up = {region: version}, {region: number}, {region}
            return
        self.others = True
        if number < self.seen_at.get(region, 0):
            self.rows["late"] += 1
            return
        if version == self.held:
            self.confirmed, self.doubted = max(self.confirmed, now), None
        elif number > self.accepted:
            self._another(region, version, number, sent, now)
        elif version in self.superseded or number <= self.brought:
            self.rows["late"] += 1
            return
        else:
            self.rows["K"] += 1
            self.doubted = region
        before = self.seen_in.get(region, version)
        if version == self.held and before not in (version, *self.superseded):  # this region has moved on from it
            self.superseded.insert(0, before)
        self.up |= {region} if version == self.held else set()
        self.seen_in[region], self.seen_at[region] = version, number

    def _another(self, region: str, version: str, number: int, sent: int, now: float) -> None:
        it_moved = region in self.up
        vouched = self.vouched is not None and self.vouched[0] == region and number > self.vouched[1]
        if region == self.primary or it_moved or vouched:
            self.rows["J" if version in self.superseded else "K, vouched" if vouched else "forward"] += 1
            self._move(version, number, sent, now, sure=True)
        elif version in self.superseded and self._is_lost(now):
            self.rows["I, last resort"] += 1
            self._move(version, number, sent, now, sure=False)
        elif version in self.superseded:
            self.rows["I"] += 1
            self.doubted = None
        elif now > self.confirmed + LAST_RESORT:
            self.rows["K, last resort"] += 1
            self._move(version, number, sent, now, sure=False)
        else:
            self.rows["K"] += 1
            self.doubted = region

    def _is_lost(self, now: float) -> bool:
        those = self.up | ({self.primary} if self.primary else set())
        silent = all(now > self.silent.get(one, now) + LAST_RESORT for one in those)
        return silent and now > self.confirmed + LAST_RESORT

    def _move(self, version: str, number: int, sent: int, now: float, *, sure: bool) -> None:
        assert self.held is not None
        self.superseded = [one for one in self.superseded if one not in (version, self.held)]
        self.superseded += [self.held] if sure else []
        self.moves.append((self.held, version))
        self.held, self.brought, self.accepted, self.confirmed = version, number, sent, now
        self.up = set()
        self.doubted = self.vouched = None

    def previous(self, region: str, version: str, sent: int) -> None:
        """A region has shown its AWSPREVIOUS."""
        if self.doubted == region and version == self.held:
            self.vouched = (region, sent)


class World:
    """A primary with a history, a replica that follows it, and what each of them answers. The cache's transport."""

    def __init__(self, history: History, table: Table, now: Callable[[], float], *, tells: bool) -> None:
        self.history, self.table, self.now, self.tells = history, table, now, tells
        self.head = self.copied = 0
        self.up: tuple[str, ...] = BOTH
        self.sent = 0
        self.meanwhile: Callable[[], None] | None = None
        """What happens while the next answer is on its way."""

    def send(self, call: Request) -> Reply:
        if isinstance(call, DescribeCall):
            return self._describe()
        assert isinstance(call, Call)
        self.sent += 1
        number, now, reply = self.sent, self.now(), self._reply(call)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if isinstance(reply, Failure):
            self.table.silent.setdefault(call.region, self.now())
        else:
            self.table.silent.pop(call.region, None)
        if not isinstance(reply, Failure) and call.query.stage == CURRENT:
            self.table.current(call.region, reply["VersionId"], number, self.sent, now)
        elif not isinstance(reply, Failure):
            self.table.previous(call.region, reply["VersionId"], self.sent)
        return reply

    def _reply(self, call: Call) -> Reply:
        stage, at = call.query.stage, self.head if call.region == PRIMARY else self.copied
        if call.region not in self.up:
            return failure()
        if stage != CURRENT and at == 0:
            return failure(Fault.MISSING, "ResourceNotFoundException")
        version = self.history[at if stage == CURRENT else at - 1]
        return answer(call.region, str(at), VersionId=version, VersionStages=[stage])

    def _describe(self) -> Reply:
        if not self.tells:
            return failure(Fault.DENIED, "AccessDeniedException")
        self.table.primary = PRIMARY
        return {"PrimaryRegion": PRIMARY}

    def ready(self, region: str) -> bool:
        return True

    def prepare(self, region: str) -> Failure | None:
        return None

    def pending(self, region: str) -> str:
        """There is nothing to wait for."""
        return ""

    def reload(self) -> None:
        raise AssertionError("no credentials have failed")

    def host(self, region: str) -> str:
        return f"secretsmanager.{region}.amazonaws.com"

    def close(self) -> None:
        return None


class Play:
    """One cache in one world, and what is checked after every read."""

    def __init__(self, history: History, known: str, *, prompt: bool = True) -> None:
        self.runtime = Pump()
        self.table = Table(PRIMARY if known == "given" else None)
        self.world = World(history, self.table, self.runtime.now, tells=known == "learned")
        self.prompt = prompt
        self.told: list[tuple[str, str]] = []
        self.events: list[Event] = []
        self.floor: int | None = None
        """How far in the primary's history the readers have been."""
        self.returns = 0
        """How often a version came back that a region moved on from when it was current before."""
        self.cache = SecretCache(
            list(BOTH),
            ttl=TTL,
            refresh="on_access",
            primary_region=self.table.primary,
            _runtime=self.runtime,
            _transport=self.world,
            _policy=NOTHING_REMEMBERED,
        )
        House.built.append(self.cache)
        self.cache.add_event_hook(self.events.append)
        self.cache.add_rotation_hook(NAME, self._hook)

    def _hook(self, event: RotationEvent) -> None:
        self.told.append((event.old.version_id, event.new.version_id))

    def step(self, step: Step, how: str = "refresh") -> None:
        """The world moves on, and somebody reads."""
        self.world.up, head, copied = step
        self.world.head, self.world.copied = max(self.world.head, head), max(self.world.copied, copied)
        self.read(how)

    def read(self, how: str = "refresh") -> None:
        before = len(self.table.moves)
        # The regions that this read had not asked yet may have gone meanwhile.
        with contextlib.suppress(SecretUnavailableError):
            secret: Secret = getattr(self.cache, how)(NAME)
            overtaken = {old for old, _ in self.table.moves[before:]}  # while this read was under way
            if secret.version_id == self.table.held or secret.version_id not in overtaken:
                self.see(secret)
        if self.prompt:
            self.runtime.work()
        self.see(self.cache.get(NAME))
        assert self.told == self.table.moves, "13: once for each accepted change, in order"
        self.runtime.advance(1.0)

    def see(self, secret: Secret) -> None:
        assert secret.version_id == self.table.held, f"rows I, J, K: {self.table}"
        at, history = int(secret.string), self.world.history
        assert secret.version_id == history[at], "4: value and version are of one answer"
        floor = at if self.floor is None else self.floor
        if at < floor and history[at] != history[floor]:
            # The version held was current before: its region moves on from that time, and nobody can know.
            came_back = history[floor] in history[:at]
            last_resort = self.table.rows["K, last resort"] + self.table.rows["I, last resort"] > 0
            assert came_back or last_resort, f"5: {history[at]} at {at} is read after {history[floor]} at {floor}"
            self.returns += came_back
            floor = at
        self.floor = max(floor, at)

    def ends(self) -> None:
        """The faults and the lag are over: the readers get to the end of the history."""
        self.runtime.work()
        self.world.meanwhile = None
        self.world.up, self.world.head = BOTH, len(self.world.history) - 1
        self.world.copied = self.world.head
        deadline = self.runtime.now() + TTL + 61
        while self.world.history[self.world.head] != self.cache.get(NAME).version_id:
            assert self.runtime.now() < deadline, f"22: converges: {self.table}"
            self.runtime.advance(5.0)
            self.read("get")
        assert self.told == self.table.moves
        House.built.remove(self.cache)
        self.cache.close()


def steps(history: History, count: int, reached: tuple[tuple[str, ...], ...]) -> Iterator[tuple[Step, ...]]:
    """Every way in which that many reads can find two regions, of which one follows the other.

    A region that cannot be reached moves only as far as it must: more would show nothing else.
    """

    def further(count: int, head: int, copied: int) -> Iterator[tuple[Step, ...]]:
        if not count:
            yield ()
            return
        for up in reached:
            for shown in range(copied, len(history)) if REPLICA in up else [copied]:
                ahead = max(head, shown)
                for newest in range(ahead, len(history)) if PRIMARY in up else [ahead]:
                    for rest in further(count - 1, newest, shown):
                        yield ((up, newest, shown), *rest)

    return further(count, 0, 0)


def play(history: History, known: str, those: tuple[Step, ...], *, prompt: bool = True) -> Play:
    one = Play(history, known, prompt=prompt)
    for step in those:
        one.step(step)
    one.ends()
    return one


ASKED_ONE_BY_ONE = [*((one, 4) for one in HISTORIES[:3]), *((one, 3) for one in HISTORIES[3:5]), (HISTORIES[5], 3)]


@pytest.mark.parametrize("known", ["given", "unknown"])
@pytest.mark.parametrize(("history", "reads"), ASKED_ONE_BY_ONE, ids=str)
def test_every_order_in_which_two_regions_can_show_a_short_history(history: History, reads: int, known: str) -> None:
    rows: Counter[str] = Counter()
    for those in steps(history, reads, (REPLICA_ONLY, PRIMARY_ONLY)):
        rows += play(history, known, those).table.rows
    never = {"forward", "K", *(("I", "J") if len({*history}) < len(history) else ("I",))} - {*rows}
    assert not never, f"rows that no order has reached: {never}"


@pytest.mark.parametrize("known", ["given", "learned", "unknown"])
@pytest.mark.parametrize("history", HISTORIES[:3], ids=str)
def test_every_order_in_which_the_primary_can_be_asked_about_what_the_replica_shows(
    history: History, known: str
) -> None:
    """What is asked for nobody in particular is answered only when the next reader waits."""
    rows: Counter[str] = Counter()
    for those in steps(history, 3, (PRIMARY_ONLY, BOTH)):
        rows += play(history, known, those, prompt=False).table.rows
    assert rows["forward"] > 0
    assert rows["I"] > 0


STEPS = st.fixed_dictionaries(
    {
        "up": st.sampled_from([REPLICA_ONLY, PRIMARY_ONLY, BOTH]),
        "how": st.sampled_from(["refresh", "refresh", "get"]),
        "ahead": st.integers(0, 2),
        "copied": st.integers(0, 2),
        "seconds": st.sampled_from([0.0, 0.0, 1.0, TTL, LAST_RESORT + 2]),
        "meanwhile": st.booleans(),
    }
)


@st.composite
def long_histories(draw: st.DrawFn) -> History:
    """New versions, and now and then one that was there before."""
    history = ["v1"]
    for number in range(2, draw(st.integers(4, 9))):
        back = draw(st.sampled_from([0, 0, 0, 1, 2]))
        before = [one for one in dict.fromkeys(history) if one != history[-1]]
        history.append(before[-back] if 0 < back <= len(before) else f"v{number}")
    return tuple(history)


REACHED: Counter[str] = Counter()


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(
    long_histories(),
    st.sampled_from(["given", "learned", "unknown"]),
    st.booleans(),
    st.lists(STEPS, min_size=8, max_size=25),
)
def check_long_histories(history: History, known: str, prompt: bool, those: list[dict[str, Any]]) -> None:  # noqa: FBT001
    one = Play(history, known, prompt=prompt)
    for step in those:
        one.runtime.advance(step["seconds"])
        head = min(one.world.head + step["ahead"], len(history) - 1)
        where = (step["up"], head, min(one.world.copied + step["copied"], head))
        if (
            step["meanwhile"] and one.floor is not None
        ):  # a reader whose request is on its way while the world moves on and somebody else reads
            one.world.meanwhile = partial(one.step, where)
        else:
            one.step(where, step["how"])
    one.ends()
    REACHED.update(one.table.rows)
    REACHED["returned"] += one.returns


def test_long_histories_with_answers_that_overtake_one_another() -> None:
    REACHED.clear()
    check_long_histories()
    rows = {"forward", "I", "J", "K", "K, vouched", "K, last resort", "late"}
    assert all(REACHED[row] >= 10 for row in rows), REACHED


def test_a_region_that_showed_a_version_before_it_came_back_is_not_taken_for_up_to_date() -> None:
    """The replica showed v1 when it was new. After v2 and the rollback to v1 it shows v2: it is behind."""
    one = Play(("v1", "v2", "v1"), "unknown")
    for step in [(REPLICA_ONLY, 0, 0), (PRIMARY_ONLY, 1, 0), (PRIMARY_ONLY, 2, 0), (REPLICA_ONLY, 2, 1)]:
        one.step(step)
    assert one.told == [("v1", "v2"), ("v2", "v1")]
    one.ends()
    assert len(one.told) == 2


def test_what_was_asked_of_the_primary_before_a_newer_version_was_accepted_does_not_take_the_reader_back() -> None:
    one = Play(("v1", "v2", "v3"), "given")
    one.step((REPLICA_ONLY, 0, 0))

    def once_more() -> None:  # the first request finds the replica gone, the second one is the primary's
        one.world.meanwhile = partial(one.step, (REPLICA_ONLY, 2, 2))

    one.world.meanwhile = once_more
    one.step((PRIMARY_ONLY, 1, 0))
    assert one.told == [("v1", "v3")]
    assert one.table.rows["late"] == 1
    one.ends()
