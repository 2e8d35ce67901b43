"""JSON in which what JSON has no word for carries the name of its Python type: `{"py/tuple": ["day", 9]}`.

What JSON has a word for stays as it is, so plain data reads as ever. Used for the rows of tables, whose values must
come back as they were. Reading calls no code that the bytes choose: it looks up classes that are loaded and makes
instances of dataclasses, NamedTuples, enums, Records and pydantic models, and nothing else. It knows no table.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from ..errors import DecodeError

PREFIX = "py/"
# How every object that names a type begins: our encoders write no space.
MARK = b'{"' + PREFIX.encode()
_WORDS = frozenset({str, int, bool, type(None)})
# What a defaultdict may make: anything else is a function, which bytes may not choose.
_FACTORIES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (int, float, complex, str, bytes, bool, list, dict, set, tuple, Counter, deque, OrderedDict, Decimal)
}
encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
_decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


def dumps(value: Any, *, is_key: bool = False) -> bytes:
    """`value` as JSON. is_key: tuples are plain lists, as Faust writes them: keys have no lists.

    Raises:
        TypeError: there is nothing to write for a type in it. RecursionError: it contains itself.
    """
    return encode(_Namer(is_key=is_key).plain(value))


def loads(data: bytes, *, is_key: bool = False, by_name: bool = True) -> Any:
    """What `dumps` has written. by_name=False: objects of classes as the dicts of their fields, enums by name.

    Raises:
        Exception: it is no JSON. DecodeError: it names what is not there, or fields are missing.
    """
    return revive(_decode(data), is_key=is_key, by_name=by_name)


def revive(plain: Any, *, is_key: bool = False, by_name: bool = True) -> Any:
    """Plain JSON data with what its names stand for in their places."""
    return _Reviver(is_key, by_name).value(plain)


def is_named(plain: Any) -> bool:
    """Whether this plain JSON value as a whole names a type."""
    return isinstance(plain, dict) and len(plain) == 1 and next(iter(plain)).startswith(PREFIX)


class _Namer:
    __slots__ = ("_is_key",)

    def __init__(self, *, is_key: bool) -> None:
        self._is_key = is_key

    def plain(self, value: Any) -> Any:
        kind = type(value)
        if kind in _WORDS:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"py/float": repr(value)}
        if kind is list or (kind is tuple and self._is_key):
            return [self.plain(member) for member in value]
        if kind is dict:
            return self._of_dict(value)
        write = _WRITERS.get(kind)
        if write is not None:
            return {PREFIX + kind.__name__: write(self, value)}
        return self._of_class(value, kind)

    def _of_dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) is str for key in value) and not is_named(value):
            return {key: self.plain(member) for key, member in value.items()}
        return {"py/dict": [[self.plain(key), self.plain(member)] for key, member in value.items()]}

    def members(self, value: Iterable[Any]) -> list[Any]:
        return [self.plain(member) for member in value]

    def sorted_members(self, value: Iterable[Any]) -> list[Any]:
        """In an order that does not depend on the process: the encoding of a key is its identity."""
        return sorted(self.members(value), key=encode)

    def _of_class(self, value: Any, kind: type) -> Any:
        if isinstance(value, Enum):
            member = value.name
            by_name = kind.__members__.get(member) is value  # type: ignore[attr-defined]
            if not by_name and not isinstance(value, Flag):
                raise TypeError(f"{value!r} is no member of {kind.__name__}")
            return {"py/enum": [class_name(kind), member if by_name else self.plain(value.value)]}
        if isinstance(value, msgspec.Struct):
            names: Iterable[str] = value.__struct_fields__
        elif dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            names = value._fields
        elif hasattr(value, "__pydantic_fields_set__"):
            return {"py/model": self._of_model(value, kind)}
        else:
            raise TypeError(
                f"a {kind.__name__} does not come back from JSON as it was: make {kind.__name__} a Record, a dataclass "
                "or a pydantic model, take what it is made of, or give a table a value_serializer that keeps it"
            )
        fields = {name: self.plain(getattr(value, name)) for name in names if hasattr(value, name)}
        return {"py/object": [class_name(kind), fields]}

    def _of_model(self, value: Any, kind: Any) -> list[Any]:
        fields = {name: self.plain(value.__dict__[name]) for name in kind.model_fields if name in value.__dict__}
        state = [value.__pydantic_extra__, value.__pydantic_private__, sorted(value.__pydantic_fields_set__)]
        return [class_name(kind), fields, *map(self.plain, state)]


def class_name(kind: type) -> str:
    """`module:Class`. Raises TypeError when that does not lead back to the class."""
    name = f"{kind.__module__}:{kind.__qualname__}"
    if _find(name) is not kind:
        raise TypeError(
            f"the class {kind.__qualname__} cannot be found again as {name}: declare it at the top level of a module"
        )
    return name


def _find(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _factory_name(factory: Any) -> str | None:
    if factory is None:
        return None
    name = getattr(factory, "__name__", "")
    if _FACTORIES.get(name) is not factory:
        raise TypeError(
            f"a defaultdict that makes its values by {name or repr(factory)} does not come back as it was: "
            f"give it one of {', '.join(_FACTORIES)}, or store a plain dict"
        )
    return str(name)


def _write_datetime(namer: _Namer, value: datetime | time) -> Any:
    if value.tzinfo is None or type(value.tzinfo) is timezone:
        return [value.isoformat(), None, 1] if value.fold else value.isoformat()
    if type(value.tzinfo) is ZoneInfo and value.tzinfo.key is not None:
        return [value.replace(tzinfo=None).isoformat(), value.tzinfo.key, value.fold]
    raise TypeError(
        f"a {type(value).__name__} in a time zone of type {type(value.tzinfo).__name__} does not come back as it was: "
        "use zoneinfo.ZoneInfo or datetime.UTC"
    )


def _read_datetime(kind: Any, written: Any) -> Any:
    if isinstance(written, str):
        return kind.fromisoformat(written)
    text, zone, fold = written
    found = kind.fromisoformat(text).replace(fold=fold)
    return found if zone is None else found.replace(tzinfo=ZoneInfo(zone))


def _text(namer: _Namer, value: Any) -> str:
    return str(value)


def _binary(namer: _Namer, value: Any) -> str:
    return base64.b64encode(value).decode()


_WRITERS: dict[type, Callable[[_Namer, Any], Any]] = {
    tuple: _Namer.members,
    set: _Namer.sorted_members,
    frozenset: _Namer.sorted_members,
    deque: lambda namer, value: [namer.members(value), value.maxlen],
    Counter: lambda namer, value: namer.plain(dict(value)),
    OrderedDict: lambda namer, value: namer.plain(dict(value)),
    defaultdict: lambda namer, value: [_factory_name(value.default_factory), namer.plain(dict(value))],
    bytes: _binary,
    bytearray: _binary,
    complex: lambda namer, value: repr(value),
    Decimal: _text,
    Fraction: _text,
    UUID: _text,
    date: lambda namer, value: value.isoformat(),
    datetime: _write_datetime,
    time: _write_datetime,
    timedelta: lambda namer, value: [value.days, value.seconds, value.microseconds],
}


class _Reviver:
    __slots__ = ("_by_name", "_is_key", "_readers")

    def __init__(self, is_key: bool, by_name: bool) -> None:
        self._is_key = is_key
        self._by_name = by_name

    def value(self, plain: Any) -> Any:
        if type(plain) is list:
            members = [self.value(member) for member in plain]
            return tuple(members) if self._is_key else members
        if type(plain) is not dict:
            return plain
        if not is_named(plain):
            return {key: self.value(member) for key, member in plain.items()}
        ((name, written),) = plain.items()
        read = _READERS.get(name.removeprefix(PREFIX))
        if read is None:
            raise DecodeError(f"{name!r} is no type that this version knows")
        return read(self, written)

    def members(self, written: Any) -> list[Any]:
        return [self.value(member) for member in written]

    def enum(self, written: Any) -> Any:
        name, member = written
        if not self._by_name:
            return member
        kind: Any = _class(name, lambda kind: issubclass(kind, Enum))
        return kind[member] if isinstance(member, str) and member in kind.__members__ else kind(self.value(member))

    def object(self, written: Any) -> Any:
        name, fields = written
        fields = {field: self.value(member) for field, member in fields.items()}
        if not self._by_name:
            return fields
        kind = _class(name, _is_made_of_fields)
        if dataclasses.is_dataclass(kind):
            return _make_dataclass(kind, fields)
        known = kind.__struct_fields__ if issubclass(kind, msgspec.Struct) else kind._fields  # type: ignore[attr-defined]
        return kind(**{field: member for field, member in fields.items() if field in known})

    def model(self, written: Any) -> Any:
        name, fields, extra, private, fields_set = written
        fields = {field: self.value(member) for field, member in fields.items()}
        if not self._by_name:
            return {**fields, **(self.value(extra) or {})}
        kind: Any = _class(name, lambda kind: hasattr(kind, "__pydantic_validator__"))
        for field, declared in kind.model_fields.items():
            if field not in fields:
                if declared.is_required():
                    raise DecodeError(f"{name}: the field {field!r} is missing")
                fields[field] = declared.get_default(call_default_factory=True)
        made = kind.__new__(kind)
        made.__setstate__(
            {
                "__dict__": {field: fields[field] for field in kind.model_fields},
                "__pydantic_extra__": self.value(extra),
                "__pydantic_private__": self.value(private),
                "__pydantic_fields_set__": {field for field in fields_set if field in fields},
            }
        )
        return made


def _class(name: Any, is_one: Callable[[Any], bool]) -> type:
    found = _find(name)
    if found is None:
        raise DecodeError(
            f"the class {name} is not there: was it moved or renamed? Keep its old name where it was, or give the "
            "table migrate=a function that makes the new value"
        )
    if not is_one(found):
        raise DecodeError(f"{name} is no class whose instances tables keep")
    return found  # type: ignore[no-any-return]


def _is_made_of_fields(kind: type) -> bool:
    is_named_tuple = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct) or is_named_tuple


def _make_dataclass(kind: Any, fields: dict[str, Any]) -> Any:
    """With these fields, and without __init__ and __post_init__, which have run when it was made first."""
    made = object.__new__(kind)
    for field in dataclasses.fields(kind):
        if field.name in fields:
            found = fields[field.name]
        elif field.default is not dataclasses.MISSING:
            found = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found = field.default_factory()
        elif not field.init:
            continue
        else:
            raise DecodeError(f"{kind.__module__}:{kind.__qualname__}: the field {field.name!r} is missing")
        object.__setattr__(made, field.name, found)
    return made


_READERS: dict[str, Callable[[_Reviver, Any], Any]] = {
    # Around a value of a typed table that names no type itself.
    "value": _Reviver.value,
    "float": lambda reviver, written: float(written),
    "dict": lambda reviver, written: {reviver.value(key): reviver.value(member) for key, member in written},
    "tuple": lambda reviver, written: tuple(reviver.members(written)),
    "set": lambda reviver, written: set(reviver.members(written)),
    "frozenset": lambda reviver, written: frozenset(reviver.members(written)),
    "deque": lambda reviver, written: deque(reviver.members(written[0]), written[1]),
    "Counter": lambda reviver, written: Counter(reviver.value(written)),
    "OrderedDict": lambda reviver, written: OrderedDict(reviver.value(written)),
    "defaultdict": lambda reviver, written: defaultdict(
        None if written[0] is None else _FACTORIES[written[0]], reviver.value(written[1])
    ),
    "bytes": lambda reviver, written: base64.b64decode(written, validate=True),
    "bytearray": lambda reviver, written: bytearray(base64.b64decode(written, validate=True)),
    "complex": lambda reviver, written: complex(written),
    "Decimal": lambda reviver, written: Decimal(written),
    # Not Fraction(text), which would take "1e999999999" at its word.
    "Fraction": lambda reviver, written: Fraction(*map(int, written.split("/"))),
    "UUID": lambda reviver, written: UUID(written),
    "date": lambda reviver, written: date.fromisoformat(written),
    "datetime": lambda reviver, written: _read_datetime(datetime, written),
    "time": lambda reviver, written: _read_datetime(time, written),
    "timedelta": lambda reviver, written: timedelta(*written),
    "enum": _Reviver.enum,
    "object": _Reviver.object,
    "model": _Reviver.model,
}
