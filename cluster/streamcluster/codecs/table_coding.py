"""The coders of tables: to bytes and back so that a value is afterwards what it was, or is refused.

    value --- the codec of its type ---> bytes, when these give it back equal and of its type
          --- JSON with names of types (named_json.py) ---> bytes, when those do and it is of the table's type
          --- neither: TypeError

Whether they do is known beforehand for the usual values (`certainty.py`); the others are read back and compared, one
pass at the cut. It knows no table and no setting.
"""

from __future__ import annotations

import marshal
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from ..errors import AppError, DecodeError
from ..printable import text_of
from . import JSON, RAW, UNPACKED_BYTES_MAX, Codec, are_lossless, dumps_of, loads_of, named_json
from .certainty import are_words, faster, is_plain_key
from .coding import RAW_DECODERS, UNTYPED, checked, choose, compare, decoder_of_one, encoder_of_one, shown_type
from .conforming import conforms
from .plain import compact, loads

TableEncode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]
Migrate = Callable[[Any], Any]
Pair = tuple[TableEncode, Decode]


class KeyPart(NamedTuple):
    """How keys are written that are a part of rows' keys. as_json: those of these types are as JSON has them."""

    encode: TableEncode
    as_json: frozenset[type]


_ENCODER = msgspec.json.Encoder()
_encode_scalar = _ENCODER.encode
_SCALARS = frozenset({str, int, bool, type(None)})
# Everything that orjson would write as something else is left to `named_json`, but for tuples, enums and UUIDs.
_STRICTLY = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
# The version before objects that are met twice were written once: the fastest.
_MARSHAL_VERSION = 2
_NULL = b"null"
# Of msgspec, for an enum with values of several types: its members are written by name.
_ENUM_REFUSAL = "Enums must contain"


def make_table_coder(
    type_: object | None,
    serializer: str | Codec | None,
    *,
    allow_pickle: bool,
    is_key: bool = False,
    unpacked_bytes_max: int = UNPACKED_BYTES_MAX,
    migrate: Migrate | None = None,
) -> Pair:
    """The functions between a table's keys (is_key) or values and the bytes of its changelog, by default JSON.

    What is decoded is always a fresh object, equal to what was encoded and of the same type, at every depth; what
    would not be is a TypeError. Keys come back hashable, and what is the same key has the same bytes.

    Args:
        migrate: what makes a value of what does not decode; it gets plain JSON data, or the bytes when they are none.

    Raises:
        ImproperlyConfigured, AppError: the serializer or the type is wrong.
    """
    codec = choose(type_, serializer, "json", allow_pickle)
    first, *others = codec.nodes
    packers = [dumps_of(node, unpacked_bytes_max) for node in others]
    unpackers = [loads_of(node, unpacked_bytes_max) for node in reversed(others)]
    if first is JSON:
        if type_ in UNTYPED:
            pair = _untyped(is_key=is_key)
        elif type_ in (dict, list) or (is_key and type_ is tuple):
            pair = _of_class(type_, _untyped(is_key=is_key))
        else:
            pair = _typed(type_, is_key=is_key)
    else:
        read = _reader(type_, first, unpacked_bytes_max)
        decode = read if not is_key or type_ in RAW_DECODERS else lambda data: hashable(read(data))
        pair = encoder_of_one(type_, first, unpacked_bytes_max), decode
        if first is not RAW or type_ not in RAW_DECODERS:
            pair = checked(pair)
        else:
            pair = checked(pair, bytes if type_ is None else type_)
    if others:
        pair = _packed(pair, packers, unpackers)
        if not are_lossless(others):
            pair = checked(pair)
    if migrate is None:
        return pair
    return pair[0], _migrating(pair, migrate, unpackers)


def types_as_json(type_: object | None, serializer: str | Codec | None) -> frozenset[type]:
    """Which of text and whole numbers a table of such keys writes as JSON has them, and as nothing else."""
    codec = choose(type_, serializer, "json", allow_pickle=True)
    if tuple(codec.nodes) != (JSON,):
        return frozenset()
    return frozenset({kind for kind in (str, int) if type_ in UNTYPED or type_ is kind})


def as_json(values: Sequence[Any]) -> list[bytes]:
    """Each of these texts and whole numbers as JSON has it: in two calls, which takes a fifth of the time."""
    # No text in JSON has the end of a line in it.
    return _ENCODER.encode_lines(values).splitlines()


def _reader(type_: Any, first: Codec, unpacked_bytes_max: int) -> Decode:
    read = _decoder(type_, first, unpacked_bytes_max)
    if first is RAW or type_ in UNTYPED:
        return read
    read_as_it_is = loads_of(first, unpacked_bytes_max)

    def decode(data: bytes) -> Any:
        # A codec such as pickle gives the types themselves; others give plain data, which becomes the type.
        value = read_as_it_is(data)
        return value if type(value) is not bytes and conforms(value, type_) else read(data)

    return decode


def _packed(pair: Pair, packers: list[Callable[[Any], bytes]], unpackers: list[Callable[[bytes], Any]]) -> Pair:
    write, read = pair

    def encode(value: Any) -> bytes:
        data = write(value)
        for pack in packers:
            data = pack(data)
        return data

    def decode(data: bytes) -> Any:
        for unpack in unpackers:
            data = unpack(data)
        return read(data)

    return encode, decode


# Without a type


def _untyped(*, is_key: bool) -> Pair:
    return (_encode_key, _decode_key) if is_key else (_encode_value, _decode_value)


