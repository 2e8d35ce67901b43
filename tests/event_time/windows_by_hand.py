"""Tumbling counts made by hand on what the engine gives to timed operators: for tests of the engine itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamcluster import App
from streamcluster.current import cursor_var
from streamcluster.indexes import Index
from streamcluster.tables import Table
from streamcluster.times import Closing, place_of

SIZE = 10_000


def end_of(key: bytes, _value: bytes) -> bytes:
    """Keys are `"name/end"`, in JSON."""
    return place_of(int(key.strip(b'"').rsplit(b"/", 1)[1]))


BY_END = Index("end", 8, end_of, by_key=True)


def make_windows(app: App, name: str, handler: Callable[[str, Any], Any] | None, **closing: Any) -> Table[str, int]:
    """A table of counts by key and window; handler: gets each row that is over, with the bounds that `closing` says."""
    table = app.Table(name, key_type=str, default=int)
    table.go_by(name, [BY_END], [Closing("end", handler, **closing)])
    return table


def window_of(milliseconds: int, size: int = SIZE) -> int:
    """The end of the window of this time."""
    return milliseconds - milliseconds % size + size


def add(table: Table[str, int], key: str, value: int, size: int = SIZE) -> bool:
    """Add to the window of the event in hand; False: it is over."""
    cursor, time = cursor_var.get(), table.shard_var.get().time
    assert cursor is not None
    assert time is not None
    end = window_of(cursor.timestamp(), size)
    if end <= time.now(cursor):
        return False
    row = f"{key}/{end}"
    if row not in table:
        time.expect(end)
    table[row] += value
    return True
