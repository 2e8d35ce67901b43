"""An app that joins two streams and sends each pair, and each event that has none, to a topic."""

from __future__ import annotations

import asyncio

from streamcluster import App, Stream
from tests.process.apps import PREFIX, topic

joined = App(f"{PREFIX}joined", broker="kafka://")
left, right = (joined.topic(topic(side), key_type=str, value_type=int) for side in ("left", "right"))
pairs = joined.topic(topic("pairs"), key_type=str, value_type=list)


@joined.agent(left)
async def join(stream: Stream[int]) -> None:
    """Slow enough to be killed in the middle of what there is."""
    async for event in stream.outer_join(right, within=2, grace=1).events():
        await asyncio.sleep(0.0005)
        await pairs.send(key=event.key, value=[*event.value])
