"""Panes: hopping windows of which an event writes one row, however many it is in; they are merged when they are read.

    row     (key, start of the first, end of the last): what came for the windows from the first to the last of these
    window  the rows that begin no later and end no sooner, merged in the order of their ends

Events of one pane have the same windows, and so one row; one that comes when some of them are over has a row of those
that are open. So a row is written by nobody any more when its first window is over, and no window that is over changes.

What is over has to be given out window by window, and an event must not write a row for each. So a mark of each key is
the next window of it that closes, and that one's close marks the one behind it:

    event --> row, and a mark of its first window
    mark comes due --> the window, merged, as a row of the table, which closes as others do; rows that end here go;
                       a mark of the next window, if a row goes on
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from copy import deepcopy
from functools import partial, reduce
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from ..checks import check_callable
from ..errors import AppError
from ..times import FOREVER, NO_TIME, Closing
from .keys import BY_END, BY_START, END_INDEX, START_INDEX, deleted_before
from .kinds import Hopping, Span
from .ports import PLAIN, KeepingTable, Shard, Windows, begin_of
from .sessions import ending

Merge = Callable[[Any, Any], Any]
# Of a row's span and value: a value of one's own.
Own = Callable[[Span, Any], Any]
# No value.
NOTHING: Any = object()
# Under what a shard notes `Known`, how many rows are known at most, and what one takes: two tuples and some numbers.
_KNOWN = "known"
KNOWN_MAX = 500_000
PART_BYTES = 250


class Part(NamedTuple):
    """A row, without its key. date: of its last event."""

    span: Span
    value: Any
    date: int = NO_TIME


class Panes:
    """Of one table. kept: how long after its end a window can be read."""

    __slots__ = ("_kept", "_kind", "_marks", "_table", "merge", "rows")

    def __init__(self, table: KeepingTable, kind: Hopping, kept: int, merge: Merge) -> None:
        self._table = table
        self._kind = kind
        self._kept = kept
        self.merge = merge
        self.rows = table.beside("panes", "what came for which windows")
        self.rows.go_by(
            table.name,
            [END_INDEX, START_INDEX],
            [Closing(BY_END, None, kept)],
            dated=deleted_before,
        )
        # None: windows that are over are not given out one by one, and go with the rows.
        self._marks: Any = None

    def give_out(self, grace: int) -> str:
        """Make each window that is over a row of the table; what these come after."""
        if self._marks is None:
            table = self._table
            marks = self._marks = table.beside("next", "the next window of each key that closes")
            step = self._kind.step
            close = Closing(BY_END, partial(self._close), grace, purpose="next", step_ms=step, skipped=self._skip)
            marks.go_by(table.name, [END_INDEX], [close], dated=deleted_before)
            # They go with their last window.
            self.rows.closings.clear()
        return f"{self._marks.name}@next"

    @property
    def kept(self) -> str:
        """What is kept, in words: rows of another kind would never be found."""
        return "panes (merge=)" if self._marks is None else "panes (merge=), given out (on_close)"

    @property
    def name(self) -> str:
        """Of the table."""
        return self._table.name

    @property
    def size(self) -> int:
        """Of each window, in ms."""
        return self._kind.size

    def is_kept(self, end: int, now: int) -> bool:
        """A window that ends there can be read when closing is so far."""
        return end + self._kept > now

    def starts_in(self, span: Span) -> range:
        """Where the windows begin that a row is of."""
        return range(span[0], span[1] - self._kind.size + 1, self._kind.step)

    # Writing

    def add(
        self, of: Windows, shard: Shard, key: Any, at: int, now: int, fun: Callable[[Any, Any], Any], other: Any
    ) -> Span | None:
        """The event changes its row; the first window's start, and the last one's end. None: it is late for all."""
        size, step = self._kind.size, self._kind.step
        first, last = self._kind.first_and_last(at)
        over = now - of.grace - size
        if first <= over:
            first += ((over - first) // step + 1) * step
            if first > last:
                of.late(at, (last, last + size), now)
                return None
        rows: Shard = self.rows.shard_to_write()
        end = last + size
        identity = rows.identity((key, first, end))
        before = rows.values.get(identity, NOTHING)
        if before is NOTHING and not rows.is_new(identity, BY_END, end):
            with suppress(KeyError):
                before = rows.stored(identity)
        is_new = before is NOTHING
        rows.write_at(identity, fun(begin_of(of, key) if is_new else before, other), at)
        if is_new:
            if self._marks is not None:
                self._mark(key, first)
            elif shard.time is not None:
                shard.time.expect(end)
        return first, end

    def _mark(self, key: Any, start: int) -> None:
        """The window of the key that begins there is to close."""
        marks: Shard = self._marks.shard_to_write()
        end = start + self._kind.size
        identity = marks.identity((key, start, end))
        if identity in marks.values or identity in marks.objects:
            return
        marks.is_new(identity, BY_END, end)
        marks.write_at(identity, self._table.default(), end - 1)  # type: ignore[misc]
        if marks.time is not None:
            marks.time.expect(end)

    # Closing

    def _close(self, row: tuple[Any, int, int], _value: Any) -> None:
        """The window of a mark is over."""
        key, start, end = row
        rows: Shard = self.rows.shard_to_write()
        shard: Shard = self._table.shard_to_write()
        known = _known(rows)
        parts = known.take(key, start)
        if parts is None:
            parts = self._parts(rows, key, start)
        else:
            parts += self._starting(rows, key, start, start)
            # They are in order as a rule, and then this only looks.
            parts.sort(key=order_of)
        found = self.fold(parts, start, end, _copying(rows, key))
        if found is not NOTHING:
            identity = shard.identity(row)
            shard.is_new(identity, BY_END, end)
            shard.write_at(identity, found, latest_in(parts, start, end))
            if shard.time is not None:
                shard.time.expect(end)
        known.keep(key, start + self._kind.step, self._go_on(row, parts))

    def _skip(self, row: tuple[Any, int, int]) -> None:
        """A window could not be merged, or its row not be written."""
        key, start, _ = row
        self._go_on(row, self._parts(self.rows.shard_to_write(), key, start))

    def _go_on(self, row: tuple[Any, int, int], parts: Iterable[Part]) -> list[Part]:
        """The window of a mark is done with; what the next one has of its rows."""
        key, start, end = row
        rows: Shard = self.rows.shard_to_write()
        rest: list[Part] = []
        for part in parts:
            first, last = part.span
            if last == end:
                rows.discard(rows.identity((key, first, last)))
            elif last > end:
                rest.append(part)
        if rest:
            self._mark(key, start + self._kind.step)
        return rest

    # Reading

    def value_of(self, key: Any, span: Span) -> Any:
        """What came for a window, a copy; NOTHING: nothing, or it is over for so long that it is not read any more."""
        start, end = span
        if not self.is_window(span):
            return NOTHING
        for own, parts, now in self._of_key(key, start):
            if self.is_kept(end, now) and (found := self.fold(parts, start, end, own)) is not NOTHING:
                return found
        return NOTHING

    def value_outside(self, key: Any, span: Span) -> Any:
        """As `value_of`, outside of events, and of what the table has as rows too."""
        local, row = self._table.local, (key, *span)
        if local is not None and (found := local.find(row)) is not None:
            with suppress(KeyError):
                return found.stored(row)
        return self.value_of(key, span)

    def is_window(self, span: Span) -> bool:
        """Whether there are windows that begin and end there."""
        start, end = span
        return end - start == self._kind.size and (start - self._kind.offset) % self._kind.step == 0

    def has_any(self, key: Any, at: int) -> bool:
        """Whether there is a window of the key with this time in it."""
        first, last = self._kind.first_and_last(at)
        size = self._kind.size
        return any(
            part.span[0] <= last and first + size <= part.span[1] and self.is_kept(min(last + size, part.span[1]), now)
            for _, parts, now in self._of_key(key, last, last - first + size)
            for part in parts
        )

    def within(self, key: Any, span: Span) -> list[tuple[Span, Any]]:
        """The windows of the key that begin and end in there."""
        spans = [(start, start + self._kind.size) for start in self.starts_in(span)]
        return [(one, self.value_of(key, one)) for one in spans]

    def windows(self, key: Any) -> Iterator[tuple[Span, Any]]:
        """All of the key, with copies of what came for them."""
        for own, parts, now in self._of_key(key, None):
            yield from self._windows(parts, own, now)

    def items(self) -> Iterator[tuple[tuple[Any, int, int], Any]]:
        """The same of all keys."""
        for shard, now in self._shards():
            for key, found in groupby(shard.rows(), key=_key_of):
                parts = sorted([Part((start, end), value) for (_, start, end), value in found], key=order_of)
                for span, value in self._windows(parts, _deep, now):
                    yield (key, *span), value

    def _windows(self, parts: list[Part], own: Own, now: int) -> Iterator[tuple[Span, Any]]:
        size = self._kind.size
        for start in sorted({start for part in parts for start in self.starts_in(part.span)}):
            if self.is_kept(start + size, now):
                yield (start, start + size), self.fold(parts, start, start + size, own)

    def fold(self, parts: Iterable[Part], start: int, end: int, own: Own | None = None) -> Any:
        """What came for a window, of these rows and perhaps others. own: how a value is copied; None: in depth."""
        own = own or _deep
        # What merges may change what it is given.
        values = [
            value if type(value) in PLAIN else own(span, value)
            for span, value, _ in parts
            if span[0] <= start and end <= span[1]
        ]
        return reduce(self.merge, values) if values else NOTHING

    def _starting(self, rows: Shard, key: Any, first: int, last: int) -> Iterator[Part]:
        rows_max = (last - first) // self._kind.step + 1
        return map(Part._make, ending(rows, key, first, last, rows_max=rows_max, index=BY_START))

    def _parts(self, rows: Shard, key: Any, start: int, width: int | None = None) -> list[Part]:
        """Rows that may be of the window that begins there, in order; width: as of one so long."""
        return sorted(self._starting(rows, key, start - (width or self._kind.size) + 1, start), key=order_of)

    def _of_key(self, key: Any, start: int | None, width: int | None = None) -> Iterator[tuple[Own, list[Part], int]]:
        """Rows of a key, as `_parts` (start None: all), of each shard that has some, how they are copied, and T."""
        own = self.rows.shard_var.get(None)
        for rows, now in self._shards():
            if own is None or not own.is_at_event:
                found = [Part((first, end), value) for (one, first, end), value in rows.rows() if one == key]
                yield _deep, sorted(found, key=order_of), now
            elif start is None:
                parts = map(Part._make, ending(own, key, NO_TIME, FOREVER, index=BY_START))
                yield _copying(own, key), sorted(parts, key=order_of), now
            else:
                yield _copying(own, key), self._parts(own, key, start, width), now

    def _shards(self) -> Iterable[tuple[Any, int]]:
        """Those that are seen from here, and how far closing is there: T as of the last commit."""
        own = self.rows.shard_var.get(None)
        if own is not None:
            return [(own, NO_TIME if own.time is None else own.time.committed)]
        if self.rows.local is None:
            raise AppError(f"table {self._table.name!r}: nothing runs the app here, so there is nothing to read.")
        found: Iterable[tuple[Any, int]] = self.rows.local.timed(self._table.name)
        return found


class Known:
    """Of keys whose window has closed what the next one has of its rows, which are final: as far as there is memory."""

    __slots__ = ("_count", "_keys")

    def __init__(self) -> None:
        # With where that window begins.
        self._keys: dict[Any, tuple[int, list[Part]]] = {}
        self._count = 0

    def take(self, key: Any, start: int) -> list[Part] | None:
        """Those of the window that begins there; None: they are not known."""
        found = self._keys.pop(key, None)
        if found is None:
            return None
        self._count -= len(found[1])
        return found[1] if found[0] == start else None

    def keep(self, key: Any, start: int, parts: list[Part]) -> None:
        """Know them, if they are plain and there is room."""
        if parts and self._count + len(parts) <= KNOWN_MAX and all(type(part.value) in PLAIN for part in parts):
            self._keys[key] = start, parts
            self._count += len(parts)

    def held_bytes(self) -> int:
        """What that takes."""
        return self._count * PART_BYTES

    def shrink(self, part: float) -> None:
        """Keep so much of it."""
        bound = int(self._count * part)
        while self._count > bound:
            _, (_, parts) = self._keys.popitem()
            self._count -= len(parts)

    def settle(self) -> None:
        """It writes nothing."""


def _known(rows: Shard) -> Known:
    found: Known | None = rows.notes.get(_KNOWN)
    if found is None:
        found = rows.notes[_KNOWN] = Known()
    return found


class Windowed(Protocol):
    """What may have panes."""

    table: Any
    panes: Panes | None


def windows_in(of: Windowed) -> Iterator[tuple[tuple[Any, int, int], Any]]:
    """((key, start, end), value) of each window, in ms."""
    panes = of.panes
    if panes is None:
        yield from of.table.items()
        return
    known = set()
    for row, value in of.table.items():
        known.add(row)
        yield row, value
    yield from (found for found in panes.items() if found[0] not in known)


def check_merge(table: KeepingTable, merge: Merge) -> None:
    """Raises AppError: values that begin with the table's default cannot be merged so."""
    what = f"table {table.name!r}: merge"
    check_callable(what, merge)
    if table.default is None:
        raise AppError(f"{what} needs default=: what a part of a window begins with.")
    neutral = table.default()
    try:
        merged = merge(table.default(), table.default())
        compare: Any = type(neutral).__eq__
        # Objects that compare by what they are, and not by what they hold, say nothing.
        is_neutral = bool(merged == neutral) or compare is object.__eq__
    except Exception as error:
        raise AppError(f"{what}={merge!r} of two values of default=, {neutral!r}, raised {error!r}.") from error
    if not is_neutral:
        raise AppError(
            f"{what}={merge!r} of two values of default=, {neutral!r}, gives {merged!r}: each part of a window begins "
            "with the default, so merged with itself it must stay what it is. Leave it out there, and add it where the "
            "window is read."
        )


def _copying(rows: Shard, key: Any) -> Own:
    return lambda span, value: rows.copy(rows.identity((key, *span)), value)


def _deep(_span: Span, value: Any) -> Any:
    return deepcopy(value)


def latest_in(parts: Iterable[Part], start: int, end: int) -> int:
    """That of the last event in a window."""
    return max(part.date for part in parts if part.span[0] <= start and end <= part.span[1])


def _key_of(row: tuple[tuple[Any, int, int], Any]) -> Any:
    return row[0][0]


def order_of(part: Part) -> tuple[int, int]:
    start, end = part.span
    return end, start
