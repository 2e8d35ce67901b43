"""Joins of two streams, without a stream: the rows that wait for partners, and what an event makes of them.

    key of a row: side, the join's key, its time, a number    value: whether it waits to come out alone, and its value

A row is kept until its partners can come no more: until the join's time T is beyond its own time, how far it reaches to
later partners, and the grace. Then it comes due by its place in the index; one that still waits comes out alone then.
A pair has the same key, and right.time - left.time is from -before to after, both included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from ..codecs.ordered_keys import key_range, ordered_key, split_ordered, time_of_row, time_range
from ..indexes import Index
from ..live_shards import LiveTime
from ..loops import is_in_c, places_of
from ..tables import Table, bytes_table
from ..times import FOREVER, NO_TIME, PLACE_BYTES, place_of, time_of
from .rows import STAMP_BYTES, UPTO, Entry, Half, Known, entry_of, row_key_of

# The side of a row, the first byte of its key: of what comes due together the right one comes first.
RIGHT, LEFT = b"0", b"1"
# The first byte of its value. _FOUND: it has waited, and met somebody then.
_MET, _WAITS, _FOUND, _GONE = b"m", b"w", b"f", b"d"
_MET_BYTE, _WAITS_BYTE, _LEFT_BYTE = _MET[0], _WAITS[0], LEFT[0]
# The note of a shard that is of this.
_KNOWN = "known"
# Side, the end of a key, time and number.
_KEY_BYTES_MIN = 1 + 2 + 2 * PLACE_BYTES
_PLACES = 1 << (8 * PLACE_BYTES)
# Both sides are read in steps of so many ms, where no result depends on which comes first within one: two topics with
# 1,000 events a second each are runs of 1,000 events then, and pairs come at most that much later behind an old log.
STEP_MS = 1000
# A number says first on which road an event came, then its offset: 2^48 of them are more than a partition ever has.
OFFSET_BITS = 48


class Rows(Protocol):
    """What is kept: a table's shard, or a part of it."""

    # What was noted of it; empty again after a rollback.
    notes: dict[str, Any]
    # As a `LiveShard` has them.
    values: dict[Any, Any]
    deleted: set[Any]
    dirty: dict[Any, Any]
    is_settled: Callable[[Any], bool]

    @property
    def time(self) -> LiveTime | None: ...

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, rows_max: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]: ...

    def scan_index(
        self, name: str, *, reverse: bool = False, rows_max: int | None = None
    ) -> Iterator[tuple[bytes, bytes, bytes]]: ...

    def stored(self, key: Any) -> Any: ...

    def write(self, key: Any, value: Any) -> None: ...

    def discard(self, key: Any) -> None: ...


class Met(NamedTuple):
    """What an event has met. partners: their times and values, by time and arrival.

    is_kept: it waits for those that come later. is_late: it should have come sooner. alone: it comes out alone, now.
    """

    partners: Sequence[tuple[int, bytes]]
    is_late: bool = False
    alone: bool = False
    is_kept: bool = True


def _rows_and_time(rows: Rows) -> tuple[Rows, int]:
    """Where rows are written, and T, by which some have lapsed: it is committed with the events that brought them."""
    assert rows.time is not None
    return rows, rows.time.finished


