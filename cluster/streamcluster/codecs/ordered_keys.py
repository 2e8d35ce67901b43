"""Ordered keys: row keys that begin with a key, any bytes, and go on with a time; in the order of both.

For the buffers of joins, and for versions: what one key has between two times is one range. Keys of JSON are in no
order that is of use.
"""

from __future__ import annotations

import struct

from ..times import place_of

# Behind the key. What follows a zero byte in the key itself is greater, so a key comes before those that begin with it.
_END = b"\0\0"
_ZERO = b"\0\xff"
# Greater than whatever begins with _END, and less than what begins with _ZERO.
_BEHIND_END = b"\0\1"
_NUMBER_BYTES = 8
# Times may be before 1970.
_TIME_OFFSET = 2**63
# The end of the key with it: two zero bytes.
_pack, _unpack = struct.Struct(">2xQQ").pack, struct.Struct(">QQ").unpack


def ordered_key(key: bytes, time_ms: int, number: int = 0) -> bytes:
    """The row's key. number: tells rows of one key and time apart, and orders them."""
    return (key.replace(b"\0", _ZERO) if b"\0" in key else key) + _pack(time_ms + _TIME_OFFSET, number)


def stamped_key(key: bytes, stamp: bytes) -> bytes:
    """The same, of a time and a number that are bytes already."""
    return (key.replace(b"\0", _ZERO) if b"\0" in key else key) + _END + stamp


def key_range(key: bytes) -> tuple[bytes, bytes]:
    """All rows of `key`: start and end of a scan."""
    escaped = key.replace(b"\0", _ZERO)
    return escaped + _END, escaped + _BEHIND_END


def time_range(key: bytes, first_ms: int, last_ms: int) -> tuple[bytes, bytes]:
    """The rows of `key` from one time to another, both included: start and end of a scan."""
    beginning, _ = key_range(key)
    return beginning + place_of(first_ms), beginning + place_of(last_ms + 1)


def split_ordered(row_key: bytes) -> tuple[bytes, int, int]:
    """Key, time and number."""
    tail = row_key[-2 * _NUMBER_BYTES :]
    key = row_key[: -2 * _NUMBER_BYTES - len(_END)].replace(_ZERO, b"\0")
    time_ms, number = _unpack(tail)
    return key, time_ms - _TIME_OFFSET, number


def time_of_row(row_key: bytes) -> int:
    """The time alone."""
    return int.from_bytes(row_key[-2 * _NUMBER_BYTES : -_NUMBER_BYTES], "big") - _TIME_OFFSET
