"""What befalls the world, by kind. Each draws from a generator of its own: without one, the others stay the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from secretcache import CacheClosedError, SecretCache, SecretCacheError
from simulation.callers import Caller
from simulation.cloud import REFUSALS, Vault, Weather
from simulation.machine import chance
from simulation.world import CROWD, House, World

_FAILING = ("refused", "500", "503", "timeout", "hang", "garbage")
_WEATHER: tuple[str, ...] = (
    *_FAILING * 2,
    "hang",
    "hang",
    "slow",
    "slow",
    "slow",
    "slow",
    "throttled",
    "throttled",
    "busy",
    "sts",
    "expired",
    "opt-in",
)
_WEATHER += ("no files", "missing", "denied", "undecipherable")
_HOUSES = 3


def begin(world: World) -> None:
    """Has the story's events happen when their time comes."""
    for event in world.plan.events:
        draw = chance("event", world.plan.seed, event.number)
        befall = _KINDS[event.kind]
        world.machine.at(1000.0 + event.at, lambda befall=befall, draw=draw: _befall(world, befall, draw))  # type: ignore[misc]
    world.machine.at(1000.0 + world.plan.length, world.make_peace)


def _befall(world: World, befall: Callable[[World, Random], None], draw: Random) -> None:
    if not world.peace:
        befall(world, draw)


def _later(world: World, seconds: float, do: Callable[[], None]) -> None:
    world.machine.at(world.machine.time + seconds, lambda: None if world.peace else do())


# Regions.


def weather(world: World, draw: Random) -> None:
    region = draw.choice(world.plan.regions)
    _set(world, draw, region, draw.choice(_WEATHER), draw.choice([2.0, 8.0, 20.0, 60.0]))


def outage(world: World, draw: Random) -> None:
    seconds = draw.choice([4.0, 15.0, 40.0])
    for region in world.plan.regions:
        _set(world, draw, region, draw.choice(_FAILING), seconds * (0.5 + draw.random()))


def silence(world: World, draw: Random) -> None:
    """A region falls silent while a process has nothing: then cold reads hedge."""
    region = world.plan.regions[0]
    _set(world, draw, region, draw.choice(["slow", "slow", "hang"]), 6.0, rate=1.0)
    house = _house(world, draw)
    for name in world.plan.names if house is not None else ():
        assert house is not None
        caller = Caller(world, house, draw.randrange(1 << 30))
        world.machine.start(lambda caller=caller, name=name: _cold(caller, name), "cold", house.process)  # type: ignore[misc]


def _cold(caller: Caller, name: str) -> None:
    caller.invalidate(name)
    caller.get_often(name)


def revoke(world: World, draw: Random) -> None:
    kind = draw.choice(["unknown key", "expired", "sts"])
    for region in world.plan.regions:
        _set(world, draw, region, kind, 20.0, rate=1.0)


def _set(world: World, draw: Random, region: str, kind: str, seconds: float, *, rate: float | None = None) -> None:
    if world.plan.foreign_in and kind in REFUSALS:
        return  # a secret that is refused for good is not served, and the other one may take its place
    slow = draw.uniform(0.4, 2.0) if kind == "slow" or draw.random() < 0.15 else 0.0
    hint = draw.choice([0, 0, 2, 8]) if kind in ("throttled", "busy") else 0
    drawn = draw.choice([1.0, 1.0, 1.0, 0.5]) if rate is None else rate
    new = Weather(kind, drawn, slow, hint, draw.choice([1.0, 3.0, 10.0, 30.0]))
    world.cloud.weather[region] = new
    world.machine.note(f"--- {region}: {kind}, {drawn:.0%} of requests, for {seconds:.0f} s")
    for house in world.houses.values():
        house.wire.expired[region] = house.wire.generation if draw.random() < 0.6 else 1 << 30

    def clear() -> None:
        if world.cloud.weather[region] is new:
            world.cloud.weather[region] = Weather()
            world.machine.note(f"--- {region}: fair")

    _later(world, seconds, clear)


# Secrets.


def _vault(world: World, draw: Random) -> Vault:
    return world.cloud.vaults[draw.choice(world.plan.names)]


