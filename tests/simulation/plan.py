"""What a seed stands for: the settings, the callers, and a list of events, which a shrinker may shorten."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from simulation.machine import chance

OSAKA, TOKYO, VIRGINIA = "ap-northeast-3", "ap-northeast-1", "us-east-1"
_KINDS = (
    ("weather", 30),
    ("outage", 5),
    ("silence", 8),
    ("refuse", 10),
    ("revoke", 2),
    ("rotate", 24),
    ("roll back", 12),
    ("set by hand", 6),
    ("lag", 8),
    ("jump", 8),
    ("invalidate", 8),
    ("fork", 12),
    ("reopen", 5),
    ("no threads", 2),
    ("burst", 12),
    ("crowd", 5),
    ("hook", 4),
    ("cross", 8),
)
_DISASTERS = 0.06
"""The part of stories whose primary is lost."""
_LOST_AT = 20.0
_FOREIGN = 0.12
"""The part of stories in which the primary is lost, or a region has another secret of the same name."""
_DRAWN = [kind for kind, weight in _KINDS for _ in range(weight)]


@dataclass(frozen=True)
class Event:
    """Something that befalls the world. All it draws depends on its number alone."""

    at: float
    kind: str
    number: int


@dataclass(frozen=True)
class Plan:
    """One story."""

    seed: int
    steps: int
    regions: tuple[str, ...]
    names: tuple[str, ...]
    ttl: float
    max_stale: float
    max_entries: int
    refresh: str
    tells_primary: bool
    callers: int
    sticky: float
    length: float
    """Seconds of faults."""
    calm: float
    """How much longer than in a hurry callers think."""
    events: tuple[Event, ...] = field(repr=False)
    forgets: bool = True
    """Whether callers have their cache forget secrets: then what is held is not what the story is about."""
    foreign_in: str = ""
    """The region in which the first name is that of another secret; empty: there is none."""

    flight: float = 20.0
    """Seconds that a flight may take: the longest timeout of a caller."""

    def without(self, gone: set[int]) -> Plan:
        """The same story without some of its events."""
        return replace(self, events=tuple(event for event in self.events if event.number not in gone))


def plan_of(seed: int, steps: int) -> Plan:
    """The story of a seed."""
    draw = chance("plan", seed)
    regions = draw.choice([(OSAKA, TOKYO)] * 6 + [(OSAKA, VIRGINIA, TOKYO)] * 3 + [(TOKYO,)])
    length = draw.choice([60.0, 120.0, 300.0])
    count = int(length * draw.choice([0.3, 0.5, 0.8]))
    times = sorted(round(draw.uniform(5.0, length), 1) for _ in range(count))
    kinds = [kind for kind in _DRAWN if draw.random() < 0.8] or _DRAWN  # not everything in every story
    events = tuple(Event(time, draw.choice(kinds), number) for number, time in enumerate(times))
    plan = Plan(
        seed=seed,
        steps=steps,
        regions=regions,
        names=("prod/db", "prod/api", "prod/key")[: draw.randint(1, 3)],
        ttl=draw.choice([0.0, 2.0, 5.0, 5.0, 15.0, 15.0, 60.0]),
        max_stale=draw.choice([0.0, 20.0, 20.0, 600.0, 600.0]),
        max_entries=draw.choice([1024, 1024, 1024, 6, 5]),
        refresh=draw.choice(["background", "background", "on_access"]),
        tells_primary=draw.random() < 0.3,
        callers=draw.randint(3, 8),
        sticky=draw.choice([0.0, 0.0, 0.3, 0.6]),
        length=length,
        calm=draw.choice([1.0, 1.0, 3.0]),
        events=events,
    )
    drawn = draw.random() if len(regions) > 1 else 1.0
    if drawn < _DISASTERS:
        return _with_disaster(plan)
    return _with_foreign(plan, draw.choice(regions)) if drawn < _FOREIGN else plan


def _with_disaster(plan: Plan) -> Plan:
    """The primary is lost for good: no other fault may stand between the readers and what the replicas show."""
    harmless = tuple(event for event in plan.events if event.kind in ("burst", "fork", "hook", "invalidate"))
    harmless = tuple(event for event in harmless if event.at < _LOST_AT and event.kind != "invalidate")
    return replace(
        plan,
        ttl=max(plan.ttl, 2.0),
        max_stale=5000.0,
        max_entries=1024,
        tells_primary=True,
        callers=3,
        calm=3.0,
        length=3000.0,
        forgets=False,
        events=(*harmless, Event(_LOST_AT, "disaster", 100_000)),
    )


def _with_foreign(plan: Plan, region: str) -> Plan:
    """Two secrets under one name, in two regions: the one that was read first may be served all the time."""
    gone = ("refuse", "revoke", "reopen")  # they would have the cache begin anew, with whichever it finds first
    kept = [event for event in plan.events if event.kind not in gone]
    events = tuple(replace(event, kind="foreign") if event.number % 12 == 0 else event for event in kept)
    return replace(plan, max_stale=20_000.0, max_entries=1024, forgets=False, events=events, foreign_in=region)
