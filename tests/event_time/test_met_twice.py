"""A row of a left join that has met somebody is never given out alone, however memory came to know of it."""

from __future__ import annotations

from typing import Any

import pytest

from streamcluster import App
from streamcluster.testing import Driver

NEVER_SECONDS = 1e6


def app_of(*, is_native: bool) -> App:
    """Payments up to 10 s after their orders."""
    app = App("met", idle_timeout=NEVER_SECONDS, close_idle_after=None, native=is_native)
    orders, payments, told = (
        app.topic(name, key_type=str, value_type=str, partitions=1) for name in ("o", "p", "told")
    )

    @app.agent(orders)
    async def join(stream: Any) -> None:
        async for order, payment in stream.left_join(payments, before=0, after=10, grace=0):
            await told.send(key=order, value=payment or "nobody")

    return app


@pytest.mark.parametrize("is_native", [True, False])
def test_who_meets_one_in_the_store_and_one_in_memory_is_not_alone(is_native: bool) -> None:
    """Both in one commit, at which its deadline has passed, and an earlier one has it as waiting."""
    app = app_of(is_native=is_native)
    with Driver(app) as driver:
        driver.send("p", key="z", value="first", timestamp=100)
        driver.send("o", key="z", value="old", timestamp=100)
        # What is in the store now has to be looked for there, up to second 110.
        driver.crash()
        driver.send("o", key="k", value="order", timestamp=105)
        driver.send("p", key="k", value="one", timestamp=106, commit=False)
        driver.send("o", key="m", value="other", timestamp=112, commit=False)
        driver.send("p", key="k", value="two", timestamp=112, commit=False)
        driver.send("o", key="z", value="late", timestamp=200, commit=False)
        driver.send("p", key="z", value="end", timestamp=200)
        driver.advance(1)
        assert [one.value for one in driver.output("told") if one.key == "order"] == ["one", "two"]
