"""What tables ask of the engine that runs them: shards, those of this worker, and the event time of an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from .batch import Column
from .current import Cursor
from .ids import TP


class LiveTime(Protocol):
    """The event time of an operator in one task, in ms: committed <= finished <= now()."""

    committed: int
    finished: int
    # What `bounds` says is the same while this is.
    looks: int

    def now(self, cursor: Cursor) -> int:
        """At the event in hand."""
        ...

    def bounds(self, tp: TP) -> tuple[int, int]:
        """T at an event of a partition is its watermark there, but no less and no more than these; until one awaits."""
        ...

    def expect(self, place: int) -> None:
        """A row was written that comes due when time reaches its place in the index."""
        ...

    def count_late(self) -> None:
        """The event in hand came too late."""
        ...


class VersionsShard(Protocol):
    """A shard of a table with history=, by keys as LiveShard has them. time: in ms; None: that of the event in hand."""

    def stored_at(self, key: Any, time: int | None) -> Any:
        """The value at that time, the caller's own; KeyError when there was none."""
        ...

    def write_at(self, key: Any, time: int | None, value: Any) -> None:
        """Have this be the value from that time on, until the next version."""
        ...

    def delete_at(self, key: Any, time: int | None) -> None:
        """Have there be nothing from that time on, until the next version."""
        ...


class LiveShard(Protocol):
    """What a table needs of the engine's cache for one task.

    values: decoded, immutable values; objects: those that can be changed in place; absent: keys that have nothing,
    unless they are in one of these; deleted: keys; dirty: what this event wrote. Only as long as `is_at_event` may they
    be written to.
    """

    values: dict[Any, Any]
    objects: dict[Any, Any]
    absent: set[Any]
    deleted: set[Any]
    dirty: dict[Any, Any]
    # What operators know of the rows; empty again after a rollback.
    notes: dict[str, Any]
    # A finished event has written this key, and no cut has it yet.
    is_settled: Callable[[Any], bool]
    # Of which time, in ms, changes are: where nobody says it, of that of their commit.
    stamps: dict[Any, int]

    @property
    def is_at_event(self) -> bool: ...

    @property
    def time(self) -> LiveTime | None:
        """Of the operator that the table belongs to; None: it goes by no event time."""
        ...

    @property
    def versions(self) -> VersionsShard | None:
        """Of a table with history=."""
        ...

    def discard(self, key: Any) -> None:
        """Remove a key, without a look whether it is there."""
        ...

    def discard_all(self, keys: Sequence[Any]) -> None:
        """`discard` for each of them."""
        ...

    def read_keys(self, rows: Column[bytes]) -> tuple[Sequence[Any], Sequence[Any]]:
        """The keys of rows, and as the other methods take them. Raises UndecodableRow."""
        ...

    def read_identities(self, rows: Column[bytes]) -> Sequence[Any]:
        """The same without the keys, of which those are not decoded again that memory has. Raises UndecodableRow."""
        ...

    def identity(self, key: Any) -> Any:
        """A key as the other methods take it: those of SIMPLE_KEYS are that already."""
        ...

    def read(self, key: Any) -> Any:
        """The value of a key, or the default that was lent out for it; KeyError when there is neither."""
        ...

    def stored(self, key: Any) -> Any:
        """The value of a key; KeyError when there is none, also when an unchanged default is lent out."""
        ...

    def write(self, key: Any, value: Any) -> None: ...

    def delete(self, key: Any) -> None:
        """Remove an entry that exists."""
        ...

    def expire(self, data: bytes) -> None:
        """Remove the entry of a row key, unless it is being written: then it counts as written."""
        ...

    def delete_range(self, start: bytes | None = None, end: bytes | None = None, *, rows_max: int | None = None) -> int:
        """Remove the entries of a range of row keys; how many."""
        ...

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, rows_max: int | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """Entries of a range of row keys, [start, end). rows_max: no more will be taken."""
        ...

    def scan_index(
        self,
        name: str,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int | None = None,
    ) -> Iterator[tuple[bytes, Any, Any]]:
        """(place, key, value) in the order of an index."""
        ...

    def lend(self, key: Any, value: Any) -> None:
        """`value` is a default handed out for a missing key: keep it when it is changed in place."""
        ...

    def rows(self) -> Iterator[tuple[Any, Any]]:
        """All entries, in the order of the rows' keys."""
        ...


class WholeShard(Protocol):
    """A shard that is gone through."""

    def rows(self) -> Iterator[tuple[Any, Any]]:
        """All entries, in the order of the rows' keys."""
        ...


class ReadableShard(Protocol):
    """What is read of a shard outside of events, by the keys of users."""

    def stored(self, key: Any) -> Any:
        """The value of a key; KeyError when there is none."""
        ...


class LocalShards(Protocol):
    """All shards of one table that this worker has: what code outside of events reads."""

    def find(self, key: Any) -> ReadableShard | None:
        """The local shard that has `key`'s entry, or None."""
        ...

    def all(self) -> Sequence[WholeShard]: ...

    def timed(self, operator: str) -> Sequence[tuple[WholeShard, int]]:
        """The same, with the operator's time as of the last commit, in ms."""
        ...

    def stored_at(self, key: Any, time: int) -> Any:
        """The value of a key of users at a time, in ms; KeyError: there was none.

        Raises:
            NoVersion: no local shard has versions of it.
        """
        ...
