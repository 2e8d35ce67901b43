"""Type and serializer to functions between values and bytes: what topics, tables and the engine call per record.

Everything is decided when a coder is made; a call is one function, in C where that is possible. It knows
no topic and no setting.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from types import UnionType
from typing import Any, Union
from uuid import UUID

from ..errors import AppError, UndecodableRow
from ..printable import printable, text_of
from . import (
    JSON,
    RAW,
    UNPACKED_BYTES_MAX,
    Codec,
    are_lossless,
    can_load,
    dumps_of,
    get_codec,
    gives_bytes,
    loads_of,
    only_bytes,
    to_bytes,
)
from .certainty import faster
from .plain import check_finite, dumps, key_encoder, loads, record_encoder
from .record_options import options_of
from .sameness import difference, model_difference
from .surrogates import lone_surrogate
from .typed import converter, is_pydantic, json_decoder
from .untyped import encode_raw_key, encode_raw_value, json_encoder, loads_key

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes | None]
Write = Callable[[Any], bytes]

# How `raw` reads and writes these: as text. Every other type is JSON also when the serializer is raw.
RAW_DECODERS: dict[Any, Decode] = {
    None: bytes.__bytes__,
    bytes: bytes.__bytes__,
    str: bytes.decode,
    int: int,
    float: float,
    Decimal: lambda data: Decimal(data.decode()),
    UUID: lambda data: UUID(data.decode()),
}
# What people write for "no type".
UNTYPED = (None, object, Any)
# How pydantic models are written, until one gives them back: with aliases, and without what is computed from fields.
MODEL_MODES: tuple[dict[str, bool], ...] = (
    {"by_alias": True},
    {"by_alias": True, "round_trip": True},
    {"by_alias": False},
    {"by_alias": False, "round_trip": True},
)
EXPLAIN_BYTES_MAX = 80
EXPLAIN_TEXT_MAX = 500


def make_decoder(
    type_: object | None,
    serializer: str | Codec | None,
    *,
    default_serializer: str | Codec,
    allow_pickle: bool,
    unpacked_bytes_max: int = UNPACKED_BYTES_MAX,
    is_key: bool = False,
) -> Decode:
    """The function from the bytes of a record to a value of `type_`.

    Args:
        type_: None: what the codec gives. serializer: None: the type's own, else `default_serializer`.
        allow_pickle: whether the codec may unpickle. unpacked_bytes_max: what gzip may make of a key or value.
        is_key: arrays of a key without a type are tuples: keys must be hashable.

    Returns:
        A function that raises on bytes that it cannot read (any exception: see `explain`). It is never given None.

    Raises:
        ImproperlyConfigured, AppError: the serializer or the type is wrong.
    """
    codec = choose(type_, serializer, default_serializer, allow_pickle)
    first, *others = codec.nodes
    inner = decoder_of_one(type_, first, unpacked_bytes_max)
    if is_key and first is JSON and type_ in UNTYPED:
        inner = loads_key
    if not others:
        return inner
    outer = [loads_of(node, unpacked_bytes_max) for node in reversed(others)]

    def decode(data: bytes) -> Any:
        for read in outer:
            data = read(data)
        return inner(data)

    return decode


def make_encoder(
    type_: object | None,
    serializer: str | Codec | None,
    *,
    default_serializer: str | Codec,
    allow_pickle: bool,
    unpacked_bytes_max: int = UNPACKED_BYTES_MAX,
    is_key: bool = False,
) -> Encode:
    """The function from a value to the bytes of a record; None gives None, whatever the type.

    It takes values of `type_`, and plain data that is read as one. Without a type it takes what its decoder gives back
    (untyped.py), and bytes, which the sender has encoded already. What it does not take is a TypeError.

    Raises:
        ImproperlyConfigured, AppError: the serializer or the type is wrong.
    """
    codec = choose(type_, serializer, default_serializer, allow_pickle)
    read = make_decoder(
        type_,
        codec,
        default_serializer=codec,
        allow_pickle=allow_pickle,
        unpacked_bytes_max=unpacked_bytes_max,
        is_key=is_key,
    )
    if codec is RAW and type_ is bytes:
        return _encode_raw
    if type_ in UNTYPED:
        return _untyped_encoder(codec, read, unpacked_bytes_max, is_key=is_key)
    inner = _encoder_of_chain(type_, codec, unpacked_bytes_max)
    if codec is RAW and type_ in RAW_DECODERS:
        return _raw_encoder(type_, read)
    if codec is JSON and is_pydantic(type_):
        # It has read what it writes.
        return lambda value: None if value is None else inner(value)

    def encode(value: Any) -> bytes | None:
        return None if value is None else _readable(value, inner(value), type_, read)

    return faster(_without_none(type_), inner, encode) if codec.nodes[0] in (JSON, RAW) else encode


def _without_none(type_: Any) -> Any:
    """The other members of `str | None`: None is no record's value or key, whatever the type."""
    if typing.get_origin(type_) not in (Union, UnionType):
        return type_
    return Union[tuple(member for member in typing.get_args(type_) if member is not type(None))]  # noqa: UP007


