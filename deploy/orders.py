"""The example app of the unit and of the containers: what each account has spent, and its large orders."""

import streamcluster

app = streamcluster.App("orders", broker="kafka://", store="rocksdb://")


class Order(streamcluster.Record):
    account_id: str
    amount: int


orders = app.topic("orders", key_type=str, value_type=Order, partitions=8)
large_orders = app.topic("large-orders", key_type=str, value_type=Order, partitions=8)
spent = app.Table("spent", default=int, help="money per account")


@app.agent(orders, sink=[large_orders])
async def add_up(orders):
    """Adds up what each account spends, and sends large orders on."""
    async for order in orders:
        spent[order.account_id] += order.amount
        if order.amount >= 1000:
            yield order
