"""What `table.as_of(time)` is: the entries of a table with history= as they were then. Knows no rows (versions.py)."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

from .errors import AppError
from .live_shards import LiveShard, VersionsShard
from .times import MS_MAX

# Of what is asked for without a default.
_NONE: Any = object()


class NoVersion(Exception):
    """An entry has no versions at all: it was not written since the table keeps them, or never."""


class VersionedTable(Protocol):
    """What is needed of the table."""

    name: str
    default: Callable[[], Any] | None
    shard_var: ContextVar[LiveShard]

    def shard_to_write(self) -> LiveShard:
        """The shard of the running task."""
        ...

    def stored_at(self, key: Any, time: int) -> Any:
        """The value at that time outside of agents; KeyError when there was none."""
        ...


def time_ms(what: str, moment: float | datetime) -> int:
    """A moment in ms since the epoch. A datetime without a zone is UTC: hosts may be in several zones.

    Raises:
        ValueError: it is none. It may be an event's: that one fails, and the app goes on.
    """
    try:
        if isinstance(moment, datetime):
            seconds = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
        else:
            seconds = float(moment)
        return min(max(round(seconds * 1000), -MS_MAX), MS_MAX)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{what}({moment!r}): give seconds since 1970, or a datetime.") from error


class AsOf:
    """Made by `table.as_of(time)`. time: in ms; None: that of the event in hand.

    In an agent entries can be written too: that is their version of this time, whatever came before.
    """

    __slots__ = ("_table", "_time")

    def __init__(self, table: VersionedTable, time: int | None) -> None:
        self._table = table
        self._time = time

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key, _NONE)
        if value is not _NONE:
            return value
        if self._table.default is None:
            raise KeyError(key)
        return self._table.default()

    def get(self, key: Any, default: Any = None) -> Any:
        """The value at that time, or `default`; the table's own default is not used. It is the caller's own."""
        try:
            shard = self._table.shard_var.get(None)
            if shard is not None:
                return self._versions(shard).stored_at(shard.identity(key), self._time)
            if self._time is None:
                raise AppError(f"table {self._table.name!r}: as_of() without a time is for agents: there is no event.")
            return self._table.stored_at(key, self._time)
        except KeyError:
            return default

    def __contains__(self, key: Any) -> bool:
        return self.get(key, _NONE) is not _NONE

    def __setitem__(self, key: Any, value: Any) -> None:
        shard = self._table.shard_to_write()
        self._versions(shard).write_at(shard.identity(key), self._time, value)

    def __delitem__(self, key: Any) -> None:
        shard = self._table.shard_to_write()
        self._versions(shard).delete_at(shard.identity(key), self._time)

    def _versions(self, shard: LiveShard) -> VersionsShard:
        assert shard.versions is not None, f"{self._table.name} keeps versions, and its shard does not"
        return shard.versions
