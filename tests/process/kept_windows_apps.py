"""An app whose tables have rows of their own kinds: dated windows, sliding ones, versions, and the rows of a topic."""

from __future__ import annotations

import asyncio

from streamcluster import App, Stream
from streamcluster.windows.kinds import Window
from tests.process.apps import PREFIX, topic

kept = App(f"{PREFIX}kept", broker="kafka://")
readings = kept.topic(topic("readings"), key_type=str, value_type=int)
names = kept.topic(topic("names"), key_type=str, value_type=str)
told = kept.topic(topic("told"), key_type=str, value_type=list)
closed = kept.topic(topic("closed"), key_type=str, value_type=list)
totals = kept.Table("totals", key_type=str, default=int).tumbling(1, grace=0)
recent = kept.Table("recent", key_type=str, default=int).sliding(0.5, grace=0)
latest = kept.Table("latest", key_type=str, value_type=int, history=60)
named = kept.Table("named", source=names, load="first")


@kept.agent(readings)
async def read(stream: Stream[int]) -> None:
    """Slow enough to be killed in the middle of what there is. All that it tells is of what the tables have."""
    async for event in stream.events():
        key, value = event.key, event.value
        totals[key] += value
        recent[key] += value
        before = latest.as_of(event.message.timestamp - 1).get(key)
        latest[key] = value
        await asyncio.sleep(0.0005)
        await told.send(key=key, value=[value, recent[key].value(), before, named.get(key)])


@totals.on_close
async def over(key: str, window: Window, total: int) -> None:
    """The record has the time of the window's last event."""
    await closed.send(key=key, value=[window.start, total])
