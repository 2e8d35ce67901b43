"""`Order.account_id`: what a field of a record class is called, who declared it, and how it is read.

msgspec keeps fields in slots, so a reference is the slot's descriptor; nothing is added to the class for it.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from operator import attrgetter
from types import MemberDescriptorType
from typing import Any

from ..codecs.typed import is_record
from ..errors import AppError


def field_name(ref: object) -> str | None:
    """The name of the field that `ref` (`Order.account_id`) refers to; None: it is no reference to a field."""
    if isinstance(ref, MemberDescriptorType) and is_record(ref.__objclass__):
        return ref.__name__
    return None


def field_getter(ref: object) -> Callable[[Any], Any] | None:
    """The function from a record to that field's value; None: `ref` is no reference to a field."""
    name = field_name(ref)
    return None if name is None else attrgetter(name)


def field_type(ref: object) -> Any:
    """What the field is declared as; None: `ref` is no reference to a field."""
    if not isinstance(ref, MemberDescriptorType):
        return None
    return inspect.get_annotations(ref.__objclass__, eval_str=True).get(str(field_name(ref)))


def without_none(kind: Any) -> Any:
    """`str` of `str | None`."""
    kinds = [one for one in typing.get_args(kind) if one is not type(None)]
    return kinds[0] if len(kinds) == 1 and len(typing.get_args(kind)) > 1 else kind


def field_owner(ref: object) -> str:
    """The name of the class that declares the field ("Order"; the base's name for an inherited field).

    Raises:
        AppError: `ref` is no reference to a field.
    """
    if not isinstance(ref, MemberDescriptorType) or field_name(ref) is None:
        raise AppError(f"{ref!r} is no field of a Record: write it as Order.account_id.")
    return ref.__objclass__.__name__
