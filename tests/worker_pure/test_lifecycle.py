"""The life cycle of a worker's tasks: every cell of its table, and the stories that cross cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.ids import TaskId
from streamcluster_worker.lifecycle import (
    Close,
    Closed,
    CloseStandbys,
    Damaged,
    DrainRequested,
    Effect,
    Event,
    Followed,
    Granted,
    Lifecycle,
    Lost,
    Open,
    Opened,
    OpenStandbys,
    Reopen,
    Restore,
    Restored,
    Revoked,
    Run,
    State,
    TellDrained,
    TellFollowing,
    TellReady,
    TellReleased,
)

T = TaskId(2, 0)
U = TaskId(2, 1)
V = TaskId(3, 0)

# (state, event) -> (next state, effects). "absent" is no entry. What is not in the table changes nothing.
TABLE: dict[tuple[str, str], tuple[str, list[Effect]]] = {
    ("absent", "granted"): ("opening", [Open((T,))]),
    ("absent", "followed"): ("standby", [OpenStandbys((T,)), TellFollowing(5, (T,))]),
    ("absent", "revoked"): ("absent", [TellReleased(5, (T,))]),
    ("standby", "granted"): ("opening", [Open((T,))]),
    ("standby", "followed"): ("standby", [TellFollowing(5, (T,))]),
    ("standby", "dropped"): ("absent", [CloseStandbys((T,)), TellFollowing(5, ())]),
    ("standby", "revoked"): ("standby", [TellReleased(5, (T,))]),
    ("opening", "opened"): ("restoring", [Restore(T)]),
    ("opening", "revoked"): ("closing", [Close((T,))]),
    ("restoring", "restored"): ("running", [Run(T)]),
    ("restoring", "damaged"): ("opening", [Reopen(T)]),
    ("restoring", "revoked"): ("closing", [Close((T,))]),
    ("running", "damaged"): ("opening", [Reopen(T)]),
    ("running", "revoked"): ("closing", [Close((T,))]),
    ("closing", "closed"): ("absent", [TellReleased(5, (T,))]),
}
EVENTS: dict[str, Event] = {
    "granted": Granted(5, (T,)),
    "followed": Followed(5, (T,)),
    "dropped": Followed(5, ()),
    "revoked": Revoked(5, (T,)),
    "opened": Opened(T),
    "damaged": Damaged(T),
    "restored": Restored(T),
    "lost": Lost(),
    "closed": Closed(T),
}
STATES: list[State | None] = [None, "standby", "opening", "restoring", "running", "closing"]
# Whatever the state: every Follow is answered, and after new clients there is nothing.
ANSWERED: dict[str, list[Effect]] = {"followed": [TellFollowing(5, ())], "dropped": [TellFollowing(5, ())]}
for known in ("absent", "standby", "opening", "restoring", "running", "closing"):
    TABLE[known, "lost"] = ("absent", [TellReady(2)])
    for name, answer in ANSWERED.items():
        TABLE.setdefault((known, name), (known, answer))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_every_cell_of_the_table(state: State | None, event: str) -> None:
    """Each state answers each event as the table says, and ignores what the table does not name."""
    life = Lifecycle(states={} if state is None else {T: state}, epoch=5)
    effects = life.handle(EVENTS[event])
    name = state or "absent"
    expected, expected_effects = TABLE.get((name, event), (name, []))
    assert (life.states.get(T, "absent"), effects) == (expected, expected_effects)


def play(life: Lifecycle, *events: Event) -> list[Effect]:
    """All effects of these events."""
    return [effect for event in events for effect in life.handle(event)]


def test_two_tasks_go_their_own_ways() -> None:
    """One grant opens both together; each is restored and run when it alone is ready."""
    life = Lifecycle()
    assert play(life, Granted(1, (U, T))) == [Open((T, U))]
    assert play(life, Opened(U), Opened(T), Restored(U)) == [Restore(U), Restore(T), Run(U)]
    assert life.states == {T: "restoring", U: "running"}
    assert play(life, Granted(2, (T, U))) == []


def test_messages_of_older_epochs_are_dropped() -> None:
    """A grant or revoke that was overtaken by a newer assignment changes nothing."""
    life = Lifecycle()
    play(life, Granted(7, (T,)))
    assert play(life, Granted(6, (U,)), Revoked(6, (T,))) == []
    assert (life.states, life.epoch) == ({T: "opening"}, 7)


def test_grant_while_closing_opens_again_after_the_release() -> None:
    """A task that comes back while it is closed is released first, so that the coordinator's books agree."""
    life = Lifecycle(states={T: "running"})
    assert play(life, Revoked(2, (T,)), Granted(3, (T,))) == [Close((T,))]
    assert play(life, Closed(T)) == [TellReleased(3, (T,)), Open((T,))]
    assert life.states == {T: "opening"}


