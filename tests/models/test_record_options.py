"""The options of a record's class line: each works or is refused with the reason."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from streamcluster import codecs
from streamcluster.codecs import Codec
from streamcluster.codecs.coding import make_decoder, make_encoder
from streamcluster.errors import AppError, NotOffered, ValidationError
from streamcluster.models import Record
from streamcluster.models.record import RecordMeta


class Celsius:
    """A type that JSON does not know."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Celsius) and other.degrees == self.degrees

    __hash__ = None  # type: ignore[assignment] # it can change

    def __json__(self) -> float:
        return self.degrees


class Reading(Record, coercions={Celsius: Celsius}):
    at: str
    temperature: Celsius


class Checked(Record, validation=True):
    n: int
    price: Decimal = Decimal(0)


class CheckedChild(Checked):
    m: int = 0

    def __post_init__(self) -> None:
        self.m += self.n


class Tagged(Record, include_metadata=True, namespace="shop.tagged"):
    a: int


class HasTagged(Record):
    items: list[Tagged]
    maybe: Tagged | None


class Created(Record, tag=True):
    id: int


class Deleted(Record, tag=True):
    id: int


class Lazy(Record, lazy_creation=True):
    later: Later


class Later(Record):
    a: int


def make(**options: Any) -> Any:
    """A class with these options on its class line."""
    return RecordMeta("Made", (Record,), {"__annotations__": {"a": int}, "__module__": __name__}, **options)


def decoder(type_: Any) -> Any:
    return make_decoder(type_, None, default_serializer="json", allow_pickle=False)


def encoder(type_: Any) -> Any:
    return make_encoder(type_, None, default_serializer="json", allow_pickle=False)


@pytest.mark.parametrize(
    "options",
    [
        {"polymorphic_fields": True},
        {"allow_blessed_key": True},
        {"date_parser": datetime.fromisoformat},
        {"isodates": False},
        {"decimals": False},
    ],
)
def test_option_that_would_do_nothing_is_refused(options: dict[str, Any]) -> None:
    """A class with an option that is not offered cannot be made, and the message names the option."""
    with pytest.raises(NotOffered, match=next(iter(options))):
        make(**options)


@pytest.mark.parametrize(
    "options",
    [{"polymorphic_fields": False}, {"date_parser": None}, {"isodates": True}, {"decimals": True}, {"coerce": False}],
)
def test_option_that_says_what_is_the_case_is_taken(options: dict[str, Any]) -> None:
    """Spelling out the default is no error."""
    assert make(**options)(1).a == 1


def test_unknown_option_is_refused() -> None:
    """A mistyped option is a TypeError at the class line."""
    with pytest.raises(TypeError, match="serialiser"):
        make(serialiser="json")


def test_serializer_of_the_class_wins_over_the_default() -> None:
    """dumps, loads and coders use it; a serializer that the topic names wins over it."""
    made = make(serializer="json|gzip")
    assert made(1).dumps()[:2] == b"\x1f\x8b"
    assert made.loads(made(1).dumps()) == made(1)
    assert decoder(made)(made(1).dumps()) == made(1)
    assert encoder(made)(made(1)) == made(1).dumps()
    named = make_encoder(made, "json", default_serializer="raw", allow_pickle=False)
    assert named(made(1)) == b'{"a":1}'


def test_serializer_may_be_a_codec_object() -> None:
    """A class may carry a codec of its own."""
    flipped = Codec(dumps=lambda record: str(record.a)[::-1].encode(), loads=lambda data: {"a": int(data[::-1])})
    made = make(serializer=flipped)
    assert made(12).dumps() == b"21"
    assert made.loads(b"21") == made(12)


def test_options_are_inherited() -> None:
    """A subclass has its base's options but not its namespace."""

    class Child(Tagged):
        b: int

    assert Child(1, 2).to_representation() == {"a": 1, "b": 2, "__faust": {"ns": Child._options.namespace}}
    assert Child._options.namespace != "shop.tagged"


def test_metadata_is_off_by_default() -> None:
    """Unlike in Faust, payloads are what the fields say."""
    assert make()(1).dumps() == b'{"a":1}'


