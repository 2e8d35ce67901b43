"""Values as people have them, and how to make more of each kind: what tables are tried with."""

from __future__ import annotations

import enum
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, computed_field, field_validator
from pydantic.alias_generators import to_camel

from streamcluster.models import Record

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)


@dataclass
class Last:
    hour: int
    seen: int = 0
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    x: float
    y: float


class Point(typing.NamedTuple):
    x: int
    label: str = ""


class Color(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Account(Record):
    name: str
    low: float = 0.0
    at: datetime | None = None


class Route(Record, frozen=True):
    origin: str
    stops: frozenset[str] = frozenset()


class Order(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)
    account_id: str
    unit_price: float = Field(gt=0)
    _seen: int = PrivateAttr(default=0)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    net: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gross(self) -> float:
        """Computed."""
        return self.net * 1.19


class Doubling(BaseModel):
    amount: int

    @field_validator("amount")
    @classmethod
    def double(cls, amount: int) -> int:
        """Not the same when it is done again."""
        return amount * 2


class Named(BaseModel):
    out: str = Field(validation_alias="in", serialization_alias="out")


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Kept(dict):  # type: ignore[type-arg]
    pass


class Thing:
    pass


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
ZONES = st.sampled_from([None, UTC, BERLIN, timezone(timedelta(hours=-3)), timezone(timedelta(seconds=3723))])
HASHABLE_ATOMS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    WORDS,
    st.binary(max_size=4),
    st.decimals(allow_nan=False) | st.just(Decimal("NaN")),
    st.fractions(),
    st.uuids(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(timezones=ZONES, allow_imaginary=True),
    st.complex_numbers(),
    st.sampled_from([*Color, *Level, *Word, *Rights, Rights.READ | Rights.WRITE, Text("a"), Whole(3)]),
    st.builds(Place, st.floats(), st.integers()),
    st.builds(Route, WORDS, st.frozensets(WORDS, max_size=3)),
)
KEYS = st.recursive(
    HASHABLE_ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3), st.builds(Point, inner, inner)
    ),
    max_leaves=5,
)
ATOMS = st.one_of(
    HASHABLE_ATOMS,
    st.builds(bytearray, st.binary(max_size=3)),
    st.builds(Order, accountId=WORDS, unitPrice=st.floats(min_value=0.5)),
    st.builds(Strict, net=st.floats()),
    st.builds(Doubling, amount=st.integers()),
    st.builds(Account, WORDS, st.floats() | st.integers()),
    st.just(Thing()),
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.one_of(WORDS, st.sampled_from(["py/tuple", "py/dict", "py/value"]))
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(lambda members: deque(members, maxlen=3)),
        st.dictionaries(names, inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict),
        st.dictionaries(WORDS, inner, max_size=3).map(lambda members: defaultdict(list, members)),
        st.dictionaries(KEYS, st.integers(), max_size=3).map(Counter),
        st.dictionaries(WORDS, inner, max_size=3).map(Kept),
        st.sets(KEYS, max_size=3),
        st.frozensets(KEYS, max_size=3),
        st.builds(Last, inner, inner, st.lists(inner, max_size=2)),
        st.builds(Point, inner, inner),
    )


VALUES = st.recursive(ATOMS, _containers, max_leaves=8)

# Declared type, and a value of it.
TYPED: list[tuple[Any, Any]] = [
    (dict[int, int], {1: 2, -3: 4}),
    (dict[str, float], {"a": float("inf"), "b": 1.5}),
    (dict[tuple[int, str], list[int]], {(1, "a"): [1]}),
    (dict[bool, int], {True: 1}),
    (dict, {1: {2: (3,)}}),
    (list, [(1, 2), {3}]),
    (tuple, (1, (2, [3]))),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[str, float], ("a", float("-inf"))),
    (Counter, Counter("abca")),
    (Counter[str], Counter("abca")),
    (defaultdict, defaultdict(int, {"a": 1})),
    (defaultdict[str, list[int]], defaultdict(list, {"a": [1]})),
    (OrderedDict, OrderedDict(b=1, a=2)),
    (deque, deque([1, 2], maxlen=3)),
    (Last, Last(3, 4, ["x"])),
    (Place, Place(1.0, float("nan"))),
    (Point, Point(1, "a")),
    (Color, Color.PAIR),
    (Level, Level.LOW),
    (Word, Word.YES),
    (Rights, Rights.READ | Rights.WRITE),
    (UUID, UUID(int=7)),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001 - without a zone, as people have them
    (datetime, datetime(2026, 1, 2, tzinfo=UTC)),
    (datetime, datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2)))),
    (datetime, NOON),
    (datetime, NOON.replace(fold=1)),
    (list[datetime], [NOON]),
    (date, date(2026, 1, 2)),
    (time, time(1, 2, 3, 4)),
    (timedelta, timedelta(days=-1, microseconds=5)),
    (Decimal, Decimal("1.50")),
    (Decimal, Decimal("NaN")),
    (Fraction, Fraction(1, 3)),
    (complex, 1 + 2j),
    (set, {1, "a"}),
    (set[Place], {Place(1.0, 2.0)}),
    (frozenset[str], frozenset({"a"})),
    (bytes, b"\xff\x00"),
    (bytearray, bytearray(b"\xff")),
    (int, 2**200),
    (float, float("inf")),
    (float, float("-inf")),
    (float, float("nan")),
    (float, -0.0),
    (float, 3),
    (list[float], [float("nan"), 1.0]),
    (Account, Account("a", float("inf"))),
    (Account, Account("a", 1, NOON)),
    (list[Account], [Account("a", float("-inf"))]),
    (Order, Order(accountId="a", unitPrice=2.5)),  # type: ignore[call-arg]
    (dict[str, Order], {"a": Order(accountId="a", unitPrice=2.5)}),  # type: ignore[call-arg]
    (Strict, Strict(net=1.0)),
    (Strict, Strict(net=float("inf"))),
    (list[Strict], [Strict(net=1.0)]),
    (Doubling, Doubling(amount=1)),
    (Named, Named(**{"in": "x"})),
    (str | None, None),
    (int | str, "1"),
    (dict[str, Any], {"a": [1, (2, 3), {4}]}),
    (Any, Counter("ab")),
]
