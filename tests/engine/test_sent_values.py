"""Values of topics: what a typed topic takes is read as it was sent, what a topic cannot carry fails its event."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel, Field

from streamcluster import App, Stream
from streamcluster.testing import Driver
from tests.codecs import kinds
from tests.codecs.kinds import Account, Last, Level, Order, Place, Point, Thing
from tests.engine.test_values import MOMENT, errors


class Wide(BaseModel):
    price: float = Field(gt=0)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Order, Order(accountId="a", unitPrice=2.5)),  # type: ignore[call-arg]
        (kinds.Strict, kinds.Strict(net=1.0)),
        (dict[int, int], {1: 2}),
        (Last, Last(1)),
        (Place, Place(1.0, 2.0)),
        (Point, Point(1)),
        (Level, Level.LOW),
        (tuple[int, str], (1, "a")),
        (datetime, MOMENT),
        (timedelta, timedelta(1)),
        (Account, Account("a", 1.5, MOMENT)),
        (list[Account], [Account("a")]),
        (list[Order], [Order(accountId="a", unitPrice=2.5)]),  # type: ignore[call-arg]
        (Any, {"a": None, "b": [1]}),
    ],
)
def test_what_a_typed_topic_takes_is_read_as_it_was_sent(type_: Any, value: Any) -> None:
    """An agent that reads the topic has what the other has sent."""
    app = App("a")
    out = app.topic("out", value_type=type_, partitions=1)
    got: list[Any] = []

    @app.agent(app.topic("steps", value_type=int), sink=[out])
    async def send(stream: Stream[int]) -> Any:
        async for _ in stream:
            yield value

    @app.agent(out)
    async def read(stream: Stream[Any]) -> None:
        async for one in stream:
            got.append(one)

    with Driver(app) as driver:
        driver.send("steps", value=1)
        assert errors(driver) == []
        assert got == [value]
        assert type(got[0]) is type(value)


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (float, math.nan, "value of type float: a float cannot be read again as float"),
        (
            None,
            {"low": [1, math.inf]},
            "value['low'][1] is the float inf, for which JSON has no word: send None or text",
        ),
        (None, {1: "a", "1": "b"}, "value of type dict: value is a dict with the key 1 of type int"),
        (Account, Account("a", math.inf), "value of type Account: a Account cannot be read again as Account"),
        (Account, Account(3), "value of type Account: a Account cannot be read again as Account"),  # type: ignore[arg-type]
        (kinds.Doubling, kinds.Doubling(amount=1), "a Doubling is not read as it was sent: .amount: 2 becomes 4"),
        (Wide, Wide.model_construct(price=-1.0), "a Wide cannot be read again as Wide"),
        (int, "x", "value of type str: a str cannot be read again as int"),
        (None, Thing(), "value of type Thing: value is a Thing, which is not read as one from a topic without"),
    ],
)
def test_what_a_topic_cannot_carry_fails_the_event_that_sends_it(type_: Any, value: Any, text: str) -> None:
    """Topic, key, part and type are named; nothing goes out."""
    app = App("a")
    out = app.topic("out", key_type=str, value_type=type_, partitions=1)

    @app.agent(app.topic("steps", value_type=int))
    async def send(stream: Stream[int]) -> None:
        async for _ in stream:
            await out.send(key="k", value=value)

    with Driver(app) as driver:
        driver.send("steps", value=1)
        [error] = errors(driver)
        assert "topic 'out', key 'k': its " in error
        assert text in error
        assert driver.output("out") == []


def test_a_key_that_a_topic_cannot_carry_is_named() -> None:
    """As for values."""
    app = App("a")
    out = app.topic("out", key_type=int, partitions=1)

    @app.agent(app.topic("steps", value_type=int))
    async def send(stream: Stream[int]) -> None:
        async for _ in stream:
            await out.send(key="k", value=1)

    with Driver(app) as driver:
        driver.send("steps", value=1)
        [error] = errors(driver)
        assert "topic 'out', key 'k': its key of type str: a str cannot be read again as int" in error


def test_a_key_that_group_by_cannot_carry_is_named() -> None:
    """With the topic that it makes, and the real type."""
    app = App("a")
    seen: list[Any] = []

    def by(number: int) -> object:
        return number or Thing()

    @app.agent(app.topic("steps", value_type=int), name="regroup")
    async def regroup(stream: Stream[int]) -> None:
        async for number in stream.group_by(by):
            seen.append(number)

    with Driver(app) as driver:
        driver.send("steps", value=0)
        driver.send("steps", value=1)
        [error] = errors(driver)
        assert seen == [1]
    assert "topic 'regroup-steps-by-repartition', key <tests.codecs.kinds.Thing object" in error
    assert "its key of type Thing: a Thing does not come back from JSON as it was: make Thing a Record" in error
