"""Dates as people write them, where a record asks for it (coerce, validation or isodates): days, seconds, milliseconds.

JSON has no date: msgspec reads RFC 3339 alone. What it refuses is read again here, so records that it takes cost what
they always did. Rules for zones: a text has the zone that it names, or none; a number is UTC.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from .plain import loads, reachable_types
from .record_options import RecordOptions, options_of

# The last second of year 9999, which no number of seconds is beyond: what is larger is milliseconds.
SECONDS_MAX = 253_402_300_799
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Convert = Callable[[Any], Any]


def asks_for_dates(type_: Any) -> bool:
    """Whether a record class that can be met in values of this type asks for dates in other forms, and has any."""
    return has_dates(type_) and any(map(_asks, map(options_of, reachable_types(type_))))


def has_dates(type_: Any) -> bool:
    """Whether dates can be met in values of this type."""
    types = reachable_types(type_)
    return datetime in types or date in types


def _asks(options: RecordOptions | None) -> bool:
    return options is not None and (options.lax or options.isodates)


def with_dates(type_: Any, decode: Callable[[bytes], Any], convert: Convert) -> Callable[[bytes], Any]:
    """A decoder of JSON that takes such dates too. decode, convert: as msgspec has them for this type."""
    return _trying(decode, loads, type_, convert, asks=False)


def converting_dates(type_: Any, convert: Convert, *, asks: bool) -> Convert:
    """The same of plain data. asks: whether the value itself is a field of a record that asks."""
    return _trying(convert, lambda value: value, type_, convert, asks=asks)


def _trying(
    first: Callable[[Any], Any], plain_of: Callable[[Any], Any], type_: Any, convert: Convert, *, asks: bool
) -> Callable[[Any], Any]:
    """`first`, and where it refuses, the conversion of the plain data with its dates."""

    def read(given: Any) -> Any:
        try:
            return first(given)
        except msgspec.ValidationError:
            plain = plain_of(given)
            dated = _dated(plain, type_, asks=asks)
            if dated is plain:
                raise
        return convert(dated)

    return read


def _dated(value: Any, type_: Any, *, asks: bool) -> Any:
    """The value with datetimes and dates in it where this type has them; the same object when nothing changes."""
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is typing.Annotated:
        return _dated(value, arguments[0], asks=asks)
    if type_ in (datetime, date):
        return _date_of(value, is_day=type_ is date) if asks else value
    if isinstance(value, dict) and (fields := _fields_of(type_)):
        options = options_of(type_)
        inside = asks if options is None else _asks(options)
        return _kept(value, {k: _dated(v, fields[k], asks=inside) if k in fields else v for k, v in value.items()})
    if isinstance(value, dict) and origin is not None and _is(origin, Mapping) and len(arguments) == 2:
        return _kept(value, {key: _dated(item, arguments[1], asks=asks) for key, item in value.items()})
    if isinstance(value, list) and origin is tuple and ... not in arguments:
        items = [_dated(item, one, asks=asks) for item, one in zip(value, arguments, strict=False)]
        return _kept(value, items + value[len(items) :])
    if isinstance(value, list) and origin is not None and (_is(origin, Sequence) or _is(origin, AbstractSet)):
        return _kept(value, [_dated(item, arguments[0], asks=asks) for item in value])
    # Of a union, whichever makes something of it.
    for one in arguments if (origin is not None and not isinstance(origin, type)) or _is_union(origin) else ():
        if (dated := _dated(value, one, asks=asks)) is not value:
            return dated
    return value


def _is(origin: Any, kind: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, kind)


def _is_union(origin: Any) -> bool:
    return origin is type(int | None)


def _kept(before: Any, after: Any) -> Any:
    """What was before, unless something in it is another object."""
    old = before.values() if isinstance(before, dict) else before
    new = after.values() if isinstance(after, dict) else after
    return before if all(one is other for one, other in zip(old, new, strict=True)) else after


def _fields_of(type_: Any) -> dict[str, Any]:
    """Name in JSON -> type, of a class with fields."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return {field.encode_name: field.type for field in msgspec.structs.fields(type_)}
    if dataclasses.is_dataclass(type_) or typing.is_typeddict(type_):
        return typing.get_type_hints(type_)
    return {}


def _date_of(value: Any, *, is_day: bool) -> Any:
    """The moment that is written; the value itself when it is none. is_day: only its date."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value.strip())
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            in_seconds = abs(value) <= SECONDS_MAX
            found = _EPOCH + (timedelta(seconds=value) if in_seconds else timedelta(milliseconds=value))
        else:
            return value
    except (ValueError, OverflowError):
        return value
    return found.date() if is_day else found
