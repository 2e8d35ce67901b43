"""A report or a snapshot that the machine fails on is forgotten and named; what else fails is a mistake of ours."""

from __future__ import annotations

import msgspec
import pytest

from streamcluster_coordinator.dropped import Dropped
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.view import HOSTS_MAX, View
from streamcluster_coordinator.records.report import SLOTS_MAX, HostRows, SlotReport, encode_rows
from streamcluster_coordinator.records.snapshot import SNAPSHOT_BYTES_MAX, encode_snapshot
from streamcluster_coordinator.shell.last_resort import effects_of
from tests.coordinator.fake_cluster import FakeCluster


def fails(*_: object) -> bool:
    """As a mistake does that nobody has found."""
    raise KeyError("nonsense")


def test_a_report_that_the_machine_fails_on_is_forgotten_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host is as one that was never heard; all others are as before."""
    cluster = FakeCluster()
    node, _ = cluster.start("a").node, cluster.start("b")
    cluster.advance(2)
    dropped, report = Dropped(), node.view.heard["b"].report
    with monkeypatch.context() as patched:
        patched.setattr(View, "hear", fails)
        assert effects_of(node, ev.ReportHeard(report), dropped) == []
        assert effects_of(node, ev.ReportHeard(report), dropped) == []

    assert [(one.place, one.count, one.last) for one in dropped.shown()] == [
        ("reports of host b", 2, "KeyError: 'nonsense'")
    ]
    assert "b" not in node.view.heard
    assert "a" in node.view.heard
    cluster.advance(2)
    assert "b" in node.view.heard


def test_a_snapshot_that_the_machine_fails_on_is_forgotten_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one before it counts."""
    cluster = FakeCluster()
    node = cluster.start("a").node
    cluster.advance(2)
    before, dropped = node.view.snapshot, Dropped()
    assert before is not None
    newer = msgspec.structs.replace(before, epoch=before.epoch + 1)
    with monkeypatch.context() as patched:
        patched.setattr("streamcluster_coordinator.machine.node.assigned", fails)
        assert effects_of(node, ev.SnapshotRead(newer), dropped) == []

    assert node.view.snapshot is before
    assert [one.place for one in dropped.shown()] == ["snapshots of who owns what"]


def test_what_fails_on_anything_else_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fail again and again."""
    cluster = FakeCluster()
    node = cluster.start("a").node
    monkeypatch.setattr(View, "tick", fails)
    with pytest.raises(KeyError):
        effects_of(node, ev.Tick(1.0), Dropped())


def test_hosts_that_are_made_up_do_not_make_the_snapshot_too_large() -> None:
    """The leader would end with it, and the next one."""
    cluster = FakeCluster()
    node = cluster.start("a").node
    cluster.advance(2)
    report = msgspec.structs.replace(node.view.heard["a"].report, shape=cluster.shape(), rows=encode_rows(HostRows()))
    slots = tuple(SlotReport(number=number) for number in range(SLOTS_MAX))
    for number in range(HOSTS_MAX):
        name = f"{number:0200}"
        made_up = msgspec.structs.replace(report, host=name, instance="i" * 64, machine="m" * 300, slots=slots)
        cluster.queue.append((cluster.host("a"), ev.ReportHeard(made_up)))
    cluster.settle()
    cluster.advance(1)

    assert len(cluster.log[-1].hosts) > 1
    assert len(encode_snapshot(cluster.log[-1])) < SNAPSHOT_BYTES_MAX * 2 // 3
