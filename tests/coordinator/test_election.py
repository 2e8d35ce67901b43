"""When a host claims the leadership, and what it writes first."""

from __future__ import annotations

from msgspec import structs
from msgspec.structs import replace

from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.election import abdication, first_snapshot
from streamcluster_coordinator.records.report import LeaderRequest
from streamcluster_coordinator.records.snapshot import SUPERSEDED_KEPT
from tests.coordinator.fake_cluster import FakeCluster


def claims(cluster: FakeCluster, start: int) -> list[str]:
    """Who claimed, in order."""
    return [host.instance for host, effect in cluster.effects[start:] if isinstance(effect, ev.Claim)]


def trio() -> FakeCluster:
    """Three hosts; a leads."""
    cluster = FakeCluster(groups=(3,))
    for name in "abc":
        cluster.start(name)
        cluster.advance(1)
    cluster.advance(5)
    assert claims(cluster, 0) == ["a1"]
    return cluster


def test_one_host_claims_when_the_leader_dies() -> None:
    """The first by name of those that are left; the others hear it before their turn."""
    cluster = trio()
    start = len(cluster.effects)
    cluster.host("a").crash()
    cluster.advance(10)

    assert claims(cluster, start) == ["b1"]


def test_the_second_in_line_claims_when_the_first_does_not() -> None:
    """A host that can write reports and no records keeps nobody from leading for long."""
    cluster = trio()
    start = len(cluster.effects)
    cluster.host("b").refused = True
    cluster.host("a").crash()
    cluster.advance(5)

    assert claims(cluster, start) == ["b1", "c1"]
    leader = cluster.log[-1].leader
    assert leader is not None
    assert leader.host == "c"


def test_who_hears_nobody_does_not_claim() -> None:
    """Its own reports do not come back, so the leader's silence means nothing."""
    cluster = trio()
    start = len(cluster.effects)
    cluster.host("c").cut = True
    cluster.advance(20)

    assert claims(cluster, start) == []


def test_the_named_successor_claims_at_once_and_alone() -> None:
    """A leader that leaves costs no silence."""
    cluster = trio()
    start, began = len(cluster.effects), cluster.now
    cluster.tell(cluster.host("a"), ev.StopRequested())

    assert claims(cluster, start) == ["b1"]
    assert cluster.now == began


def test_a_leader_that_comes_back_as_a_new_process_claims_at_once() -> None:
    """It was this host that led: nobody else can be meant by the log."""
    cluster = trio()
    start = len(cluster.effects)
    cluster.host("a").crash()
    cluster.start("a")

    assert claims(cluster, start) == ["a2"]
    assert cluster.log[-1].hosts["a"].superseded == ("a1",)


def test_the_first_record_of_a_term_changes_nothing_but_the_leader() -> None:
    """Who has what, and what is asked back, stays as the log has it."""
    cluster = trio()
    last = cluster.log[-1]
    last_back = abdication(last, None)
    first = first_snapshot(last_back, cluster.host("b").node.identity, (0,))

    assert (first.epoch, first.term) == (last_back.epoch + 1, last_back.term + 1)
    assert (first.owners, first.revoking, first.standbys) == (last.owners, last.revoking, last.standbys)
    assert first.hosts == last.hosts


def test_superseded_coordinators_are_kept_in_a_bounded_number() -> None:
    """A host that starts again and again makes the record no larger."""
    cluster = FakeCluster()
    identity = cluster.start("a").node.identity
    snapshot = first_snapshot(None, identity, (0,))
    for number in range(50):
        snapshot = first_snapshot(snapshot, replace(identity, instance=f"i{number}"), (0,))

    assert snapshot.hosts["a"].superseded == tuple(f"i{number}" for number in range(49 - SUPERSEDED_KEPT, 49))


def test_nobody_claims_while_the_outcome_of_its_last_record_is_open() -> None:
    """A leader that was replaced while no broker answered: its old record would be written in its new term."""
    cluster = trio()
    leader = cluster.host("a")
    leader.refused = True
    start = len(cluster.effects)
    cluster.tell(leader, ev.Asked(LeaderRequest(id="1", kind="drain", target="b")))
    assert any(isinstance(effect, ev.Write) for _, effect in cluster.effects[start:])
    last = cluster.log[-1]
    # The one that led meanwhile has named us its successor.
    left = structs.replace(last, term=last.term + 1, epoch=last.epoch + 1, leader=None, successor="a")

    open_still = leader.node.handle(ev.SnapshotRead(left))
    lost = leader.node.handle(ev.WriteLost())
    later = leader.node.handle(ev.Tick(cluster.now + 2))

    assert [ev.Claim() in effects for effects in (open_still, lost, later)] == [False, False, True]
