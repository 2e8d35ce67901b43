"""Field references: `Order.account_id` names a field, its class and how to read it."""

from __future__ import annotations

import msgspec
import pytest

from streamcluster.errors import AppError
from streamcluster.models import Record, field_getter, field_name, field_owner


class Order(Record):
    account_id: str
    amount: int = 0


class BigOrder(Order):
    more: int = 1


class Slotted:
    __slots__ = ("account_id",)


def test_reference_names_its_field() -> None:
    """A field with and one without default can be referred to, also through a subclass."""
    assert (field_name(Order.account_id), field_name(Order.amount)) == ("account_id", "amount")
    assert field_name(BigOrder.account_id) == "account_id"


SLOT = vars(Slotted)["account_id"]


@pytest.mark.parametrize("ref", [None, "account_id", 3, Order, Order.dumps, SLOT, len, lambda o: o])
def test_anything_else_is_no_reference(ref: object) -> None:
    """Functions, text and slots of other classes are not taken for fields."""
    assert field_name(ref) is None
    assert field_getter(ref) is None
    with pytest.raises(AppError, match=r"Order\.account_id"):
        field_owner(ref)


def test_getter_reads_the_field() -> None:
    """The getter works for the class and its subclasses."""
    getter = field_getter(Order.account_id)
    assert getter is not None
    assert [getter(Order("a")), getter(BigOrder("b"))] == ["a", "b"]


def test_owner_is_the_declaring_class() -> None:
    """An inherited field belongs to the base."""
    assert field_owner(Order.amount) == "Order"
    assert field_owner(BigOrder.more) == "BigOrder"
    assert field_owner(BigOrder.amount) == "Order"


def test_fields_of_plain_structs_count() -> None:
    """A msgspec.Struct is as good as a Record."""

    class Plain(msgspec.Struct):
        a: int

    assert field_name(Plain.a) == "a"
