"""SharedIntake wiring: streams of `app.stream`, read once per worker over the partitions of all of its tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar

from ..current import Cursor, Run, cursor_var, outbox_var
from ..freeze import Plan, SharedStream
from ..ids import TaskId
from ..tables import Table
from ..topics import Topic
from .clock import Clock
from .intake import RunIntake
from .outbox import Outbox
from .partition import Reader
from .task import RunningTask

# The name of the @app.task that runs: so that a failure can be told from which function to restart.
function_var: ContextVar[str] = ContextVar("streamcluster_function", default="")


class SharedSource:
    """The running side of one SharedStream: its intake follows the run in hand from task to task."""

    __slots__ = ("_find", "_tables", "_worker_outbox", "failed", "function", "intake", "shared")

    def __init__(
        self,
        shared: SharedStream,
        tables: tuple[Table[object, object], ...],
        clock: Clock,
        on_rest: Callable[[], None],
        find: Callable[[Run], RunningTask | None],
        worker_outbox: Outbox,
    ) -> None:
        self.shared = shared
        self._tables = tables
        self._find = find
        self._worker_outbox = worker_outbox
        # The @app.task that iterates it, once one does.
        self.function: str | None = None
        # Its function failed at an event, and the rollback is still to come.
        self.failed = False
        self.intake = RunIntake(Cursor(shared.name, None), clock, on_rest, self._enter)
        shared.stream.source.intake = self.intake

    def _enter(self, run: Run) -> None:
        """Put the running coroutine into the task of its next run."""
        self.function = function_var.get()
        cursor = self.intake.cursor
        cursor.task = run.task
        cursor_var.set(cursor)
        task = self._find(run)
        if task is None:
            return
        outbox_var.set(task.outbox)
        for table in self._tables:
            if table.name in task.shards:
                table.shard_var.set(task.shards[table.name])

    @property
    def resting(self) -> bool:
        """No event is half done. A stream that nobody iterates yet is at rest too."""
        return self.intake.resting or self.intake.cursor.run is None

    @property
    def is_iterated(self) -> bool:
        """A function iterates it: it is at an event or waits for one."""
        return self.intake.resting or self.function is not None

    @property
    def idle(self) -> bool:
        """At rest, with nothing queued that anybody would take."""
        return self.intake.idle or not self.is_iterated

    def has_in_hand(self, tasks: set[TaskId]) -> bool:
        """Its function is at, or has buffered, events of these tasks."""
        run = self.intake.cursor.run
        return self.failed or bool(self.intake.kept.events) or (run is not None and run.task in tasks)


def make_shared(
    plan: Plan, tasks: dict[TaskId, RunningTask], clock: Clock, on_rest: Callable[[], None], outbox: Outbox
) -> list[SharedSource]:
    """The running side of every shared stream of the app. tasks: those of the worker, now and later."""

    def find(run: Run) -> RunningTask | None:
        return tasks.get(run.task)

    return [SharedSource(shared, plan.tables, clock, on_rest, find, outbox) for shared in plan.shared]


def readers_of(sources: list[SharedSource], topic: str) -> list[Reader]:
    """The shared streams that read the topic of this name, as its readers."""
    return [
        Reader(source.shared.name, source.shared.name, source.shared.topic, source.intake, None)
        for source in sources
        if is_named(source.shared.topic, topic)
    ]


def is_named(topic: Topic, name: str) -> bool:
    """Whether a topic declaration covers the topic of this name."""
    if topic.pattern is not None:
        return re.fullmatch(topic.pattern, name) is not None
    return name in topic.names
