"""Values of which is known, without a look at their bytes, that JSON of their type gives them back as they were.

A certain value saves its encoder a reading back. False only means that nobody knows. Non-finite floats never are: JSON
writes them as null. All of it is compiled per type, and the checks run in C where they can.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from itertools import product
from math import isfinite, prod
from operator import attrgetter
from typing import Any, Union
from uuid import UUID

import msgspec

from .record_options import options_of
from .typed import is_record

Certain = Callable[[Any], bool]
_WORDS: frozenset[type] = frozenset({str, int, bool, type(None)})
SCALARS: frozenset[type] = _WORDS | {float}
_SAFE = SCALARS | {UUID, date, bytes}
TEXT: frozenset[type] = frozenset({str})
# How many combinations of types the fields of one record may have; records with more are read back.
_COMBINATIONS_MAX = 1024


def make_certain(type_: Any) -> Certain:
    """The check for values of a declared type."""
    if type_ is datetime:
        return _is_certain_datetime
    if (kinds := kinds_of(type_)) is not None:
        return _of_kinds(kinds)
    origin: Any = typing.get_origin(type_) or type_
    arguments: tuple[Any, ...] = typing.get_args(type_)
    if origin in (list, set, frozenset) or (origin is tuple and (not arguments or arguments[1:] == (Ellipsis,))):
        members = kinds_of(arguments[0]) if arguments else SCALARS
        return _never if members is None else _of_members(origin, members)
    if origin is dict:
        keys, values = [kinds_of(one) for one in arguments] if arguments else [TEXT, SCALARS]
        return _of_dict(values) if keys == TEXT and values is not None else _never
    if origin is tuple:
        return _of_fields(tuple, arguments, tuple)
    if is_record(type_) and not _is_made_by_code(type_):
        fields = msgspec.structs.fields(type_)
        return _of_fields(type_, [field.type for field in fields], _values_getter([field.name for field in fields]))
    return _never


def kinds_of(type_: Any) -> frozenset[type] | None:
    """The exact types of values of this type, all of which are certain, but for floats; None: there are others."""
    if typing.get_origin(type_) in (Union, types.UnionType):
        members: tuple[Any, ...] = typing.get_args(type_)
        # Text that looks like a UUID would be read as one.
        return frozenset(members) if all(member in SCALARS for member in members) else None
    return frozenset({type_}) if type_ in _SAFE else None


def is_plain_key(key: Any) -> bool:
    """A finite float, or a tuple of what JSON has words for, and of such tuples: Faust's keys of windows."""
    if type(key) is tuple:
        return _WORDS.issuperset(map(type, key)) or all(type(one) in _WORDS or is_plain_key(one) for one in key)
    return type(key) is float and isfinite(key)


def _never(value: Any) -> bool:
    return False


def _is_certain_datetime(value: Any) -> bool:
    return type(value) is datetime and (value.tzinfo is None or value.tzinfo is UTC) and value.fold == 0


def _of_kinds(kinds: frozenset[type]) -> Certain:
    if float not in kinds:
        return lambda value: type(value) in kinds
    return lambda value: type(value) in kinds and (type(value) is not float or isfinite(value))


def _are_finite(values: Iterable[Any]) -> bool:
    return all(type(value) is not float or isfinite(value) for value in values)


def _of_members(kind: Any, members: frozenset[type]) -> Certain:
    if float not in members:
        return lambda value: type(value) is kind and members.issuperset(map(type, value))
    return lambda value: type(value) is kind and members.issuperset(map(type, value)) and _are_finite(value)


def _of_dict(members: frozenset[type]) -> Certain:
    is_certain = _of_members(list, members)
    return lambda value: type(value) is dict and TEXT.issuperset(map(type, value)) and is_certain(list(value.values()))


def _values_getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) == 1:
        only = attrgetter(names[0])
        return lambda record: (only(record),)
    return attrgetter(*names) if names else lambda record: ()


def _of_fields(kind: Any, annotations: Iterable[Any], values_of: Callable[[Any], tuple[Any, ...]]) -> Certain:
    """Each combination of types that the fields may have is known beforehand, and whether there are floats in it."""
    kinds = [kinds_of(one) for one in annotations]
    known_kinds = [one for one in kinds if one is not None]
    if len(known_kinds) < len(kinds) or prod(map(len, known_kinds)) > _COMBINATIONS_MAX:
        return _never
    known = {combination: float in combination for combination in product(*known_kinds)}

    def is_certain(value: Any) -> bool:
        if type(value) is not kind:
            return False
        values: tuple[Any, ...] = values_of(value)
        has_floats = known.get(tuple(map(type, values)))
        return has_floats is False or (has_floats is True and _are_finite(values))

    return is_certain


def _is_made_by_code(type_: Any) -> bool:
    """Reading it calls a function of its class, which may give another record."""
    options = options_of(type_)
    return hasattr(type_, "__post_init__") or (options is not None and bool(options.coercions))
