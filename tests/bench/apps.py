"""The apps that are measured, written as a user would write them.

Environment: BENCH_RUN names the run (it is part of every app id and of every topic that an app writes);
BENCH_SOURCE names the topic that is read; BENCH_SAMPLES names a directory, in a run that looks where time goes.
Guarantee and commit interval come from the operator's settings.
"""

from __future__ import annotations

import os

import streamcluster

from . import sampling

RUN = os.environ.get("BENCH_RUN", "0")
SOURCE = os.environ.get("BENCH_SOURCE", "bench-orders")

if SAMPLES := os.environ.get("BENCH_SAMPLES"):
    sampling.begin(SAMPLES)


def app_id(work: str, run: str = RUN) -> str:
    """The id of the app that does `work`; each run has its own group, tables and directories."""
    return f"bench-{work}-{run}"


class Order(streamcluster.Record):
    """The value of an order (orders.py). sent_at: nanoseconds of the sender's monotonic clock."""

    account_id: str
    amount: int
    currency: str
    country: str
    product: str
    sent_at: int


class Counted(streamcluster.Record):
    """What `regrouped` sends: how often the account was seen, and when the order behind it was sent."""

    account_id: str
    count: int
    sent_at: int


def output_topic(work: str, run: str = RUN) -> str:
    """Where the app that does `work` sends its results."""
    return f"{app_id(work, run)}-output"


# Keyed count into a table.

count = streamcluster.App(app_id("count"), broker="kafka://", store="rocksdb://")
count_orders = count.topic(SOURCE, key_type=str, value_type=Order)
totals = count.Table("totals", default=int)


@count.agent(count_orders)
async def add_up(orders: streamcluster.Stream[Order]) -> None:
    """Sum the amounts per account; the records are keyed by account."""
    async for order in orders:
        totals[order.account_id] += order.amount


# Decode, change, encode, produce.

mapping = streamcluster.App(app_id("mapping"), broker="kafka://", store="rocksdb://")
mapping_orders = mapping.topic(SOURCE, key_type=str, value_type=Order)
mapped = mapping.topic(output_topic("mapping"), key_type=str, value_type=Order)


@mapping.agent(mapping_orders)
async def change(orders: streamcluster.Stream[Order]) -> None:
    """Send each order on, changed, under the key that it has."""
    async for order in orders:
        order.amount += 1
        await mapped.send(key=order.account_id, value=order)


# Repartition, then count. Repartition topics carry the agent's name, not the app's: so the agent carries the run.

grouped = streamcluster.App(app_id("grouped"), broker="kafka://", store="rocksdb://")
grouped_orders = grouped.topic(SOURCE, key_type=str, value_type=Order)
seen = grouped.Table("seen", default=int)


@grouped.agent(grouped_orders, name=f"{RUN}-group")
async def count_by_account(orders: streamcluster.Stream[Order]) -> None:
    """Count orders per account; the records are keyed by something else."""
    async for order in orders.group_by(Order.account_id):
        seen[order.account_id] += 1


# The same with an output, for the latency from end to end.

regrouped = streamcluster.App(app_id("regrouped"), broker="kafka://", store="rocksdb://")
regrouped_orders = regrouped.topic(SOURCE, key_type=str, value_type=Order)
reseen = regrouped.Table("seen", default=int)
counted = regrouped.topic(output_topic("regrouped"), key_type=str, value_type=Counted)


@regrouped.agent(regrouped_orders, name=f"{RUN}-regroup")
async def count_and_send(orders: streamcluster.Stream[Order]) -> None:
    """Count orders per account and send each new count."""
    async for order in orders.group_by(Order.account_id):
        reseen[order.account_id] += 1
        result = Counted(account_id=order.account_id, count=reseen[order.account_id], sent_at=order.sent_at)
        await counted.send(key=order.account_id, value=result)


# Many keys, for restore and recovery.

keeping = streamcluster.App(app_id("keeping"), broker="kafka://", store="rocksdb://")
keeping_rows = keeping.topic(SOURCE, key_type=str, value_type=str)
kept = keeping.Table("kept", key_type=str, value_type=str)


@keeping.agent(keeping_rows)
async def keep(rows: streamcluster.Stream[str]) -> None:
    """Keep the last value of each key."""
    async for key, value in rows.items():
        kept[key] = value
