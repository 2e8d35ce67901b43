"""Keys and values of topics without a type, as JSON: what comes back as it was goes out, anything else is refused.

Plain data comes back: text, numbers, True, False, None, lists, and dicts with text as keys. Of keys the arrays are
tuples, because keys have no lists. The check is made of calls in C, a few for a scalar or a flat dict; where it finds
something, the value is searched for the place that the message names. It knows no topic.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from gc import get_referents
from math import isfinite
from types import GenericAlias
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import orjson

from ..printable import repr_of
from . import to_bytes
from .certainty import WORDS
from .plain import loads, record_encoder
from .sameness import difference
from .typed import is_pydantic, is_record, json_decoder

_PLAIN = WORDS | {float, list, dict}
# With these orjson takes more than plain data only where it says so: tuples, enums, UUIDs and nan.
_STRICTLY = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
# A larger container costs less when it is looked at level by level (1,000 integers: 2 us against 19), a smaller one
# when its members are looked at one by one (six fields: 190 ns against 320).
_SMALL_BYTES_MAX = 1000
# Arrays of keys are tuples to this depth; a key with a deeper one is refused.
_KEY_DEPTH_MAX = 4
_SHOWN_CHARS_MAX = 60
# What raw writes as its text.
_TEXTS = (str, bytearray, memoryview, int, float, Decimal, UUID)
# Integers of any size, where orjson refuses those over 64 bits.
_encode_any = msgspec.json.Encoder().encode


def _key_type() -> Any:
    words = None | bool | int | float | str | dict[str, Any]
    array: Any = words | list
    for _ in range(_KEY_DEPTH_MAX):
        array = words | tuple[array, ...]
    return array


loads_key = msgspec.json.Decoder(_key_type()).decode


def json_encoder(part: str, of_bytes: Callable[[bytes], bytes]) -> Callable[[Any], bytes | None]:
    """The function from plain data to JSON, of keys also from tuples; None gives None.

    It raises TypeError for what would not be read as it is, with the place in it, and what to do.

    Args:
        part: "key" or "value". of_bytes: gives what is sent for bytes.
    """
    is_key = part == "key"
    containers = (dict,) if is_key else (dict, list)

    def encode(value: Any) -> bytes | None:
        kind = type(value)
        try:
            # A copy: what orjson returns keeps its buffer (see plain.compact).
            data = b"".join((orjson.dumps(value, option=_STRICTLY), b""))
        except TypeError:
            return of_bytes(value) if kind is bytes else _encode_large(value, part)
        if kind in containers:
            members = value.values() if kind is dict else value
            if not (_each_is_plain(members) if len(data) <= _SMALL_BYTES_MAX else _are_plain(value, members, data)):
                raise _refusal(value, part)
        elif kind not in WORDS:
            if is_key and kind is tuple:
                return _encode_large(value, part)
            if kind is not float or not isfinite(value):
                raise _refusal(value, part)
        elif value is None:
            return None
        return data

    return encode


def _each_is_plain(members: Iterable[Any]) -> bool:
    """Whether these are what JSON gives back, at every depth; orjson has found no key that is no text."""
    for member in members:
        kind = type(member)
        if kind in WORDS:
            continue
        if kind is dict:
            if not _each_is_plain(member.values()):
                return False
        elif kind is list:
            if not _each_is_plain(member):
                return False
        elif kind is not float or not isfinite(member):
            return False
    return True


def _are_plain(value: Any, members: Iterable[Any], data: bytes) -> bool:
    """The same, level by level. data: what orjson has written of it, so nothing in it is endless.

    Of what orjson takes, lists, dicts, tuples, enums and UUIDs refer to other objects, and scalars to none. So only
    levels that refer to something are looked at one by one: 1.5 ns a member instead of 14. Empty tuples refer to
    nothing either; inf and nan are written as null. (orjson.Fragment, JSON that the sender has made, passes here.)
    """
    has_empty_array = data.find(b"[]") >= 0
    below = get_referents(*members)
    while below or has_empty_array:
        if not _PLAIN.issuperset(map(type, members)):
            return False
        if not below:
            break
        # Of lists the members, of dicts the keys and values.
        members, below = below, get_referents(*below)
    return data.find(b"null") < 0 or bool(loads(data) == value)


def _encode_large(value: Any, part: str) -> bytes:
    """Integers over 64 bits and deep nesting, which orjson refuses, and tuples: all of them come back."""
    try:
        if _misfit(value, part, _array_of(part)) is None:
            data = _encode_any(value)
            if difference(value, (loads_key if part == "key" else loads)(data)) is None:
                return data
    except RecursionError:
        raise TypeError(f"{part} contains itself, or is nested too deep for JSON") from None
    # Not from what orjson has said, which names less.
    raise _refusal(value, part) from None


def _array_of(part: str) -> type:
    return tuple if part == "key" else list


def encode_raw_key(key: Any) -> bytes | None:
    """Bytes as they are, and text, numbers and ids as the text that Kafka's tools send; they are read as bytes."""
    kind = key.__class__
    if kind is str:
        return key.encode()  # type: ignore[no-any-return]
    if key is None or kind is bytes:
        data: bytes | None = key
        return data
    if kind is int:
        return str(key).encode()
    if kind is bool or not isinstance(key, _TEXTS):
        raise TypeError(f"key is {_named(kind)}, {_lost('key')}: {_declaration(key, 'key')}, or send text or bytes")
    return to_bytes(key)


