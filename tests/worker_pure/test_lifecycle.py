"""The life cycle of a worker's tasks: every cell of its table, and the stories that cross cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.ids import TaskId
from streamcluster_worker.lifecycle import (
    Close,
    Closed,
    DrainRequested,
    Effect,
    Event,
    Granted,
    Lifecycle,
    Lost,
    Open,
    Opened,
    Restore,
    Restored,
    Revoked,
    Run,
    State,
    TellDrained,
    TellReleased,
)

T = TaskId(2, 0)
U = TaskId(2, 1)

# (state, event) -> (next state, effects). "absent" is no entry. What is not in the table changes nothing.
TABLE: dict[tuple[str, str], tuple[str, list[Effect]]] = {
    ("absent", "granted"): ("opening", [Open((T,))]),
    ("absent", "revoked"): ("absent", [TellReleased(5, (T,))]),
    ("opening", "opened"): ("restoring", [Restore(T)]),
    ("opening", "lost"): ("opening", [Open((T,))]),
    ("opening", "revoked"): ("closing", [Close((T,))]),
    ("restoring", "restored"): ("running", [Run(T)]),
    ("restoring", "lost"): ("opening", [Open((T,))]),
    ("restoring", "revoked"): ("closing", [Close((T,))]),
    ("running", "lost"): ("opening", [Open((T,))]),
    ("running", "revoked"): ("closing", [Close((T,))]),
    ("closing", "closed"): ("absent", [TellReleased(5, (T,))]),
}
EVENTS: dict[str, Event] = {
    "granted": Granted(5, (T,)),
    "revoked": Revoked(5, (T,)),
    "opened": Opened(T),
    "restored": Restored(T),
    "lost": Lost(),
    "closed": Closed(T),
}
STATES: list[State | None] = [None, "opening", "restoring", "running", "closing"]


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


def test_lost_starts_everything_again_but_what_is_closing() -> None:
    """After new clients every task opens again from Kafka's word; a task that is on its way out goes on closing."""
    life = Lifecycle(states={T: "running", U: "closing"})
    assert play(life, Lost()) == [Open((T,))]
    assert life.states == {T: "opening", U: "closing"}
    assert play(life, Restored(T)) == []
    assert play(Lifecycle(), Lost()) == []


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


TASKS = st.sets(st.sampled_from([T, U, TaskId(3, 0)]), min_size=1).map(lambda tasks: tuple(sorted(tasks)))
ANY = st.one_of(
    st.builds(Granted, st.integers(0, 9), TASKS),
    st.builds(Revoked, st.integers(0, 9), TASKS),
    st.builds(Opened, st.sampled_from([T, U])),
    st.builds(Restored, st.sampled_from([T, U])),
    st.builds(Closed, st.sampled_from([T, U])),
    st.just(Lost()),
)


@given(st.lists(ANY, max_size=30))
def test_no_task_runs_without_having_been_opened_and_restored(events: list[Event]) -> None:
    """In any order of events: Run follows Restore follows Open, and nothing is released while it may still run."""
    life = Lifecycle()
    last: dict[TaskId, str] = {}
    for event in events:
        for effect in life.handle(event):
            match effect:
                case Open(tasks):
                    last.update(dict.fromkeys(tasks, "open"))
                case Restore(task):
                    assert last[task] == "open"
                    last[task] = "restore"
                case Run(task):
                    assert last[task] == "restore"
                    last[task] = "run"
                case Close(tasks):
                    last.update(dict.fromkeys(tasks, "close"))
                case TellReleased(_, tasks):
                    assert all(last.get(task, "close") == "close" for task in tasks)
                case TellDrained():
                    raise AssertionError("nobody asked for a drain")
