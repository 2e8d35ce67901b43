"""PartitionTime: the watermark of one partition at each offset from the committed position on.

The watermark at an offset is the largest timestamp of all records up to it, less `max_out_of_orderness`. So it depends
on the log alone: not on which coroutine is at what, and not on what was done before a crash. It is computed once for a
batch, and only for partitions that a timed operator reads. In a repartition topic it is what the marks of the tasks say
that write it (producers.py).

What was read stays known when it is read again, for a reader that was left behind: the others are beyond it, and the
consumer may go on from there without all that is in between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

from ...batch import Batch, Column
from ...dated_rows import running_max
from ...times import NO_TIME
from ..clock import Clock
from .marks import take_marks
from .producers import Producers


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """What a topic is trusted with, in ms.

    out_of_orderness: how much later than a record may one come that is older; ahead: how far beyond the wall clock a
    record may be and still move time; None: as far as it likes; idle: how long an input at its end still counts.
    """

    out_of_orderness: int = 0
    ahead: int | None = None
    idle: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known at a position: the watermark, the timestamp of the last record before it, and when it was read."""

    watermark: int = NO_TIME
    last: int = NO_TIME
    read_at: int = NO_TIME


@dataclass(frozen=True, slots=True)
class _Seen:
    """Of the records of a batch. Their keys and values are not kept."""

    offsets: Column[int]
    timestamps: Column[int]
    watermarks: list[int]
    read_at: int


class PartitionTime:
    """Of one partition of one task. It knows no reader and no store."""

    __slots__ = ("_base", "_clock", "_front", "_moved_at", "_seen", "ahead_total", "bounds", "ended_at", "producers")

    def __init__(self, bounds: TimeBounds, base: Mark, clock: Clock, producers: Producers | None = None) -> None:
        """base: at the committed position; producers: of a repartition topic whose time is theirs."""
        self.bounds = bounds
        self.producers = producers
        self._base = base
        self._clock = clock
        self._seen: deque[_Seen] = deque()
        # Behind all that was read: what is before it has come already.
        self._front = 0
        # When producers last said that the watermark has moved: it does without a record.
        self._moved_at = NO_TIME
        # Since when all that the log has was read: of the engine's clock. None: there may be more.
        self.ended_at: float | None = None
        # Records too far in the future to move time.
        self.ahead_total = 0

    def fed(self, batch: Batch) -> Batch:
        """Give the batch its watermarks. Returns what of it is for agents, which may be nothing."""
        front, behind = self._front, batch.next_offset
        self.ended_at = None
        if self.producers is None:
            batch.watermarks = self._by_timestamps(batch)
        else:
            batch = self._by_marks(self.producers, batch)
        self._front = max(front, behind)
        known = batch.index_of(front)
        if known < len(batch):
            new = batch.part(known) if known else batch
            assert new.watermarks is not None
            self._seen.append(_Seen(new.offsets, new.timestamps, new.watermarks, round(self._clock.wall() * 1000)))
        return batch

    def _by_timestamps(self, batch: Batch) -> list[int]:
        bounds, late = self.bounds, self.bounds.out_of_orderness
        # As ints, once for all who want them.
        batch.timestamps = times = [*batch.timestamps]
        base = self.at(batch.offsets[0]).watermark + late
        marks = running_max(times, base)
        if bounds.ahead is not None and marks[-1] > (latest := round(self._clock.wall() * 1000) + bounds.ahead):
            self.ahead_total += sum([time > latest for time in times])
            marks = running_max([time if time <= latest else NO_TIME for time in times], base)
        return [mark - late for mark in marks] if late else marks

    def _by_marks(self, producers: Producers, batch: Batch) -> Batch:
        """The records between the marks, with what these say; they are heard once."""
        kept, marks = take_marks(batch)
        before = producers.watermark
        for index, mark in marks:
            if batch.offsets[index] >= self._front:
                producers.heard(batch.offsets[index], mark)
        if producers.watermark > before:
            self._moved_at = round(self._clock.wall() * 1000)
        kept.watermarks = producers.watermarks_at(kept.offsets)
        return kept

    def at(self, position: int) -> Mark:
        """What is known of all records before this offset."""
        mark = self._seen_at(position)
        if self.producers is None:
            return mark
        watermark = self.producers.watermark_at(position)
        last = NO_TIME if mark.last == NO_TIME else max(mark.last, watermark)
        return Mark(watermark, last, max(mark.read_at, self._moved_at))

    def _seen_at(self, position: int) -> Mark:
        for seen in reversed(self._seen):
            if seen.offsets[0] < position:
                index = bisect_left(seen.offsets, position) - 1
                return Mark(seen.watermarks[index], seen.timestamps[index], seen.read_at)
        return self._base

    def committed(self, position: int) -> None:
        """What is before this offset does not come again."""
        self._base = self._seen_at(position)
        if self.producers is not None:
            self.producers.committed(position)
        while self._seen and self._seen[0].offsets[-1] < position:
            self._seen.popleft()

    def rewind(self) -> None:
        """Everything from the committed position on comes again."""
        self._seen.clear()
        self._front = 0
        if self.producers is not None:
            self.producers.rewind()
        self.ended_at = None

    def ended(self, *, is_all: bool) -> None:
        """All that can be read was read. is_all: and all that the log has."""
        if is_all and self.ended_at is None:
            self.ended_at = self._clock.now()

    def idle_since(self) -> float | None:
        """Since when all was read that the log has, and will get for now; None: there may be more."""
        if self.ended_at is None:
            return None
        if self.producers is not None:
            return self.producers.idle_since()
        return self.ended_at if self._clock.now() >= self.ended_at + self.bounds.idle / 1000 else None

    def raise_to(self, watermark: int) -> None:
        """Somebody who knows says that no earlier record is to come."""
        if self.producers is not None:
            self.producers.raise_to(watermark)
        self._base = Mark(max(watermark, self._base.watermark), self._base.last, self._base.read_at)