def encode_raw_value(value: Any) -> bytes | None:
    """Bytes as they are."""
    if value is not None and type(value) is not bytes:
        kind = type(value)
        raise TypeError(f"value is {_named(kind)}, {_lost('value')}: {_declaration(value, 'value')}, or send bytes")
    data: bytes | None = value
    return data


# What is said


class _Misfit(NamedTuple):
    """What does not come back. place: in Python's words; advice: what to send in its stead."""

    place: str
    what: str
    advice: str
    # Whether a declared type would keep it.
    is_kept_typed: bool = True


def _refusal(value: Any, part: str) -> TypeError:
    found = _misfit(value, part, _array_of(part))
    if found is None:
        return TypeError(
            f"{part} is nested deeper than JSON is read back (arrays of a key to a depth of {_KEY_DEPTH_MAX})"
        )
    start = f"{found.place} is {found.what}"
    if not found.is_kept_typed:
        return TypeError(f"{start}, for which JSON has no word: {found.advice}")
    return TypeError(f"{start}, {_lost(part)}: {_declaration(value, part)}, or {found.advice}")


def _lost(part: str) -> str:
    return f"which is not read as one from a topic without {part}_type"


def _declaration(value: Any, part: str) -> str:
    """What to declare for this key or value."""
    shown = next((_shown_type(one) for one in _candidates(value) if _comes_back(value, one)), "")
    return f"declare {part}_type={shown} (in app.topic or @app.agent)"


def _candidates(value: Any) -> Iterator[Any]:
    """Types to declare, as one reads them off a value."""
    kind = type(value)
    yield kind
    if kind is dict and value:
        key, member = next(iter(value.items()))
        yield dict[type(key), type(member)]  # type: ignore[misc]
        yield dict[type(key), Any]  # type: ignore[misc]
    elif kind is list and value:
        yield list[type(value[0])]  # type: ignore[misc]
    elif kind is tuple and value:
        yield tuple[tuple(map(type, value))]  # type: ignore[misc]


def _shown_type(type_: Any) -> str:
    return type_.__name__ if type(type_) is not GenericAlias else str(type_).replace("typing.", "")


def _comes_back(value: Any, type_: Any) -> bool:
    """Whether a topic of this type keeps the value."""
    try:
        return is_pydantic(type_) or difference(value, json_decoder(type_)(record_encoder(type_)(value))) is None
    except Exception:  # noqa: BLE001 (encoders call user code; a type that does not keep it is no advice)
        return False


def _misfit(value: Any, place: str, array: type) -> _Misfit | None:
    """The first of what does not come back. array: what an array of JSON is here, in keys a tuple."""
    kind = type(value)
    if kind is dict:
        return _misfit_of_dict(value, place)
    if kind is array:
        found = (_misfit(member, f"{place}[{at}]", array) for at, member in enumerate(value))
        return next(filter(None, found), None)
    if kind is float:
        if not isfinite(value):
            return _Misfit(place, f"the float {value!r}", "send None or text in its place", is_kept_typed=False)
    elif kind is str:
        if not _is_unicode(value):
            what = "text with half of a character (an emoji that was cut in two?)"
            return _Misfit(place, what, f"send {place}.encode(errors='replace').decode()", is_kept_typed=False)
    elif kind not in WORDS:
        return _Misfit(place, _named(kind), _instead(value, place, array))
    return None


def _misfit_of_dict(value: dict[Any, Any], place: str) -> _Misfit | None:
    for key, member in value.items():
        if type(key) is not str:
            what = f"a dict with the key {_shown(key)} of type {type(key).__name__}"
            return _Misfit(place, what, f"send text as keys: {{str(k): v for k, v in {place}.items()}}")
        found = _misfit(key, f"a key of {place}", list) or _misfit(member, f"{place}[{_shown(key)}]", list)
        if found is not None:
            return found
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(kind: type) -> str:
    name = kind.__name__
    return f"{'an' if name[:1] in 'AEIOaeio' else 'a'} {name}"


def _shown(key: Any) -> str:
    shown = repr_of(key)
    return shown if len(shown) <= _SHOWN_CHARS_MAX else f"{shown[:_SHOWN_CHARS_MAX]}..."


def _instead(value: Any, place: str, array: type) -> str:
    """What gives plain data, in Python."""
    if isinstance(value, _ARRAYS) and (array is tuple or not hasattr(value, "_asdict")):
        return f"send {array.__name__}({place})"
    call = _call(value, type(value))
    return f"send plain data made of {place}" if call is None else f"send {call.format(place)}"


def _call(value: Any, kind: Any) -> str | None:
    if isinstance(value, Enum):
        return "{}.value"
    if is_record(kind):
        return "{}.to_representation()" if hasattr(kind, "to_representation") else "msgspec.to_builtins({})"
    if dataclasses.is_dataclass(kind):
        return "dataclasses.asdict({})"
    if is_pydantic(kind):
        return "{}.model_dump(mode='json')"
    if hasattr(kind, "_asdict"):
        return "{}._asdict()"
    if hasattr(kind, "__json__"):
        return "{}.__json__()"
    return next((call for kinds, call in _CALLS if isinstance(value, kinds)), None)


_ARRAYS = (tuple, list, set, frozenset, deque)
_CALLS: tuple[tuple[Any, str], ...] = (
    ((date, time), "{}.isoformat()"),
    (timedelta, "{}.total_seconds()"),
    ((Decimal, UUID, Fraction, complex, str), "str({})"),
    ((bytes, bytearray), "{}.decode()"),
    (int, "int({})"),
    (float, "float({})"),
    (Mapping, "dict({})"),
)
