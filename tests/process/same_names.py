"""Two apps of the same code, as in staging and production on one broker: only their ids differ."""

from __future__ import annotations

import streamcluster
from streamcluster import App
from tests.process.apps import PREFIX, topic


def with_id(name: str) -> App:
    """One of them."""
    app = App(f"{PREFIX}{name}", broker="kafka://", store="rocksdb://")
    orders = app.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
    totals = app.Table("totals", default=int)

    @app.agent(orders, name=f"{PREFIX}total")
    async def total(stream: streamcluster.Stream[str]) -> None:
        async for value in stream.group_by(str, name="value"):
            totals[value] += 1

    return app


production, staging = with_id("production"), with_id("staging")
