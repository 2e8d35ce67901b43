"""Record: a msgspec.Struct with Faust's manners. Decoding is one pass in C; what is not needed per record happens
when the class is made.

No topic, table or setting is known here.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

import msgspec

from ..codecs import Codec
from ..codecs.coding import explain, make_decoder, make_encoder
from ..codecs.plain import TYPES_CACHED_MAX, represent
from ..codecs.record_options import OPTION_NAMES, RecordOptions, make_options, options_of
from ..codecs.typed import converter, json_decoder
from ..errors import AppError, DecodeError, ValidationError
from .fields import prepare_fields

_M = TypeVar("_M", bound="RecordMeta")


@dataclass_transform(field_specifiers=(msgspec.field,))
class RecordMeta(msgspec.StructMeta):
    """Makes record classes: options of the class line, defaults, and the hooks that they need."""

    def __new__(mcs: type[_M], name: str, bases: tuple[type, ...], namespace: dict[str, Any], /, **keywords: Any) -> _M:
        """Make a record class; keywords: our options (record_options.py), else msgspec's (tag, rename, frozen, ...)."""
        given = {key: keywords.pop(key) for key in list(keywords) if key in OPTION_NAMES}
        qualified = f"{namespace.get('__module__', '')}.{namespace.get('__qualname__', name)}"
        inherited = next((found for found in map(options_of, bases) if found is not None), None)
        options = make_options(name, qualified, inherited, given)
        has_required = prepare_fields(name, namespace, sys._getframe(1).f_locals)
        if has_required and any(getattr(base, "__struct_defaults__", ()) for base in bases):
            # Faust lets a subclass add required fields to optional ones; by keyword that is never ambiguous.
            keywords.setdefault("kw_only", True)
        _add_hooks(bases, namespace, options)
        cls = super().__new__(mcs, name, bases, namespace, **keywords)
        cls._options = options
        _check_coercions(cls, options)
        return cls

    _options: RecordOptions


def _add_hooks(bases: tuple[type, ...], namespace: dict[str, Any], options: RecordOptions) -> None:
    """Put the checks that an instance needs when it is made before the class's own `__post_init__`."""
    own = namespace.get("__post_init__")
    inherited = next((base.__post_init__ for base in bases if hasattr(base, "__post_init__")), None)
    then = own or inherited
    if options.abstract:

        def refuse(self: Any) -> None:
            if type(self)._options.abstract:
                raise TypeError(f"Record {type(self).__name__} is abstract: make an instance of a subclass.")
            if then is not None:
                then(self)

        namespace["__post_init__"] = refuse
    elif options.lax and (own is not None or not _is_lax(bases)):

        def check(self: Any) -> None:
            _coerce_fields(self)
            if then is not None:
                then(self)

        namespace["__post_init__"] = check


def _is_lax(bases: tuple[type, ...]) -> bool:
    return any(found.lax and not found.abstract for found in map(options_of, bases) if found is not None)


def _check_coercions(cls: type, options: RecordOptions) -> None:
    for target in options.coercions:
        if not isinstance(msgspec.inspect.type_info(target), msgspec.inspect.CustomType):
            raise AppError(
                f"Record {cls.__name__}: coercions has {target!r}, which JSON values are converted to already. "
                "Coercions are for types of your own; convert this one in __post_init__."
            )


@lru_cache(maxsize=TYPES_CACHED_MAX)
def _field_types(cls: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.type) for field in msgspec.structs.fields(cls))


def _field_converter(cls: Any, type_: Any) -> Any:
    return converter(type_, strict=not cls._options.lax, dates=cls._options.lax)


def _coerce_fields(record: Record) -> None:
    errors = []
    for name, type_ in _field_types(type(record)):
        value = getattr(record, name)
        try:
            converted = _field_converter(type(record), type_)(value)
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            errors.append(f"{name}: {error}")
            continue
        if converted is not value:
            msgspec.structs.force_setattr(record, name, converted)
    if errors:
        raise ValidationError(f"{type(record).__name__}: {'; '.join(errors)}")


