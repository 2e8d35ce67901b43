"""Sides: the rows of two tables as a join has read them, each with its time, in an internal table of its own.

    key: which side, the row's key    value: 8 bytes time, and what the changelog has; nothing: it was deleted

Deletions are kept of tables with a history, where an older change must not bring back what was deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..current import cursor_var
from ..events import Message
from ..tables import Table
from ..times import PLACE_BYTES, place_of
from ..times import time_of as time_at
from ..topics import Topic

_THERE, _GONE = b"+", b"-"
# The marks of the sides.
LEFT, RIGHT = b"l", b"r"


class Kept(NamedTuple):
    """A row of a side. data: as the changelog has it; None: it was deleted."""

    time: int
    data: bytes | None

    @classmethod
    def decode(cls, row: bytes) -> Kept:
        """That of a row of a side."""
        there = row[PLACE_BYTES : PLACE_BYTES + 1] == _THERE
        return cls(time_at(row[:PLACE_BYTES]), row[PLACE_BYTES + 1 :] if there else None)

    def encode(self) -> bytes:
        """A row."""
        return place_of(self.time) + (_GONE if self.data is None else _THERE + self.data)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the tables. changes: what is read of it; mark: the first byte of its rows' keys."""

    table: Table[Any, Any]
    changes: Topic
    mark: bytes

    def get(self, rows: Table[bytes, bytes], key: bytes) -> Kept | None:
        """What was last read of a key; None: nothing that counts."""
        found = rows.get(self.mark + key)
        return None if found is None else Kept.decode(found)

    def put(self, rows: Table[bytes, bytes], key: bytes, time: int, data: bytes | None) -> bool:
        """A change of the table was read. False: it changes nothing: it is older, or deletes what is not there."""
        before = self.get(rows, key)
        keeps_versions = self.table.history_ms is not None
        if keeps_versions and before is not None and time < before.time:
            return False
        was_there = before is not None and before.data is not None
        if data is not None or keeps_versions:
            rows[self.mark + key] = Kept(time, data).encode()
        elif was_there:
            del rows[self.mark + key]
        return data is not None or was_there

    def value(self, kept: Kept | None) -> Any:
        """A row's value; None: there is none."""
        return None if kept is None or kept.data is None else self.changes.coders.decode_value(kept.data)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The table that comes of a join, and which rows are in it. keeps: those without a partner too."""

    table: Table[Any, Any]
    keeps_left: bool
    keeps_right: bool

    def put(self, key: Any, left: Kept | None, right: Kept | None, values: Callable[[], Any], time: int) -> None:
        """Write what the sides of a key make, or delete it if it is there. values: gives the pair."""
        has_left, has_right = (side is not None and side.data is not None for side in (left, right))
        is_there = (has_left and has_right) or (has_left and self.keeps_left) or (has_right and self.keeps_right)
        change(self.table, key, values if is_there else None, time)


def change(table: Table[Any, Any], key: Any, value: Callable[[], Any] | None, time: int) -> None:
    """Write a row, or delete it if it is there (value: None); its changelog says that this is of that time, in ms."""
    if value is not None:
        table[key] = value()
    elif key in table:
        del table[key]
    else:
        return
    _stamp(table, key, time)


def stamp(table: Table[Any, Any], key: Any) -> None:
    """What was written of the key is of the time of the event in hand."""
    cursor = cursor_var.get()
    if cursor is not None:
        _stamp(table, key, cursor.timestamp())


def _stamp(table: Table[Any, Any], key: Any, time: int) -> None:
    shard = table.shard_var.get()
    shard.stamps[shard.identity(key)] = time


def time_of(message: Message) -> int:
    """Of which time a change is, in ms."""
    return round(message.timestamp * 1000)
