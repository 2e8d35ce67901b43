"""An app whose names change from version to version, as its code does: PROCESS_TEST_VERSION says which one runs."""

from __future__ import annotations

import asyncio
import os

import streamcluster
from streamcluster import App
from tests.process.apps import PREFIX, topic

VERSION = os.environ.get("PROCESS_TEST_VERSION", "1")
# Version -> the names of the agent and of its table; version 4 is the second with the old name of the agent.
AGENTS = {"1": "total", "2": "total_orders", "3": "total", "4": "total"}
TABLES = {"1": "totals", "2": "totals", "3": "sums", "4": "totals"}

renamed = App(f"{PREFIX}renamed", broker="kafka://", store="rocksdb://")
orders = renamed.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
totals = renamed.Table(TABLES[VERSION], default=int)


async def total(stream: streamcluster.Stream[str]) -> None:
    """Count by the value; the first version is too slow, and leaves all that it forwarded."""
    async for value in stream.group_by(str, name="value"):
        if VERSION == "1":
            await asyncio.sleep(3600)
        totals[value] += 1


renamed.agent(orders, name=AGENTS[VERSION])(total)