def refuse(world: World, draw: Random) -> None:
    vault, kind = _vault(world, draw), draw.choice(["denied", "missing", "deleted"])
    where = draw.choice([None, None, *world.plan.regions])
    vault.refused[where] = kind
    world.machine.note(f"--- {vault.name} is {kind} in {where or 'all regions'}")
    _later(world, draw.choice([3.0, 15.0, 50.0]), partial(_allow, vault, where))


def _allow(vault: Vault, where: str | None) -> None:
    vault.refused.pop(where, None)


def lag(world: World, draw: Random) -> None:
    world.cloud.lag = draw.choice([0.1, 2.0, 8.0, 20.0])


def rotate(world: World, draw: Random) -> None:
    """createSecret, setSecret, testSecret, finishSecret; each may fail, and be tried again, or be given up."""
    vault = _vault(world, draw)
    if vault.rotating:
        return
    version = vault.rotating = world.cloud.new_version()
    steps: list[Callable[[World, Vault, int], None]] = [_create, _set_password, _finish]
    _rotation(world, draw, vault, version, steps)


def _rotation(
    world: World, draw: Random, vault: Vault, version: int, steps: list[Callable[[World, Vault, int], None]]
) -> None:
    if vault.rotating != version:  # somebody has set another password by hand meanwhile
        return
    if draw.random() < 0.15:  # it fails, and the service comes back to it later
        _later(world, draw.choice([3.0, 20.0]), lambda: _rotation(world, draw, vault, version, steps))
        return
    if draw.random() < 0.04:
        _give_up(world, vault)
        return
    steps.pop(0)(world, vault, version)
    if steps:
        _later(world, draw.choice([0.05, 0.5, 3.0]), lambda: _rotation(world, draw, vault, version, steps))


def _create(world: World, vault: Vault, version: int) -> None:
    vault.change(pending=version)
    world.machine.note(f"--- {vault.name}: AWSPENDING is {version}")
    world.cloud.publish(vault, world.cloud.lag)


def _set_password(world: World, vault: Vault, version: int) -> None:
    vault.accepts = version
    world.machine.note(f"--- {vault.name}: the database takes {version}")


def _finish(world: World, vault: Vault, version: int) -> None:
    vault.change(current=version, previous=vault.now.current, pending=None)
    vault.rotating = 0
    world.machine.note(f"--- {vault.name}: AWSCURRENT is {version}")
    world.cloud.publish(vault, world.cloud.lag)


def _give_up(world: World, vault: Vault) -> None:
    vault.change(pending=None)
    vault.accepts, vault.rotating = vault.now.current, 0
    world.machine.note(f"--- {vault.name}: the rotation is given up")
    world.cloud.publish(vault, world.cloud.lag)


def set_by_hand(world: World, draw: Random) -> None:
    """In the middle of a rotation somebody sets another password: the database and AWSCURRENT get it at once."""
    vault = _vault(world, draw)
    if vault.rotating:
        version = vault.accepts = world.cloud.new_version()
        _finish(world, vault, version)


def cross(world: World, draw: Random) -> None:
    """A rotation completes in every region while reads of its secret are under way, and readers insist on new ones."""
    vault, house = _vault(world, draw), _house(world, draw)
    if house is None or vault.rotating:
        return
    for region in world.plan.regions:
        _set(world, draw, region, "slow", 3.0, rate=1.0)
    for number in range(draw.randint(2, 5)):
        caller, after = Caller(world, house, draw.randrange(1 << 30)), draw.uniform(0.0, 1.0)
        reads = draw.choice([caller.refresh, caller.refresh, caller.get]) if number else partial(_cold, caller)
        world.machine.start(
            partial(_after, world, after if number else 0.0, reads, vault.name), "crosser", house.process
        )
    _later(world, draw.uniform(0.02, 0.8), partial(_rotate_everywhere, world, vault))


def _after(world: World, seconds: float, read: Callable[[str], None], name: str) -> None:
    world.machine.sleep(seconds)
    read(name)


def _rotate_everywhere(world: World, vault: Vault) -> None:
    if not vault.rotating:
        version = world.cloud.new_version()
        vault.change(current=version, previous=vault.now.current, pending=None)
        vault.accepts = version
        world.machine.note(f"--- {vault.name}: AWSCURRENT is {version} everywhere")
        world.cloud.publish(vault, 0.0)


