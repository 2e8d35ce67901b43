"""The rows of a join of two streams that memory knows: so an event reads the store only for what was there before it.

They are kept by side, by buckets of time, and by key; first those that events have brought and that are not written yet
(`fresh`), then those that are (`old`). They are written when the events are finished and a cut is near: what nobody
needs by then never is. So what has lapsed goes by whole buckets, at no cost per row.
"""

from __future__ import annotations

import struct
from array import array
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Protocol

from ..codecs.ordered_keys import stamped_key
from ..loops import fresh_written, is_in_c

# Memory knows so many rows; beyond that it forgets the earlier half. What they take, beside their values, is within
# memory_limit: measured with tracemalloc, for keys of 20 bytes.
KNOWN_MAX = 1_000_000
ROW_BYTES = 250
# So many are looked at for how large they are.
SAMPLE_ROWS = 100
# Buckets are no shorter, and so many of them last as long as a row at least does.
BUCKET_MS_MIN = 1000
BUCKETS_PER_GRACE = 16
# What `Known.counts` has, which cluster/native/pairs.c reads and writes too.
_ROOM, UPTO, _EPOCH = 0, 1, 2
# The first byte of a row: it has met somebody, or nobody asks.
MET_BYTE = b"m"[0]
# Time and number, as the row's key ends with them; then the row.
Entry = bytes
STAMP_BYTES = 16
_stamp = struct.Struct(">QQ").pack
_TIME_OFFSET = 2**63
# By the join's key: one, as most have, or several in their order.
Bucket = dict[bytes, Entry | list[Entry]]


class Written(Protocol):
    """Where rows are written: as `stream_joins.Rows`."""

    values: dict[Any, Any]
    deleted: set[Any]
    dirty: dict[Any, Any]


def entry_of(time: int, number: int, row: bytes) -> Entry:
    """A row with its time and number."""
    return _stamp(time + _TIME_OFFSET, number) + row


def time_of_entry(entry: Entry) -> int:
    """The time alone."""
    return int.from_bytes(entry[:8], "big") - _TIME_OFFSET


def row_key_of(side: bytes, key: bytes, entry: Entry) -> bytes:
    """The key that it has in the table."""
    return stamped_key(side + key, entry[:STAMP_BYTES])


@dataclass(slots=True)
class Half:
    """What is known of one side's rows. reach: as long as T is not further beyond a row's time, it counts.

    keeps: those that have met nobody come out alone, so they are written whatever the time is.
    """

    reach: int
    keeps: bool = False
    fresh: dict[int, Bucket] = field(default_factory=dict)
    old: dict[int, Bucket] = field(default_factory=dict)

    def buckets(self, number: int) -> Iterator[Bucket]:
        """Those of that time."""
        if number in self.fresh:
            yield self.fresh[number]
        if number in self.old:
            yield self.old[number]


