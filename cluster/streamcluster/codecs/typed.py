"""JSON and plain data to declared types: one msgspec decoder or converter per type, under its records' options.

It knows no codec, topic or setting; a wrong declaration is found when the decoder is made, not at the first record.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from ..errors import AppError
from .dates import asks_for_dates, converting_dates, has_dates, with_dates
from .plain import TYPES_CACHED_MAX, reachable_options
from .record_options import RecordOptions

Hook = Callable[[type, Any], Any]


def is_pydantic(type_: object) -> bool:
    """Whether this is a pydantic v2 model class (or one that has its methods)."""
    return isinstance(type_, type) and hasattr(type_, "model_validate_json") and hasattr(type_, "model_dump_json")


def is_record(type_: object) -> bool:
    """Whether this is a Record class, or any other msgspec.Struct."""
    return isinstance(type_, msgspec.StructMeta)


@lru_cache(maxsize=TYPES_CACHED_MAX)
def json_decoder(type_: Any) -> Callable[[bytes], Any]:
    """The decoder of JSON into this type: a method of a compiled object, without a Python frame.

    Raises:
        AppError: values of this type cannot be told apart or are not known.
    """
    if is_pydantic(type_):
        validate: Callable[[bytes], Any] = type_.model_validate_json
        return validate
    strict, hook = _rules(type_)
    try:
        decode = msgspec.json.Decoder(type_, strict=strict, dec_hook=hook).decode
    except TypeError as error:
        raise AppError(_explain_type(type_, error)) from error
    if not asks_for_dates(type_):
        return decode
    return with_dates(
        type_, decode, lambda value: msgspec.convert(value, type_, strict=strict, dec_hook=hook, str_keys=True)
    )


@lru_cache(maxsize=TYPES_CACHED_MAX)
def converter(type_: Any, *, strict: bool | None = None, dates: bool = False) -> Callable[[Any], Any]:
    """The function from plain data (or a value that already is one) to this type.

    strict: None: as the records in it say. dates: in the forms of dates.py, also where no record in it asks.
    """
    if is_pydantic(type_):
        validate: Callable[[Any], Any] = type_.model_validate
        return validate
    as_declared, hook = _rules(type_)
    strict = as_declared if strict is None else strict

    def convert(value: Any) -> Any:
        return msgspec.convert(value, type_, strict=strict, dec_hook=hook)

    is_wanted = has_dates(type_) if dates else asks_for_dates(type_)
    return converting_dates(type_, convert, asks=dates) if is_wanted else convert


def _rules(type_: Any) -> tuple[bool, Hook]:
    if type_ in (int, float):
        # Numbers that were sent as text are read, as in Faust.
        return False, _reader({})
    options = reachable_options(type_)
    return not any(one.lax for one in options), _reader(_coercions(type_, options))


def _coercions(type_: Any, options: tuple[RecordOptions, ...]) -> dict[Any, Callable[[Any], Any]]:
    found: dict[Any, Callable[[Any], Any]] = {}
    for one in options:
        for target, function in one.coercions.items():
            if found.setdefault(target, function) is not function:
                raise AppError(
                    f"{type_!r}: records in it have different coercions for {target.__name__}; a value is decoded "
                    "in one pass, so they must agree."
                )
    return found


def _reader(coercions: dict[Any, Callable[[Any], Any]]) -> Hook:
    def read(type_: type, value: Any) -> Any:
        function = coercions.get(type_)
        if function is not None:
            return value if isinstance(value, type_) else function(value)
        if is_pydantic(type_):
            return converter(type_)(value)
        if isinstance(value, type_):
            return value
        raise TypeError(
            f"nothing says how to make a {type_.__name__} of {value!r:.80}: "
            f"put coercions={{{type_.__name__}: function}} on the record's class line."
        )

    return read


def _explain_type(type_: Any, error: TypeError) -> str:
    if "multiple Struct types" in str(error):
        return (
            f"{type_!r} has a union of records that JSON cannot tell apart: put tag=True on the class line of each; "
            "the name of the class is then written in the field 'type'."
        )
    return f"{type_!r} cannot be decoded: {error}"
