"""Coders of topics: each pair of type and serializer, empty and large values, wrong bytes, and None."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from streamcluster.codecs import GZIP, JSON, Codec
from streamcluster.codecs.coding import explain, make_decoder, make_encoder
from streamcluster.errors import ImproperlyConfigured
from streamcluster.models import Record

LETTERS = st.characters(exclude_categories=["Cs"])


class Order(Record):
    account_id: str
    amount: int
    language: str | None = None


class Other(Record):
    account_id: str
    amount: int
    more: int = 3


class Model(BaseModel):
    account_id: str
    amount: int


class Pair(NamedTuple):
    a: int
    b: str


class Color(enum.Enum):
    RED = "red"


ORDER = Order("a", 1)
ORDER_JSON = b'{"account_id":"a","amount":1,"language":null}'


def decode_as(type_: Any, data: bytes, serializer: Any = None, default: str = "json") -> Any:
    return make_decoder(type_, serializer, default_serializer=default, allow_pickle=False)(data)


def encode_as(type_: Any, value: Any, serializer: Any = None, default: str = "json") -> Any:
    return make_encoder(type_, serializer, default_serializer=default, allow_pickle=False)(value)


@pytest.mark.parametrize(
    ("type_", "value", "data"),
    [
        (str, "ü", "ü".encode()),
        (str, "", b""),
        (bytes, b"\xff", b"\xff"),
        (bytes, b"", b""),
        (None, b"\xff", b"\xff"),
        (int, -12, b"-12"),
        (float, 1.5, b"1.5"),
        (Decimal, Decimal("1.50"), b"1.50"),
        (UUID, UUID(int=1), b"00000000-0000-0000-0000-000000000001"),
        (bool, True, b"true"),
        (tuple[int, str], (1, "a"), b'[1,"a"]'),
        (Pair, Pair(1, "a"), b'[1,"a"]'),
        (dict, {"a": 1}, b'{"a":1}'),
        (Color, Color.RED, b'"red"'),
        (Order, ORDER, ORDER_JSON),
        (Model, Model(account_id="a", amount=1), b'{"account_id":"a","amount":1}'),
    ],
)
def test_raw_keys_round_trip(type_: Any, value: Any, data: bytes) -> None:
    """Keys are text or bytes as they are, numbers as text, everything else JSON."""
    assert encode_as(type_, value, default="raw") == data
    decoded = decode_as(type_, data, default="raw")
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    ("value", "data"),
    [("ü", "ü".encode()), (b"a", b"a"), (3, b"3"), (1.5, b"1.5"), (UUID(int=1), str(UUID(int=1)).encode())],
)
def test_untyped_raw_key_takes_text_and_numbers(value: Any, data: bytes) -> None:
    """As Kafka's tools do: without a type they are sent as their text, and read as bytes."""
    encode = make_encoder(None, None, default_serializer="raw", allow_pickle=False, is_key=True)
    assert encode(value) == data
    assert decode_as(None, data, default="raw") == data


@pytest.mark.parametrize(
    ("type_", "value", "data"),
    [
        (None, {"a": [1, None]}, b'{"a":[1,null]}'),
        (Any, [1], b"[1]"),
        (object, 1, b"1"),
        (str, "a", b'"a"'),
        (int, 1, b"1"),
        (float, 1.5, b"1.5"),
        (bool, False, b"false"),
        (list, [1, "a"], b'[1,"a"]'),
        (list[int], [1], b"[1]"),
        (dict, {"a": 1}, b'{"a":1}'),
        (dict[int, str], {1: "a"}, b'{"1":"a"}'),
        (set[int], {1}, b"[1]"),
        (tuple[int, ...], (1, 2), b"[1,2]"),
        (bytes, b"\x00raw", b"\x00raw"),
        (datetime, datetime(2026, 1, 2, tzinfo=UTC), b'"2026-01-02T00:00:00Z"'),
        (int | None, 1, b"1"),
        (Order, ORDER, ORDER_JSON),
        (list[Order], [ORDER], b"[" + ORDER_JSON + b"]"),
        (Model, Model(account_id="a", amount=1), b'{"account_id":"a","amount":1}'),
        (list[Model], [Model(account_id="a", amount=1)], b'[{"account_id":"a","amount":1}]'),
    ],
)
def test_json_values_round_trip(type_: Any, value: Any, data: bytes) -> None:
    """Values are JSON, read as their type; bytes are left alone."""
    assert encode_as(type_, value) == data
    decoded = decode_as(type_, data)
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize("serializer", ["json|gzip", "json|binary", "gzip", "binary", JSON | GZIP, "raw"])
@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Order, ORDER),
        (Model, Model(account_id="a", amount=1)),
        (str, "text"),
        (int, 3),
        (dict, {"a": 1}),
        (tuple[int, str], (1, "a")),
        (bytes, b"\x00"),
    ],
)
def test_typed_chains_round_trip(serializer: Any, type_: Any, value: Any) -> None:
    """The type is applied at the inner end of a chain."""
    assert decode_as(type_, encode_as(type_, value, serializer), serializer) == value