def test_metadata_is_written_wherever_the_record_is() -> None:
    """`__faust` is in nested records as well, by every way of encoding, and ignored when read."""
    record = HasTagged([Tagged(1)], Tagged(2))
    written = b'{"items":[{"a":1,"__faust":{"ns":"shop.tagged"}}],"maybe":{"a":2,"__faust":{"ns":"shop.tagged"}}}'
    assert encoder(HasTagged)(record) == codecs.dumps("json", record) == written
    assert record.dumps() == written
    assert decoder(HasTagged)(written) == record


def test_coerce_converts_text_and_numbers() -> None:
    """With coerce, "3" is read as 3, by decoding and by the constructor."""
    made = make(coerce=True)
    assert decoder(made)(b'{"a":"3"}') == made(3) == made("3")
    with pytest.raises(ValidationError, match="a: "):
        made("x")


def test_validation_checks_the_constructor() -> None:
    """With validation, a wrong field is found when the record is made; all wrong fields are named."""
    assert Checked("3", "1.5") == Checked(3, Decimal("1.5"))  # type: ignore[arg-type] # coerced
    with pytest.raises(ValidationError, match=r"n: .*price: "):
        Checked("x", "y")  # type: ignore[arg-type] # wrong on purpose


def test_validation_comes_before_post_init() -> None:
    """A subclass's own `__post_init__` sees converted values, also without calling its base's."""
    assert CheckedChild("1", m="2") == CheckedChild(1, m=2)  # type: ignore[arg-type] # coerced
    assert CheckedChild(1, m=2).m == 3


def test_abstract_base_passes_validation_on() -> None:
    """The options of an abstract base hold for its children."""
    base = make(abstract=True, validation=True)
    child = RecordMeta("Child", (base,), {"__annotations__": {"b": int}, "__module__": __name__})
    assert child("1", "2").asdict() == {"a": 1, "b": 2}


def test_coercions_read_types_of_your_own() -> None:
    """A type that JSON does not know is made by its function and written by its `__json__`."""
    record = Reading("noon", Celsius(21.5))
    assert record.dumps() == b'{"at":"noon","temperature":21.5}'
    assert Reading.loads(record.dumps()) == record
    assert Reading.from_data({"at": "noon", "temperature": Celsius(1)}).temperature == Celsius(1)


def test_type_without_coercion_is_explained() -> None:
    """Decoding a type that nothing knows says what to write."""
    made: Any = RecordMeta("Made", (Record,), {"__annotations__": {"t": Celsius}, "__module__": __name__})
    with pytest.raises(Exception, match="coercions="):
        made.loads(b'{"t":1}')


def test_coercion_of_a_known_type_is_refused() -> None:
    """It would never be called."""
    with pytest.raises(AppError, match="int"):
        make(coercions={int: int})


def test_coercions_that_disagree_are_refused() -> None:
    """One pass can have one function for a type."""
    inner = RecordMeta(
        "Inner", (Record,), {"__annotations__": {"t": Celsius}, "__module__": __name__}, coercions={Celsius: Celsius}
    )
    outer = RecordMeta(
        "Outer",
        (Record,),
        {"__annotations__": {"inner": inner}, "__module__": __name__},
        coercions={Celsius: lambda value: Celsius(-value)},
    )
    with pytest.raises(AppError, match="Celsius"):
        decoder(outer)


def test_union_of_tagged_records_decodes() -> None:
    """tag=True tells the records of a union apart."""
    decode = decoder(Created | Deleted)
    assert decode(Created(1).dumps()) == Created(1)
    assert decode(Deleted(1).dumps()) == Deleted(1)
    assert Created(1).to_representation() == {"type": "Created", "id": 1}


def test_union_of_untagged_records_is_refused() -> None:
    """The error comes when the decoder is made, and says what to write."""
    with pytest.raises(AppError, match="tag=True"):
        decoder(Checked | Reading)


def test_abstract_record_is_no_topic_type() -> None:
    """A topic of an abstract class could never be read."""
    with pytest.raises(AppError, match="abstract"):
        decoder(make(abstract=True))


def test_lazy_creation_allows_later_classes() -> None:
    """make_final resolves what was declared later."""
    Lazy.make_final()
    assert Lazy.loads(b'{"later":{"a":1}}') == Lazy(Later(1))
