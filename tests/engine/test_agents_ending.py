"""Agents that end early: by break, return, a time-out, an exception before the loop, a cancellation."""

from __future__ import annotations

import asyncio

from streamcluster import App, Stream
from streamcluster.ids import TP
from tests.engine.conftest import Drive


def test_agent_that_breaks_out_of_its_loop_loses_nothing(drive: Drive) -> None:
    """Leaving the loop finishes the current event only: the rest of the run comes to the next loop or coroutine."""
    app = App("a")
    topic = app.topic("numbers", value_type=int)
    seen: list[list[int]] = []

    @app.agent(topic)
    async def returns(stream: Stream[int]) -> None:
        mine: list[int] = []
        seen.append(mine)
        async for value in stream:
            mine.append(value)
            if len(mine) == 2:
                break
        async for value in stream:
            mine.append(value)
            if len(mine) == 3:
                return

    driver = drive(app)
    for value in range(7):
        driver.logs.append("numbers", {"key": None, "value": b"%d" % value}, 0.0)
    driver.advance(0.0)
    assert [mine for mine in seen if mine] == [[0, 1, 2], [3, 4, 5], [6]]
    assert driver.positions()[TP("numbers", 0)] == 7


def test_agent_that_returns_from_a_batch_has_finished_it(drive: Drive) -> None:
    """A batch that the agent left by returning is delivered; the events behind it come to the next coroutine."""
    app = App("a")
    batches: list[list[int]] = []

    @app.agent(app.topic("numbers", value_type=int))
    async def returns(stream: Stream[int]) -> None:
        async for batch in stream.take(2):
            batches.append(list(batch))
            return

    driver = drive(app)
    for value in range(5):
        driver.logs.append("numbers", {"key": None, "value": b"%d" % value}, 0.0)
    driver.advance(0.0)
    driver.crash()
    assert batches == [[0, 1], [2, 3]]
    assert driver.positions()[TP("numbers", 0)] == 4


def test_agent_with_a_time_out_around_its_loop_goes_on(drive: Drive) -> None:
    """asyncio.timeout may end the wait for an event: the agent starts anew and loses nothing."""
    app = App("a")
    seen: list[int] = []
    timeouts = 0

    @app.agent(app.topic("numbers", value_type=int))
    async def impatient(stream: Stream[int]) -> None:
        nonlocal timeouts
        while True:
            try:
                async with asyncio.timeout(0.005):
                    async for value in stream:
                        seen.append(value)
            except TimeoutError:
                timeouts += 1

    driver = drive(app)
    for value in range(3):
        driver.send("numbers", value=value)
    driver.run(asyncio.sleep(0.02))
    driver.send("numbers", value=3)
    assert seen == [0, 1, 2, 3]
    assert timeouts > 0


def test_agent_failing_before_its_first_event_is_started_again(drive: Drive) -> None:
    """Code before the loop may fail: the agent is started again after a pause, and no event is blamed for it."""
    app = App("a")
    attempts = 0
    seen: list[int] = []

    @app.agent(app.topic("numbers", value_type=int))
    async def connects(stream: Stream[int]) -> None:
        nonlocal attempts
        attempts += 1
        if 1 < attempts < 4:
            raise ConnectionError("database away")
        async for value in stream:
            seen.append(value)

    driver = drive(app)
    driver.send("numbers", value=1)
    assert seen == []
    driver.advance(10.0)
    assert (attempts, seen, driver.dead_letters()) == (4, [1], [])


def test_agent_cancelled_from_inside_fails_at_its_event(drive: Drive) -> None:
    """A CancelledError out of something that the agent awaited is a failure like others, not the end of the agent."""
    app = App("a")
    seen: list[int] = []

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: Stream[int]) -> None:
        async for value in stream:
            if value == 1:
                inner = asyncio.ensure_future(asyncio.sleep(10))
                inner.cancel()
                await inner
            seen.append(value)

    driver = drive(app)
    for value in range(3):
        driver.send("numbers", value=value)
    assert seen == [0, 2]
    assert [o.value for o in driver.dead_letters()] == [b"1"]


def test_a_coroutine_ends_though_who_closes_its_task_is_cancelled(drive: Drive) -> None:
    """As at a reset: the task is nobody's any more, and its agent must not wait on for events that never come."""
    app = App("closed")
    source = app.topic("in", key_type=str, value_type=int)
    ended: list[str] = []

    @app.agent(source)
    async def waits(stream: Stream[int]) -> None:
        try:
            async for _ in stream:
                pass
        finally:
            ended.append("waits")

    driver = drive(app)
    driver.logs.append("in", {"key": b"a", "value": b"1"}, 0.0)
    driver.advance(0.0)
    engine = driver.worker.engine
    # Also what Python forgets is ended, some time.
    kept = list(engine.tasks.values())
    ended.clear()

    async def cancelled() -> None:
        [task] = engine.tasks
        closing = asyncio.get_running_loop().create_task(engine.close_task(task))
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
        await asyncio.sleep(0)

    driver.run(cancelled())
    assert (ended, len(kept)) == (["waits"], 1)
