"""Joins of two streams, without a stream: the rows that wait for partners, and what an event makes of them.

    key of a row: side, the join's key, its time, a number    value: whether it waits to come out alone, and its value

A row is kept until its partners can come no more: until the join's time T is beyond its own time, how far it reaches to
later partners, and the grace. Then it comes due by its place in the index; one that still waits comes out alone then.
A pair has the same key, and right.time - left.time is from -before to after, both included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from .codecs.ordered_keys import ordered_key, split_ordered, time_range
from .indexes import Index
from .tables import Table
from .times import PLACE_BYTES, place_of

# The side of a row, the first byte of its key: of what comes due together the right one comes first.
RIGHT, LEFT = b"0", b"1"
# The first byte of its value.
_MET, _WAITS = b"m", b"w"
# Side, the end of a key, time and number.
_KEY_BYTES_MIN = 1 + 2 + 2 * PLACE_BYTES


@dataclass(frozen=True, slots=True)
class Span:
    """How far apart in time partners may be, in ms, and which side comes out alone when it finds none."""

    before: int
    after: int
    grace: int
    keeps_left: bool = False
    keeps_right: bool = False

    def keeps(self, side: bytes) -> bool:
        """Rows of this side come out alone when they find no partner."""
        return self.keeps_left if side == LEFT else self.keeps_right

    def deadline(self, side: bytes, time: int) -> int:
        """A row of this side and time finds no partner any more when T is beyond it."""
        return time + (self.after if side == LEFT else self.before) + self.grace

    def partners(self, side: bytes, key: bytes, time: int) -> tuple[bytes, bytes]:
        """The range of the rows that a row of this side meets."""
        if side == LEFT:
            return time_range(RIGHT + key, time - self.before, time + self.after)
        return time_range(LEFT + key, time - self.after, time + self.before)


class Rows(Protocol):
    """What is kept: a table's shard, or a part of it."""

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]: ...

    def write(self, key: Any, value: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Met:
    """What an event has met. partners: their times and values, by time and arrival.

    is_late: it is not kept, for it came after its deadline. alone: it comes out alone, now.
    """

    partners: list[tuple[int, bytes]]
    is_late: bool = False
    alone: bool = False


def arrive(span: Span, rows: Rows, side: bytes, key: bytes, time: int, number: int, value: bytes, now: int) -> Met:
    """An event of this side has come: what it meets of the other one; it is kept for those that come later.

    number: orders events of one side, key and time by their arrival. now: the time T of the join.
    """
    other = RIGHT if side == LEFT else LEFT
    start, end = span.partners(side, key, time)
    partners: list[tuple[int, bytes]] = []
    for row_key, row in [*rows.scan(start, end)]:
        partner_time = split_ordered(row_key)[1]
        if span.deadline(other, partner_time) < now:
            # It is closed, and will be deleted.
            continue
        partners.append((partner_time, row[1:]))
        if row[:1] == _WAITS:
            rows.write(row_key, _MET + row[1:])
    if span.deadline(side, time) < now:
        return Met(partners, is_late=True, alone=not partners and span.keeps(side))
    waits = not partners and span.keeps(side)
    rows.write(ordered_key(side + key, time, number), (_WAITS if waits else _MET) + value)
    return Met(partners)


@dataclass(frozen=True, slots=True)
class DueRow:
    """A row whose deadline has passed. waits: it comes out alone."""

    side: bytes
    key: bytes
    time: int
    value: bytes
    waits: bool


def due_row(row_key: bytes, row: bytes) -> DueRow:
    """A row that comes due, from what the table has."""
    key, time, _ = split_ordered(row_key)
    return DueRow(key[:1], key[1:], time, row[1:], row[:1] == _WAITS)


def key_of_row(row_key: bytes) -> bytes:
    """The join's key of a row."""
    return split_ordered(row_key)[0][1:]


def buffer_table(name: str, span: Span) -> Table[bytes, bytes]:
    """The table of a join's rows, which goes by the join's time. name: of both."""

    def place(row_key: bytes, _value: bytes) -> bytes | None:
        if len(row_key) < _KEY_BYTES_MIN:
            return None
        key, time, _ = split_ordered(row_key)
        return place_of(span.deadline(key[:1], time))

    table: Table[bytes, bytes] = Table(
        name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        help="events that may find partners",
    )
    # Of other bounds it is another index, built of the rows that are there and read from its start.
    index = f"due-{span.before}-{span.after}-{span.grace}"
    table.go_by(name, [Index(index, PLACE_BYTES, place, by_key=True)])
    return table
