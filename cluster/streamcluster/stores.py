"""What the engine needs of a store: one store per task, holding all shards of the task and their changelog offsets.

Two implementations: `MemoryStore` here, and RocksDB in `streamcluster_worker.shard`. One conformance suite runs on both
(tests/stores). Keys and values are the bytes that the changelog has; the engine encodes and decodes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from .errors import StreamclusterError


class StoreFailed(StreamclusterError):
    """A store cannot be read or written: the disk's fault or the operator's, never that of the event at hand."""


class Shard(Protocol):
    """One table's part for one task: reads only. Each method may raise StoreFailed."""

    def get(self, key: bytes) -> bytes | None:
        """The committed value, or None."""
        ...

    def scan(self, after: bytes | None = None, *, rows_max: int = 1000) -> list[tuple[bytes, bytes]]:
        """Rows in key order (bytewise), those with key > after (all when None), at most rows_max."""
        ...


class TaskStore(Protocol):
    """All shards of one task."""

    def shard(self, table: str) -> Shard:
        """The shard of `table`; the same object each time."""
        ...

    def write(
        self, changes: Mapping[str, Mapping[bytes, bytes | None]], changelog_next_offsets: Mapping[str, int]
    ) -> None:
        """Apply one commit in one atomic write (I2).

        Args:
            changes: table -> key -> value; None deletes the key.
            changelog_next_offsets: table -> the changelog offset to read next when the tail is replayed.
        """
        ...

    def changelog_next_offset(self, table: str) -> int | None:
        """The changelog offset to restore from; None: this shard is empty and has never been restored."""
        ...

    def restore(self, table: str, records: Sequence[tuple[bytes, bytes | None]], next_offset: int) -> None:
        """Apply changelog records in changelog order (later ones win) and remember `next_offset`, atomically."""
        ...

    def forget(self, table: str) -> None:
        """Empty the shard and its offset, before a restore from the beginning."""
        ...

    def close(self) -> None:
        """Release every handle, so that another process may open the store."""
        ...


class MemoryShard:
    """One table's rows in a dict."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """The committed value, or None."""
        return self.rows.get(key)

    def scan(self, after: bytes | None = None, *, rows_max: int = 1000) -> list[tuple[bytes, bytes]]:
        """Rows in key order, those with key > after (all when None), at most rows_max. Costs a pass over all keys."""
        later = self.rows if after is None else (key for key in self.rows if key > after)
        return [(key, self.rows[key]) for key in heapq.nsmallest(rows_max, later)]


class MemoryStore:
    """A store that lives as long as its process: for tests, and for tables that are quick to restore."""

    __slots__ = ("_next_offsets", "_shards")

    def __init__(self, tables: Sequence[str]) -> None:
        self._shards = {table: MemoryShard() for table in tables}
        self._next_offsets: dict[str, int] = {}

    def shard(self, table: str) -> MemoryShard:
        """The shard of `table`; the same object each time."""
        return self._shards[table]

    def write(
        self, changes: Mapping[str, Mapping[bytes, bytes | None]], changelog_next_offsets: Mapping[str, int]
    ) -> None:
        """Apply one commit."""
        for table, rows in changes.items():
            self._apply(table, rows.items())
        self._next_offsets.update(changelog_next_offsets)

    def changelog_next_offset(self, table: str) -> int | None:
        """The changelog offset to restore from; None: this shard is empty and has never been restored."""
        return self._next_offsets.get(table)

    def restore(self, table: str, records: Sequence[tuple[bytes, bytes | None]], next_offset: int) -> None:
        """Apply a batch of changelog records in changelog order (later ones win) and remember `next_offset`."""
        self._apply(table, records)
        self._next_offsets[table] = next_offset

    def forget(self, table: str) -> None:
        """Empty the shard and its offset, before a restore from the beginning."""
        self._shards[table].rows.clear()
        self._next_offsets.pop(table, None)

    def close(self) -> None:
        """Nothing to release: the rows go with the object."""

    def _apply(self, table: str, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        target = self._shards[table].rows
        for key, value in rows:
            if value is None:
                target.pop(key, None)
            else:
                target[key] = value
