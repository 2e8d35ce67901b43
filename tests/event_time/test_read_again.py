"""Time while records are read again for an agent that was left behind: what others are beyond is known all the same."""

from __future__ import annotations

import asyncio
import random

import pytest

from streamcluster import App, Stream
from streamcluster.engine.partition import SourcePartition
from streamcluster.engine.ports import Reads, Writes
from streamcluster.testing import Driver
from streamcluster.testing.brokers import SimulatedReads, SimulatedWrites
from streamcluster.testing.simulation import Simulation
from tests.engine.hostile import ScheduledReads

WAITING_MAX, FEW = 8, 3
# The agent that is left behind is held up at the first of these, and then at the second.
FIRST, SECOND = 0, 3
# The other one is held up there, and has all behind it waiting.
AHEAD = 10


class Gates:
    """What holds agents up: each at the number that it is told."""

    def __init__(self) -> None:
        self.held = {"watch": FIRST, "count": AHEAD}
        self._moved = asyncio.Event()

    async def reach(self, agent: str, number: int) -> None:
        """Wait there as long as it is held up."""
        while self.held.get(agent) == number:
            self._moved.clear()
            await self._moved.wait()

    def hold(self, agent: str, number: int | None) -> None:
        """Hold it up there, and no more where it was."""
        self.held.pop(agent)
        if number is not None:
            self.held[agent] = number
        self._moved.set()


def make_app(gates: Gates) -> App:
    """Two agents of one topic; one counts in entries that expire after 10 s."""
    app = App("again", stream_buffer_records_max=WAITING_MAX, close_idle_after=None, max_ahead=None)
    events = app.topic("n", key_type=str, value_type=int, partitions=1)
    counted = app.topic("counted", key_type=str, value_type=int, partitions=1)
    entries = app.Table("entries", default=int, key_type=str, ttl=10)

    @app.agent(events, name="count")
    async def count(stream: Stream[int]) -> None:
        async for key, number in stream.items():
            entries[key] += 1
            await counted.send(key=key, value=entries[key])
            await gates.reach("count", number)

    @app.agent(events, name="watch")
    async def watch(stream: Stream[int]) -> None:
        async for number in stream:
            await gates.reach("watch", number)

    return app


def in_pieces(reads: SimulatedReads, writes: SimulatedWrites) -> tuple[Reads, Writes]:
    """So few records come at once that many polls pass until the consumer is where it was."""
    return ScheduledReads(reads, random.Random(0), lambda count: min(FEW, count)), writes


async def turn(worker: Simulation, count: int = 12, *, commits: bool = False) -> None:
    """So many steps of the pump; in some of them it is long enough for agents to be left behind."""
    for _ in range(count):
        await worker.pump.step(commits=commits)
        for _ in range(5):
            await asyncio.sleep(0)
        worker.move_clock(0.2)


def input_of(worker: Simulation) -> SourcePartition:
    """The partition that both read."""
    return next(one for task in worker.engine.tasks.values() for tp, one in task.partitions.items() if tp.topic == "n")


@pytest.mark.parametrize(("seconds", "count"), [(30, 2), (31, 1)])
def test_an_entry_that_is_written_meanwhile_expires_at_its_time(seconds: float, count: int) -> None:
    """It was written at 20 s, by an old event: not at the time up to which the records were read again by then."""
    gates = Gates()
    with Driver(make_app(gates)) as driver:
        worker = driver.worker
        worker.through = in_pieces
        driver.rebalance()

        def append(key: str, number: int, seconds: float) -> None:
            message = {"key": key.encode(), "value": b"%d" % number, "timestamp": round(seconds * 1000)}
            worker.logs.append("n", message, 0.0)

        for number in range(AHEAD):
            append("other", number, number)
        driver.run(turn(worker))
        partition = input_of(worker)
        assert [(one.unit, one.lags) for one in partition.readers] == [("count", False), ("watch", True)]
        for number, key, at in ((AHEAD, "other", 20), (AHEAD + 1, "a", 9.5), (AHEAD + 2, "other", 9.5)):
            append(key, number, at)
            driver.run(turn(worker))
        # It rejoins, and the first records have come again when the other one goes on.
        gates.hold("watch", SECOND)
        driver.run(turn(worker, 2))
        assert SECOND < partition.next_offset < AHEAD == partition.readers[0].done(partition.tp)
        gates.hold("count", None)
        driver.run(turn(worker, commits=True))
        gates.hold("watch", None)
        driver.run(worker.process(commit=True))
        driver.send("n", key="other", value=-1, timestamp=seconds - 0.5)
        driver.send("n", key="a", value=-1, timestamp=seconds - 0.5)
        assert [one.value for one in driver.output("counted") if one.key == "a"][-1] == count
