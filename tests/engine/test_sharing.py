"""Nothing is shared unseen: what one agent does to its value, no other agent of the topic gets."""

from __future__ import annotations

import datetime
import enum
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec
import pytest

from streamcluster import App, Record, Stream
from streamcluster.codecs.immutable import is_immutable
from tests.engine.conftest import Drive


class Order(Record):
    account: str
    amount: int


class Fixed(Record, frozen=True):
    account: str
    next: Fixed | None = None


class Holder(Record, frozen=True):
    items: list[int]


class Color(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: float


@dataclass(frozen=True)
class Frozen:
    at: datetime.datetime
    kind: Literal["a", "b"] | tuple[Color, ...] | None


@dataclass
class Open:
    at: int


@pytest.mark.parametrize("kind", [type(None), bool, int, float, str, bytes, datetime.date, Color, Fixed, Point, Frozen])
def test_these_types_can_be_shared(kind: type) -> None:
    """Scalars, and what is frozen all the way down."""
    assert is_immutable(kind)


@pytest.mark.parametrize("kind", [list, dict, set, bytearray, tuple, object, Order, Holder, Open, msgspec.Raw])
def test_these_types_cannot_be_shared(kind: type) -> None:
    """What can be changed, what holds such, and what nothing is known of."""
    assert not is_immutable(kind)


def account_of(order: dict[str, Any]) -> Any:
    """The account of an order without a type, which it takes away."""
    return order.pop("account")


@pytest.mark.parametrize("count", [1, 3000], ids=["alone", "in runs"])
@pytest.mark.parametrize("value_type", [Order, None, dict[str, Any]], ids=["record", "untyped", "dict"])
def test_agents_of_a_topic_have_values_of_their_own(drive: Drive, value_type: Any, count: int) -> None:
    """One masks what it passes on, in place, before and after others have the event."""
    app = App("a")
    orders = app.topic("orders", value_type=value_type)
    masked = app.topic("masked", value_type=value_type, partitions=1)
    sums: dict[str, int] = {}

    def mask(order: Any) -> None:
        if isinstance(order, dict):
            order.update(account="***", amount=0)
        else:
            order.account, order.amount = "***", 0

    def add(name: str, order: Any) -> None:
        account, amount = (
            (order["account"], order["amount"]) if isinstance(order, dict) else (order.account, order.amount)
        )
        sums[f"{name} {account}"] = sums.get(f"{name} {account}", 0) + amount

    @app.agent(orders)
    async def first(stream: Stream[Any]) -> None:
        async for batch in stream.take(100, within=1.0):
            for order in batch:
                add("first", order)
                mask(order)

    @app.agent(orders, sink=[masked])
    async def masking(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for order in stream:
            mask(order)
            yield order

    @app.agent(orders, concurrency=2)
    async def billing(stream: Stream[Any]) -> None:
        async for order in stream:
            add("billing", order)
            mask(order)

    @app.agent(orders)
    async def regrouped(stream: Stream[Any]) -> None:
        key = Order.account if value_type is Order else account_of
        async for order in stream.group_by(key, name="account"):
            add("regrouped", order)

    driver = drive(app)
    for number in range(count):
        driver.logs.append("orders", {"key": b"%d" % number, "value": b'{"account":"ann","amount":2}'}, 0.0)
    driver.run(driver.worker.process(commit=True))
    driver.advance(2.0)
    assert sums == {f"{name} ann": 2 * count for name in ("first", "billing", "regrouped")}
    assert driver.dead_letters() == []
    assert {record.value for tp, log in driver.logs.logs.items() if tp.topic == "masked" for record in log} == {
        b'{"account":"***","amount":0}'
    }


def test_two_streams_and_an_agent_have_values_of_their_own(drive: Drive) -> None:
    """Streams of app.stream are readers like agents."""
    app = App("a")
    topic = app.topic("lists", value_type=list[int])
    seen: dict[str, list[list[int]]] = {"one": [], "two": [], "agent": []}

    def read(name: str, stream: Stream[list[int]]) -> Callable[[], Any]:
        async def task() -> None:
            async for value in stream:
                seen[name].append(list(value))
                value.append(9)

        return task

    for name in ("one", "two"):
        app.task(read(name, app.stream(topic)))

    @app.agent(topic)
    async def agent(stream: Stream[list[int]]) -> None:
        async for value in stream:
            seen["agent"].append(list(value))
            value.append(9)

    driver = drive(app)
    for number in range(3):
        driver.send("lists", value=[number])
    assert list(seen.values()) == 3 * [[[0], [1], [2]]]


def test_what_is_sent_is_the_value_of_that_moment(drive: Drive) -> None:
    """Changed after the send, after the yield or behind an echo that waits for its batch, it is not changed there."""
    app = App("a")
    names = ("sent", "yielded", "echo", "echo-of-take")
    out = {name: app.topic(name, value_type=list[int], partitions=1) for name in names}
    topic = app.topic("lists", value_type=list[int])

    @app.agent(topic, sink=[out["yielded"]])
    async def sending(stream: Stream[list[int]]) -> AsyncIterator[list[int]]:
        async for value in stream.echo(out["echo"]):
            await out["sent"].send(value=value)
            value.append(1)
            yield value
            value.append(2)

    def grown(value: list[int]) -> list[int]:
        value.append(3)
        return value

    @app.agent(topic)
    async def batches(stream: Stream[list[int]]) -> None:
        echoed = stream.echo(out["echo-of-take"])
        echoed.add_processor(grown)
        async for _ in echoed.take(5, within=1.0):
            pass

    driver = drive(app)
    driver.send("lists", value=[0])
    driver.advance(2.0)
    assert {name: [output.value for output in driver.output(out[name])] for name in names} == {
        "sent": [[0]],
        "yielded": [[0, 1]],
        "echo": [[0]],
        "echo-of-take": [[0]],
    }


@pytest.mark.parametrize(("value_type", "decodings"), [(str, 1), (Fixed, 1), (Order, 2), (None, 2)])
def test_values_that_cannot_change_are_decoded_once(
    drive: Drive, monkeypatch: pytest.MonkeyPatch, value_type: Any, decodings: int
) -> None:
    """Two agents cost a second decoding only where they could see each other's changes."""
    app = App("a")
    topic = app.topic("in", value_type=value_type, value_serializer="raw" if value_type is str else "json")

    for name in ("one", "two"):

        @app.agent(topic, name=name)
        async def read(stream: Stream[Any]) -> None:
            async for _ in stream:
                pass

    driver = drive(app)
    counts: list[bytes] = []
    decode = topic.coders.decode_value

    def counted(data: bytes) -> Any:
        counts.append(data)
        return decode(data)

    monkeypatch.setattr(topic.coders, "decode_value", counted)
    driver.send("in", value=b'{"account":"ann","amount":1}')
    assert len(counts) == decodings


def test_what_decodes_only_the_first_time_is_not_lost(drive: Drive) -> None:
    """A codec that reads other things the second time: the agent that gets none of it has a dead letter."""
    app = App("a")
    calls: list[bytes] = []
    seen: list[str] = []

    class Moody:
        """Fails at every second call."""

        def loads(self, data: bytes) -> list[str]:
            calls.append(data)
            if len(calls) >= 2:
                raise ValueError("not twice")
            return [data.decode()]

    topic = app.topic("in", value_serializer="raw")
    for name in ("one", "two"):

        @app.agent(topic, name=name)
        async def read(stream: Stream[Any], name: str = name) -> None:
            async for _ in stream:
                seen.append(name)

    driver = drive(app)
    topic.coders.decode_value = Moody().loads
    driver.send("in", value=b"1")
    assert seen == ["one"]
    assert [letter.headers["dead-letter-agent"] for letter in driver.dead_letters()] == [b"two"]
