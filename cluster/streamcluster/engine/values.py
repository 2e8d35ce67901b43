"""What the engine hands to its shell at a commit, and what it tells of a failure. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..ids import TP, TaskId
from ..indexes import Passed
from ..output import OutputColumns
from ..policies import ErrorPolicy
from .rows import Changes


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed position. next_offset: the record to read next; metadata: what `TaskCommit.offsets` carried."""

    next_offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class TimeCommit:
    """Of a task with timed operators, what its rows in `changes` say too.

    times: operator -> its time, how many events were late, and how many rows have lapsed; due: source of due rows ->
    its position, and the entry of the index before that; number: of the task's cuts.
    """

    times: dict[str, tuple[int, int, int]]
    due: dict[TP, tuple[Committed, bytes | None]]
    number: int


@dataclass(slots=True)
class TaskCommit:
    """One task's part of a commit.

    offsets: next offset to read and metadata, for the partitions that moved; outputs: topic -> records in order;
    changes: table -> key -> value, where None deletes; time: None when nothing in the task is timed. stamps: table ->
    key -> of which time the change is, in ms, where it is not of the commit's. passed: see `TaskStore.write`. ends:
    table -> up to where its changelog has them, when it is committed.
    """

    task: TaskId
    offsets: dict[TP, Committed]
    outputs: dict[str, OutputColumns]
    changes: dict[str, Changes]
    time: TimeCommit | None = None
    stamps: dict[str, dict[bytes, int]] = field(default_factory=dict)
    passed: dict[str, list[Passed]] = field(default_factory=dict)
    ends: Mapping[str, int] = field(default_factory=dict)

    def landed(self, ends: Mapping[str, int]) -> None:
        """It is committed."""
        self.ends = ends

    def is_empty(self) -> bool:
        """Nothing moved, nothing was sent and nothing was written."""
        return not self.offsets and not self.outputs and not any(self.changes.values())


@dataclass(slots=True)
class Commit:
    """One commit: the tasks that take part, and what the worker's own functions sent."""

    tasks: list[TaskCommit] = field(default_factory=list)
    outputs: dict[str, OutputColumns] = field(default_factory=dict)

    def is_empty(self) -> bool:
        """There is nothing to commit."""
        return not self.tasks and not self.outputs


@dataclass(slots=True)
class Failure:
    """An exception that user code raised.

    unit: the name of the agent, or of what else failed; suspects: the events that it was at, oldest first; empty when
    it was at none.
    """

    unit: str
    policy: ErrorPolicy
    task: TaskId | None
    suspects: list[tuple[TP, int]]
    error: BaseException
