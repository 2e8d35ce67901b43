"""SharedSource: a stream of `app.stream`, read once per worker over the partitions of all of its tasks.

Its function follows the run in hand from task to task: what it sends and writes meanwhile goes there, and only that
task waits for the event. When it leaves its loop it is at no event any more, and has the worker's own outbox again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from ..current import Cursor, Run, cursor_var, outbox_var
from ..errors import UnencodableEntry
from ..ids import TaskId
from ..live_shards import LiveShard
from ..sources import declared_of
from ..tables import Table
from ..topology.units import Plan, SharedStream
from .clock import Clock
from .hand import Hand
from .intake import RunIntake
from .killers import Caution
from .lanes import Reader
from .outbox import Outbox
from .values import Failure

# The name of the @app.task that runs: so that a failure can be told from which function to restart.
function_var: ContextVar[str] = ContextVar("streamcluster_function", default="")


class SharedSource:
    """The running side of one SharedStream."""

    __slots__ = (
        "_fail",
        "_reader",
        "_tables",
        "_tokens",
        "_touch",
        "_worker_outbox",
        "failed",
        "function",
        "intake",
        "parts",
        "shared",
    )

    def __init__(
        self,
        shared: SharedStream,
        tables: tuple[Table[object, object], ...],
        clock: Clock,
        on_rest: Callable[[], None],
        touch: Callable[[TaskId], None],
        fail: Callable[[Failure], None],
        worker_outbox: Outbox,
        caution: Caution,
    ) -> None:
        """touch: called with a task when an event of it is finished."""
        self.shared = shared
        self._touch = touch
        self._tables = tables
        self._fail = fail
        self._worker_outbox = worker_outbox
        # The tables that the function has a shard of now, and how to take it away; good in that asyncio task only.
        self._tokens: dict[ContextVar[LiveShard], Token[LiveShard]] = {}
        self._reader: asyncio.Task[Any] | None = None
        # What it does in each task of this worker.
        self.parts: dict[TaskId, SharedPart] = {}
        # The @app.task that iterates it, once one does.
        self.function: str | None = None
        # Its function failed at an event, and the rollback is still to come.
        self.failed = False
        cursor = Cursor(shared.name, None)
        self.intake = RunIntake(cursor, clock, on_rest, self._settle, caution, self._enter_run, settles=True)
        self.intake.kept.enter = self._enter
        self.intake.leave = self._leave
        stream = shared.stream
        stream.source.bind(self.intake, shared.roads, (), is_plain=True, declared=declared_of(stream))

    def _enter_run(self, run: Run) -> None:
        self._enter(run.task)

    def _enter(self, task: TaskId) -> None:
        """Put the running coroutine into the task of its next run."""
        self.function = function_var.get()
        cursor = self.intake.cursor
        cursor.task = task
        cursor_var.set(cursor)
        part = self.parts.get(task)
        if part is None:
            return
        outbox_var.set(part.hand.outbox)
        before, self.intake.hand = self.intake.hand, part.hand
        if before is not None and before is not part.hand:
            before.rest()
        part.hand.wake()
        if self._reader is not (reader := asyncio.current_task()):
            self._reader = reader
            self._tokens.clear()
        for table in self._tables:
            if table.name in part.views:
                token = table.shard_var.set(part.views[table.name])
                self._tokens.setdefault(table.shard_var, token)

    def _leave(self) -> None:
        """The function has left its loop: the event is finished, as if it had asked for the next one."""
        if self.failed:
            return
        self.intake.begin()
        self.intake.cursor.task = None
        if self.intake.hand is not None:
            self.intake.hand.rest()
            self.intake.hand = None
        cursor_var.set(None)
        outbox_var.set(self._worker_outbox)
        for variable, token in self._tokens.items():
            variable.reset(token)
        self._tokens.clear()

    def _settle(self) -> bool:
        """The event in hand is finished; False when what it wrote cannot be committed, which is its failure."""
        # It sends and writes where it is; what it did in other tasks is settled since it left them.
        task = self.intake.cursor.task
        part = None if task is None else self.parts.get(task)
        if part is None:
            return not self.failed
        if self.intake.strict and not self.failed:
            try:
                part.hand.check()
            except UnencodableEntry as error:
                suspects = self.intake.suspects()
                self.failed = bool(suspects)
                self._fail(Failure(self.shared.name, self.shared.policy, part.task, suspects, error))
        if not self.failed:
            part.hand.settle()
            for finished in {part.task, *self.in_hand()}:
                self._touch(finished)
        return not self.failed

    @property
    def resting(self) -> bool:
        """No event is half done. A stream that nobody iterates yet is at rest too."""
        return self.intake.resting or (self.intake.cursor.run is None and not self.intake.kept.handed_out)

    @property
    def is_iterated(self) -> bool:
        """A function iterates it: it is at an event or waits for one."""
        return self.intake.resting or self.function is not None

    @property
    def idle(self) -> bool:
        """At rest, with nothing queued that anybody would take."""
        return self.intake.idle or not self.is_iterated

    def in_hand(self) -> set[TaskId]:
        """The tasks of the event that its function is at, and of those that it has buffered."""
        run = self.intake.cursor.run
        tasks = {kept.task for kept, _ in self.intake.kept.events}
        return tasks if run is None else tasks | {run.task}


class SharedPart:
    """What a shared stream does in one task."""

    __slots__ = ("_source", "hand", "intake", "task", "views")

    def __init__(self, source: SharedSource, task: TaskId, hand: Hand, views: dict[str, Any]) -> None:
        self._source = source
        self.task = task
        self.hand = hand
        self.views = views
        self.intake = source.intake

    @property
    def unit_name(self) -> str:
        """The stream's name."""
        return self._source.shared.name

    @property
    def resting(self) -> bool:
        """Its function is not in the middle of an event of this task."""
        return self._source.resting or self.intake.cursor.task != self.task

    @property
    def idle(self) -> bool:
        """Resting, with nothing of this task queued that anybody would take."""
        waiting = not self._source.idle and any(run.task == self.task for run in self.intake.queue)
        return self.resting and not waiting

    @property
    def failed(self) -> bool:
        """Its function failed at an event of this task."""
        return self._source.failed and self.task in self._source.in_hand()

    def stop_taking(self) -> None:
        """Take no further event of this task; those of others go on."""
        self.intake.drop_runs({self.task})


def make_shared(
    plan: Plan,
    clock: Clock,
    on_rest: Callable[[], None],
    touch: Callable[[TaskId], None],
    fail: Callable[[Failure], None],
    outbox: Outbox,
    caution: Caution,
) -> list[SharedSource]:
    """The running side of every shared stream of the app."""
    return [SharedSource(shared, plan.tables, clock, on_rest, touch, fail, outbox, caution) for shared in plan.shared]


def readers_of(sources: list[SharedSource], topic: str) -> list[Reader]:
    """The shared streams that read the topic of this name, as its readers."""
    return [
        Reader(source.shared.name, source.shared.name, read, source.intake, None)
        for source in sources
        if (read := source.shared.reads(topic)) is not None
    ]
