"""What is held, whose ids lead to it, and which goes: the store by itself, without threads, regions or time."""

from __future__ import annotations

import pytest

from secretcache import Secret, _tombstones
from secretcache._freshness import Freshness, Negative, Retry
from secretcache._ids import Query, SecretId, parse_secret_id
from secretcache._lineage import Judgement
from secretcache._regions.route import Verdict
from secretcache._secret import Lifetime
from secretcache._store import Entry, Store
from secretcache._transport import Fault
from store_ground import MAX_STALE, TAKEOVER, TTL, by_arn, by_name, freshness, names, put, secret, store
from support import OSAKA, REGIONS, TOKYO, arn

IDS = ("a", arn(TOKYO, "a"), arn(TOKYO, "a", ""))

# Which goes when it is full.


def test_the_one_read_longest_ago_goes_first() -> None:
    held = store(max_entries=3)
    for ticket, (name, last_read) in enumerate([("a", 3.0), ("b", 1.0), ("c", 2.0)], 1):
        put(held, name, ticket, last_read=last_read)
    put(held, "d", 4, last_read=4.0)
    assert (names(held), held.evictions, len(held)) == ({"a", "c", "d"}, 1, 3)
    put(held, "e", 5)
    assert (names(held), held.evictions) == ({"a", "d", "e"}, 2)


def test_a_pinned_secret_stays_however_long_it_was_not_read() -> None:
    held = store(max_entries=2)
    put(held, "hooked", 1, last_read=0.0)
    held.pins = (SecretId("hooked"), SecretId("never seen"))
    put(held, "b", 2, last_read=1.0)
    put(held, "c", 3, last_read=2.0)
    assert names(held) == {"hooked", "c"}
    assert [held.is_pinned(entry) for entry in held.entries()] == [
        entry.secret.name == "hooked" for entry in held.entries()
    ]


# Which ids lead to it.


@pytest.mark.parametrize("region", REGIONS)
def test_a_name_a_partial_and_a_full_arn_of_any_region_lead_to_one_entry(region: str) -> None:
    held = store()
    entry = put(held, "a", 1)
    for text in ("a", arn(region, "a"), arn(region, "a", "")):
        assert held.find(by_arn(text)) is entry
        assert held.address(parse_secret_id(text, REGIONS)) == SecretId("a")
    assert held.find(by_name("b")) is None
    assert held.find(by_name(stage="AWSPREVIOUS")) is None
    assert held.address(SecretId("b")) == SecretId("b")


def test_a_name_is_not_led_to_another_accounts_secret_by_its_arn() -> None:
    held = store()
    foreign = arn(OSAKA, "a").replace("123456789012", "999999999999")
    theirs = Secret(
        "theirs",
        arn=foreign,
        name="a",
        version_id="v1",
        version_stages=(),
        region=OSAKA,
        created_date=None,
        requested_at=0.0,
        lifetime=Lifetime(lambda: 0.0, TTL),
    )
    entry = held.put(by_arn(foreign), theirs, 1, 0.0)
    assert held.find(by_arn(foreign)) is entry
    assert held.find(by_name("a")) is None
    by_its_arn = held.put(by_arn(arn(OSAKA, "b")), secret("b"), 2, 0.0)
    ours = put(held, "a", 3)
    assert held.find(by_name("a")) is ours
    assert held.find(by_name("b")) is by_its_arn, "held after theirs"
    assert held.find(by_arn(foreign)) is entry


def test_an_arn_read_first_is_found_by_name_once_the_account_is_known() -> None:
    held = store()
    first = held.put(by_arn(arn(TOKYO, "a")), secret("a"), 1, 0.0)
    assert held.find(by_name("a")) is None
    put(held, "b", 2)
    assert held.find(by_name("a")) is first
    held.put(by_arn(arn(TOKYO, "c")), secret("c"), 3, 0.0)
    assert held.find(by_name("c-AbCdEf")) is None, "a name may look like one with a suffix"


