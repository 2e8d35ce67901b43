"""How often the leader plans: at once while that is cheap, and when it is not, for what somebody waits for."""

from __future__ import annotations

from streamcluster_coordinator.machine.pace import Outlook, Pace
from streamcluster_coordinator.records.report import UNCHANGED

from .cluster_scenario import Script, act_on
from .fake_cluster import FakeCluster

FIRST = Outlook("epoch 1", "slots", "rows")


def test_a_small_cluster_plans_at_each_change() -> None:
    """1,000 tasks take milliseconds."""
    pace = Pace(tasks=1_000)
    assert pace.is_due(FIRST, 10.0)

    assert not pace.is_due(FIRST, 10.0)
    assert pace.is_due(Outlook("epoch 1", "slots", "other rows"), 10.0)
    assert pace.is_due(Outlook("epoch 1", "other slots", "other rows"), 10.0)


def test_a_large_cluster_plans_for_news_of_slots_once_a_second_and_of_tasks_every_five() -> None:
    """10,000 tasks: so often a leader can, and still hear what comes meanwhile."""
    pace = Pace(tasks=10_000)
    assert pace.is_due(FIRST, 10.0)
    slots, rows = Outlook("epoch 1", "other slots", "rows"), Outlook("epoch 1", "other slots", "other rows")

    assert not pace.is_due(slots, 10.9)
    assert pace.is_due(slots, 11.0)
    assert not pace.is_due(rows, 15.9)
    assert pace.is_due(rows, 16.0)


def test_what_is_urgent_is_planned_at_once() -> None:
    """A host that died, a fence, a request: somebody waits for it."""
    pace = Pace(tasks=10_000)
    assert pace.is_due(FIRST, 10.0)

    assert pace.is_due(Outlook("host b is dead", "slots", "rows"), 10.1)


def test_a_host_whose_rows_are_not_known_yet_counts_as_silent() -> None:
    """Its standbys would seem to be cold: nothing is decided about it until they are told."""
    cluster = FakeCluster(groups=(4,))
    for name in ("a", "b"):
        cluster.start(name).node.reporter.rows_seconds = 10.0
        cluster.advance(15)
    leader, heard = cluster.host("a").node, cluster.host("a").node.view.heard["b"]
    assert leader.term is not None
    heard.told, heard.decoded = UNCHANGED, None
    epoch = cluster.log[-1].epoch

    act_on(Script(cluster, cluster.now), "ask", ["b", "drain", "b"])
    unknown = cluster.log[-1]
    cluster.advance(20)

    assert (unknown.epoch, unknown.drained) == (epoch, ())
    assert cluster.log[-1].drained == ("b",)
    assert set(cluster.owners().values()) == {"a/0"}
