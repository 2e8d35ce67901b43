"""Every hole in the rules of ownership (docs/hosts.md) has a test that fails without its closure. Here: the machines'.

H1   here (a fenced leader stops), test_control.py::test_a_claim_counts_terms_and_fences_the_predecessor
H2   here; tests/worker_pure/test_lifecycle.py::test_messages_of_older_epochs_are_dropped
H3   test_control.py::test_a_dead_leaders_open_transaction_ends_with_the_next_claim;
     tests/worker/test_restore.py::test_restore_waits_for_an_open_transaction
H4   here; test_control.py::test_claims_that_race_have_one_winner_per_term
H5   test_holes_slots.py; tests/worker_pure/test_lifecycle.py::test_grant_of_an_earlier_session_is_dropped_...;
     tests/kafka/test_reset.py::test_worker_whose_slot_was_fenced_while_it_was_resetting_has_no_tasks
H6   test_holes_slots.py, as H7; tests/kafka_layer/test_verdicts.py::test_error_gets_its_verdict
H7   test_holes_slots.py; test_control_faults.py::test_a_write_with_no_answer_is_in_the_log_once;
     tests/kafka/test_reset.py::test_drain_ends_though_nobody_knows_whether_its_commit_counts
H8   here; test_control.py::test_a_snapshot_that_is_too_large_is_refused_before_it_is_sent
H9   tests/worker/test_positions.py::test_results_without_a_committed_offset_are_refused_wherever_they_came_from
H10  test_holes_slots.py
H11  test_holes_silence.py
H12  test_holes_once.py; tests/worker/test_fenced_committer.py; tests/process/test_stopped_host.py
H13  test_holes_slots.py; tests/worker/test_shard.py::test_rocks_store_open_elsewhere_is_unavailable
H14  test_holes_slots.py; tests/worker/test_follow.py::test_promotion_replays_only_the_tail,
     ::test_open_transaction_is_waited_for
H15  test_holes_silence.py. There is no consumer group any more: nothing is revoked because somebody joins
H16  test_holes_silence.py. There is no group whose thread could go on alone: a loop that hangs writes no reports
H17  here; test_control_faults.py::test_a_topic_that_was_made_anew_is_told_to_a_running_coordinator
H18  here
H19  here; tests/test_tidy.py[purity] keeps clocks out of the machines
H20  here
H21  test_holes_silence.py
H22  test_holes_slots.py; tests/worker/test_committer.py::test_pending_offsets_are_waited_for
H23  test_control.py::test_a_dead_leaders_open_transaction_ends_with_the_next_claim
H24  test_holes_silence.py; test_control.py::test_fenced_slots_can_commit_nothing
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streamcluster.errors import StateIncompatible
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.election import first_snapshot
from streamcluster_coordinator.records.snapshot import (
    SNAPSHOT_BYTES_MAX,
    Leader,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)

from .fake_cluster import FakeCluster
from .resting import cluster_of, moved, of_kind, said, since


def test_h01_a_leader_that_was_succeeded_while_it_was_paused_leads_no_more() -> None:
    """Its next write is lost, and after that it writes nothing and fences nobody."""
    cluster = cluster_of("ab")
    old = cluster.host("a")
    old.pause()
    cluster.advance(6)
    assert cluster.log[-1].leader == Leader(host="b", instance="b1", pid=1, machine="b")

    start = len(cluster.effects)
    cluster.resume(old)
    cluster.advance(5)

    assert old.node.term is None
    assert of_kind(since(cluster, start, old), ev.FenceSlot, ev.Claim) == []
    assert {snapshot.leader.host for snapshot in cluster.log[-2:] if snapshot.leader} == {"b"}


def test_h01_a_lost_write_ends_the_term() -> None:
    """Nothing that a fenced leader planned is asked for again."""
    cluster = cluster_of("ab")
    leader = cluster.host("a")
    effects = leader.node.handle(ev.WriteLost())

    assert leader.node.term is None
    assert of_kind(effects, ev.Write, ev.FenceSlot) == []


def test_h02_an_older_snapshot_changes_nothing() -> None:
    """What a stale leader says is not listened to, of whatever epoch, once a newer term was read."""
    cluster = cluster_of("ab")
    host = cluster.host("b")
    newest = cluster.log[-1]
    for stale in (
        replace(newest, epoch=newest.epoch + 5, term=newest.term - 1, owners={}),
        replace(newest, epoch=newest.epoch - 1, owners={}),
    ):
        effects = host.node.handle(ev.SnapshotRead(stale))

        assert of_kind(effects, ev.Send) == []
        assert host.node.view.snapshot == newest


def test_h02_an_older_assignment_revokes_nothing() -> None:
    """The local machine keeps to the newest epoch."""
    cluster = cluster_of("a")
    machine = cluster.host("a").node.local

    assert machine.handle(ev.Assigned(machine.state.epoch - 1, {})) == []
    assert machine.state.held


def test_h04_who_lost_a_claim_waits_before_the_next() -> None:
    """The winner has a second to be heard; they do not fence each other in turns."""
    cluster = cluster_of("ab")
    cluster.host("a").crash()
    survivor = cluster.host("b")
    survivor.refused = True
    start = len(cluster.effects)
    cluster.advance(4)
    assert len(of_kind(since(cluster, start, survivor), ev.Claim)) == 1

    start = len(cluster.effects)
    cluster.tell(survivor, ev.ClaimLost())
    cluster.advance(0.75)
    assert of_kind(since(cluster, start, survivor), ev.Claim) == []
    cluster.advance(0.5)
    assert of_kind(since(cluster, start, survivor), ev.Claim) == [ev.Claim()]


def test_h08_a_host_that_reads_the_last_snapshot_only_knows_all() -> None:
    """There are no deltas: compaction may cut the log anywhere."""
    cluster = cluster_of("abc")
    whole, last = cluster.start("d"), cluster.start("e")
    for snapshot in cluster.log:
        whole.node.handle(ev.SnapshotRead(snapshot))
    last.node.handle(ev.SnapshotRead(cluster.log[-1]))

    assert whole.node.view.snapshot == last.node.view.snapshot
    assert whole.node.local.state.placement == last.node.local.state.placement
    again = decode_snapshot(encode_snapshot(cluster.log[-1]))
    assert again == cluster.log[-1]


def test_h08_a_snapshot_that_no_broker_takes_is_refused() -> None:
    """The reason says what to do, before anything is sent."""
    owners = {f"500000_{number}": "host-with-a-long-name/0" for number in range(500_000)}
    snapshot = Snapshot(
        epoch=1, term=1, leader=None, cluster_id="c", topic_id="t", shape=FakeCluster().shape(), owners=owners
    )

    with pytest.raises(StateIncompatible, match=f"more than the {SNAPSHOT_BYTES_MAX}"):
        encode_snapshot(snapshot)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"cluster_id": "other"}, "was copied from"), ({"topic_id": "other"}, "was made anew")],
)
def test_h17_a_log_of_another_cluster_or_topic_is_refused(change: dict[str, str], reason: str) -> None:
    """Nobody leads by it."""
    cluster = cluster_of("a")
    last = replace(cluster.log[-1], **change)

    with pytest.raises(StateIncompatible, match=reason):
        first_snapshot(last, cluster.host("a").node.identity, (0,))


def test_h18_a_host_with_other_tables_is_refused_with_the_difference() -> None:
    """It ends at the leader's first report; nothing of the cluster changes."""
    cluster = cluster_of("ab")
    start = len(cluster.log)
    newcomer = cluster.start("c", cluster.shape(extra=2))
    cluster.advance(2)

    assert newcomer.exit_code == 65
    reason = said(since(cluster, 0, newcomer))
    assert "table extra: ('extra-changelog', 2) here, absent there" in reason
    assert "leader a" in reason
    assert cluster.log[start:] == []


