"""WindowedTable: a table whose entries are of a key and a window of event time."""

from __future__ import annotations

import inspect
import operator
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from copy import copy
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import wraps
from typing import Any

from ..as_of import time_ms
from ..checks import Seconds, check_callable, seconds_of
from ..current import Cursor, cursor_var
from ..errors import AppError
from ..events import current_event
from ..faust_names import WINDOWED, names_what_is_missing
from ..models import field_getter
from ..table_joins.declaring import Joining
from ..times import EXPIRES, Closing
from ..topics import Topic
from .durations import at_least_zero
from .keys import (
    BY_END,
    END_INDEX,
    END_ORDER,
    KEY_INDEX,
    decoding_many,
    deleted_at,
    deleted_before,
    in_windows,
    windowed,
)
from .kinds import Hopping, Kind, Session, Sliding, Span, Window, definition_of, is_single, span_of, window_between
from .lapsing import lapsing
from .late import LateEvents, Place, place_in_hand
from .panes import Panes, check_merge, windows_in
from .place import LastPlace, do_in_c
from .ports import KeepingTable, Shard
from .views import WindowedView, items_of, keys_of, values_of
from .window_set import WindowSet

# The year 10000. Milliseconds since 1970 are beyond it, but for those of the year 1978 and before.
_SECONDS_MAX = 253_402_300_800
# How two sessions become one, for the types of `default=` that have one way of it.
_MERGES: dict[Any, Callable[[Any, Any], Any]] = {
    **dict.fromkeys((int, float, Decimal, Fraction, timedelta), operator.add),
    **dict.fromkeys((str, bytes, list, tuple, deque, Counter), operator.add),
    **dict.fromkeys((dict, set), operator.or_),
}


