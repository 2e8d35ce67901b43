"""What the engine needs of a store: one store per task, holding all shards of the task and their changelog offsets.

Two implementations: `MemoryStore` here, and RocksDB in `streamcluster_worker.state.rocks`. One conformance suite runs
on both (tests/stores). Keys and values are the bytes that the changelog has; the engine encodes and decodes.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Protocol

from .errors import StreamclusterError
from .indexes import Index, Passed, order_of

# Table -> its indexes.
Indexes = Mapping[str, Sequence[Index]]
NO_INDEXES: Indexes = MappingProxyType({})
# No table has the topic that it is made of for a changelog.
NO_TOPICS: Mapping[str, str] = MappingProxyType({})
# Table -> parts of the order of its rows that are passed.
AllPassed = Mapping[str, Sequence[Passed]]
NOT_PASSED: AllPassed = MappingProxyType({})


class StoreFailed(StreamclusterError):
    """A store cannot be read or written: the disk's fault or the operator's, never that of the event at hand."""


class StoreClosed(Exception):
    """The store was closed before it could be read: its task is on its way to another owner."""


class Shard(Protocol):
    """One table's part for one task: reads only. Each method may raise StoreFailed.

    Ranges are half open, [start, end), and compared bytewise; None is no bound. So the next page begins behind the last
    key (`behind` it as `start`), or, in reverse, ends at it (the key as `end`). Where an index is the order of the rows
    (`Index.is_order`), `scan` goes by its entries, and they are what `start` and `end` are.
    """

    def get(self, key: bytes) -> bytes | None:
        """The committed value, or None."""
        ...

    def multi_get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The committed value of each key, or None."""
        ...

    def scan(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows of a range in key order, or from its end on in reverse, at most rows_max.

        bytes_max: stop behind the row with which keys and values reach so many bytes; None: never.
        """
        ...

    def behind(self, key: bytes) -> bytes:
        """Where a scan begins that goes on behind this row."""
        ...

    def scan_order(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """As `scan`, of rows that lie in the order of an index: (entry, value) of those that are in it."""
        ...

    def scan_index(
        self,
        name: str,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int = 1000,
    ) -> list[tuple[bytes, bytes]]:
        """(place, key) of rows in the order of an index; the range is one of places, or of place + key."""
        ...


class TaskStore(Protocol):
    """All shards of one task."""

    def shard(self, table: str) -> Shard:
        """The shard of `table`; the same object each time."""
        ...

    def write(
        self,
        changes: Mapping[str, Mapping[bytes, bytes | None]],
        changelog_next_offsets: Mapping[str, int],
        passed: AllPassed = NOT_PASSED,
    ) -> None:
        """Apply one commit in one atomic write (I2), the indexes of its tables with it.

        Args:
            changes: table -> key -> value; None deletes the key.
            changelog_next_offsets: table -> the changelog offset to read next when the tail is replayed.
            passed: what of the changes may be done by ranges: they delete every row that a range has.
        """
        ...

    def changelog_next_offset(self, table: str) -> int | None:
        """The changelog offset to restore from; None: this shard is empty and has never been restored."""
        ...

    def restore(self, table: str, records: Iterable[tuple[bytes, bytes | None]], next_offset: int) -> None:
        """Apply changelog records in changelog order (later ones win) and remember `next_offset`, atomically."""
        ...

    def forget(self, table: str) -> None:
        """Empty the shard and its offset, before a restore from the beginning."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """While this is held, shards may be read in a thread that does not own the store; `close` waits for its end.

        So it may be held for one short read at a time. The owner needs it for no read of its own.

        Raises:
            StoreClosed: it is too late.
        """
        ...

    def close(self) -> None:
        """Release every handle, so that another process may open the store. Waits for reads."""
        ...


class MemoryShard:
    """One table's rows in a dict, and their keys in order from the first scan on."""

    __slots__ = ("_added", "_indexes", "_order", "_ordered", "_placed", "rows")

    def __init__(self, indexes: Sequence[Index] = ()) -> None:
        self.rows: dict[bytes, bytes] = {}
        # Keys in order, some of which may be deleted by now, and those that came since. None before the first scan.
        self._ordered: list[bytes] | None = None
        self._added: list[bytes] = []
        self._order = order_of(indexes)
        # The same rows by their entries in that.
        self._placed = None if self._order is None else MemoryShard()
        self._indexes = {index.name: (index, MemoryShard()) for index in indexes if not index.is_order}

    def get(self, key: bytes) -> bytes | None:
        """The committed value, or None."""
        return self.rows.get(key)

    def multi_get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The committed value of each key, or None."""
        return list(map(self.rows.get, keys))

    def scan(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows of [start, end) in key order, or in reverse, at most rows_max, or up to the one that reaches bytes_max.

        Costs a pass over all keys when some came since the last scan.
        """
        if self._order is not None and self._placed is not None:
            width = self._order.width
            placed = self._placed.scan(start, end, reverse=reverse, rows_max=rows_max, bytes_max=bytes_max)
            return [(entry[width:], value) for entry, value in placed]
        ordered, rows = self._in_order(), self.rows
        first = 0 if start is None else bisect_left(ordered, start)
        places = range(first, len(ordered) if end is None else bisect_left(ordered, end))
        found: list[tuple[bytes, bytes]] = []
        size = 0
        for at in reversed(places) if reverse else places:
            if len(found) >= rows_max or (bytes_max is not None and size >= bytes_max):
                break
            if (value := rows.get(ordered[at])) is not None:
                found.append((ordered[at], value))
                size += len(ordered[at]) + len(value)
        return found

    def behind(self, key: bytes) -> bytes:
        """Where a scan begins that goes on behind this row."""
        return (key if self._order is None else self._order.where(key)) + b"\0"

    def scan_order(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """(entry, value) of rows in the order that they lie in."""
        assert self._order is not None
        assert self._placed is not None
        return self._placed.scan(start, self._order.end(end), reverse=reverse, rows_max=rows_max, bytes_max=bytes_max)

    def scan_index(
        self,
        name: str,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int = 1000,
    ) -> list[tuple[bytes, bytes]]:
        """(place, key) of rows in the order of an index."""
        if self._order is not None and name == self._order.name:
            return [
                self._order.split(entry) for entry, _ in self.scan_order(start, end, reverse=reverse, rows_max=rows_max)
            ]
        index, entries = self._indexes[name]
        return [index.split(entry) for entry, _ in entries.scan(start, end, reverse=reverse, rows_max=rows_max)]

    def _in_order(self) -> list[bytes]:
        if self._ordered is None or len(self._ordered) > 2 * len(self.rows) + 1000:
            self._ordered = sorted(self.rows)
        elif self._added:
            # Two runs in order, which Python's sort merges in one pass. A key that was deleted and came again is twice.
            self._added.sort()
            self._ordered = list(dict.fromkeys(sorted(self._ordered + self._added)))
        self._added = []
        return self._ordered

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Set and delete (None) keys."""
        if self._order is not None and self._placed is not None:
            self._placed.apply(self._order.placed(changes))
        for index, entries in self._indexes.values():
            before = () if index.by_key else self.multi_get(list(changes))
            entries.apply(index.changes(changes, before))
        rows, added = self.rows, self._added
        keeps_order = self._ordered is not None
        for key, value in changes.items():
            if value is None:
                rows.pop(key, None)
                continue
            if keeps_order and key not in rows:
                added.append(key)
            rows[key] = value

    def assert_passed(self, part: Passed, changes: Mapping[bytes, bytes | None]) -> None:
        """The commit with these changes has deleted all of it, as a store does that goes by the range."""
        assert self._order is not None
        left = self.scan_order(part.start, part.end + b"\0", rows_max=1000)
        width = self._order.width
        if all(changes.get(key, b"") is None for key in part.keys):
            assert not [entry for entry, _ in left if entry != part.start and changes.get(entry[width:]) is None], left

    def clear(self) -> None:
        """Have no row."""
        self.rows.clear()
        self._ordered, self._added = None, []
        if self._placed is not None:
            self._placed.clear()
        for _, entries in self._indexes.values():
            entries.clear()


class MemoryStore:
    """A store that lives as long as its process: for tests, and for tables that are quick to restore."""

    __slots__ = ("_closed", "_next_offsets", "_reading", "_shards")

    def __init__(self, tables: Sequence[str], indexes: Indexes = NO_INDEXES) -> None:
        self._shards = {table: MemoryShard(indexes.get(table, ())) for table in tables}
        self._next_offsets: dict[str, int] = {}
        # Held by whoever reads from another thread, and by every change.
        self._reading = threading.Lock()
        self._closed = False

    def shard(self, table: str) -> MemoryShard:
        """The shard of `table`; the same object each time."""
        return self._shards[table]

    def write(
        self,
        changes: Mapping[str, Mapping[bytes, bytes | None]],
        changelog_next_offsets: Mapping[str, int],
        passed: AllPassed = NOT_PASSED,
    ) -> None:
        """Apply one commit."""
        with self._reading:
            for table, rows in changes.items():
                self._shards[table].apply(rows)
                for part in passed.get(table, ()):
                    self._shards[table].assert_passed(part, rows)
        self._next_offsets.update(changelog_next_offsets)

    def changelog_next_offset(self, table: str) -> int | None:
        """The changelog offset to restore from; None: this shard is empty and has never been restored."""
        return self._next_offsets.get(table)

    def restore(self, table: str, records: Iterable[tuple[bytes, bytes | None]], next_offset: int) -> None:
        """Apply a batch of changelog records in changelog order (later ones win) and remember `next_offset`."""
        with self._reading:
            self._shards[table].apply(dict(records))
        self._next_offsets[table] = next_offset

    def forget(self, table: str) -> None:
        """Empty the shard and its offset, before a restore from the beginning."""
        with self._reading:
            self._shards[table].clear()
        self._next_offsets.pop(table, None)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While this is held, another thread may read the shards. Raises StoreClosed."""
        with self._reading:
            if self._closed:
                raise StoreClosed
            yield

    def close(self) -> None:
        """Refuse other threads from now on; the rows go with the object."""
        with self._reading:
            self._closed = True
