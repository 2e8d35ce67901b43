"""Codecs by name and as objects, and their chains: what goes in comes back, and wrong names are explained."""

from __future__ import annotations

import base64
import enum
import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from streamcluster import codecs
from streamcluster.codecs import Codec, get_codec
from streamcluster.errors import ImproperlyConfigured, NotOffered
from streamcluster.models import Record

LETTERS = st.characters(exclude_categories=["Cs"])
INTEGERS = st.integers(-(2**63), 2**64 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | st.text(LETTERS)
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(LETTERS), inner), max_leaves=20)


class Color(enum.Enum):
    RED = "red"


class Item(Record):
    name: str
    data: bytes = b""


class Model(BaseModel):
    day: date


@dataclass
class Size:
    width: int


class Odd:
    def __json__(self) -> Any:
        return {"odd": {1}}


@pytest.fixture
def registry() -> Iterator[dict[str, Codec]]:
    """The names, put back after the test."""
    before = dict(codecs.codecs)
    yield codecs.codecs
    codecs.codecs.clear()
    codecs.codecs.update(before)


def subclass(name: str, **methods: Any) -> Any:
    """A subclass as users write it."""
    return type(name, (Codec,), methods)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({1: 2, False: 3}, b'{"1":2,"false":3}'),
        ({UUID(int=1): 1}, b'{"00000000-0000-0000-0000-000000000001":1}'),
        (Decimal("1.50"), b'"1.50"'),
        (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        ([b"text", bytearray(b"t")], b'["text","t"]'),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), b'"2026-01-02T03:04:05Z"'),
        (date(2026, 1, 2), b'"2026-01-02"'),
        (Color.RED, b'"red"'),
        ([{1}, frozenset({2}), deque([3]), (4,)], b"[[1],[2],[3],[4]]"),
        (Odd(), b'{"odd":[1]}'),
        ({"item": Item("x")}, b'{"item":{"name":"x","data":""}}'),
        ([Model(day=date(2026, 1, 2))], b'[{"day":"2026-01-02"}]'),
        (Size(1), b'{"width":1}'),
        (MappingProxyType({"a": 1}), b'{"a":1}'),
        (None, b"null"),
    ],
)
def test_json_has_a_word_for(value: Any, written: bytes) -> None:
    """Everything that Faust's JSON writes is written the same way."""
    assert get_codec("json").dumps(value) == written


@pytest.mark.parametrize("value", [object(), {"a": object()}, b"\xff", 2**64, {(1, 2): 3}])
def test_json_refuses_what_it_has_no_word_for(value: Any) -> None:
    """An error, and no half-truth in the topic."""
    with pytest.raises((TypeError, UnicodeDecodeError)):
        get_codec("json").dumps(value)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"\xff", b"\xff"),
        (bytearray(b"a"), b"a"),
        ("ü", "ü".encode()),
        ("", b""),
        (12, b"12"),
        (-1.5, b"-1.5"),
        (True, b"true"),
        (UUID(int=1), b"00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), b"1.50"),
        ((1, "a"), b'[1,"a"]'),
        ({"a": 1}, b'{"a":1}'),
        (Item("x"), b'{"name":"x","data":""}'),
    ],
)
def test_raw_writes(value: Any, written: bytes) -> None:
    """Bytes as they are, text and numbers as text, the rest as JSON."""
    assert get_codec("raw").dumps(value) == written
    assert get_codec("raw").loads(written) == written


def test_binary_is_base64_and_gzip_is_gzip() -> None:
    """Other tools can read what these write, and equal values give equal bytes."""
    assert base64.b64decode(get_codec("binary").dumps(b"\x00")) == b"\x00"
    assert gzip.decompress(get_codec("gzip").dumps("text")) == b"text"
    assert get_codec("gzip").dumps("text") == get_codec("gzip").dumps("text")


@pytest.mark.parametrize("name", ["json", "json|binary", "json|gzip", "json|gzip|binary", "json | binary | gzip"])
@given(value=PLAIN)
def test_json_chains_round_trip(name: str, value: Any) -> None:
    """Plain data comes back through every chain."""
    codec = get_codec(name)
    assert codec.loads(codec.dumps(value)) == value


@pytest.mark.parametrize("name", ["raw", "binary", "gzip", "gzip|binary", "binary|gzip", "raw|gzip"])
@given(value=st.binary())
def test_byte_chains_round_trip(name: str, value: bytes) -> None:
    """Bytes come back through every chain."""
    codec = get_codec(name)
    assert codec.loads(codec.dumps(value)) == value


@given(value=PLAIN | st.binary() | st.sets(st.integers()))
def test_pickle_round_trips_where_allowed(value: Any) -> None:
    """Python objects come back."""
    codec = get_codec("pickle", allow_pickle=True)
    assert codec.loads(codec.dumps(value)) == value


@given(data=st.binary(max_size=200))
@pytest.mark.parametrize("name", ["json", "binary", "gzip", "json|gzip", "json|binary"])
def test_codecs_on_arbitrary_bytes_raise_or_return(name: str, data: bytes) -> None:
    """No bytes make a codec do anything but return a value or raise an error of the expected kinds."""
    try:
        value = get_codec(name).loads(data)
    except Exception as error:  # noqa: BLE001 - which ones are expected is checked below
        value = error
    assert not isinstance(value, Exception) or isinstance(value, (ValueError, EOFError, OSError, zlib.error))


