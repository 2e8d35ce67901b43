"""Writing is the inverse of reading: what a table takes comes back equal and of the same type, or it is refused."""

from __future__ import annotations

import enum
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamcluster.codecs import Codec
from streamcluster.codecs.sameness import difference
from streamcluster.codecs.table_coding import make_table_coder
from tests.codecs import kinds
from tests.codecs.kinds import BERLIN, NOON, TYPED, Kept, Last, Level, Route, Text, Thing, Whole, Word

SERIALIZERS = [None, "json|gzip", "json|binary|gzip", "pickle"]


def coder(type_: Any = None, serializer: Any = None, **options: Any) -> Any:
    return make_table_coder(type_, serializer, allow_pickle=True, **options)


def check_same(before: Any, after: Any) -> None:
    assert difference(before, after) is None
    assert type(before) is type(after)


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize(("type_", "value"), TYPED)
def test_typed_values_come_back(type_: Any, value: Any, serializer: str | None) -> None:
    """With value_type=, in JSON and in chains; encoding what came back gives the same bytes."""
    encode, decode = coder(type_, serializer)
    data = encode(value)
    check_same(value, decode(data))
    # Pickle writes a set (pydantic has one in each model) in the order that it has in memory.
    assert serializer == "pickle" or encode(decode(data)) == data


@pytest.mark.parametrize("serializer", ["json", "json|gzip"])
@pytest.mark.parametrize(("type_", "value"), TYPED)
def test_untyped_values_come_back(type_: Any, value: Any, serializer: str) -> None:
    """The same values without a type, alone and in a list."""
    encode, decode = coder(None, serializer)
    for one in (value, [value], {"a": value}):
        check_same(one, decode(encode(one)))


@pytest.mark.parametrize(("type_", "value"), [pair for pair in TYPED if pair[1].__hash__ is not None])
def test_keys_come_back(type_: Any, value: Any) -> None:
    """Typed and untyped, and they find what they were stored under."""
    try:
        hash(value)
    except TypeError:
        return
    for one in (type_, None):
        encode, decode = coder(one, is_key=True)
        data = encode(value)
        check_same(value, decode(data))
        assert encode(decode(data)) == data


@settings(max_examples=400, deadline=None)
@given(value=kinds.VALUES, serializer=st.sampled_from(SERIALIZERS))
def test_any_value_that_is_taken_comes_back(value: Any, serializer: str | None) -> None:
    """Whatever people put together: it is what it was, or it was refused with its type."""
    encode, decode = coder(None, serializer)
    try:
        data = encode(value)
    except TypeError:
        return
    check_same(value, decode(data))


@settings(max_examples=400, deadline=None)
@given(key=kinds.KEYS)
def test_any_key_that_is_taken_comes_back(key: Any) -> None:
    """And its bytes are the same again: they are its identity."""
    encode, decode = coder(is_key=True)
    try:
        data = encode(key)
    except TypeError:
        return
    check_same(key, decode(data))
    assert encode(decode(data)) == data
    assert isinstance(hash(decode(data)), int)


@settings(max_examples=400, deadline=None)
@given(value=kinds.VALUES, declared=st.sampled_from([type_ for type_, _ in TYPED]))
@example(value=[bytearray(b"\x80")], declared=bytes)
def test_a_declared_type_takes_its_own_values_and_changes_none(value: Any, declared: Any) -> None:
    """Any value for any type: refused, or as it was."""
    encode, decode = coder(declared)
    try:
        data = encode(value)
    except TypeError:
        return
    check_same(value, decode(data))


@pytest.mark.parametrize(
    "value", [Text("a"), Whole(1), Kept(a=1), {Text("a"): 1}, [Whole(1)], Thing(), object(), {"a": Thing()}, len]
)
def test_subclasses_and_objects_are_refused_with_their_type(value: Any) -> None:
    """What JSON would flatten without a word; the message says the real type."""
    encode, _ = coder()
    with pytest.raises(TypeError, match=r"a (Text|Whole|Kept|Thing|object|builtin_function_or_method) does not come"):
        encode(value)


@pytest.mark.parametrize("type_", [int, str, dict[str, int], Last, Route, list[int], set[int], Level])
@pytest.mark.parametrize("value", [Thing(), "text", 1.5, {"a": "b"}, [None], Word.YES, b"a"])
def test_what_is_not_of_the_declared_type_is_refused(type_: Any, value: Any) -> None:
    """Though JSON has words for it."""
    encode, decode = coder(type_)
    if type_ is str and isinstance(value, str):
        check_same(value, decode(encode(value)))
        return
    with pytest.raises(TypeError, match=f"a {type(value).__name__} "):
        encode(value)


