"""Values of which is known, without a look at their bytes, that JSON of their type gives them back as they were.

Such a value saves its encoder a reading back; of others nobody knows. Non-finite floats are never certain: JSON writes
them as null. A type's check is one expression, made once: `type(v.name) is str and type(v.amount) is int` takes 10 ns a
field (Python 3.11), and everything that goes over a list of its fields ten times that. It knows no codec.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from enum import Enum, Flag
from keyword import iskeyword
from math import isfinite
from typing import Any, Union
from uuid import UUID

import msgspec

from .record_options import options_of
from .typed import is_record

Encode = Callable[[Any], Any]
TEXT: frozenset[type] = frozenset({str})
WORDS: frozenset[type] = frozenset({str, int, bool, type(None)})
_SCALARS = WORDS | {float}
_EXACT = frozenset({str, int, bool, UUID, date, bytes})
# Text of these, as keys of an object, is read as what it was.
_KEYS = frozenset({str, int, UUID})
# Of an expression; values of larger types are read back.
_CHARS_MAX = 20_000


def faster(type_: Any, write: Encode, otherwise: Encode) -> Encode:
    """A function that calls `write` with a certain value and `otherwise` with any other, without a frame between."""
    expression = _Expression({"write": write, "otherwise": otherwise})
    text = expression.of(type_, "v")
    return otherwise if text is None else expression.compiled(f"lambda v: write(v) if {text} else otherwise(v)")


def is_plain_key(key: Any) -> bool:
    """A finite float, or a tuple of what JSON has words for, and of such tuples: Faust's keys of windows."""
    if type(key) is tuple:
        return WORDS.issuperset(map(type, key)) or all(type(one) in WORDS or is_plain_key(one) for one in key)
    return type(key) is float and isfinite(key)


def are_words(values: Iterable[Any]) -> bool:
    """Nothing but words and finite floats is in it, so that JSON of it is certain."""
    for value in values:
        kind = type(value)
        if kind is float:
            if not isfinite(value):
                return False
        elif kind not in WORDS:
            return False
    return True


def _is_certain_datetime(value: Any) -> bool:
    return type(value) is datetime and (value.tzinfo is None or value.tzinfo is UTC) and value.fold == 0


def _is_finite_or_no_float(value: Any) -> bool:
    return type(value) is not float or isfinite(value)


class _Expression:
    """Makes the check of one type. names: what stands in it."""

    __slots__ = ("_names", "_outer")

    def __init__(self, names: dict[str, Any] | None = None) -> None:
        self._names: dict[str, Any] = {**(names or {}), "isfinite": isfinite, "TEXT": TEXT}
        # The records that are being written, which one may not hold again.
        self._outer: list[Any] = []

    def compiled(self, text: str) -> Any:
        return eval(text, self._names)

    def _name(self, value: Any) -> str:
        name = f"_{len(self._names)}"
        self._names[name] = value
        return name

    def of(self, type_: Any, value: str) -> str | None:
        """The expression for the value that `value` names; None: there is none."""
        text = self._of(type_, value)
        return text if text is not None and len(text) <= _CHARS_MAX else None

    def _of(self, type_: Any, value: str) -> str | None:
        if type_ in _EXACT:
            return f"type({value}) is {self._name(type_)}"
        if type_ is float:
            return f"(type({value}) is {self._name(type_)} and isfinite({value}))"
        if type_ is None or type_ is type(None):
            return f"{value} is None"
        if type_ is datetime:
            return f"{self._name(_is_certain_datetime)}({value})"
        if is_record(type_):
            return self._of_record(type_, value)
        if isinstance(type_, type) and issubclass(type_, Enum) and not issubclass(type_, Flag):
            kinds = {type(member.value) for member in type_}
            return f"type({value}) is {self._name(type_)}" if kinds in ({str}, {int}) else None
        return self._of_container(type_, value)

    def _of_record(self, type_: Any, value: str) -> str | None:
        fields = msgspec.structs.fields(type_)
        names = [field.name for field in fields]
        if type_ in self._outer or _is_made_by_code(type_) or any(not n.isidentifier() or iskeyword(n) for n in names):
            return None
        self._outer.append(type_)
        texts = [self.of(field.type, f"{value}.{field.name}") for field in fields]
        self._outer.pop()
        return self._all([f"type({value}) is {self._name(type_)}", *texts])

    def _all(self, texts: list[str | None]) -> str | None:
        known = [text for text in texts if text is not None]
        return f"({' and '.join(known)})" if len(known) == len(texts) else None

    def _of_container(self, type_: Any, value: str) -> str | None:
        origin: Any = typing.get_origin(type_) or type_
        arguments: tuple[Any, ...] = typing.get_args(type_)
        if origin in (Union, types.UnionType):
            # Text that looks like a UUID would be read as one.
            if not all(member in _SCALARS for member in arguments):
                return None
            return f"({' or '.join(filter(None, (self.of(member, value) for member in arguments)))})"
        if origin is tuple and arguments and arguments[1:] != (Ellipsis,):
            members = [self.of(member, f"{value}[{at}]") for at, member in enumerate(arguments)]
            return self._all([f"type({value}) is tuple", f"len({value}) == {len(arguments)}", *members])
        if origin in (list, set, frozenset, tuple):
            members_are = self._of_members(arguments[0] if arguments else _SCALARS, value)
            return self._all([f"type({value}) is {self._name(origin)}", members_are])
        if origin is dict:
            key_type, member_type = arguments or (str, _SCALARS)
            if key_type not in _KEYS:
                return None
            keys_are = f"{self._name(frozenset({key_type}))}.issuperset(map(type, {value}))"
            members_are = self._of_members(member_type, f"{value}.values()")
            return self._all([f"type({value}) is {self._name(origin)}", keys_are, members_are])
        return None

    def _of_members(self, type_: Any, values: str) -> str | None:
        if type_ is _SCALARS:
            kinds_are = f"{self._name(_SCALARS)}.issuperset(map(type, {values}))"
            return f"{kinds_are} and all(map({self._name(_is_finite_or_no_float)}, {values}))"
        if type_ in _EXACT:
            return f"{self._name(frozenset({type_}))}.issuperset(map(type, {values}))"
        if type_ is float:
            return f"{self._name(frozenset({float}))}.issuperset(map(type, {values})) and all(map(isfinite, {values}))"
        member = self.of(type_, "v")
        return None if member is None else f"all(map({self._name(self.compiled(f'lambda v: {member}'))}, {values}))"


def _is_made_by_code(type_: Any) -> bool:
    """Reading it may call a function of its class, which may give another record, or refuse it."""
    options = options_of(type_)
    if options is not None and (options.coercions or options.include_metadata):
        # The metadata is a field that the class may forbid.
        return True
    return hasattr(type_, "__post_init__")
