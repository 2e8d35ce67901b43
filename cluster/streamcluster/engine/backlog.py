"""How much of what was consumed is still in memory: which records wait for agents, and which are done but uncommitted.

It decides which partitions must pause so that a worker stays within its bounds (I7). It counts what it is told, at
offsets; it knows no queue, no client and no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from ..ids import TP

# Runs are counted together up to so many records: what is known of a part of them is interpolated by offset.
SPAN_RECORDS = 256
# The first poll is for so many records: nobody knows yet how large they are, decoded.
FIRST_RECORDS = 16


class Span:
    """Consecutive records of a partition. end: the offset behind them; size: what they take in memory, in bytes."""

    __slots__ = ("end", "records", "size", "start")

    def __init__(self, start: int, end: int, records: int, size: int) -> None:
        self.start = start
        self.end = end
        self.records = records
        self.size = size

    def part_before(self, offset: int) -> float:
        """Which part of it is before `offset`: offsets have gaps, so this is an estimate."""
        return min(1.0, max(0.0, (offset - self.start) / (self.end - self.start)))


class PartitionBacklog:
    """The records of one partition from its committed position on. Costs a few steps a run, and none a record."""

    __slots__ = (
        "_done",
        "_done_total",
        "_waiting",
        "_waiting_total",
        "added_bytes",
        "done_records",
        "record_bytes",
        "waiting_bytes",
        "waiting_records",
    )

    def __init__(self) -> None:
        # An average record, as of the last `add`.
        self.record_bytes = 0
        # Spans that are done and not committed, and those behind them, the first of which may be done in part.
        self._done: deque[Span] = deque()
        self._waiting: deque[Span] = deque()
        self._done_total = 0
        self._waiting_total = [0, 0]
        # Of the last `add`.
        self.added_bytes = 0
        # As of the last `settle`.
        self.waiting_records = 0
        self.waiting_bytes = 0
        self.done_records = 0

    def is_empty(self) -> bool:
        """Nothing waits, and nothing is uncommitted."""
        return not self._waiting and not self._done

    def add(self, start: int, end: int, records: int, size: int) -> None:
        """So many records from offset `start` to before `end` were consumed, behind all others."""
        self.added_bytes = size
        self.record_bytes = size // max(1, records)
        self._waiting_total[0] += records
        self._waiting_total[1] += size
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last.records + records <= SPAN_RECORDS:
            last.end = end
            last.records += records
            last.size += size
        else:
            self._waiting.append(Span(start, end, records, size))

    def settle(self, done: int, committed: int) -> None:
        """All readers are done with what is before offset `done`; what is before `committed` is committed."""
        while self._waiting and self._waiting[0].end <= done:
            span = self._waiting.popleft()
            self._waiting_total[0] -= span.records
            self._waiting_total[1] -= span.size
            self._done_total += span.records
            self._done.append(span)
        while self._done and self._done[0].end <= committed:
            self._done_total -= self._done.popleft().records
        self.waiting_records, self.waiting_bytes = self._waiting_total
        self.done_records = self._done_total
        if self._done:
            self.done_records -= int(self._done[0].records * self._done[0].part_before(committed))
        if self._waiting and self._waiting[0].start < done:
            first = self._waiting[0]
            part = first.part_before(done)
            self.waiting_records -= int(first.records * part)
            self.waiting_bytes -= int(first.size * part)
            self.done_records += int(first.records * (part - first.part_before(committed)))

    def count_apart(self, records: int) -> None:
        """So many records wait beside those that were added, until the next `settle`."""
        self.waiting_records += records
        self.waiting_bytes += records * self.record_bytes

    def clear(self) -> None:
        """The partition is read again from somewhere else."""
        self._done.clear()
        self._waiting.clear()
        self._done_total = self.done_records = 0
        self._waiting_total = [0, 0]
        self.waiting_records = self.waiting_bytes = 0


class Backlog:
    """Which partitions of a worker pause.

    Half of the buffer is a pool: a partition pauses when it has taken more of it than it has left. So one alone takes
    half of the pool, those that fill up together share it evenly, and the fullest pause first. (Switches share their
    packet buffers like this: "dynamic queue length thresholds", Choudhury and Hahne, 1998.) A quarter is shared out
    beforehand, so that partitions which never move on cannot take all there is; the last quarter is for what one poll
    brings more than that. A partition of which nothing waits never pauses.

    A look takes 2 us a partition, so it is taken when so much was consumed that something may have to be done.

    Args:
        records_max: how many records may wait, over all partitions. It may be changed before each look.
        bytes_max: how many bytes of memory they may take. It too.
        events_max: how many may be done and not committed, before a commit is due.
    """

    __slots__ = (
        "_events_max",
        "_fed_bytes",
        "_free_bytes",
        "_free_records",
        "_own_bytes",
        "_own_records",
        "_record_bytes",
        "bytes",
        "bytes_max",
        "done",
        "fed_records",
        "paused",
        "records",
        "records_max",
    )

    def __init__(self, records_max: int, bytes_max: int, events_max: int) -> None:
        self.records_max = records_max
        self.bytes_max = bytes_max
        self._events_max = events_max
        # What was consumed since the last look.
        self.fed_records = 0
        self._fed_bytes = 0
        # As of the last look: what waits, what is done and not committed, the average record that waited last, what is
        # left of the pool, and what each partition may have beside it.
        self.records = 0
        self.bytes = 0
        self.done = 0
        self._record_bytes = 0
        self._free_records = records_max // 2
        self._free_bytes = bytes_max // 2
        self._own_records = 0
        self._own_bytes = 0
        self.paused: frozenset[TP] = frozenset()

    def fed(self, records: int, size: int) -> None:
        """So many records were consumed, with so many bytes."""
        self.fed_records += records
        self._fed_bytes += size

    def _learn(self) -> None:
        """How large records are now: larger ones count at once, or a poll of them would be one of thousands."""
        if self.fed_records:
            self._record_bytes = max(self._fed_bytes // self.fed_records, self._record_bytes * 7 // 8)

    def must_look(self) -> bool:
        """Something may have to be paused, resumed or committed."""
        records = self.records + self.fed_records
        return (
            bool(self.paused)
            or records > self.records_max // 16
            or self.bytes + self._fed_bytes > self.bytes_max // 16
            or self.done + records >= self._events_max
        )

    def look(self, partitions: Mapping[TP, PartitionBacklog], count: int) -> frozenset[TP]:
        """The partitions that must pause now.

        Args:
            partitions: all that are not empty, settled.
            count: how many the worker has.
        """
        self._learn()
        self.fed_records = self._fed_bytes = 0
        self.records = sum([one.waiting_records for one in partitions.values()])
        self.bytes = sum([one.waiting_bytes for one in partitions.values()])
        self.done = sum([one.done_records for one in partitions.values()])
        if self.records:
            self._record_bytes = max(self._record_bytes, self.bytes // self.records)
        own_records = self._own_records = self.records_max // (4 * max(1, count))
        own_bytes = self._own_bytes = self.bytes_max // (4 * max(1, count))
        taken_records = sum([max(0, one.waiting_records - own_records) for one in partitions.values()])
        taken_bytes = sum([max(0, one.waiting_bytes - own_bytes) for one in partitions.values()])
        self._free_records = max(0, self.records_max // 2 - taken_records)
        self._free_bytes = max(0, self.bytes_max // 2 - taken_bytes)
        # What is paused goes on at half of where it paused: a client that resumes fetches again what it had.
        self.paused = frozenset(
            tp
            for tp, one in partitions.items()
            if one.waiting_records * (part := 2 if tp in self.paused else 1) > own_records + self._free_records
            or one.waiting_bytes * part > own_bytes + self._free_bytes
        )
        return self.paused

    def room(self, records_max: int) -> int:
        """How many records may be consumed at once: at least one, at most `records_max`.

        So the buffer holds at most its bound, or one record of each partition where that is more.
        """
        self._learn()
        if not self._record_bytes:
            return max(1, min(records_max, FIRST_RECORDS))
        records = max(self._own_records, (self._free_records - self.fed_records) // 2)
        size = max(self._own_bytes, (self._free_bytes - self._fed_bytes) // 2)
        return max(1, min(records_max, records, size // max(1, self._record_bytes)))