def test_chain_of_objects_is_the_chain_of_names() -> None:
    """`|` on codecs and in names mean the same, from left to right, chains within chains too."""
    json, gz, binary = (get_codec(name) for name in ("json", "gzip", "binary"))
    by_name = get_codec("json|gzip|binary").dumps([1])
    assert base64.b64decode(by_name) == gzip.compress(b"[1]", mtime=0)
    assert (json | gz | binary).dumps([1]) == by_name
    assert (json | (gz | binary)).dumps([1]) == by_name
    assert (json | gz | binary).loads(by_name) == [1]


def test_chain_with_something_else_is_a_type_error() -> None:
    """A name is no codec object."""
    codec: Any = get_codec("json")
    with pytest.raises(TypeError):
        codec | "gzip"


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("jsn", ImproperlyConfigured, "Did you mean 'json'"),
        ("json|gzp", ImproperlyConfigured, "Did you mean 'gzip'"),
        ("", ImproperlyConfigured, "no codec ''"),
        ("json|", ImproperlyConfigured, "no codec ''"),
        ("yaml", NotOffered, "yaml"),
        ("pickle_restricted", NotOffered, "allow_pickle"),
        ("pickle", ImproperlyConfigured, "allow_pickle=True"),
        ("pickle|gzip", ImproperlyConfigured, "allow_pickle=True"),
        ("gzip|pickle", ImproperlyConfigured, "allow_pickle=True"),
        (codecs.PICKLE, ImproperlyConfigured, "allow_pickle=True"),
        (codecs.GZIP | codecs.PICKLE, ImproperlyConfigured, "allow_pickle=True"),
        (3, ImproperlyConfigured, "serializer=3"),
    ],
)
def test_wrong_serializer_is_explained(name: Any, error: type[Exception], text: str) -> None:
    """The message says what is wrong and what to choose."""
    with pytest.raises(error) as raised:
        get_codec(name)
    assert text in str(raised.value)


def test_registered_codec_is_known_by_name(registry: dict[str, Codec]) -> None:
    """A subclass with `_dumps` and `_loads` works alone and in chains."""
    upper = subclass("Upper", _dumps=lambda self, obj: obj.upper(), _loads=lambda self, s: s.lower())
    codecs.register("upper", upper())
    assert get_codec("raw|upper|binary").dumps("abc") == base64.b64encode(b"ABC")
    assert get_codec("raw|upper|binary").loads(base64.b64encode(b"ABC")) == b"abc"


def test_registered_name_may_be_a_chain_but_not_look_like_one(registry: dict[str, Codec]) -> None:
    """A chain can have a name; '|' cannot be part of one."""
    codecs.register("packed", codecs.JSON | codecs.GZIP)
    assert get_codec("packed|binary").loads(get_codec("json|gzip|binary").dumps([1])) == [1]
    with pytest.raises(ImproperlyConfigured, match="separates"):
        codecs.register("a|b", codecs.JSON)


def test_pickle_under_another_name_is_still_refused(registry: dict[str, Codec]) -> None:
    """A new name does not open what is closed."""
    codecs.register("mine", codecs.PICKLE | codecs.GZIP)
    with pytest.raises(ImproperlyConfigured, match="allow_pickle"):
        get_codec("json|mine")


def test_subclass_keeps_its_arguments_in_a_chain() -> None:
    """Faust's subclasses take keywords, which clones must have too."""
    suffix = subclass(
        "Suffix",
        _dumps=lambda self, obj: obj + self.kwargs["end"],
        _loads=lambda self, s: s.removesuffix(self.kwargs["end"]),
    )
    chain = suffix(end=b"!") | codecs.GZIP
    assert gzip.decompress(chain.dumps(b"a")) == b"a!"
    assert chain.loads(chain.dumps(b"a")) == b"a"


def test_codec_without_methods_says_so() -> None:
    """Neither function nor method: the class is named."""
    with pytest.raises(NotImplementedError, match="Empty has no _dumps"):
        subclass("Empty")().dumps(1)
    with pytest.raises(NotImplementedError, match="Empty has no _loads"):
        subclass("Empty")().loads(b"1")


def test_module_functions_are_fausts() -> None:
    """codecs.dumps and codecs.loads take a name, an object or None."""
    assert codecs.loads("json", codecs.dumps("json", [1])) == [1]
    assert codecs.loads(codecs.GZIP, codecs.dumps(codecs.GZIP, b"a")) == b"a"
    assert codecs.loads(None, codecs.dumps(None, "a")) == b"a"
    assert codecs.loads("pickle", codecs.dumps("pickle", {1}), allow_pickle=True) == {1}
    with pytest.raises(ImproperlyConfigured):
        codecs.loads("pickle", codecs.dumps("pickle", 1))


def test_megabyte_values_pass() -> None:
    """Size is the broker's matter."""
    text = "x" * 1_000_000
    for name in ("json", "json|gzip", "json|binary"):
        assert get_codec(name).loads(get_codec(name).dumps(text)) == text
    assert orjson.loads(get_codec("json").dumps(text)) == text