def text_hint(type_: object | None, serializer: str | Codec | None, default_serializer: str | Codec) -> str | None:
    """What to declare when values of this declaration turn out to be plain text; None: it reads no JSON text."""
    if type_ not in (str, *UNTYPED) or choose(type_, serializer, default_serializer, allow_pickle=True) is not JSON:
        return None
    what = 'value_type=str is a text in JSON ("hello", with its quotes)' if type_ is str else "values are JSON"
    text = "" if type_ is str else "value_type=str, "
    return f'{what}, and a value is none. If they are plain text, declare app.topic(..., {text}value_serializer="raw")'


def explain(error: BaseException, data: bytes | None) -> str:
    """One line on why `data` could not be decoded: the error, and how the bytes begin, if there are any."""
    said = (lone_surrogate(error, data) if data is not None else None) or text_of(error)
    text = printable(" ".join(f"{type(error).__name__}: {said}".split()))[:EXPLAIN_TEXT_MAX]
    # Such an error is about the row that it has named.
    if data is None or isinstance(error, UndecodableRow):
        return text
    return f"{text}; {shown_bytes(data)}"


def shown_bytes(data: bytes) -> str:
    """How these bytes begin."""
    start = bytes(data[:EXPLAIN_BYTES_MAX])
    which = (
        "the bytes are" if len(data) <= EXPLAIN_BYTES_MAX else f"{len(data)} bytes, the first {EXPLAIN_BYTES_MAX} are"
    )
    return f"{which} {start!r}"


def choose(type_: Any, serializer: str | Codec | None, default: str | Codec, allow_pickle: bool) -> Codec:
    """The codec: the one asked for, else the type's own, else `default`."""
    options = options_of(type_)
    if options is not None and options.abstract:
        raise AppError(f"Record {type_.__name__} is abstract: a topic or table needs one of its subclasses.")
    own = None if options is None else options.serializer
    if serializer is None and own is None and type_ is bytes:
        return RAW
    return get_codec(serializer or own or default, allow_pickle=allow_pickle)


def decoder_of_one(type_: Any, codec: Codec, unpacked_bytes_max: int) -> Decode:
    """How the first codec of a chain reads values of a type."""
    if codec is RAW and type_ in RAW_DECODERS:
        return RAW_DECODERS[type_]
    if codec is JSON or codec is RAW:
        return loads if type_ in UNTYPED else json_decoder(type_)
    read = loads_of(codec, unpacked_bytes_max)
    convert = _to_type(type_)
    return read if convert is None else lambda data: convert(read(data))


def _to_type(type_: Any) -> Callable[[Any], Any] | None:
    """From what a codec gave to the declared type: its bytes or text are read as `raw` reads them."""
    if type_ in UNTYPED:
        return None
    convert = converter(type_)
    read = RAW_DECODERS.get(type_) or json_decoder(type_)

    def to_type(value: Any) -> Any:
        if isinstance(value, bytes):
            return read(value)
        return convert(value)

    return to_type


def encoder_of_one(
    type_: Any, codec: Codec, unpacked_bytes_max: int, *, is_key: bool = False
) -> Callable[[Any], bytes]:
    """How the first codec of a chain writes values of a type. is_key: what is equal has the same bytes."""
    if codec is RAW:
        return to_bytes
    if codec is not JSON:
        return dumps_of(codec, unpacked_bytes_max)
    if type_ in UNTYPED:
        return dumps
    if is_pydantic(type_):
        return partial(_encode_model, type_)
    return key_encoder(type_) if is_key else record_encoder(type_)


def _encoder_of_chain(type_: Any, codec: Codec, unpacked_bytes_max: int) -> Write:
    return _chained(encoder_of_one(type_, codec.nodes[0], unpacked_bytes_max), codec.nodes, unpacked_bytes_max)


def _chained(inner: Callable[[Any], Any], nodes: Sequence[Codec], unpacked_bytes_max: int) -> Write:
    """`inner` for the first of these codecs, and then each other one."""
    outer = [dumps_of(node, unpacked_bytes_max) for node in nodes[1:]]
    if not gives_bytes(nodes[-1]):
        outer.append(only_bytes)
    if not outer:
        return inner

    def encode(value: Any) -> bytes:
        data: bytes = inner(value)
        for dumps_next in outer:
            data = dumps_next(data)
        return data

    return encode


def _encode_raw(value: Any) -> bytes | None:
    return None if value is None else to_bytes(value)


