"""CachedShard: the write-back cache of decoded values before one table's part of one task, and the views of it.

Four generations: what coroutines wrote since they last settled (in their views), `dirty` since the last cut, `staged`
in the open transaction, `inflight` while a commit carries it; the store behind them only ever has committed state (I2).
A rollback drops the memory, and the next read finds the committed state again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from typing import Any, Protocol

from .. import dated_rows
from ..dates import HELD_BYTES, date_of, dated, undated
from ..errors import ReadOnlyTable, UndecodableRow, UnencodableEntry
from ..indexes import Index
from ..operated import Lapsed
from ..stores import Shard, StoreFailed
from ..tables import IMMUTABLE
from . import row_dates
from .ahead import KEYS_MAX, ReadAhead
from .cache_budget import Noted, ShardMemory
from .ranges import Ranges
from .rows import DELETED, Changes, RowCoder

# So many keys that have nothing are remembered, beside those of one look ahead: several coroutines look for themselves.
ABSENT_MAX = 16 * KEYS_MAX
_NOT_HERE: Any = object()


class View(Protocol):
    """What the shard looks at of a view of it."""

    dirty: dict[Any, Any]
    touched: dict[Any, int | None]
    notes: dict[str, Noted]

    def forget(self) -> None:
        """A rollback: nothing was written."""
        ...


class CachedShard:
    """One table's part of one task. Invariant: a key that was written and is not staged is in the cache or `deleted`.

    `values`, `objects`, `absent`, `lent` and `deleted` are shared with the views: they are changed in place, never
    replaced. Keys are identities here (`rows.py`), but for those that `rows` gives.
    """

    __slots__ = (
        "_ahead",
        "_check",
        "_failed",
        "_row_bytes_max",
        "_stamped",
        "absent",
        "baseline",
        "coder",
        "dated",
        "deleted",
        "dirty",
        "inflight",
        "lent",
        "memory",
        "name",
        "objects",
        "ranges",
        "sealed_stamps",
        "staged",
        "stamps",
        "store",
        "touched",
        "values",
        "views",
        "writer",
    )

    def __init__(
        self,
        store: Shard,
        coder: RowCoder,
        row_bytes_max: int,
        check: Callable[[int], None],
        failed: Callable[[StoreFailed], None] | None = None,
        indexes: Sequence[Index] = (),
        *,
        dated: bool = False,
        writer: str = "",
    ) -> None:
        """failed: called when the store cannot be read, before the reader is told. indexes: those of the store.

        dated: its rows have dates; see `row_dates.py`. writer: the agent that alone may write it; "": all may.
        """
        self.name = coder.name
        self.store = store
        # check: called with the size of a row above row_bytes_max, which its changelog would not take; it raises.
        self._row_bytes_max = row_bytes_max
        self._check = check
        self._failed = failed
        self.coder = coder
        self.dated = dated
        self.writer = writer
        # Each adds itself.
        self.views: list[View] = []
        # Immutable values by key; the hot path reads this and nothing else.
        self.memory = ShardMemory(self._uncommitted, partial(_noted, self.views))
        self.values = self.memory.values
        # Values that can be changed in place, with the encoding that each was last known by.
        self.objects = self.memory.objects
        self.baseline = self.memory.baseline
        self.absent = self.memory.absent
        # Defaults handed out for missing keys and not written, as they were then.
        self.lent: dict[Any, bytes | None] = {}
        # Keys deleted since the cut.
        self.deleted: set[Any] = set()
        # What finished events wrote since the cut, and which objects they were handed.
        self.dirty: dict[Any, Any] = {}
        self.touched: dict[Any, int | None] = {}
        # The times of changes, where somebody has said them: by key, and by row key of what is staged, and sealed.
        self.stamps: dict[Any, int] = {}
        self._stamped: dict[bytes, int] = {}
        self.sealed_stamps: dict[bytes, int] = {}
        self.staged: Changes = {}
        self.inflight: Changes = {}
        self.ranges = Ranges(self, indexes)
        self._ahead = ReadAhead()

    def _uncommitted(self) -> Iterable[Any]:
        """The keys that are written or may be changed in place, and not staged yet."""
        views = [keys for view in self.views for keys in (view.dirty, view.touched)]
        return chain(self.dirty, self.touched, *views)

    # Reading

    def load(self, key: Any) -> Any:
        """Bring the value of `key` into the cache, or make it young there; KeyError when there is none."""
        if key in self.deleted:
            raise KeyError(key)
        ahead = self._ahead.keys(key, self.coder.identity)
        if ahead:
            self._look_ahead(ahead)
            if key in self.values:
                return self.values[key]
            if key in self.objects:
                return self.objects[key]
            if key in self.absent:
                raise KeyError(key)
        if key in self.memory.old:
            return self.memory.recall(key)
        data = self.coder.key_bytes(key)
        encoded = self.staged.get(data, self.inflight.get(data, _NOT_HERE))
        if encoded is _NOT_HERE:
            encoded = self.read_store(self.store.get, data)
        if encoded is None:
            raise KeyError(key)
        return self.keep(key, data, encoded)

    def _look_ahead(self, keys: list[Any]) -> None:
        """Bring what these keys have into the cache, or make it young there, and note which have nothing."""
        lacking = set(keys).difference(self.values)
        if self.objects:
            lacking.difference_update(self.objects)
        self._ahead.learn(len(keys), len(lacking))
        unknown = lacking.difference(self.memory.old)
        for key in lacking - unknown:
            self.memory.recall(key)
        staged, inflight, unknown = self.staged, self.inflight, unknown.difference(self.deleted, self.absent)
        try:
            rows = dict(zip(self.coder.row_keys([*unknown]), unknown, strict=True))
        except Exception:  # noqa: BLE001 (codecs are user code; the event whose key it is will be told)
            return
        # In order, since neighbours are in one block.
        wanted = sorted([row for row in rows if row not in staged and row not in inflight])
        if len(self.absent) > ABSENT_MAX:
            self.absent.clear()
        for row, encoded in zip(wanted, self.read_store(self.store.multi_get, wanted), strict=True):
            if encoded is None:
                self.absent.add(rows[row])
            else:
                with suppress(UndecodableRow, UnencodableEntry):  # Its own event will be told.
                    self.keep(rows[row], row, encoded)

    def keep(self, key: Any, data: bytes, encoded: bytes) -> Any:
        """Bring a row that was read into the cache."""
        size = len(data) + len(encoded)
        if self.dated:
            self.memory.dates[key] = date_of(encoded)
            encoded, size = undated(encoded), size + HELD_BYTES
        value = self.coder.decode(data, encoded)
        self.memory.came(size, 1)
        if type(value) in IMMUTABLE:
            self.values[key] = value
        else:
            self.objects[key] = value
            # A row that was migrated is written when it is changed, not when it is read.
            self.baseline[key] = self.coder.encode_of(key, value) if self.coder.migrates else encoded
        return value

    def read_store(self, read: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return read(*arguments, **options)
        except StoreFailed as error:
            # User code may swallow it: the state is not to be trusted all the same.
            if self._failed is not None:
                self._failed(error)
            raise

    def stored(self, key: Any) -> Any:
        """The value of `key` for a reader that changes nothing; KeyError when there is none."""
        value = self.values.get(key, self.objects.get(key, _NOT_HERE))
        if value is _NOT_HERE:
            value = self.load(key)
        if self.is_unchanged_default(key, value):
            raise KeyError(key)
        return value

    def is_unchanged_default(self, key: Any, value: Any) -> bool:
        """`value` was handed out for a missing key, and nobody has written or changed it."""
        return key in self.lent and self.coder.encode_of(key, value) == self.lent[key]

    def rows(self) -> Iterator[tuple[Any, Any]]:
        """Every entry, in the order of the rows' keys; values are the reader's own."""
        for data, encoded in self.ranges.rows(None, None):
            key = self.coder.decode_key(data)
            identity = self.coder.identity_of_row(data)
            if encoded is not None and not self.is_known(identity, data):
                yield key, self.coder.decode(data, undated(encoded) if self.dated else encoded)
                continue
            try:
                value = self.stored(identity)
            except KeyError:
                continue
            yield key, value if type(value) in IMMUTABLE else self.copy(identity, value)

    def is_known(self, key: Any, data: bytes) -> bool:
        """Memory has the entry, or that there is none: what the store has does not count, or need not be read."""
        return (
            key in self.values
            or key in self.objects
            or key in self.deleted
            or key in self.memory.old
            or data in self.staged
            or data in self.inflight
        )

    def uncommitted(self) -> Changes:
        """All that is not committed, finished or not. Raises as `encoded_changes`."""
        touched = dict(chain(self.touched.items(), *(view.touched.items() for view in self.views)))
        dirty = {**self.dirty, **{key: None for view in self.views for key in view.dirty}}
        written = {key: self.current(key) for key in dirty}
        return {**self.inflight, **self.staged, **self._encoded(written, touched)}

    def copy(self, key: Any, value: Any) -> Any:
        """What the value of `key` is after a crash: an object of its own."""
        return self.coder.decode(self.coder.key_bytes(key), self.coder.encode_of(key, value))

    # Changing

    def current(self, key: Any) -> Any:
        """What memory has for a key that was written."""
        if key in self.deleted:
            return DELETED
        value = self.values[key] if key in self.values else self.objects[key]
        return (value, row_dates.of(self, key)) if self.dated else value

    def drop_object(self, key: Any) -> None:
        """Forget the object of `key`: it was deleted, replaced or evicted."""
        self.objects.pop(key, None)
        self.baseline.pop(key, None)
        self.lent.pop(key, None)

    # Committing

    def dirty_count(self) -> int:
        """Entries that the next cut looks at."""
        return len(self.dirty) + len(self.touched)

    def encoded_changes(self) -> Changes:
        """What finished events changed since the last cut. Changes nothing here.

        Raises:
            BaseException: a value cannot be encoded (codecs are user code), or its row is too large for the changelog.
        """
        changes = self._encoded(self.dirty, self.touched)
        # Keys and values apart: an upper bound that costs two passes in C. What is above it is looked at row by row.
        bound = max(map(len, changes), default=0) + max(map(len, filter(None, changes.values())), default=0)
        if bound > self._row_bytes_max:
            for data, value in changes.items():
                self._check(len(data) + len(value or b""))
        return changes

    def lapse(self, lapsed: Lapsed, now: int) -> int:
        """Forget rows that were written since the last cut and that nobody needs any more: they are never written.

        Returns how many these were.
        """
        gone = lapsed(self.dirty, now)
        if self.dated:
            gone = row_dates.uncut(self, gone)
        elif not (self.staged.keys().isdisjoint(gone) and self.inflight.keys().isdisjoint(gone)):
            return 0
        if gone:
            # Another dict: whoever has noted how far he has read this one begins anew.
            self.dirty = dated_rows.without(self.dirty, gone)
            self.memory.forget_all(gone)
        return len(gone)

    def check(self, dirty: dict[Any, Any], touched: Iterable[Any]) -> None:
        """Raise UnencodableEntry for the first of these entries that cannot be committed."""
        for key in {**dirty, **dict.fromkeys(touched)}:
            try:
                for data, value in self._encoded({key: dirty[key]} if key in dirty else {}, {key: None}).items():
                    self._check(len(data) + len(value or b""))
            except UnencodableEntry:
                raise
            except BaseException as error:
                value = dirty[key] if key in dirty else self.objects.get(key)
                if self.dated and type(value) is tuple and key in dirty:
                    value = value[0]
                raise UnencodableEntry(self.name, self.coder.key_of(key), error, value) from error

    def is_changed(self, key: Any) -> bool:
        """The object of `key`, which was handed out, is no more what the last cut or load knew."""
        if key not in self.objects:
            return False
        try:
            return self.coder.encode(self.objects[key]) != self._known(key)
        except BaseException:  # noqa: BLE001 (codecs are user code; what was known could be encoded)
            return True

    def _known(self, key: Any) -> bytes | None:
        return self.lent[key] if key in self.lent else self.baseline.get(key)

    def _encoded(self, dirty: dict[Any, Any], touched: Mapping[Any, int | None]) -> Changes:
        encode, dates = self.coder.encode, self.memory.dates
        changes = row_dates.encoded(self.coder, dirty, dates) if self.dated else self.coder.rows_of(dirty)
        for key in touched:
            # A default that was handed out behind a deletion, and changed, is what is left in the end.
            if key not in self.objects or (key in dirty and dirty[key] is not DELETED):
                continue
            encoded = encode(self.objects[key])
            if encoded != self._known(key):
                if self.writer:
                    raise ReadOnlyTable(self.name, self.coder.key_of(key))
                if self.dated:
                    encoded = dated(encoded, row_dates.latest(dates, touched, key))
                changes[self.coder.key_bytes(key)] = encoded
        return changes

    def stage(self, changes: Changes) -> None:
        """`changes`, which `encoded_changes` gave, are in the open transaction now."""
        in_use = {key for view in self.views for key in view.touched}
        if self.dated:
            row_dates.note(self.memory.dates, self.dirty, self.deleted)
        # A table of plain values has no objects, and may have written many thousands of keys.
        for key in self.objects.keys() & (self.dirty.keys() | self.touched.keys()) if self.objects else ():
            data = self.coder.key_bytes(key)
            if (encoded := changes.get(data)) is not None:
                if self.dated:
                    self.memory.dates[key], encoded = date_of(encoded), undated(encoded)
                self.baseline[key] = encoded
                self.lent.pop(key, None)
            elif key in self.lent and key not in in_use:
                self.drop_object(key)
        self.dirty, self.touched = {}, {}
        self.deleted.clear()
        if changes:
            if self.staged:
                self.staged |= changes
            else:
                self.staged = changes
            sample = list(islice(changes.items(), 100))
            size = sum(len(data) + len(value or b"") for data, value in sample)
            size += HELD_BYTES * len(sample) * self.dated
            self.memory.came(size * len(changes) // len(sample), len(changes))
        self._stamped |= {self.coder.key_bytes(key): time for key, time in self.stamps.items()}
        self.stamps = {}

    def seal(self) -> Changes:
        """What is staged is in the commit that starts now."""
        assert not self.inflight, "one commit at a time"
        self.inflight, self.staged = self.staged, {}
        self.sealed_stamps, self._stamped = self._stamped, {}
        return self.inflight

    def committed(self) -> None:
        """The last commit is in the store."""
        self.inflight = {}

    def rollback(self) -> None:
        """Forget everything that is not committed; no commit with it may be in flight."""
        assert not self.inflight, "a store is written only behind its commit"
        self.memory.clear()
        self.lent.clear()
        self.deleted.clear()
        self.dirty, self.touched, self.staged = {}, {}, {}
        self.stamps, self._stamped = {}, {}
        for view in self.views:
            view.forget()


def _noted(views: Sequence[View]) -> list[Noted]:
    """What operators know of the rows."""
    return [one for view in views for one in view.notes.values()]