# Most have met nobody, and are kept.
NOBODY = Met([])


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

    def overdue(self, side: bytes, time: int) -> int:
        """An event of this side and time is late when T is beyond that."""
        ...

    def arrive(self, rows: Rows, side: bytes, key: bytes, time: int, number: int, value: bytes | None, now: int) -> Met:
        """An event of this side has come: what it meets of the other one; it is kept for those that come later.

        number: orders events of one side, key and time by their arrival. now: the time T of the join.
        """
        ...

    def due(self, rows: Rows, row_key: bytes, row: bytes) -> Out | None:
        """The deadline of a row has passed."""
        ...

    def is_done(self, row: bytes) -> bool:
        """Nothing comes of this row at its deadline: it is deleted."""
        ...

    @property
    def lapsed(self) -> Callable[[Mapping[Any, Any], int], list[Any]] | None:
        """Which rows nobody needs any more, as `Table.lapsed` has it; None: all are kept until they come due."""
        ...

    def is_asked(self) -> bool:
        """Something may come of rows at their deadlines. Else they are deleted, and nobody needs what they hold."""
        ...

    def index_name(self) -> str:
        """Another one for other bounds."""
        ...

    def step_ms(self) -> int:
        """In which steps of time both sides are taken (engine/event_time/ordering.py)."""
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

    def overdue(self, side: bytes, time: int) -> int:
        """Later than its deadline, if that is before the event itself: then all of its partners are older."""
        return max(self.deadline(side, time), time + self.grace)

    def counts_null(self, side: bytes) -> bool:
        """No: it matches nothing."""
        return False

    def arrive(self, rows: Rows, side: bytes, key: bytes, time: int, number: int, value: bytes | None, now: int) -> Met:
        """See `Arriving`. Partners that are closed are there until they are deleted."""
        assert value is not None
        known: Known = rows.notes.get(_KNOWN) or self.known(rows)
        # In place, as all that is done for each event where it is not in C.
        if side == LEFT:
            other, first, last = RIGHT, time - self.before, time + self.after
        else:
            other, first, last = LEFT, time - self.after, time + self.before
        own, others = known.halves[side], known.halves[other]
        since = now - others.reach
        partners: Sequence[tuple[int, bytes]] = ()
        if is_stored := known.counts[UPTO] >= now:
            known.settle()
            partners = self._stored(rows, rows.scan(*time_range(other + key, max(first, since), last)))
        elif found := known.find(others, key, first, last):
            partners = self._met(rows, other, key, [one for one in found if one[0] >= since])
        if time + own.reach < now:
            return Met(partners, self.overdue(side, time) < now, not partners and self.keeps(side), is_kept=False)
        entry = entry_of(time, number, (_MET if partners or not own.keeps else _WAITS) + value)
        known.add(own, key, time, entry)
        if is_stored:
            # Others look for it there.
            known.settle()
        return Met(partners) if partners else NOBODY

    def _met(
        self, rows: Rows, side: bytes, key: bytes, found: Sequence[tuple[int, Entry]]
    ) -> Sequence[tuple[int, bytes]]:
        """Times and values of rows of that side that are known, and have met somebody now."""
        known: Known = rows.notes[_KNOWN]
        for _, entry in found:
            if entry[STAMP_BYTES] != _WAITS_BYTE:
                continue
            stamp, value = entry[:STAMP_BYTES], entry[STAMP_BYTES + 1 :]
            if not known.replace(known.halves[side], key, entry, stamp + _MET + value):
                self._has_met(rows, row_key_of(side, key, entry), value)
        return [(time, entry[STAMP_BYTES + 1 :]) for time, entry in found]

    def _stored(self, rows: Rows, found: Iterable[tuple[bytes, bytes]]) -> Sequence[tuple[int, bytes]]:
        """The same of rows that are read from the store."""
        partners: list[tuple[int, bytes]] = []
        for row_key, row in found:
            partners.append((time_of_row(row_key), row[1:]))
            if row[0] == _WAITS_BYTE:
                self._has_met(rows, row_key, row[1:])
        return partners

    def _has_met(self, rows: Rows, row_key: bytes, value: bytes) -> None:
        """A row that is written has waited. One that no cut has had yet is as if it never had."""
        before = rows.values.get(row_key)
        if before is not None and before[0] != _WAITS_BYTE:
            # It was found in the store, and memory does not know: what says so must not look as if it were new.
            return
        is_new = row_key in rows.dirty or rows.is_settled(row_key)
        rows.write(row_key, (_MET if is_new else _FOUND) + value)

    def apart(self, side: bytes) -> tuple[int, int]:
        """How much earlier, and how much later than an event of this side its partners may be."""
        return (self.before, self.after) if side == LEFT else (self.after, self.before)

    def known(self, rows: Rows) -> Known:
        """What memory knows of the rows."""
        if (noted := rows.notes.get(_KNOWN)) is not None:
            found: Known = noted
            return found
        last = next(rows.scan_index(self.index_name(), reverse=True, rows_max=1), None)
        halves = {
            LEFT: Half(self.after + self.grace, self.keeps_left),
            RIGHT: Half(self.before + self.grace, self.keeps_right),
        }
        upto = NO_TIME - 1 if last is None else time_of(last[0])
        known = rows.notes[_KNOWN] = Known(self.before + self.after, halves, upto, partial(_rows_and_time, rows))
        return known

    def due(self, rows: Rows, row_key: bytes, row: bytes) -> Out | None:
        """It is deleted, and comes out alone if it has met nobody."""
        rows.discard(row_key)
        if row[:1] != _WAITS:
            return None
        key, time, _ = split_ordered(row_key)
        return Out(key[:1], time, row[1:], None)

    def is_done(self, row: bytes) -> bool:
        """It has met somebody, or nobody asks."""
        return row[0] != _WAITS_BYTE

    def lapsed(self, rows: Mapping[Any, Any], now: int) -> list[Any]:
        """The keys of those that find no partner any more at the time `now`, and that nobody has changed.

        rows: as they were written since the last cut. Such a one need not be written: it is not there from before.
        """
        left, right = place_of(now - self.after - self.grace), place_of(now - self.before - self.grace)
        return [
            key
            for key, row in rows.items()
            if key[-16:-8] < (left if key[0] == _LEFT_BYTE else right) and type(row) is bytes and row[0] == _MET_BYTE
        ]

    def is_asked(self) -> bool:
        """Rows that have met nobody come out alone."""
        return self.keeps_left or self.keeps_right

    def index_name(self) -> str:
        """Of these bounds."""
        return f"due-{self.before}-{self.after}-{self.grace}"

    def step_ms(self) -> int:
        """Whoever of two partners comes second finds the other."""
        return STEP_MS


