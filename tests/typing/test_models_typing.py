"""Records as users write them, for `mypy --strict`: what must be accepted, and (with an ignore that is in use) refused.

The functions run as well, so what is typed one way cannot behave another.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, assert_type

import pytest

from streamcluster import App, codecs
from streamcluster.codecs.coding import make_decoder
from streamcluster.errors import ValidationError
from streamcluster.models import Record, field, field_name


class Address(Record):
    street: str
    city: str = "Berlin"


class Order(Record, serializer="json|gzip", coerce=True):
    account_id: str
    amount: int
    address: Address
    language: str | None = None
    tags: list[str] = field(default_factory=list)
    at: datetime | None = None


class Numbered(Record, abstract=True):
    id: int


class User(Numbered, include_metadata=True, namespace="users"):
    name: str = ""


def test_fields_have_their_types() -> None:
    """Attributes are what the annotations say."""
    order = Order("a", 1, Address("x"))
    assert_type(order.amount, int)
    assert_type(order.language, str | None)
    assert_type(order.address.city, str)
    assert_type(order.tags, list[str])
    assert order.address.city == "Berlin"


def test_constructor_is_checked() -> None:
    """A wrong type, a missing field and an unknown keyword are errors for the type checker and at run time."""
    with pytest.raises(ValidationError):
        Order(account_id="a", amount="x", address=Address("x"))  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(TypeError):
        Order(account_id="a")  # type: ignore[call-arg] # wrong on purpose
    with pytest.raises(TypeError):
        Address("x", planet="Mars")  # type: ignore[call-arg] # wrong on purpose


def test_methods_give_the_class() -> None:
    """Loading, deriving and converting keep the subclass."""
    user = User(1, name="x")
    assert_type(User.loads(user.dumps()), User)
    assert_type(User.from_data({"id": 1}), User)
    assert_type(user.derive(name="y"), User)
    assert_type(user.asdict(), dict[str, Any])
    assert_type(user.validate(), list[ValidationError])
    assert User.loads(user.dumps()) == user


def test_references_and_codecs_are_typed() -> None:
    """What the rest of the API takes."""
    assert_type(field_name(Order.account_id), str | None)
    assert_type(codecs.JSON | codecs.GZIP, codecs.Codec)
    decode = make_decoder(Order, None, default_serializer="json", allow_pickle=False)
    assert_type(decode, Callable[[bytes], Any])
    order = Order("a", 1, Address("x"))
    assert decode(order.dumps()) == order


def test_misspelled_attributes_of_an_app_are_seen() -> None:
    """The names of Faust that are refused when the app runs do not make type checkers blind."""
    app = App("a")
    with pytest.raises(AttributeError):
        app.tpoic("orders")  # type: ignore[attr-defined]
