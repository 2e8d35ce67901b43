"""What "it came back as it was" means: equal, and of the same type, at every depth.

Stricter than `==`, for which 1, 1.0 and True are one, and so are one moment in two time zones, a Counter and a dict, a
NamedTuple and a tuple. It knows no codec, table or topic.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from datetime import datetime, time, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from ..printable import repr_of

_PLAIN = frozenset({str, int, bool, type(None), bytes})
# By their text: nan is nan, and -0.0 is not 0.0.
_BY_TEXT = frozenset({float, complex})
_SHOWN_CHARS_MAX = 60


class Difference(NamedTuple):
    """Where two values differ first. path: such as `.lines[3]`; empty for the values themselves."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        """What became what, with the types where only they differ."""
        before, after = repr_of(self.before)[:_SHOWN_CHARS_MAX], repr_of(self.after)[:_SHOWN_CHARS_MAX]
        if type(self.before) is not type(self.after):
            before, after = f"{type(self.before).__name__} {before}", f"{type(self.after).__name__} {after}"
        return f"{self.path}{': ' if self.path else ''}{before} becomes {after}"


def difference(before: Any, after: Any) -> Difference | None:
    """The first difference; None when `after` is what `before` was.

    Raises:
        RecursionError: values that contain themselves. Exception: what __eq__ of user code raises.
    """
    kind = type(before)
    if kind is not type(after):
        return Difference("", before, after)
    if before is after:
        # A changeable one that was not made anew is judged by whoever asks for fresh objects.
        return None
    if kind in _PLAIN:
        return None if before == after else Difference("", before, after)
    if kind in _BY_TEXT:
        return None if repr(before) == repr(after) else Difference("", before, after)
    if isinstance(before, (list, tuple, deque)):
        return _of_sequences(before, after)
    if isinstance(before, dict):
        return _of_dicts(before, after)
    if isinstance(before, (set, frozenset)):
        return _of_sets(before, after)
    return _of_objects(before, after)


def _of_sequences(before: Any, after: Any) -> Difference | None:
    if len(before) != len(after) or getattr(before, "maxlen", None) != getattr(after, "maxlen", None):
        return Difference("", before, after)
    for at, (one, other) in enumerate(zip(before, after, strict=True)):
        found = difference(one, other)
        if found is not None:
            return found._replace(path=f"[{at}]{found.path}")
    return _of_attributes(before, after)


def _of_dicts(before: dict[Any, Any], after: dict[Any, Any]) -> Difference | None:
    if len(before) != len(after):
        return Difference("", before, after)
    if isinstance(before, defaultdict) and before.default_factory is not after.default_factory:  # type: ignore[attr-defined]
        return Difference(".default_factory", before.default_factory, after.default_factory)  # type: ignore[attr-defined]
    # In order: that comes back too.
    for (key, one), (other_key, other) in zip(before.items(), after.items(), strict=True):
        found = difference(key, other_key)
        if found is not None:
            return found._replace(path=f" key{found.path}")
        found = difference(one, other)
        if found is not None:
            return found._replace(path=f"[{repr_of(key):.{_SHOWN_CHARS_MAX}}]{found.path}")
    return _of_attributes(before, after)


def _of_sets(before: Any, after: Any) -> Difference | None:
    members = {member: member for member in after}
    if len(before) != len(members):
        return Difference("", before, after)
    for member in before:
        if member not in members:
            return Difference("", before, after)
        found = difference(member, members[member])
        if found is not None:
            return found._replace(path=f" member{found.path}")
    return _of_attributes(before, after)


def _of_objects(before: Any, after: Any) -> Difference | None:
    if isinstance(before, msgspec.Struct):
        return _of_fields(before, after, before.__struct_fields__)
    if dataclasses.is_dataclass(before):
        names = [field.name for field in dataclasses.fields(before)]
        return _of_fields(before, after, names) or _of_attributes(before, after)
    if hasattr(before, "__pydantic_fields_set__"):
        return model_difference(before, after) or _of_mappings(
            before.__pydantic_private__ or {}, after.__pydantic_private__ or {}
        )
    if isinstance(before, Enum):
        return Difference("", before, after)
    if isinstance(before, Decimal):
        return None if before.as_tuple() == after.as_tuple() else Difference("", before, after)
    if isinstance(before, (datetime, time)):
        return None if _moment(before) == _moment(after) else Difference("", before, after)
    kind: Any = type(before)
    if kind.__eq__ is not object.__eq__:
        return (None if before == after else Difference("", before, after)) or _of_attributes(before, after)
    one, other = before.__getstate__(), after.__getstate__()
    if one is None:
        return Difference("", before, after)
    found = difference(one, other)
    return None if found is None else Difference("", before, after)


def _moment(value: Any) -> tuple[Any, ...]:
    return value.replace(tzinfo=None), value.fold, _zone(value.tzinfo)


def _zone(zone: tzinfo | None) -> Any:
    if type(zone) is timezone:
        return zone.utcoffset(None), zone.tzname(None)
    if type(zone) is ZoneInfo:
        return "zone", zone.key or id(zone)
    return zone


def _of_fields(before: Any, after: Any, names: Iterable[str]) -> Difference | None:
    missing = object()
    for name in names:
        found = difference(getattr(before, name, missing), getattr(after, name, missing))
        if found is not None:
            return found._replace(path=f".{name}{found.path}")
    return None


def _of_attributes(before: Any, after: Any) -> Difference | None:
    """Of what is in an instance's dictionary, but for what a property can compute again."""
    return _of_mappings(_attributes(before), _attributes(after))


def _of_mappings(one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference | None:
    for name in {**one, **other}:
        if name not in one or name not in other:
            return Difference(f".{name}", one.get(name), other.get(name))
        found = difference(one[name], other[name])
        if found is not None:
            return found._replace(path=f".{name}{found.path}")
    return None


def _attributes(value: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(value, "__dict__", {})
    if not found:
        return found
    computed = [name for name in found if isinstance(getattr(type(value), name, None), cached_property)]
    return {name: found[name] for name in found if name not in computed} if computed else found


def model_difference(before: Any, after: Any) -> Difference | None:
    """Of two pydantic models of one class, but for their private attributes, which are never sent."""
    one, other = ({name: model.__dict__.get(name) for name in type(before).model_fields} for model in (before, after))
    return _of_mappings(one, other) or _of_mappings(before.__pydantic_extra__ or {}, after.__pydantic_extra__ or {})
