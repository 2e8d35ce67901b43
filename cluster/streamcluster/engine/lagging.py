"""Lagging: readers of a partition that are left behind, so that a slow or hanging event holds up no other reader.

    full     the slowest reader of a partition has as much waiting as is allowed, and another has nothing to do
    lags     it is given nothing more and keeps what is at the head of its queue; the consumer goes on for the others
    rejoins  it has done half of what it kept: the consumer goes back to where it left off, and the others, which are
             past that, wait until it has caught up or is full again

It knows no Kafka: it says where the consumer must go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from ..current import Run
from ..ids import TP
from .clock import Clock
from .lanes import Lanes, Reader
from .partition import SourcePartition

# How long a reader has nothing to do before others are left behind: one that is only somewhat slower has made room by
# then, and reading twice costs more than that.
IDLE_SECONDS = 0.1
# A reader that is left behind keeps this part of what waits for it: it goes on, and there is room for the others.
KEPT_PART = 4


class Lagging:
    """Which readers of one worker are left behind. partitions: its partitions, now and later."""

    __slots__ = ("_behind", "_clock", "_idle_since", "_partitions", "_wake")

    def __init__(self, clock: Clock, partitions: Mapping[TP, SourcePartition], wake: Callable[[], None]) -> None:
        self._clock = clock
        self._partitions = partitions
        self._wake = wake
        # Full partitions with a reader that has nothing to do.
        self._idle_since: dict[TP, float] = {}
        # Partitions that may have readers which are left behind.
        self._behind: set[TP] = set()

    def look(self, full: set[TP]) -> dict[TP, int]:
        """Leave readers behind and let them rejoin. full: partitions with more waiting than is allowed.

        Returns:
            Where the consumer must go on, instead of where it is.
        """
        moves: dict[TP, int] = {}
        for tp in sorted(self._behind):
            self._rejoin(tp, moves)
        self._idle_since = {tp: since for tp, since in self._idle_since.items() if tp in full}
        for tp in sorted(full):
            self._leave(tp, moves)
        return moves

    def _rejoin(self, tp: TP, moves: dict[TP, int]) -> None:
        partition = self._partitions.get(tp)
        lagging = [] if partition is None else [reader for reader in partition.readers if reader.lags]
        if partition is None or not lagging:
            # All have rejoined, or the partition was rolled back or closed.
            self._behind.discard(tp)
            return
        # While an event is tried what is behind it waits in order: nothing may come twice then.
        if partition.stopped or partition.gate is not None:
            return
        for reader in lagging:
            if reader.waiting_count(tp) <= reader.kept // 2:
                reader.lags = False
        _go_on(partition, moves)

    def _leave(self, tp: TP, moves: dict[TP, int]) -> None:
        partition = self._partitions.get(tp)
        if partition is None or partition.stopped:
            return
        if not any(_starves(lanes, tp) for lanes in partition.lanes):
            self._idle_since.pop(tp, None)
            return
        counts = {reader: reader.waiting_count(tp) for reader in partition.readers if not reader.lags}
        if not any(counts.values()):
            self._idle_since.pop(tp, None)
            return
        # Others wait already while the consumer is behind them.
        if not any(reader.next_offset > partition.next_offset for reader in counts) and self._is_early(tp):
            return
        self._idle_since.pop(tp, None)
        slow = [reader for reader, count in counts.items() if count > max(counts.values()) // 2]
        for reader in slow:
            _leave_behind(reader, tp, counts[reader] // (KEPT_PART * len(slow)))
        self._behind.add(tp)
        _go_on(partition, moves)

    def _is_early(self, tp: TP) -> bool:
        now = self._clock.now()
        if tp not in self._idle_since:
            self._idle_since[tp] = now
            self._clock.call_later(IDLE_SECONDS, self._wake)
        return now < self._idle_since[tp] + IDLE_SECONDS


def _starves(lanes: Lanes, tp: TP) -> bool:
    """An agent has nothing to do: most of its lanes have nothing waiting. Among hundreds there are always some."""
    idle = [reader for reader in lanes.readers if not reader.lags and not reader.has_waiting(tp)]
    return 2 * len(idle) > len(lanes.readers)


def _leave_behind(reader: Reader, tp: TP, count: int) -> None:
    """Give the reader nothing more, and keep `count` of the events that wait for it."""
    left_off = _keep_only(reader, tp, count)
    if left_off is not None:
        reader.next_offset = reader.last = left_off
    reader.lags = True
    reader.kept = reader.waiting_count(tp)


def _keep_only(reader: Reader, tp: TP, count: int) -> int | None:
    """Forget what waits of the partition behind its first `count` events. Returns where that begins; None: nothing."""
    intake = reader.intake
    run = intake.cursor.run
    end = run.next_offset if run is not None and run.tp == tp else reader.done(tp)
    kept: deque[Run] = deque()
    forgotten = False
    for run in intake.queue:
        if run.tp != tp:
            kept.append(run)
        elif not forgotten:
            forgotten = len(run.values) > count
            if not forgotten or count:
                if forgotten:
                    run.cut(count)
                kept.append(run)
                end = max(end, run.next_offset)
                count -= len(run.values)
    intake.queue = kept
    return end if forgotten else None


def _go_on(partition: SourcePartition, moves: dict[TP, int]) -> None:
    if partition.go_on():
        moves[partition.tp] = partition.next_offset