def test_grant_taken_back_while_closing_is_forgotten() -> None:
    """Granted and revoked again while closing: it is closed and stays away."""
    life = Lifecycle(states={T: "running"})
    play(life, Revoked(2, (T,)), Granted(3, (T,)), Revoked(4, (T,)))
    assert play(life, Closed(T)) == [TellReleased(4, (T,))]
    assert life.states == {}


@pytest.mark.parametrize("state", ["opening", "restoring"])
def test_revoke_before_running_ignores_the_late_answers(state: State) -> None:
    """What the store or the restorer still answers after the revoke starts nothing."""
    life = Lifecycle(states={T: state}, epoch=1)
    assert play(life, Revoked(2, (T,)), Opened(T), Restored(T)) == [Close((T,))]
    assert play(life, Closed(T)) == [TellReleased(2, (T,))]


def test_lost_leaves_nothing_and_says_so() -> None:
    """After new clients the worker has no task, whatever each was doing, and tells the coordinator that it is ready."""
    life = Lifecycle(states={T: "running", U: "closing", V: "standby"}, queued={U: "opening"}, epoch=3)
    assert play(life, Lost()) == [TellReady(2)]
    assert (life.states, life.queued) == ({}, {})
    assert play(life, Opened(T), Restored(T), Closed(U)) == []


def test_grant_of_an_earlier_session_is_dropped_whatever_its_epoch() -> None:
    """A grant may be on its way while the clients are replaced: it is from a log read before the fence (H5)."""
    life = Lifecycle(states={T: "running"}, epoch=3)
    late: list[Event] = [Granted(9, (T,)), Revoked(9, (T,)), Followed(9, (T,))]
    assert play(life, Lost(), *late) == [TellReady(2)]
    assert (life.states, life.epoch) == ({}, 3)
    assert play(life, Granted(3, (T,), session=2)) == [Open((T,))]


def test_follow_is_the_whole_list() -> None:
    """Those that are not in it any more are closed before the answer, those that are new are opened, others stay."""
    life = Lifecycle(states={T: "standby", U: "standby"})
    assert play(life, Followed(2, (V, U))) == [CloseStandbys((T,)), OpenStandbys((V,)), TellFollowing(2, (U, V))]
    assert life.states == {U: "standby", V: "standby"}
    assert play(life, Followed(1, ())) == []


def test_follow_leaves_tasks_alone_that_we_own() -> None:
    """A list that names a task of our own, or leaves it out, does nothing to it."""
    life = Lifecycle(states={T: "running", U: "restoring"})
    assert play(life, Followed(2, (T,)), Followed(3, ())) == [TellFollowing(2, ()), TellFollowing(3, ())]
    assert life.states == {T: "running", U: "restoring"}


def test_promotion_goes_through_opening_and_restoring() -> None:
    """A standby that is granted is opened, which finds its store open, and restored, which replays the tail."""
    life = Lifecycle()
    assert play(life, Followed(1, (T,)), Granted(2, (T,))) == [OpenStandbys((T,)), TellFollowing(1, (T,)), Open((T,))]
    assert play(life, Opened(T), Restored(T)) == [Restore(T), Run(T)]
    assert play(life, Followed(3, ())) == [TellFollowing(3, ())]
    assert life.states == {T: "running"}


def test_task_that_is_closing_is_followed_once_it_is_released() -> None:
    """An owner becomes a standby: released first, and then in the list that it follows."""
    life = Lifecycle(states={T: "running"}, epoch=1)
    assert play(life, Revoked(2, (T,)), Followed(3, (T,))) == [Close((T,)), TellFollowing(3, ())]
    assert play(life, Closed(T)) == [TellReleased(3, (T,)), OpenStandbys((T,)), TellFollowing(3, (T,))]
    assert life.states == {T: "standby"}


