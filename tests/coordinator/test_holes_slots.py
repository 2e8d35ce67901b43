"""Holes in the rules of ownership (docs/hosts.md) that one host closes: when its workers may have which task.

H5 to H7, H10, H13, H14 and H22.
"""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from streamcluster.errors import Fenced
from streamcluster.ids import Slot, TaskId
from streamcluster.kafka.verdicts import ResetNeeded, classify, error_for, is_taken_over
from streamcluster.protocol.messages import Follow, Grant, Revoke
from streamcluster.settings import make_settings
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.local import Machine

FIRST, SECOND = Slot(0), Slot(1)
TASK, OTHER = TaskId(2, 0), TaskId(2, 1)


def machine_of(epoch: int, tasks: dict[TaskId, Slot]) -> Machine:
    """Two slots with processes 100 and 101, which have not said anything yet."""
    machine = Machine(make_settings({"id": "shop"}), slots=2)
    machine.handle(ev.Tick(1.0))
    machine.handle(ev.Assigned(epoch, tasks))
    for slot in (FIRST, SECOND):
        machine.handle(ev.WorkerStarted(slot, 100 + slot))
    return machine


def serve(machine: Machine, slot: Slot, session: int = 1) -> list[ev.Effect]:
    """Its worker begins a session, and the log is read after that."""
    effects = machine.handle(ev.WorkerReady(slot, session))
    return effects + machine.handle(ev.WorkerConfirmed(slot, 100 + slot, session))


def sent(effects: list[ev.Effect], kind: type[Grant] | type[Revoke] | type[Follow]) -> list[tuple[Slot, int, TaskId]]:
    """Messages of a kind: slot, session and task of each."""
    return [
        (effect.slot, effect.message.session, task)
        for effect in effects
        if isinstance(effect, ev.Send) and isinstance(effect.message, (Grant, Revoke, Follow))
        if isinstance(effect.message, kind)
        for task in effect.message.tasks
    ]


def test_h05_a_worker_has_nothing_before_the_log_was_read_after_its_fence() -> None:
    """What is known already may be from before: the grant waits for the answer to Confirm."""
    machine = machine_of(1, {TASK: FIRST})

    ready = machine.handle(ev.WorkerReady(FIRST, 1))
    assert sent(ready, Grant) == []
    assert ready == [ev.Confirm(FIRST, 100, 1)]
    assert sent(machine.handle(ev.Assigned(2, {TASK: FIRST})), Grant) == []

    assert sent(machine.handle(ev.WorkerConfirmed(FIRST, 100, 1)), Grant) == [(FIRST, 1, TASK)]


def test_h05_a_fenced_worker_that_begins_anew_gets_what_the_log_says_then() -> None:
    """Between its fence and its new session its task went to another: it does not go on with it."""
    machine = machine_of(1, {TASK: FIRST})
    serve(machine, FIRST)
    assert machine.state.held == {TASK: FIRST}

    again = machine.handle(ev.WorkerReady(FIRST, 2))
    assert sent(again, Grant) == []
    assert machine.state.held == {}
    # The log is read: somebody else has it.
    machine.handle(ev.Assigned(2, {}))

    assert sent(machine.handle(ev.WorkerConfirmed(FIRST, 100, 2)), Grant) == []


def test_h05_the_answer_for_an_earlier_session_grants_nothing() -> None:
    """That read of the log was before the newest fence."""
    machine = machine_of(1, {TASK: FIRST})
    machine.handle(ev.WorkerReady(FIRST, 1))
    machine.handle(ev.WorkerReady(FIRST, 2))

    assert machine.handle(ev.WorkerConfirmed(FIRST, 100, 1)) == []
    assert sent(machine.handle(ev.WorkerConfirmed(FIRST, 100, 2)), Grant) == [(FIRST, 2, TASK)]


def test_h05_the_answer_for_an_earlier_process_grants_nothing() -> None:
    """The slot has another process by now."""
    machine = machine_of(1, {TASK: FIRST})
    machine.handle(ev.WorkerReady(FIRST, 1))
    machine.handle(ev.WorkerGone(FIRST, 100, -9))
    machine.handle(ev.WorkerStarted(FIRST, 200))
    machine.handle(ev.WorkerReady(FIRST, 1))

    assert machine.handle(ev.WorkerConfirmed(FIRST, 100, 1)) == []
    assert sent(machine.handle(ev.WorkerConfirmed(FIRST, 200, 1)), Grant) == [(FIRST, 1, TASK)]


def test_h05_every_message_about_tasks_names_the_session() -> None:
    """What was sent to the session before is known as such."""
    machine = machine_of(1, {TASK: FIRST})
    serve(machine, FIRST, session=1)
    assert sent(serve(machine, FIRST, session=2), Grant) == [(FIRST, 2, TASK)]

    effects = machine.handle(ev.Assigned(2, {}, {TASK: SECOND, OTHER: FIRST}))
    assert sent(effects, Revoke) == [(FIRST, 2, TASK)]
    assert sent(effects, Follow) == [(FIRST, 2, OTHER)]


