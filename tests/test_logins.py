"""Who may log in to a target: no order of events makes one process lock an account."""

from __future__ import annotations

import gc
import os
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretcache._logins import IN_FLIGHT, MAX_REFUSALS, Limits, Logins, Turn, Verdict, logins_of
from secretcache._runtime import SystemRuntime
from support import ManualRuntime


class Owner:
    """In a cache's place."""


class Door:
    """The logins of one target, and what AWSCURRENT is as far as the process knows."""

    def __init__(self) -> None:
        self.runtime = ManualRuntime()
        self.logins = Logins(self.runtime)
        self.owner = Owner()
        self.held, self.moves = "v1", 0
        self.woken: list[Turn] = []

    def ask(self, version: str = "v1", key: str = "app", limits: Limits | None = None, **more: Any) -> Turn:
        """A turn in line, looked at once."""
        until = self.runtime.now() + 10.0
        turn = Turn(
            key, version, limits or Limits(), until, lambda: self.woken.append(turn), self.owner, self.seen, **more
        )
        self.logins.ask(turn)
        self.look(turn)
        return turn

    def seen(self) -> tuple[str, int]:
        return self.held, self.moves

    def look(self, turn: Turn) -> Verdict | None:
        # As ThreadWait and TaskWait do it.
        if self.logins.look(turn) is None:
            self.logins.leave(turn)
        return turn.verdict

    def move(self, version: str) -> None:
        self.held, self.moves = version, self.moves + 1

    def takes(self, turn: Turn) -> None:
        assert turn.verdict is Verdict.GO
        self.logins.accepted(turn)
        self.logins.end(turn)

    def refuses(self, turn: Turn) -> None:
        assert turn.verdict is Verdict.GO
        self.logins.refused(turn)
        self.logins.end(turn)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def open_door(door: Door) -> Door:
    """One at which v1 has logged in."""
    door.takes(door.ask())
    return door


def test_the_first_login_of_a_version_goes_alone(door: Door) -> None:
    first, second = door.ask(), door.ask()
    assert (first.verdict, second.verdict) == (Verdict.GO, None)
    door.takes(first)
    assert second in door.woken
    assert door.look(second) is Verdict.GO


@pytest.mark.parametrize(("max_refusals", "width"), [(1, 1), (3, 1), (4, 2), (5, 3), (50, 3)])
def test_then_as_many_as_leave_two_other_versions_their_try(open_door: Door, max_refusals: int, width: int) -> None:
    turns = [open_door.ask(limits=Limits(max_refusals)) for _ in range(width + 2)]
    assert [turn.verdict for turn in turns] == [Verdict.GO] * width + [None] * 2
    open_door.logins.end(turns[0])
    assert open_door.look(turns[width]) is Verdict.GO
    assert open_door.look(turns[width + 1]) is None


def test_after_a_refusal_one_at_a_time_until_one_that_began_later_succeeds(open_door: Door) -> None:
    one, two, three = (open_door.ask(limits=Limits(max_refusals=5)) for _ in range(3))
    open_door.refuses(one)
    # Let in before the password changed, told of after it: says nothing of now.
    open_door.takes(two)
    pending, other = open_door.ask("v2"), open_door.ask("v2")
    assert (pending.verdict, other.verdict) == (None, None)
    open_door.refuses(three)
    assert open_door.look(pending) is Verdict.GO
    assert open_door.look(other) is None
    open_door.takes(pending)
    assert [open_door.look(other), open_door.ask("v2").verdict] == [Verdict.GO] * 2


def test_the_login_that_began_last_before_a_refusal_was_known_says_nothing_either(open_door: Door) -> None:
    one, two = open_door.ask(), open_door.ask()
    open_door.refuses(one)
    open_door.takes(two)
    assert open_door.ask().verdict is Verdict.KNOWN, "it may have been in before the password changed"


