"""The app of windows.py: orders per account and minute, whose final counts go to a topic.

Environment: as in apps.py, and BENCH_PAUSES, a directory: there each worker notes how long its event loop was held up;
BENCH_FINAL: "no" leaves the final counts out, so that windows which are over are only deleted.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import streamcluster

from .apps import SOURCE, Order, app_id, output_topic

PAUSES = os.environ.get("BENCH_PAUSES")
TICK_S = 0.005
# What is shorter is no pause.
NOTED_S = 0.001

windows = streamcluster.App(app_id("windows"), broker="kafka://", store="rocksdb://")
orders = windows.topic(SOURCE, key_type=str, value_type=Order)
output = windows.topic(output_topic("windows"), key_type=str, value_type=int)
per_minute = windows.Table("per_minute", default=int).tumbling(60, grace=10)


@windows.agent(orders)
async def count(stream: streamcluster.Stream[Order]) -> None:
    """Count."""
    async for order in stream:
        per_minute[order.account_id] += 1


async def closed(account: str, _window: object, number: int) -> None:
    """A count is final."""
    await output.send(key=account, value=number)


if os.environ.get("BENCH_FINAL") != "no":
    per_minute.on_close(closed)


@windows.task
async def tick() -> None:
    """Beside all that: a line for each time that it came late, (monotonic seconds, how late)."""
    if PAUSES is None:
        return
    with (Path(PAUSES) / str(os.getpid())).open("a", buffering=1) as file:
        before = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            if now - before - TICK_S > NOTED_S:
                file.write(f"{now} {now - before - TICK_S}\n")
            before = now
