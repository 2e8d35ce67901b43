"""Ranges: the rows of a shard in order, as an event sees them: what is committed under all that is not.

    the event's own writes, those of others, staged, in flight      keys in order, kept here while somebody scans
    the store                                                        pages
    ------------------------------------------------------------------------------------------------------
    merged by key; what is deleted above is hidden below

A key above hides the row below, whatever became of it; what it holds now is asked of the shard when the scan comes to
it. So a scan has the keys of the moment at which it began, and each with the value that it has when it is its turn: it
ends though its reader writes rows ahead of it, and skips what its reader has deleted.

Nothing here is called by a write. Keys that were written since the last scan are found at the end of the dicts that
note them, and everything is sorted anew when a cut, a commit or a rollback has changed what is there: a scan costs what
changed since the last one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat
from typing import Any, Protocol

from ..indexes import Index, order_of
from ..stores import Shard
from .rows import RowCoder

# A page of the store begins with so many rows, since most ranges are short, and grows by that factor up to the last.
FIRST_ROWS = 32
GROWTH = 8
PAGE_ROWS = 1000
# So many new keys are put in their places one by one; more are sorted in.
INSERTS_MAX = 50
Row = tuple[bytes, bytes | None]
Changes = dict[bytes, bytes | None]


class Written(Protocol):
    """Identities of keys, in the order in which they were written or handed out; none is ever taken out."""

    @property
    def dirty(self) -> dict[Any, Any]: ...

    @property
    def touched(self) -> dict[Any, int | None]: ...


class Layers(Written, Protocol):
    """What lies above a store: a `CachedShard`."""

    store: Shard
    coder: RowCoder
    staged: Changes
    inflight: Changes

    @property
    def views(self) -> Sequence[Written]: ...

    def read_store(self, read: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call it, and say so when the store fails."""
        ...

    def uncommitted(self) -> Changes:
        """All that is not committed."""
        ...


