"""VersionedView: a coroutine's view of a table with history=, which notes a version of whatever its events write.

    write at an event --- the version of the event's time ---> view of the versions
                      --- unless a later version is there ---> view of the table

An event that has read an entry before it writes it goes on from the newest: what it writes is the newest then, of the
event's time or, if that is later, of the version's that it read. So `table[key] += 1` counts each event, and a plain
assignment is put where its time is. What an event changes in place counts as written when the event is finished.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from ..as_of import NoVersion
from ..current import Cursor, Run, cursor_var
from ..errors import AppError, UnencodableEntry
from ..live_shards import LiveShard
from ..tables import IMMUTABLE, Table
from ..times import NO_TIME
from ..versions import newest_time, version_at, version_key, version_row, versions_name
from .event_time.operator_time import OperatorTime
from .event_time.task_time import TaskTime
from .reading_view import ReadingView
from .rows import DELETED
from .shard_view import ShardView
from .shards import CachedShard

logger = logging.getLogger("streamcluster")
# The note of a view of versions that is of this.
_EVENT = "event"


@dataclass(slots=True)
class _Event:
    """An event that uses the table. place: which it is; time: in ms; finish: what is called when it has ended.

    read: keys whose newest value it has been given, or has written; handed: of those, what it may change in place, as
    that was.
    """

    place: tuple[Run | None, int]
    time: int
    finish: Callable[[], None]
    read: set[Any] = field(default_factory=set)
    handed: dict[Any, bytes] = field(default_factory=dict)

    def held_bytes(self) -> int:
        """What it takes counts as the event's own."""
        return 0

    def shrink(self, part: float) -> None:
        """All of it is needed until the event ends, which is soon."""

    def settle(self) -> None:
        """The event has ended."""
        self.finish()


def scan_of(shard: CachedShard) -> Callable[..., Iterator[tuple[bytes, bytes]]]:
    """Scans rows whose keys and values are bytes, those that are not committed too."""

    def scan(start: bytes, end: bytes, **options: Any) -> Iterator[tuple[bytes, bytes]]:
        for row_key, value in shard.ranges.rows(start, end, **options):
            if value is not None and not shard.is_known(row_key, row_key):
                yield row_key, value
                continue
            with suppress(KeyError):
                yield row_key, shard.stored(row_key)

    return scan


