"""Every operator of a stream, through the driver and on both stores."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamcluster import App, Event, Skip, Stream, Topic
from streamcluster.errors import AppError
from tests.engine.conftest import Drive


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
