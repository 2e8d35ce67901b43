"""Hopping windows with merge=, read from a store that may be another worker's: one, or page by page.

Pages have those of one key after the other, as its panes lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from ..codecs.table_coding import Pair
from ..dates import date_of, dated, undated
from ..stores import Shard, TaskStore
from .keys import BY_START, prefix_of, row_of, rows_of, span_of, within
from .panes import NOTHING, Panes, Part, latest_in, order_of

# Panes that are read at a time.
PANES = 500
Row = tuple[bytes, bytes]


def window_in(panes: Panes, store: TaskStore, row_key: bytes, value: Pair, now: int) -> bytes | None:
    """A window as a row, if the table has no row of it. Arguments as of `windows_behind`."""
    start, end = span_of(row_key)
    if not panes.is_window((start, end)) or not panes.is_kept(end, now):
        return None
    shard, prefix = store.shard(panes.rows.name), prefix_of(row_key)
    at, last = within(row_key, start - panes.size, start)
    keys: list[bytes] = []
    # Each page begins behind the one before.
    while found := shard.scan_index(BY_START, at, last):
        keys += [key for _, key in found if key.startswith(prefix)]
        at = b"".join(found[-1]) + b"\0"
    rows = [(key, row) for key, row in zip(keys, shard.multi_get(keys), strict=True) if row is not None]
    encode, decode = value
    parts = _parts(rows, decode)
    merged = panes.fold(parts, start, end)
    return None if merged is NOTHING else dated(encode(merged), latest_in(parts, start, end))


def windows_behind(panes: Panes, store: TaskStore, after: bytes | None, value: Pair, now: int) -> Iterator[list[Row]]:
    """Windows behind one, as rows, those of one key after the other; without those that the table has as rows.

    Args:
        panes: what merges them.
        after: the key of a window's row; None: from the first on.
        value: coders of values. now: T.
    """
    encode, decode = value
    shard, own = store.shard(panes.rows.name), store.shard(panes.name)
    start = None if after is None else rows_of(after)[0]
    for prefix, found in groupby(_all_from(shard, start), key=lambda row: prefix_of(row[0])):
        parts = _parts(found, decode)
        starts = sorted({at for part in parts for at in panes.starts_in(part.span)})
        if after is not None and prefix == prefix_of(after):
            starts = [at for at in starts if at > span_of(after)[0]]
        spans = [(at, at + panes.size) for at in starts if panes.is_kept(at + panes.size, now)]
        keys = [row_of(prefix, *span) for span in spans]
        rows: list[Row] = []
        for key, span, known in zip(keys, spans, own.multi_get(keys), strict=True):
            merged: Any = NOTHING if known is not None else panes.fold(parts, *span)
            if merged is not NOTHING:
                rows.append((key, dated(encode(merged), latest_in(parts, *span))))
        yield rows


def _parts(rows: Iterable[Row], decode: Callable[[bytes], Any]) -> list[Part]:
    return sorted([Part(span_of(key), decode(undated(row)), date_of(row)) for key, row in rows], key=order_of)


def _all_from(shard: Shard, start: bytes | None) -> Iterator[Row]:
    # Each page begins behind the one before.
    while found := shard.scan(start, rows_max=PANES):
        yield from found
        start = shard.behind(found[-1][0])
