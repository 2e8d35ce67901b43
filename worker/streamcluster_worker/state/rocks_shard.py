"""RocksShard: how one table's rows and their indexes are read from a task's database.

An iterator lives as long as one call: while one is there, RocksDB keeps the database locked, whoever closed it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any

from rocksdict import Rdict, RdictIter, ReadOptions

from streamcluster.indexes import Index

from .store_errors import store_error

# Of a scan that may be long so many rows are read one by one: most end there, and more cost it a second iterator.
FIRST_ROWS = 32
# So many are taken at a time after that.
PIECE_ROWS = 200


class RocksShard:
    """One table's part of a task's database: reads only.

    indexes: each with its column family; order: the one that is the order of the rows.
    """

    __slots__ = ("_family", "_indexes", "_order", "_path")

    def __init__(
        self, family: Rdict, path: Path, indexes: dict[str, tuple[Index, Rdict]], order: Index | None = None
    ) -> None:
        self._family = family
        self._path = path
        self._indexes = indexes
        self._order = order

    # Whoever keeps an error keeps the frames that it passed, and with `family` in one the database and its lock.
    def get(self, key: bytes) -> bytes | None:
        """The committed value, or None. Raises CorruptStore, StoreUnavailable: as `RocksStore.open` says."""
        family = self._family
        if self._order is not None:
            key = self._order.where(key)
        try:
            value: bytes | None = family.get(key)
        except Exception as error:
            del family
            raise store_error(self._path, error) from error
        return value

    def multi_get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The committed value of each key, or None."""
        if not keys:
            return []
        family = self._family
        try:
            # In raw mode values are bytes, and those of a list of keys come as a list.
            where: Any = list(keys) if self._order is None else self._order.where_all(keys)
            values: list[bytes | None] = family.get(where)  # type: ignore[assignment]
        except Exception as error:
            del family
            raise store_error(self._path, error) from error
        return values

    def scan(
        self,
        start: bytes | None = None,
        end: bytes | None = None,
        *,
        reverse: bool = False,
        rows_max: int = 1000,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows of [start, end), or in reverse: at most rows_max, and up to the one that reaches bytes_max."""
        rows = self._scan(start, end, reverse, rows_max, bytes_max)
        if self._order is None:
            return rows
        width = self._order.width
        return [(entry[width:], value) for entry, value in rows]

    def _scan(
        self, start: bytes | None, end: bytes | None, reverse: bool, rows_max: int, bytes_max: int | None
    ) -> list[tuple[bytes, bytes]]:
        family = self._family
        try:
            if reverse or rows_max <= FIRST_ROWS:
                return _read(family.iter(_options(end)), start, reverse, rows_max, bytes_max)
            return _read_many(family, start, end, rows_max, bytes_max)
        except Exception as error:
            del family
            raise store_error(self._path, error) from error

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
        return self._scan(start, self._order.end(end), reverse, rows_max, bytes_max)

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
            index, family, end = self._order, self._family, self._order.end(end)
        else:
            index, family = self._indexes[name]
        try:
            entries = _read_keys(family.iter(_options(end)), start, reverse, rows_max)
        except Exception as error:
            del family
            raise store_error(self._path, error) from error
        width = index.width
        return [(entry[:width], entry[width:]) for entry in entries]

    def reopen(self, family: Rdict, index: Index | None = None) -> None:
        """Read from `family` from now on: the column family (of the index) was dropped and made anew."""
        if index is None:
            self._family = family
        else:
            self._indexes[index.name] = index, family

    def tune(self, options: dict[str, str]) -> None:
        """Change RocksDB's options of these column families."""
        try:
            self._family.set_options(options)
            for _, family in self._indexes.values():
                family.set_options(options)
        except Exception as error:
            raise store_error(self._path, error) from error

    def release(self) -> None:
        """Let go of the database; reading afterwards is a mistake and raises AttributeError."""
        del self._family, self._indexes


def _options(end: bytes | None) -> ReadOptions:
    """The upper bound of a range; the lower one is ours: `set_iterate_lower_bound` of rocksdict 0.3 sets the upper."""
    options = ReadOptions()
    if end is not None:
        options.set_iterate_upper_bound(end)
    return options


def _seek(rows: RdictIter, start: bytes | None, reverse: bool) -> None:
    """Go to the first row of a scan."""
    if reverse:
        rows.seek_to_last()
    elif start is None:
        rows.seek_to_first()
    else:
        rows.seek(start)


def _read(
    rows: RdictIter, start: bytes | None, reverse: bool, rows_max: int, bytes_max: int | None
) -> list[tuple[bytes, bytes]]:
    """Not by `items`: that ends in silence where something cannot be read, and a second iterator costs 1.4 us."""
    found: list[tuple[bytes, bytes]] = []
    size = 0
    try:
        _seek(rows, start, reverse)
        while len(found) < rows_max and rows.valid():
            key, value = rows.key(), rows.value()
            if reverse and start is not None and key < start:
                return found
            found.append((key, value))
            size += len(key) + len(value)
            if bytes_max is not None and size >= bytes_max:
                return found
            if reverse:
                rows.prev()
            else:
                rows.next()
        rows.status()
        return found
    finally:
        # An error keeps this frame, and the frame would keep the iterator.
        del rows


def _read_many(
    family: Rdict, start: bytes | None, end: bytes | None, rows_max: int, bytes_max: int | None
) -> list[tuple[bytes, bytes]]:
    """As `_read`, where there may be many: those behind the first ones come by `items`, in 0.6 of the time.

    That ends in silence where something cannot be read, so what is behind its end is read by `_read`, which says it.
    """
    # In raw mode these are bytes.
    rows: Any = None
    try:
        found = _read(family.iter(_options(end)), start, False, FIRST_ROWS, bytes_max)
        if len(found) < FIRST_ROWS:
            return found
        size = 0 if bytes_max is None else sum(map(len, chain.from_iterable(found)))
        rows = family.items(from_key=found[-1][0] + b"\0", read_opt=_options(end))
        while len(found) < rows_max and (bytes_max is None or size < bytes_max):
            more = list(islice(rows, min(PIECE_ROWS, rows_max - len(found))))
            if not more:
                behind, left = found[-1][0] + b"\0", None if bytes_max is None else bytes_max - size
                return found + _read(family.iter(_options(end)), behind, False, rows_max - len(found), left)
            if bytes_max is not None:
                sizes = [*accumulate([len(key) + len(value) for key, value in more], initial=size)]
                del more[bisect_left(sizes, bytes_max) :]
                size = sizes[len(more)]
            found += more
        return found
    finally:
        # An error keeps this frame, and the frame would keep the iterator and the database.
        del rows, family


def _read_keys(rows: RdictIter, start: bytes | None, reverse: bool, rows_max: int) -> list[bytes]:
    """As `_read`, without values: a third less for what has none."""
    found: list[bytes] = []
    try:
        _seek(rows, start, reverse)
        while len(found) < rows_max and rows.valid():
            key = rows.key()
            if reverse and start is not None and key < start:
                return found
            found.append(key)
            if reverse:
                rows.prev()
            else:
                rows.next()
        rows.status()
        return found
    finally:
        # An error keeps this frame, and the frame would keep the iterator.
        del rows
