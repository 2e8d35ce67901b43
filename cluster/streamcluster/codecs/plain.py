"""Values to JSON: what JSON has no word for, and what is written instead.

Records go through msgspec, plain data through orjson; both call the functions here for the rest. It knows no codec,
topic or setting.
"""

from __future__ import annotations

import dataclasses
import typing
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec
import orjson

from ..errors import AppError
from .record_options import RecordOptions, options_of

METADATA_KEY = "__faust"
# Types, not values, are cached here: the bound only limits programs that make classes for ever.
TYPES_CACHED_MAX = 4096


def to_plain(value: Any) -> Any:
    """Something that JSON has a word for, in place of `value`; the last resort of both encoders.

    Raises:
        TypeError: there is nothing to write for this type.
    """
    convert = getattr(value, "__json__", None)
    if convert is not None:
        return convert()
    if isinstance(value, (set, frozenset, deque, tuple)):
        return list(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise TypeError(f"JSON has no word for bytes that are no text ({bytes(value)!r:.80})") from None
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "model_dump_json"):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(
        f"JSON has no word for {type(value).__name__} (value {value!r:.80}): give the class a __json__() method "
        "that returns plain data, or choose another serializer."
    )


# Reads integers of any size, where orjson makes floats of those over 64 bits, and is the faster one on short values
# (130 bytes: 240 ns against 290; 15 kB: 97 us against 79).
loads: Callable[[bytes], Any] = msgspec.json.Decoder().decode
_record_encoder = msgspec.json.Encoder(enc_hook=to_plain)
# Sets in one order in every process, so that equal keys have equal bytes.
_key_encoder = msgspec.json.Encoder(enc_hook=to_plain, order="deterministic")


def encode_record(record: msgspec.Struct) -> bytes:
    """A record as JSON, with its metadata if its class (or the class of one of its fields) asks for that."""
    return record_encoder(type(record))(record)


def _fragment_or_plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return orjson.Fragment(encode_record(value))
    return to_plain(value)


def dumps(value: Any) -> bytes:
    """Plain data, records and what `to_plain` knows, as JSON.

    Raises:
        TypeError: a value that JSON has no word for, or an integer of more than 64 bits. ValueError: a float that is
            infinite or no number, or a dict with keys that are one text in JSON.
    """
    if isinstance(value, msgspec.Struct):
        data = encode_record(value)
    else:
        data = dumps_with(value, _fragment_or_plain, orjson.OPT_UTC_Z)
    # Both encoders write null for such a float.
    if data.find(b"null") >= 0 and loads(data) != value:
        check_finite(value)
    return data


def check_finite(value: Any) -> None:
    """Raise ValueError when there is a float in `value` that JSON has no word for."""
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"JSON has no word for the float {value!r}: send None or text in its place")
    elif isinstance(value, Mapping):
        for key, member in value.items():
            check_finite(key)
            check_finite(member)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for member in value:
            check_finite(member)
    elif isinstance(value, msgspec.Struct):
        check_finite([getattr(value, name) for name in value.__struct_fields__])
    elif dataclasses.is_dataclass(value) or hasattr(value, "model_dump_json"):
        check_finite(vars(value) if hasattr(value, "__dict__") else dataclasses.asdict(value))


def _check_keys(value: Any) -> None:
    """Raise ValueError when keys of a dict become one: 1 and "1" do."""
    if isinstance(value, dict):
        keys = orjson.loads(orjson.dumps(dict.fromkeys(value), option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z))
        if len(keys) < len(value):
            raise ValueError(f"a dict with keys that are the same text in JSON: {list(value)!r:.80}")
        for member in value.values():
            _check_keys(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            _check_keys(member)


def dumps_any(value: Any) -> bytes:
    """The same for showing what a table holds, which may be more than JSON has words for. Raises: anything."""
    try:
        return dumps(value)
    except (TypeError, ValueError):
        return _record_encoder.encode(_showable(value))


def _showable(value: Any) -> Any:
    """With text for the keys and numbers that JSON does not have, and for bytes."""
    if isinstance(value, float):
        return value if isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        texts = {_key_text(key): _showable(member) for key, member in value.items()}
        # 1 and "1" are one text: then pairs, or one of them would not be shown.
        return texts if len(texts) == len(value) else _showable([*value.items()])
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [_showable(member) for member in value]
    if isinstance(value, msgspec.Struct):
        return _showable(_represent_record(value))
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: _showable(getattr(value, name)) for name in names if hasattr(value, name)}
    if hasattr(value, "__pydantic_fields_set__"):
        return _showable(value.model_dump(by_alias=True))
    if isinstance(value, (bytes, bytearray)):
        return value.decode(errors="backslashreplace")
    return str(value) if isinstance(value, (complex, Fraction)) else value