def test_a_secret_made_again_takes_the_name_and_the_old_one_is_gone() -> None:
    held = store()
    old = put(held, "a", 1)
    held.keep_hot("a", old)
    new = put(held, "a", 2, suffix="ZzZzZz")
    assert held.find(by_name()) is new
    assert held.find(by_arn(arn(OSAKA, "a"))) is None
    assert held.entries() == [new]
    assert not held.hot


def test_an_answer_of_before_the_secret_was_made_again_is_not_held() -> None:
    held = store()
    new = put(held, "a", 5, suffix="ZzZzZz")
    assert held.put(by_name(), secret(), 4, 0.0) is new
    assert held.put(by_arn(arn(OSAKA, "a")), secret(), 4, 0.0) is None
    assert (held.find(by_name()), new.secret.arn) == (new, arn(OSAKA, "a", "ZzZzZz"))


def test_a_name_that_a_later_answer_has_told_to_be_another_secrets_leads_to_nothing_older() -> None:
    held = store()
    put(held, "a", 1)
    of_the_one_before = by_name(stage=None, version_id="v1")
    held.put(of_the_one_before, secret(), 4, 0.0)
    assert held.put(by_name(), secret("a", "v2", suffix="ZzZzZz"), 3, 0.0) is None
    assert held.find(by_name()) is None, "who waited for it has read the other one"
    assert held.find(of_the_one_before) is not None


# What may be held.


def test_what_was_refused_is_not_brought_back_by_a_request_sent_before() -> None:
    held = store()
    entry = put(held, "a", 1)
    held.keep_hot("a", entry)
    held.keep_hot(("a", "AWSCURRENT", None), entry)
    held.refuse(by_name(), 7)
    assert not held.hot
    assert len(held) == 0
    assert held.floor(by_name()) == 7
    assert held.put(by_name(), secret(), 7, 0.0) is None
    assert held.put(by_name("another"), secret("another"), 7, 0.0) is not None
    assert held.put(by_name(), secret(), 8, 0.0) is not None


@pytest.mark.parametrize("asked", IDS)
@pytest.mark.parametrize("refused", IDS)
def test_a_refusal_counts_under_every_id_of_its_secret(refused: str, asked: str) -> None:
    held = store()
    held.refuse(by_arn(refused), 7)
    assert held.put(by_arn(asked), secret(), 7, 0.0) is None
    assert held.put(by_arn(asked), secret(), 8, 0.0) is not None


@pytest.mark.parametrize("refused", IDS)
def test_a_value_goes_with_a_refusal_of_any_id_known_to_be_its_own(refused: str) -> None:
    held = store()
    put(held, "a", 1)
    held.refuse(by_arn(refused), 7)
    assert not held.entries()
    assert held.put(by_name(), secret(), 7, 0.0) is None


@pytest.mark.parametrize("forks", [False, True])
@pytest.mark.parametrize(("ticket", "stays"), [(7, False), (8, True)])
def test_a_name_that_was_refused_does_not_lead_to_what_was_asked_for_by_arn_before(
    ticket: int,
    stays: bool,  # noqa: FBT001
    forks: bool,  # noqa: FBT001
) -> None:
    held = store()
    held.put(by_arn(arn(OSAKA, "a")), secret(), 1, 0.0)
    held.refuse(by_name(), 7)
    assert held.find(by_arn(arn(OSAKA, "a"))) is not None, "it may be another account's"
    held.put(by_arn(arn(OSAKA, "a")), secret(), ticket, 0.0)
    if forks:
        parent, held = held, store()
        held.adopt(parent)
    put(held, "b", 9)  # by name: that account is our own
    assert [held.find(query) is not None for query in (by_name(), by_arn(arn(OSAKA, "a")))] == [stays, stays]


