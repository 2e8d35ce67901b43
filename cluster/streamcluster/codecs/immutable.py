"""Whether a value of some type can be given to several agents: none of them can change what another one has.

It knows what types say of themselves. Of others it says no, which costs a second decoding and nothing else.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import types
import typing
import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

_SCALARS = frozenset(
    {
        *(types.NoneType, bool, int, float, complex, str, bytes, decimal.Decimal, fractions.Fraction, uuid.UUID),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
    }
)
# An app has so many types of values at most before their classes are looked at again.
_TYPES_MAX = 1024


def are_immutable(values: Iterable[object]) -> bool:
    """Whether none of these can be changed; as far as their types say."""
    return all(map(is_immutable, set(map(type, values))))


@lru_cache(_TYPES_MAX)
def is_immutable(kind: type) -> bool:
    """Whether an instance of exactly this type cannot be changed, nor what it holds."""
    try:
        return _is_immutable(kind, frozenset())
    except (TypeError, NameError, AttributeError):
        # Annotations that cannot be resolved.
        return False


def _is_immutable(kind: Any, outer: frozenset[Any]) -> bool:
    """outer: the types whose fields are looked at: a tree of frozen records is as immutable as its other fields."""
    if kind in _SCALARS or kind in outer or kind is Ellipsis:
        return True
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return True
    if origin is typing.Annotated:
        return _is_immutable(typing.get_args(kind)[0], outer)
    if origin in (typing.Union, types.UnionType, tuple, frozenset):
        return all(_is_immutable(one, outer) for one in typing.get_args(kind))
    if not isinstance(kind, type):
        return False
    if issubclass(kind, enum.Enum):
        return True
    fields = _fields_of_frozen(kind)
    return fields is not None and all(_is_immutable(field, outer | {kind}) for field in fields)


def _fields_of_frozen(kind: type) -> list[Any] | None:
    """The types of the fields, or None: it is nothing that is known to be frozen."""
    if issubclass(kind, msgspec.Struct):
        return [field.type for field in msgspec.structs.fields(kind)] if kind.__struct_config__.frozen else None
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        is_frozen = kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # not in the stubs
        return [hints[field.name] for field in dataclasses.fields(kind)] if is_frozen else None
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind, include_extras=True)
        return [hints[name] for name in kind._fields] if hints.keys() >= set(kind._fields) else None
    return None