def test_a_refused_version_that_logs_in_after_all_is_refused_no_more(open_door: Door) -> None:
    patient = Limits(retry_refused_after=1.0)
    open_door.refuses(open_door.ask("v2"))
    assert open_door.ask("v2").verdict is Verdict.KNOWN
    open_door.runtime.advance(1.0)
    open_door.takes(open_door.ask("v2", limits=patient))
    assert open_door.ask("v2").verdict is Verdict.GO


def test_a_refusal_of_another_version_slows_the_proven_one_down_too(open_door: Door) -> None:
    open_door.refuses(open_door.ask("v2"))
    assert [open_door.ask().verdict for _ in range(2)] == [Verdict.GO, None]


def test_the_last_refusal_allowed_is_told(open_door: Door) -> None:
    told = []
    for version in ("a", "b", "c", "d"):
        turn = open_door.ask(version)
        told.append(open_door.logins.refused(turn))
        open_door.logins.end(turn)
    assert told == [False, False, False, True]


def test_an_older_login_that_is_refused_later_forgets_no_move(open_door: Door) -> None:
    older = open_door.ask()
    open_door.move("v1")
    newer = open_door.ask()
    open_door.refuses(newer)
    open_door.refuses(older)
    assert open_door.ask().verdict is Verdict.KNOWN, "AWSCURRENT has not moved since the newer one was refused"
    open_door.move("v1")
    assert open_door.ask().verdict is Verdict.GO


def test_a_turn_that_never_came_is_given_back_too(open_door: Door) -> None:
    open_door.refuses(open_door.ask("v2"))
    known = open_door.ask("v2")
    assert known.verdict is Verdict.KNOWN
    open_door.logins.end(known)
    open_door.logins.end(known)
    assert open_door.ask().verdict is Verdict.GO


def test_who_waits_with_a_refused_version_is_told_at_once(open_door: Door) -> None:
    flying = [open_door.ask() for _ in range(2)]
    waiting = [open_door.ask() for _ in range(50)]
    open_door.woken.clear()
    open_door.logins.refused(flying[0])
    assert set(waiting) <= set(open_door.woken)
    assert {open_door.look(turn) for turn in waiting} == {Verdict.KNOWN}


def test_an_outcome_that_is_neither_proves_nothing(door: Door) -> None:
    door.logins.end(door.ask())
    first, second = door.ask(), door.ask()
    assert (first.verdict, second.verdict) == (Verdict.GO, None)


def test_what_leaves_wakes_the_next(open_door: Door) -> None:
    flying = [open_door.ask() for _ in range(2)]
    gone, next_one = open_door.ask(), open_door.ask()
    open_door.logins.end(flying[0])
    open_door.woken.clear()
    open_door.logins.leave(gone)  # woken, and cancelled before it looked
    assert next_one in open_door.woken
    assert open_door.look(next_one) is Verdict.GO


def test_each_login_in_flight_may_be_refused_too(door: Door) -> None:
    door.takes(door.ask("v1"))
    door.refuses(door.ask("v2"))
    limits = Limits(max_refusals=2)
    first, second = (door.ask("v1", limits=limits) for _ in range(2))
    assert (first.verdict, second.verdict) == (Verdict.GO, None)
    door.refuses(first)
    assert door.look(second) is Verdict.SPENT


def test_four_refusals_in_thirty_seconds(door: Door) -> None:
    for number in range(MAX_REFUSALS):
        door.refuses(door.ask(f"v{number}"))
        door.runtime.advance(1.0)
    assert door.ask("v9").verdict is Verdict.SPENT
    assert door.ask("v9", key="another account").verdict is Verdict.GO
    door.runtime.advance(26.0)
    assert door.ask("v9").verdict is Verdict.GO


def test_a_success_wipes_the_refusals_out(door: Door) -> None:
    for number in range(3 * MAX_REFUSALS):
        door.refuses(door.ask(f"old{number}"))
        door.takes(door.ask(f"new{number}"))


