"""Apps whose worker has much to hold. Names as in tests/process.

crowd: 200 partitions, three agents, one of them slow. heavy: large records under a slow agent, and, beside it, lists
in a table that grow and events that send much.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

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


SLOW_PARTITIONS = 32
heavy = App(f"{PREFIX}heavy", broker="kafka://")
docs = heavy.topic(f"{PREFIX}docs", key_type=str)
clicks = heavy.topic(f"{PREFIX}clicks", key_type=str)
sent = heavy.topic(f"{PREFIX}sent", key_type=str)
recent: Any = heavy.Table("recent", default=list)


@heavy.agent(docs)
async def read(stream: streamcluster.Stream[object]) -> None:
    """Something slow is asked about each document."""
    async for _ in stream:
        await asyncio.sleep(5.0)


@heavy.agent(clicks)
async def note(stream: streamcluster.Stream[Any]) -> None:
    """A list per user that grows in place, and now and then 5 MB of output at once."""
    async for user, click in stream.items():
        recent[user] += [{"number": click["number"], "kind": "click"}] * 20
        if click["number"] % 1000 == 0:
            for number in range(100):
                await sent.send(key=f"{user}-{number}", value={"text": "x" * 50_000})
