"""Record: construction, defaults, inheritance, nesting, copies and checks, as a user of Faust expects them."""

from __future__ import annotations

import enum
import pickle
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Optional, Union
from uuid import UUID

import msgspec
import pytest

from streamcluster.errors import AppError, DecodeError, ImproperlyConfigured, ValidationError
from streamcluster.models import Record, RecordOptions, field
from streamcluster.models.record import RecordMeta


class Order(Record):
    account_id: str
    amount: int
    language: str | None = None


class Node(Record):
    value: int
    # A reference to itself cannot be resolved while the class is made.
    parent: Optional[Node]  # noqa: UP045 - the old spelling is what is tested


class Entity(Record, abstract=True):
    id: int
    seen: list[str] = []  # noqa: RUF012 - a Record copies it


class Customer(Entity):
    # mypy wants keywords here as well: a required field after an inherited default.
    name: str = ""


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Size:
    width: int


class Everything(Record):
    order: Order
    orders: list[Order]
    by_name: dict[str, Order]
    when: datetime
    day: date
    color: Color
    point: Point
    size: Size
    numbers: set[int]
    pair: tuple[int, str]
    id: UUID
    price: Decimal
    blob: bytes
    kind: Literal["a", "b"]
    either: int | str
    maybe: Order | None


def everything() -> Everything:
    order = Order("a", 1)
    return Everything(
        order=order,
        orders=[order],
        by_name={"x": order},
        when=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        day=date(2026, 1, 2),
        color=Color.RED,
        point=Point(1, 2),
        size=Size(3),
        numbers={1, 2},
        pair=(1, "one"),
        id=UUID(int=7),
        price=Decimal("1.50"),
        blob=b"\x00\xff",
        kind="a",
        either="text",
        maybe=None,
    )


def make(name: str, annotations: dict[str, Any], bases: tuple[type, ...] = (Record,), **namespace: Any) -> Any:
    """A class that a type checker would refuse."""
    return RecordMeta(name, bases, {"__annotations__": annotations, "__module__": __name__, **namespace})


def test_record_takes_positions_and_keywords() -> None:
    """Both ways of construction give equal records."""
    assert Order("a", 3) == Order(account_id="a", amount=3, language=None)


@pytest.mark.parametrize("keywords", [{"account_id": "a", "amount": 1, "nope": 1}, {"account_id": "a"}, {}])
def test_record_refuses_wrong_keywords(keywords: dict[str, Any]) -> None:
    """An unknown keyword and a missing field are TypeErrors."""
    with pytest.raises(TypeError):
        Order(**keywords)


@pytest.mark.parametrize(
    "annotation",
    [
        "int | None",
        "None | int",
        "Optional[Later]",
        "typing.Union[Later, None]",
        int | None,
        Optional[int],  # noqa: UP045 - the old spellings are what is tested
        Union[None, int],  # noqa: UP007
        Annotated[int | None, "note"],
    ],
)
def test_optional_field_without_default_is_none(annotation: Any) -> None:
    """`X | None` in any spelling implies the default None."""
    assert make("Made", {"a": annotation})().a is None


@pytest.mark.parametrize("annotation", ["int", "Later", "list[int | None]", "dict[str, Optional[int]]", "a b", int])
def test_field_that_is_not_optional_is_required(annotation: Any) -> None:
    """None somewhere inside of a type does not make the field optional."""
    with pytest.raises(TypeError, match="Missing required"):
        make("Made", {"a": annotation})()


def test_implied_defaults_go_behind_required_fields() -> None:
    """As in Faust, positions count the required fields first."""
    assert make("Made", {"a": "int | None", "b": "int"})(5).b == 5


def test_required_field_after_a_default_is_refused() -> None:
    """The class cannot be made, and the message names both fields."""
    with pytest.raises(TypeError, match="'b' has no default but follows 'a'"):
        make("Made", {"a": int, "b": int}, a=1)


@pytest.mark.parametrize("default", [[1], {"a": [1]}, {1}, bytearray(b"a"), deque([1]), Order("a", 1), []])
def test_mutable_default_is_copied(default: Any) -> None:
    """Every instance has its own copy of a mutable default."""
    made = make("Made", {"a": Any}, a=default)
    first, second = made(), made()
    assert first.a == default
    assert first.a is not second.a