def disaster(world: World, draw: Random) -> None:
    """The primary is lost before its last rotation was replicated; what the replicas show is what works."""
    vault, cloud = world.cloud.vaults[world.plan.names[0]], world.cloud
    old, version = vault.now.current, cloud.new_version()
    vault.change(current=version, previous=old, pending=None)
    vault.shown[cloud.primary], vault.accepts = len(vault.states) - 1, old
    for region in world.plan.regions[:-1]:
        _set(world, draw, region, "refused", 3.0, rate=1.0)
    for house in world.houses.values():
        caller = Caller(world, house, draw.randrange(1 << 30))
        world.machine.start(partial(caller.refresh, vault.name), "witness", house.process)

    def lose() -> None:
        cloud.weather[cloud.primary] = Weather("refused")
        world.machine.note(f"--- {cloud.primary} is lost, and {version} of {vault.name} with it")

    _later(world, 2.9, lose)
    _later(world, 60.0, partial(_wait_out, world, vault, old))


def _wait_out(world: World, vault: Vault, old: int) -> None:
    """A quarter of an hour passes; then every process must read what the replicas show."""
    machine = world.machine
    machine.jump_by, machine.jump_at = 1000.0, machine.steps + 1
    for house in world.houses.values():
        machine.start(partial(_judge_disaster, world, house, vault, old), "survivor", house.process)


def _judge_disaster(world: World, house: House, vault: Vault, old: int) -> None:
    machine = world.machine
    read = 0
    for _ in range(40):  # looks, and no moment: the leap in time may come only now
        machine.sleep(5.0)
        if world.peace or house.leaving:
            return
        read = 0
        with contextlib.suppress(SecretCacheError):  # other faults may keep every region from answering
            read = int(house.cache.get(vault.name).version_id[:8])
        if read == old:
            world.counters["disaster"] += 1
            return
    if read:
        world.fail(22, f"process {house.process.pid} reads {read} of {vault.name}, whose region is lost")


def read_ours(world: World, house: House) -> None:
    """Reads the first secret while the region that has another one of its name does not answer."""
    where = world.cloud.weather[world.cloud.foreign_in]
    where.kind = "refused"
    house.cache.get(world.plan.names[0])
    where.kind = "fair"


def foreign(world: World, draw: Random) -> None:
    """The region that showed a secret fails while another one has another secret of its name, which may move too."""
    cloud = world.cloud
    if not cloud.foreign_in:
        return
    if draw.random() < 0.5:
        version = cloud.foreign.now.current + 1
        cloud.foreign.change(current=version, previous=version - 1, pending=draw.choice([None, version + 1]))
        cloud.foreign.shown[cloud.foreign_in] = len(cloud.foreign.states) - 1
    for region in world.plan.regions:
        if region != cloud.foreign_in:
            _set(world, draw, region, draw.choice(_FAILING), draw.choice([4.0, 15.0, 60.0]))
    for house in world.houses.values():
        if house.cache is not None and not house.leaving:
            caller = Caller(world, house, draw.randrange(1 << 30))
            world.machine.start(partial(caller.get_often, world.plan.names[0]), "reader", house.process)
            world.machine.start(partial(caller.foreign, world.plan.names[0]), "reader", house.process)


def roll_back(world: World, draw: Random) -> None:
    vault = _vault(world, draw)
    previous = vault.now.previous
    # A version that is current twice within the lag cannot be told from the lagging past (row J takes it).
    if previous is None or vault.rotating or any(shown < len(vault.states) - 1 for shown in vault.shown.values()):
        return
    vault.change(current=previous, previous=vault.now.current)
    vault.accepts = previous
    world.machine.note(f"--- {vault.name}: AWSCURRENT is back at {previous}")
    world.cloud.publish(vault, world.cloud.lag)


# Processes.


def _house(world: World, draw: Random) -> House | None:
    houses = [house for house in world.houses.values() if house.cache is not None and not house.leaving]
    return draw.choice(houses) if houses else None


def jump(world: World, draw: Random) -> None:
    machine = world.machine
    machine.jump_by = draw.choice([0.7, 3.0, 10.0, 40.0, 200.0])
    machine.jump_at = machine.steps + draw.randint(1, 60)
    world.counters["clock jump"] += 1


