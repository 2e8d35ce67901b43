"""Whether a value is what an annotation says: asked before a table keeps what the codec of its type cannot write.

As lenient as Python is: an int is a float, a subclass its parent, and what no rule here knows is taken.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union

import msgspec

from .typed import is_record


def conforms(value: Any, type_: Any) -> bool:
    """Whether `value` is of `type_`, at every depth."""
    if type_ is None:
        return value is None
    if type_ in (Any, object):
        return True
    if isinstance(type_, typing.NewType):
        return conforms(value, type_.__supertype__)
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is typing.Annotated:
        return conforms(value, arguments[0]) and _is_allowed(value, type_)
    if origin in (Union, types.UnionType):
        return any(conforms(value, one) for one in arguments)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in arguments)
    if origin is not None:
        return not isinstance(origin, type) or (isinstance(value, origin) and _members_conform(value, arguments))
    if typing.is_typeddict(type_):
        fields = typing.get_type_hints(type_)
        return isinstance(value, dict) and _fields_conform(value, fields)
    if not isinstance(type_, type):
        return True
    if type_ in (float, complex) and isinstance(value, (int, float)):
        return True
    return isinstance(value, type_) and _fields_conform(vars_of(value), _field_types(type_))


def _is_allowed(value: Any, type_: Any) -> bool:
    """Within the bounds that msgspec.Meta sets; what msgspec cannot say is allowed."""
    if not any(isinstance(one, msgspec.Meta) for one in type_.__metadata__):
        return True
    try:
        msgspec.convert(value, type_, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def _members_conform(value: Any, arguments: tuple[Any, ...]) -> bool:
    if isinstance(value, Mapping):
        # Counter[str] names the keys only.
        key_type, member_type = (*arguments, Any, Any)[:2] if len(arguments) == 2 else (*arguments, Any, int)[0:3:2]
        return all(conforms(key, key_type) and conforms(member, member_type) for key, member in value.items())
    if isinstance(value, tuple):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(conforms(member, arguments[0]) for member in value)
        return len(value) == len([one for one in arguments if one != ()]) and all(map(conforms, value, arguments))
    if isinstance(value, typing.Collection) and not isinstance(value, (str, bytes)) and len(arguments) == 1:
        return all(conforms(member, arguments[0]) for member in value)
    return True


def _fields_conform(values: Mapping[str, Any], types_: Mapping[str, Any]) -> bool:
    return all(conforms(values[name], type_) for name, type_ in types_.items() if name in values)


def vars_of(value: Any) -> Mapping[str, Any]:
    """The fields of a Record, a dataclass or a NamedTuple."""
    names = _field_types(type(value))
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _field_types(type_: Any) -> Mapping[str, Any]:
    if is_record(type_):
        return {field.name: field.type for field in msgspec.structs.fields(type_)}
    if dataclasses.is_dataclass(type_):
        names = {field.name for field in dataclasses.fields(type_)}
    elif issubclass(type_, tuple) and hasattr(type_, "_fields"):
        names = set(type_._fields)
    else:
        return {}
    try:
        hints = typing.get_type_hints(type_, include_extras=True)
    except NameError:
        return {}
    return {name: hint for name, hint in hints.items() if name in names}
