"""group_by and through: events under a new key or by another topic, through the driver and on both stores."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamcluster import App, Record, Stream, Topic
from streamcluster.testing import Driver
from streamcluster.topology.declare import freeze
from tests.engine.conftest import Drive


class Order(Record):
    account_id: str
    amount: int


def numbers(app: App) -> Topic:
    """A topic of integers."""
    return app.topic("numbers", key_type=str, value_type=int)


async def _slow_account(order: Order) -> str:
    await asyncio.sleep(0)
    return order.account_id


class _ByCall:
    """A key function that is an object, and whose result must be awaited."""

    __name__ = "by_call"

    def __call__(self, order: Order) -> Any:
        return _slow_account(order)


@pytest.mark.parametrize(
    ("key", "name", "topic"),
    [
        (Order.account_id, None, "Order.account_id"),
        (lambda order: order.account_id, "account", "account"),
        (_slow_account, None, "_slow_account"),
        (_ByCall(), None, "by_call"),
    ],
)
def test_group_by_brings_a_key_to_one_partition(drive: Drive, key: Any, name: str | None, topic: str) -> None:
    """Events of one new key end up in one task, in order, whatever partition they came from; the topic is Faust's."""
    app = App("a")
    orders = app.topic("orders", value_type=Order)
    seen: dict[str, list[int]] = {}
    totals = app.Table("totals", default=int)

    @app.agent(orders, name="shop.grouped")
    async def grouped(stream: Stream[Order]) -> None:
        async for account, order in stream.group_by(key, name=name).items():
            assert account == order.account_id
            seen.setdefault(order.account_id, []).append(order.amount)
            totals[order.account_id] += order.amount

    driver = drive(app, partitions=3)
    for number in range(12):
        driver.send("orders", partition=number % 3, value=Order(f"acc{number % 2}", number))
    assert driver.table("totals") == {"acc0": 30, "acc1": 36}
    assert seen == {"acc0": [0, 2, 4, 6, 8, 10], "acc1": [1, 3, 5, 7, 9, 11]}
    assert len(driver.output(f"shop.grouped-orders-{topic}-repartition")) == 12
    driver.crash(lose_stores=True)
    assert driver.table("totals") == {"acc0": 30, "acc1": 36}


def test_group_by_keeps_tuple_keys_and_partition_count(drive: Drive) -> None:
    """A key may be a tuple; partitions= gives the repartition topic its own count, and the table lives with it."""
    app = App("a")
    orders = app.topic("orders", value_type=Order)
    counts = app.Table("counts", default=int)

    @app.agent(orders, name="shop.pairs")
    async def pairs(stream: Stream[Order]) -> None:
        by_pair = stream.group_by(lambda order: (order.account_id, order.amount % 2), name="pair", partitions=4)
        async for key, _ in by_pair.items():
            counts[tuple(key)] += 1

    driver = drive(app, partitions=2)
    for number in range(8):
        driver.send("orders", partition=number % 2, value=Order("x", number))
    assert driver.table("counts") == {("x", 0): 4, ("x", 1): 4}
    assert driver.topology.tables[0].group == 4


def test_operators_before_and_after_group_by(drive: Drive) -> None:
    """Processors and filters run on their own side of the repartition, each once."""
    app = App("a")
    orders = app.topic("orders", value_type=Order)
    before: list[int] = []
    seen: list[int] = []

    def double(order: Order) -> Order:
        before.append(order.amount)
        return Order(order.account_id, order.amount * 2)

    @app.agent(orders, name="shop.grouped")
    async def grouped(stream: Stream[Order]) -> None:
        stream.add_processor(double)
        small = stream.group_by(Order.account_id).filter(lambda order: order.amount < 5)
        async for order in small:
            seen.append(order.amount)

    driver = drive(app)
    for number in range(4):
        driver.send("orders", value=Order("x", number))
    assert (before, seen) == ([0, 1, 2, 3], [0, 2, 4])


def test_through_sends_and_reads_on(drive: Drive) -> None:
    """`through` passes events by a topic of its own under their keys."""
    app = App("a")
    middle = app.topic("middle", key_type=str, value_type=int, partitions=1)
    seen: list[tuple[str, int]] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for key, value in stream.through(middle).items():
            seen.append((key, value))

    driver = drive(app)
    driver.send("numbers", key="a", value=1)
    assert seen == [("a", 1)]
    assert [(o.key, o.value) for o in driver.output("middle")] == [("a", 1)]


def app_of_version(version: int) -> App:
    """What it counts stands behind group_by in an agent and in a task, and behind a join of three streams."""
    app = App("shop", version=version)
    orders, others, thirds = (
        app.topic(name, key_type=str, value_type=int, partitions=1) for name in ("orders", "others", "thirds")
    )
    counts = app.Table("counts", default=int)

    @app.agent(orders, name="count")
    async def count(stream: Stream[int]) -> None:
        async for number in stream.group_by(str, name="number"):
            counts[str(number)] += 1

    @app.agent(orders, name="meet")
    async def meet(stream: Stream[int]) -> None:
        async for _ in stream.join(others, within=10).join(thirds, within=10):
            pass

    grouped = app.stream(orders).group_by(str, name="number")

    @app.task
    async def read() -> None:
        async for _ in grouped:
            pass

    return app


def test_each_version_of_an_app_has_topics_of_its_own() -> None:
    """So the next one may run beside the old one: each would process what both forward. The first has Faust's names."""
    first, second = (
        {topic.name for topic in asyncio.run(freeze(app_of_version(version)))[1].topics if topic.role == "repartition"}
        for version in (1, 2)
    )

    assert first == {
        "count-orders-number-repartition",
        "meet-joined-repartition",
        "shop-stream-orders-number-repartition",
    }
    assert second == {
        "shop-v2-count-orders-number-repartition",
        "shop-v2-meet-joined-repartition",
        "shop-v2-stream-orders-number-repartition",
    }
    with Driver(app_of_version(2), partitions=1) as driver:
        for number in range(6):
            driver.send("orders", key="k", value=number % 2)
        assert driver.table("counts") == {"0": 3, "1": 3}
