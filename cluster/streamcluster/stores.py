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
from .indexes import Index

# Table -> its indexes.
Indexes = Mapping[str, Sequence[Index]]
NO_INDEXES: Indexes = MappingProxyType({})


class StoreFailed(StreamclusterError):
    """A store cannot be read or written: the disk's fault or the operator's, never that of the event at hand."""


class StoreClosed(Exception):
    """The store was closed before it could be read: its task is on its way to another owner."""


class Shard(Protocol):
    """One table's part for one task: reads only. Each method may raise StoreFailed.

    Ranges are half open, [start, end), and compared bytewise; None is no bound. So the next page begins behind the last
    key (key + b"\\0" as `start`), or, in reverse, ends at it (the key as `end`).
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
        self, changes: Mapping[str, Mapping[bytes, bytes | None]], changelog_next_offsets: Mapping[str, int]
    ) -> None:
        """Apply one commit in one atomic write (I2), the indexes of its tables with it.

        Args:
            changes: table -> key -> value; None deletes the key.
            changelog_next_offsets: table -> the changelog offset to read next when the tail is replayed.
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

    __slots__ = ("_added", "_indexes", "_ordered", "rows")

    def __init__(self, indexes: Sequence[Index] = ()) -> None:
        self.rows: dict[bytes, bytes] = {}
        # Keys in order, some of which may be deleted by now, and those that came since. None before the first scan.
        self._ordered: list[bytes] | None = None
        self._added: list[bytes] = []
        self._indexes = {index.name: (index, MemoryShard()) for index in indexes}

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

    def clear(self) -> None:
        """Have no row."""
        self.rows.clear()
        self._ordered, self._added = None, []
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
        self, changes: Mapping[str, Mapping[bytes, bytes | None]], changelog_next_offsets: Mapping[str, int]
    ) -> None:
        """Apply one commit."""
        with self._reading:
            for table, rows in changes.items():
                self._shards[table].apply(rows)
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
