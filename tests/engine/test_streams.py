"""Every operator of a stream, through the driver and on both stores."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamcluster import App, Event, Record, Skip, Stream, Topic
from streamcluster.errors import AppError, NotOffered
from tests.engine.conftest import Drive


class Order(Record):
    account_id: str
    amount: int


def numbers(app: App) -> Topic:
    """A topic of integers."""
    return app.topic("numbers", key_type=str, value_type=int)


def test_stream_values_come_in_order(drive: Drive) -> None:
    """`async for value in stream` gives each value of a partition once, in offset order."""
    app = App("a")
    seen: list[int] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    driver = drive(app)
    for value in range(5):
        driver.send("numbers", value=value)
    assert seen == [0, 1, 2, 3, 4]


def test_items_gives_decoded_keys(drive: Drive) -> None:
    """`items()` gives (key, value); a record without a key has None."""
    app = App("a")
    seen: list[tuple[str, int]] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            seen.append((key, value))

    driver = drive(app)
    driver.send("numbers", key="k", value=1)
    driver.send("numbers", value=2)
    driver.send("numbers", key="", value=3)
    assert seen == [("k", 1), (None, 2), ("", 3)]


def test_events_carry_the_record(drive: Drive) -> None:
    """`events()` gives key, value, headers, id and the message behind them."""
    app = App("a")
    seen: list[Event] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for event in stream.events():
            seen.append(event)

    driver = drive(app)
    driver.send("numbers", key="k", value=7, headers={"h": b"1"}, timestamp=12.5)
    [event] = seen
    assert (event.key, event.value, event.headers, event.id) == ("k", 7, {"h": b"1"}, ("numbers", 0, 0))
    message = event.message
    assert (message.key, message.value, message.timestamp, message.offset) == (b"k", b"7", 12.5, 0)
    assert message.tp == ("numbers", 0)


def test_event_send_and_forward(drive: Drive) -> None:
    """`send` encodes again with a new key or value, `forward` sends the bytes on; headers go along."""
    app = App("a")
    out = app.topic("out", key_type=str, value_type=int, partitions=1)

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for event in stream.events():
            await event.send(out, value=event.value + 1)
            await event.send(out, key="other", headers={"new": b"1"})
            await event.forward(out)
            await event.forward("out", key=b"renamed", headers={"n": b"2"})

    driver = drive(app)
    driver.send("numbers", key="k", value=7, headers={"h": b"1"})
    assert [(o.key, o.value, o.headers) for o in driver.output("out")] == [
        ("k", 8, {"h": b"1"}),
        ("other", 7, {"new": b"1"}),
        ("k", 7, {"h": b"1"}),
        ("renamed", 7, {"n": b"2"}),
    ]


def test_event_forward_and_send_reach_an_agent(drive: Drive) -> None:
    """An agent is a destination as well: the event goes to its topic."""
    app = App("a")
    seen: list[int] = []

    @app.agent(value_type=int, partitions=1)
    async def other(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for event in stream.events():
            await event.forward(other)
            await event.send(other, value=event.value + 1)

    drive(app).send("numbers", key="k", value=7)
    assert seen == [7, 8]


def test_filter_and_enumerate(drive: Drive) -> None:
    """Sync and async filters drop values before they are counted by enumerate."""
    app = App("a")
    seen: list[tuple[int, int]] = []

    async def below_five(value: int) -> bool:
        await asyncio.sleep(0)
        return value < 5

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for number, value in stream.filter(lambda value: value % 2 == 1).filter(below_five).enumerate(10):
            seen.append((number, value))

    driver = drive(app)
    for value in range(8):
        driver.send("numbers", value=value)
    assert seen == [(10, 1), (11, 3)]
    assert [*driver.positions().values()] == [8]


def test_processors_change_and_skip(drive: Drive) -> None:
    """Processors run in order, sync and async; Skip drops the event and its position is passed."""
    app = App("a")
    seen: list[Any] = []

    def drop_two(value: int) -> int:
        if value == 2:
            raise Skip
        return value * 10

    async def as_text(value: int) -> str:
        await asyncio.sleep(0)
        return f"<{value}>"

    @app.agent(app.stream(numbers(app), processors=[drop_two]))
    async def read(stream: Stream[int]) -> None:
        stream.add_processor(as_text)
        async for value in stream:
            seen.append(value)

    driver = drive(app)
    for value in range(4):
        driver.send("numbers", value=value)
    assert seen == ["<0>", "<10>", "<30>"]
    assert [*driver.positions().values()] == [4]


def test_echo_copies_with_the_key(drive: Drive) -> None:
    """`echo` sends each value on under its key, and the stream goes on."""
    app = App("a")
    copy = app.topic("copy", key_type=str, value_type=int, partitions=1)
    seen: list[int] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for value in stream.echo(copy):
            seen.append(value)

    driver = drive(app)
    driver.send("numbers", key="a", value=1)
    driver.send("numbers", key="b", value=2)
    assert seen == [1, 2]
    assert [(o.key, o.value) for o in driver.output("copy")] == [("a", 1), ("b", 2)]


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


def test_take_gives_full_batches_and_what_time_leaves(drive: Drive) -> None:
    """A batch is full, or it is what came within the time since its first value."""
    app = App("a")
    batches: list[list[int]] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for batch in stream.take(3, within=5.0):
            batches.append(list(batch))

    driver = drive(app)
    for value in range(5):
        driver.send("numbers", value=value)
    assert batches == [[0, 1, 2]]
    driver.advance(4.9)
    assert batches == [[0, 1, 2]]
    driver.advance(0.2)
    assert batches == [[0, 1, 2], [3, 4]]


def test_take_without_time_waits_for_the_batch(drive: Drive) -> None:
    """`take(n)` alone has no time limit; the position stays before a batch that is not full."""
    app = App("a")
    batches: list[list[int]] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for batch in stream.take(2):
            batches.append(list(batch))

    driver = drive(app)
    for value in range(3):
        driver.send("numbers", value=value)
    driver.advance(1000.0)
    assert batches == [[0, 1]]
    assert [*driver.positions().values()] == [2]


def test_take_with_table_writes_survives_a_crash_in_a_batch(drive: Drive) -> None:
    """Buffered events come again after a crash, those of a finished batch do not; tables may be written in a batch."""
    app = App("a")
    sums = app.Table("sums", default=int)
    batches: list[list[int]] = []

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for batch in stream.take_events(3, within=10.0):
            batches.append([event.value for event in batch])
            for event in batch:
                sums[event.key] += event.value

    driver = drive(app)
    for value in range(5):
        driver.send("numbers", key="k", value=value)
    assert batches == [[0, 1, 2]]
    driver.crash()
    driver.send("numbers", key="k", value=5)
    assert batches == [[0, 1, 2], [3, 4, 5]]
    driver.crash(lose_stores=True)
    driver.advance(20.0)
    assert driver.table("sums") == {"k": 15}
    assert batches == [[0, 1, 2], [3, 4, 5]]


def test_echo_before_take_is_sent_once_in_spite_of_a_crash(drive: Drive) -> None:
    """What operators before a take send belongs to the batch: a crash while it fills repeats nothing."""
    app = App("a")
    copy = app.topic("copy", value_type=int)

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for _ in stream.echo(copy).take(3):
            pass

    driver = drive(app)
    driver.send("numbers", value=0)
    driver.crash()
    driver.send("numbers", value=1)
    driver.crash()
    driver.send("numbers", value=2)
    assert [o.value for o in driver.output("copy")] == [0, 1, 2]


def test_echo_of_an_event_that_a_take_never_sees_is_sent(drive: Drive) -> None:
    """An event that is dropped behind its echo is passed, so its echo is sent without waiting for a batch."""
    app = App("a")
    copy = app.topic("copy", value_type=int, partitions=1)

    @app.agent(numbers(app))
    async def read(stream: Stream[int]) -> None:
        async for _ in stream.echo(copy).filter(lambda value: value > 5).take(3):
            raise AssertionError("no batch is ever full")

    driver = drive(app)
    driver.send("numbers", value=0)
    driver.crash()
    driver.send("numbers", value=1)
    assert [o.value for o in driver.output("copy")] == [0, 1]


def test_names_that_are_not_offered_say_so(drive: Drive) -> None:
    """Joins, noack, windows and the rest raise with a reason and what to do instead."""
    app = App("a")
    topic = numbers(app)
    table: Any = app.Table("t")
    stream: Any = app.stream(topic)
    offers = [
        stream.noack,
        stream.join,
        stream.left_join,
        stream.inner_join,
        stream.outer_join,
        stream.combine,
        lambda: stream & stream,
        topic.stream,
        table.tumbling,
        table.hopping,
        table.join,
        table.combine,
        lambda: app.Table("w", window=1),
        lambda: app.GlobalTable,
        lambda: app.crontab,
        lambda: app.page,
        lambda: app.service,
        lambda: app.channel,
    ]
    for offer in offers:
        with pytest.raises(NotOffered) as caught:
            offer()
        assert len(str(caught.value)) > 20


def test_stream_declared_wrongly_is_refused() -> None:
    """Each wrong use of an operator says what is wrong, where it is written."""
    app = App("a")
    stream: Any = app.stream(numbers(app))
    for wrong in (
        lambda: stream.group_by(lambda value: value),
        lambda: stream.group_by("field"),
        lambda: stream.through("name"),
        lambda: app.stream(5),
        lambda: app.topic(),
        lambda: app.topic("a", pattern="b"),
    ):
        with pytest.raises(AppError):
            wrong()
