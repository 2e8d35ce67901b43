"""Joins behind joins as users write them: three streams in an agent and in a task, and windows behind them."""

from __future__ import annotations

import asyncio
from typing import Any

from streamcluster import App, Stream
from tests.process.apps import PREFIX, topic

chained = App(f"{PREFIX}chained", broker="kafka://")
orders, payments, shipments = (
    chained.topic(topic(name), key_type=str, value_type=int) for name in ("orders", "payments", "shipments")
)
shipped, told, totals = (
    chained.topic(topic(name), key_type=str, value_type=list) for name in ("shipped", "told", "totals")
)
per_minute = chained.Table("per_minute", key_type=str, default=int).tumbling(60, grace=0)


def is_shipped(number: int) -> bool:
    return number % 3 != 0


paid = chained.stream(orders).deduplicate(within=40).join(chained.stream(payments), within=20, grace=30)
in_three = paid.left_join(chained.stream(shipments).filter(is_shipped), within=20, grace=30)


@chained.agent(orders)
async def ship(stream: Stream[int]) -> None:
    """Slow enough to be killed in the middle of what there is."""
    all_paid = stream.left_join(payments, before=0, after=20, grace=30)
    async for event in all_paid.left_join(shipments, within=20, grace=30).events():
        (order, payment), shipment = event.value
        await asyncio.sleep(0.0005)
        if event.key is not None:
            per_minute[event.key] += 1
        await shipped.send(key=event.key, value=[order, payment, shipment])


@per_minute.on_close
async def over(key: str, window: Any, count: int) -> None:
    await totals.send(key=key, value=[int(window.start), count])


@chained.task
async def tell() -> None:
    async for key, ((order, payment), shipment) in in_three.items():
        await told.send(key=key, value=[order, payment, shipment])
