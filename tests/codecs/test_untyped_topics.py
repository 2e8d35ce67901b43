"""Keys and values of topics without a type: what is taken comes back as it was, the rest is refused with what to do."""

from __future__ import annotations

import datetime as datetime_module
import decimal
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests
from streamcluster import codecs
from streamcluster.codecs import Codec
from streamcluster.codecs.coding import make_decoder, make_encoder
from streamcluster.codecs.sameness import difference
from tests.codecs import kinds
from tests.codecs.kinds import Account, Color, Kept, Last, Level, Order, Point, Text, Thing, Whole, Word

SERIALIZERS = ["json", "json|gzip", "json|binary|gzip", "binary", "gzip", "raw", "pickle"]
# Large enough to be looked at level by level.
LONG = "x" * 1001
JSON_DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | kinds.WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(kinds.WORDS, inner, max_size=4),
    max_leaves=12,
)


def coder(serializer: Any = "json", *, is_key: bool = False, type_: Any = None) -> Any:
    options: dict[str, Any] = {"default_serializer": "json", "allow_pickle": True, "is_key": is_key}
    return make_encoder(type_, serializer, **options), make_decoder(type_, serializer, **options)


def why(value: Any, serializer: Any = "json", *, is_key: bool = False) -> str:
    encode, _ = coder(serializer, is_key=is_key)
    with pytest.raises(TypeError) as caught:
        encode(value)
    return str(caught.value)


@settings(max_examples=600, deadline=None)
@given(value=kinds.VALUES, serializer=st.sampled_from(SERIALIZERS), padding=st.sampled_from([None, LONG]))
def test_any_value_that_is_taken_comes_back(value: Any, serializer: str, padding: str | None) -> None:
    """Whatever people put together, alone and in a long record; bytes are what the sender has encoded already."""
    value = value if padding is None else [value, padding]
    encode, decode = coder(serializer)
    try:
        data = encode(value)
    except (TypeError, ValueError):
        return
    if data is None:
        assert value is None
    elif type(value) is bytes and serializer.startswith("json"):
        assert data == value
    else:
        assert difference(value, decode(data)) is None


@settings(max_examples=400, deadline=None)
@given(value=JSON_DATA, padding=st.sampled_from([None, LONG]))
def test_plain_data_is_taken_and_comes_back(value: Any, padding: str | None) -> None:
    """All of it, with integers of any size, as a value and in a list or a dict."""
    encode, decode = coder()
    for one in (value, [value, padding], {"a": value, "b": padding}):
        data = encode(one)
        assert one is data is None or difference(one, decode(data)) is None


@settings(max_examples=400, deadline=None)
@given(key=kinds.KEYS | JSON_DATA, serializer=st.sampled_from(["json", "json|gzip", "pickle"]))
def test_any_key_that_is_taken_comes_back(key: Any, serializer: str) -> None:
    """Tuples too, which group_by gives people; what comes back of hashable keys is hashable."""
    encode, decode = coder(serializer, is_key=True)
    try:
        data = encode(key)
    except TypeError:
        return
    if data is not None and type(key) is not bytes:
        assert difference(key, decode(data)) is None


@settings(max_examples=200, deadline=None)
@given(key=kinds.KEYS)
def test_raw_keys_are_bytes_of_text_and_numbers_or_refused(key: Any) -> None:
    """No key is turned into JSON unseen."""
    encode, decode = coder("raw", is_key=True)
    try:
        data = encode(key)
    except TypeError:
        return
    assert data is None or isinstance(key, (bytes, str, int, float, Decimal, UUID))
    assert data is None or decode(data) == data


@pytest.mark.parametrize(
    "key", [(), ("a", 1), (("a", 1), "b"), ((((1,),),),), (1.5, None, True), 2**70, ("a", 2**70), {"a": [1]}]
)
def test_tuples_and_plain_data_are_keys(key: Any) -> None:
    """With the bytes that they always had."""
    encode, decode = coder(is_key=True)
    assert difference(key, decode(encode(key))) is None
    if "11805" not in repr(key):
        assert encode(key) == codecs.dumps("json", key)


