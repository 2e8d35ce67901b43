"""Apps that count in windows by event time, and send each count when its window is over.

timed: in windows of a second; each change of a count goes to a topic too, with 0 for a deletion. regrouped: by page,
behind a group_by that is slow in one of its tasks.
"""

from __future__ import annotations

import asyncio

from streamcluster import App, Stream, current_event
from streamcluster.windows.kinds import Window
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


SLOW_PARTITION = 1
regrouped = App(f"{PREFIX}regrouped", broker="kafka://")
views = regrouped.topic(topic("in"), key_type=str, value_type=bytes)
totals = regrouped.topic(topic("out"), key_type=str, value_type=int)
too_late = regrouped.topic(topic("late"), key_type=str, value_type=bytes)
pages = regrouped.Table("pages", key_type=str, default=int).tumbling(0.5, grace=0, late=too_late)


async def dawdle(page: bytes) -> str:
    """What takes long in one partition only."""
    event = current_event()
    if event is not None and event.message.partition == SLOW_PARTITION:
        await asyncio.sleep(0.004)
    return page.decode()


@regrouped.agent(views)
async def count_pages(stream: Stream[bytes]) -> None:
    """By page, not by the key."""
    stream.add_processor(dawdle)
    async for page in stream.group_by(str, name="page"):
        pages[page] += 1


@pages.on_close
async def page_closed(page: str, window: Window, number: int) -> None:
    """Its total."""
    await totals.send(key=f"{page}/{window.start}", value=number)
