"""Events and effects of a trace as short lines: a snapshot as what it says of tasks."""

from __future__ import annotations

from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.records.snapshot import Snapshot


def shown(what: object) -> str:
    """One event or effect."""
    match what:
        case ev.SnapshotRead(snapshot) | ev.Claimed(snapshot) | ev.Write(snapshot):
            return f"{type(what).__name__} {snapshot_text(snapshot)}"
        case _:
            return str(what).replace("TaskId(group=", "(").replace("partition=", "")


def snapshot_text(snapshot: Snapshot) -> str:
    """`e12 t3 leader a1: 4_0 a/0 (asked back at 12), ...`."""
    tasks = [
        f"{task} {slot}{f' back@{snapshot.revoking[task]}' if task in snapshot.revoking else ''}"
        f"{'+' + ','.join(snapshot.standbys[task]) if snapshot.standbys.get(task) else ''}"
        for task, slot in snapshot.owners.items()
    ]
    hosts = ",".join(f"{entry.instance}:{len(entry.slots)}" for entry in snapshot.hosts.values())
    leader = snapshot.leader.instance if snapshot.leader is not None else f"none, next {snapshot.successor}"
    rest = f" drained {snapshot.drained}" if snapshot.drained else ""
    rest += f" pins {snapshot.pins}" if snapshot.pins else ""
    rest += f" roll {snapshot.roll.number} {snapshot.roll.waiting}" if snapshot.roll else ""
    return f"e{snapshot.epoch} t{snapshot.term} leader {leader} hosts {hosts}: {'; '.join(tasks)}{rest}"
