"""Agents: how they are declared, fed, ended early, and how several of them share a topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamcluster import App, Event, Record, Stream, current_event
from streamcluster.errors import AppError
from streamcluster.ids import TP
from streamcluster.testing import Driver
from tests.engine.conftest import Drive


class Order(Record):
    account_id: str
    amount: int


def test_agent_runs_once_per_partition(drive: Drive) -> None:
    """Each partition has a coroutine of its own: local variables hold one partition's events, in order."""
    app = App("a")
    topic = app.topic("numbers", value_type=int)
    seen: dict[int, list[int]] = {}

    @app.agent(topic)
    async def read(stream: Stream[int]) -> None:
        own: list[int] = []
        async for event in stream.events():
            own.append(event.value)
            seen[event.message.partition] = own

    driver = drive(app, partitions=3)
    for value in range(9):
        driver.send("numbers", partition=value % 3, value=value)
    assert seen == {0: [0, 3, 6], 1: [1, 4, 7], 2: [2, 5, 8]}


def test_agent_without_parentheses_or_topic_has_its_own(drive: Drive) -> None:
    """`@app.agent` alone makes an internal topic `{app id}-{name}`; send and cast go there, also from other agents."""
    app = App("shop")
    seen: list[Any] = []

    @app.agent
    async def own(stream: Stream[Any]) -> None:
        async for value in stream:
            seen.append(value)

    @app.agent(app.topic("numbers", value_type=int))
    async def feeder(stream: Stream[int]) -> None:
        async for value in stream:
            await own.send({"number": value}, key="k")
            await own.cast(value)

    driver = drive(app)
    assert own.topic.name == f"shop-{own.name}"
    driver.send("numbers", value=1)
    assert sorted(seen, key=str) == [1, {"number": 1}]