def test_h06_h07_after_a_commit_of_unknown_outcome_a_worker_holds_nothing() -> None:
    """Its new session may commit nothing before a grant, so a late end of the old one meets no open transaction."""
    machine = machine_of(1, {TASK: FIRST, OTHER: SECOND})
    serve(machine, FIRST)
    serve(machine, SECOND)

    machine.handle(ev.WorkerReady(FIRST, 2))

    assert machine.state.held == {OTHER: SECOND}
    assert machine.state.places[FIRST].unfenced == set()


@pytest.mark.parametrize(
    "error",
    [
        KafkaError(KafkaError._TIMED_OUT),
        KafkaError(KafkaError._STATE),
        KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True),
        KafkaError(KafkaError.UNKNOWN, txn_requires_abort=True),
    ],
    ids=lambda error: error.name(),
)
def test_h07_an_outcome_that_is_not_known_replaces_all_clients(error: KafkaError) -> None:
    """Never the next transaction of the same producer: the truth is the committed offset after a new session (I3)."""
    assert classify(error) in ("reset", "unreachable")


def test_h10_a_workers_id_that_brokers_forgot_counts_as_fenced() -> None:
    """We cannot tell whether another took it meanwhile, so the process ends and a new one begins with a grant."""
    forgotten = KafkaError(KafkaError.INVALID_PRODUCER_ID_MAPPING, txn_requires_abort=True)

    assert classify(forgotten) == "fenced"
    assert isinstance(error_for("Committing", forgotten), Fenced)
    assert not isinstance(error_for("Committing", forgotten), ResetNeeded)


def test_h10_a_fenced_worker_is_replaced_and_gets_what_the_log_says() -> None:
    """Neither the app nor the host ends because of it, however often it is."""
    machine = machine_of(1, {TASK: FIRST})
    serve(machine, FIRST)
    for number in range(20):
        pid = machine.state.places[FIRST].pid
        assert sent(machine.handle(ev.WorkerGone(FIRST, pid, 76)), Grant) == []
        assert ev.Spawn(FIRST) in machine.handle(ev.Tick(machine.state.now + 0.5))
        machine.handle(ev.WorkerStarted(FIRST, 200 + number))
        machine.handle(ev.WorkerReady(FIRST, 1))
        assert sent(machine.handle(ev.WorkerConfirmed(FIRST, 200 + number, 1)), Grant) == [(FIRST, 1, TASK)]


def test_h10_a_leaders_id_that_brokers_forgot_is_no_successor() -> None:
    """The control log tells whether another leads; its writer opens the id again and looks."""
    assert not is_taken_over(KafkaError(KafkaError.INVALID_PRODUCER_ID_MAPPING))
    assert is_taken_over(KafkaError(KafkaError._FENCED))


def test_h13_a_task_changes_its_slot_only_after_the_kernels_or_the_workers_word() -> None:
    """An old process may still have the store open: the grant waits for its release or its end."""
    machine = machine_of(1, {TASK: FIRST})
    serve(machine, FIRST)
    serve(machine, SECOND)
    effects = machine.handle(ev.Assigned(2, {TASK: SECOND}))
    assert sent(effects, Revoke) == [(FIRST, 1, TASK)]
    assert sent(effects, Grant) == []

    assert sent(machine.handle(ev.WorkerGone(FIRST, 100, -9)), Grant) == [(SECOND, 1, TASK)]


def test_h13_a_task_is_granted_only_when_no_other_process_here_follows_it() -> None:
    """A standby has the store open, too; its answer to Follow says when it has not."""
    machine = machine_of(1, {})
    serve(machine, FIRST)
    serve(machine, SECOND)
    assert sent(machine.handle(ev.Assigned(2, {}, {TASK: FIRST})), Follow) == [(FIRST, 1, TASK)]

    moved = machine.handle(ev.Assigned(3, {TASK: SECOND}))
    assert sent(moved, Grant) == []

    assert sent(machine.handle(ev.WorkerFollows(FIRST, 3, ())), Grant) == [(SECOND, 1, TASK)]


def test_h14_a_standby_is_promoted_by_a_grant_and_not_told_to_close() -> None:
    """The store stays open, and the worker replays the tail after the grant, so after the fence."""
    machine = machine_of(1, {})
    serve(machine, FIRST)
    machine.handle(ev.Assigned(2, {}, {TASK: FIRST}))
    machine.handle(ev.WorkerFollows(FIRST, 2, (TASK,)))

    effects = machine.handle(ev.Assigned(3, {TASK: FIRST}))

    assert sent(effects, Grant) == [(FIRST, 1, TASK)]
    assert [effect for effect in effects if isinstance(effect, ev.Send) and isinstance(effect.message, Follow)] == []


def test_h22_nothing_is_granted_before_the_workers_own_fence() -> None:
    """Committed offsets are read after the grant, so no transaction of the slot's earlier owner can be pending then."""
    machine = machine_of(1, {TASK: FIRST})

    for event in (ev.Tick(2.0), ev.Assigned(2, {TASK: FIRST}), ev.WorkerConfirmed(FIRST, 100, 1)):
        assert sent(machine.handle(event), Grant) == []

    assert sent(serve(machine, FIRST), Grant) == [(FIRST, 1, TASK)]
