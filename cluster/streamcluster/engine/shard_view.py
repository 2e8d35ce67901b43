"""ShardView: a shard as one coroutine has it. It notes what the coroutine wrote, until its events are finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ..dates import date_of, undated
from ..loops import do_items_in_c
from ..tables import IMMUTABLE, Table
from ..times import NO_TIME, time_of
from . import row_dates
from .cache_budget import Noted
from .event_time.operator_time import OperatorTime
from .rows import DELETED
from .shards import CachedShard
from .watched import Watched

_NOT_HERE: Any = object()


class ShardView:
    """A shard as one coroutine has it: it sees what all see, and notes what it wrote and which objects it was handed.

    A commit takes what views have settled. So an event in progress that has written nothing holds up nobody.
    """

    __slots__ = (
        "_lent",
        "_memory",
        "_shard",
        "absent",
        "awake",
        "deleted",
        "dirty",
        "identity",
        "is_new_in_order",
        "is_settled",
        "key_from",
        "latest",
        "notes",
        "objects",
        "part",
        "plain",
        "read_identities",
        "read_keys",
        "stamps",
        "time",
        "touched",
        "values",
        "watched",
    )
    is_at_event = True
    versions = None

    def __init__(self, shard: CachedShard, time: OperatorTime | None = None) -> None:
        """time: of the timed operator that the table belongs to."""
        self._shard = shard
        self.time = time
        # What it is at an event (resting_view.py).
        self.awake: type = ShardView
        # A key as the methods below take it.
        self.identity = shard.coder.identity
        # Of a table of windows: how a key is written without its window.
        self.part = shard.coder.part
        self._memory = shard.memory
        # The keys of rows, and as those methods take them.
        self.read_keys = shard.coder.read_keys
        self.read_identities = partial(shard.coder.read_identities, known=shard.values)
        self.is_new_in_order = shard.memory.is_new_in_order
        self.key_from = shard.ranges.key_from
        self.values = shard.values
        self.objects = shard.objects
        self.absent = shard.absent
        self._lent = shard.lent
        self.deleted = shard.deleted
        # What a table of plain values is read from and written to at an event, beside `dirty`: for C.
        self.plain = self.values, self.objects, self.deleted, self.absent
        self.dirty: dict[Any, Any] = {}
        # Nothing in it has a later date. In a list, for those who write in their own frame and keep it.
        self.latest = [NO_TIME]
        # With the time of the event, as far as that was said: of dated rows.
        self.touched: dict[Any, int | None] = {}
        # Copies that events were handed.
        self.watched = Watched(shard.coder)
        # What operators know of the rows beside them, uncommitted ones too.
        self.notes: dict[str, Noted] = {}
        # A finished event has written this key, and no cut has it yet.
        self.is_settled: Callable[[Any], bool] = lambda key: key in shard.dirty
        # Of which time, in ms, changes are where somebody has said it: the changelog has that, and not the commit's.
        self.stamps: dict[Any, int] = {}
        shard.views.append(self)

    # What a table calls

    def read(self, key: Any) -> Any:
        """The value of `key`, or the default that was lent out for it; KeyError when there is neither."""
        try:
            return self.values[key]
        except KeyError:
            pass
        if key in self.objects:
            self.touched[key] = None
            return self.objects[key]
        if key in self.absent:
            raise KeyError(key)
        value = self._shard.load(key)
        if type(value) not in IMMUTABLE:
            self.touched[key] = None
        return value

    def is_new(self, key: Any, index: str, place: int) -> bool:
        """No row has this key, which is at that place of an index by time: known without a look into the store.

        To be asked before each write of a row that memory does not have, in such a table.
        """
        shard = self._shard
        memory = shard.memory
        if place > memory.newest:
            if memory.newest == NO_TIME:
                found = shard.read_store(shard.store.scan_index, index, reverse=True, rows_max=1)
                memory.newest = memory.lacks_upto = time_of(found[0][0]) if found else NO_TIME
            memory.newest = max(memory.newest, place)
        return place > memory.lacks_upto and not (key in self.values or key in self.objects or key in memory.old)

    def stored(self, key: Any) -> Any:
        """The value of `key`; KeyError when there is none. A default that nobody changed does not count."""
        value = self.read(key)
        if self._lent and self._shard.is_unchanged_default(key, value):
            raise KeyError(key)
        return value

    def write(self, key: Any, value: Any) -> None:
        """Set `key`; visible at once, committed with the current event."""
        if type(value) in IMMUTABLE:
            if self.objects and key in self.objects:
                self._shard.drop_object(key)
            self.values[key] = value
        else:
            self.values.pop(key, None)
            self.objects[key] = value
            self._lent.pop(key, None)
        if self.deleted:
            self.deleted.discard(key)
        self.dirty[key] = value

    def write_at(self, key: Any, value: Any, at: int) -> None:
        """Set `key` of a dated table at an event of that time: the row's date is the largest of those."""
        before = self.dirty.get(key)
        self.write(key, value)
        if at > self.latest[0]:
            self.latest[0] = at
        self.dirty[key] = value, (at if before is None or before is DELETED or before[1] < at else before[1])

    def hand(self, key: Any, at: int) -> None:
        """The value of `key` of a dated table, which was read, may be changed in place at an event of that time."""
        if key in self.touched:
            before = self.touched[key]
            self.touched[key] = at if before is None or before < at else before
            if (pair := self.dirty.get(key)) is not None and pair is not DELETED and pair[1] < at:
                self.dirty[key] = pair[0], at
                self.latest[0] = max(self.latest[0], at)

    def date(self, key: Any) -> int:
        """The date of an entry of a dated table that was read or written."""
        return row_dates.of(self._shard, key)

    def copy(self, key: Any, value: Any) -> Any:
        """What the value of `key` is after a crash: an object of its own."""
        return self._shard.copy(key, value)

    def delete(self, key: Any) -> None:
        """Remove `key`; KeyError when there is none."""
        self.stored(key)
        self.discard(key)

    def expire(self, data: bytes) -> None:
        """Remove the entry of a row key, unless it was written since the last cut.

        What another event has been handed, and may change in place yet, counts as written now.
        """
        shard = self._shard
        key = shard.coder.identity_of_row(data)
        if key in shard.dirty or any(key in view.dirty for view in shard.views) or shard.is_changed(key):
            return
        if key in self.objects and any(key in view.touched for view in shard.views):
            self.write(key, self.objects[key])
        else:
            self.discard(key)

    def discard_all(self, keys: Sequence[Any]) -> None:
        """`discard` for each of them."""
        self._shard.memory.forget_all(keys)
        if self._lent:
            for key in keys:
                self._lent.pop(key, None)
        self.deleted.update(keys)
        self.dirty.update(dict.fromkeys(keys, DELETED))

    def discard(self, key: Any) -> None:
        """Remove `key`, without a look whether it is there."""
        memory = self._memory
        # What is found in neither has no date: of very many rows that come due most are in memory no more.
        was_here = self.values.pop(key, _NOT_HERE) is not _NOT_HERE
        if memory.old:
            was_here = memory.old.pop(key, _NOT_HERE) is not _NOT_HERE or was_here
        if was_here and memory.dates:
            memory.dates.pop(key, None)
        if self.objects or memory.baseline:
            memory.forget(key)
        if self._lent:
            self._lent.pop(key, None)
        self.deleted.add(key)
        self.dirty[key] = DELETED

    def lend(self, key: Any, value: Any) -> None:
        """Keep a default that was handed out for a missing key, if it is changed in place before the next cut."""
        self._lent[key] = self._shard.coder.encode_of(key, value)
        self.objects[key] = value
        self.touched[key] = None

    def rows(self) -> Iterator[tuple[Any, Any]]:
        """Every entry."""
        return self._shard.rows()

    def delete_range(self, start: bytes | None = None, end: bytes | None = None, *, rows_max: int | None = None) -> int:
        """Remove the entries of a range of row keys, [start, end), the first `rows_max`; how many were removed.

        Each is a deletion of its own, in the changelog and in the store: so it is committed with the current event and
        rolled back with it, a replay does the same, and what it costs is the number of entries. What has more to
        remove than one commit should carry, says rows_max and goes on in a later event or commit.
        """
        shard, removed = self._shard, 0
        for data, encoded in shard.ranges.rows(start, end, rows_max=rows_max):
            if rows_max is not None and removed >= rows_max:
                break
            key = shard.coder.identity_of_row(data)
            try:
                if encoded is None or shard.is_known(key, data):
                    self.delete(key)
                else:
                    self.discard(key)
            except KeyError:
                continue
            removed += 1
        return removed

    def row_key(self, key: Any) -> bytes:
        """A key as the changelog has it."""
        coder = self._shard.coder
        return coder.key_bytes(coder.identity(key))

    # What operators call: ranges, by the bytes of row keys and of places in an index.

    def scan(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """Entries of a range of row keys, [start, end). Values are the table's own: changed in place, they are kept.

        rows_max: how many will be taken, if that is known: no more are read ahead.
        """
        shard = self._shard
        for data, encoded in shard.ranges.rows(start, end, reverse=reverse, rows_max=rows_max):
            key = shard.coder.decode_key(data)
            try:
                value = self._value(shard.coder.identity_of_row(data), data, encoded)
            except KeyError:
                continue
            yield key, value

    def scan_index(
        self,
        name: str,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int | None = None,
    ) -> Iterator[tuple[bytes, Any, Any]]:
        """(place, key, value) of a range of places in an index, [start, end); values as in `scan`."""
        shard = self._shard
        for place, data, encoded in shard.ranges.entries(name, start, end, reverse=reverse, rows_max=rows_max):
            key = shard.coder.decode_key(data)
            try:
                value = self._value(shard.coder.identity_of_row(data), data, encoded)
            except KeyError:
                continue
            yield place, key, value

    def scan_dated(
        self,
        name: str,
        start: bytes,
        end: bytes,
        prefix: bytes,
        *,
        reverse: bool = False,
        rows_max: int | None = None,
    ) -> Iterator[tuple[Any, Any, int]]:
        """(key, value, date) of a range of places in an index of a dated table; values as in `scan`.

        prefix: what the row keys begin with; others in that range are left out.
        """
        shard = self._shard
        for _, data, encoded in shard.ranges.entries(name, start, end, reverse=reverse, rows_max=rows_max):
            if not data.startswith(prefix):
                continue
            key = shard.coder.decode_key(data)
            identity = shard.coder.identity_of_row(data)
            is_known = encoded is None or shard.is_known(identity, data)
            try:
                value = self._value(identity, data, encoded)
            except KeyError:
                continue
            yield key, value, row_dates.of(shard, identity) if is_known or encoded is None else date_of(encoded)

    def _value(self, key: Any, data: bytes, encoded: bytes | None) -> Any:
        """The value of a row that a scan found; KeyError when there is none any more."""
        shard = self._shard
        if encoded is None or shard.is_known(key, data):
            return self.stored(key)
        value = shard.coder.decode(data, undated(encoded) if shard.dated else encoded)
        if type(value) in IMMUTABLE:
            # Not into the cache: a long scan would drive out what is read by key.
            return value
        self.touched[key] = None
        return shard.keep(key, data, encoded)

    # What the engine calls

    def settle(self) -> None:
        """The events behind what was noted here are finished: the next cut takes it."""
        _settle(self.notes)
        shard = self._shard
        if self.dirty:
            if not shard.dirty:
                shard.dirty, self.dirty = self.dirty, {}
            else:
                # Two coroutines wrote the same key: what is there now came last.
                both = {key: shard.current(key) for key in shard.dirty.keys() & self.dirty.keys()}
                shard.dirty.update(self.dirty)
                shard.dirty.update(both)
                self.dirty = {}
            self.latest[0] = NO_TIME
        if self.touched:
            if shard.dated:
                row_dates.merge(shard.touched, self.touched)
            else:
                shard.touched.update(self.touched)
            self.touched = {}
        if self.stamps:
            shard.stamps.update(self.stamps)
            self.stamps.clear()

    def has_written(self) -> bool:
        """The events that are not settled have changed something, or somebody has changed what they were handed."""
        return bool(self.dirty) or any(map(self._shard.is_changed, self.touched))

    def check(self) -> None:
        """Raise UnencodableEntry when something that is not settled cannot be committed."""
        _settle(self.notes)
        self._shard.check(self.dirty, self.touched)

    def forget(self) -> None:
        """A rollback: nothing was written."""
        self.notes = {}
        self.watched.forget()
        self.dirty = {}
        self.latest[0] = NO_TIME
        self.touched = {}
        self.stamps.clear()


def columns_of(view: ShardView) -> tuple[Any, ...]:
    """What `discard` takes a row out of, and puts it into, for those who do the same in C."""
    memory = view._memory
    return view.values, memory.old, memory.dates, view.objects, memory.baseline, view._lent, view.deleted


def _settle(notes: dict[str, Noted]) -> None:
    """Have written what operators write of their own when events are finished."""
    for note in [*notes.values()] if notes else ():
        note.settle()


do_items_in_c(Table, ShardView)