def _untyped_encoder(codec: Codec, read: Decode, unpacked_bytes_max: int, *, is_key: bool) -> Encode:
    if codec is RAW:
        return encode_raw_key if is_key else encode_raw_value
    first, *others = codec.nodes
    if first is not JSON:
        write = _chained(encoder_of_one(None, first, unpacked_bytes_max), codec.nodes, unpacked_bytes_max)
        if all(map(can_load, codec.nodes)):
            write, _ = checked((write, read), bytes if are_lossless(codec.nodes) else None)
        return lambda value: None if value is None else write(value)
    inner = json_encoder("key" if is_key else "value", partial(_encoded, read))
    if not others:
        return inner
    write = _chained(inner, codec.nodes, unpacked_bytes_max)
    if not are_lossless(others) and all(map(can_load, others)):
        write, _ = checked((write, read))

    def encode(value: Any) -> bytes | None:
        if value is None:
            return None
        return _encoded(read, value) if value.__class__ is bytes else write(value)

    return encode


def _encoded(read: Decode, data: bytes) -> bytes:
    """Bytes that the sender has encoded already: they go out as they are, as in Faust, if the topic can read them."""
    try:
        read(data)
    except Exception as error:
        raise TypeError(
            f"bytes go to a topic without a type as they are, and its codec cannot read {data[:EXPLAIN_BYTES_MAX]!r} "
            f"({text_of(error)}): declare value_type=bytes (key_type=bytes), or send text or plain data"
        ) from error
    return data


def checked(pair: tuple[Write, Decode], certain_type: Any = None) -> tuple[Write, Decode]:
    """What does not come back is refused. certain_type: its own values always do."""
    write, read = pair

    def encode(value: Any) -> bytes:
        data = write(value)
        if type(value) is certain_type:
            return data
        try:
            compare(value, data, read)
        except TypeError as error:
            raise TypeError(
                f"{error}: declare its type (key_type=, value_type=) or choose another serializer"
            ) from error
        return data

    return encode, read


def compare(value: Any, data: bytes, read: Decode) -> None:
    """Raise TypeError unless these bytes give the value back."""
    try:
        found = difference(value, read(data))
    except Exception as error:
        text = f"{type(error).__name__}: {text_of(error)}"
        raise TypeError(f"a {type(value).__name__} is written and cannot be read again: {text}") from error
    if found is not None:
        raise TypeError(f"a {type(value).__name__} does not come back as it was: {found}")


def _raw_encoder(type_: Any, read: Decode) -> Encode:
    def encode_text(value: Any) -> bytes | None:
        return value.encode() if type(value) is str else encode(value)

    def encode(value: Any) -> bytes | None:
        if type(value) is type_:
            data: bytes = str(value).encode()
            return data
        return None if value is None else _readable(value, to_bytes(value), type_, read)

    return encode_text if type_ is str else encode


def _readable(value: Any, data: bytes, type_: Any, read: Decode) -> bytes:
    """`data`, in which `value` was written, if the readers of the topic can read it, and get what was sent.

    What is not of the topic's type itself, such as a dict for a Record, is read as that type: that it can be is enough.
    """
    try:
        found = read(data)
    except Exception as error:
        text = f"{type(error).__name__}: {text_of(error)}"
        raise TypeError(f"a {type(value).__name__} cannot be read again as {shown_type(type_)}: {text}") from error
    if type(found) is type(value):
        if found != value and (changed := difference(value, found)) is not None:
            raise TypeError(f"a {type(value).__name__} is not read as it was sent: {changed}")
    elif data.find(b"null") >= 0:
        check_finite(value)
    return data


def shown_type(type_: Any) -> str:
    """A type as it is written."""
    return type_.__name__ if isinstance(type_, type) and not hasattr(type_, "__origin__") else str(type_)


def _encode_model(type_: Any, value: Any) -> bytes:
    """A pydantic model in the first of the ways that its class reads as it was.

    Raises:
        TypeError: there is none. ValueError: what is to be read as one is no plain data.
    """
    if type(value) is not type_:
        is_model = hasattr(value, "model_dump_json")
        data: bytes = value.model_dump_json(by_alias=True).encode() if is_model else dumps(value)
        return _readable(value, data, type_, type_.model_validate_json)
    refusal: Exception | None = None
    for mode in MODEL_MODES:
        data = value.model_dump_json(**mode).encode()
        try:
            found = type_.model_validate_json(data)
        except ValueError as error:
            refusal = refusal or error
            continue
        changed = None if _has_same_fields(value, found) else model_difference(value, found)
        if changed is None:
            return data
        refusal = refusal or TypeError(f"a {type_.__name__} is not read as it was sent: {changed}")
    assert refusal is not None
    if isinstance(refusal, TypeError):
        raise refusal
    text = f"{type(refusal).__name__}: {text_of(refusal)}"
    raise TypeError(f"a {type_.__name__} cannot be read again as {type_.__name__}: {text}") from refusal


def _has_same_fields(value: Any, found: Any) -> bool:
    return bool(found.__dict__ == value.__dict__ and found.__pydantic_extra__ == value.__pydantic_extra__)