@pytest.mark.parametrize("serializer", ["raw", "gzip", "binary"])
def test_text_without_a_type_in_a_codec_of_bytes_is_refused(serializer: str) -> None:
    """It would come back as bytes; with its type it comes back."""
    encode, _ = coder(None, serializer)
    with pytest.raises(TypeError, match=r"str 'a' becomes bytes b'a'.*declare its type"):
        encode("a")
    encode, decode = coder(str, serializer)
    assert decode(encode("a")) == "a"


def test_a_codec_of_ones_own_that_loses_something_is_found_out() -> None:
    """A codec is user code: what it gives back is compared."""
    lossy = Codec(dumps=lambda value: str(value).encode(), loads=lambda data: data.decode())
    encode, decode = coder(None, lossy)
    assert decode(encode("a")) == "a"
    with pytest.raises(TypeError, match="int 1 becomes str '1'"):
        encode(1)
    cutting = Codec(dumps=lambda data: data[:5], loads=lambda data: data)
    encode, _ = coder(None, Codec(dumps=str.encode, loads=bytes.decode) | cutting)
    with pytest.raises(TypeError, match="does not come back"):
        encode("longer than five")


def test_keys_that_python_takes_for_one_have_bytes_of_their_own() -> None:
    """1, 1.0 and True; 0.0 and -0.0; one moment in two time zones; a NamedTuple and a tuple; text and a StrEnum."""
    encode, _ = coder(is_key=True)
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    for same in (
        [1, 1.0, True, Decimal(1), Level.LOW],
        [0.0, -0.0, 0],
        [moment, moment.astimezone(BERLIN), moment.astimezone(timezone(timedelta(hours=1)))],
        [(1, "a"), kinds.Point(1, "a"), (1.0, "a"), (True, "a")],
        ["yes", Word.YES],
        [NOON, NOON.replace(fold=1)],
    ):
        assert len({encode(key) for key in same}) == len(same)


def test_equal_sets_have_the_same_bytes() -> None:
    """However they were built: their bytes are their identity."""
    encode, _ = coder(is_key=True)
    numbers = list(range(0, 4000, 8))
    assert encode(frozenset(numbers)) == encode(frozenset(reversed(numbers)))
    typed, _ = coder(Route, is_key=True)
    names = [str(number) for number in numbers]
    assert typed(Route("a", frozenset(names))) == typed(Route("a", frozenset(reversed(names))))


def test_plain_data_that_looks_like_ours_stays_plain() -> None:
    """A dict whose only key is one of our names."""
    for type_ in (None, dict, dict[str, int], dict[str, Any]):
        encode, decode = coder(type_)
        for value in ({"py/tuple": 1}, {"py/value": 2}, {"py/": 3}):
            check_same(value, decode(encode(value)))


def test_what_contains_itself_is_refused() -> None:
    """Not for ever."""
    encode, _ = coder()
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises((TypeError, RecursionError)):
        encode(endless)


def test_classes_that_cannot_be_found_again_are_refused() -> None:
    """A class inside of a function, and a function as a defaultdict's factory."""

    @dataclass
    class Inner:
        a: int

    class Shade(enum.Enum):
        DARK = 1

    encode, _ = coder()
    for value in (Inner(1), Shade.DARK):
        with pytest.raises(TypeError, match="declare it at the top level of a module"):
            encode(value)
    with pytest.raises(TypeError, match="defaultdict that makes its values by <lambda>"):
        encode(defaultdict(lambda: 1))


@pytest.mark.parametrize(
    "data",
    [
        b'{"py/object":["os:system",{"command":"true"}]}',
        b'{"py/enum":["os:system","true"]}',
        b'{"py/object":["subprocess:Popen",{"args":"true"}]}',
        b'{"py/model":["subprocess:Popen",{"args":"true"},null,null,[]]}',
        b'{"py/defaultdict":["system",{}]}',
        b'{"py/object":["antigravity:x",{}]}',
        b'{"py/Fraction":"1e999999999"}',
        b'{"py/nothing":1}',
        b'{"py/tuple":1}',
        b'{"py/object":1}',
    ],
)
def test_bytes_of_others_call_nothing(data: bytes) -> None:
    """A row names classes of data, and nothing else that is there."""
    _, decode = coder()
    with pytest.raises(Exception, match=r".") as caught:
        decode(data)
    assert not isinstance(caught.value, (SystemExit, KeyboardInterrupt))
