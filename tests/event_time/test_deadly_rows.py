"""A row that comes due and kills the process is found out and given up, as an event is."""

from __future__ import annotations

import asyncio
from typing import Any

from streamcluster import App
from streamcluster.testing import Driver
from tests.engine.dying import Died, Lives, death_is_nobodys_failure
from tests.event_time.windows_by_hand import add, make_windows

__all__ = ["death_is_nobodys_failure"]


def test_a_row_that_kills_the_process_is_given_up_and_the_others_are_closed_once() -> None:
    """It dies twice with all in hand, twice with that row alone, and then goes on without it."""
    app = App("deadly", error_retries=0)
    events = app.topic("events", key_type=str, value_type=int)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)

    async def close(row: str, value: int) -> None:
        if row.startswith("k7/"):
            raise Died
        await out.send(key=row, value=value)

    table = make_windows(app, "windows", close)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for key, value in stream.items():
            add(table, key, value)

    with Driver(app) as driver:
        lives = Lives(driver)
        for number in range(20):
            driver.send("events", key=f"k{number}", value=1, timestamp=1)
        lives.go_through(lambda: driver.send("events", key="z", value=1, timestamp=12))
        assert lives.deaths == 4
        assert sorted(one.key for one in driver.output(out)) == sorted(f"k{n}/10000" for n in range(20) if n != 7)
        (letter,) = driver.dead_letters()
        assert letter.key == b'"k7/10000"'
        assert b"killed the worker twice" in letter.headers["dead-letter-error"]
        assert driver.table("windows") == {"z/20000": 1}


def test_entries_expire_while_events_are_tried_one_by_one() -> None:
    """Nobody is given them, so they kill nobody: they wait neither for a suspect nor for all of them."""
    app = App("deadly", error_retries=0)
    marks, numbers = (app.topic(name, key_type=str, value_type=int) for name in ("marks", "numbers"))
    table = app.Table("marked", key_type=str, default=int, ttl=10)
    left: dict[int, int] = {}

    @app.agent(marks)
    async def mark(stream: Any) -> None:
        async for key, value in stream.items():
            table[key] = value

    @app.agent(numbers)
    async def fast(stream: Any) -> None:
        async for _ in stream:
            pass

    @app.agent(numbers)
    async def fragile(stream: Any) -> None:
        async for value in stream:
            await asyncio.sleep(0)
            left[value] = sum(f"k{number}" in table for number in range(10))
            if value == 13:
                raise Died

    with Driver(app) as driver:
        lives = Lives(driver)
        for number in range(10):
            driver.send("marks", key=f"k{number}", value=1, timestamp=1)
        for value in range(30):
            message = {"key": b'"n"', "value": b"%d" % value, "timestamp": 1000}
            driver.logs.append("numbers", message, driver.worker.time())
        lives.go_through(lambda: driver.send("marks", key="z", value=1, timestamp=12))
        assert lives.deaths == 4
        # In the life in which it was tried alone.
        assert left[13] == left[29] == 0
        assert driver.table("marked") == {"z": 1}