@pytest.mark.parametrize("serializer", ["json", "json|gzip"])
def test_bytes_with_json_round_trip(serializer: str) -> None:
    """Bytes for which JSON was asked are base64 in it, so any bytes survive."""
    assert decode_as(bytes, encode_as(bytes, b"\xff\x00", serializer), serializer) == b"\xff\x00"


def test_pickle_round_trips_where_allowed() -> None:
    """A Record and plain Python come back; where it is not allowed, no coder is made."""
    for type_, value in [(Order, ORDER), (None, {1, 2}), (int, 3), (str, "a")]:
        encode = make_encoder(type_, "pickle", default_serializer="json", allow_pickle=True)
        decode = make_decoder(type_, "pickle", default_serializer="json", allow_pickle=True)
        data = encode(value)
        assert data is not None
        assert decode(data) == value
    for make in (make_decoder, make_encoder):
        with pytest.raises(ImproperlyConfigured, match="allow_pickle"):
            make(None, "pickle", default_serializer="json", allow_pickle=False)


@pytest.mark.parametrize("type_", [None, str, str | None, bytes, int, dict, Order, Model, list[Order]])
@pytest.mark.parametrize("serializer", [None, "raw", "json", "gzip", "json|gzip"])
def test_none_is_a_tombstone(type_: Any, serializer: str | None) -> None:
    """Every encoder gives None for None."""
    assert encode_as(type_, None, serializer) is None


@pytest.mark.parametrize(
    "value", [{"account_id": "a", "amount": 1}, Other("a", 1), Model(account_id="a", amount=1), ORDER]
)
@pytest.mark.parametrize("type_", [Order, Model])
def test_encoders_take_other_things_than_their_type(type_: Any, value: Any) -> None:
    """A typed topic takes a dict or another record with the fields."""
    assert decode_as(Order, encode_as(type_, value)) == ORDER


def test_untyped_bytes_are_sent_as_they_are() -> None:
    """Like Faust: bytes for a JSON topic were encoded by the sender."""
    assert encode_as(None, b'{"a":1}') == b'{"a":1}'
    packed = encode_as(None, {"a": 1}, "json|gzip")
    assert encode_as(None, packed, "json|gzip") == packed


@pytest.mark.parametrize(("data", "serializer"), [(b"\xff\x00", None), (b"hello", None), (b'{"a":1}', "json|gzip")])
def test_untyped_bytes_that_nobody_could_read_are_refused(data: bytes, serializer: str | None) -> None:
    """They would be dead letters of every reader."""
    with pytest.raises(TypeError, match=r"bytes go to a topic without a type as they are.*declare value_type=bytes"):
        encode_as(None, data, serializer)


def test_text_key_type_takes_numbers_and_bytes() -> None:
    """What is not text becomes text, as for an untyped key."""
    assert [encode_as(str, value, default="raw") for value in (3, b"a", UUID(int=1))] == [
        b"3",
        b"a",
        b"00000000-0000-0000-0000-000000000001",
    ]


def test_numbers_as_text_are_read() -> None:
    """An int topic reads "3" as well, as in Faust."""
    assert decode_as(int, b'"3"') == 3
    assert decode_as(float, b'"1.5"') == 1.5