class Ranges:
    """The orders of one shard: that of its keys, and its indexes."""

    __slots__ = ("_generations", "_indexed", "_indexes", "_keys", "_noted", "_orders", "_shard", "order")

    def __init__(self, shard: Layers, indexes: Sequence[Index]) -> None:
        self._shard = shard
        self._indexes = {index.name: index for index in indexes}
        # What the rows lie in the order of, where that is not their keys.
        self.order = order_of(indexes)
        # The generations that what follows was made of, and how many keys were staged. None: nothing was scanned yet.
        self._generations: tuple[object, int, object] = (None, 0, None)
        # The dicts that note what is written, and how many of their keys are below.
        self._noted: list[tuple[dict[Any, Any], int]] = []
        # Row keys that may not be committed, each with how many were there before it.
        self._keys: dict[bytes, int] = {}
        # The same in order: by key (None), and by each index that needs no values.
        self._orders: dict[str | None, list[bytes]] = {}
        # Of each such index: how many of the keys are in it. Those that came since are put there when it is scanned.
        self._indexed: dict[str, int] = {}

    # Scans

    def rows(
        self, start: bytes | None, end: bytes | None, *, reverse: bool = False, rows_max: int | None = None
    ) -> Iterator[Row]:
        """Keys of [start, end) in order; the value that the store has, or None: memory has to be asked.

        rows_max: how many are wanted, as far as that is known. Rows that lie in another order can only be read in that,
        and all of them.
        """
        if self.order is not None:
            assert (start, end) == (None, None), "only whole keys are looked up in such a table"
            for _, key, value in self.entries(self.order.name, None, None, reverse=reverse, rows_max=rows_max):
                yield key, value
            return
        self._sync()
        shard = self._shard
        above = _slice(self._orders[None], start, end, reverse=reverse)
        for rows in _page_sizes(rows_max):
            inflight = shard.inflight
            page = shard.read_store(shard.store.scan, start, end, reverse=reverse, rows_max=rows)
            for key, value in _merge(page, above, reverse=reverse):
                # Behind a commit that landed meanwhile, what was read is old.
                yield key, value if shard.inflight is inflight else None
            if len(page) < rows:
                break
            start, end = _behind(page[-1][0], start, end, reverse=reverse)
        yield from zip(above, repeat(None))

    def entries(
        self, name: str, start: bytes | None, end: bytes | None, *, reverse: bool = False, rows_max: int | None = None
    ) -> Iterator[tuple[bytes, bytes, bytes | None]]:
        """(place, key, value) in the order of an index; the value as in `rows`."""
        self._sync()
        index, shard = self._indexes[name], self._shard
        if index.by_key:
            ordered, hidden = self._index_order(index), self._keys
        else:
            # A pass over all that is not committed. What was handed out and not changed is where the store has it.
            changes = shard.uncommitted()
            ordered = sorted(entry for key, value in changes.items() if (entry := index.entry(key, value)) is not None)
            hidden = dict.fromkeys(changes, -1)
        count = len(hidden)
        above = _slice(ordered, start, end, reverse=reverse)
        for rows in _page_sizes(rows_max):
            inflight = shard.inflight
            found = self._below(index, start, end, reverse, rows)
            # Of rows that were not committed when the scan began, those above are right.
            page = [row for row in found if hidden.get(row[0][index.width :], count) >= count]
            if index is not self.order:
                values = shard.read_store(shard.store.multi_get, [entry[index.width :] for entry, _ in page])
                page = [(entry, value) for (entry, _), value in zip(page, values, strict=True)]
            for entry, value in _merge(page, above, reverse=reverse):
                yield *index.split(entry), value if shard.inflight is inflight else None
            if len(found) < rows:
                break
            start, end = _behind(found[-1][0], start, end, reverse=reverse)
        for entry in above:
            yield *index.split(entry), None

    def _below(self, index: Index, start: bytes | None, end: bytes | None, reverse: bool, rows: int) -> list[Row]:
        """A page of the store: entries, with what their rows hold if they lie in that order."""
        shard = self._shard
        if index is self.order:
            return list(shard.read_store(shard.store.scan_order, start, end, reverse=reverse, rows_max=rows))
        found = shard.read_store(shard.store.scan_index, index.name, start, end, reverse=reverse, rows_max=rows)
        return [(place + key, None) for place, key in found]

    def first_entries(
        self, name: str, start: bytes | None, rows_max: int, *, is_store_enough: bool
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """The first (place, key) of an index from `start` on, also of rows whose deletion is not committed.

        is_store_enough: rows that are not committed are further back, so no order of them is needed.

        Returns:
            They, and whether the store has them and what they hold, but for what was deleted or changed since.
        """
        shard = self._shard
        if is_store_enough and self._indexes[name].by_key:
            return list(shard.read_store(shard.store.scan_index, name, start, rows_max=rows_max)), True
        rows = islice(self.entries(name, start, None, rows_max=rows_max), rows_max)
        return [(place, key) for place, key, _ in rows], False

    def key_from(self, name: str, place: bytes) -> Any:
        """The key of the first row from that place in an index on, which may be deleted by now; None: there is none."""
        found = next(self.entries(name, place, None, rows_max=1), None)
        return None if found is None else self._shard.coder.decode_key(found[1])

    # What is not committed

    def _sync(self) -> None:
        shard = self._shard
        generations = shard.staged, len(shard.staged), shard.inflight
        staged, count, inflight = self._generations
        if shard.staged is not staged or len(shard.staged) != count or shard.inflight is not inflight:
            self._generations = generations
            self._noted = []
            self._keys = {}
            self._orders = {None: []} | {index.name: [] for index in self._indexes.values() if index.by_key}
            self._indexed = dict.fromkeys(self._indexes, 0)
            self._add((*shard.staged, *shard.inflight))
        noted = [shard.dirty, shard.touched]
        for view in shard.views:
            noted += view.dirty, view.touched
        new: list[bytes] = []
        for at, written in enumerate(noted):
            known = self._noted[at] if at < len(self._noted) else None
            count = known[1] if known is not None and known[0] is written else 0
            if count < len(written):
                # A dict has its keys in the order in which they came, and of these none is ever taken out.
                new += [shard.coder.key_bytes(key) for key in islice(reversed(written), len(written) - count)]
        self._noted = [(written, len(written)) for written in noted]
        if new:
            self._add(new)

    def _add(self, keys: Iterable[bytes]) -> None:
        fresh: list[bytes] = []
        for key in keys:
            if key not in self._keys:
                self._keys[key] = len(self._keys)
                fresh.append(key)
        _insert(self._orders[None], fresh)

    def _index_order(self, index: Index) -> list[bytes]:
        """The order of an index that needs no values, with all keys that there are."""
        ordered, count = self._orders[index.name], self._indexed[index.name]
        if count < len(self._keys):
            fresh = islice(reversed(self._keys), len(self._keys) - count)
            _insert(ordered, [entry for key in fresh if (entry := index.entry(key, b"")) is not None])
            self._indexed[index.name] = len(self._keys)
        return ordered


def _insert(ordered: list[bytes], entries: list[bytes]) -> None:
    if len(entries) > INSERTS_MAX:
        ordered += entries
        ordered.sort()
    else:
        for entry in entries:
            insort(ordered, entry)


def _page_sizes(rows_max: int | None) -> Iterator[int]:
    rows = FIRST_ROWS if rows_max is None else max(1, min(rows_max, FIRST_ROWS))
    while True:
        yield rows
        rows = min(rows * GROWTH, PAGE_ROWS)


def _behind(last: bytes, start: bytes | None, end: bytes | None, *, reverse: bool) -> tuple[bytes | None, bytes | None]:
    """The rest of a range, of which `last` was read last."""
    return (start, last) if reverse else (last + b"\0", end)


def _slice(entries: list[bytes], start: bytes | None, end: bytes | None, *, reverse: bool) -> deque[bytes]:
    """Those of [start, end), in the order of the scan."""
    first = 0 if start is None else bisect_left(entries, start)
    found = entries[first : len(entries) if end is None else bisect_left(entries, end)]
    return deque(reversed(found) if reverse else found)


def _merge(page: Iterable[Row], above: deque[bytes], *, reverse: bool) -> Iterator[Row]:
    """A page of the store, and of the entries above (with None) those that come before its last; they are taken out."""
    for entry, value in page:
        while above and (above[0] > entry if reverse else above[0] < entry):
            yield above.popleft(), None
        if above and above[0] == entry:
            yield above.popleft(), None
        else:
            yield entry, value
