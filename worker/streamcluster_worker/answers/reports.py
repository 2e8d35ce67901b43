"""Reports: what a worker tells its coordinator of its tasks, from the engine, the session and the stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from streamcluster.engine.engine import Engine
from streamcluster.engine.task import RunningTask
from streamcluster.ids import TaskId
from streamcluster.protocol.messages import (
    LAG_UNKNOWN,
    OPEN_MAX,
    Report,
    Stored,
    TaskFigures,
    TaskReport,
    TaskState,
    TimedFigures,
    WorkerFigures,
)
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


class Reports(msgspec.Struct, frozen=True):
    """Makes the heartbeats of a worker, with everything that `streamcluster status` shows of it."""

    slot: int
    lifecycle: Lifecycle
    engine: Engine

    def make(
        self,
        session: Session | None,
        stores: Stores | None,
        events: Mapping[TaskId, str],
        said: Mapping[TaskId, tuple[str, ...]],
        *,
        broker: Literal["up", "down"],
        note: str | None,
    ) -> Report:
        """The next one.

        session: None while there are no clients; stores: None before there were any. note: why it does not work now.
        events: what runs for long, or keeps a task from being opened, by task. said: what became of records.
        """
        tasks = tuple(
            self._standby(task, session, stores)
            if state == "standby"
            else self._task(task, state, session, stores, events.get(task), said.get(task, ()))
            for task, state in sorted(self.lifecycle.states.items())
        )
        return Report(slot=self.slot, tasks=tasks, broker=broker, figures=self._own(session, note))

    def _own(self, session: Session | None, note: str | None) -> WorkerFigures:
        engine, recovery, budget = self.engine, self.engine.recovery, self.engine.budget
        native_not = session.clients.committer.native_not if session is not None else ""
        return WorkerFigures(
            events_total=engine.events_total,
            commits_total=session.pump.commits_total if session else 0,
            dead_letters_total=recovery.dead_letters_total,
            rollbacks_total=recovery.rollbacks_total,
            rss_bytes=budget.resident_bytes(),
            memory_bytes=budget.shares.worker,
            memory_from=budget.shares.source,
            native=not native_not if session is not None else None,
            native_not=native_not,
            note=note,
        )

    def _standby(self, task: TaskId, session: Session | None, stores: Stores | None) -> TaskReport:
        standing = session.follower.standing(task) if session is not None else None
        if standing is None:
            # Between two sessions.
            lag = {changelog: LAG_UNKNOWN for _, changelog, _ in reads_of(self.engine.topology, task)}
            return TaskReport(task=task, state="standby", figures=TaskFigures(lag=lag))
        figures = TaskFigures(
            lag=standing.lag,
            restored=standing.restored,
            restore_total=standing.total,
            error=standing.error,
            stored=stores.position(task) if stores is not None else 0,
        )
        return TaskReport(task=task, state="standby", figures=figures)

    def _task(
        self,
        task: TaskId,
        state: State,
        session: Session | None,
        stores: Stores | None,
        event: str | None,
        said: tuple[str, ...],
    ) -> TaskReport:
        # The restorer still knows of an earlier restore while the task is opened again.
        restored, total = session.restorer.progress(task) if session is not None and state != "opening" else (0, 0)
        running = self.engine.tasks.get(task)
        positions: dict[str, int] = {}
        lag: dict[str, int] = {}
        unreadable: list[str] = []
        failing = False
        if running is None:
            error = session.restorer.error(task) if session is not None else None
        else:
            recovery = self.engine.recovery
            positions = {tp.topic: partition.committed.next_offset for tp, partition in running.logs.items()}
            if session is not None:
                ends = {tp.topic: session.source.end_offset(tp) for tp in running.logs}
                lag = {topic: max(0, end - positions[topic]) for topic, end in ends.items() if end is not None}
                # What cannot be unpacked, while the end of it is looked for.
                found = session.source.unreadable.items()
                unreadable = [str(block) for tp, block in found if tp in running.partitions]
            failing = bool(unreadable) or task in recovery.trials or running.failed()
            error = next(iter(unreadable), None) or recovery.last_error.get(task)
        figures = TaskFigures(
            positions=positions,
            lag=lag,
            # What it took to come back: a restart is judged by it.
            restored=restored,
            restore_total=total,
            error=error or event,
            stored=stores.position(task) if stores is not None else 0,
            said=said,
            times=() if running is None or running.time is None else running.time.said(),
            timed=_timed(running),
        )
        return TaskReport(task=task, state="failing" if failing else _SHOWN[state], figures=figures)


def _timed(running: RunningTask | None) -> dict[str, TimedFigures]:
    if running is None or running.time is None:
        return {}
    return {
        name: TimedFigures(open=one.open, closed=one.closed, late=one.late, ahead=one.ahead)
        for name, one in running.time.counts(OPEN_MAX).items()
    }


def reads_of(topology: Topology, task: TaskId) -> list[tuple[str, str, int]]:
    """(table, changelog topic, partition) of every shard of a task."""
    return [(table.name, table.changelog, task.partition) for table in topology.tables_of(task)]


def stored_message(positions: Mapping[TaskId, int]) -> Stored:
    """What is on this host's disk."""
    return Stored(positions={str(task): position for task, position in positions.items()})