@names_what_is_missing(WINDOWED, "table")
class WindowedTable(Joining):
    """Made by `app.Table(...).tumbling(...)` and its neighbours; `table[key]` is a `WindowSet`."""

    def __init__(
        self,
        table: KeepingTable,
        kind: Kind,
        *,
        grace: Seconds | None = None,
        expires: Seconds | None = None,
        late: Topic | None = None,
        merge: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        what = f"table {table.name!r}"
        self.table = table
        self.name = table.name
        self.owner = table.owner
        self.kind = kind
        self.grace = at_least_zero(f"{what}: grace", grace)
        self._is_grace_given = grace is not None
        self._expires = at_least_zero(f"{what}: expires", expires)
        # How long after its end a window is there.
        self.kept_ms = max(self._expires, kind.reach + self.grace + (kind.kept if isinstance(kind, Sliding) else 0))
        if late is not None and not isinstance(late, Topic):
            raise AppError(f"{what}: late={late!r} is no topic: give app.topic(...).")
        self.late_events = LateEvents(table.name, late)
        self._merge = _merge_of(table, merge) if isinstance(kind, Session) else None
        in_order = isinstance(kind, (Session, Sliding))
        # What several windows have in common, where its values are merged.
        self.panes: Panes | None = None
        # An event is in one window, by its record's time.
        self.is_single = is_single(kind)
        self.place = LastPlace()
        # The same, for C.
        self.here = self.place.in_c
        self._at: Callable[[Cursor], int] = _event_time
        self._handler: Callable[..., Any] | None = None
        # The same by the parts of a window, where it takes them.
        self._of_window: Callable[..., Any] | None = None
        # Nothing is kept that is over, so of each key there are few windows, which are found by their ends.
        self.lies_by_end = is_single(kind) and self._expires <= self.grace
        # Somebody reads windows that are over, beside the handler.
        self._is_given_out = False
        table.code_keys(windowed, decoding_many)
        table.go_by(
            table.name,
            [END_INDEX, KEY_INDEX] if in_order else [END_ORDER if self.lies_by_end else END_INDEX],
            definition={**definition_of(kind), "grace": self.grace},
            dated=deleted_at if kind.end_belongs else deleted_before,
        )
        # What new sliding windows are made of, of windows that were over when an event came for them.
        self._beside: KeepingTable | None = None
        if isinstance(kind, Sliding):
            self._beside = table.beside("over", "sliding windows that were over, for those that come")
            kept = Closing(BY_END, None, self.grace + kind.kept, is_inclusive=False, purpose="kept")
            self._beside.go_by(table.name, [END_INDEX, KEY_INDEX], [kept], dated=deleted_at)
        if merge is not None and isinstance(kind, Hopping):
            check_merge(table, merge)
            # Where each event is in one window there is nothing to merge.
            if not self.is_single:
                self.panes = Panes(table, kind, max(self.grace, self._expires), merge)
                table.merge_rows(self.panes)
        _close(self)
        if table.window_close is not None:
            self.on_window_close(table.window_close)

    # What an event's time is. As in Faust each gives a table of its own, over the same windows.

    def relative_to(self, ts: Any = None) -> WindowedTable:
        """By a field (`View.time`), or by a function that is given the event and tells seconds or a datetime."""
        if ts is None:
            return self.relative_to_stream()
        if field_getter(ts) is not None or not callable(ts):
            return self.relative_to_field(ts)
        return seen_from(self, lambda _cursor: _time_in(self.name, ts(current_event())))

    def relative_to_stream(self) -> WindowedTable:
        """The event's time is that of its record: the default."""
        return seen_from(self, _event_time)

    def relative_to_now(self) -> WindowedTable:
        """The event's time is the wall clock's when it is handled: what comes again counts in another window then."""
        return seen_from(self, lambda _cursor: self.wall())

    def relative_to_field(self, field: Any) -> WindowedTable:
        """The event's time is a field of its value, in seconds or a datetime (`relative_to_field(View.time)`).

        Late is still what comes when the records' own time has passed the window and `grace`.
        """
        get = field_getter(field)
        if get is None:
            raise AppError(f"table {self.name!r}: {field!r} is no field of a Record: write it as View.time.")
        return seen_from(self, lambda cursor: _time_in(self.name, get(_value_in_hand(cursor))))

    # What comes of windows that are over

    def on_recover(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """As `Table.on_recover`."""
        return self.table.on_recover(fun)

    def on_close(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: call `fun(key, window, value)`, sync or async, once for each window that is over.

        It may send and write tables, inside of the commit that makes the window final. With two arguments it is called
        as Faust does: `fun((key, (start, end)), value)`.

        Raises:
            AppError: the table has no `grace=`: whoever takes results for final says how long late events count.
        """
        if not self._is_grace_given:
            raise AppError(
                f"table {self.name!r}: on_close needs grace=: how long after its end a window still takes events that "
                "come late. grace=0 takes none."
            )
        return self.on_window_close(fun)

    def on_window_close(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """As `on_close`, under Faust's name, and without `grace=` it is 0."""
        check_callable(f"table {self.name!r}: on_close", fun)
        if any(closing.handler is not None for closing in self.table.closings):
            raise AppError(f"table {self.name!r} has an on_close already: call both functions from one.")
        takes_row = _takes_row(self.name, fun)
        self._handler = _closing_call(fun, takes_row=takes_row)
        self._of_window = None if takes_row else fun
        _close(self)
        return fun

    def changes(self, every: Seconds | None = None) -> Topic:
        """What is written to it, for an agent, under keys (key, window); see `Table.changes`.

        A window that is over comes once more, with None: it is deleted.
        """
        if self.panes is None:
            return self.table.changes(every, coding=in_windows)
        self._is_given_out = True
        _close(self)
        seconds = None if every is None else seconds_of(f"table {self.name!r}: changes(every=)", every)
        told: Topic = self.table.owner.tell_panes(self, seconds or None)
        return told

    # As a mapping

    def __getitem__(self, key: Any) -> WindowSet:
        return WindowSet(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        # Python gives back what an operator in place has returned.
        if type(value) is not WindowSet:
            if self.panes is not None:
                raise TypeError(
                    f"table {self.name!r} has merge=, so an event cannot set what others have added to its windows: "
                    "add to it with += or another operator in place, or with .apply(fun, value)."
                )
            WindowSet(self, key).apply(_second, value)

    def __delitem__(self, key: Any) -> None:
        self[key].discard()

    def __contains__(self, key: Any) -> bool:
        return self[key].is_there()

    def items(self) -> WindowedView[tuple[tuple[Any, Window], Any]]:
        """((key, window), value) of each window: in an agent those of its own partition, elsewhere of this worker.

        As Faust's, `.items().current()`, `.now()` and `.delta(60)` give (key, value) of the windows of one time.
        """
        return items_of(self)

    def keys(self) -> WindowedView[tuple[Any, Window]]:
        """(key, window) of each."""
        return keys_of(self)

    def values(self) -> WindowedView[Any]:
        """The value of each."""
        return values_of(self)

    def __iter__(self) -> Iterator[tuple[Any, Window]]:
        return iter(self.keys())

    def __len__(self) -> int:
        return sum(1 for _ in windows_in(self))

    @property
    def late_total(self) -> int:
        """Events that were late, in this process."""
        return self.late_events.total

    # What its window sets ask

    def at(self) -> int:
        """The time of the event in hand, in ms."""
        cursor = cursor_var.get()
        if cursor is None:
            raise AppError(
                f"table {self.name!r}: there is no event here whose window could be meant: use .now(), [key][window], "
                ".windows(start, end) or .items()."
            )
        return self._at(cursor)

    def wall(self) -> int:
        """The time of day, in ms."""
        return round(time.time() * 1000)

    def late(self, at: int, span: Span, now: int, place: Place | None = None) -> None:
        """The event in hand, or there, came when all of its windows were over, of which this is the last."""
        shard: Shard = self.table.shard_var.get()
        if shard.time is not None and shard.watched.is_first(place or place_in_hand(cursor_var.get())):
            shard.time.count_late()
            self.late_events.add(place, at, span, span[1] + self.kind.reach + self.grace, now)

    def beside_shard(self) -> Shard:
        """What is kept beside the table in the running task."""
        assert self._beside is not None
        shard: Shard = self._beside.shard_to_write()
        return shard

    def merged(self, first: Any, second: Any) -> Any:
        """The value of two sessions that became one."""
        assert self._merge is not None
        return self._merge(first, second)

    def __repr__(self) -> str:
        return f"<table {self.name!r} of windows: {self.kind}>"


def seen_from(table: WindowedTable, at: Callable[[Cursor], int]) -> WindowedTable:
    """Another view of the same windows. at: what the time of an event is there."""
    seen = copy(table)
    seen.place = LastPlace()
    seen.here = seen.place.in_c
    seen._at = at
    seen.is_single = is_single(table.kind) and at is _event_time
    return seen


def _close(table: WindowedTable) -> None:
    """Say what is done with windows that are over."""
    after = ""
    if table.panes is not None:
        if table._handler is not None or table._is_given_out:
            after = table.panes.give_out(table.grace)
        table.table.definition["kept"] = table.panes.kept
    closings = _closings(table, after)
    table.table.close_by(closings, None if table.panes is not None else lapsing(table.kind, closings))


def _closings(table: WindowedTable, after: str) -> list[Closing]:
    """Rows go when the window is over, or later where `expires` says so. after: what makes them, if events do not."""
    handler = table._handler
    closes, inclusive = table.kind.reach + table.grace, not table.kind.end_belongs
    kept = table.kept_ms
    keeps = kept > closes
    span = span_of(table.kind)
    closing = Closing(
        BY_END, handler, closes, inclusive, not keeps, after=after, span_ms=span, of_window=table._of_window
    )
    found = [closing] if handler or not keeps else []
    if keeps:
        found.append(Closing(BY_END, None, kept, inclusive, purpose=EXPIRES, after=after))
    return found


def _merge_of(table: KeepingTable, merge: Callable[[Any, Any], Any] | None) -> Callable[[Any, Any], Any]:
    if merge is not None:
        check_callable(f"table {table.name!r}: merge", merge)
        return merge
    found = _MERGES.get(table.default)
    if found is None:
        raise AppError(
            f"table {table.name!r}: an event may join two sessions: say with merge= how their values become one, "
            "merge=max for example."
        )
    return found


def _second(_before: Any, value: Any) -> Any:
    return value


def _takes_row(table: str, fun: Callable[..., Any]) -> bool:
    """As in Faust: with its key and window as one, and the value."""
    try:
        count = len(inspect.signature(fun).parameters)
    except ValueError:
        count = 3
    if count not in (2, 3):
        raise AppError(f"table {table!r}: on_close takes (key, window, value), or as in Faust (key, value).")
    return count == 2


def _closing_call(fun: Callable[..., Any], *, takes_row: bool) -> Callable[[Any, Any], Any]:
    @wraps(fun)
    def closed(row: tuple[Any, int, int], value: Any) -> Any:
        return fun(row[0], window_between(row[1], row[2]), value)

    @wraps(fun)
    def closed_of_faust(row: tuple[Any, int, int], value: Any) -> Any:
        return fun((row[0], window_between(row[1], row[2])), value)

    return closed_of_faust if takes_row else closed


def _event_time(cursor: Cursor) -> int:
    if cursor.kept.handed_out:
        return cursor.kept.time()
    run = cursor.run
    count = 0 if run is None else len(run.values) - cursor.iterator.__length_hint__()
    if run is None or not count:
        raise AppError(f"{cursor.owner!r} is at no event whose window could be meant.")
    return cursor.timestamps(run.batch)[run.start + count - 1]


def _value_in_hand(cursor: Cursor) -> Any:
    if cursor.kept.handed_out:
        run, index = cursor.kept.events[-1]
        return run.values[index]
    at = cursor.index()
    if cursor.run is None or at is None:
        raise AppError(f"{cursor.owner!r} is at no event whose window could be meant.")
    return cursor.run.values[at]


def _time_in(table: str, value: Any) -> int:
    """Of an event: seconds, or a datetime. ValueError: that event fails, and the app goes on."""
    if isinstance(value, (int, float)) and abs(value) < _SECONDS_MAX:
        return round(value * 1000)
    what = f"table {table!r}: the time of the event"
    if isinstance(value, (int, float)):
        raise ValueError(f"{what} is {value!r}, which no calendar has: give seconds since 1970, not milliseconds.")
    if not isinstance(value, datetime):
        raise ValueError(
            f"{what} is {value!r}, a {type(value).__name__}: give seconds since 1970, or a datetime. A field that is "
            "declared as datetime takes text as 2026-11-29T12:00:00Z; relative_to(fun) makes what you like of an event."
        )
    return time_ms(what, value)


do_in_c(WindowedTable, WindowSet)
