"""Keys and values of every kind and codec: on the page, by what the page shows, and by what people type."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from typing import Any, NamedTuple

import pytest

import streamcluster
from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.printable import printable
from streamcluster.shown import ESCAPED, example_of, json_of, key_texts
from tests.worker.test_odd_rows import answers

UTC = datetime.UTC


class Colour(enum.Enum):
    """A key that is one of a few."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """The same, as numbers."""

    LOW = 1


class Place(streamcluster.Record, frozen=True):
    """A key of two parts."""

    city: str
    zone: int


class Pair(NamedTuple):
    """The same, as a tuple."""

    city: str
    zone: int


@dataclasses.dataclass(frozen=True)
class Spot:
    """The same, as a dataclass."""

    city: str
    zone: int


A_UUID = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
A_TIME = datetime.datetime(2024, 2, 29, 12, 30, 1, 5000, tzinfo=UTC)
# Type, serializer, key, and what people type for it.
KINDS: list[tuple[Any, Any, Any, list[str]]] = [
    (str, None, "abc", ["abc"]),
    (str, None, "5", ["5"]),
    (str, None, "null", ["null"]),
    (str, None, 'quo"te', ['quo"te']),
    (str, "raw", "616263", ["616263"]),
    (str, "raw", "a b", ["a b"]),
    (str, "json|gzip", "abc", ["abc"]),
    (str, "binary", "abc", ["abc"]),
    (None, None, "abc", ["abc", '"abc"']),
    (None, None, "5", ['"5"', "5"]),
    (None, None, 5, ["5"]),
    (None, None, -5, ["-5"]),
    (None, None, 2**63, [str(2**63)]),
    (None, None, 2**200, [str(2**200)]),
    (None, None, 1.5, ["1.5"]),
    (None, None, True, ["true"]),
    (None, None, None, ["null"]),
    (None, None, ("a", 1), ['["a", 1]', '["a",1]']),
    (None, None, ("a", ("b", None)), ['["a", ["b", null]]']),
    (None, "raw", b"abc", ["abc"]),
    (None, "raw", b"\x00\x1b\x85\xff", [r"\x00\x1b\x85\xff"]),
    (None, "raw", b"12", ["12"]),
    (None, "json|gzip", ("a", 1), ['["a", 1]']),
    (bytes, None, b"abc", ["abc"]),
    (bytes, None, b"", [""]),
    (bytes, None, b"\x00\x1b\x85\xff", [r"\x00\x1b\x85\xff", r"\x00\x1B\x85\xFF"]),
    (bytes, None, b"\\x41", [r"\x41"]),
    (bytes, None, "é".encode(), ["é", r"\xc3\xa9"]),
    (bytes, "json", b"abc", ["abc"]),
    (bytes, "json", b"\xff\x00", [r"\xff\x00"]),
    (bytes, "binary", b"\xff\x00", [r"\xff\x00"]),
    (bytes, "gzip", b"\xff\x00", [r"\xff\x00"]),
    (int, None, 5, ["5"]),
    (int, None, -5, ["-5"]),
    (int, None, 2**200 + 1, [str(2**200 + 1)]),
    (int, None, -(2**70), [str(-(2**70))]),
    (int, "raw", 5, ["5"]),
    (int, "raw", 2**200, [str(2**200)]),
    (float, None, 1.0, ["1.0", "1"]),
    (float, None, -0.1, ["-0.1"]),
    (float, None, 1e300, ["1e300"]),
    (float, "raw", 2.5, ["2.5"]),
    (float, "raw", float("inf"), ["inf"]),
    (bool, None, True, ["true"]),
    (decimal.Decimal, None, decimal.Decimal("1.50"), ["1.50", '"1.50"']),
    (decimal.Decimal, "raw", decimal.Decimal("1.50"), ["1.50"]),
    (uuid.UUID, None, A_UUID, [str(A_UUID), f'"{A_UUID}"', A_UUID.hex]),
    (uuid.UUID, "raw", A_UUID, [str(A_UUID)]),
    (datetime.datetime, None, A_TIME, ["2024-02-29T12:30:01.005Z", "2024-02-29T12:30:01.005+00:00"]),
    (datetime.date, None, datetime.date(2024, 2, 29), ["2024-02-29"]),
    (datetime.time, None, datetime.time(12, 30), ["12:30:00"]),
    (datetime.timedelta, None, datetime.timedelta(seconds=90), ["PT90S"]),
    (Colour, None, Colour.RED, ["red", '"red"']),
    (Level, None, Level.LOW, ["1"]),
    (Place, None, Place(city="Rome", zone=1), ['{"city": "Rome", "zone": 1}']),
    (Spot, None, Spot("Rome", 1), ['{"city": "Rome", "zone": 1}']),
    (Pair, None, Pair("Rome", 1), ['["Rome", 1]']),
    (tuple[str, int], None, ("a", 1), ['["a", 1]']),
    (tuple[str, ...], None, ("a", "b"), ['["a","b"]']),
    (frozenset[int], None, frozenset({3}), ["[3]"]),
    (int | None, None, None, ["null"]),
    (int | str, None, "x", ["x", '"x"']),
]


def ids(kind: tuple[Any, Any, Any, list[str]]) -> str:
    """A short name of a case."""
    return f"{getattr(kind[0], '__name__', kind[0])}-{kind[1]}-{kind[2]!r:.20}"


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_key_is_found_by_what_is_shown_and_by_what_is_typed(kind: tuple[Any, Any, Any, list[str]]) -> None:
    """On a page, by the page's JSON, and by each way to write it on a command line."""
    type_, serializer, key, typed = kind
    encode, _ = make_table_coder(type_, serializer, allow_pickle=False, is_key=True)
    table = {"key_type": type_, "key_serializer": serializer}
    rows = {encode(key): b"7"}
    [page] = answers(rows, [{}], **table)
    [(shown, value)] = page.rows
    assert value == "7", value
    decoded = json.loads(shown)
    plain = printable(decoded) if isinstance(decoded, str) else shown.removeprefix(ESCAPED)
    texts = [plain, *typed]
    for text in texts:
        found = answers(rows, [{"key": one} for one in key_texts(type_, serializer, text)], **table)
        errors = [rows.error for rows in found]
        assert "7" in [rows.rows[0][1] for rows in found if rows.rows], f"{text!r}: {errors}"


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        (int, "abc", "a whole number: 5"),
        (int, "1.5", "a whole number: 5"),
        (float, "x", "a number: 1.5, inf"),
        (uuid.UUID, "123", "a UUID: 0123"),
        (datetime.datetime, "yesterday", "a time: 2024-02-29T12:30:00Z"),
        (Colour, "green", "one of red, blue"),
        (Pair, "Rome", "a JSON list: [city, zone]"),
        (tuple[str, int], "Rome", "a JSON list: [str, int]"),
        (Place, "Rome", 'a JSON object: {"city": ..., "zone": ...}'),
        (Spot, "[1]", 'a JSON object: {"city": ..., "zone": ...}'),
    ],
)
def test_key_that_cannot_be_one_says_what_is_expected(type_: Any, text: str, expected: str) -> None:
    """With the type, and how it is typed."""
    with pytest.raises(ValueError, match="is no key of type") as caught:
        key_texts(type_, None, text)
    assert expected in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"abc", '"abc"'),
        (b"a\xff", ESCAPED + r'"a\\xff"'),
        ([b"a\xff", 1], ESCAPED + r'["a\\xff",1]'),
        ({"a": {b"\xff": 2}}, ESCAPED + r'{"a":{"\\xff":2}}'),
        (float("inf"), '"inf"'),
        ({"low": float("-inf"), "none": None}, '{"low":"-inf","none":null}'),
        (Spot("Rome", 1), '{"city":"Rome","zone":1}'),
        (2**200, str(2**200)),
        ({"n": 2**200}, f'{{"n":{2**200}}}'),
    ],
)
def test_value_is_shown_and_said_how(value: object, shown: str) -> None:
    """Bytes that are no text as escapes, with a mark; numbers that JSON has none for as text, not as null."""
    assert json_of(value) == shown


def test_example_of_an_unknown_type_is_json() -> None:
    """And no error."""
    assert example_of(dict[str, int]) == "JSON"
