"""H12: at least once, nothing of Kafka's keeps two hosts from working on one task, so who is cut off ends its workers.

A coordinator that hears nothing, its own reports included, for 2/3 of host_timeout ends those with tasks. Whoever takes
over waits for host_timeout, and then for as long again before it counts a slot as fenced
(cluster_effects.ClusterEffects.unfenced_seconds).
"""

from __future__ import annotations

from streamcluster.ids import Slot, TaskId
from streamcluster.messages import Grant
from streamcluster.settings import make_settings
from streamcluster_coordinator import machine_events as ev
from streamcluster_coordinator.machine import Machine
from tests.coordinator.fake_cluster import FakeCluster, FakeHost

AT_LEAST_ONCE: dict[str, object] = {"processing_guarantee": "at_least_once"}
TASK = TaskId(1, 0)


def pair(options: dict[str, object]) -> tuple[FakeCluster, FakeHost, FakeHost]:
    """Two hosts, a task each; the first leads."""
    cluster = FakeCluster(options=options)
    first = cluster.start("a")
    cluster.advance(1)
    second = cluster.start("b")
    cluster.advance(4)
    assert cluster.owners() == {"2_0": "a/0", "2_1": "b/0"}
    return cluster, first, second


def said(cluster: FakeCluster, host: FakeHost) -> list[str]:
    """What a host told its operator."""
    return [effect.text for one, effect in cluster.effects if one is host and isinstance(effect, ev.Say)]


def test_h12_a_host_that_is_cut_off_ends_its_workers_before_others_have_its_tasks() -> None:
    """There is never a second process with a task, and the host says why it has none."""
    cluster, _, second = pair(AT_LEAST_ONCE)
    second.cut = True

    # The cluster checks with each event that no task has two processes.
    cluster.advance(2.5)
    assert not second.workers
    assert any("no broker was heard for 2 s" in text for text in said(cluster, second))
    cluster.advance(8)

    assert cluster.owners() == {"2_0": "a/0", "2_1": "a/0"}


def test_h12_it_goes_on_with_what_the_log_says_when_it_is_heard_again() -> None:
    """Its workers are started again, and have what the log gives them then."""
    cluster, _, second = pair(AT_LEAST_ONCE)
    second.cut = True
    cluster.advance(12)
    cluster.heal(second)

    cluster.advance(4)

    assert list(cluster.owners()) == ["2_0", "2_1"]
    assert set(cluster.owners().values()) == {"a/0", "b/0"}


def test_h12_a_short_cut_ends_nothing() -> None:
    """A second without brokers is nothing."""
    cluster, _, second = pair(AT_LEAST_ONCE)
    worker = second.workers[Slot(0)]
    second.cut = True
    cluster.advance(1)
    cluster.heal(second)
    cluster.advance(2)

    assert second.workers == {Slot(0): worker}


def test_h12_exactly_once_workers_are_left_alone() -> None:
    """Kafka fences them, so they may go on at once when brokers answer before anybody took over."""
    cluster, _, second = pair({})
    worker = second.workers[Slot(0)]
    second.cut = True
    cluster.advance(2)
    cluster.heal(second)
    cluster.advance(2)

    assert second.workers == {Slot(0): worker}


def test_h12_the_leader_ends_its_workers_too() -> None:
    """Another host leads then, and its tasks go on."""
    cluster, first, _ = pair(AT_LEAST_ONCE)
    first.cut = True

    cluster.advance(14)

    assert not first.workers
    assert cluster.owners() == {"2_0": "b/0", "2_1": "b/0"}


def serving(slots: int) -> Machine:
    """A machine whose slots all serve and have nothing yet."""
    machine = Machine(make_settings({"id": "shop", **AT_LEAST_ONCE}), slots=slots)
    machine.handle(ev.Tick(1.0))
    machine.handle(ev.Assigned(1, {}))
    for number in range(slots):
        slot = Slot(number)
        machine.handle(ev.WorkerStarted(slot, 100 + number))
        machine.handle(ev.WorkerReady(slot, 1))
        machine.handle(ev.WorkerConfirmed(slot, 100 + number, 1))
    return machine


def grants(effects: list[ev.Effect]) -> list[tuple[Slot, TaskId]]:
    """Who is given what."""
    return [
        (effect.slot, task)
        for effect in effects
        if isinstance(effect, ev.Send) and isinstance(effect.message, Grant)
        for task in effect.message.tasks
    ]


def test_h12_a_worker_that_lived_through_it_gets_nothing_before_the_log_is_read_again() -> None:
    """It had no task and was not ended; what was assigned to it meanwhile may be another's by now."""
    machine = serving(1)
    machine.handle(ev.CutOff(is_cut_off=True))
    late = machine.handle(ev.Assigned(2, {TASK: Slot(0)}))
    heard = machine.handle(ev.CutOff(is_cut_off=False))

    assert grants(late) == []
    assert grants(heard) == []
    assert [effect for effect in heard if isinstance(effect, ev.Confirm)] == [ev.Confirm(Slot(0), 100, 1)]
    assert grants(machine.handle(ev.WorkerConfirmed(Slot(0), 100, 1))) == [(Slot(0), TASK)]


def test_h12_no_worker_is_started_meanwhile() -> None:
    """One that dies while no broker is heard is replaced when they are."""
    machine = serving(2)
    machine.handle(ev.Assigned(2, {TASK: Slot(0)}))
    assert ev.Kill(Slot(0)) in machine.handle(ev.CutOff(is_cut_off=True))

    assert machine.handle(ev.WorkerGone(Slot(0), 100, -9)) == []
    assert machine.handle(ev.WorkerGone(Slot(1), 101, 1)) == []
    assert machine.handle(ev.Tick(2.0)) == []

    started = machine.handle(ev.CutOff(is_cut_off=False))
    assert [effect.slot for effect in started if isinstance(effect, ev.Spawn)] == [Slot(0), Slot(1)]


def test_h12_a_worker_that_drains_is_ended_too() -> None:
    """What it has begun may be another's when it gets through."""
    machine = serving(1)
    machine.handle(ev.Assigned(2, {TASK: Slot(0)}))
    machine.handle(ev.StopRequested())

    assert ev.Kill(Slot(0)) in machine.handle(ev.CutOff(is_cut_off=True))
    assert ev.Exit(75) in machine.handle(ev.WorkerGone(Slot(0), 100, -9))
