"""WindowSet: what `table[key]` is of a windowed table: the windows of a key, seen from the event in hand."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import copy_context
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any, Protocol

from msgspec import Struct

from ..as_of import time_ms
from ..current import Cursor, cursor_var
from ..errors import AppError
from ..events import Event
from ..times import FOREVER, NO_TIME, place_of
from . import sessions, sliding
from .keys import BY_END, rows_of
from .kinds import Session, Sliding, Span, Window, is_over, window_of
from .late import place_in_hand
from .no_value import not_a_value
from .panes import NOTHING, Panes, windows_in
from .place import LastPlace
from .ports import PLAIN, Shard, Time, Windows, begin_of, own_of, take_back
from .sessions import ending

# Kinds whose windows are found in the order of their ends, by key.
_IN_ORDER = frozenset({Session, Sliding})


class PlacedWindows(Windows, Protocol):
    """What a WindowSet needs of its table.

    is_single: an event is in one window, by its record's time; lies_by_end: rows lie in the order of `BY_END`.
    panes: None: each window has a row of its own.
    """

    is_single: bool
    lies_by_end: bool
    place: LastPlace
    panes: Panes | None


def _in_place(fun: Callable[[Any, Any], Any]) -> Callable[[WindowSet, Any], WindowSet]:
    def change(self: WindowSet, other: Any) -> WindowSet:
        of, key = self._of, self._key
        place, cursor = of.place, cursor_var.get()
        # In this frame, for plain values: the window is that of the event before, and cannot be over.
        if cursor is not None and (run := cursor.run) is not None and run is place.run and not cursor.kept.handed_out:
            index = run.start + len(run.values) - cursor.iterator.__length_hint__() - 1
            start, end, until = place.start, place.end, place.until
            if (
                start <= (at := place.times[index]) < end
                and place.marks[index] < until
                and place.time.finished < until
                and (type(key) is str or type(key) is int)
            ):
                shard = place.shard
                identity = place.known.get(key)
                if identity is None:
                    identity = place.learn(key)
                values = shard.values
                value = values.get(identity, NOTHING)
                is_new = value is NOTHING
                if is_new:
                    if place.nothing is NOTHING or not shard.is_new_in_order(end):
                        self._written = place.span, self._change(shard, identity, end, at, fun, other)
                        return self
                    # The window's first event, and no row can have its key.
                    if end < place.time.told:
                        place.time.expect(end)
                    value = place.nothing
                value = fun(value, other)
                if type(value) in PLAIN and shard.is_at_event:
                    if at >= shard.latest[0]:
                        shard.latest[0] = at
                        values[identity] = value
                        shard.dirty[identity] = value, at
                        if is_new and shard.deleted:
                            shard.deleted.discard(identity)
                    else:
                        shard.write_at(identity, value, at)
                    self._written = place.span, value
                    return self
        return self.apply(fun, other)

    return change


@not_a_value
class WindowSet(Struct, eq=False):
    """Made by `table[key]`. `written`: what the last operation wrote, (window, value), None where it deleted one.

    A Struct, since one is made for each event, which takes half as long so.
    """

    _of: PlacedWindows
    _key: Any
    # Spans and values; None: nothing yet.
    _written: list[tuple[Span, Any]] | tuple[Span, Any] | None = None

    # Writing

    __iadd__ = _in_place(operator.add)
    __isub__ = _in_place(operator.sub)
    __imul__ = _in_place(operator.mul)
    __itruediv__ = _in_place(operator.truediv)
    __ifloordiv__ = _in_place(operator.floordiv)
    __imod__ = _in_place(operator.mod)
    __ipow__ = _in_place(operator.pow)
    __ilshift__ = _in_place(operator.lshift)
    __irshift__ = _in_place(operator.rshift)
    __iand__ = _in_place(operator.and_)
    __ixor__ = _in_place(operator.xor)
    __ior__ = _in_place(operator.or_)

    def apply(self, fun: Callable[[Any, Any], Any], other: Any = None) -> WindowSet:
        """Set the value of each open window of the event in hand to `fun(value, other)`.

        Late events, whose windows are all over, change nothing: see the table's `late=`.
        """
        of = self._of
        shard: Shard | None = of.table.shard_var.get(None)
        if shard is None:
            shard = of.table.shard_to_write()
        at, time, cursor = of.at(), shard.time, cursor_var.get()
        if time is None or cursor is None:
            raise _unseen(of.table.name)
        now = time.now(cursor)
        if of.panes is not None:
            span = of.panes.add(of, shard, self._key, at, now, fun, other)
            self._written = [] if span is None else (span, None)
            return self
        kind = type(of.kind)
        if kind in _IN_ORDER:
            add = sessions.add if kind is Session else sliding.add
            self._written = add(of, shard, self._key, at, now, fun, other)
            return self
        self._apply_spans(shard, cursor, at, now, fun, other)
        return self

    def _apply_spans(
        self, shard: Shard, cursor: Cursor, at: int, now: int, fun: Callable[[Any, Any], Any], other: Any
    ) -> None:
        of, key = self._of, self._key
        spans = of.kind.spans(at)
        written: list[tuple[Span, Any]] = []
        for span in spans:
            if not is_over(of.kind, span[1], of.grace, now):
                identity = of.place.identity(shard, key, span)
                written.append((span, self._change(shard, identity, span[1], at, fun, other, written)))
        if not written:
            of.late(at, spans[-1], now)
        elif of.is_single:
            of.place.set(cursor, shard, spans[0], spans[0][1] + of.grace, of.table.default)
        self._written = written

    def _change(
        self,
        shard: Shard,
        identity: Any,
        end: int,
        at: int,
        fun: Callable[[Any, Any], Any],
        other: Any,
        written: Sequence[tuple[Span, Any]] = (),
    ) -> Any:
        """written: what the event has written to other windows."""
        if shard.is_new(identity, BY_END, end):
            before = self._begin(shard, end)
        else:
            try:
                before = shard.stored(identity)
            except KeyError:
                before = self._begin(shard, end)
        value = fun(before, other)
        if written:
            value = own_of(shard, identity, value, written)
        shard.write_at(identity, value, at)
        return value

    def _begin(self, shard: Shard, end: int) -> Any:
        """What a window has before its first event."""
        if shard.time is not None:
            shard.time.expect(end)
        return begin_of(self._of, self._key)

    def _rows(self, first: int, begin: int = FOREVER) -> list[tuple[Span, Any]]:
        """The windows of the key that end no earlier than `first`, up to one that begins behind `begin`."""
        key, table = self._key, self._of.table
        shard: Shard | None = table.shard_var.get(None)
        if shard is None or not shard.is_at_event:
            found = [((start, end), value) for (one, start, end), value in windows_in(self._of) if one == key]
        elif type(self._of.kind) in _IN_ORDER:
            rows = ending(shard, key, first)
            found = [(span, value) for span, value, _ in takewhile(lambda row: row[0][0] <= begin, rows)]
        elif self._of.lies_by_end:
            found = list(_looked_up(shard, key, first))
        else:
            all_rows = shard.scan(*rows_of(shard.row_key((key, 0, 0))))
            found = [((start, end), value) for (_, start, end), value in all_rows]
            if self._of.panes is not None:
                known = {span for span, _ in found}
                found += [row for row in self._of.panes.windows(key) if row[0] not in known]
        return sorted([row for row in found if row[0][1] >= first], key=_span_of)

    @property
    def written(self) -> list[tuple[Window, Any]]:
        """What the last operation through this object wrote, oldest window first; None: a session that it merged."""
        written = self._written
        if written is None:
            return []
        if self._of.panes is not None and isinstance(written, tuple):
            written = self._of.panes.within(self._key, written[0])
        return [(window_of(span), value) for span, value in ([written] if isinstance(written, tuple) else written)]

    def discard(self) -> None:
        """Delete the windows of the event in hand that are open: what `del table[key]` does."""
        of = self._of
        if of.panes is not None:
            raise TypeError(
                f"table {of.table.name!r} has merge=, so what came for several windows is kept together, and "
                "none can be deleted alone: leave merge= out."
            )
        shard: Shard = of.table.shard_to_write()
        for span in self._spans(of.at()):
            if shard.time is None or not self._is_over(shard.time, span):
                take_back(of, shard, shard.identity((self._key, *span)), span)

    # Reading

    def is_there(self) -> bool:
        """Whether the event in hand, or where there is none anyone, has a window of the key."""
        of = self._of
        if cursor_var.get() is None:
            return bool(self._rows(NO_TIME))
        nothing = of.table
        if of.panes is not None and of.panes.has_any(self._key, of.at()):
            return True
        return any(nothing.get((self._key, *span), nothing) is not nothing for span in self._spans(of.at()))

    def _spans(self, at: int) -> list[Span]:
        """The windows of a time: of those that are found in order the ones that there are."""
        kind = self._of.kind
        if type(kind) not in _IN_ORDER:
            return list(kind.spans(at))
        near = kind.gap if type(kind) is Session else 0
        return [span for span, _ in self._rows(at - near, at + near) if span[0] - near <= at]

    def value(self, event: Event | None = None) -> Any:
        """That of the window of the event in hand (of several the newest), or of another event."""
        return self._value_at(self._of.at() if event is None else _time_of(event))

    def current(self, event: Event | None = None) -> Any:
        """As `value`."""
        return self.value(event)

    def now(self) -> Any:
        """The value of the window of this moment, by the wall clock."""
        return self._value_at(self._of.wall())

    def delta(self, seconds: float | timedelta, event: Event | None = None) -> Any:
        """As `value`, of so long before."""
        back = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        at = self._of.at() if event is None else _time_of(event)
        return self._value_at(at - round(back * 1000))

    def windows(self, start: float | datetime, end: float | datetime) -> list[tuple[Window, Any]]:
        """The windows of the key that have a part in [start, end), seconds or datetimes, with values, oldest first."""
        first, last = self._moment(start), self._moment(end)
        belongs = self._of.kind.end_belongs
        return [
            (window_of(span), value)
            for span, value in self._rows(first)
            if span[0] < last and (span[1] >= first if belongs else span[1] > first)
        ]

    def __getitem__(self, place: Any) -> Any:
        """By an event, or by a window (start, end) in seconds or datetimes."""
        if isinstance(place, Event):
            return self.value(place)
        if not (isinstance(place, tuple) and len(place) == 2):
            raise TypeError(
                f"table {self._of.table.name!r}: table[key][{place!r}] is no window: give (start, end), or an event."
            )
        return self._value_of((self._moment(place[0]), self._moment(place[1])))

    def _moment(self, moment: float | datetime) -> int:
        return time_ms(f"table {self._of.table.name!r}: window", moment)

    def _value_at(self, at: int) -> Any:
        of, key = self._of, self._key
        kind = of.kind
        if type(kind) not in _IN_ORDER:
            return self._value_of(kind.current(at))
        shard: Shard | None = of.table.shard_var.get(None)
        is_here = shard is not None and shard.is_at_event
        if type(kind) is Sliding:
            if shard is None or not is_here:
                raise AppError(
                    f"table {of.table.name!r}: there is no event here: read .items(), .windows(start, end) or "
                    "[key][window]."
                )
            return sliding.value_at(of, shard, key, at)
        spans = self._spans(at)
        return self._value_of(max(spans, key=_end_of)) if spans else begin_of(of, key)

    def _value_of(self, span: Span) -> Any:
        table = self._of.table
        shard: Shard | None = table.shard_var.get(None)
        cursor = cursor_var.get()
        if self._of.panes is not None and shard is None and (cursor is None or cursor.task is None):
            # A row may be in a partition that is here, though the window has none of its own.
            found = self._of.panes.value_outside(self._key, span)
            if found is not NOTHING:
                return found
        value = table.get((self._key, *span), table)
        if value is not table:
            if shard is None or type(value) in PLAIN:
                return value
            if shard.is_at_event and shard.time is not None and self._is_over(shard.time, span):
                return self._watched(shard, shard.time, span, value)
            self._hand(shard, span)
            return value
        if self._of.panes is not None:
            value = self._of.panes.value_of(self._key, span)
            return begin_of(self._of, self._key) if value is NOTHING else value
        value = begin_of(self._of, self._key)
        if type(value) not in PLAIN and shard is not None and shard.is_at_event:
            if shard.time is None:
                # What is done to the value would be lost.
                raise _unseen(table.name)
            return self._lent(shard, shard.time, span, value)
        return value

    def _lent(self, shard: Shard, time: Time, span: Span, value: Any) -> Any:
        """It may be changed in place, if its window is open."""
        if self._is_over(time, span):
            return self._watched(shard, time, span, value)
        if cursor_var.get() is not None:
            identity = shard.identity((self._key, *span))
            shard.is_new(identity, BY_END, span[1])
            shard.lend(identity, value)
            self._hand(shard, span)
            time.expect(span[1])
        return value

    def _is_over(self, time: Time, span: Span) -> bool:
        """The window takes nothing of the event in hand."""
        cursor, of = cursor_var.get(), self._of
        return cursor is not None and is_over(of.kind, span[1], of.grace, time.now(cursor))

    def _watched(self, shard: Shard, time: Time, span: Span, value: Any) -> Any:
        """A copy of the value of a window that is over: who changes it in place changes nothing, and is late."""
        cursor, of = cursor_var.get(), self._of
        if cursor is None or (place := place_in_hand(cursor)) is None:
            return value
        # What is told then is sent as by the event.
        late = partial(copy_context().run, of.late, of.at(), span, time.now(cursor), place)
        return shard.watched.copy(shard.identity((self._key, *span)), value, place, late)

    def _hand(self, shard: Shard, span: Span) -> None:
        """What is read may be changed in place: the row's date is the event's then, if that is in the window."""
        if cursor_var.get() is not None and span[0] <= (at := self._of.at()) <= span[1]:
            shard.hand(shard.identity((self._key, *span)), at)

    def __repr__(self) -> str:
        return f"<windows of {self._key!r} in table {self._of.table.name!r}>"


def _looked_up(shard: Shard, key: Any, first: int) -> Iterator[tuple[Span, Any]]:
    """Of each window that any key has, that of this one."""
    while (row := shard.key_from(BY_END, place_of(first))) is not None:
        _, start, end = row
        with suppress(KeyError):
            yield (start, end), shard.stored(shard.identity((key, start, end)))
        first = end + 1


def _unseen(table: str) -> AppError:
    return AppError(
        f"table {table!r}: it is not seen that its windows are written here, so nothing would close them: name the "
        "table in the agent's function, or in one that it calls: by itself, as an attribute, or in a dict or list."
    )


def _span_of(row: tuple[Span, Any]) -> Span:
    return row[0]


def _end_of(span: Span) -> int:
    return span[1]


def _time_of(event: Event) -> int:
    if not isinstance(event, Event):
        raise TypeError(
            f"{event!r} is no event: .value(), .current() and .delta(60) take one, as stream.events() has them."
        )
    return round(event.message.timestamp * 1000)