@pytest.mark.parametrize(("asked", "stays"), [(arn(OSAKA, "a"), False), (arn(OSAKA, "a", ""), True), ("a", True)])
def test_where_a_full_arns_current_version_is_refused_its_name_leads_there_no_more(asked: str, stays: bool) -> None:  # noqa: FBT001
    held = store()
    old = by_arn(asked)._replace(stage=None, version_id="v1")
    put(held, "b", 1)
    held.put(old, secret(), 2, 0.0)
    held.refuse(Query(old.secret, "AWSPENDING"), 3)
    assert held.address(SecretId("a")) == old.secret, "of the whole secret that says nothing"
    held.refuse(Query(old.secret), 3)
    assert (held.find(old) is not None) is stays
    assert held.address(SecretId("a")) == (old.secret if stays else SecretId("a"))


def test_an_answer_takes_the_place_of_what_stands_whatever_else_was_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tombstones, "_MOST", 1)
    held = store()
    entry = put(held, "a", 1)
    for name in ("b", "c"):
        held.refuse(by_name(name), 9)
    assert held.put(by_name("d"), secret("d"), 9, 0.0) is None, "it may have been dropped"
    assert put(held, "a", 5) is entry
    assert entry.ticket == 5


def test_where_an_arn_was_refused_that_a_name_turns_out_to_be_the_name_leads_to_nothing_older() -> None:
    held = store()
    put(held, "a", 1)
    again = arn(OSAKA, "a", "ZzZzZz")
    held.refuse(by_arn(again), 3)
    assert held.put(by_name(), secret("a", "v2", suffix="ZzZzZz"), 2, 0.0) is None
    assert [held.find(query) for query in (by_name(), by_arn(again))] == [None, None]
    assert put(held, "a", 4, version="v2", suffix="ZzZzZz")


def test_what_makes_room_bars_no_other_version_of_its_secret() -> None:
    held = store(max_entries=1)
    put(held, "a", 9)
    put(held, "b", 10)
    assert held.put(by_name(), secret(), 9, 0.0) is None
    assert held.put(by_name(stage="AWSPENDING"), secret(version="v2"), 9, 0.0) is not None


def test_a_refusal_of_one_stage_or_version_says_nothing_of_another() -> None:
    held = store()
    held.refuse(by_name(stage="AWSPENDING"), 7)
    assert put(held, "a", 7)
    assert held.put(by_name(stage="AWSPENDING"), secret(version="v2"), 7, 0.0) is None
    assert held.put(by_name(stage=None, version_id="v2"), secret(version="v2"), 7, 0.0) is not None


def test_a_whole_secret_is_forgotten_with_all_its_versions() -> None:
    held = store()
    put(held, "a", 1)
    held.put(by_name(stage="AWSPREVIOUS"), secret(version="v0"), 2, 0.0)
    other = put(held, "b", 3)
    held.forget(parse_secret_id(arn(TOKYO, "a"), REGIONS), 9)
    assert held.entries() == [other]
    assert held.put(by_name(), secret(), 9, 0.0) is None
    held.forget(SecretId("nobody"), 12)
    assert held.floor(by_name("nobody")) == 12


def test_a_floor_is_only_raised() -> None:
    held = store()
    put(held, "a", 9)
    held.refuse(by_name("a"), 8)
    assert held.floor(by_name("a")) == 9, "that of what was held"
    held.refuse(by_name("a"), 12)
    held.refuse(by_name("a"), 11)
    assert held.floor(by_name("a")) == 12
    held.forget(SecretId("a"), 10)
    assert [held.floor(by_name("a", stage=stage)) for stage in ("AWSCURRENT", "AWSPREVIOUS")] == [12, 10]


def test_what_is_dead_is_buried_and_nothing_else() -> None:
    held = store()
    put(held, "a", 1)
    put(held, "b", 2, at=1.0)
    held.bury(TTL + MAX_STALE, held.entries())
    assert names(held) == {"b"}
    held.clear()
    assert len(held) == 0
    assert held.find(by_name("b")) is None