def test_follow_taken_back_while_closing_is_forgotten() -> None:
    """Named by one list and not by the next, while it was closing: it is closed and stays away."""
    life = Lifecycle(states={T: "running"}, epoch=1)
    play(life, Revoked(2, (T,)), Followed(3, (T,)), Followed(4, ()))
    assert play(life, Closed(T)) == [TellReleased(4, (T,))]
    assert life.states == {}


def test_drain_lets_standbys_go() -> None:
    """Standbys hold up nothing; lists that come in the meantime are dropped."""
    life = Lifecycle(states={T: "running", U: "standby"})
    assert play(life, DrainRequested(), Followed(1, (V,))) == [CloseStandbys((U,)), Close((T,))]
    assert play(life, Closed(T)) == [TellReleased(0, (T,)), TellDrained()]
    assert play(Lifecycle(states={U: "standby"}), DrainRequested()) == [CloseStandbys((U,)), TellDrained()]


def test_drain_ends_when_the_clients_are_lost() -> None:
    """Tasks that were closing when the outcome of their commit became unknown do not hold up the end."""
    life = Lifecycle(states={T: "running"})
    assert play(life, DrainRequested(), Lost()) == [Close((T,)), TellDrained()]


def test_drain_closes_everything_and_says_so_once() -> None:
    """After the last task is closed the worker is drained; grants that come in the meantime are dropped."""
    life = Lifecycle(states={T: "running", U: "opening"}, epoch=3)
    assert play(life, DrainRequested()) == [Close((T, U))]
    assert play(life, Granted(4, (TaskId(2, 2),))) == []
    assert play(life, Closed(U)) == [TellReleased(3, (U,))]
    assert play(life, Closed(T)) == [TellReleased(3, (T,)), TellDrained()]


def test_drain_of_an_idle_worker_ends_at_once() -> None:
    """Nothing to close: drained."""
    assert play(Lifecycle(), DrainRequested()) == [TellDrained()]


def test_second_drain_waits_for_the_first() -> None:
    """A second request while tasks are closing neither closes them again nor ends the process too early."""
    life = Lifecycle(states={T: "running"})
    assert play(life, DrainRequested(), DrainRequested()) == [Close((T,))]
    assert play(life, Closed(T)) == [TellReleased(0, (T,)), TellDrained()]


TASKS = st.sets(st.sampled_from([T, U, V]), min_size=1).map(lambda tasks: tuple(sorted(tasks)))
ANY = st.one_of(
    st.builds(Granted, st.integers(0, 9), TASKS, st.integers(1, 2)),
    st.builds(Revoked, st.integers(0, 9), TASKS, st.integers(1, 2)),
    st.builds(Followed, st.integers(0, 9), TASKS, st.integers(1, 2)),
    st.builds(Opened, st.sampled_from([T, U])),
    st.builds(Restored, st.sampled_from([T, U])),
    st.builds(Closed, st.sampled_from([T, U])),
    st.just(Lost()),
)


@given(st.lists(ANY, max_size=30))
def test_no_task_runs_without_having_been_opened_and_restored(events: list[Event]) -> None:
    """In any order of events: Run follows Restore follows Open, and nothing is released while it may still run.

    What is followed was closed before, and what is told to be followed is what is.
    """
    life = Lifecycle()
    last: dict[TaskId, str] = {}
    for event in events:
        for effect in life.handle(event):
            match effect:
                case Open(tasks):
                    assert {last.get(task, "close") for task in tasks} <= {"close", "follow"}
                    last.update(dict.fromkeys(tasks, "open"))
                case Restore(task):
                    assert last[task] == "open"
                    last[task] = "restore"
                case Run(task):
                    assert last[task] == "restore"
                    last[task] = "run"
                case Close(tasks):
                    assert {last[task] for task in tasks} <= {"open", "restore", "run"}
                    last.update(dict.fromkeys(tasks, "close"))
                case OpenStandbys(tasks):
                    assert {last.get(task, "close") for task in tasks} == {"close"}
                    last.update(dict.fromkeys(tasks, "follow"))
                case CloseStandbys(tasks):
                    assert {last[task] for task in tasks} == {"follow"}
                    last.update(dict.fromkeys(tasks, "close"))
                case TellFollowing(_, tasks):
                    assert set(tasks) == {task for task, its in last.items() if its == "follow"}
                case TellReady():
                    last.clear()
                case TellReleased(_, tasks):
                    assert {last.get(task, "close") for task in tasks} <= {"close", "follow"}
                case TellDrained():
                    raise AssertionError("nobody asked for a drain")