def _key_text(key: Any) -> str:
    if isinstance(key, str):
        return str(key)
    text = dumps_any(key).decode()
    return text[1:-1] if text.startswith('"') else text


def compact(data: bytes) -> bytes:
    """A copy that takes no more than it is long.

    What orjson 3.13 returns keeps the buffer that it was written in: 4 KB for 20 bytes, 260 KB for 16 KB. A copy takes
    50 ns; 20,000 results that are kept take 0.7 us each with it and 6.7 us without (measured).
    """
    return b"".join((data, b""))


def dumps_with(value: Any, default: Callable[[Any], Any], option: int) -> bytes:
    """orjson.dumps, with keys that are no text, and with the error that `default` raised.

    Raises:
        TypeError: from `default`, or orjson's own.
    """
    try:
        return compact(orjson.dumps(value, default=default, option=option))
    except TypeError:
        # The option for keys that are no text makes every dict slower, so only those that need it pay.
        try:
            data = orjson.dumps(value, default=default, option=option | orjson.OPT_NON_STR_KEYS)
            _check_keys(value)
            return compact(data)
        except TypeError as error:
            # orjson says only that a type is not serializable; what `default` said is in the cause.
            raise error.__cause__ or error from None


@lru_cache(maxsize=TYPES_CACHED_MAX)
def record_encoder(type_: Any) -> Callable[[Any], bytes]:
    """The encoder for values of a type that msgspec knows: takes other records and plain data as well."""
    if not writes_metadata(type_):
        return _record_encoder.encode
    return lambda value: _record_encoder.encode(represent(value))


@lru_cache(maxsize=TYPES_CACHED_MAX)
def key_encoder(type_: Any) -> Callable[[Any], bytes]:
    """The same for keys, whose encoding is their identity."""
    return record_encoder(type_) if writes_metadata(type_) else _key_encoder.encode


def represent(value: Any) -> Any:
    """Records inside of `value` as dicts under the names of the wire, with metadata where the class asks for it."""
    if isinstance(value, msgspec.Struct):
        return _represent_record(value)
    if isinstance(value, dict):
        return {key: represent(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [represent(item) for item in value]
    return value


def _represent_record(record: msgspec.Struct) -> Any:
    config = record.__struct_config__
    if config.array_like:
        return msgspec.to_builtins(record, enc_hook=to_plain)
    fields: dict[str, Any] = {} if config.tag_field is None else {config.tag_field: config.tag}
    for name, written in zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True):
        fields[written] = represent(getattr(record, name))
    options = options_of(type(record))
    if options is not None and options.include_metadata:
        fields[METADATA_KEY] = {"ns": options.namespace}
    return fields


def writes_metadata(type_: Any) -> bool:
    """Whether a record class that can be met in values of this type has include_metadata on."""
    return any(options.include_metadata for options in reachable_options(type_))


def reachable_options(type_: Any) -> tuple[RecordOptions, ...]:
    """The options of every record class that can be met in values of this type."""
    return tuple(options for one in reachable_types(type_) if (options := options_of(one)) is not None)


def reachable_types(type_: Any) -> tuple[type, ...]:
    """Every class that can be met in values of this type, of records and of all else. Raises AppError."""
    try:
        return _reachable_types(type_)
    except NameError as error:
        raise AppError(
            f"{type_!r}: its annotations name {error.name!r}, which does not exist in the module that declares it "
            "(a class made inside of a function cannot refer to itself or to a later one)."
        ) from error


@lru_cache(maxsize=TYPES_CACHED_MAX)
def _reachable_types(type_: Any) -> tuple[type, ...]:
    found: dict[type, None] = {}
    waiting = [type_]
    while waiting:
        current = waiting.pop()
        if isinstance(current, type) and current not in found:
            found[current] = None
            waiting.extend(_field_types(current))
        waiting.extend(typing.get_args(current))
    return tuple(found)


def _field_types(type_: type) -> list[Any]:
    if issubclass(type_, msgspec.Struct):
        return [field.type for field in msgspec.structs.fields(type_)]
    if dataclasses.is_dataclass(type_) or typing.is_typeddict(type_) or hasattr(type_, "_fields"):
        return list(typing.get_type_hints(type_).values())
    return []