def test_only_what_is_held_is_kept_hot() -> None:
    held = store()
    entry = put(held, "a", 1)
    held.clear()
    held.keep_hot("a", entry)
    assert not held.hot


# Versions.


def test_a_version_of_its_own_is_replaced_by_later_requests_only() -> None:
    held = store()
    previous = by_name(stage="AWSPREVIOUS")
    entry = held.put(previous, secret(version="v1"), 5, 0.0)
    assert entry is not None
    entry.paired = "x"
    held.put(previous, secret(version="v0"), 4, 0.0)
    assert (entry.secret.version_id, entry.ticket, entry.paired) == ("v1", 5, "x")
    held.sent = 8
    held.put(previous, secret(version="v1", at=3.0), 6, 0.0)
    assert (entry.ticket, entry.since, entry.paired) == (6, 5, "x"), "the same version, confirmed"
    held.put(previous, secret(version="v2", region=TOKYO, at=4.0), 7, 0.0)
    assert (entry.secret.version_id, entry.ticket, entry.since, entry.since_region) == ("v2", 7, 8, TOKYO)
    assert entry.paired is None


def test_the_current_version_moves_with_the_primary_and_those_before_it_are_told() -> None:
    held = store(primary=OSAKA)
    entry = put(held, "a", 1)
    assert [(one.secret.version_id, before) for one, _, before in held.accepted] == [("v1", None)]
    held.accepted.clear()
    assert held.lineage_of(SecretId("a")) is None, "most secrets never need one"
    put(held, "a", 2, version="v2", at=5.0)
    assert [(new.version_id, before) for _, new, before in held.accepted] == [("v2", "v1")]
    lineage = held.lineage_of(SecretId("a"))
    assert lineage is not None
    assert (lineage.current, lineage.superseded, lineage.shown) == ("v2", ("v1",), {OSAKA: ("v2", 2)})
    assert held.find(by_name()) is entry
    assert not held.unplaced
    assert not held.outdated


def test_a_region_that_lags_changes_nothing_and_is_told() -> None:
    held = store(primary=OSAKA)
    entry = put(held, "a", 1)
    put(held, "a", 2, version="v2", at=5.0)
    put(held, "a", 3, version="v1", region=TOKYO, at=6.0)
    assert entry.secret.version_id == "v2"
    assert entry.ticket == 2
    assert [(answered.region, judged) for _, answered, judged in held.unplaced] == [(TOKYO, Judgement.LAGS)]
    lineage = held.lineage_of(SecretId("a"))
    assert lineage is not None
    assert (lineage.lags, lineage.doubted, held.outdated) == (1, None, True)
    put(held, "a", 4, version="v1", region=TOKYO, at=7.0)
    assert lineage.lags == 2


def test_a_version_nobody_can_place_is_doubted_for_fifteen_minutes_and_then_taken() -> None:
    held = store()
    entry = put(held, "a", 1)
    other = secret("a", "v9", TOKYO, at=6.0)
    held.put(by_name(), other, 2, 900.0)
    lineage = held.lineage_of(SecretId("a"))
    assert lineage is not None
    assert (entry.secret.version_id, lineage.doubted, held.outdated) == ("v1", (other, 2), True)
    held.outdated = False
    held.put(by_name(), secret("a", "v9", TOKYO, at=901.0), 3, 901.0)
    assert entry.secret.version_id == "v9"
    assert [judged for *_, judged in held.unplaced] == [Judgement.DOUBTED, Judgement.DIVERGED]
    assert not held.outdated
    assert lineage.superseded == (), "it may yet turn out to be the newer"
    assert (lineage.lags, lineage.doubted) == (0, None)


def test_what_comes_late_replaces_nothing() -> None:
    held = store(primary=OSAKA)
    entry = put(held, "a", 5, version="v2")
    put(held, "a", 4, version="v1")
    assert entry.secret.version_id == "v2"
    put(held, "a", 4, version="v2", at=-9.0)
    assert (entry.ticket, entry.secret.requested_at) == (5, 0.0)


