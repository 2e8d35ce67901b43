"""The app of joins.py: pairs of two streams within ten seconds, of which the left one is sent on.

Environment: as in apps.py, and BENCH_RIGHT, the topic that the source is joined with.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import streamcluster

from .apps import SOURCE, app_id, output_topic

joins = streamcluster.App(app_id("joins"), broker="kafka://", store="rocksdb://")
left, right, output = (
    joins.topic(name, key_type=bytes, value_type=bytes, value_serializer="raw")
    for name in (SOURCE, os.environ.get("BENCH_RIGHT", "bench-right"), output_topic("joins"))
)


@joins.agent(left, sink=[output])
async def pairs(stream: streamcluster.Stream[bytes]) -> AsyncIterator[bytes]:
    """The left one of each."""
    async for one, _ in stream.join(right, within=10, grace=5):
        yield one
