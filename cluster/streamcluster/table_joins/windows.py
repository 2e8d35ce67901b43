"""The join of two windowed tables: rows of the same key and window meet, until the window is over for both tables.

    a change of a window  ---> as by equal keys (equal.py); the window is noted in the order of its end
    both tables are beyond what they keep of it  ---> what was read of both goes, and with it the row of the result

A table deletes a window when its own time is beyond that, and the other table may be hours behind: so such a deletion
changes nothing. It is told by its time from that of a window that was open (`windows.ports.take_back`). The time of the
join is the least of both tables' times, each as far as its changes have been read (engine/event_time/table_time.py). A
table to which nothing comes is waited for as long as windows are kept, by the clock.

    key: which kind, the window's row key    value: a side, or 8 bytes when the window goes
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import AppError
from ..events import Event
from ..indexes import Index
from ..operated import Followed
from ..tables import Table
from ..times import PLACE_BYTES, Closing, place_of
from ..times import time_of as time_at
from ..windows.keys import span_of
from ..windows.kinds import Kind, definition_of
from ..windows.kinds import span_of as length_of
from ..windows.windowed import WindowedTable
from .equal import EqualJoin
from .sides import LEFT, RIGHT, Result, change, time_of

_WHEN = "when"
_WINDOW = b"w"


@dataclass(frozen=True, slots=True)
class Windows:
    """What the rows of a table are of.

    kept_ms: how long after its end a window is there; operator: whose time it is; is_joined: a join writes the table.
    """

    kind: Kind
    kept_ms: int
    operator: str
    is_joined: bool = False

    def is_over(self, start: int, end: int, deleted: int) -> bool:
        """By its bounds, and of which time its deletion is: a window was deleted since it is over."""
        # What else is deleted: see `windows.ports.take_back`; a join dates it as the last event that there may be.
        return deleted >= end + self.kind.end_belongs if self.is_joined else deleted >= start


def windows_of(table: Any) -> Windows | None:
    """Those of a windowed table, or of what comes of joins of such; None: it has no windows."""
    if isinstance(table, WindowedTable):
        return Windows(table.kind, table.kept_ms, table.name)
    found: Windows | None = table.windows if isinstance(table, Table) else None
    return found


def has_windows_beside(table: Any) -> bool:
    """It is the table under what `.tumbling(...)` and its neighbours have returned."""
    return isinstance(table, Table) and table.key_coding is not None and table.windows is None


def rows_of(table: Any) -> Table[Any, Any]:
    """The table that keeps what a table has, with windows or without."""
    found: Any = table.table if isinstance(table, WindowedTable) else table
    assert isinstance(found, Table)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class WindowJoin:
    """Over a join by equal keys, whose keys are of windows."""

    join: EqualJoin
    left: Windows
    right: Windows
    windows: Windows

    @property
    def result(self) -> Result:
        """The table that comes of it."""
        return self.join.result

    def changed(self, event: Event) -> None:
        """A window of either table has changed."""
        message = event.message
        if message.key is None:
            return
        start, end = span_of(message.key)
        if message.value is not None:
            self.join.changed(event)
            self._note(message.key, end)
            return
        own = self.left if message.topic == self.join.left.changes.name else self.right
        if not own.is_over(start, end, time_of(message)):
            self.join.changed(event, end - 1 + self.windows.kind.end_belongs)

    def _note(self, key: bytes, end: int) -> None:
        """The window goes when it is over for both tables; one that comes later than that is there as long again."""
        rows = self.join.rows
        time, noted = rows.shard_var.get().time, rows.get(_WINDOW + key)
        assert time is not None
        if noted is not None and time_at(noted) > time.finished:
            return
        when = end + self.windows.kept_ms + self.windows.kind.end_belongs
        if when <= time.finished:
            when = time.finished + 1 + self.windows.kept_ms
        rows[_WINDOW + key] = place_of(when)
        time.expect(when)

    def over(self, row_key: bytes, noted: bytes) -> None:
        """The time of a window has come."""
        rows = self.join.rows
        if rows.get(row_key) != noted:
            # It has changed meanwhile.
            return
        key = row_key[len(_WINDOW) :]
        for one in (row_key, LEFT + key, RIGHT + key):
            rows.pop(one, None)
        _, end = span_of(key)
        over = end + self.windows.kind.end_belongs
        change(self.result.table, self.join.left.changes.coders.decode_key(key), None, over)


def keep_windows(join: EqualJoin, left: Windows, right: Windows) -> WindowJoin:
    """Have rows of a join by equal keys, of these windows, go by time."""
    rows, result = join.rows, join.result.table
    windows = Windows(left.kind, max(left.kept_ms, right.kept_ms), rows.name, is_joined=True)
    found = WindowJoin(join, left, right, windows)
    closing = Closing(_WHEN, _closing(found, result), deletes=False)
    rows.go_by(rows.name, [Index(_WHEN, PLACE_BYTES, _place)], [closing], definition=rows.definition)
    wait_ms = windows.kept_ms + length_of(windows.kind)
    for side, one in ((join.left, left), (join.right, right)):
        rows.follow(Followed(side.table, side.changes, one.operator, wait_ms))
    result.be_of_windows(windows)
    return found


def check_windows(what: str, left: Any, right: Any) -> None:
    """Refuse windows that are never the same.

    Raises:
        AppError: those, or what tells its changes in another way.
    """
    for one in (left, right):
        if isinstance(one, WindowedTable) and one.panes is not None:
            raise AppError(
                f"{what}: table {one.name!r} has merge=, so its windows are put together where they are read: leave "
                "merge= out, or write its results to a plain table in on_close (finals[key, window] = value), and "
                "join that."
            )
    mine, theirs = windows_of(left), windows_of(right)
    assert mine is not None
    assert theirs is not None
    if mine.kind != theirs.kind:
        raise AppError(
            f"{what}: windows of {left.name!r} are {_said(mine.kind)}, those of {right.name!r} {_said(theirs.kind)}: "
            "no window of one is ever one of the other. Give both the same."
        )


def _said(kind: Kind) -> str:
    words = [
        f"{name}={repr(value) if isinstance(value, str) else f'{value / 1000:g} s'}"
        for name, value in definition_of(kind).items()
    ]
    return ", ".join(words)


def _place(key: bytes, row: bytes) -> bytes | None:
    return row if key.startswith(_WINDOW) and len(row) == PLACE_BYTES else None


def _closing(join: WindowJoin, result: Table[Any, Any]) -> Callable[[bytes, bytes], None]:
    """What is called with windows whose time has come. result: named here, so that it is seen who writes it."""

    def over(key: bytes, noted: bytes) -> None:
        assert join.result.table is result
        join.over(key, noted)

    return over