@dataclass(frozen=True, slots=True)
class AsOf:
    """An event of the left side meets the right side's newest version of its key that is not later than the event.

    It waits until no earlier version can come: until the join's time T is `grace` beyond the event. Versions are kept
    for `history`, in ms, after the next one has taken their place, and the newest for ever. A deletion is a version.
    """

    history: int
    keeps_left: bool = False
    grace: int = 0

    def keeps(self, side: bytes) -> bool:
        """Events without a version come out alone."""
        return side == LEFT and self.keeps_left

    def counts_null(self, side: bytes) -> bool:
        """A version without a value is a deletion."""
        return side == RIGHT

    def deadline(self, side: bytes, time: int) -> int:
        """An event's is when T has reached it; that of a version when those before it are not asked for any more."""
        return time + self.grace - 1 if side == LEFT else time + self.history

    def overdue(self, side: bytes, time: int) -> int:
        """An event that comes when it is due need not wait, and is in time."""
        return time + (self.grace if side == LEFT else self.history)

    def arrive(self, rows: Rows, side: bytes, key: bytes, time: int, number: int, value: bytes | None, now: int) -> Met:
        """See `Arriving`. A late event meets what is there; a version older than `history` is refused."""
        if side == RIGHT:
            if time + self.history < now:
                return Met([], is_late=True, is_kept=False)
            rows.write(ordered_key(RIGHT + key, time, number), _GONE if value is None else _MET + value)
            return Met([])
        assert value is not None
        if time + self.grace > now:
            rows.write(ordered_key(LEFT + key, time, number), _WAITS + value)
            return Met([])
        found = self._version(rows, key, time, is_old=time + self.history < now)
        partners = [] if found is None else [(time, found)]
        return Met(partners, self.overdue(side, time) < now, found is None and self.keeps_left, is_kept=False)

    def _version(self, rows: Rows, key: bytes, time: int, *, is_old: bool = False) -> bytes | None:
        """The newest that is not later. is_old: it is longer ago than `history`, so of versions the newest counts."""
        start, end = key_range(RIGHT + key) if is_old else time_range(RIGHT + key, -FOREVER, time)
        for row_key, row in rows.scan(start, end, reverse=True, rows_max=1):
            return None if row == _GONE or time_of_row(row_key) > time else row[1:]
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

    def is_done(self, row: bytes) -> bool:
        """Something has to be done with each."""
        return False

    @property
    def lapsed(self) -> None:
        """Versions are asked for later."""
        return

    def is_asked(self) -> bool:
        """Something has to be done with each."""
        return True

    def index_name(self) -> str:
        """Of this history, and how long events wait."""
        return f"due-{self.history}-{self.grace}"

    def step_ms(self) -> int:
        """An event that is as late as a version meets what is there: the exact order."""
        return 1


class Waiting(NamedTuple):
    """The event that a row is of. road: the number of that on which it came; value: as it was kept."""

    road: int
    offset: int
    time: int
    key: bytes
    value: bytes


def event_of_row(row_key: bytes, row: bytes) -> Waiting:
    """Back from both."""
    key, time, number = split_ordered(row_key)
    return Waiting(number >> OFFSET_BITS, number & ((1 << OFFSET_BITS) - 1), time, key[1:], row[1:])


def key_of_row(row_key: bytes) -> bytes:
    """The join's key of a row."""
    return split_ordered(row_key)[0][1:]


def buffer_table(name: str, span: Arriving) -> Table[bytes, bytes]:
    """The table of a join's rows, which goes by the join's time. name: of both."""

    later = {side: span.deadline(side, 0) for side in (LEFT, RIGHT)}

    def place(row_key: bytes, _value: bytes) -> bytes | None:
        if len(row_key) < _KEY_BYTES_MIN:
            return None
        deadline = int.from_bytes(row_key[-16:-8], "big") + later[LEFT if row_key[:1] == LEFT else RIGHT]
        return (deadline % _PLACES).to_bytes(PLACE_BYTES, "big")

    def places(row_keys: Sequence[bytes]) -> Sequence[bytes | None]:
        if is_in_c():
            return places_of([*row_keys], later[LEFT], later[RIGHT])
        return [place(row_key, b"") for row_key in row_keys]

    table = bytes_table(name, help="events that may find partners")
    # Of other bounds it is another index, built of the rows that are there and read from its start.
    index = Index(span.index_name(), PLACE_BYTES, place, by_key=True, places=places)
    # Bounds may change; what a row says may not.
    kind = {"join": "by time" if isinstance(span, Span) else "as of a time"}
    table.go_by(name, [index], definition=kind, lapsed=span.lapsed)
    return table
