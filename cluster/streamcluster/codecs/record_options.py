"""The keywords on a Record's class line: what each means here, and a reason for each that is not offered.

It knows nothing of fields or JSON; `models/` reads the options when a class is made, `typed.py` and `plain.py` when
values are coded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..errors import NotOffered

NOT_OFFERED = {
    "polymorphic_fields": "declare the field as a union of records that carry tag=True on their class line",
    "allow_blessed_key": "declare a union of records that carry tag=True on their class line",
    "date_parser": "dates are read as RFC 3339; declare the field as str and parse it in __post_init__ or a property",
}
ALWAYS_ON = {
    "isodates": "datetime fields are always read as datetimes; declare the field as str to keep the text",
    "decimals": "Decimal fields are always read as decimals; declare the field as str to keep the text",
}


class RecordOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a class line said, with what it inherits.

    serializer: codec (name or object) of topics of this type that name none.
    namespace: the name written when include_metadata is on.
    coerce: accept "3" where an int is declared, in the constructor too (as in Faust).
    validation: as coerce, by Faust's name for it; both raise ValidationError when it cannot be done.
    isodates: read dates in the forms of dates.py too: without a time, as seconds or milliseconds; so does coerce.
    coercions: type that JSON does not know -> function from the decoded value.
    abstract: a base that has no instances.
    """

    namespace: str
    serializer: Any = None
    include_metadata: bool = False
    coerce: bool = False
    validation: bool = False
    abstract: bool = False
    lazy_creation: bool = False
    isodates: bool = False
    decimals: bool = True
    coercions: dict[Any, Callable[[Any], Any]] = {}

    @property
    def lax(self) -> bool:
        """Whether decoding converts between text and numbers."""
        return self.coerce or self.validation


OPTION_NAMES = frozenset({*RecordOptions.__struct_fields__, *NOT_OFFERED})
# A subclass starts afresh in these: its name is another one, and the child of an abstract base is concrete.
NOT_INHERITED = frozenset({"namespace", "abstract", "lazy_creation"})


def make_options(
    class_name: str, namespace: str, inherited: RecordOptions | None, given: Mapping[str, Any]
) -> RecordOptions:
    """The options of a class.

    Args:
        class_name: for messages. namespace: the name unless `given` has one.
        inherited: the options of the nearest base that is a Record. given: keywords of the class line.

    Raises:
        NotOffered: an option of Faust that has no effect here.
    """
    for name, instead in NOT_OFFERED.items():
        if given.get(name):
            raise NotOffered(f"Record {class_name}: the class option {name}= is not offered: {instead}.")
    for name, instead in ALWAYS_ON.items():
        if given.get(name) is False:
            raise NotOffered(f"Record {class_name}: the class option {name}=False is not offered: {instead}.")
    options: dict[str, Any] = {"namespace": namespace}
    if inherited is not None:
        options |= {
            name: getattr(inherited, name) for name in RecordOptions.__struct_fields__ if name not in NOT_INHERITED
        }
    options |= {name: value for name, value in given.items() if name not in NOT_OFFERED and value is not None}
    return RecordOptions(**options)


def options_of(type_: object) -> RecordOptions | None:
    """The options of a Record class; None for every other type."""
    options = getattr(type_, "_options", None)
    return options if isinstance(options, RecordOptions) else None
