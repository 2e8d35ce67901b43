"""TableTime: the time of a table, as far as its changes have been read: an input of who joins tables by windows.

    a commit: changes up to an offset of the changelog, and the table's T ---> T, for who has read up to that offset

Timestamps of the changes would not do: where a table has several inputs, those of one may be far ahead of what comes of
another, and is in time. And that a changelog has no more says nothing of what its table has still to write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ...times import NO_TIME
from ..clock import Clock
from ..partition import SourcePartition
from ..shards import CachedShard
from .operator_time import InputState, OperatorTime
from .watermarks import Mark


@dataclass(frozen=True, slots=True)
class Log:
    """A changelog as it is read. position: before that all is finished; state: what kind of input it is by itself."""

    partition: Callable[[], SourcePartition]
    position: Callable[[], int]
    state: Callable[[], InputState]


class TableTime:
    """Of one table in one task, whose writers are in that task too.

    of: the operator of the table. wait_ms: so long it counts, by the clock, when nothing comes to it. age: see
    `InputState`.
    """

    __slots__ = ("_age", "_base", "_clock", "_log", "_of", "_steps", "_table", "_wait")

    def __init__(self, table: CachedShard, of: OperatorTime, log: Log, clock: Clock, wait_ms: int, age: int) -> None:
        self._table = table
        self._of = of
        self._log = log
        self._clock = clock
        self._wait = wait_ms / 1000
        self._age = age
        # As of the committed position; None: it is not known, since commits before this task's are not.
        self._base: int | None = None
        # Behind what commits have written, what was the table's time.
        self._steps: deque[tuple[int, int]] = deque()

    def committed(self, ends: Mapping[str, int]) -> None:
        """A commit has landed. ends: up to where changelogs have what it wrote."""
        steps, time = self._steps, self._of.committed
        if (end := ends.get(self._table.name)) is not None:
            steps.append((end, time))
        elif steps:
            # Nothing more was written until then.
            steps[-1] = steps[-1][0], time
        elif self._base is not None:
            self._base = time
        position = self._log.partition().committed.next_offset
        while steps and steps[0][0] <= position:
            self._base = steps.popleft()[1]

    def state(self) -> InputState:
        """As an input of an operator."""
        read = self._log.state()
        if read.is_read_again:
            return read
        partition, position = self._log.partition(), self._log.position()
        is_all = partition.is_at_end and position >= partition.next_offset
        if is_all and not self._steps and self._base is None:
            # Of all commits before: the end was seen since the task began.
            self._steps.append((position, self._of.committed))
        time = self._time_at(position)
        if time is None:
            return InputState(Mark(NO_TIME), is_read_again=True)
        is_all = is_all and (not self._steps or self._steps[-1][0] <= position) and not self._has_uncommitted()
        return InputState(replace(read.mark, watermark=time), self._idle_since() if is_all else None, age=self._age)

    def _time_at(self, position: int) -> int | None:
        return next((time for end, time in reversed(self._steps) if end <= position), self._base)

    def _idle_since(self) -> float | None:
        """Since when the table is waited for no more; None: it is."""
        since = self._of.idle_since
        return None if since is None or self._clock.now() < since + self._wait else since + self._wait

    def _has_uncommitted(self) -> bool:
        """The table may have changes that are not in the changelog yet."""
        table = self._table
        return bool(
            table.dirty
            or table.touched
            or table.staged
            or table.inflight
            or any(view.dirty or view.touched for view in table.views)
        )