def test_a_refused_version_waits_until_current_is_seen_to_move_to_it(door: Door) -> None:
    door.refuses(door.ask("v2"))
    assert door.ask("v2").verdict is Verdict.KNOWN
    door.move("v3")
    assert door.ask("v2").verdict is Verdict.KNOWN
    door.move("v2")
    again = door.ask("v2")
    assert again.verdict is Verdict.GO
    door.refuses(again)
    assert door.ask("v2").verdict is Verdict.KNOWN, "it has not moved since"
    door.move("v1")
    door.move("v2")
    assert door.ask("v2").verdict is Verdict.GO


def test_a_move_while_the_login_was_in_flight_counts(door: Door) -> None:
    login = door.ask("v2")
    door.move("v2")
    door.refuses(login)
    assert door.ask("v2").verdict is Verdict.GO


def test_two_caches_count_their_moves_each_by_itself(door: Door) -> None:
    door.moves = 7
    door.refuses(door.ask("v1"))
    door.owner, door.moves = Owner(), 0
    gc.collect()
    assert door.ask("v1").verdict is Verdict.KNOWN
    door.move("v1")
    assert door.ask("v1").verdict is Verdict.GO


def test_when_a_password_that_worked_is_refused_the_others_may_work_again(door: Door) -> None:
    door.refuses(door.ask("v2"))
    door.takes(door.ask("v1"))
    assert door.ask("v2").verdict is Verdict.KNOWN
    door.refuses(door.ask("v1"))
    assert door.ask("v1").verdict is Verdict.KNOWN
    assert door.ask("v2").verdict is Verdict.KNOWN, "a search may find a better one"
    assert door.logins.has_refused_formerly("app", "v2")
    assert not door.logins.has_refused_formerly("app", "v1")
    assert not door.logins.has_refused_formerly("another", "v2")
    assert door.ask("v1", searched=True).verdict is Verdict.KNOWN
    assert door.ask("v2", searched=True).verdict is Verdict.GO


def test_of_a_burst_the_last_refusals_do_not_slow_the_new_version_down(door: Door) -> None:
    unbounded = Limits(max_refusals=None)
    door.takes(door.ask(limits=unbounded))
    burst = [door.ask(limits=unbounded) for _ in range(10)]
    assert {turn.verdict for turn in burst} == {Verdict.GO}
    door.refuses(burst[0])
    new = door.ask("v2", limits=unbounded)
    assert new.verdict is Verdict.GO, "it does not wait for the nine in flight, one of which may hang"
    assert door.ask("v2", limits=unbounded).verdict is None, "one at a time after a refusal"
    door.takes(new)
    for late in burst[1:]:
        door.refuses(late)
    assert [door.ask("v2", limits=unbounded).verdict for _ in range(10)] == [Verdict.GO] * 10


def test_where_accounts_are_locked_the_last_refusals_of_a_burst_count(open_door: Door) -> None:
    burst = [open_door.ask() for _ in range(2)]
    for late in burst:
        open_door.refuses(late)
    target = open_door.ask("v2").target
    assert target is not None
    assert target.recent(open_door.runtime.now()) == 2


def test_a_version_that_stands_in_for_current_is_not_tried_once_current_has_moved(open_door: Door) -> None:
    waiting = open_door.ask("v2", instead_of="v0")
    assert waiting.verdict is Verdict.MOVED
    assert open_door.ask("v2", instead_of="v1").verdict is Verdict.GO


def test_that_current_moves_to_a_version_that_stood_in_for_it_is_no_news(open_door: Door) -> None:
    """The next rotation has begun by then: its password was changed before this process heard that the first ended."""
    open_door.refuses(open_door.ask())
    open_door.takes(open_door.ask("v2"))
    open_door.refuses(open_door.ask("v2", instead_of="v1"))
    open_door.move("v2")
    assert open_door.ask("v2").verdict is Verdict.KNOWN
    open_door.move("v3")
    open_door.move("v2")
    assert open_door.ask("v2").verdict is Verdict.GO, "a rollback"


