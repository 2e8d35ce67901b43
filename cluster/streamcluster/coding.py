"""Type and serializer to functions between values and bytes: what topics, tables and the engine call per record.

Everything is decided when a coder is made; a call is one function, in C where that is possible. It knows
no topic and no setting.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import orjson

from .codecs import JSON, RAW, UNPACKED_BYTES_MAX, Codec, dumps_of, get_codec, loads_of, to_bytes
from .errors import AppError
from .plain import dumps, dumps_with, loads, record_encoder
from .printable import printable, text_of
from .record_options import options_of
from .surrogates import lone_surrogate
from .typed import converter, is_pydantic, json_decoder

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes | None]
TableEncode = Callable[[Any], bytes]

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
TABLE_SCALARS = frozenset({str, int, float, bool, type(None)})
_encode_scalar = msgspec.json.Encoder().encode
EXPLAIN_BYTES_MAX = 80
EXPLAIN_TEXT_MAX = 500


def make_decoder(
    type_: object | None,
    serializer: str | Codec | None,
    *,
    default_serializer: str | Codec,
    allow_pickle: bool,
    unpacked_bytes_max: int = UNPACKED_BYTES_MAX,
) -> Decode:
    """The function from the bytes of a record to a value of `type_`.

    Args:
        type_: None: what the codec gives. serializer: None: the type's own, else `default_serializer`.
        allow_pickle: whether the codec may unpickle. unpacked_bytes_max: what gzip may make of a key or value.

    Returns:
        A function that raises on bytes that it cannot read (any exception: see `explain`). It is never given None.

    Raises:
        ImproperlyConfigured, AppError: the serializer or the type is wrong.
    """
    codec = _choose(type_, serializer, default_serializer, allow_pickle)
    first, *others = codec.nodes
    inner = _decoder_of_one(type_, first, unpacked_bytes_max)
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
) -> Encode:
    """The function from a value to the bytes of a record; None gives None, whatever the type.

    It takes values of `type_`, and where the codec can write them also records, pydantic models and plain data.

    Raises:
        ImproperlyConfigured, AppError: the serializer or the type is wrong.
    """
    codec = _choose(type_, serializer, default_serializer, allow_pickle)
    if codec is RAW:
        return _encode_text if type_ is str else _encode_raw
    if codec.nodes[0] is JSON and type_ in UNTYPED:
        return _untyped_encoder(_encoder_of_chain(type_, codec, unpacked_bytes_max))
    inner = _encoder_of_chain(type_, codec, unpacked_bytes_max)
    return lambda value: None if value is None else inner(value)


def make_table_coder(
    type_: object | None,
    serializer: str | Codec | None,
    *,
    allow_pickle: bool,
    is_key: bool = False,
    unpacked_bytes_max: int = UNPACKED_BYTES_MAX,
) -> tuple[TableEncode, Decode]:
    """The functions between a table's keys (is_key) or values and the bytes of its changelog, by default JSON.

    What is decoded is always a fresh object. Keys come back hashable: JSON lists as tuples. Without a type only what
    comes back from JSON as it was can be stored; other values raise a TypeError that says which type to declare.

    Raises:
        ImproperlyConfigured, AppError: the serializer or the type is wrong.
    """
    codec = _choose(type_, serializer, "json", allow_pickle)
    if codec is JSON and type_ in UNTYPED:
        return _encode_plain, _decode_plain_key if is_key else loads
    encode = _encoder_of_chain(type_, codec, unpacked_bytes_max)
    decode = make_decoder(
        type_, codec, default_serializer="json", allow_pickle=allow_pickle, unpacked_bytes_max=unpacked_bytes_max
    )
    if is_key and type_ not in RAW_DECODERS:
        return encode, lambda data: _hashable(decode(data))
    return encode, decode


def text_hint(type_: object | None, serializer: str | Codec | None, default_serializer: str | Codec) -> str | None:
    """What to declare when values of this declaration turn out to be plain text; None: it reads no JSON text."""
    if type_ not in (str, *UNTYPED) or _choose(type_, serializer, default_serializer, allow_pickle=True) is not JSON:
        return None
    what = 'value_type=str is a text in JSON ("hello", with its quotes)' if type_ is str else "values are JSON"
    text = "" if type_ is str else "value_type=str, "
    return f'{what}, and a value is none. If they are plain text, declare app.topic(..., {text}value_serializer="raw")'


def explain(error: Exception, data: bytes | None) -> str:
    """One line on why `data` could not be decoded: the error, and how the bytes begin, if there are any."""
    said = (lone_surrogate(error, data) if data is not None else None) or text_of(error)
    text = printable(" ".join(f"{type(error).__name__}: {said}".split()))[:EXPLAIN_TEXT_MAX]
    if data is None:
        return text
    start = bytes(data[:EXPLAIN_BYTES_MAX])
    which = (
        "the bytes are" if len(data) <= EXPLAIN_BYTES_MAX else f"{len(data)} bytes, the first {EXPLAIN_BYTES_MAX} are"
    )
    return f"{text}; {which} {start!r}"


def _choose(type_: Any, serializer: str | Codec | None, default: str | Codec, allow_pickle: bool) -> Codec:
    options = options_of(type_)
    if options is not None and options.abstract:
        raise AppError(f"Record {type_.__name__} is abstract: a topic or table needs one of its subclasses.")
    own = None if options is None else options.serializer
    if serializer is None and own is None and type_ is bytes:
        return RAW
    return get_codec(serializer or own or default, allow_pickle=allow_pickle)


def _decoder_of_one(type_: Any, codec: Codec, unpacked_bytes_max: int) -> Decode:
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


def _encoder_of_one(type_: Any, codec: Codec, unpacked_bytes_max: int) -> Callable[[Any], bytes]:
    if codec is RAW:
        return to_bytes
    if codec is not JSON:
        return dumps_of(codec, unpacked_bytes_max)
    if type_ in UNTYPED:
        return dumps
    if is_pydantic(type_):
        return _encode_model
    return record_encoder(type_)


def _encoder_of_chain(type_: Any, codec: Codec, unpacked_bytes_max: int) -> Callable[[Any], bytes]:
    first, *others = codec.nodes
    inner = _encoder_of_one(type_, first, unpacked_bytes_max)
    if not others:
        return inner
    outer = [dumps_of(node, unpacked_bytes_max) for node in others]

    def encode(value: Any) -> bytes:
        data = inner(value)
        for dumps_next in outer:
            data = dumps_next(data)
        return data

    return encode


def _encode_text(value: Any) -> bytes | None:
    if value.__class__ is str:
        data: bytes = value.encode()
        return data
    return None if value is None else to_bytes(value)


def _encode_raw(value: Any) -> bytes | None:
    return None if value is None else to_bytes(value)


def _untyped_encoder(inner: Callable[[Any], bytes]) -> Encode:
    def encode(value: Any) -> bytes | None:
        # Bytes were encoded by the sender already: like Faust, send them as they are.
        if value is None or value.__class__ is bytes:
            data: bytes | None = value
            return data
        return inner(value)

    return encode


def _encode_model(value: Any) -> bytes:
    dump = getattr(value, "model_dump_json", None)
    return dumps(value) if dump is None else dump().encode()


def _refuse(value: Any) -> Any:
    name = type(value).__name__
    raise TypeError(
        f"a {name} does not come back from JSON as it was: "
        f"declare it in app.Table(..., key_type= or value_type={name})."
    )


def _encode_plain(value: Any) -> bytes:
    if value.__class__ in TABLE_SCALARS:
        return _encode_scalar(value)
    return dumps_with(value, _refuse, orjson.OPT_PASSTHROUGH_DATETIME)


def _decode_plain_key(data: bytes) -> Any:
    value = loads(data)
    return _hashable(value) if value.__class__ is list else value


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([_hashable(item) for item in value])
    if value.__class__ is tuple:
        return tuple([_hashable(item) for item in value])
    return value
