"""Versions: what entries of a table were before, by the event time of their writes.

    a write at an event ---> the internal table of versions: row key and time -> the value, or that it was deleted
                        ---> the table itself, if no later version is there: it has the newest of each key
    the time is `history` past a version ---> those before it are deleted

So a version is kept until `history` after the next one, and the newest for ever. One of a time is replaced by another
of the same time. What comes with a time that is more than `history` ago is refused, as what nobody can ask for.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Protocol

from .as_of import NoVersion
from .codecs.ordered_keys import key_range, ordered_key, split_ordered, time_of_row, time_range
from .indexes import Index
from .tables import Table, bytes_table
from .times import FOREVER, NO_TIME, PLACE_BYTES, Closing, place_of

# The first byte of a version: a value follows, or the entry was deleted.
_VALUE, _DELETED = b"v", b"d"
_BY_TIME = "time"
# The end of a key, time and number.
_KEY_BYTES_MIN = 2 + 2 * PLACE_BYTES


class Scan(Protocol):
    """Rows of a range of row keys, [start, end), as bytes."""

    def __call__(self, start: bytes, end: bytes, *, reverse: bool, rows_max: int) -> Iterable[tuple[bytes, bytes]]: ...


def versions_name(table: str) -> str:
    """The internal table of the versions of this one."""
    return f"{table}-history"


def versions_of(table: Table[Any, Any]) -> Table[bytes, bytes]:
    """The same, which goes by the time of its table."""
    assert table.history_ms is not None

    def place(row_key: bytes, _value: bytes) -> bytes | None:
        return place_of(time_of_row(row_key)) if len(row_key) >= _KEY_BYTES_MIN else None

    name, help_ = versions_name(table.name), f"what entries of {table.name} were before"
    versions = bytes_table(name, partitions=table.partitions, help=help_)
    prune = Closing(
        _BY_TIME, partial(_prune, versions), table.history_ms, is_inclusive=False, deletes=False, is_harmless=True
    )
    versions.go_by(table.timed, [Index(_BY_TIME, PLACE_BYTES, place, by_key=True)], [prune])
    return versions


def _prune(versions: Table[bytes, bytes], row_key: bytes, row: bytes) -> None:
    """Nobody asks for what was before this version; a deletion says nothing then that its absence does not.

    There is one before it at most: each has come due before those that are later.
    """
    shard = versions.shard_var.get()
    start, _ = key_range(split_ordered(row_key)[0])
    for older, _ in [*shard.scan(start, row_key, reverse=True, rows_max=1)]:
        shard.discard(older)
    if row == _DELETED:
        shard.discard(row_key)


# Rows


def version_key(key: bytes, time: int) -> bytes:
    """The row key of a version. key: that of the entry."""
    return ordered_key(key, time)


def version_row(value: bytes | None) -> bytes:
    """The row of a version; None: the entry was deleted."""
    return _DELETED if value is None else _VALUE + value


def newest_time(scan: Scan, key: bytes) -> int:
    """Of which time the newest version of an entry is; NO_TIME: there is none."""
    for row_key, _ in scan(*key_range(key), reverse=True, rows_max=1):
        return time_of_row(row_key)
    return NO_TIME


def version_at(scan: Scan, key: bytes, time: int, oldest: int) -> bytes | None:
    """The value of an entry at a time, None if there was none; one from before `oldest` only if it still is.

    Raises:
        NoVersion.
    """
    for _, row in scan(*time_range(key, -FOREVER, time), reverse=True, rows_max=1):
        if time < oldest and newest_time(scan, key) > time:
            return None
        return row[len(_VALUE) :] if row.startswith(_VALUE) else None
    if newest_time(scan, key) == NO_TIME:
        raise NoVersion
    return None
