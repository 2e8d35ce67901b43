"""What windows need of the table that keeps them, and of its part in a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from ..checks import Seconds
from ..codecs.table_coding import KeyPart
from ..current import Cursor
from ..dates import Deleted
from ..indexes import Index
from ..operated import Lapsed
from ..times import Closing
from ..topics import Topic
from .kinds import Span
from .late import Place

# These cannot be changed in place.
PLAIN = frozenset({int, float, str, bytes, bool, type(None), complex})


class Time(Protocol):
    """The event time of the table's operator."""

    finished: int
    # Of places from this one on `expect` need not be told.
    told: int

    def now(self, cursor: Cursor) -> int:
        """At the event in hand, in ms; at least `finished`."""
        ...

    def expect(self, place: int) -> None:
        """A row that ends there was written."""
        ...

    def count_late(self) -> None:
        """The event in hand came too late."""
        ...


class Watched(Protocol):
    """Copies that events were handed."""

    def is_first(self, place: Place | None) -> bool:
        """Whether this is the first that is told of the event there."""
        ...

    def copy(self, key: Any, value: Any, place: Place, changed: Callable[[], None]) -> Any:
        """A copy for the event at `place`: `changed` is called when that has changed it in place."""
        ...


class Shard(Protocol):
    """As `tables.LiveShard`, with what windows use."""

    values: dict[Any, Any]
    objects: dict[Any, Any]
    deleted: set[Any]
    dirty: dict[Any, Any]
    # What operators know of the rows; empty again after a rollback.
    notes: dict[str, Any]
    # Of which time changes are, where somebody says it.
    stamps: dict[Any, int]
    # Of one number: nothing in `dirty` has a later date.
    latest: list[int]
    # How a key is written without its window.
    part: KeyPart | None

    @property
    def is_at_event(self) -> bool: ...

    @property
    def time(self) -> Time | None: ...

    @property
    def watched(self) -> Watched: ...

    def identity(self, key: Any) -> Any:
        """A key as the other methods take it."""
        ...

    def row_key(self, key: Any) -> bytes:
        """A key as the changelog has it."""
        ...

    def is_new(self, key: Any, index: str, place: int) -> bool:
        """No row has this key, which is at that place of an index by time: known without a look into the store.

        Asked before each write of a row that is not in `values`.
        """
        ...

    def is_new_in_order(self, place: int) -> bool:
        """As `is_new`, of a key that is not in `values`. False: that is not known at once."""
        ...

    def stored(self, key: Any) -> Any:
        """The value of a key; KeyError when there is none."""
        ...

    def write_at(self, key: Any, value: Any, at: int) -> None:
        """Set a key at an event of that time: the row's date is the largest of those."""
        ...

    def hand(self, key: Any, at: int) -> None:
        """The value of a key, which was read, may be changed in place at an event of that time."""
        ...

    def date(self, key: Any) -> int:
        """The date of a row that was read or written."""
        ...

    def lend(self, key: Any, value: Any) -> None:
        """`value` is a default handed out for a missing key: keep it when it is changed in place."""
        ...

    def discard(self, key: Any) -> None:
        """Remove a key, without a look whether it is there."""
        ...

    def copy(self, key: Any, value: Any) -> Any:
        """The value of a key as an object of its own."""
        ...

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
        """(key, value, date) of a range of places in an index: rows whose keys begin with `prefix`, as bytes."""
        ...

    def key_from(self, name: str, place: bytes) -> Any:
        """The key of the first row from that place in an index on, which may be deleted by now; None: there is none."""
        ...

    def scan(self, start: bytes | None = None, end: bytes | None = None) -> Iterator[tuple[Any, Any]]:
        """Entries of a range of row keys."""
        ...


class KeepingTable(Protocol):
    """The table whose rows are windows."""

    name: str
    key_type: Any
    value_type: Any
    key_serializer: str | None
    value_serializer: str | None
    migrate: Callable[[Any], Any] | None
    # The app.
    owner: Any
    default: Callable[[], Any] | None
    shard_var: ContextVar[Any]
    # What this worker has of it, outside of events.
    local: Any
    closings: list[Closing]
    # Somebody wants to know of which time changes are.
    is_stamped: bool
    # What must not change while there are rows.
    definition: dict[str, int | str]
    # What is called with windows that are over, if that was said before there were any.
    window_close: Callable[..., Any] | None

    def on_recover(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """Have it called when a shard has been restored."""
        ...

    def beside(self, suffix: str, help: str) -> Any:
        """An internal table of the same keys and values. Called behind `code_keys`."""
        ...

    def code_keys(self, coding: Callable[[Any], Any], decoding_many: Callable[[Any], Any]) -> None:
        """Make the coders of its rows' keys of those of `key_type`; AppError when that was said before."""
        ...

    def merge_rows(self, merged: Any) -> None:
        """Have it tell what it has by rows of another form."""
        ...

    def shard_to_write(self) -> Any:
        """That of the running task; AppError where there is none."""
        ...

    def go_by(
        self,
        operator: str,
        indexes: Sequence[Index] = (),
        closings: Sequence[Closing] = (),
        definition: Mapping[str, int | str] | None = None,
        dated: Deleted | None = None,
    ) -> None:
        """Make it a table of an operator that goes by event time."""
        ...

    def close_by(self, closings: Sequence[Closing], lapsed: Lapsed | None) -> None:
        """Say anew what is done with rows that come due. lapsed: which need not be written (`Operated.lapsed`)."""
        ...

    def changes(self, every: Seconds | None = None, *, coding: Callable[[Any], Any] | None = None) -> Topic:
        """What is written to it. coding: as of `code_keys`, for those who are given it."""
        ...

    def items(self) -> Any:
        """(key, value) pairs."""
        ...

    def get(self, key: Any, default: Any = None) -> Any:
        """The stored value, or `default`."""
        ...

    def __missing__(self, key: Any) -> Any:
        """The default of a missing key; KeyError without one."""
        ...


class Windows(Protocol):
    """What a WindowSet needs of its table."""

    table: KeepingTable
    kind: Any
    grace: int

    def beside_shard(self) -> Shard:
        """What is kept beside the table in the running task."""
        ...

    def at(self) -> int:
        """The time of the event in hand, in ms, as the table takes it."""
        ...

    def wall(self) -> int:
        """The time of day, in ms."""
        ...

    def late(self, at: int, span: Span, now: int, place: Place | None = None) -> None:
        """The event in hand came when all of its windows were over, of which this is the last."""
        ...

    def merged(self, first: Any, second: Any) -> Any:
        """The value of two sessions that became one."""
        ...


def take_back(of: Windows, shard: Shard, identity: Any, span: Span) -> None:
    """Delete a window that is open.

    Where the table is joined, its changelog has this as of a time before the window began, which the deletion of a
    window that is over never is.
    """
    shard.discard(identity)
    if of.table.is_stamped:
        shard.stamps[identity] = span[0] - 1


def own_of(shard: Shard, identity: Any, value: Any, written: Iterable[tuple[Span, Any]]) -> Any:
    """The value, or a copy of it if other windows were given this very object: each has one, as after a crash."""
    if type(value) in PLAIN or all(value is not one for _, one in written):
        return value
    return shard.copy(identity, value)


def begin_of(of: Windows, key: Any) -> Any:
    """What a window has before its first event."""
    if of.table.default is None:
        raise KeyError(key)
    return of.table.default()