def test_agent_over_a_stream_runs_its_processors(drive: Drive) -> None:
    """An agent may be given a stream: its processors run before the agent's own operators."""
    app = App("a")
    topic = app.topic("numbers", value_type=int)
    seen: list[int] = []

    @app.agent(app.stream(topic, processors=[lambda value: value + 1]).filter(lambda value: value > 1))
    async def read(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    driver = drive(app)
    for value in range(3):
        driver.send("numbers", value=value)
    assert seen == [2, 3]


def test_yields_go_to_every_sink(drive: Drive) -> None:
    """What an agent yields goes to callables (sync and async), topics and agents, in order."""
    app = App("a")
    out = app.topic("out", value_type=int, partitions=1)
    called: list[tuple[str, int]] = []

    async def later(value: int) -> None:
        await asyncio.sleep(0)
        called.append(("async", value))

    @app.agent(value_type=int, partitions=1)
    async def sink_agent(stream: Stream[int]) -> None:
        async for value in stream:
            called.append(("agent", value))

    @app.agent(
        app.topic("numbers", value_type=int), sink=[lambda value: called.append(("sync", value)), out, sink_agent]
    )
    async def double(stream: Stream[int]) -> AsyncIterator[int]:
        async for value in stream:
            yield value * 2

    double.add_sink(later)
    driver = drive(app)
    driver.send("numbers", value=1)
    driver.send("numbers", value=2)
    assert [o.value for o in driver.output("out")] == [2, 4]
    assert called == [
        ("sync", 2), ("async", 2), ("agent", 2), ("sync", 4), ("async", 4), ("agent", 4),
    ]  # fmt: skip


def test_failing_sink_is_the_failure_of_its_event(drive: Drive) -> None:
    """An exception in a sink sends the event that was yielded for to the dead letters; the others go on."""
    app = App("a")
    got: list[int] = []

    def sink(value: int) -> None:
        if value == 1:
            raise ValueError("no ones")
        got.append(value)

    @app.agent(app.topic("numbers", value_type=int), sink=[sink])
    async def same(stream: Stream[int]) -> AsyncIterator[int]:
        async for value in stream:
            yield value

    driver = drive(app)
    for value in range(3):
        driver.send("numbers", value=value)
    assert got == [0, 2]
    assert [o.value for o in driver.dead_letters()] == [b"1"]


def test_concurrency_keeps_the_order_of_each_key(drive: Drive) -> None:
    """Several coroutines share a partition: keys run beside each other, one key's events in order, none lost."""
    app = App("a")
    topic = app.topic("numbers", key_type=str, value_type=int)
    seen: dict[str, list[int]] = {}
    at_once = 0
    most = 0
    sums = app.Table("sums", default=int)

    @app.agent(topic, concurrency=4)
    async def read(stream: Stream[int]) -> None:
        nonlocal at_once, most
        async for key, value in stream.items():
            at_once += 1
            most = max(most, at_once)
            for _ in range(value % 3 + 1):
                await asyncio.sleep(0)
            seen.setdefault(key, []).append(value)
            sums[key] += value
            at_once -= 1

    driver = drive(app)
    for value in range(40):
        driver.logs.append("numbers", {"key": b"k%d" % (value % 5), "value": b"%d" % value}, 0.0)
    driver.advance(0.0)
    assert most > 1
    assert seen == {f"k{key}": list(range(key, 40, 5)) for key in range(5)}
    driver.crash(lose_stores=True)
    assert driver.table("sums") == {f"k{key}": sum(range(key, 40, 5)) for key in range(5)}
    assert driver.positions()[TP("numbers", 0)] == 40


def test_agents_on_one_topic_need_not_wait_for_each_other(drive: Drive) -> None:
    """One agent buffers a batch, the other is ahead; after a crash neither sees anything twice or loses anything."""
    app = App("a")
    topic = app.topic("numbers", value_type=int)
    plain: list[int] = []
    batches: list[list[int]] = []
    counted = app.Table("counted", default=int)

    @app.agent(topic)
    async def one_by_one(stream: Stream[int]) -> None:
        async for value in stream:
            plain.append(value)
            counted["plain"] += 1

    @app.agent(topic)
    async def in_batches(stream: Stream[int]) -> None:
        async for batch in stream.take(4):
            batches.append(list(batch))
            counted["batches"] += len(batch)

    driver = drive(app)
    for value in range(10):
        driver.send("numbers", value=value)
        driver.crash(lose_stores=value % 2 == 0)
    assert plain == list(range(10))
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert driver.table("counted") == {"plain": 10, "batches": 8}
    assert driver.positions()[TP("numbers", 0)] == 8


def test_agent_that_catches_everything_is_understood(drive: Drive) -> None:
    """`except Exception` around or in the loop, a task group and a generator body do not hide the operators."""
    app = App("a")
    orders = app.topic("orders", value_type=Order)
    seen: list[tuple[str, int]] = []

    @app.agent(orders, name="shop.catches")
    async def catches(stream: Stream[Order]) -> None:
        try:
            async for order in stream.group_by(Order.account_id):
                seen.append(("catches", order.amount))
        except Exception:
            raise
        finally:
            await asyncio.sleep(0)

    @app.agent(orders, name="shop.grouped_tasks")
    async def in_task_group(stream: Stream[Order]) -> None:
        async def read() -> None:
            async for order in stream.group_by(Order.account_id):
                seen.append(("task group", order.amount))

        async with asyncio.TaskGroup() as group:
            group.create_task(read())

    driver = drive(app)
    names = {topic.name for topic in driver.topology.topics}
    assert {
        "shop.catches-orders-Order.account_id-repartition",
        "shop.grouped_tasks-orders-Order.account_id-repartition",
    } <= names
    driver.send("orders", value=Order("a", 5))
    assert sorted(seen) == [("catches", 5), ("task group", 5)]


def test_agent_that_never_reads_is_refused(drive: Drive) -> None:
    """An agent without a loop over its stream is an error before anything runs."""
    app = App("a")

    @app.agent(app.topic("numbers"))
    async def idle(stream: Stream[Any]) -> None:
        del stream

    with pytest.raises(AppError, match="never reads its stream"):
        drive(app)


def test_agents_declared_wrongly_are_refused() -> None:
    """Two agents of one name, a wrong channel, sink, policy or concurrency: each says which."""
    app = App("a")

    async def fun(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    app.agent("t", name="same")(fun)
    wrong: list[dict[str, Any]] = [
        {"name": "same"},
        {"name": "zero", "concurrency": 0},
        {"name": "many", "concurrency": 501},
        {"name": "sunk", "sink": [5]},
    ]
    for arguments in wrong:
        with pytest.raises(AppError, match=arguments["name"]):
            app.agent("t", **arguments)(fun)
    with pytest.raises(AppError):
        app.agent(5, name="channel")(fun)  # type: ignore[call-overload]
    with pytest.raises(AppError):
        app.agent(app.topic("u"), name="both", partitions=3)(fun)


def test_current_event_is_known_in_functions(drive: Drive) -> None:
    """`current_event()` gives the event at hand in any function that an agent calls, and None outside."""
    app = App("a")
    found: list[Event | None] = []

    async def deep() -> None:
        found.append(current_event())

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for _ in stream:
            await deep()

    driver = drive(app)
    driver.send("numbers", value=5)
    assert [event.id for event in found if event is not None] == [("numbers", 0, 0)]
    assert current_event() is None


def test_agent_over_a_pattern_reads_every_topic_that_matches(drive: Drive) -> None:
    """Several names in one topic declaration are read by one agent; sends go to the first."""
    app = App("a")
    both = app.topic("first", "second", value_type=int)
    seen: list[tuple[str, int]] = []

    @app.agent(both)
    async def read(stream: Stream[int]) -> None:
        async for event in stream.events():
            seen.append((event.message.topic, event.value))

    driver = drive(app)
    driver.send("first", value=1)
    driver.send("second", value=2)
    assert seen == [("first", 1), ("second", 2)]
    assert both.name == "first"


def test_more_readers_than_an_offset_can_note_are_refused() -> None:
    """Where each coroutine is must fit into the metadata of an offset, so their number per topic is bounded."""
    app = App("crowd")
    topic = app.topic("crowded", value_type=int)

    async def body(numbers: Stream[int]) -> None:
        async for _ in numbers:
            pass

    for number in range(3):
        app.agent(topic, name=f"a{number}", concurrency=200)(body)
    with pytest.raises(AppError, match=r"'crowded' is read by 600 coroutines of 3 agents"):
        Driver(app)