def test_default_that_looks_like_a_field_is_kept() -> None:
    """A defaultdict has a default_factory too, and is a value all the same."""
    made = make("Made", {"a": Any}, a=defaultdict(int, x=1))
    assert made().a == {"x": 1}


def test_renamed_field_is_written_under_its_name() -> None:
    """field(name=) renames on the wire, keeps required fields required and optional ones optional."""

    class Renamed(Record):
        sender: str = field(name="from")
        receiver: str | None = field(name="to")

    assert Renamed.loads(b'{"from":"x"}').dumps() == b'{"from":"x","to":null}'
    assert Renamed.loads(b'{"from":"x","to":"y"}') == Renamed(sender="x", receiver="y")


def test_class_variables_are_no_fields() -> None:
    """ClassVar annotations stay out, also as text."""

    class Counted(Record):
        made: ClassVar[int] = 0
        a: int

    assert Counted(1).asdict() == {"a": 1}


def test_inherited_fields_come_first() -> None:
    """A subclass of an abstract base has the base's fields and defaults."""
    assert Customer(3, name="x").asdict() == {"id": 3, "seen": [], "name": "x"}


def test_required_field_after_inherited_default_is_by_keyword() -> None:
    """Faust allows this; here such fields are given by keyword."""
    made = make("Made", {"extra": int}, bases=(Customer,))
    assert made(1, extra=2).asdict() == {"id": 1, "seen": [], "name": "", "extra": 2}


def test_abstract_record_has_no_instances() -> None:
    """Neither the constructor nor decoding makes one."""
    with pytest.raises(TypeError, match="abstract"):
        Entity(1)
    with pytest.raises(AppError, match="abstract"):
        Entity.loads(b'{"id":1}')


def test_record_refers_to_itself() -> None:
    """A recursive model decodes."""
    assert Node.loads(b'{"value":1,"parent":{"value":2}}') == Node(1, Node(2, None))


def test_record_of_a_function_uses_its_names() -> None:
    """A model made inside of a function may use that function's classes."""

    class Inner(Record):
        a: int

    class Outer(Record):
        inner: Inner

    assert Outer.loads(b'{"inner":{"a":1}}') == Outer(Inner(1))


def test_unknown_name_in_annotation_is_explained() -> None:
    """A decoder of a class whose annotation cannot be resolved names what is missing."""
    with pytest.raises(AppError, match="'Later', which does not exist"):
        make("Made", {"a": "Later"}).make_final()


@pytest.mark.parametrize("serializer", [None, "json", "json|binary", "json|gzip", "json|gzip|binary", "raw", "binary"])
def test_every_field_type_round_trips(serializer: str | None) -> None:
    """What is dumped is loaded as an equal record with the same types."""
    record = everything()
    loaded = Everything.loads(record.dumps(serializer=serializer), serializer=serializer)
    assert loaded == record
    assert [type(value) for value in loaded.asdict().values()] == [type(value) for value in record.asdict().values()]


def test_from_data_reads_what_to_representation_gives() -> None:
    """The representation is plain data, and enough to make the record again."""
    record = everything()
    assert type(record.to_representation()) is dict
    assert record.to_representation()["maybe"] is None
    assert record.to_representation()["orders"] == [{"account_id": "a", "amount": 1, "language": None}]
    assert Everything.from_data(record.to_representation()) == record


def test_unknown_fields_are_ignored_when_decoding() -> None:
    """A producer may be newer than the consumer."""
    assert Order.loads(b'{"account_id":"a","amount":1,"new":[1,2]}') == Order("a", 1)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", DecodeError),
        (b"{", DecodeError),
        (b"null", ValidationError),
        (b"[]", ValidationError),
        (b'{"account_id":"a"}', ValidationError),
        (b'{"account_id":1,"amount":1}', ValidationError),
        (b'{"account_id":"a","amount":"1"}', ValidationError),
        (b'{"account_id":"a","amount":1.5}', ValidationError),
        (b'{"account_id":"\xff","amount":1}', DecodeError),
    ],
)
def test_bad_bytes_are_decode_errors(data: bytes, error: type[Exception]) -> None:
    """Bytes that are no JSON are DecodeErrors, JSON that does not fit is a ValidationError naming the class."""
    with pytest.raises(error, match="Order"):
        Order.loads(data)