class VersionedView:
    """What a LiveShard is, around two views. `values` and its like are empty, so that all goes through the methods."""

    __slots__ = (
        "_coder",
        "_history",
        "_is_said",
        "_scan",
        "_time",
        "_versions",
        "_view",
        "absent",
        "deleted",
        "dirty",
        "identity",
        "is_settled",
        "notes",
        "objects",
        "read_identities",
        "read_keys",
        "stamps",
        "time",
        "values",
    )
    is_at_event = False

    def __init__(
        self, view: ShardView, versions: ShardView, history: int, shards: tuple[CachedShard, CachedShard]
    ) -> None:
        """shards: of the table, and of its versions. history: in ms."""
        self._view = view
        self._versions = versions
        self._history = history
        self._coder = shards[0].coder
        self._scan = scan_of(shards[1])
        self._is_said = False
        self.identity = view.identity
        self.read_keys = view.read_keys
        self.read_identities = view.read_identities
        self.is_settled = view.is_settled
        self.time: OperatorTime | None = view.time
        self.values: dict[Any, Any] = {}
        self.objects: dict[Any, Any] = {}
        self.absent: set[Any] = set()
        self.deleted: set[Any] = set()
        self.dirty: dict[Any, Any] = {}
        self.notes: dict[str, Any] = {}
        self.stamps = view.stamps

    @property
    def versions(self) -> VersionedView:
        """Itself."""
        return self

    # The event in hand

    def _event(self) -> _Event | None:
        """None: there is none. What the one before has changed in place is noted."""
        cursor = cursor_var.get()
        if cursor is None or not self._view.is_at_event:
            return None
        event = cast("_Event | None", self._versions.notes.get(_EVENT))
        place = _place_of(cursor)
        if event is None or event.place != place:
            self._finish()
            event = self._versions.notes[_EVENT] = _Event(place, _time_of(cursor), self._finish)
        return event

    def _finish(self) -> None:
        """The event is finished: what it has changed in place is written."""
        event = cast("_Event | None", self._versions.notes.pop(_EVENT, None))
        if event is not None:
            for key in event.handed:
                self._note_change(event, key)

    def _note_change(self, event: _Event, key: Any) -> None:
        """The event may have changed in place what it was handed."""
        if key not in event.handed or key not in self._view.objects:
            return
        # What cannot be encoded is said at the cut, of the entry itself.
        with suppress(UnencodableEntry):
            encoded = self._coder.encode_of(key, self._view.objects[key])
            if encoded != event.handed[key]:
                data = self._coder.key_bytes(key)
                self._put(data, max(event.time, newest_time(self._scan, data), self._oldest()), encoded)
                event.handed[key] = encoded

    def _put(self, key: bytes, time: int, value: bytes | None) -> None:
        # Also of an event that was finished a moment ago.
        ShardView.write(self._versions, version_key(key, time), version_row(value))
        if self.time is not None:
            self.time.expect(time)

    def _note(self, event: _Event | None, key: Any, value: Any) -> None:
        if event is not None:
            event.read.add(key)
            if type(value) not in IMMUTABLE and key not in event.handed:
                event.handed[key] = self._coder.encode_of(key, value)

    # Versions

    def stored_at(self, key: Any, time: int | None) -> Any:
        """The value at that time, a copy; KeyError when there was none."""
        event, data = self._event(), self._coder.key_bytes(key)
        if time is None:
            if event is None:
                raise AppError(f"table {self._coder.name!r}: as_of() without a time: there is no event in hand.")
            time = event.time
        if event is not None:
            self._note_change(event, key)
        try:
            encoded = version_at(self._scan, data, time, self._oldest())
        except NoVersion:
            value = self._view.stored(key)
            if type(value) in IMMUTABLE:
                return value
            encoded = self._coder.encode_of(key, value)
        if encoded is None:
            raise KeyError(key)
        return self._coder.decode(data, encoded)

    def write_at(self, key: Any, time: int | None, value: Any) -> None:
        """Have this be the value from that time on, until the next version."""
        self._write(key, value, time)

    def delete_at(self, key: Any, time: int | None) -> None:
        """Have there be nothing from that time on, until the next version."""
        self._write(key, DELETED, time)

    def _oldest(self) -> int:
        """Nobody asks for what was replaced before that time."""
        cursor = cursor_var.get()
        if self.time is None or cursor is None:
            return NO_TIME
        return self.time.now(cursor) - self._history

    def _refuse(self, key: Any) -> None:
        if self.time is not None:
            self.time.count_late()
        if not self._is_said:
            self._is_said = True
            logger.warning(
                "table %s: a version of %r came later than history=%g s and is left out; it is counted as late, and "
                "later ones are not said",
                self._coder.name,
                self._coder.key_of(key),
                self._history / 1000,
            )

    def _write(self, key: Any, value: Any, time: int | None = None, *, goes_on: bool = False) -> None:
        """A version that the event in hand writes. goes_on: the event says what follows what it has read."""
        event = self._event()
        if event is None:
            self._view.write(key, value)
            raise AssertionError("a write without an event is refused")
        data = self._coder.key_bytes(key)
        newest, oldest = newest_time(self._scan, data), self._oldest()
        at = event.time if time is None else time
        if goes_on and key in event.read:
            # Not before what has been closed: there nobody asks, and nothing comes due.
            at = max(at, newest, oldest)
        elif at < oldest:
            self._refuse(key)
            return
        self._put(data, at, None if value is DELETED else self._coder.encode_of(key, value))
        if at < newest:
            return
        self.stamps[key] = at
        event.handed.pop(key, None)
        if value is DELETED:
            self._view.discard(key)
            event.read.add(key)
        else:
            self._view.write(key, value)
            self._note(event, key, value)

    # What a table calls

    def read(self, key: Any) -> Any:
        """As of a ShardView."""
        event = self._event()
        try:
            value = self._view.read(key)
        except KeyError:
            self._note(event, key, None)
            raise
        self._note(event, key, value)
        return value

    def stored(self, key: Any) -> Any:
        """As of a ShardView."""
        event = self._event()
        try:
            value = self._view.stored(key)
        except KeyError:
            self._note(event, key, None)
            raise
        self._note(event, key, value)
        return value

    def lend(self, key: Any, value: Any) -> None:
        """As of a ShardView."""
        self._view.lend(key, value)
        self._note(self._event(), key, value)

    def write(self, key: Any, value: Any) -> None:
        """Set `key`: see the file's text."""
        self._write(key, value, goes_on=True)

    def delete(self, key: Any) -> None:
        """Remove `key`; KeyError when there is none."""
        self._view.stored(key)
        self._write(key, DELETED, goes_on=True)

    def discard(self, key: Any) -> None:
        """Remove `key`, without a look whether it is there."""
        self._write(key, DELETED, goes_on=True)

    def discard_all(self, keys: Sequence[Any]) -> None:
        """`discard` for each of them."""
        for key in keys:
            self.discard(key)

    def expire(self, data: bytes) -> None:
        """A table that keeps versions has no ttl=."""
        raise AssertionError(f"{data!r} does not expire")

    def delete_range(self, start: bytes | None = None, end: bytes | None = None, *, rows_max: int | None = None) -> int:
        """As of a ShardView, and each is a version."""
        if not self._view.is_at_event:
            return self._view.delete_range(start, end, rows_max=rows_max)
        keys = [self.identity(key) for key, _ in self._view.scan(start, end, rows_max=rows_max)][:rows_max]
        for key in keys:
            self._note(self._event(), key, None)
            self.discard(key)
        return len(keys)

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, rows_max: int | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """As of a ShardView."""
        for key, value in self._view.scan(start, end, reverse=reverse, rows_max=rows_max):
            self._note(self._event(), self.identity(key), value)
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
        """As of a ShardView."""
        return self._view.scan_index(name, start, end, reverse=reverse, rows_max=rows_max)

    def rows(self) -> Iterator[tuple[Any, Any]]:
        """As of a ShardView."""
        for key, value in self._view.rows():
            if (event := self._event()) is not None:
                event.read.add(self.identity(key))
            yield key, value