def test_a_secret_that_was_evicted_is_not_read_back_at_an_older_version_but_as_a_last_resort() -> None:
    held = store(primary=OSAKA)
    put(held, "a", 1)
    entry = put(held, "a", 2, version="v2")
    held.forget(SecretId("a"), 2)
    assert entry.serve_until == float("-inf")
    assert held.put(by_name(), secret("a", "v1", TOKYO), 3, 0.0) is None
    assert held.outdated
    held.accepted.clear()
    last = held.put(by_name(), secret("a", "v1", TOKYO), 3, 0.0, last_resort=True)
    assert last is not None
    assert [(one.secret.version_id, before) for one, _, before in held.accepted] == [("v1", "v2")]
    lineage = held.lineage_of(SecretId("a"))
    assert lineage is not None
    assert lineage.superseded == (), "v2 is not older than what had to do"


def test_the_primary_goes_without_saying_is_said_or_is_learned() -> None:
    only = Store(freshness(), 2, (OSAKA,))
    assert only.primary_of(SecretId("a")) == OSAKA
    assert only.knows_about_primary(put(only, "a", 1))
    said = store(primary=TOKYO)
    assert said.knows_about_primary(put(said, "a", 1))
    assert store(primary=TOKYO).primary_of(SecretId("a")) == TOKYO
    held = store()
    entry = put(held, "a", 1)
    assert held.primary_of(SecretId("a")) is None
    assert not held.knows_about_primary(entry)
    held.learn_primary(entry, "")
    assert held.knows_about_primary(entry)
    assert not held.primary_of(SecretId("a"))
    held.learn_primary(entry, TOKYO)
    assert held.primary_of(SecretId("a")) == TOKYO
    assert held.primary_of(SecretId("b")) is None


# A forked child.


def test_a_child_has_the_values_the_ids_and_the_memory_of_its_parent_and_shares_nothing() -> None:
    parent = store(primary=OSAKA)
    put(parent, "a", 1)
    entry = put(parent, "a", 2, version="v2")
    gone = put(parent, "b", 3)
    gone.serve_until = float("-inf")  # being removed at the moment of the fork
    parent.keep_hot("a", entry)
    parent.keep_hot("b", gone)
    parent.pins = (SecretId("a"),)
    parent.forget(SecretId("nobody"), 4)
    child = store(primary=OSAKA)
    child.adopt(parent)
    mine = child.find(by_arn(arn(TOKYO, "a")))
    assert mine is not None
    assert mine is not entry
    assert mine.record is not entry.record
    assert (child.hot, child.pins, len(child)) == ({"a": mine}, parent.pins, 1)
    assert mine.secret is entry.secret
    assert child.entries() == [mine]
    remembered = child.lineage_of(SecretId("a"))
    assert remembered is not None
    assert (remembered.current, remembered.superseded) == ("v2", ("v1",))
    assert mine.serve_until == entry.refresh_at < entry.serve_until, "nobody refreshes ahead in the child yet"
    assert child.find(by_name("b")) is None
    assert set(child._lineages) == {arn(OSAKA, "b")}, "what is held has its own"
    put(child, "a", 5, version="v3")
    assert entry.secret.version_id == "v2"
    lineages = [one.lineage_of(SecretId("a")) for one in (parent, child)]
    assert [lineage and lineage.current for lineage in lineages] == ["v2", "v3"]
    assert [lineage and lineage.shown for lineage in lineages] == [{OSAKA: ("v2", 2)}, {OSAKA: ("v3", 5)}]


def test_a_child_has_every_version_of_a_secret() -> None:
    parent, child = store(), store(max_entries=2)
    put(parent, "a", 1)
    parent.put(by_name(stage="AWSPREVIOUS"), secret(version="v0"), 2, 0.0)
    child.adopt(parent)
    for query in (by_name(), by_name(stage="AWSPREVIOUS")):
        assert child.find(query) is not None
    put(child, "b", 3)
    assert (len(child), child.evictions) == (2, 1)
    child.forget(SecretId("a"), 4)
    assert names(child) == {"b"}


