"""Two apps on one topic that gets partitions while they run: a copy, and a count behind it with a table."""

from __future__ import annotations

import streamcluster
from streamcluster import App
from tests.process.apps import PREFIX, topic

copying = App(f"{PREFIX}copying", broker="kafka://", consumer_auto_offset_reset="latest")
copied = copying.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw", partitions=2)
copies = copying.topic(topic("copies"), key_type=str, value_type=str, value_serializer="raw", partitions=1)


@copying.agent(copied)
async def copy(stream: streamcluster.Stream[str]) -> None:
    """Send everything on."""
    async for key, value in stream.items():
        await copies.send(key=key, value=value)


counting = App(f"{PREFIX}counting", broker="kafka://", store="rocksdb://")
counted = counting.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw", partitions=2)
seen = counting.Table("seen", default=int)


@counting.agent(counted)
async def count(stream: streamcluster.Stream[str]) -> None:
    """Count by key."""
    async for key, _ in stream.items():
        seen[key] += 1
