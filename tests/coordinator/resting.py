"""What tests of holes over several hosts share: a cluster at rest, and what was done since."""

from __future__ import annotations

from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.records.snapshot import Snapshot

from .fake_cluster import FakeCluster, FakeHost


def cluster_of(names: str, **options: object) -> FakeCluster:
    """Hosts at rest, a task for each; the first leads."""
    cluster = FakeCluster(groups=(len(names),), options=options)
    for name in names:
        cluster.start(name)
        cluster.advance(1)
    cluster.advance(5)
    assert sorted(cluster.owners().values()) == [f"{name}/0" for name in names]
    return cluster


def since(cluster: FakeCluster, start: int, host: FakeHost | None = None) -> list[ev.Effect]:
    """Effects from number `start` on, of one host or all."""
    return [effect for one, effect in cluster.effects[start:] if host in (None, one)]


def of_kind(effects: list[ev.Effect], *kinds: type) -> list[ev.Effect]:
    """Those of some kinds."""
    return [effect for effect in effects if isinstance(effect, kinds)]


def said(effects: list[ev.Effect]) -> str:
    """Everything that was said."""
    return "\n".join(effect.text for effect in effects if isinstance(effect, ev.Say))


def moved(cluster: FakeCluster, start: int) -> list[Snapshot]:
    """Snapshots from number `start` on that ask something back."""
    return [snapshot for snapshot in cluster.log[start:] if snapshot.revoking]