def test_a_child_knows_what_was_read_before_of_a_secret_that_is_not_held_any_more() -> None:
    parent = store()
    put(parent, "a", 1)
    put(parent, "a", 2, version="v2")
    put(parent, "b", 3)
    parent.learn_primary(put(parent, "b", 4), OSAKA)
    for name in ("a", "b"):
        parent.forget(SecretId(name), 5)
    entry = put(parent, "c", 6)
    entry.serve_until = float("-inf")  # another thread was removing it when the process was forked
    child = store()
    child.adopt(parent)
    assert child.find(by_name("c")) is None
    for name, version, kept in [("a", "v1", False), ("a", "v2", True), ("b", "v0", True), ("c", "v0", False)]:
        region = OSAKA if name == "b" else TOKYO
        held = child.put(by_name(name), secret(name, version, region=region), 7, 1.0)
        assert (held is not None) is kept, name
        assert child.outdated is not kept
        child.outdated = False


def test_a_child_keeps_the_outages_schedule() -> None:
    parent = store()
    entry = put(parent, "a", 1)
    freshness().postpone(entry, 50.0, refused=False)
    child = store()
    child.adopt(parent)
    mine = child.find(by_name())
    assert mine is not None
    assert (mine.serve_until, mine.failures) == (entry.serve_until, 1)


# When it is asked for again.


def entry_of(*, at: float = 1000.0, which: tuple[str | None, str | None] = ("AWSCURRENT", None)) -> Entry:
    held = store()
    entry = held.put(Query(SecretId("a"), *which), secret(at=at, version=which[1] or "v1"), 1, at)
    assert entry is not None
    return entry


@pytest.mark.parametrize(("chance", "part"), [(0.0, 70.0), (0.5, 80.0), (1.0, 90.0)])
@pytest.mark.parametrize("background", [True, False])
def test_an_answers_times(chance: float, part: float, background: bool) -> None:  # noqa: FBT001
    entry = entry_of()
    entry.failures = 3
    freshness(chance=chance, background=background).renew(entry)
    assert entry.refresh_at == pytest.approx(1000 + part)
    assert entry.dead_at == 1000 + TTL + MAX_STALE
    assert entry.serve_until == pytest.approx(1000 + (TTL if background else part))
    assert entry.failures == 0


def test_a_version_read_by_its_id_is_asked_again_after_max_stale() -> None:
    entry = entry_of(which=(None, "v7"))
    assert (entry.refresh_at, entry.serve_until) == (1000 + MAX_STALE, 1000 + MAX_STALE)
    short = Freshness(TTL, 0.0, True, TAKEOVER, lambda: 0.5)  # noqa: FBT003
    assert short.stale_at(entry) == 1000 + TTL


def test_a_failed_refresh_is_postponed_in_steps_and_the_old_value_stands_in() -> None:
    entry, policy = entry_of(), freshness()
    waits = []
    for _ in range(6):
        policy.postpone(entry, 2000.0, refused=False)
        waits.append(entry.refresh_at - 2000.0)
    assert waits == [3.75, 7.5, 15.0, 30.0, 45.0, 45.0]
    assert entry.failures == 6
    assert entry.serve_until == 2045.0 + TAKEOVER
    assert entry.dead_at == 1000 + TTL + MAX_STALE
    policy.postpone(entry, 2099.0, refused=False)
    assert entry.serve_until == entry.dead_at, "never beyond max_stale"
    assert Retry().seconds(10_000, 1.0) == 60.0
    assert Retry().seconds(1, 0.0) == 2.5


def test_before_ttl_a_failure_shortens_nothing_and_on_access_readers_come_at_the_retry() -> None:
    entry = entry_of()
    freshness().postpone(entry, 1080.0, refused=False)
    assert entry.serve_until == 1000 + TTL
    freshness(background=False).postpone(entry, 1080.0, refused=False)
    assert entry.serve_until == entry.refresh_at == 1087.5


