"""The snapshot of the whole cluster as one host knows it: its own rows are fresh, those of others are as reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec.structs import replace

from streamcluster.ids import SlotId, TaskId
from streamcluster.protocol.messages import LAG_UNKNOWN

from ..records.snapshot import Snapshot
from ..records.status import HostStatus, MoveStatus, StandbyStatus, Status, TaskStatus, WorkerStatus
from .view import View

HostShown = Literal["joining", "member", "leaving", "left", "silent", "gone"]


def cluster_status(own: Status, view: View, tasks: tuple[TaskId, ...]) -> Status:
    """Join what this host does with what the snapshot and the reports of others say.

    Args:
        own: this host's own rows.
        view: what it knows of the others.
        tasks: all tasks of the app.
    """
    snapshot = view.snapshot
    if snapshot is None:
        return own
    workers = {view.name: own.workers}
    rows = {view.name: own.tasks}
    for name in snapshot.hosts:
        if name != view.name and (told := view.rows_of(name)) is not None:
            workers[name], rows[name] = told.workers, told.tasks
    owned = {task.task: task for _, host_rows in sorted(rows.items()) for task in host_rows if task.owner is not None}
    lags = {
        (task.task, str(SlotId(name, task.slot))): lag
        for name, host_rows in rows.items()
        for task in host_rows
        if task.state == "standby" and task.slot is not None and (lag := sum(task.figures.lag.values())) < LAG_UNKNOWN
    }
    shown = tuple(_task(str(task), snapshot, owned, lags) for task in tasks)
    return replace(
        own,
        state=_overall(own, view, shown),
        # Workers with nothing to commit do not notice; what does not come back of our own reports says it.
        broker_state="down" if view.is_cut_off() else own.broker_state,
        workers=tuple(worker for _, host_rows in sorted(workers.items()) for worker in _of_host(host_rows)),
        tasks=shown,
        leader=snapshot.leader.host if snapshot.leader is not None else None,
        term=snapshot.term,
        hosts=_hosts(view, snapshot),
        moves=tuple(
            MoveStatus(epoch=m.epoch, task=m.task, source=m.source, target=m.target, reason=m.reason)
            for m in snapshot.moves
        ),
    )


def shown_status(own: Status, view: View, tasks: tuple[TaskId, ...]) -> Status:
    """What is shown all the time: this host's own rows, in the state that the whole cluster is in."""
    snapshot = view.snapshot
    if snapshot is None:
        return own
    if len(snapshot.owners) < len(tasks):
        # Who has what the log gives nobody is known from the rows of all hosts.
        whole = cluster_status(own, view, tasks)
        return replace(own, state=whole.state, hosts=whole.hosts, leader=whole.leader)
    leader = snapshot.leader.host if snapshot.leader is not None else None
    return replace(own, hosts=_hosts(view, snapshot), leader=leader)


def _hosts(view: View, snapshot: Snapshot) -> tuple[HostStatus, ...]:
    return tuple(_host(name, view, snapshot) for name in sorted({*snapshot.hosts, *view.heard}))


def _of_host(rows: tuple[WorkerStatus, ...]) -> tuple[WorkerStatus, ...]:
    return tuple(sorted(rows, key=lambda worker: worker.slot))


def _task(
    task: str, snapshot: Snapshot, owned: Mapping[str, TaskStatus], lags: Mapping[tuple[str, str], int]
) -> TaskStatus:
    """One task: as its owner reports it, if it is the owner that the log has."""
    owner = snapshot.owners.get(task)
    standbys = tuple(StandbyStatus(slot=slot, lag=lags.get((task, slot))) for slot in snapshot.standbys.get(task, ()))
    row = owned.get(task)
    if row is None or (owner is not None and row.owner != owner):
        number = SlotId.parse(owner).number if owner is not None else None
        state = "unassigned" if owner is None else "starting"
        return TaskStatus(task=task, slot=number, state=state, owner=owner, standbys=standbys)
    return replace(row, standbys=standbys)


def _overall(
    own: Status, view: View, tasks: tuple[TaskStatus, ...]
) -> Literal["starting", "running", "draining", "degraded"]:
    """This host's own word, but for a task that nobody works on."""
    if own.state == "running" and any(task.owner is None for task in tasks):
        return "degraded"
    return own.state


def _host(name: str, view: View, snapshot: Snapshot) -> HostStatus:
    heard, entry = view.heard.get(name), snapshot.hosts.get(name)
    drained = name in snapshot.drained
    if heard is None:
        slots = len(entry.slots) if entry is not None else 0
        return HostStatus(host=name, state="silent", slots=slots, drained=drained)
    report = heard.report
    state: HostShown = report.state
    if report.state != "left" and view.is_silent(name) and name != view.name:
        state = "silent" if entry is not None else "gone"
    return HostStatus(
        host=name,
        state=state,
        machine=report.machine,
        pid=report.pid,
        slots=len(report.slots),
        rack=report.rack,
        heard=round(view.silence(name), 1),
        drained=drained,
        peer=report.peer,
        trouble=heard.trouble,
    )