class Known:
    """All rows whose deadline is beyond `upto`, and maybe others.

    span_ms: how far apart the first and the last partner of an event may be. halves: by side. upto: the last deadline
    of the rows that were there before: once T is beyond it, none of them counts any more. write_until: what it calls
    to write fresh rows, with where to: says the time until which rows have lapsed.
    """

    __slots__ = ("_write_until", "counts", "halves", "width")

    def __init__(
        self, span_ms: int, halves: dict[bytes, Half], upto: int, write_until: Callable[[], tuple[Written, int]]
    ) -> None:
        longest = max(half.reach for half in halves.values())
        # So an event looks into three buckets at most.
        self.width = max(BUCKET_MS_MIN, span_ms // 2 + 1, longest // BUCKETS_PER_GRACE)
        self.halves = halves
        self._write_until = write_until
        # So many more rows may come before some are forgotten; `upto`; how often buckets came, went or were others.
        self.counts = array("q", [KNOWN_MAX, upto, 0])

    @property
    def upto(self) -> int:
        """Once T is beyond this, all rows that count are known."""
        return self.counts[UPTO]

    def add(self, half: Half, key: bytes, time: int, entry: Entry) -> None:
        """A row has come."""
        bucket = half.fresh.get(time // self.width)
        if bucket is None or key in bucket or self.counts[_ROOM] <= 0:
            self._add(half, key, time // self.width, entry)
        else:
            bucket[key] = entry
            self.counts[_ROOM] -= 1

    def _add(self, half: Half, key: bytes, number: int, entry: Entry) -> None:
        if self.counts[_ROOM] <= 0:
            self._shrink(KNOWN_MAX // 2)
        bucket = half.fresh.get(number)
        if bucket is None:
            bucket = half.fresh[number] = {}
            self.counts[_EPOCH] += 1
        self.counts[_ROOM] -= _put(bucket, key, entry)

    def find(self, half: Half, key: bytes, first: int, last: int) -> Sequence[tuple[int, Entry]]:
        """(time, entry) of the rows of this side and key from one time to another, both included, in order."""
        found: list[tuple[int, Entry]] | None = None
        number, end = first // self.width, last // self.width
        both = half.old, half.fresh
        while number <= end:
            # Most meet nobody, so this is all that is done for them.
            for buckets in both:
                if number not in buckets or key not in buckets[number]:
                    continue
                entries = buckets[number][key]
                if found is None:
                    found = []
                for entry in entries if isinstance(entries, list) else (entries,):
                    time = time_of_entry(entry)
                    if first <= time <= last:
                        found.append((time, entry))
            number += 1
        if found is not None and len(found) > 1:
            found = sorted(set(found))
        return found or ()

    def replace(self, half: Half, key: bytes, entry: Entry, by: Entry) -> bool:
        """Have this in the place of an entry that was found. Returns whether it is fresh."""
        number = time_of_entry(entry) // self.width
        for bucket in half.buckets(number):
            entries = bucket.get(key)
            if entries == entry:
                bucket[key] = by
            elif isinstance(entries, list) and entry in entries:
                entries[entries.index(entry)] = by
            else:
                continue
            return bucket is half.fresh.get(number)
        return False

    def settle(self) -> None:
        """The events are finished: their rows are written, but those that nobody needs any more."""
        if not any(half.fresh for half in self.halves.values()):
            return
        rows, now = self._write_until()
        self.counts[_EPOCH] += 1
        for side, half in self.halves.items():
            bound = now - half.reach
            for number, bucket in half.fresh.items():
                if not half.keeps and (number + 1) * self.width <= bound:
                    self.counts[_ROOM] += _count(bucket)
                    continue
                _write(side, bucket, bound, rows)
                _merge(half.old, number, bucket)
            half.fresh.clear()
            lapsed = [number for number in half.old if (number + 1) * self.width <= bound]
            for number in lapsed:
                self.counts[_ROOM] += _count(half.old.pop(number))

    def held_bytes(self) -> int:
        """What that takes."""
        if not (count := KNOWN_MAX - self.counts[_ROOM]):
            return 0
        buckets = [bucket for half in self.halves.values() for bucket in (*half.fresh.values(), *half.old.values())]
        sizes = [
            len(entry)
            for bucket in buckets[-1:]
            for entries in islice(bucket.values(), SAMPLE_ROWS)
            for entry in (entries if isinstance(entries, list) else (entries,))
        ]
        return count * (ROW_BYTES + sum(sizes) // max(1, len(sizes)))

    def shrink(self, part: float) -> None:
        """Keep so much of it."""
        self._shrink(int((KNOWN_MAX - self.counts[_ROOM]) * part))

    def _shrink(self, count: int) -> None:
        """Forget the rows that lapse first, but for so many."""
        self.settle()
        ends = [
            ((number + 1) * self.width - 1 + half.reach, number, half)
            for half in self.halves.values()
            for number in half.old
        ]
        for end, number, half in sorted(ends, key=lambda one: one[0]):
            if KNOWN_MAX - self.counts[_ROOM] <= count:
                break
            self.counts[UPTO] = max(self.counts[UPTO], end)
            self.counts[_ROOM] += _count(half.old.pop(number))
            self.counts[_EPOCH] += 1


def _write(side: bytes, bucket: Bucket, bound: int, rows: Written) -> None:
    """Write the rows of a bucket, but those before `bound` that need not come out alone."""
    if is_in_c():
        fresh_written(side, bucket, bound, rows.values, rows.dirty, rows.deleted)
        return
    row_key = partial(row_key_of, side)
    for key, entries in bucket.items():
        for entry in entries if isinstance(entries, list) else (entries,):
            if entry[STAMP_BYTES] != MET_BYTE or time_of_entry(entry) >= bound:
                write(rows, row_key(key, entry), entry[STAMP_BYTES:])


def write(rows: Written, row_key: bytes, row: bytes) -> None:
    """As a view writes bytes."""
    rows.values[row_key] = rows.dirty[row_key] = row
    if rows.deleted:
        rows.deleted.discard(row_key)


def _put(bucket: Bucket, key: bytes, entry: Entry) -> int:
    """Returns how many came."""
    before = bucket.setdefault(key, entry)
    if before is entry:
        return 1
    entries = before if isinstance(before, list) else [before]
    if entry in entries:
        return 0
    insort(entries, entry)
    bucket[key] = entries
    return 1


def _merge(old: dict[int, Bucket], number: int, fresh: Bucket) -> None:
    bucket = old.get(number)
    if bucket is None:
        old[number] = fresh
    elif bucket.keys().isdisjoint(fresh):
        bucket.update(fresh)
    else:
        for key, entries in fresh.items():
            for entry in entries if isinstance(entries, list) else (entries,):
                _put(bucket, key, entry)


def _count(bucket: Bucket) -> int:
    return sum([len(entries) if isinstance(entries, list) else 1 for entries in bucket.values()])
