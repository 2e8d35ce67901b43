"""Coders of tables: Faust's changelog format, hashable keys, fresh values, and no silent change of shape."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.errors import ImproperlyConfigured
from streamcluster.models import Record

MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
LETTERS = st.characters(exclude_categories=["Cs"])
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
ATOMS = st.none() | st.booleans() | NUMBERS | st.text(LETTERS)
KEYS = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


class Account(Record):
    name: str
    tags: list[str] = []  # noqa: RUF012 - a Record copies it


class Model(BaseModel):
    name: str


class Route(Record, frozen=True):
    origin: str
    destination: str


def coder(type_: Any, serializer: str | None = None, *, is_key: bool = False, allow_pickle: bool = False) -> Any:
    return make_table_coder(type_, serializer, allow_pickle=allow_pickle, is_key=is_key)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("url", b'"url"'),
        (3, b"3"),
        (1.5, b"1.5"),
        (None, b"null"),
        (("k", (1.0, 2.0)), b'["k",[1.0,2.0]]'),
        ("", b'""'),
    ],
)
def test_plain_keys_have_fausts_format(value: Any, data: bytes) -> None:
    """JSON, a windowed key is [key, [start, end]]; lists come back as tuples at every depth."""
    encode, decode = coder(None, is_key=True)
    assert encode(value) == data
    assert decode(data) == value
    assert hash(decode(data)) == hash(value)


@given(key=KEYS)
def test_plain_keys_round_trip(key: Any) -> None:
    """Every key made of JSON's words and tuples comes back, hashable."""
    encode, decode = coder(None, is_key=True)
    assert decode(encode(key)) == key
    assert hash(decode(encode(key))) == hash(key)


@pytest.mark.parametrize("serializer", [None, "json|gzip", "json|binary"])
@pytest.mark.parametrize(
    ("type_", "key"),
    [
        (str, "a"),
        (int, 1),
        (bytes, b"\xff"),
        (tuple, (1, (2, "a"))),
        (tuple[int, str], (1, "a")),
        (UUID, UUID(int=1)),
        (datetime, MIDNIGHT),
        (Route, Route("a", "b")),
    ],
)
def test_typed_keys_round_trip(type_: Any, key: Any, serializer: str | None) -> None:
    """A typed key comes back as its type, equal and hashable."""
    encode, decode = coder(type_, serializer, is_key=True)
    assert decode(encode(key)) == key
    assert {decode(encode(key)): 1}[key] == 1


@pytest.mark.parametrize("key", ["ü", ""])
def test_raw_text_keys_round_trip(key: str) -> None:
    """A table may keep its keys raw."""
    encode, decode = coder(str, "raw", is_key=True)
    assert encode(key) == key.encode()
    assert decode(encode(key)) == key


@pytest.mark.parametrize("serializer", [None, "json|gzip"])
@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (None, {"a": [1, {"b": None}]}),
        (None, 0),
        (int, 2**70),
        (None, None),
        (None, {}),
        (int, 5),
        (list, []),
        (set, {1, "a"}),
        (set[int], {1}),
        (frozenset[str], frozenset({"a"})),
        (tuple, (1, 2)),
        (dict[str, Account], {"a": Account("x", ["y"])}),
        (Account, Account("x", ["y"])),
        (Model, Model(name="x")),
        (Decimal, Decimal("1.50")),
        (bytes, b"\xff"),
        (datetime, MIDNIGHT),
    ],
)
def test_values_round_trip_as_fresh_objects(type_: Any, value: Any, serializer: str | None) -> None:
    """A value comes back equal, of the same type, and shares nothing with another reading."""
    encode, decode = coder(type_, serializer)
    data = encode(value)
    first, second = decode(data), decode(data)
    assert first == value
    assert type(first) is type(value)
    if isinstance(value, (dict, list, set, Account, Model)):
        assert first is not second


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (Account("x"), b'{"py/object":["%s:Account",{"name":"x","tags":[]}]}' % __name__.encode()),
        ({"a": {1}}, b'{"a":{"py/set":[1]}}'),
        (("day", 9), b'{"py/tuple":["day",9]}'),
        ({9: 1}, b'{"py/dict":[[9,1]]}'),
        (float("inf"), b'{"py/float":"inf"}'),
        (b"a", b'{"py/bytes":"YQ=="}'),
        ({"py/set": [1]}, b'{"py/dict":[["py/set",[1]]]}'),
    ],
)
def test_what_json_has_no_word_for_has_the_name_of_its_type(value: Any, data: bytes) -> None:
    """The format is for ever: changelogs are full of it."""
    encode, decode = coder(None)
    assert encode(value) == data
    assert decode(data) == value


def test_typed_values_are_plain_where_plain_is_enough() -> None:
    """A name of a type only where the declared one does not say it."""
    encode, decode = coder(dict[str, float])
    assert encode({"a": 1.5}) == b'{"a":1.5}'
    assert encode({"a": float("inf")}) == b'{"py/value":{"a":{"py/float":"inf"}}}'
    assert decode(encode({"a": float("inf")})) == {"a": float("inf")}


def test_metadata_is_written_to_changelogs() -> None:
    """A record with include_metadata has it in the changelog, too."""

    class Tagged(Record, include_metadata=True, namespace="shop.tagged"):
        a: int

    encode, decode = coder(Tagged)
    assert encode(Tagged(1)) == b'{"a":1,"__faust":{"ns":"shop.tagged"}}'
    assert decode(encode(Tagged(1))) == Tagged(1)


def test_pickled_tables_need_permission() -> None:
    """Pickle is for tables, too, only where it is allowed."""
    encode, decode = coder(None, "pickle", allow_pickle=True)
    assert decode(encode({1: {2}})) == {1: {2}}
    with pytest.raises(ImproperlyConfigured, match="allow_pickle"):
        coder(None, "pickle")


@given(data=st.binary(max_size=60))
@pytest.mark.parametrize("is_key", [True, False])
@pytest.mark.parametrize("type_", [None, int, set, tuple, Account])
def test_foreign_changelog_bytes_raise_or_give_a_value(type_: Any, is_key: bool, data: bytes) -> None:
    """A changelog that somebody else wrote to gives an exception or a value of the type."""
    _, decode = coder(type_, is_key=is_key)
    try:
        value = decode(data)
    except Exception as error:  # noqa: BLE001 - the contract is: any exception
        value = error
    assert isinstance(value, Exception) or type_ is None or isinstance(value, type_)


def test_untyped_count_may_grow_beyond_64_bits() -> None:
    """Integers of any size come back exactly."""
    encode, decode = coder(None)
    assert decode(encode(2**70)) == 2**70
