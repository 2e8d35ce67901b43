"""The loops that every event passes through: in C where those of cluster/native were built, else in Python.

Both ways give the same; what stands in Python is beside each call. Which one it is holds for the whole process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import AsyncGeneratorType
from typing import Any, Protocol

from .current import Cursor, Run
from .events import Event

_in_c = True
try:
    from ._close import Closed, all_end_in
    from ._loop import Gathered, Values
    from ._pairs import Pairs, places, written
    from ._table import attach, detach
except ImportError:
    _in_c = False


def is_in_c() -> bool:
    """Whether the loops of this process are in C."""
    return _in_c


def use_python() -> None:
    """Have the loops that begin from now on in Python, and the items of tables."""
    global _in_c
    if _in_c:
        detach()
    _in_c = False


def do_items_in_c(table: type, shard: type) -> None:
    """Have `table[key]` done in C where it is as usual: of shards of this class, which are at an event. See table.c."""
    if _in_c:
        attach(table, shard)


class Iterated(Protocol):
    """What the run in hand brings: a cursor, or what makes something else of the values."""

    iterator: Any


def values_of_runs(next_run: Callable[[], Awaitable[Run | None]], cursor: Iterated) -> Values | None:
    """The values of the runs that come, over the iterator that the cursor has then; None: it is for Python to do."""
    return Values(next_run, cursor) if _in_c else None


def gathered(
    values: AsyncIterator[Any], cursor: Cursor, encode: Callable[[Any], bytes | None], bytes_max: int
) -> Gathered | None:
    """These values but for those that it keeps; None: it is for Python to do, as whatever is no generator."""
    if not _in_c or type(values) is not AsyncGeneratorType:
        return None
    return Gathered(values, cursor, encode, Event, bytes_max)


def closed(handle: Callable[[Any, Any, Any], Any], *arguments: Any) -> Closed:
    """Has rows that come due handled and deleted when it is awaited; only where `is_in_c`. See _close.pyi."""
    return Closed(handle, *arguments)


def do_all_end_in(row_keys: list[bytes], tail: bytes) -> bool:
    """Whether these end in those bytes; only where `is_in_c`."""
    return all_end_in(row_keys, tail)


def pairs_of_run(
    columns: tuple[Any, ...], known: tuple[Any, ...], numbers: tuple[Any, ...], calls: tuple[Any, ...]
) -> Pairs:
    """What the events of a run bring that come to a join of two streams; only where `is_in_c`. See _pairs.pyi."""
    return Pairs(columns, known, numbers, calls)


def fresh_written(side: bytes, bucket: dict[bytes, Any], bound: int, *rows: Any) -> None:
    """Write the rows of a join's bucket (stream_joins/rows.py); only where `is_in_c`."""
    written(side, bucket, bound, *rows)


def places_of(row_keys: list[bytes], left_ms: int, right_ms: int) -> list[bytes | None]:
    """When rows of a join come due, as places in an index; only where `is_in_c`."""
    return places(row_keys, left_ms, right_ms)