def invalidate(world: World, draw: Random) -> None:
    house, name = _house(world, draw), draw.choice(world.plan.names)
    if house is not None:
        caller = Caller(world, house, draw.randrange(1 << 30))
        world.machine.start(lambda: caller.invalidate(name), "invalidator", house.process)


def burst(world: World, draw: Random) -> None:
    house = _house(world, draw)
    for _ in range(draw.choice([4, 10, 20]) if house is not None else 0):
        assert house is not None
        caller = Caller(world, house, draw.randrange(1 << 30), lives=draw.choice([1, 2]))
        world.machine.start(caller.run, "passer-by", house.process)


def crowd(world: World, draw: Random) -> None:
    """Many cold secrets at once, more than a lane has threads: at a slow, a silent or a throttling region."""
    house = _house(world, draw)
    # A small cache would forget which versions of the other secrets it has seen.
    if house is None or world.plan.max_entries < 2 * len(CROWD):
        return
    for region in world.plan.regions[: draw.choice([1, 2])]:
        kind = draw.choice(["slow", "slow", "throttled", "throttled", "hang", "fair"])
        _set(world, draw, region, kind, draw.choice([1.0, 4.0]), rate=draw.choice([1.0, 0.6]))
    for name in CROWD[: draw.choice([8, 16, 24])]:
        caller = Caller(world, house, draw.randrange(1 << 30))
        world.machine.start(lambda caller=caller, name=name: _cold(caller, name), "crowd", house.process)  # type: ignore[misc]


def no_threads(world: World, draw: Random) -> None:
    house = _house(world, draw)
    if house is not None:
        house.runtime.threads_allowed = False

        def allow() -> None:
            house.runtime.threads_allowed = True

        _later(world, draw.choice([0.5, 5.0]), allow)


def reopen(world: World, draw: Random) -> None:
    """The application closes its cache while it is in use, and makes another."""
    house = _house(world, draw)
    if house is not None:

        def run() -> None:
            if not house.leaving and not house.reopening:
                house.reopening = True
                world._close(house)
                world.open_cache(house)
                house.reopening = False
                subscribe(world, house, draw)

        world.machine.start(run, "closer", house.process)


def hook(world: World, draw: Random) -> None:
    house = _house(world, draw)
    if house is not None:
        world.machine.start(lambda: subscribe(world, house, draw), "subscriber", house.process)


def subscribe(world: World, house: House, draw: Random) -> None:
    """A hook that may read, raise and block."""
    name, number, blocks = draw.choice(world.plan.names), draw.randrange(1 << 30), draw.choice([0.0, 0.0, 0.5, 15.0])
    fails, reads = draw.random() < 0.2, draw.random() < 0.4

    def told(event: Any) -> None:
        _told(world, name, number, event)
        task = world.machine.current
        call = world.calls.get(task)
        task.outside += 1
        here = world.house()
        world.hook_begins(here, call)
        if blocks:
            world.machine.sleep(blocks)
        if reads:
            _read(world.house().cache, name)
        task.outside -= 1
        world.hook_ended(here, call)
        if fails:
            raise LookupError("a hook that fails")

    cache = house.cache
    house.numbers.add(number)
    try:
        handle = cache.add_rotation_hook(name, told)
    except CacheClosedError:
        return
    if draw.random() < 0.3:
        world.machine.sleep(draw.uniform(1.0, 100.0))
        handle.cancel()
        house.hooks.pop(number, None)
        house.gone.add(number)
    if draw.random() < 0.3:
        cache._engine.bulletin.listen(lambda _event: _listen(world))


def _read(cache: SecretCache, name: str) -> None:
    try:
        cache.get(name, timeout=2.0)
    except Exception:  # noqa: BLE001 - a hook's own affair
        return


def _listen(world: World) -> None:
    machine = world.machine
    if machine.current.locks:
        machine.fail(19, "an event hook is called with a lock held")
    machine.pause()


