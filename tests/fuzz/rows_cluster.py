"""A forged report, or a forged snapshot, in a cluster of two fake hosts: nothing raises, and no epoch goes back.

They are read as on the topics, by hosts that have no secret; what is lied about ownership is believed then (see
docs/security.md), so that a task has one owner is not asked here.
"""

from __future__ import annotations

import contextlib

import msgspec

from streamcluster.outside import Unreadable
from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.machine.cluster_status import cluster_status
from streamcluster_coordinator.records.report import decode_report, encode_report
from streamcluster_coordinator.records.snapshot import Snapshot, decode_snapshot, encode_snapshot
from streamcluster_coordinator.records.status import Status
from tests.coordinator.fake_cluster import FakeCluster, FakeHost
from tests.simulation.kafka import Unsafe

from .mutating import JSON
from .rows import Row

SECONDS = 5.0


def two_hosts() -> FakeCluster:
    """They run, and each has a task."""
    cluster = FakeCluster()
    for name in ("a", "b"):
        cluster.start(name)
    cluster.advance(2.0)
    return cluster


def forged_report(value: bytes) -> None:
    """A report that decodes is heard by both, and time goes on: plans are made from it, and the status is shown."""
    with contextlib.suppress(Unreadable):
        report = decode_report(value)
        cluster = two_hosts()
        cluster.brokers.status.append(report)
        _go_on(cluster)


def forged_snapshot(value: bytes) -> None:
    """A snapshot that decodes and is newer is read by both, as ControlReader does."""
    with contextlib.suppress(Unreadable):
        snapshot = decode_snapshot(value)
        cluster = two_hosts()
        last = cluster.log[-1]
        for host in cluster.alive():
            if (snapshot.term, snapshot.epoch) > (last.term, last.epoch):
                cluster.queue.append((host, ev.SnapshotRead(snapshot)))
            else:
                cluster.queue.append((host, ev.RecordUnread()))
        _go_on(cluster)


def _go_on(cluster: FakeCluster) -> None:
    # Lies about who owns what are not what is looked for.
    with contextlib.suppress(Unsafe):
        cluster.advance(SECONDS)
    epochs = [one.epoch for one in cluster.log]
    assert epochs == sorted(set(epochs)), "an epoch was given twice"
    for host in cluster.alive():
        _show(host)


def _show(host: FakeHost) -> None:
    node = host.node
    own = node.snapshots.take(node.local.state)
    shown = cluster_status(own, node.view, node.identity.tasks)
    assert msgspec.json.decode(msgspec.json.encode(shown), type=Status).host == host.name


def _reports() -> list[bytes]:
    status = two_hosts().brokers.status
    return [encode_report(one) for one in status[-2:]]


def _newer(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, epoch=snapshot.epoch + 1)


ROWS = [
    Row("forged-report", _reports(), JSON, forged_report, keeps_shape=True, examples=15),
    Row(
        "forged-snapshot",
        [encode_snapshot(_newer(two_hosts().log[-1]))],
        JSON,
        forged_snapshot,
        keeps_shape=True,
        examples=15,
    ),
]
