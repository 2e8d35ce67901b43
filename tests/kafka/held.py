"""Two agents on one topic, of which one can be held up by a record. Not a test."""

from __future__ import annotations

import asyncio

import streamcluster
from streamcluster import App
from tests.process.apps import PREFIX, first_time, topic

held = App(f"{PREFIX}held", broker="kafka://", store="rocksdb://")
orders = held.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
fast_out = held.topic(topic("fast"), key_type=str, value_type=str, value_serializer="raw")
slow_out = held.topic(topic("slow"), key_type=str, value_type=str, value_serializer="raw")


@held.agent(orders, name="fast")
async def send_fast(stream: streamcluster.Stream[str]) -> None:
    """Send on at once."""
    async for key, value in stream.items():
        await fast_out.send(key=key, value=value)


@held.agent(orders, name="slow")
async def send_slowly(stream: streamcluster.Stream[str]) -> None:
    """Send on after a while, between two commits; `hold once` is never sent on by the first process."""
    async for key, value in stream.items():
        if value == "hold once" and first_time("held"):
            await asyncio.Event().wait()
        await asyncio.sleep(0.05)
        await slow_out.send(key=key, value=value)