def _told(world: World, name: str, number: int, event: Any) -> None:
    """13: in order, once, outside locks, for a change."""
    house, machine = world.house(), world.machine
    old, new = event.old.version_id, event.new.version_id
    if number in house.gone:
        return
    machine.note(f"hook {number} of {name}: {old} to {new}")
    world.counters["hook"] += 1
    if machine.current.locks:
        machine.fail(13, f"hook {number} of {name} is called with a lock held")
    if world.answered(event.new).vault.foreign:
        machine.fail(13, f"hook {number} of {name} is called for {event.new.arn}, which only has the name")
    if old == new:
        machine.fail(13, f"hook {number} of {name} is called, but {new} was there before")
    before = house.hooks.get(number, old)
    if before != old:
        machine.fail(13, f"hook {number} of {name} is told of {old} to {new}, after it was told of {before}")
    house.hooks[number], house.hook_of[number] = new, name
    _check_place(world, house, name, number, int(new[:8]))


def _check_place(world: World, house: House, name: str, number: int, version: int) -> None:
    history = world.cloud.vaults[name].history
    if house.epoch[name]:  # a hook that blocks hears of it later than readers who were taken back
        return
    low = house.hook_low.get(number, 0)
    place = next((one for one in range(low, len(history)) if history[one] == version), None)
    if place is None:
        world.fail(13, f"hook {number} of {name} is told of {version}, which a lagging replica showed")
    else:
        house.hook_low[number] = place


def fork(world: World, draw: Random) -> None:
    """A child comes off, with hooks as `os.fork` runs them or, as uWSGI does it, without."""
    house = _house(world, draw)
    if house is not None and len(world.houses) < _HOUSES:
        world.machine.start(lambda: _fork(world, house, draw, with_hooks=draw.random() < 0.7), "forker", house.process)


def _fork(world: World, parent: House, draw: Random, *, with_hooks: bool) -> None:
    machine, cache = world.machine, parent.cache
    if parent.leaving or cache._engine.closed:
        return
    if with_hooks:
        cache._before_fork()
    if cache._engine._loads.open:
        world.counters["fork in flight"] += 1
    world.counters["fork"] += 1
    child = world.new_house()
    machine.note(f"--- process {child.process.pid} is forked off {parent.process.pid}")
    # A child has a copy of the parent's memory as it was at that moment: so nothing else happens until it has read it.
    machine.frozen += 1
    me = machine.current
    mine, locks = me.process, me.locks
    me.process, me.locks = child.process, 0
    child.cache = copied = object.__new__(SecretCache)  # copy.copy gives the same cache
    vars(copied).update(vars(cache))
    child.numbers = set(parent.numbers)
    child.leaving = cache._engine.closed
    copied._given_runtime, copied._given_transport = child.runtime, child.wire
    if with_hooks:
        copied._after_fork_in_child()
    else:
        copied._current()
    me.process, me.locks = mine, locks
    check_apart(world, cache, copied)
    machine.frozen -= 1
    if with_hooks:
        cache._after_fork_in_parent()
    for number in range(draw.randint(1, 3)):
        machine.start(Caller(world, child, number).run, f"caller {number}", child.process)


def check_apart(world: World, parent: SecretCache, child: SecretCache) -> None:
    """18: nothing that changes belongs to both."""
    one, other = parent._engine, child._engine
    mine = [one, one.lock, one._loads, one._loads.board, one.store, one.store.hot, one.rotations.hooks, one._refresher]
    theirs = [
        *(other, other.lock, other._loads, other._loads.board),
        *(other.store, other.store.hot, other.rotations.hooks, other._refresher),
    ]
    if any(here is there and here is not None for here, there in zip(mine, theirs, strict=True)):
        world.fail(18, "a forked child shares what changes with its parent")
    entries = {id(entry) for entry in one.store.entries()}
    if any(id(entry) in entries for entry in other.store.entries()) or other._loads.open:
        world.fail(18, "a forked child has entries or flights of its parent")
    if other.pid == one.pid or [one._runtime.random() for _ in range(3)] == [other._runtime.random() for _ in range(3)]:
        world.fail(18, "a forked child draws the numbers of its parent")


_KINDS: dict[str, Callable[[World, Random], None]] = {
    "weather": weather,
    "outage": outage,
    "silence": silence,
    "refuse": refuse,
    "revoke": revoke,
    "rotate": rotate,
    "roll back": roll_back,
    "set by hand": set_by_hand,
    "lag": lag,
    "jump": jump,
    "invalidate": invalidate,
    "fork": fork,
    "reopen": reopen,
    "no threads": no_threads,
    "burst": burst,
    "crowd": crowd,
    "hook": hook,
    "cross": cross,
    "disaster": disaster,
    "foreign": foreign,
}
