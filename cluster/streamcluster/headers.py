"""Headers of records: read from a record that anybody may have written, checked and measured before they are sent.

The one place that asks a record for its headers. Of a header whose name is not UTF-8 the client (confluent-kafka 2.16)
raises SystemError at the first call, and gives a list with a null pointer in it at the second: using that ends the
process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import length_hint, methodcaller
from typing import Any

from .current import KafkaRecord, Run
from .errors import UnreadableHeaders
from .output import Pairs

Headers = Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]]
# librdkafka (2.16) shows a record with more as one without any.
HEADERS_MAX = 100_000
# Not `record.headers()`: the interpreter's own call does not always look at what the client says, and the error shows
# up in the next call, whatever that is.
_ask = methodcaller("headers")
# What a record is given as its headers when they cannot be read, so that nobody asks the client a second time.
_UNREADABLE = object()


def headers_of(record: KafkaRecord) -> Pairs:
    """The record's headers, in order.

    Raises:
        UnreadableHeaders: the client cannot read them.
    """
    try:
        found = _ask(record)
    except SystemError as error:
        record.set_headers(_UNREADABLE)
        raise UnreadableHeaders(f"the record's headers cannot be read: {error.__cause__ or error}") from error
    if found is _UNREADABLE:
        raise UnreadableHeaders("the record's headers cannot be read: a name that is not UTF-8")
    return list(found or ())


def have_headers(records: Sequence[KafkaRecord]) -> bool:
    """Whether any of these, all of one class, has a header; one that cannot be read is one."""
    left = iter(records)
    try:
        # Four times as fast as `_ask`, and looked at by the interpreter as well.
        return any(map(type(records[0]).headers, left)) if records else False
    except SystemError:
        records[len(records) - length_hint(left) - 1].set_headers(_UNREADABLE)
        return True


def headers_at(run: Run, index: int) -> Pairs | None:
    """The headers of the record at `index`, None when there are none: most runs have none, and are asked once.

    Raises:
        UnreadableHeaders: the client cannot read them.
    """
    if run.has_headers is None:
        run.has_headers = have_headers(run.records)
    return (headers_of(run.records[index]) or None) if run.has_headers else None


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
