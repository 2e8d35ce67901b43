"""An app whose worker has much to hold: 200 partitions, three agents, one of them slow. Names as in tests/process."""

from __future__ import annotations

import asyncio
import os

import streamcluster
from streamcluster import App

PREFIX = os.environ.get("PROCESS_TEST_PREFIX", "process-tests-")
PARTITIONS = 200

# Not RocksDB: 200 databases in one worker have more files than many a shell allows.
crowd = App(f"{PREFIX}crowd", broker="kafka://", store="memory://")
orders = crowd.topic(f"{PREFIX}in", key_type=str)
out = crowd.topic(f"{PREFIX}out", key_type=str)
counts = crowd.Table("counts", default=int, partitions=PARTITIONS)


@crowd.agent(orders)
async def count(stream: streamcluster.Stream[object]) -> None:
    """A table entry per event."""
    async for key, _ in stream.items():
        counts[key] += 1


@crowd.agent(orders)
async def forward(stream: streamcluster.Stream[object]) -> None:
    """An output per event."""
    async for key, value in stream.items():
        await out.send(key=key, value=value)


@crowd.agent(orders)
async def ask(stream: streamcluster.Stream[object]) -> None:
    """As if something slow were asked."""
    async for _ in stream:
        await asyncio.sleep(0.1)
