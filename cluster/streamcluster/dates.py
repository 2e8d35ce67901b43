"""Dated rows: those of a table that keeps with each the largest timestamp of what is in it.

    in stores and in the engine    8 bytes of timestamp + value
    in the changelog               the value, in a record of that timestamp

So the changelog is what it is without dates, and a restore puts the two together. Times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from .dated_rows import columns as columns_in_c
from .output import AT_COMMIT, NOT_AT_COMMIT, OutputColumns
from .times import FOREVER, NO_TIME, PLACE, PLACE_BYTES, ZERO, place_of, time_of

DATE_BYTES = PLACE_BYTES
# What a date takes in memory beside its row: a dict's slot and a number.
HELD_BYTES = 130
K = TypeVar("K")
# Brokers of Kafka 4 refuse records that are an hour ahead of their clock, and with them the commit; theirs may be a
# minute behind ours. A row whose date is later comes back from its changelog with this one.
AHEAD_MS_MAX = 59 * 60_000
# By their row keys, what times the deletions of rows are of.
Deleted = Callable[[Sequence[bytes]], list[int]]
# Table -> how its deletions are dated, of those that are dated.
Dated = Mapping[str, Deleted]


class DatedTable(Protocol):
    """What is asked of a table."""

    name: str
    dated: Deleted | None


def dated_tables(tables: Iterable[DatedTable]) -> Dated:
    """Those of them that are dated."""
    return {table.name: table.dated for table in tables if table.dated is not None}


def dated(value: bytes, at: int) -> bytes:
    """A row of that time."""
    return place_of(at) + value


def undated(row: bytes) -> bytes:
    """Its value."""
    return row[DATE_BYTES:]


def date_of(row: bytes) -> int:
    """Its time."""
    return time_of(row)


def dates_of(rows: Sequence[bytes]) -> list[int]:
    """`date_of` of each, in half of the time."""
    return [at - ZERO for (at,) in map(PLACE.unpack_from, rows)]


def records_of(
    changes: Mapping[bytes, bytes | None],
    deleted: Deleted | None,
    latest: int = FOREVER,
    stamps: Mapping[bytes, int] | None = None,
) -> OutputColumns:
    """What a changelog gets of changes of a table.

    deleted: None when its rows have no dates. latest: no record is of a later time. stamps: of which time a change is,
    where its writer has said it; the others are of the commit's. Of rows with dates only deletions have a stamp.
    """
    if deleted is None:
        if not stamps:
            return OutputColumns([*changes], [*changes.values()], [AT_COMMIT] * len(changes))
        times = [stamps.get(key, NO_TIME) for key in changes]
        return OutputColumns([*changes], [*changes.values()], [_possible(at, latest) for at in times])
    keys, values, times = columns_in_c(changes, deleted) or _columns(changes, deleted)
    if stamps:
        times = [
            stamps.get(key, at) if row is None else at for (key, row), at in zip(changes.items(), times, strict=True)
        ]
    if times and not 0 < min(times) <= max(times) < latest:
        times = [_possible(at, latest) for at in times]
    return OutputColumns(keys, values, times)


def _columns(
    changes: Mapping[bytes, bytes | None], deleted: Deleted
) -> tuple[list[bytes | None], list[bytes | None], list[int]]:
    """Keys, values and times of rows."""
    rows = [*changes.values()]
    live = [row for row in rows if row is not None]
    times = dates_of(live)
    if len(live) < len(rows):
        gone = deleted([key for key, row in changes.items() if row is None])
        if live:
            written, removed = iter(times), iter(gone)
            times = [next(removed if row is None else written) for row in rows]
        else:
            times = gone
    return [*changes], [None if row is None else row[DATE_BYTES:] for row in rows], times


def _possible(at: int, latest: int) -> int:
    """Brokers know no time before 1970, and none that is far ahead."""
    return AT_COMMIT if at == NO_TIME else min(max(at, NOT_AT_COMMIT), latest)


def rows_of(records: Iterable[tuple[K, bytes | None]], timestamps: Iterable[int]) -> list[tuple[K, bytes | None]]:
    """The rows that records of a changelog are, for a table that is dated."""
    return [
        (key, None if value is None else place_of(at) + value)
        for (key, value), at in zip(records, timestamps, strict=True)
    ]