def _encode_value(value: Any) -> bytes:
    kind = type(value)
    if kind in _SCALARS:
        return _encode_scalar(value)
    if kind is float:
        data = _encode_scalar(value)
        return data if data != _NULL else named_json.dumps(value)
    if kind is dict or kind is list:
        try:
            data = compact(orjson.dumps(value, option=_STRICTLY))
            # Of keys that are no text, orjson has raised already.
            if are_words(value if kind is list else value.values()) and not data.startswith(named_json.MARK):
                return data
            # Its errors say that there is an enum (or a subclass) in it; the comparison sees tuples, UUIDs and nulls.
            marshal.dumps(value, _MARSHAL_VERSION)
            if loads(data) == value and data.find(named_json.MARK) < 0:
                return data
        except (TypeError, ValueError):
            pass
    data = named_json.dumps(value)
    compare(value, data, _decode_value)
    return data


def _decode_value(data: bytes) -> Any:
    value = loads(data)
    return named_json.revive(value) if data.find(named_json.MARK) >= 0 else value


def _encode_key(key: Any) -> bytes:
    if type(key) in _SCALARS or is_plain_key(key):
        return _encode_scalar(key)
    data = named_json.dumps(key, is_key=True)
    compare(key, data, _decode_key)
    return data


def _decode_key(data: bytes) -> Any:
    value = loads(data)
    if data.find(named_json.MARK) >= 0:
        return named_json.revive(value, is_key=True)
    return hashable(value) if type(value) is list else value


# With a type


def _of_class(kind: type, pair: Pair) -> Pair:
    """For the types of JSON itself: as without a type, but what is no instance is refused."""
    write, read = pair

    def encode(value: Any) -> bytes:
        if not isinstance(value, kind):
            raise TypeError(f"a {type(value).__name__} is not {kind.__name__}")
        return write(value)

    def decode(data: bytes) -> Any:
        value = read(data)
        if not isinstance(value, kind):
            raise DecodeError(f"a {type(value).__name__} is not {kind.__name__}")
        return value

    return encode, decode


def _typed(type_: Any, *, is_key: bool) -> Pair:
    write = encoder_of_one(type_, JSON, UNPACKED_BYTES_MAX, is_key=is_key)
    read = _decoder(type_, JSON, UNPACKED_BYTES_MAX)
    read_plain = read if not is_key or type_ in RAW_DECODERS else lambda data: hashable(read(data))

    def decode(data: bytes) -> Any:
        if data.startswith(named_json.MARK):
            plain = loads(data)
            if named_json.is_named(plain):
                found = named_json.revive(plain, is_key=is_key)
                if not conforms(found, type_):
                    raise DecodeError(f"a {type(found).__name__} is not {shown_type(type_)}")
                return found
        return read_plain(data)

    def careful(value: Any) -> bytes:
        try:
            data = write(value)
            if not data.startswith(named_json.MARK):
                compare(value, data, read_plain)
                return data
            refusal: Exception | None = None
        except Exception as error:  # noqa: BLE001 (encoders call user code; what they cannot write, names may)
            refusal = error
        if not conforms(value, type_):
            raise TypeError(
                f"a {type(value).__name__} is not {shown_type(type_)}, or something in it is not what is declared"
                f"{'' if refusal is None else f': {text_of(refusal)}'}"
            ) from refusal
        data = named_json.dumps(value, is_key=is_key)
        if not data.startswith(named_json.MARK):
            data = b'{"py/value":%b}' % data
        compare(value, data, decode)
        return data

    def write_unless_named(value: Any) -> bytes:
        data = write(value)
        return careful(value) if data.startswith(named_json.MARK) else data

    # Only a dict of the user's own keys may begin as our names do.
    is_dict = (typing.get_origin(type_) or type_) is dict
    return faster(type_, write_unless_named if is_dict else write, careful), decode


def hashable(value: Any) -> Any:
    """With tuples for lists, at every depth."""
    if isinstance(value, list) or type(value) is tuple:
        return tuple([hashable(member) for member in value])
    return value


def _decoder(type_: Any, first: Codec, unpacked_bytes_max: int) -> Decode:
    try:
        return decoder_of_one(type_, first, unpacked_bytes_max)
    except AppError as error:
        refusal = str(error)
        if _ENUM_REFUSAL not in refusal:
            raise

    def read(data: bytes) -> Any:
        raise DecodeError(refusal)

    return read


# Old rows


def _migrating(pair: Pair, migrate: Migrate, unpackers: list[Callable[[bytes], Any]]) -> Decode:
    encode, read = pair

    def decode(data: bytes) -> Any:
        try:
            return read(data)
        except Exception as error:  # noqa: BLE001 (codecs are user code; every row that does not decode is an old one)
            old = _plain_of(data, unpackers)
            try:
                value = migrate(old)
                encode(value)
            except Exception as second:
                text = f"{type(second).__name__}: {text_of(second)}"
                raise DecodeError(
                    f"{type(error).__name__}: {text_of(error)}; and what migrate made of it is no value of the table: "
                    f"{text}"
                ) from second
            return value

    return decode


def _plain_of(data: bytes, unpackers: list[Callable[[bytes], Any]]) -> Any:
    """The row as plain data; its bytes, when it is no JSON."""
    unpacked: Any = data
    try:
        for unpack in unpackers:
            unpacked = unpack(unpacked)
        return named_json.loads(unpacked, by_name=False)
    except Exception:  # noqa: BLE001 (it may be anything)
        return data