def test_h18_the_leaders_host_comes_back_with_other_tables_while_others_run() -> None:
    """The log says that it led, and still it does not claim: the hosts that run are the cluster."""
    cluster = cluster_of("ab")
    cluster.host("a").crash()
    newcomer = cluster.start("a", cluster.shape(extra=2))
    cluster.advance(8)

    assert newcomer.exit_code == 65
    assert all(snapshot.shape == cluster.shape() for snapshot in cluster.log)
    assert set(cluster.owners().values()) == {"b/0"}


def test_h18_a_host_that_was_away_while_the_cluster_got_other_tables_ends() -> None:
    """It was registered, and is not of this cluster any more."""
    cluster = cluster_of("ab")
    away = cluster.host("b")
    away.cut = True
    cluster.host("a").crash()
    cluster.advance(1)
    cluster.start("a", cluster.shape(extra=2))
    cluster.advance(8)
    assert cluster.log[-1].shape == cluster.shape(extra=2)

    cluster.heal(away)
    cluster.advance(2)

    assert away.exit_code == 65


def test_h18_a_new_version_of_the_same_shape_joins() -> None:
    """A rolling upgrade: agents may differ, tasks and tables may not."""
    cluster = cluster_of("ab")
    cluster.host("b").crash()
    cluster.start("b")
    cluster.advance(8)

    assert sorted(cluster.owners().values()) == ["a/0", "b/0"]
    assert cluster.log[-1].hosts["b"].instance == "b2"


def test_h19_time_that_goes_back_breaks_nothing() -> None:
    """No rule needs that a clock only grows; nobody is taken for dead, and work goes on."""
    cluster = cluster_of("ab")
    start, owners = len(cluster.log), cluster.owners()
    cluster.now -= 500.0
    cluster.advance(5)
    assert cluster.owners() == owners
    assert moved(cluster, start) == []

    cluster.host("b").crash()
    cluster.advance(5)
    assert set(cluster.owners().values()) == {"a/0"}


def test_h19_a_jump_ahead_takes_nobody_for_dead() -> None:
    """A machine that was suspended has heard nobody meanwhile, and blames nobody."""
    cluster = cluster_of("ab")
    start, owners = len(cluster.log), cluster.owners()
    cluster.now += 500.0
    cluster.advance(5)

    assert cluster.owners() == owners
    assert moved(cluster, start) == []


def test_h20_a_quiet_cluster_writes_little() -> None:
    """Two reports a second per host at most, and nothing in the control log."""
    cluster = cluster_of("abc")
    reports, records = len(cluster.brokers.status), len(cluster.log)
    cluster.advance(60)

    for host in cluster.hosts:
        assert sum(report.host == host.name for report in cluster.brokers.status[reports:]) <= 2 * 60
    assert cluster.log[records:] == []
