"""Sinks in long runs: whatever is yielded, by whatever stream, arrives in order with its event's time and headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from streamcluster import App, Stream, Topic, loops
from streamcluster.batch import Batch
from streamcluster.current import Cursor, Run, cursor_var, outbox_var
from streamcluster.engine.agent_body import send_yielded
from streamcluster.engine.intake import SINGLE_EVENTS
from streamcluster.engine.outbox import Outbox
from streamcluster.ids import TP, TaskId
from streamcluster.testing import Driver

COUNT = 500


@pytest.fixture(autouse=True, params=["in C", "in Python"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to hand out values and to keep what is yielded (loops.py)."""
    if request.param == "in Python":
        monkeypatch.setattr(loops, "_in_c", False)


Body = Callable[[Stream[int]], AsyncIterator[Any]]


async def values(stream: Stream[int]) -> AsyncIterator[Any]:
    """The value itself."""
    async for number in stream:
        yield number


async def twice(stream: Stream[int]) -> AsyncIterator[Any]:
    """Two for one event, and for odd ones only."""
    async for number in stream:
        if number % 2:
            yield number
            yield -number


async def events(stream: Stream[int]) -> AsyncIterator[Any]:
    """Events, whose records are sent as they are, among values."""
    async for event in stream.events():
        yield event if event.value % 3 else event.value


async def batches(stream: Stream[int]) -> AsyncIterator[Any]:
    """Sums of ten, of the time of the last."""
    async for batch in stream.take(10):
        yield sum(batch)


async def nothing(stream: Stream[int]) -> AsyncIterator[Any]:
    """Tombstones."""
    async for _ in stream:
        yield None


def expected(body: Body, number: int) -> list[tuple[Any, bool]]:
    """(value, whether it has its event's headers) of what is yielded at this event."""
    with_headers = number % 100 < 50
    if body is twice:
        return [(number, with_headers), (-number, with_headers)] if number % 2 else []
    if body is batches:
        return [(sum(range(number - 9, number + 1)), False)] if number % 10 == 9 else []
    return [(None if body is nothing else number, with_headers)]


def feed(driver: Driver) -> None:
    """Numbers with their seconds as timestamps, half of them with headers, in batches that have some or none."""
    for number in [*[0] * SINGLE_EVENTS, *range(COUNT)]:
        headers = [("h", b"%d" % number)] if number % 100 < 50 else None
        record = {"key": b"k", "value": b"%d" % number, "timestamp": 1000 * number + 1, "headers": headers}
        driver.logs.append("numbers", record, 0.0)
        if number % 100 in (49, 99):
            driver.advance(0.0)


@pytest.mark.parametrize("listens", [False, True], ids=["", "with a signal"])
@pytest.mark.parametrize("body", [values, twice, events, batches, nothing])
def test_what_is_yielded_arrives(body: Body, *, listens: bool) -> None:
    """In order, once, with the time of its event; with its headers but for what a batch makes."""
    app = App("shop")
    numbers = app.topic("numbers", value_type=int)
    out: Topic = app.topic("out", partitions=1, value_type=int)
    app.agent(numbers, name="agent", sink=[out])(body)
    if listens:
        app.on_produce_message.connect(lambda *_, **__: None)
    with Driver(app) as driver:
        feed(driver)
        found = [(output.value, output.timestamp, output.headers.get("h")) for output in driver.output(out)]
        wanted = [
            (value, number + 0.001, b"%d" % number if has_headers else None)
            for number in range(COUNT)
            for value, has_headers in expected(body, number)
        ]
        assert found[len(found) - len(wanted) :] == wanted
        assert driver.dead_letters() == []


def test_a_sink_waits_for_room() -> None:
    """What is yielded faster than it is taken out is held up, at the bound, and all of it comes."""
    app = App("shop")
    out = app.topic("out", value_type=int)
    out.compile(app.conf)
    batch = Batch(TP("in", 0), range(100), range(1, 101), [None] * 100, [b"1"] * 100)
    run = Run(TaskId(1, 0), batch, [*range(100)], 100, None)
    cursor = Cursor("agent", None)
    cursor.run, cursor.iterator = run, iter(run.values)

    async def numbers() -> AsyncIterator[int]:
        for number in cursor.iterator:
            yield number

    async def take() -> list[tuple[bytes | None, int]]:
        found: list[tuple[bytes | None, int]] = []
        full = asyncio.Event()
        outbox = Outbox(3, full.set)
        outbox_var.set(outbox)
        cursor_var.set(cursor)
        sending = asyncio.create_task(send_yielded(numbers(), out, cursor, outbox))
        while not sending.done():
            waiting = asyncio.create_task(full.wait())
            await asyncio.wait({sending, waiting}, timeout=10.0, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            full.clear()
            assert outbox.count() <= 4
            for columns in outbox.swap().values():
                found += [(value, timestamp) for _, value, _, timestamp, _ in columns.records()]
        await sending
        return found

    assert asyncio.run(take()) == [(b"%d" % number, number + 1) for number in range(100)]
