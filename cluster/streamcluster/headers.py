"""Headers of records: those of a record that anybody may have written, checked and measured before they are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .batch import RecordHeaders
from .errors import UnreadableHeaders
from .output import Pairs

Headers = Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]]
# librdkafka (2.16) shows a record with more as one without any.
HEADERS_MAX = 100_000


def pairs_of(headers: RecordHeaders) -> Pairs | None:
    """A record's headers, in order; None when it has none.

    Raises:
        UnreadableHeaders: the client cannot read them.
    """
    if isinstance(headers, str):
        raise UnreadableHeaders(f"the record's headers cannot be read: {headers}")
    return list(headers) if headers else None


def header_pairs(headers: Mapping[str, Any] | Sequence[tuple[Any, Any]]) -> Pairs:
    """Headers as pairs of a name and bytes.

    Raises:
        TypeError: a value that is neither text, bytes nor None.
        ValueError: more than a client would show.
    """
    if len(headers) > HEADERS_MAX:
        raise ValueError(f"a record with {len(headers)} headers: clients show none of more than {HEADERS_MAX}.")
    pairs: Pairs = []
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        if isinstance(value, str):
            value = value.encode()
        if not isinstance(name, str) or not isinstance(value, (bytes, type(None))):
            raise TypeError(f"the header {name!r} is a {type(value).__name__}: give text or bytes.")
        pairs.append((name, value))
    return pairs


def headers_size(pairs: Sequence[tuple[str, bytes | None]]) -> int:
    """The bytes that headers take in a record on the wire: names, values, the length of each, and how many there are.

    Raises:
        UnicodeEncodeError: a name that is not Unicode.
    """
    if not pairs:
        return 0
    size = _length_size(len(pairs))
    for name, value in pairs:
        name_size = len(name) if name.isascii() else len(name.encode())
        value_size = len(value or b"")
        size += _length_size(name_size) + name_size + _length_size(value_size) + value_size
    return size


def _length_size(length: int) -> int:
    """Bytes of a length as Kafka writes it: zigzag, 7 bits a byte."""
    return (length.bit_length() + 7) // 7