def make_views(
    shards: Mapping[str, CachedShard], tables: Mapping[str, Table[Any, Any]], time: TaskTime | None, unit: str
) -> tuple[list[ShardView], dict[str, LiveShard]]:
    """The views of one coroutine, and what its tables see: those with history= know their versions.

    unit: whose coroutine it is: tables that only another one writes it can only read.
    """
    times = {} if time is None else time.operators
    views = {name: ShardView(shard, times.get(tables[name].timed)) for name, shard in shards.items()}
    for name, view in views.items():
        if shards[name].writer not in ("", unit):
            view.awake = ReadingView
    seen: dict[str, LiveShard] = {**views}
    for name, view in views.items():
        if (history := tables[name].history_ms) is not None:
            beside = versions_name(name)
            seen[name] = VersionedView(view, views[beside], history, (shards[name], shards[beside]))
    return [*views.values()], seen


def _place_of(cursor: Cursor) -> tuple[Run | None, int]:
    """What is another for each event, or batch of events, of a coroutine between two cuts."""
    if cursor.kept.handed_out:
        run, index = cursor.kept.events[-1]
        return run, index
    return cursor.run, cursor.consumed_count()


def _time_of(cursor: Cursor) -> int:
    if cursor.kept.handed_out:
        return cursor.kept.time()
    run, index = cursor.run, cursor.index()
    if run is None or index is None:
        raise AppError(f"{cursor.owner!r} is at no event whose time a version could have.")
    return run.batch.timestamps[run.start + index]