ADVICE: list[tuple[Any, str]] = [
    ((1, 2), "value is a tuple, which .*: declare value_type=tuple (in app.topic or @app.agent), or send list(value)"),
    ({1, 2}, "declare value_type=set "),
    ({"a": [{1}]}, "value['a'][0] is a set, .*, or send list(value['a'][0])"),
    (Account("a"), "value is an Account, .*: declare value_type=Account .*, or send value.to_representation()"),
    ([Account("a")], "value[0] is an Account, .*: declare value_type=list[tests.codecs.kinds.Account] "),
    (Last(1), "value is a Last, .*: declare value_type=Last .*, or send dataclasses.asdict(value)"),
    (Point(1), "value is a Point, .*: declare value_type=Point .*, or send value._asdict()"),
    (Order(accountId="a", unitPrice=1.5), "declare value_type=Order .*, or send value.model_dump(mode='json')"),  # type: ignore[call-arg]
    ({"when": datetime(2026, 1, 2, tzinfo=UTC)}, "value['when'] is a datetime, .*, or send value['when'].isoformat()"),
    (date(2026, 1, 2), "value is a date, .*: declare value_type=date .*, or send value.isoformat()"),
    ([Decimal(1)], "value[0] is a Decimal, .*: declare value_type=list[decimal.Decimal] .*, or send str(value[0])"),
    (UUID(int=1), "value is a UUID, .*, or send str(value)"),
    ({"c": Color.RED}, "value['c'] is a Color, .*, or send value['c'].value"),
    ([Level.LOW, Word.YES], "value[0] is a Level, "),
    (
        {9: 1},
        "value is a dict with the key 9 of type int, .*: declare value_type=dict[int, int] .*, or send text as keys",
    ),
    ({"hours": {9: 1}}, "value['hours'] is a dict with the key 9 of type int, "),
    (Counter("a"), "value is a Counter, .*, or send dict(value)"),
    (defaultdict(int, a=1), "value is a defaultdict, .*, or send dict(value)"),
    (OrderedDict(a=1), "value is an OrderedDict, .*, or send dict(value)"),
    (Kept(a=1), "value is a Kept, .*, or send dict(value)"),
    (deque([1]), "value is a deque, .*, or send list(value)"),
    (Text("a"), "value is a Text, .*, or send str(value)"),
    ({Text("a"): 1}, "value is a dict with the key 'a' of type Text"),
    ([Whole(1)], "value[0] is a Whole, .*, or send int(value[0])"),
    ({"a": b"x"}, "value['a'] is a bytes, .*, or send value['a'].decode()"),
    ({"a": [1.5, float("nan")]}, "value['a'][1] is the float nan, for which JSON has no word: send None or text"),
    (float("inf"), "value is the float inf, for which JSON has no word: send None or text"),
    (["\ud83d"], "value[0] is text with half of a character"),
    (
        Thing(),
        "value is a Thing, .*: declare value_type= (in app.topic or @app.agent), or send plain data made of value",
    ),
]


@pytest.mark.parametrize(("value", "text"), ADVICE)
@pytest.mark.parametrize("padding", [None, LONG])
def test_what_does_not_come_back_is_refused_with_place_and_advice(value: Any, text: str, padding: str | None) -> None:
    """In records of every size."""
    parts = text.split(".*")
    said = why(value) if padding is None else why({"v": value, "padding": padding})
    if padding is None:
        assert all(part in said for part in parts), said
    else:
        assert parts[0].split(",")[0].removeprefix("value") in said or "declare" in parts[0], said


@pytest.mark.parametrize(("value", "text"), ADVICE)
def test_what_is_advised_to_declare_keeps_the_value(value: Any, text: str) -> None:
    """The advice is true: the type that is named, where one is, takes the value and gives it back."""
    _, named, after = why(value).partition("declare value_type=")
    name = after.partition(" (in ")[0]
    if not named or not name:
        return
    modules = {"tests": tests, "decimal": decimal, "datetime": datetime if name == "datetime" else datetime_module}
    encode, decode = coder(type_=eval(name, {**vars(kinds), **modules}))
    assert difference(value, decode(encode(value))) is None


def test_keys_are_refused_with_place_and_advice() -> None:
    """JSON and raw, which keys have without a key_serializer."""
    assert "key is a list, which is not read as one from a topic without key_type" in why([1], is_key=True)
    assert "or send tuple(key)" in why([1], is_key=True)
    assert "key[1] is a date, " in why((1, date(2026, 1, 2)), is_key=True)
    assert "depth of 4" in why((((((1,),),),),), is_key=True)
    said = why(("a", 1), "raw", is_key=True)
    assert "key is a tuple, which is not read as one from a topic without key_type: declare key_type=tuple" in said
    assert "key is a bool" in why(True, "raw", is_key=True)


def test_text_in_a_raw_value_without_a_type_is_refused() -> None:
    """It would be read as bytes; with its type it comes back."""
    assert "value is a str, which is not read as one" in why("a", "raw")
    assert "declare value_type=str (in app.topic or @app.agent), or send bytes" in why("a", "raw")
    assert coder("raw")[0](b"\xff") == b"\xff"


def test_what_contains_itself_is_refused() -> None:
    """Not for ever."""
    endless: list[Any] = []
    endless.append(endless)
    assert "contains itself, or is nested too deep" in why(endless)


def test_json_that_the_sender_made_is_the_way_out() -> None:
    """`codecs.dumps("json", value)` is JSON's word for it; nobody gets it unasked."""
    encode, decode = coder()
    assert decode(encode(codecs.dumps("json", {"at": (1, date(2026, 1, 2))}))) == {"at": [1, "2026-01-02"]}


def test_a_codec_of_ones_own_that_loses_something_is_found_out() -> None:
    """A codec is user code: what it gives back is compared, unless it cannot read at all."""
    lossy = Codec(dumps=lambda value: str(value).encode(), loads=bytes.decode)
    assert coder(lossy)[0]("a") == b"a"
    assert "int 1 becomes str '1'" in why(1, lossy)
    writing = Codec(dumps=lambda value: str(value).encode())
    assert coder(writing)[0](1) == b"1"
    cutting = Codec(dumps=lambda data: data[:5], loads=lambda data: data)
    assert "cannot be read again" in why("longer than five", codecs.JSON | cutting)
