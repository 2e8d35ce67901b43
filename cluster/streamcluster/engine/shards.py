"""CachedShard: the write-back cache of decoded values before one table's part of one task.

Three generations: `dirty` since the last cut, `inflight` while a commit carries it, and the store behind them, which
only ever has committed state (I2). A rollback drops the memory, and the next read finds the committed state again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from ..stores import Shard
from ..tables import IMMUTABLE
from .cache_budget import ShardMemory

Encode = Callable[[Any], bytes | None]
Decode = Callable[[bytes], Any]
Changes = dict[bytes, bytes | None]


class _Deleted:
    __slots__ = ()


DELETED = _Deleted()
SCAN_ROWS = 1000


class CachedShard:
    """One table's part of one task. Invariant: a key in `dirty` or `inflight` is in the cache or was deleted."""

    __slots__ = (
        "_check",
        "_decode_value",
        "_encode_key",
        "_encode_value",
        "_row_bytes_max",
        "_store",
        "baseline",
        "decode_key",
        "dirty",
        "inflight",
        "lent",
        "memory",
        "objects",
        "touched",
        "values",
    )

    def __init__(
        self,
        store: Shard,
        key_coder: tuple[Encode, Decode],
        value_coder: tuple[Encode, Decode],
        row_bytes_max: int,
        check: Callable[[int], None],
    ) -> None:
        self._store = store
        # check: called with the size of a row above row_bytes_max, which its changelog would not take; it raises.
        self._row_bytes_max = row_bytes_max
        self._check = check
        # decode_key: a key from its bytes in the changelog.
        self._encode_key, self.decode_key = key_coder
        self._encode_value, self._decode_value = value_coder
        self.memory = ShardMemory(lambda: chain(self.dirty, self.touched))
        # Immutable values by key; the hot path reads this and nothing else.
        self.values = self.memory.values
        # Values that can be changed in place, with the encoding that each was last known by.
        self.objects = self.memory.objects
        self.baseline = self.memory.baseline
        # Defaults handed out for missing keys since the cut, as they were then.
        self.lent: dict[Any, bytes | None] = {}
        # What was written since the cut, and which objects were handed out since the cut.
        self.dirty: dict[Any, Any] = {}
        self.touched: dict[Any, Any] = {}
        self.inflight: Changes = {}

    # What a table calls

    def read(self, key: Any) -> Any:
        """The value of `key`, or the default that was lent out for it; KeyError when there is neither."""
        try:
            return self.values[key]
        except KeyError:
            pass
        if key in self.objects:
            value = self.touched[key] = self.objects[key]
            return value
        if key in self.memory.old:
            value = self.memory.recall(key)
            if type(value) not in IMMUTABLE:
                self.touched[key] = value
            return value
        return self._load(key)

    def stored(self, key: Any) -> Any:
        """The value of `key`; KeyError when there is none. A default that nobody changed does not count."""
        value = self.read(key)
        if key in self.lent and key not in self.dirty and self._encode_value(value) == self.lent[key]:
            raise KeyError(key)
        return value

    def _load(self, key: Any) -> Any:
        if self.dirty.get(key) is DELETED:
            raise KeyError(key)
        data = self._encode_key(key) or b""
        encoded = self.inflight[data] if data in self.inflight else self._store.get(data)
        if encoded is None:
            raise KeyError(key)
        value = self._decode_value(encoded)
        self.memory.came(len(data) + len(encoded), 1)
        if type(value) in IMMUTABLE:
            self.values[key] = value
        else:
            self.objects[key] = self.touched[key] = value
            self.baseline[key] = encoded
        return value

    def write(self, key: Any, value: Any) -> None:
        """Set `key`; visible at once, committed with the current event."""
        if type(value) in IMMUTABLE:
            if self.objects and key in self.objects:
                self._drop_object(key)
            self.values[key] = value
        else:
            self.values.pop(key, None)
            self.objects[key] = value
        self.dirty[key] = value

    def delete(self, key: Any) -> None:
        """Remove `key`; KeyError when there is none."""
        self.stored(key)
        self.memory.forget(key)
        self._drop_object(key)
        self.dirty[key] = DELETED

    def _drop_object(self, key: Any) -> None:
        for memory in (self.objects, self.touched, self.baseline, self.lent):
            memory.pop(key, None)

    def lend(self, key: Any, value: Any) -> None:
        """Keep a default that was handed out for a missing key, if it is changed in place before the next cut."""
        self.objects[key] = self.touched[key] = value
        self.lent[key] = self._encode_value(value)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        """Every entry: the store's rows under what memory has."""
        overlay = {**self.inflight, **self._encoded_changes()}
        after: bytes | None = None
        while True:
            page = self._store.scan(after, rows_max=SCAN_ROWS)
            for data, encoded in page:
                if data not in overlay:
                    yield self.decode_key(data), self._decode_value(encoded)
            if len(page) < SCAN_ROWS:
                break
            after = page[-1][0]
        for data, memory in overlay.items():
            if memory is not None:
                yield self.decode_key(data), self._decode_value(memory)

    def copy(self, value: Any) -> Any:
        """What `value` is after a crash: an object of its own."""
        return self._decode_value(self._encode_value(value) or b"")

    # What the engine calls

    def dirty_count(self) -> int:
        """Entries that the next cut looks at."""
        return len(self.dirty) + len(self.touched)

    def cut(self) -> Changes:
        """Take what changed since the last cut, encoded, for the commit that starts now."""
        changes = self._encoded_changes()
        # Keys and values apart: an upper bound that costs two passes in C. What is above it is looked at row by row.
        bound = max(map(len, changes), default=0) + max(map(len, filter(None, changes.values())), default=0)
        if bound > self._row_bytes_max:
            for data, value in changes.items():
                self._check(len(data) + len(value or b""))
        for key in self.objects.keys() & (self.dirty.keys() | self.touched.keys()):
            data = self._encode_key(key) or b""
            if data in changes:
                self.baseline[key] = changes[data]
            elif key in self.lent:
                del self.objects[key]
        self.lent.clear()
        self.dirty = {}
        self.touched = {}
        self.inflight = changes
        if changes:
            sample = list(islice(changes.items(), 100))
            size = sum(len(data) + len(value or b"") for data, value in sample)
            self.memory.came(size * len(changes) // len(sample), len(changes))
        return changes

    def _encoded_changes(self) -> Changes:
        encode_key, encode = self._encode_key, self._encode_value
        changes: Changes = {
            encode_key(key) or b"": None if value is DELETED else encode(value) for key, value in self.dirty.items()
        }
        for key, value in self.touched.items():
            if key in self.dirty:
                continue
            encoded = encode(value)
            if encoded != (self.lent[key] if key in self.lent else self.baseline.get(key)):
                changes[encode_key(key) or b""] = encoded
        return changes

    def committed(self) -> None:
        """The last cut is in the store."""
        self.inflight = {}

    def rollback(self) -> None:
        """Forget everything that is not committed; no commit may be in flight."""
        self.memory.clear()
        for memory in (self.lent, self.dirty, self.touched):
            memory.clear()
        self.inflight = {}
