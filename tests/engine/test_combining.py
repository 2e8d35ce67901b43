"""Several streams in one loop: `s1 & s2`, `combine`; each with its own operators, and repartitioned together."""

from __future__ import annotations

from typing import Any

import pytest

from streamcluster import App, Stream, Topic
from streamcluster.errors import AppError
from streamcluster.testing import Driver
from tests.engine.conftest import Drive


def topics(app: App) -> tuple[Topic, Topic]:
    """Two topics of one kind."""
    return app.topic("a", key_type=str, value_type=int), app.topic("b", key_type=str, value_type=int)


def test_all_events_come_in_the_order_of_their_stream(drive: Drive) -> None:
    """Of both topics, with their keys, also when they come from a crash; none comes twice."""
    app = App("merge")
    a, b = topics(app)
    out = app.topic("out", key_type=str, value_type=int)

    @app.agent(a)
    async def both(stream: Stream[int]) -> None:
        async for key, value in (stream & b).items():
            await out.send(key=key, value=value)

    driver = drive(app)
    driver.send("a", key="k", value=1)
    driver.send("b", key="l", value=10)
    driver.send("a", key="k", value=2, commit=False)
    driver.crash()
    driver.send("b", key="l", value=20)
    assert [(o.key, o.value) for o in driver.output("out")] == [("k", 1), ("l", 10), ("k", 2), ("l", 20)]


def test_streams_keep_their_own_operators(drive: Drive) -> None:
    """What stands before `&` is for one of them, what stands behind it for both; `combine` takes many."""
    app = App("ways")
    a, b = topics(app)
    c = app.topic("c", value_type=int)
    seen: list[int] = []
    tens = app.stream(b).filter(lambda value: value % 10 == 0)

    @app.agent(app.stream(a).filter(lambda value: value < 5).combine(tens, c).filter(lambda value: value != 3))
    async def all_three(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    driver = drive(app)
    for topic, value in [("a", 1), ("a", 7), ("b", 7), ("b", 10), ("c", 6), ("a", 3), ("c", 3)]:
        driver.send(topic, value=value)
    assert seen == [1, 10, 6]


def test_batches_are_of_all_streams(drive: Drive) -> None:
    """take() waits for so many of both together."""
    app = App("batches")
    a, b = topics(app)
    seen: list[list[int]] = []

    @app.agent(a)
    async def in_twos(stream: Stream[int]) -> None:
        async for values in stream.filter(lambda value: value > 0).combine(b).take(2):
            seen.append([*values])

    driver = drive(app)
    for topic, value in [("a", 1), ("a", -1), ("b", -2), ("b", 3), ("a", 4)]:
        driver.send(topic, value=value)
    assert seen == [[1, -2], [3, 4]]


def test_combined_streams_are_repartitioned_together(drive: Drive) -> None:
    """group_by behind `&` brings events of both to the partition of their new key."""
    app = App("regroup")
    a, b = topics(app)
    sums = app.Table("sums", key_type=int, value_type=int, default=int)

    @app.agent(a)
    async def add(stream: Stream[int]) -> None:
        together = stream & app.stream(b).filter(lambda value: value < 100)
        async for value in together.group_by(lambda value: value % 10, name="digit"):
            sums[value % 10] += value

    driver = drive(app, 4)
    for number in range(40):
        driver.send("ab"[number % 2], key=str(number), value=number)
    driver.send("b", key="x", value=100)
    assert driver.table("sums") == {digit: sum(range(digit, 40, 10)) for digit in range(10)}


def test_what_cannot_be_combined_is_refused() -> None:
    """With the names of what does not fit."""
    app = App("refused")
    a, _ = topics(app)
    texts = app.topic("texts", value_type=str)
    stream: Any = app.stream(a)
    with pytest.raises(AppError, match="5 is neither a topic nor a stream"):
        _ = stream & 5
    with pytest.raises(AppError, match="neither a topic nor a stream"):
        stream.combine(app.stream([1, 2]))

    @app.agent(a)
    async def mixed(stream: Stream[int]) -> None:
        async for _ in stream.combine(texts).group_by(lambda value: value, name="value"):
            raise AssertionError

    with pytest.raises(AppError, match=r"brings a, texts to one topic.*different types"):
        Driver(app)