def test_bad_data_is_a_validation_error() -> None:
    """from_data checks types too."""
    with pytest.raises(ValidationError, match=r"Order.*amount"):
        Order.from_data({"account_id": "a", "amount": "x"})


def test_records_compare_and_hash_by_value() -> None:
    """Equal records are one key; other classes and values are not equal; order is that of the fields."""
    assert {Order("a", 1): 1}[Order("a", 1)] == 1
    others: list[object] = [Order("a", 2), Node(1, None), ("a", 1, None)]
    assert Order("a", 1) not in others
    assert sorted([Order("b", 1), Order("a", 2), Order("a", 1)]) == [Order("a", 1), Order("a", 2), Order("b", 1)]
    assert repr(Order("a", 1)) == "Order(account_id='a', amount=1, language=None)"


def test_record_with_a_list_is_no_key() -> None:
    """The hash is that of the fields, so an unhashable field says so."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(Customer(1, ["a"]))


def test_asdict_does_not_convert() -> None:
    """Values of asdict are the record's own."""
    record = everything()
    assert record.asdict()["order"] is record.order


def test_derive_merges_records_and_fields() -> None:
    """Later records win, fields win over them, and the record itself stays as it was."""
    first = Order("a", 1, "de")
    assert first.derive(Order("b", 2), amount=3) == Order("b", 3, None)
    assert first == Order("a", 1, "de")
    with pytest.raises(TypeError, match="nope"):
        first.derive(nope=1)


def test_validate_finds_each_wrong_field() -> None:
    """Constructing does not check, validate does: one error for each field."""
    wrong = Order(1, "x")  # type: ignore[arg-type] # wrong on purpose
    assert [str(error).split(":")[0] for error in wrong.validate()] == ["Order.account_id", "Order.amount"]
    assert not wrong.is_valid()
    assert len(wrong.validation_errors) == 2
    with pytest.raises(ValidationError, match="account_id"):
        wrong.validate_or_raise()


def test_valid_record_has_no_errors() -> None:
    """Every supported type is valid as it is."""
    assert everything().validate() == []
    everything().validate_or_raise()


def test_post_init_runs_when_made_and_when_decoded() -> None:
    """`__post_init__` sees every record."""

    class Doubled(Record):
        a: int

        def __post_init__(self) -> None:
            self.a *= 2

    assert Doubled(1).a == 2
    assert Doubled.loads(b'{"a":2}').a == 4


def test_record_can_be_pickled_and_matched() -> None:
    """Records are ordinary objects for the rest of Python."""
    assert pickle.loads(pickle.dumps(everything())) == everything()
    match Order("a", 1):
        case Order(account_id, amount):
            assert (account_id, amount) == ("a", 1)


def test_unpickling_is_refused() -> None:
    """loads never unpickles: there is no setting to allow it here."""
    data = Order("a", 1).dumps(serializer="pickle")
    with pytest.raises(ImproperlyConfigured, match="allow_pickle"):
        Order.loads(data, serializer="pickle")


def test_options_tell_what_the_class_line_said() -> None:
    """`_options` is there, as in Faust."""
    assert isinstance(Order._options, RecordOptions)
    assert Order._options.serializer is None
    assert Order._options.namespace.endswith("Order")


def test_options_of_msgspec_pass_through() -> None:
    """What msgspec offers for structs works for records."""

    class Frozen(Record, frozen=True, forbid_unknown_fields=True, rename="camel"):
        some_name: int

    assert Frozen.loads(b'{"someName":1}') == Frozen(1)
    with pytest.raises(ValidationError, match="unknown field"):
        Frozen.loads(b'{"someName":1,"x":2}')
    with pytest.raises(AttributeError):
        setattr(Frozen(1), "some_name", 2)  # noqa: B010 - a type checker sees the plain assignment
    assert issubclass(Frozen, msgspec.Struct)


@pytest.mark.parametrize("serializer", ["json", "json|gzip", "gzip", "json|binary"])
@pytest.mark.parametrize(
    "data", [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xff\xff", b'{"x":' * 5000, b"\xff", b"e30"]
)
def test_unreadable_bytes_are_decode_errors_in_every_chain(serializer: str, data: bytes) -> None:
    """Broken gzip, broken base64 and JSON nested without end give the same error class."""
    with pytest.raises(DecodeError, match="Order"):
        Order.loads(data, serializer=serializer)
