"""The keys of a windowed table's rows: `[key, [start, end]]` in seconds, as Faust's changelogs have them.

In Python they are (key, start, end) in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar
from zlib import crc32

from .. import loops
from ..codecs.table_coding import Pair
from ..indexes import Index
from ..times import NO_TIME, PLACE_BYTES, place_of, time_of
from .kinds import Window, window_of

T = TypeVar("T")
BY_END = "end"
# By a checksum of the key, and then by end: the windows of one key in their order, and now and then one of another.
BY_KEY = "key"
# The same by start.
BY_START = "start"
_CHECKSUM_BYTES = 4
HEAD = b"["
_BETWEEN = b",["
# What is behind the keys of one key's rows, in the order of bytes.
_BEHIND = b",\\"
# No row ends in this.
_NO_TAIL = b"\0"
# Windows that are written at a time, of all keys.
_TAILS = 4096


@lru_cache(_TAILS)
def tail_of(start: int, end: int) -> bytes:
    """What the keys of a window's rows end in, behind `HEAD` and the key's own bytes."""
    return b",[%b,%b]]" % (repr(start / 1000).encode(), repr(end / 1000).encode())


def windowed(pair: Pair) -> Pair:
    """Coders of (key, start, end), by those of the key."""
    encode_key, decode_key = pair

    def encode(row: tuple[Any, int, int]) -> bytes:
        try:
            key, start, end = row
        except (TypeError, ValueError):
            raise TypeError("the table has windows: write and read them by what .tumbling(...) returned") from None
        return HEAD + encode_key(key) + tail_of(start, end)

    def decode(data: bytes) -> tuple[Any, int, int]:
        at = data.rindex(_BETWEEN)
        start, end = _span(data[at:])
        return decode_key(data[1:at]), start, end

    return encode, decode


def decoding_many(pair: Pair) -> Callable[[Iterable[bytes]], list[tuple[Any, int, int]]]:
    """What decodes many of them: rows that come due are mostly of one window, and so end in the same bytes."""
    _, decode_key = pair

    def decode(rows: Iterable[bytes]) -> list[tuple[Any, int, int]]:
        found: list[tuple[Any, int, int]] = []
        add = found.append
        tail, start, end, length = _NO_TAIL, 0, 0, 0
        for row in rows:
            if not row.endswith(tail):
                tail = row[row.rindex(_BETWEEN) :]
                start, end = _span(tail)
                length = -len(tail)
            add((decode_key(row[1:length]), start, end))
        return found

    return decode


@lru_cache(_TAILS)
def _span(tail: bytes) -> tuple[int, int]:
    start, end = tail[len(_BETWEEN) : -2].split(b",")
    return round(float(start) * 1000), round(float(end) * 1000)


def rows_of(row_key: bytes) -> tuple[bytes, bytes]:
    """Start and end of a scan over all windows of the key of a row."""
    beginning = row_key[: row_key.rindex(_BETWEEN)]
    return beginning + _BETWEEN, beginning + _BEHIND


def span_of(row_key: bytes) -> tuple[int, int]:
    """Start and end of the window of a row."""
    return _span(row_key[row_key.rindex(_BETWEEN) :])


def prefix_of(row_key: bytes) -> bytes:
    """What all rows of the key of a row begin with."""
    return row_key[: row_key.rindex(_BETWEEN)] + _BETWEEN


def row_of(prefix: bytes, start: int, end: int) -> bytes:
    """The key of a row, by what `prefix_of` gives."""
    return prefix[: -len(_BETWEEN)] + tail_of(start, end)


def within(row_key: bytes, first: int, last: int) -> tuple[bytes, bytes]:
    """Start and end of a scan by `BY_KEY` over windows of the key of a row whose ends are in [first, last].

    By `BY_START`: whose starts are.
    """
    checksum = _checksum(row_key[: row_key.rindex(_BETWEEN)])
    return checksum + place_of(first), checksum + place_of(last + 1)


def _checksum(beginning: bytes) -> bytes:
    return crc32(beginning).to_bytes(_CHECKSUM_BYTES, "big")


def in_windows(pair: Pair) -> Pair:
    """Coders of keys as agents are given them: (key, window)."""
    encode, decode = windowed(pair)

    def encode_window(row: Any) -> bytes:
        try:
            key, (start, end) = row
            return encode((key, round(start * 1000), round(end * 1000)))
        except (TypeError, ValueError):
            raise TypeError(f"{row!r} is no key of a table of windows: give (key, (start, end)), in seconds") from None

    def decode_window(data: bytes) -> tuple[Any, Window]:
        key, start, end = decode(data)
        return key, window_of((start, end))

    return encode_window, decode_window


def decoding_windows(pair: Pair) -> Callable[[Iterable[bytes]], list[tuple[Any, Window]]]:
    """What decodes many of them."""
    decode = decoding_many(pair)

    def decode_many(rows: Iterable[bytes]) -> list[tuple[Any, Window]]:
        return [(key, window_of((start, end))) for key, start, end in decode(rows)]

    return decode_many


def shown(pair: Pair) -> Pair:
    """Coders of keys as a person reads and writes them: (key, (start, end)) in seconds."""
    encode, decode = windowed(pair)

    def encode_shown(row: Any) -> bytes:
        if not (isinstance(row, tuple) and len(row) == 2 and isinstance(row[1], tuple) and len(row[1]) == 2):
            raise TypeError("the key of a window is [key, [start, end]], in seconds: '[\"a\", [0, 60]]'")
        key, (start, end) = row
        return encode((key, round(start * 1000), round(end * 1000)))

    def decode_shown(data: bytes) -> Any:
        key, start, end = decode(data)
        return key, (start / 1000, end / 1000)

    return encode_shown, decode_shown


def _places(row_keys: Sequence[bytes]) -> Sequence[bytes | None]:
    try:
        return by_tails(row_keys, _place_of)
    except (ValueError, OverflowError):
        return [_place(row_key, b"") for row_key in row_keys]


def by_tails(row_keys: Sequence[bytes], of: Callable[[bytes], T]) -> list[T]:
    """What is made of the tail of each: most are of a few windows, and those of one come together."""
    found: list[T] = []
    add = found.append
    tail, made = _NO_TAIL, None
    if len(row_keys) > 1 and loops.is_in_c() and type(row_keys) is list:
        first = row_keys[0][row_keys[0].rindex(_BETWEEN) :]
        if loops.do_all_end_in(row_keys, first):
            # Those that are over at once.
            return [of(first)] * len(row_keys)
    for row_key in row_keys:
        if made is None or not row_key.endswith(tail):
            tail = row_key[row_key.rindex(_BETWEEN) :]
            made = of(tail)
        add(made)
    return found


def _place(row_key: bytes, _value: bytes) -> bytes | None:
    try:
        return _place_of(row_key[row_key.rindex(_BETWEEN) :])
    except (ValueError, OverflowError):
        # A changelog may hold anything.
        return None


@lru_cache(_TAILS)
def _place_of(tail: bytes) -> bytes:
    return place_of(_span(tail)[1])


def _place_by_key(row_key: bytes, value: bytes) -> bytes | None:
    place = _place(row_key, value)
    return None if place is None else _checksum(row_key[: row_key.rindex(_BETWEEN)]) + place


def _place_by_start(row_key: bytes, _value: bytes) -> bytes | None:
    try:
        at = row_key.rindex(_BETWEEN)
        return _checksum(row_key[:at]) + place_of(_span(row_key[at:])[0])
    except (ValueError, OverflowError):
        # A changelog may hold anything.
        return None


def deleted_at(row_keys: Sequence[bytes]) -> list[int]:
    """What times the deletions of windows are of: their ends."""
    try:
        return by_tails(row_keys, end_of)
    except (ValueError, OverflowError):
        places = _places(row_keys)
        return [NO_TIME if place is None else time_of(place) for place in places]


def deleted_before(row_keys: Sequence[bytes]) -> list[int]:
    """The same of windows to which their ends do not belong: their last milliseconds."""
    try:
        return by_tails(row_keys, _last_of)
    except (ValueError, OverflowError):
        return [end - 1 for end in deleted_at(row_keys)]


def end_of(tail: bytes) -> int:
    return time_of(_place_of(tail))


def _last_of(tail: bytes) -> int:
    return time_of(_place_of(tail)) - 1


END_INDEX = Index(BY_END, PLACE_BYTES, _place, by_key=True, places=_places)
# The same of tables whose windows are found by whole keys: rows lie in its order, so that what is over is one range.
END_ORDER = replace(END_INDEX, is_order=True)
KEY_INDEX = Index(BY_KEY, _CHECKSUM_BYTES + PLACE_BYTES, _place_by_key, by_key=True)
START_INDEX = Index(BY_START, _CHECKSUM_BYTES + PLACE_BYTES, _place_by_start, by_key=True)
