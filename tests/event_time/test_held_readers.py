"""A unit that is ahead of another one of its partition: its time goes on from where it was, also behind a crash."""

from __future__ import annotations

import asyncio

from streamcluster import App, Stream
from streamcluster.testing import Driver

HISTORY = 5
NEVER = 1e6


def test_an_input_that_is_read_again_for_another_unit_is_waited_for() -> None:
    """Who is behind holds the position of both; what the other one has done moves no time when it is read again."""
    app = App("held", max_ahead=None)
    names = app.topic("names", key_type=str, value_type=int, partitions=1, idle_timeout=NEVER)
    clicks = app.topic("clicks", key_type=str, value_type=int, partitions=1, idle_timeout=NEVER)
    users = app.Table("users", source=names, history=HISTORY)
    met: list[tuple[int, int | None]] = []

    @app.agent(clicks, name="slow")
    async def slow(stream: Stream[int]) -> None:
        async for _ in stream.take(1_000, within=3600):
            await asyncio.sleep(0)

    @app.agent(clicks, name="who")
    async def who(stream: Stream[int]) -> None:
        async for event in stream.left_join(users, as_of=True).events():
            met.append(event.value)

    with Driver(app) as driver:
        for topic, time in [
            ("names", 1000),
            ("clicks", 1000),
            ("clicks", 1010),
            ("names", 1015),
            ("clicks", 1012),
            ("names", 1040),
        ]:
            driver.send(topic, key="a", value=time, timestamp=time)
        worker = driver.worker
        driver.run(worker.stop())
        driver.run(worker.open())
        # As on a broker, where the first records come later.
        worker.engine.step()
        (of_task,) = worker.engine.times.tasks.values()
        (said,) = [line for line in of_task.said() if "who-join" in line]
        assert "it waits for clicks[0], which is read again, since another agent is behind there" in said
        driver.run(worker.process(commit=True))
        driver.send("clicks", key="a", value=1013, timestamp=1013)
        driver.send("clicks", key="a", value=1016, timestamp=1016)
        driver.send("clicks", key="a", value=1050, timestamp=1050)
    assert dict(met) == {1000: 1000, 1010: 1000, 1012: 1000, 1013: 1000, 1016: 1015}
