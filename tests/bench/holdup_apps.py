"""The apps of holdups.py: a busy agent, and beside it, in the same worker, something that takes its time.

Environment: as in apps.py. The slow ones read SLOW_SOURCE, with as many partitions as the busy one's topic, or not.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import streamcluster
from streamcluster_worker.state.rocks import RocksStore

from .apps import RUN, SOURCE, Order, app_id, output_topic
from .clock import pause

SLOW_SOURCE = f"{SOURCE}-slow"
# What one slow event awaits, as a call of somebody's API would, and in which partitions: the others go on as if alone,
# on the same machine at the same time.
CALL_SECONDS = float(os.environ.get("BENCH_CALL_SECONDS", "0.5"))
SLOW_PARTITIONS = (0, 1)
# The event that never ends, and the one whose value cannot be encoded.
HANGS_AT = (0, 700)
BAD_AMOUNT = 1_000_000
# What takes so long when a task comes.
SLOW_CALLBACK = os.environ.get("BENCH_SLOW_CALLBACK") == "1"
SLOW_STORE = os.environ.get("BENCH_SLOW_STORE") == "1"
OPEN_SECONDS = 10.0


def busy_app(work: str) -> tuple[streamcluster.App, streamcluster.Table[str, int]]:
    """An app whose agent sums the amounts per account and sends each order on, and a table for the slow one."""
    app = streamcluster.App(app_id(work), broker="kafka://", store="rocksdb://")
    orders = app.topic(SOURCE, key_type=str, value_type=Order)
    output = app.topic(output_topic(work), key_type=str, value_type=Order)
    totals = app.Table("totals", default=int)

    @app.agent(orders, name="busy")
    async def busy(stream: streamcluster.Stream[Order]) -> None:
        async for order in stream:
            totals[order.account_id] += order.amount
            await output.send(key=order.account_id, value=order)

    return app, app.Table("calls", default=int)


async def call(stream: streamcluster.Stream[Order], calls: streamcluster.Table[str, int]) -> None:
    """Await an API, then write a table."""
    async for event in stream.events():
        if event.message.partition in SLOW_PARTITIONS:
            await asyncio.sleep(CALL_SECONDS)
        calls[event.value.account_id] += 1


alone, _ = busy_app("alone")

# A slow agent on a topic of its own: the test gives it another partition count for the first.
other_group, other_group_calls = busy_app("other_group")
same_task, same_task_calls = busy_app("same_task")
same_topic, same_topic_calls = busy_app("same_topic")
function, function_calls = busy_app("function")
endless, endless_counts = busy_app("endless")
unencodable, _ = busy_app("unencodable")
assigning, _ = busy_app("assigning")


@other_group.agent(other_group.topic(SLOW_SOURCE, key_type=str, value_type=Order), name="slow")
async def slow_in_other_group(stream: streamcluster.Stream[Order]) -> None:
    """In a task group of its own."""
    await call(stream, other_group_calls)


@same_task.agent(same_task.topic(SLOW_SOURCE, key_type=str, value_type=Order), name="slow")
async def slow_in_same_task(stream: streamcluster.Stream[Order]) -> None:
    """In the busy one's tasks."""
    await call(stream, same_task_calls)


@same_topic.agent(same_topic.topic(SOURCE, key_type=str, value_type=Order), name="slow")
async def slow_on_same_topic(stream: streamcluster.Stream[Order]) -> None:
    """On the busy one's topic: it never catches up."""
    await call(stream, same_topic_calls)


slow_stream = function.stream(function.topic(SLOW_SOURCE, key_type=str, value_type=Order))


@function.task
async def slow_function() -> None:
    """A function over all partitions of the worker."""
    await call(slow_stream, function_calls)


@endless.agent(endless.topic(SOURCE, key_type=str, value_type=Order), name=f"{RUN}-enrich")
async def enrich(stream: streamcluster.Stream[Order]) -> None:
    """Quick, but for one event, which awaits for ever before it writes its table."""
    async for event in stream.events():
        if (event.message.partition, event.message.offset) == HANGS_AT:
            await asyncio.Event().wait()
        endless_counts[event.value.account_id] += 1


odd = unencodable.Table("odd")


@unencodable.agent(unencodable.topic(SOURCE, key_type=str, value_type=Order), name="odd")
async def put_odd(stream: streamcluster.Stream[Order]) -> None:
    """One value cannot be encoded, which shows only at the commit."""
    async for order in stream:
        odd[order.account_id] = object() if order.amount == BAD_AMOUNT else order.amount


if SLOW_CALLBACK:

    @assigning.on_partitions_assigned.connect
    async def take_time(app: streamcluster.App, assigned: object, **_: object) -> None:
        """As an app that fetches something at each rebalance."""
        await asyncio.sleep(OPEN_SECONDS)


if SLOW_STORE:
    open_store = RocksStore.open

    def open_slowly(*arguments: Any) -> RocksStore:
        """As on a disk that has much to do."""
        pause(OPEN_SECONDS)
        return open_store(*arguments)

    RocksStore.open = open_slowly  # type: ignore[method-assign, assignment]