def test_the_success_that_ends_the_care_wakes_all_who_wait(door: Door) -> None:
    unbounded = Limits(max_refusals=None)
    door.refuses(door.ask(limits=unbounded))
    first, *others = (door.ask("v2", limits=unbounded) for _ in range(20))
    door.takes(first)
    assert set(others) <= set(door.woken)


def test_where_no_account_is_locked_a_proven_version_needs_no_turn(door: Door) -> None:
    limits = Limits(max_refusals=None)

    def wanted(version: str, limits: Limits = limits) -> Turn:
        return Turn("app", version, limits, 1010.0, lambda: None, door.owner, door.seen)

    assert not door.logins.is_calm(wanted("v1")), "nothing is known of it"
    door.takes(door.ask(limits=limits))
    calm = [wanted("v1") for _ in range(3)]
    assert all(door.logins.is_calm(turn) and turn.verdict is Verdict.GO for turn in calm)
    assert not door.logins.is_calm(wanted("v2"))
    assert not door.logins.is_calm(wanted("v1", Limits())), "here accounts are locked"
    door.logins.end(calm[0])
    assert not door.logins.refused(calm[1])
    door.logins.end(calm[1])
    assert calm[1].outdated, "it had worked: the password has changed"
    assert not door.logins.is_calm(wanted("v1"))
    assert door.ask(limits=limits).verdict is Verdict.KNOWN
    pending = door.ask("v2", limits=limits)
    assert pending.verdict is Verdict.GO
    assert not door.logins.is_calm(wanted("v2"))
    door.takes(pending)
    assert door.logins.is_calm(wanted("v2"))
    door.logins.refused(calm[2])
    door.logins.end(calm[2])
    assert door.logins.is_calm(wanted("v2")), "it began before the password changed, and says nothing of today"
    door.move("v1")
    assert door.ask(limits=limits).verdict is Verdict.GO


def test_who_has_waited_longer_goes_first(open_door: Door) -> None:
    first, second = open_door.ask(), open_door.ask()
    waiting = [open_door.ask() for _ in range(3)]
    open_door.takes(first)
    assert open_door.ask().verdict is None, "a thread that logs in again and again does not keep the others out"
    assert open_door.look(waiting[1]) is None
    assert open_door.look(waiting[0]) is Verdict.GO
    open_door.takes(second)
    assert open_door.look(waiting[1]) is Verdict.GO
    assert waiting[2].verdict is None


def test_a_waiter_that_was_woken_and_does_not_look_is_passed_by(open_door: Door) -> None:
    """Its event loop is blocked, perhaps by the very code that logs in next."""
    first, _second = open_door.ask(), open_door.ask()
    asleep, awake = open_door.ask(), open_door.ask()
    open_door.takes(first)
    assert asleep in open_door.woken
    look_at = open_door.logins.look(awake)
    assert look_at is not None
    open_door.runtime.advance(look_at - open_door.runtime.now())
    assert open_door.look(awake) is Verdict.GO
    assert asleep.verdict is None


def test_a_waiter_for_whom_time_alone_has_made_room_is_woken_by_the_next(open_door: Door) -> None:
    for version in ("v2", "v3", "v4"):
        open_door.refuses(open_door.ask(version))
    flying, asleep = open_door.ask(), open_door.ask()
    assert (flying.verdict, asleep.verdict) == (Verdict.GO, None)
    open_door.logins.end(flying)
    open_door.woken.clear()
    open_door.look(asleep)
    assert asleep.verdict is Verdict.GO


def test_a_refusal_can_be_given_an_end(door: Door) -> None:
    limits = Limits(retry_refused_after=60.0)
    door.refuses(door.ask())
    door.runtime.advance(59.0)
    assert door.ask(limits=limits).verdict is Verdict.KNOWN
    door.runtime.advance(1.0)
    assert door.ask().verdict is Verdict.KNOWN
    assert door.ask(limits=limits).verdict is Verdict.GO