class Record(msgspec.Struct, metaclass=RecordMeta, order=True):
    """A typed value of topics and tables: fields are annotations, `X | None` has the default None.

        class Order(Record):
            account_id: str
            amount: int
            language: str | None = None

    Decoding checks the types and ignores fields that are not declared. Constructing does not check (as in Python and
    Faust), unless the class line says validation=True. Options of the class line: record_options.py, and those of
    msgspec.Struct.
    """

    _options: ClassVar[RecordOptions]

    def __hash__(self) -> int:
        """The hash of the fields, as in Faust: don't change a record that is a key."""
        return hash(tuple(getattr(self, name) for name in self.__struct_fields__))

    def asdict(self) -> dict[str, Any]:
        """Field -> value; values are not converted."""
        return msgspec.structs.asdict(self)

    def to_representation(self) -> Any:
        """What is written: a dict under the names of the wire, records in it as dicts, with metadata if that is on."""
        return represent(self)

    def derive(self, *objects: Record, **fields: Any) -> Self:
        """A copy in which the fields of `objects`, in order, and then `fields` replace this record's.

        Raises:
            TypeError: a name that is no field.
        """
        changes: dict[str, Any] = {}
        for other in objects:
            changes |= {name: getattr(other, name) for name in other.__struct_fields__}
        return msgspec.structs.replace(self, **(changes | fields))

    def dumps(self, *, serializer: str | Codec | None = None) -> bytes:
        """This record as bytes, by default with the serializer of its class, else as JSON.

        Pickling is always possible; it is unpickling that needs permission (the setting allow_pickle).
        """
        data = make_encoder(type(self), serializer, default_serializer="json", allow_pickle=True)(self)
        assert data is not None
        return data

    @classmethod
    def loads(
        cls, s: bytes, *, serializer: str | Codec | None = None, default_serializer: str | Codec | None = None
    ) -> Self:
        """A record from bytes; the serializer as in `dumps`.

        Raises:
            DecodeError: not what the codec writes. ValidationError: a field is missing or has a wrong type.
        """
        decode = make_decoder(cls, serializer, default_serializer=default_serializer or "json", allow_pickle=False)
        try:
            record: Self = decode(s)
        except msgspec.ValidationError as error:
            raise ValidationError(f"{cls.__name__}: {error}") from error
        except Exception as error:
            # No list: codecs are user code, and a decoder's error that nobody foresaw is one all the same.
            raise DecodeError(f"{cls.__name__}: {explain(error, s)}") from error
        return record

    @classmethod
    def from_data(cls, data: Any) -> Self:
        """A record from plain data (a dict). Raises ValidationError: a field is missing or has a wrong type."""
        try:
            record: Self = converter(cls)(data)
        except msgspec.ValidationError as error:
            raise ValidationError(f"{cls.__name__}: {error}") from error
        return record

    @classmethod
    def make_final(cls) -> None:
        """Resolve the annotations of this class now (with lazy_creation: after the classes it refers to were made).

        Raises:
            AppError: an annotation names what does not exist, or cannot be decoded.
        """
        json_decoder(cls)

    def validate(self) -> list[ValidationError]:
        """One error for each field whose value is not of its type; empty when all are."""
        errors = []
        for name, type_ in _field_types(type(self)):
            try:
                _field_converter(type(self), type_)(getattr(self, name))
            except (msgspec.ValidationError, TypeError, ValueError) as error:
                errors.append(ValidationError(f"{type(self).__name__}.{name}: {error}"))
        return errors

    def is_valid(self) -> bool:
        """Whether every field's value is of its type."""
        return not self.validate()

    def validate_or_raise(self) -> None:
        """Raise the first error of `validate`, if there is one."""
        for error in self.validate():
            raise error

    @property
    def validation_errors(self) -> list[ValidationError]:
        """What `validate` finds now."""
        return self.validate()
