"""Holes in the rules of ownership (docs/hosts.md) about hosts that are not heard: H11, H15, H16, H21 and H24."""

from __future__ import annotations

from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster_coordinator.machine import events as ev

from .fake_cluster import FakeCluster
from .resting import cluster_of, moved, of_kind, since


def test_h11_brokers_that_answer_nobody_move_nothing() -> None:
    """All hosts are cut off at once, for much longer than a host may be silent."""
    cluster = cluster_of("abc")
    start, owners = len(cluster.log), cluster.owners()
    for host in cluster.hosts:
        host.cut = True
    cluster.advance(12)
    for host in cluster.hosts:
        cluster.heal(host)
    cluster.advance(5)

    assert cluster.owners() == owners
    assert cluster.log[start:] == []


def test_h11_a_leader_that_is_cut_off_takes_nobody_for_dead() -> None:
    """It hears nobody, and knows that it is because of itself: nothing is written later because of it."""
    cluster = cluster_of("ab")
    leader = cluster.host("a")
    leader.cut = True
    start = len(cluster.effects)
    for _ in range(32):
        cluster.now += 0.25
        cluster.tell(leader, ev.Tick(cluster.now))

    assert of_kind(since(cluster, start, leader), ev.Write, ev.FenceSlot, ev.Say) == []


def test_h11_many_hosts_that_fall_silent_together_get_more_time() -> None:
    """Two of four at once: a switch is the likelier cause. They get three times the time, and then are dead."""
    cluster = cluster_of("abcd")
    start = len(cluster.log)
    for name in "cd":
        cluster.host(name).cut = True
    cluster.advance(7)
    assert moved(cluster, start) == []

    cluster.advance(6)
    assert moved(cluster, start)


def test_h11_one_host_that_falls_silent_alone_is_dead_soon() -> None:
    """The reverse of the above."""
    cluster = cluster_of("abcd")
    start = len(cluster.log)
    cluster.host("d").cut = True
    cluster.advance(4)

    assert moved(cluster, start)


def test_h15_a_host_that_joins_stops_nothing() -> None:
    """Who has a task keeps it until the newcomer has its state; and then only what moves is asked back."""
    cluster = FakeCluster(groups=(3,))
    cluster.start("a")
    cluster.advance(1)
    for task in cluster.tasks:
        cluster.lags["b", task] = 1_000_000
    start = len(cluster.log)
    cluster.start("b")
    cluster.advance(10)
    assert set(cluster.owners().values()) == {"a/0"}
    assert moved(cluster, start) == []

    cluster.lags.clear()
    cluster.advance(5)
    assert sorted(cluster.owners().values()) == ["a/0", "a/0", "b/0"]
    assert {task for snapshot in moved(cluster, start) for task in snapshot.revoking} == {"3_2"}


def test_h16_a_host_whose_loop_hangs_is_taken_for_dead() -> None:
    """Its workers run and nothing says so: its tasks move, and its workers are fenced."""
    cluster = cluster_of("ab")
    cluster.host("b").pause(workers=False)
    start = len(cluster.effects)
    cluster.advance(4)

    assert [f.slot for f in since(cluster, start) if isinstance(f, ev.FenceSlot)] == [SlotId("b", 0)]
    assert set(cluster.owners().values()) == {"a/0"}


def test_h21_a_host_that_was_taken_for_dead_by_mistake_gets_more_time() -> None:
    """The same silence that fenced it once does not fence it again."""
    cluster = cluster_of("abc")
    slow = cluster.host("c")
    fences = []
    for _ in range(3):
        start = len(cluster.effects)
        slow.pause(workers=False)
        cluster.advance(4.5)
        cluster.resume(slow)
        cluster.advance(6)
        fences.append(len(of_kind(since(cluster, start), ev.FenceSlot)))

    assert fences == [1, 0, 0]


def test_h21_a_host_that_died_and_came_back_is_no_mistake() -> None:
    """It died indeed, so the next time it is as soon replaced."""
    cluster = cluster_of("abc")
    for _ in range(2):
        cluster.host("c").crash()
        cluster.advance(5)
        assert len(cluster.owners()) == len(cluster.tasks)
        cluster.start("c")
        cluster.advance(5)
        assert "c/0" in cluster.owners().values()


def test_h24_a_task_of_a_silent_host_has_a_new_owner_only_after_the_fence() -> None:
    """What the old owner has open is aborted before anybody restores: asked back, then fenced, then given."""
    cluster = cluster_of("ab")
    leader = cluster.host("a")
    cluster.host("b").crash()
    task = str(TaskId(2, 1))
    records = len(cluster.log)
    leader.refused = True
    cluster.advance(4)
    # The revocation waits for brokers, and the fence for the revocation.
    assert _asks(of_kind(since(cluster, 0, leader), ev.Write)[-1], task)
    assert of_kind(since(cluster, 0, leader), ev.FenceSlot) == []
    cluster.heal(leader)

    order = [effect for _, effect in cluster.effects if isinstance(effect, (ev.Write, ev.FenceSlot))]
    fence = next(index for index, effect in enumerate(order) if isinstance(effect, ev.FenceSlot))
    asked_back = max(i for i, effect in enumerate(order) if _asks(effect, task))
    given = next(i for i, effect in enumerate(order) if i > asked_back and isinstance(effect, ev.Write))
    assert asked_back < fence < given
    assert [s.owners.get(task) for s in cluster.log[records:]][:2] == ["b/0", "a/0"]
    assert leader.workers[Slot(0)].tasks == set(cluster.tasks)


def _asks(effect: ev.Effect, task: str) -> bool:
    return isinstance(effect, ev.Write) and task in effect.snapshot.revoking
