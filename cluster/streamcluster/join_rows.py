"""The rows of a join of two streams that memory knows: so an event reads the store only for what was there before it.

They are kept by side, by buckets of time, and by key. So what has lapsed goes by whole buckets, at no cost per row.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from .codecs.ordered_keys import time_of_row

# Memory knows the keys of so many rows; beyond that it forgets the earlier half. What they take is within memory_limit:
# measured with tracemalloc, for keys of 20 bytes.
KNOWN_MAX = 1_000_000
ROW_BYTES = 250
# Buckets are no shorter, and so many of them last as long as a row at least does.
BUCKET_MS_MIN = 1000
BUCKETS_PER_GRACE = 16
# The keys of rows by the join's key: one, as most have, or several in their order.
Bucket = dict[bytes, bytes | list[bytes]]


@dataclass(slots=True)
class Half:
    """What is known of one side's rows. reach: as long as T is not further beyond a row's time, it counts."""

    reach: int
    buckets: dict[int, Bucket] = field(default_factory=dict)


class Known:
    """All rows whose deadline is beyond `upto`, and maybe others.

    span_ms: how far apart the first and the last partner of an event may be. reaches: see `Half`; upto: the last
    deadline of the rows that were there before: once T is beyond it, none of them counts any more.
    """

    __slots__ = ("_room", "halves", "upto", "width")

    def __init__(self, span_ms: int, reaches: dict[bytes, int], upto: int) -> None:
        # So an event looks into three buckets at most.
        self.width = max(BUCKET_MS_MIN, span_ms // 2 + 1, max(reaches.values()) // BUCKETS_PER_GRACE)
        self.halves = {side: Half(reach) for side, reach in reaches.items()}
        self.upto = upto
        # So many more rows may come before some are forgotten.
        self._room = KNOWN_MAX

    def add(self, half: Half, key: bytes, time: int, row_key: bytes, now: int) -> None:
        """A row is written, at the time `now`."""
        bucket = half.buckets.get(time // self.width)
        if bucket is None or key in bucket or self._room <= 0:
            self._add(half, key, time, row_key, now)
        else:
            bucket[key] = row_key
            self._room -= 1

    def _add(self, half: Half, key: bytes, time: int, row_key: bytes, now: int) -> None:
        number = time // self.width
        if self._room <= 0:
            self._lapse(now)
            self._shrink(KNOWN_MAX // 2)
        bucket = half.buckets.get(number)
        if bucket is None:
            self._lapse(now)
            bucket = half.buckets[number] = {}
        before = bucket.setdefault(key, row_key)
        if before is not row_key:
            if isinstance(before, list):
                if row_key not in before:
                    insort(before, row_key)
            elif before != row_key:
                bucket[key] = sorted((before, row_key))
        self._room -= 1

    def find(self, half: Half, key: bytes, first: int, last: int) -> Sequence[tuple[int, bytes]]:
        """(time, key) of the rows of this side and key from one time to another, both included, in order."""
        buckets, width = half.buckets, self.width
        found: list[tuple[int, bytes]] | None = None
        number, end = first // width, last // width
        while number <= end:
            if number in buckets and key in buckets[number]:
                rows = buckets[number][key]
                if found is None:
                    found = []
                for row_key in rows if isinstance(rows, list) else (rows,):
                    time = time_of_row(row_key)
                    if first <= time <= last:
                        found.append((time, row_key))
            number += 1
        return found or ()

    def held_bytes(self) -> int:
        """What that takes."""
        return self._count() * ROW_BYTES

    def shrink(self, part: float) -> None:
        """Keep so much of it."""
        self._shrink(int(self._count() * part))

    def _count(self) -> int:
        return KNOWN_MAX - self._room

    def _lapse(self, now: int) -> None:
        """Forget what does not count any more."""
        for half in self.halves.values():
            bound = (now - half.reach) // self.width
            for number in [number for number in half.buckets if number < bound]:
                self._room += _count(half.buckets.pop(number))

    def _shrink(self, count: int) -> None:
        """Forget the rows that lapse first, but for so many."""
        ends = [
            ((number + 1) * self.width - 1 + half.reach, number, half)
            for half in self.halves.values()
            for number in half.buckets
        ]
        for end, number, half in sorted(ends, key=lambda one: one[0]):
            if self._count() <= count:
                break
            self.upto = max(self.upto, end)
            self._room += _count(half.buckets.pop(number))


def _count(bucket: Bucket) -> int:
    return sum([len(rows) if isinstance(rows, list) else 1 for rows in bucket.values()])
