"""Keys and values of tables for people: as JSON, and from what people type back to a key.

JSON has no word for bytes, infinity and values of others' classes; what is written instead is said. It knows no table.
"""

from __future__ import annotations

import datetime
import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any, get_args, get_origin
from uuid import UUID

import msgspec

from .codecs import RAW, Codec, get_codec, named_json
from .codecs.coding import UNTYPED, make_decoder
from .codecs.plain import dumps, dumps_any
from .outside import Unreadable, parse
from .printable import repr_of

# A JSON text that begins so has bytes that are no text, written as \x and two digits. (JSON lets space stand there.)
ESCAPED = " "
# No command line is longer.
KEY_BYTES_MAX = 1 << 22
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")
_EXAMPLES: dict[Any, str] = {
    int: "a whole number: 5",
    float: "a number: 1.5, inf",
    bool: "true or false",
    Decimal: "a number: 1.50",
    UUID: "a UUID: 01234567-89ab-cdef-0123-456789abcdef",
    datetime.datetime: "a time: 2024-02-29T12:30:00Z",
    datetime.date: "a date: 2024-02-29",
    datetime.time: "a time of day: 12:30:00",
    datetime.timedelta: "a duration: PT90S",
    type(None): "null",
}


def json_of(value: object) -> str:
    """JSON of any value; ESCAPED before it when bytes in it are no text. Raises: anything, of others' classes."""
    if isinstance(value, bytes):
        return _quoted(value)
    try:
        return dumps(value).decode()
    except (TypeError, ValueError):
        # Bytes as keys or that are no text, an infinity or a long integer, for example.
        plain, mark = _without_bytes(value)
        return mark + dumps_any(plain).decode()


def _quoted(data: bytes) -> str:
    text = data.decode(errors="backslashreplace")
    quoted = dumps_any(text).decode()
    return quoted if text.encode() == data else ESCAPED + quoted


def _without_bytes(value: Any) -> tuple[Any, str]:
    """The same with text in place of bytes, in containers of plain data; and ESCAPED if some are no text."""
    mark = ""

    def walk(part: Any) -> Any:
        nonlocal mark
        match part:
            case bytes() | bytearray():
                text = bytes(part).decode(errors="backslashreplace")
                mark = mark if text.encode() == part else ESCAPED
                return text
            case Mapping():
                return {walk(key) if isinstance(key, bytes) else key: walk(item) for key, item in part.items()}
            case list() | tuple() | set() | frozenset():
                return [walk(item) for item in part]
            case _:
                return part

    return walk(value), mark


def key_reader(key_type: Any, serializer: str | Codec | None) -> Callable[[bytes], list[Any]]:
    """From a JSON text of `key_texts` to the keys of this type that it may stand for, the likelier first.

    It raises what its decoder raises, for a text that is no such key.
    """
    if key_type is bytes or (key_type in UNTYPED and _is_raw(serializer)):
        return lambda text: list(dict.fromkeys(_bytes_of(msgspec.json.decode(text, type=str))))
    read = make_decoder(
        None if key_type in UNTYPED else key_type, "json", default_serializer="json", allow_pickle=False
    )

    def read_key(text: bytes) -> list[Any]:
        # As the row has it, and as it is shown when JSON has no word for it.
        is_named = text.find(named_json.MARK) >= 0
        return [named_json.loads(text, is_key=True) if is_named else _hashable(read(text))]

    return read_key


def _is_raw(serializer: str | Codec | None) -> bool:
    return serializer is not None and get_codec(serializer, allow_pickle=True) is RAW


def _bytes_of(text: str) -> list[bytes]:
    """Plain text; or as `json_of` shows what is no text."""
    data = text.encode()
    return [data, _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), data)]


def _hashable(key: Any) -> Any:
    return tuple(map(_hashable, key)) if isinstance(key, (list, tuple)) and type(key) in (list, tuple) else key


def key_texts(key_type: Any, serializer: str | Codec | None, text: str) -> list[str]:
    """The JSON texts that a key on a command line may mean, the likelier first: it is JSON itself, or plain text.

    Raises:
        ValueError: it is no key of this type, with what one looks like.
    """
    quoted = msgspec.json.encode(text).decode()
    if key_type in (str, bytes):
        return [quoted]
    # Whether `5` without a type is a text or a number, only the table knows.
    candidates = [quoted, text] if key_type in UNTYPED else [text, quoted]
    read, why = key_reader(key_type, serializer), ""
    # What stands for the same keys is asked for once.
    found: dict[str, str] = {}
    for candidate in candidates:
        try:
            parse(msgspec.json.decode, candidate.encode(), KEY_BYTES_MAX)
            keys = parse(read, candidate.encode(), KEY_BYTES_MAX)
            found.setdefault(repr_of(keys), candidate)
        except Unreadable as error:
            why = why or str(error)
    if not found:
        kind = f"key of type {name_of(key_type)}, which is {example_of(key_type)}"
        raise ValueError(f"{text!r:.200} is no {kind} ({why})")
    return list(found.values())


def name_of(type_: Any) -> str:
    """A type as its declaration has it."""
    return type_.__name__ if isinstance(type_, type) and get_origin(type_) is None else str(type_)


def example_of(type_: Any) -> str:
    """What people type for a key of this type."""
    if type_ in _EXAMPLES:
        return _EXAMPLES[type_]
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return "one of " + ", ".join(str(member.value) for member in type_)
    if get_origin(type_) is tuple or (isinstance(type_, type) and issubclass(type_, tuple)):
        return f"a JSON list: {_list_of(type_)}"
    if isinstance(type_, msgspec.StructMeta):
        return _object_of(type_.__struct_encode_fields__)
    if is_dataclass(type_):
        return _object_of([one.name for one in fields(type_)])
    return "JSON"


def _list_of(type_: Any) -> str:
    names = getattr(type_, "_fields", None) or [name_of(one) for one in get_args(type_) if one is not ...]
    return f"[{', '.join(names) or '...'}]"


def _object_of(names: Any) -> str:
    return "a JSON object: {" + ", ".join(f'"{name}": ...' for name in names) + "}"