@pytest.mark.parametrize(
    ("type_", "data", "default"),
    [
        (None, b"", "json"),
        (None, b"{", "json"),
        (None, b"NaN", "json"),
        (None, b"\xff", "json"),
        (int, b"1.5", "json"),
        (int, b'"x"', "json"),
        (str, b"1", "json"),
        (list, b"{}", "json"),
        (list[int], b'["a"]', "json"),
        (dict, b"[]", "json"),
        (Order, b"", "json"),
        (Order, b"null", "json"),
        (Order, b'{"account_id":"a"}', "json"),
        (Order, b'{"account_id":"a","amount":"1"}', "json"),
        (Order, ORDER_JSON + b"x", "json"),
        (Model, b"{}", "json"),
        (Model, b"\xff", "json"),
        (str, b"\xff", "raw"),
        (int, b"", "raw"),
        (int, b"x", "raw"),
        (float, b"", "raw"),
        (Decimal, b"x", "raw"),
        (UUID, b"x", "raw"),
        (Order, b"x", "raw"),
        (None, b"a", "binary"),
        (None, b"a", "gzip"),
        (Order, b"{}", "json|gzip"),
        (Order, b"e30=", "json|binary"),
    ],
)
def test_bad_bytes_raise_and_are_explained(type_: Any, data: bytes, default: str) -> None:
    """Bytes that are not what type and codec say raise; the explanation is one line with the bytes in it."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the contract is: any exception
        decode_as(type_, data, default=default)
    assert isinstance(raised.value, Exception)
    line = explain(raised.value, data)
    assert repr(data) in line
    assert type(raised.value).__name__ in line
    assert len(line.splitlines()) == 1


def test_explanation_is_short() -> None:
    """Of a long value only the start is shown, and a long error is cut."""
    line = explain(ValueError("x\n" * 10_000), b"\x00" * 1_000_000)
    assert len(line) < 1_000
    assert "1000000 bytes" in line


@pytest.mark.parametrize(
    "type_",
    [None, str, int, float, bool, list, dict, bytes, Decimal, UUID, datetime, tuple[int, str], Order, Model, Color],
)
@pytest.mark.parametrize("default", ["raw", "json", "binary", "gzip", "json|gzip", "json|binary"])
@given(data=st.binary(max_size=60) | st.text(max_size=30).map(str.encode) | st.just(ORDER_JSON))
def test_decoders_on_arbitrary_bytes_raise_or_give_their_type(type_: Any, default: str, data: bytes) -> None:
    """Whatever arrives: an exception that can be explained, or a value of the type."""
    decode = make_decoder(type_, None, default_serializer=default, allow_pickle=False)
    try:
        value = decode(data)
    except Exception as error:  # noqa: BLE001 - the contract is: any exception
        value = error
    expected = getattr(type_, "__origin__", type_)
    if isinstance(value, Exception):
        assert len(explain(value, data).splitlines()) == 1
    else:
        assert expected is None or isinstance(value, expected)


@given(account=st.text(LETTERS), amount=st.integers(), language=st.none() | st.text(LETTERS))
@pytest.mark.parametrize("serializer", [None, "json|gzip", "json|binary"])
def test_records_round_trip(serializer: str | None, account: str, amount: int, language: str | None) -> None:
    """Any text and any integer come back."""
    order = Order(account, amount, language)
    assert decode_as(Order, encode_as(Order, order, serializer), serializer) == order


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_sizes_do_not_matter(size: int) -> None:
    """Empty and 1 MB values pass through every kind of coder."""
    order = Order("x" * size, size)
    assert decode_as(Order, encode_as(Order, order)) == order
    assert decode_as(str, encode_as(str, order.account_id, default="raw"), default="raw") == order.account_id
    assert decode_as(bytes, encode_as(bytes, b"x" * size)) == b"x" * size


def test_decoders_of_the_hot_path_have_no_python_frame() -> None:
    """Speed: a Record's decoder is msgspec's own method, a text key's is bytes.decode."""
    decoders = [
        make_decoder(Order, None, default_serializer="json", allow_pickle=False),
        make_decoder(int, None, default_serializer="json", allow_pickle=False),
        make_decoder(None, None, default_serializer="json", allow_pickle=False),
        make_decoder(str, None, default_serializer="raw", allow_pickle=False),
        make_decoder(None, None, default_serializer="raw", allow_pickle=False),
    ]
    assert [hasattr(decoder, "__code__") for decoder in decoders] == [False] * len(decoders)


def test_concrete_serializer_wins_over_the_default() -> None:
    """The topic's own serializer, then the default."""
    assert encode_as(str, "a", "json", default="raw") == b'"a"'
    assert encode_as(bytes, b"a", None, default="json") == b"a"


def test_untyped_integers_are_read_exactly() -> None:
    """Another producer's integer of more than 64 bits does not become a float."""
    assert decode_as(None, b"[1180591620717411303424]") == [2**70]


@pytest.mark.parametrize("type_", [None, int])
def test_what_a_codec_of_ones_own_makes_becomes_bytes(type_: Any) -> None:
    """People return the text of json.dumps, or a buffer; clients and stores take bytes, and others ended the worker."""

    def encode(made: Any, first: Codec | None = None) -> bytes | None:
        own = Codec(dumps=lambda _: made, loads=int if first is None else bytes)
        codec = own if first is None else first | own
        return make_encoder(type_, codec, default_serializer="json", allow_pickle=False)(12)

    for one in (b"12", bytearray(b"12"), memoryview(b"12"), "12"):
        for first in (None, JSON):
            assert encode(one, first) == b"12"
            assert type(encode(one, first)) is bytes
    for nothing in (12, None, {"a": 1}):
        with pytest.raises(TypeError, match="must give bytes"):
            encode(nothing)
