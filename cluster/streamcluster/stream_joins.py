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

from .codecs.ordered_keys import key_range, ordered_key, split_ordered, time_range
from .indexes import Index
from .tables import Table
from .times import FOREVER, PLACE_BYTES, place_of

# The side of a row, the first byte of its key: of what comes due together the right one comes first.
RIGHT, LEFT = b"0", b"1"
# The first byte of its value.
_MET, _WAITS, _GONE = b"m", b"w", b"d"
# Side, the end of a key, time and number.
_KEY_BYTES_MIN = 1 + 2 + 2 * PLACE_BYTES


class Rows(Protocol):
    """What is kept: a table's shard, or a part of it."""

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, rows_max: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]: ...

    def write(self, key: Any, value: Any) -> None: ...

    def discard(self, key: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Met:
    """What an event has met. partners: their times and values, by time and arrival.

    is_late: it is not kept, for it came after its deadline. alone: it comes out alone, now.
    """

    partners: list[tuple[int, bytes]]
    is_late: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Out:
    """What comes of a row at its deadline: a pair with this partner, or alone (None)."""

    side: bytes
    time: int
    value: bytes
    partner: bytes | None


class Arriving(Protocol):
    """A kind of join."""

    def keeps(self, side: bytes) -> bool:
        """Rows of this side come out alone when they find no partner."""
        ...

    def counts_null(self, side: bytes) -> bool:
        """An event of this side without a value means something."""
        ...

    def deadline(self, side: bytes, time: int) -> int:
        """A row of this side and time comes due when T is beyond that."""
        ...

    def arrive(self, rows: Rows, side: bytes, key: bytes, time: int, number: int, value: bytes | None, now: int) -> Met:
        """An event of this side has come: what it meets of the other one; it is kept for those that come later.

        number: orders events of one side, key and time by their arrival. now: the time T of the join.
        """
        ...

    def due(self, rows: Rows, row_key: bytes, row: bytes) -> Out | None:
        """The deadline of a row has passed."""
        ...

    def index_name(self) -> str:
        """Another one for other bounds."""
        ...


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

    def counts_null(self, side: bytes) -> bool:
        """No: it matches nothing."""
        return False

    def arrive(self, rows: Rows, side: bytes, key: bytes, time: int, number: int, value: bytes | None, now: int) -> Met:
        """See `Arriving`. Partners that are closed are there until they are deleted."""
        assert value is not None
        other = RIGHT if side == LEFT else LEFT
        start, end = self.partners(side, key, time)
        partners: list[tuple[int, bytes]] = []
        for row_key, row in [*rows.scan(start, end)]:
            partner_time = split_ordered(row_key)[1]
            if self.deadline(other, partner_time) < now:
                continue
            partners.append((partner_time, row[1:]))
            if row[:1] == _WAITS:
                rows.write(row_key, _MET + row[1:])
        if self.deadline(side, time) < now:
            return Met(partners, is_late=True, alone=not partners and self.keeps(side))
        waits = not partners and self.keeps(side)
        rows.write(ordered_key(side + key, time, number), (_WAITS if waits else _MET) + value)
        return Met(partners)

    def due(self, rows: Rows, row_key: bytes, row: bytes) -> Out | None:
        """It is deleted, and comes out alone if it has met nobody."""
        rows.discard(row_key)
        if row[:1] != _WAITS:
            return None
        key, time, _ = split_ordered(row_key)
        return Out(key[:1], time, row[1:], None)

    def index_name(self) -> str:
        """Of these bounds."""
        return f"due-{self.before}-{self.after}-{self.grace}"


@dataclass(frozen=True, slots=True)
class AsOf:
    """An event of the left side meets the right side's newest version of its key that is not later than the event.

    It waits until no earlier version can come: until the join's time T has reached the event. Versions are kept for
    `history`, in ms, after the next one has taken their place, and the newest for ever. A deletion is a version.
    """

    history: int
    keeps_left: bool = False

    def keeps(self, side: bytes) -> bool:
        """Events without a version come out alone."""
        return side == LEFT and self.keeps_left

    def counts_null(self, side: bytes) -> bool:
        """A version without a value is a deletion."""
        return side == RIGHT

    def deadline(self, side: bytes, time: int) -> int:
        """An event's is when T has reached it; that of a version when those before it are not asked for any more."""
        return time - 1 if side == LEFT else time + self.history

    def arrive(self, rows: Rows, side: bytes, key: bytes, time: int, number: int, value: bytes | None, now: int) -> Met:
        """See `Arriving`. A late event meets what is there; a version older than `history` is refused."""
        if side == RIGHT:
            if time + self.history < now:
                return Met([], is_late=True)
            rows.write(ordered_key(RIGHT + key, time, number), _GONE if value is None else _MET + value)
            return Met([])
        assert value is not None
        if time > now:
            rows.write(ordered_key(LEFT + key, time, number), _WAITS + value)
            return Met([])
        found = self._version(rows, key, FOREVER if time + self.history < now else time)
        if found is None:
            return Met([], is_late=True, alone=self.keeps_left)
        return Met([(time, found)], is_late=True)

    def _version(self, rows: Rows, key: bytes, time: int) -> bytes | None:
        start, end = key_range(RIGHT + key)
        if time != FOREVER:
            start, end = time_range(RIGHT + key, -FOREVER, time)
        for _, row in rows.scan(start, end, reverse=True, rows_max=1):
            return None if row == _GONE else row[1:]
        return None

    def due(self, rows: Rows, row_key: bytes, row: bytes) -> Out | None:
        """An event meets its version now; behind a version those before it go."""
        side_key, time, _ = split_ordered(row_key)
        side, key = side_key[:1], side_key[1:]
        if side == LEFT:
            rows.discard(row_key)
            found = self._version(rows, key, time)
            return Out(side, time, row[1:], found) if found is not None or self.keeps_left else None
        for older, _ in [*rows.scan(key_range(side_key)[0], row_key)]:
            rows.discard(older)
        return None

    def index_name(self) -> str:
        """Of this history."""
        return f"due-{self.history}"


def key_of_row(row_key: bytes) -> bytes:
    """The join's key of a row."""
    return split_ordered(row_key)[0][1:]


def buffer_table(name: str, span: Arriving) -> Table[bytes, bytes]:
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
    table.go_by(name, [Index(span.index_name(), PLACE_BYTES, place, by_key=True)])
    return table
