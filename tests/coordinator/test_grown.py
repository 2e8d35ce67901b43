"""Partitions that are added to what an app without state reads: its hosts end their runs, and begin again with them."""

from __future__ import annotations

from msgspec.structs import replace

from streamcluster.topology import ResolvedTable, ResolvedTopic, Topology
from streamcluster.topology.resolve import growth
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.records.snapshot import Shape, Snapshot, begun_of

from .fake_cluster import FakeCluster, FakeHost
from .resting import cluster_of

SECONDS = 60


def grown(cluster: FakeCluster) -> Shape:
    """One topic has got four partitions more."""
    shape = cluster.shape()
    name, count = min(shape.sources.items())
    return replace(shape, sources={**shape.sources, name: count + 4})


def exits(cluster: FakeCluster, host: FakeHost) -> list[int]:
    """The codes that the host ended with."""
    return [effect.code for one, effect in cluster.effects if one is host and isinstance(effect, ev.Exit)]


def test_hosts_with_more_partitions_wait_until_the_others_have_ended_their_run() -> None:
    """They are not refused while the old run goes on, and go on with what the topic had when they began."""
    cluster = cluster_of("ab")
    cluster.tell(cluster.host("a"), ev.StopRequested())
    cluster.advance(SECONDS)
    new = cluster.start("a", grown(cluster))
    cluster.advance(5)
    assert exits(cluster, new) == []
    assert cluster.log[-1].shape == cluster.shape()

    cluster.tell(cluster.host("b"), ev.StopRequested())
    cluster.advance(SECONDS)
    other = cluster.start("b", grown(cluster))
    cluster.advance(SECONDS)

    assert exits(cluster, new) == exits(cluster, other) == []
    assert cluster.log[-1].shape == grown(cluster)
    assert set(cluster.log[-1].hosts) == {"a", "b"}
    assert cluster.log[-1].begun == cluster.shape().sources


def test_hosts_that_come_with_more_partitions_at_once_do_not_wait_for_each_other() -> None:
    """Nobody of the old run is there: one of them leads, though the other joins as well."""
    cluster = cluster_of("ab")
    for name in "ab":
        cluster.host(name).crash()
    for name in "ab":
        cluster.start(name, grown(cluster))
    cluster.advance(SECONDS)

    assert cluster.log[-1].shape == grown(cluster)
    assert set(cluster.log[-1].hosts) == {"a", "b"}


def test_host_that_has_not_noticed_ends_its_run_when_the_others_go_on_with_more() -> None:
    """It was cut off meanwhile, and its tasks are others' now; it knows that it is to begin again."""
    cluster = cluster_of("ab")
    late, first = cluster.host("a"), cluster.host("b")
    late.cut = True
    cluster.tell(first, ev.StopRequested())
    cluster.advance(SECONDS)
    cluster.start("b", grown(cluster))
    cluster.advance(SECONDS)
    assert cluster.log[-1].shape == grown(cluster)

    cluster.heal(late)
    cluster.advance(5)

    assert late.node.is_outgrown()
    assert exits(cluster, late) == [65]


def test_only_more_partitions_with_the_same_tables_are_growth() -> None:
    """Fewer, a topic that is gone, another table, and the same are not."""
    shape = Shape(sources={"a": 2, "b": 3}, tables={"t": ("t-changelog", 3)})

    assert replace(shape, sources={"a": 4, "b": 3}).has_grown_from(shape)
    assert not shape.has_grown_from(shape)
    assert not replace(shape, sources={"a": 4, "b": 2}).has_grown_from(shape)
    assert not replace(shape, sources={"a": 4}).has_grown_from(shape)
    assert not replace(shape, sources={"a": 4, "b": 3}, tables={}).has_grown_from(shape)


def test_with_how_many_partitions_reading_began_is_known_after_two_growths() -> None:
    """From the first snapshot on, also when its writer did not note it; less when a topic was made anew."""
    last = Snapshot(epoch=1, term=1, leader=None, cluster_id="", topic_id="", shape=Shape(sources={"a": 4, "b": 9}))

    assert begun_of(None, Shape(sources={"a": 8})) == {"a": 8}
    assert begun_of(last, Shape(sources={"a": 8, "c": 1})) == {"a": 4, "c": 1}
    assert begun_of(replace(last, begun={"a": 2, "b": 9}), Shape(sources={"a": 8, "b": 3})) == {"a": 2, "b": 3}


def topology(partitions: int, **tables: int) -> Topology:
    """One topic, and tables by their group."""
    return Topology(
        app_id="shop",
        topics=(ResolvedTopic(name="orders", role="source", partitions=partitions),),
        agents=(),
        tables=tuple(ResolvedTable(name=name, changelog=name, group=group) for name, group in tables.items()),
    )


def test_growth_says_which_topic_has_how_many() -> None:
    """Nothing when there are as many, fewer, or when more changed than that."""
    assert growth(topology(2), topology(4)) == ["topic 'orders' has 4 partitions now, and had 2"]
    assert growth(topology(2), topology(2)) == []
    assert growth(topology(2), topology(1)) == []
    assert growth(topology(2), topology(4, counts=4)) == []
