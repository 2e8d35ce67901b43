"""H12: at least once, whoever lost a task must not write its changelog or position either; only its outputs may come.

So the control plane does the same under both guarantees: a slot is fenced in Kafka before others have its tasks. What
the fence does to a commit is in tests/worker/test_fenced_committer.py, and the whole in
tests/process/test_stopped_host.py.
"""

from __future__ import annotations

import msgspec
import pytest

from streamcluster.ids import Slot, SlotId
from streamcluster_coordinator.machine import events as ev
from tests.coordinator.fake_cluster import FakeCluster, FakeHost

GUARANTEES = ("exactly_once", "at_least_once")


@pytest.fixture(params=GUARANTEES)
def guarantee(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return str(request.param)


def pair(guarantee: str) -> tuple[FakeCluster, FakeHost, FakeHost]:
    """Two hosts, a task each; the first leads."""
    cluster = FakeCluster(options={"processing_guarantee": guarantee})
    first = cluster.start("a")
    cluster.advance(1)
    second = cluster.start("b")
    cluster.advance(4)
    assert cluster.owners() == {"2_0": "a/0", "2_1": "b/0"}
    return cluster, first, second


def test_h12_a_silent_hosts_slot_is_fenced_before_others_have_its_tasks(guarantee: str) -> None:
    """The cluster checks with each event that no task has two processes that could commit for it."""
    cluster, first, second = pair(guarantee)
    session = second.workers[Slot(0)].session
    second.cut = True
    cluster.advance(4)

    assert [one.slot for host, one in cluster.effects if host is first and isinstance(one, ev.FenceSlot)] == [
        SlotId("b", Slot(0))
    ]
    assert not cluster.brokers.is_current(SlotId("b", Slot(0)), session)
    assert cluster.log[-1].owners == {"2_0": "a/0", "2_1": "a/0"}


def test_h12_workers_that_are_cut_off_are_left_alone(guarantee: str) -> None:
    """Kafka fences them, so they may go on at once when brokers answer before anybody took over."""
    cluster, _, second = pair(guarantee)
    worker = second.workers[Slot(0)]
    second.cut = True
    cluster.advance(2)
    cluster.heal(second)
    cluster.advance(2)

    assert second.workers == {Slot(0): worker}


def test_a_host_that_begins_again_fences_none_of_its_own_workers() -> None:
    """It left while a task was asked back. Its new workers fence the old ones; one more fence would end one of them."""
    cluster = FakeCluster(workers=2)
    cluster.start("a")
    cluster.advance(4)
    last = cluster.log[-1]
    task = next(task for task, owner in last.owners.items() if owner == "a/1")
    cluster.host("a").crash()
    cluster.log.append(msgspec.structs.replace(last, epoch=last.epoch + 1, revoking={task: last.epoch + 1}))
    again = cluster.start("a")
    cluster.advance(4)

    assert [effect for host, effect in cluster.effects if host is again and isinstance(effect, ev.FenceSlot)] == []
    assert cluster.log[-1].revoking == {}
    assert {*cluster.owners().values()} == {"a/0", "a/1"}
