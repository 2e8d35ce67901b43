"""The app that the poison tests run: all that an agent may do with a record, and a topic of its own for gzip."""

from __future__ import annotations

import streamcluster
from streamcluster import App, Event
from tests.process.apps import PREFIX, topic

app = App(f"{PREFIX}app", broker="kafka://", store="rocksdb://", error_retries=0)
numbers = app.topic(topic("in"), key_type=str, value_type=int)
zipped = app.topic(topic("zipped"), key_type=str, value_serializer="json|gzip")
copies = app.topic(topic("copies"), key_type=str, value_type=int)
out = app.topic(topic("out"), key_type=str, value_type=int)
counts = app.Table("counts", default=int)


def last_digit(number: int) -> str:
    """The key to group by."""
    return str(number % 10)


@app.agent(numbers, name="counting")
async def count(stream: streamcluster.Stream[int]) -> None:
    """Count by the last digit, behind a repartition topic."""
    async for number in stream.group_by(last_digit, name="digit"):
        counts[last_digit(number)] += 1
        await out.send(key=last_digit(number), value=number)


@app.agent(numbers, name="copying")
async def copy(stream: streamcluster.Stream[Event]) -> None:
    """Send on."""
    async for event in stream.events():
        await event.forward(copies)


@app.agent(zipped, name="unzipping")
async def unzip(stream: streamcluster.Stream[int]) -> None:
    """Count what was zipped."""
    async for number in stream:
        await out.send(key="zipped", value=number)
