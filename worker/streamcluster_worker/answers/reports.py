"""Reports: what a worker tells its coordinator of its tasks, from the engine, the session and the stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import structs

from streamcluster.engine.engine import Engine
from streamcluster.ids import TaskId
from streamcluster.protocol.messages import LAG_UNKNOWN, Report, Stored, TaskReport, TaskState
from streamcluster.topology import Topology

from ..lifecycle import Lifecycle, State
from ..session import Session
from ..state.stores import Stores

_SHOWN: dict[State, TaskState] = {
    "standby": "standby",
    "opening": "restoring",
    "restoring": "restoring",
    "running": "running",
    "closing": "closing",
}


def make_report(
    slot: int,
    lifecycle: Lifecycle,
    engine: Engine,
    session: Session | None,
    stores: Stores | None,
    events: Mapping[TaskId, str],
    said: Mapping[TaskId, tuple[str, ...]],
    *,
    broker: Literal["up", "down"],
    note: str | None,
) -> Report:
    """A heartbeat with everything that `streamcluster status` shows of this worker.

    session: None while there are no clients; stores: None before there were any. note: why it does not work now.
    events: what runs for long, or keeps a task from being opened, by task. said: what became of records.
    """
    tasks = tuple(
        _standby_report(task, engine.topology, session, stores)
        if state == "standby"
        else structs.replace(
            _task_report(task, state, engine, session, stores, events.get(task)), said=said.get(task, ())
        )
        for task, state in sorted(lifecycle.states.items())
    )
    recovery = engine.recovery
    return Report(
        slot=slot,
        tasks=tasks,
        events_total=engine.events_total,
        commits_total=session.pump.commits_total if session else 0,
        dead_letters_total=recovery.dead_letters_total,
        rollbacks_total=recovery.rollbacks_total,
        rss_bytes=engine.budget.resident_bytes(),
        memory_bytes=engine.budget.shares.worker,
        memory_from=engine.budget.shares.source,
        broker=broker,
        note=note,
    )


def _standby_report(task: TaskId, topology: Topology, session: Session | None, stores: Stores | None) -> TaskReport:
    standing = session.follower.standing(task) if session is not None else None
    if standing is None:
        # Between two sessions.
        lag = {changelog: LAG_UNKNOWN for _, changelog, _ in reads_of(topology, task)}
        return TaskReport(task=task, state="standby", lag=lag)
    return TaskReport(
        task=task,
        state="standby",
        lag=standing.lag,
        restored=standing.restored,
        restore_total=standing.total,
        error=standing.error,
        stored=stores.position(task) if stores is not None else 0,
    )


def _task_report(
    task: TaskId,
    state: State,
    engine: Engine,
    session: Session | None,
    stores: Stores | None,
    event: str | None,
) -> TaskReport:
    # The restorer still knows of an earlier restore while the task is opened again.
    restored, total = session.restorer.progress(task) if session is not None and state != "opening" else (0, 0)
    stored = stores.position(task) if stores is not None else 0
    running = engine.tasks.get(task)
    if running is None:
        error = (session.restorer.error(task) if session is not None else None) or event
        shown = _SHOWN[state]
        return TaskReport(task=task, state=shown, restored=restored, restore_total=total, stored=stored, error=error)
    # What cannot be unpacked, while the end of it is looked for.
    unreadable = [str(b) for tp, b in session.source.unreadable.items() if tp in running.partitions] if session else []
    failing = bool(unreadable) or task in engine.recovery.trials or running.failed()
    positions = {tp.topic: partition.committed.next_offset for tp, partition in running.partitions.items()}
    ends = {tp.topic: session.source.end_offset(tp) if session else None for tp in running.partitions}
    return TaskReport(
        task=task,
        state="failing" if failing else _SHOWN[state],
        positions=positions,
        lag={topic: max(0, end - positions[topic]) for topic, end in ends.items() if end is not None},
        # What it took to come back: a restart is judged by it.
        restored=restored,
        restore_total=total,
        error=next(iter(unreadable), None) or engine.recovery.last_error.get(task) or event,
        stored=stored,
    )


def reads_of(topology: Topology, task: TaskId) -> list[tuple[str, str, int]]:
    """(table, changelog topic, partition) of every shard of a task."""
    return [(table.name, table.changelog, task.partition) for table in topology.tables_of(task)]


def stored_message(positions: Mapping[TaskId, int]) -> Stored:
    """What is on this host's disk."""
    return Stored(positions={str(task): position for task, position in positions.items()})