def test_a_refusal_by_some_regions_lets_the_value_stand_in_for_an_hour() -> None:
    entry, policy = entry_of(), Freshness(TTL, 86_400.0, True, TAKEOVER, lambda: 0.5)  # noqa: FBT003
    policy.renew(entry)
    policy.postpone(entry, 2000.0, refused=True)
    policy.postpone(entry, 2500.0, refused=True)
    assert entry.dead_at == 5600.0


def test_a_lagging_answer_is_asked_again_after_1_2_and_4_seconds() -> None:
    entry, policy = entry_of(), freshness()
    for times, wait in enumerate((1.0, 2.0, 4.0), 1):
        policy.recheck(entry, 2000.0, times)
        assert (entry.refresh_at, entry.failures, entry.serve_until) == (2000.0 + wait, 1, 2000.0 + wait + TAKEOVER)
    policy.recheck(entry, 2000.0, 4)
    assert (entry.failures, entry.refresh_at) == (2, 2007.5), "then like an outage"
    policy.recheck(entry, 2000.0, 1)
    assert entry.failures == 2
    freshness(background=False).recheck(entry, 2000.0, 1)
    assert entry.serve_until == 2001.0
    policy.recheck(entry, 2099.0, 1)
    assert entry.serve_until == entry.dead_at
    long = Freshness(TTL, 86_400.0, True, TAKEOVER, lambda: 0.5)  # noqa: FBT003
    long.renew(entry)
    long.recheck(entry, 2000.0, 4)
    assert entry.dead_at == 1000 + TTL + 86_400, "no region has refused it"


def test_lending_never_shortens_and_never_outlives_the_value() -> None:
    entry, policy = entry_of(), freshness()
    policy.lend(entry, 1050.0)
    assert entry.serve_until == 1000 + TTL
    policy.lend(entry, 1105.0)
    assert entry.serve_until == 1105.0
    policy.lend(entry, 9999.0)
    assert entry.serve_until == entry.dead_at


def test_readers_wait_past_ttl_unless_there_is_trouble_already() -> None:
    entry, policy = entry_of(), freshness()
    assert not policy.must_wait(entry, 1099.9)
    assert policy.must_wait(entry, 1100.0)
    entry.failures = 1
    assert not policy.must_wait(entry, 1100.0)


def test_what_nobody_reads_for_an_hour_or_a_hundred_ttls_is_not_refreshed() -> None:
    entry, policy = entry_of(), freshness()
    assert not policy.is_due(entry, 1079.9)
    assert policy.is_due(entry, 1080.0)
    assert policy.is_due(entry, 1000.0 + 3599.9)
    assert not policy.is_due(entry, 1000.0 + 3600.0)
    assert policy.is_due(entry, 1000.0 + 3600.0, pinned=True)
    quick = Freshness(1.0, MAX_STALE, True, TAKEOVER, lambda: 0.5)  # noqa: FBT003
    quick.renew(entry)
    assert quick.is_due(entry, 1099.9)
    assert not quick.is_due(entry, 1100.0)


def test_a_refusal_is_remembered_10_seconds_doubling_to_60() -> None:
    verdict = Verdict(Fault.MISSING, ())
    remembered: Negative | None = None
    spans = []
    for _ in range(5):
        remembered = Freshness.negative(remembered, verdict, 100.0)
        spans.append(remembered.seconds)
        assert (remembered.until, remembered.verdict) == (100.0 + spans[-1], verdict)
    assert spans == [10.0, 20.0, 40.0, 60.0, 60.0]
    remembered = Freshness.negative(remembered, verdict, 100.0, awaited=True)
    assert remembered.seconds == 10.0
    assert Freshness.negative(None, verdict, 100.0, awaited=True).seconds == 1.0
