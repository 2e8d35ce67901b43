"""A trial does not wait for the time of the next commit: what is behind its suspect waits for it."""

from __future__ import annotations

import asyncio

import msgspec

from streamcluster import App, Stream
from streamcluster.engine.pacing import Pacing
from streamcluster.engine.pump import Pump
from streamcluster.ids import TP
from streamcluster.testing import Driver

COUNT = 20
BAD = 7
INTERVAL = 600.0


def test_a_value_that_cannot_be_encoded_costs_the_others_one_commit_interval() -> None:
    """Between the commit that meets it and the end of its trial, no more time passes than it takes."""
    app = App("trial", error_backoff=0.0)
    numbers = app.topic("n", key_type=str, value_type=int)
    odd = app.Table("odd")

    @app.agent(numbers, name="odd")
    async def put(stream: Stream[int]) -> None:
        async for value in stream:
            odd[str(value)] = object() if value == BAD else value

    with Driver(app, partitions=1) as driver:
        worker = driver.worker
        conf = msgspec.structs.replace(app.conf, commit_interval=INTERVAL)
        driver.run(worker.pump.end())
        worker.pump = Pump(worker.engine, conf, worker.reads, worker.writes, Pacing(conf, 0.0))
        for task in worker.engine.tasks.values():
            worker.pump.start_task(task)
        for number in range(COUNT):
            worker.logs.append("n", {"key": b"k", "value": b"%d" % number}, 0.0)

        async def turn() -> None:
            await worker.pump.step()
            for _ in range(5):
                await asyncio.sleep(0)

        driver.run(turn())
        worker.move_clock(INTERVAL + 1)
        for _ in range(100):
            worker.move_clock(0.01)
            driver.run(turn())
        assert worker.committed[TP("n", 0)].next_offset >= BAD + 1
        assert [letter.value for letter in driver.dead_letters()] == [b"%d" % BAD]