def test_time_that_is_over_is_over(door: Door) -> None:
    first, second = door.ask(), door.ask()
    door.runtime.advance(10.0)
    assert door.look(second) is Verdict.LATE
    door.takes(first)


def test_what_a_target_remembers_is_bounded(door: Door) -> None:
    for number in range(100):
        door.refuses(door.ask(f"old{number}"))
        login = door.ask(f"new{number}")
        door.takes(login)
    for number in range(100):
        door.takes(door.ask(f"good{number}"))
    assert login.target is not None
    assert len(login.target.refused) <= 16
    assert len(login.target.proven) <= 17
    assert not login.target.waiting
    assert not login.target.flying


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_order_of_events_locks_an_account(data: st.DataObject) -> None:
    """The server judges a login at any moment between its start and its end; its count goes back at a success."""
    door, password = Door(), "v1"
    in_a_row: list[Turn] = []
    versions = st.sampled_from(["v0", "v1", "v2", "v3"])
    turns: list[Turn] = []
    judged: dict[Turn, bool] = {}
    for _ in range(data.draw(st.integers(1, 60))):
        what = data.draw(st.sampled_from(["ask", "look", "judge", "judge", "tell", "tell", "change", "move", "drop"]))
        waiting = [turn for turn in turns if turn.verdict is None]
        flying = [turn for turn in turns if turn.verdict is Verdict.GO]
        if what == "ask":
            turns.append(door.ask(data.draw(versions)))
        elif what == "look" and waiting:
            door.look(data.draw(st.sampled_from(waiting)))
        elif what == "judge" and (open_ones := [turn for turn in flying if turn not in judged]):
            turn = data.draw(st.sampled_from(open_ones))
            judged[turn] = turn.version == password
            in_a_row = [] if judged[turn] else [*in_a_row, turn]
        elif what == "tell" and (done := [turn for turn in flying if turn in judged]):
            turn = data.draw(st.sampled_from(done))
            (door.takes if judged[turn] else door.refuses)(turn)
            turns.remove(turn)
        elif what == "change":
            password = data.draw(versions)
        elif what == "move":
            door.move(data.draw(versions))
        elif what == "drop" and turns:
            turn = data.draw(st.sampled_from(turns))
            door.logins.end(turn)
            turns.remove(turn)
            # A login that was abandoned and refused all the same is what nobody can count.
            in_a_row = [one for one in in_a_row if one is not turn]
        turns = [turn for turn in turns if turn.verdict in {None, Verdict.GO}]
        assert len(in_a_row) <= MAX_REFUSALS
        assert sum(turn.verdict is Verdict.GO for turn in turns) <= IN_FLIGHT


def test_one_process_has_one_book_for_all_its_caches_and_a_child_a_new_one() -> None:
    assert logins_of(SystemRuntime()) is logins_of(SystemRuntime())
    assert logins_of(ManualRuntime()) is not logins_of(SystemRuntime())
    runtime = ManualRuntime()
    assert logins_of(runtime) is logins_of(runtime)
    assert isinstance(logins_of(runtime), Logins)
    assert isinstance(logins_of(SystemRuntime()), Logins)


def test_a_child_has_a_book_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = logins_of(SystemRuntime())
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        assert logins_of(SystemRuntime()) is not parents
    assert logins_of(SystemRuntime()) is parents


def test_leaving_takes_no_lock(open_door: Door) -> None:
    """A task may be collected while this very thread holds the lock."""
    flying, waiting = [open_door.ask() for _ in range(2)], open_door.ask()
    left = threading.Event()

    def leave() -> None:
        open_door.logins.end(flying[0])
        open_door.logins.leave(waiting)
        left.set()

    with open_door.logins._lock:
        threading.Thread(target=leave, daemon=True).start()
        assert left.wait(10.0)
