"""An app that counts in windows of one second by event time, and sends each count when its window is over.

Each change of a count goes to a topic too, with 0 for a deletion.
"""

from __future__ import annotations

import asyncio

from streamcluster import App, Stream
from tests.event_time.windows_by_hand import add, make_windows
from tests.process.apps import PREFIX, topic

timed = App(f"{PREFIX}timed", broker="kafka://")
events = timed.topic(topic("in"), key_type=str, value_type=bytes)
closed = timed.topic(topic("out"), key_type=str, value_type=int)
changed = timed.topic(topic("changed"), key_type=str, value_type=int)
late = timed.Table("late", default=int)


async def close(row: str, value: int) -> None:
    """Slow enough to be killed in the middle of what is over."""
    await asyncio.sleep(0.002)
    await closed.send(key=row, value=value)


windows = make_windows(timed, "windows", close)


@timed.agent(events)
async def count(stream: Stream[bytes]) -> None:
    """Into its window."""
    async for key, _ in stream.items():
        if not add(windows, key, 1, size=1000):
            late[key] += 1


@timed.agent(windows.changes())
async def tell(stream: Stream[int]) -> None:
    """What was written to the windows."""
    async for row, number in stream.items():
        await changed.send(key=row, value=number or 0)
