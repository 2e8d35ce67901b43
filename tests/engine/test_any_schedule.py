"""Commits and crashes at any turn of the loop, over agents that are in the middle of events, fail and buffer.

The driver commits when everything rests; here a hostile shell does so whenever it likes, with a commit in flight while
the agents go on, and loses it.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest

from streamcluster import App, Stream
from streamcluster.ids import TP
from streamcluster.testing import Driver
from streamcluster.testing.simulation import Simulation

BAD = 7
SEEDS = range(120)


@dataclass
class Input:
    """The records of one run: key, value, or None for what does not decode."""

    records: list[tuple[str, int | None]]

    def good(self) -> list[tuple[str, int]]:
        """Those that decode."""
        return [(key, value) for key, value in self.records if value is not None]


def make_app(chance: random.Random) -> App:
    """A slow agent that fails, one that batches and fails, and one that regroups; some with several coroutines."""
    app = App("any", error_retries=chance.choice([0, 1, 2]), error_backoff=0.0)
    numbers = app.topic("n", key_type=str, value_type=int)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)
    sums = app.Table("sums", default=int)
    lists = app.Table("lists", default=list)

    async def dawdle(turns_max: int) -> None:
        for _ in range(chance.randrange(turns_max)):
            await asyncio.sleep(0)

    @app.agent(numbers, name="slow", concurrency=chance.choice([1, 2]))
    async def slow(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            sums[key] += value
            await dawdle(4)
            lists[key].append(value)
            await out.send(key=key, value=value)
            if value == BAD:
                raise ValueError("slow")

    @app.agent(numbers, name="batches")
    async def batches(stream: Stream[int]) -> None:
        async for batch in stream.take_events(chance.choice([2, 3, 5])):
            await dawdle(4)
            for event in batch:
                sums["batches"] += event.value
                if event.value == BAD:
                    raise ValueError("batches")

    @app.agent(numbers, name="regroup")
    async def regroup(stream: Stream[int]) -> None:
        async for key, value in stream.group_by(lambda value: str(value % 3), name="third").items():
            sums["third " + key] += value
            await dawdle(3)

    return app


async def turns(count: int) -> None:
    """Let coroutines run for so many turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def hostile_step(worker: Simulation, chance: random.Random) -> None:
    """Feed, and perhaps commit or crash, wherever the coroutines are."""
    engine = worker.engine
    worker.feed()
    await turns(chance.randrange(8))
    engine.step()
    if engine.recovery.failures:
        await worker.recover()
    elif chance.random() < 0.5:
        await hostile_commit(worker, chance)
    elif chance.random() < 0.1:
        await restart(worker, chance)


async def hostile_commit(worker: Simulation, chance: random.Random) -> None:
    """Commit what rests without waiting for what does not; the process may die before or after Kafka has it."""
    engine = worker.engine
    tasks = await engine.barrier(0.0)
    if engine.recovery.failures:
        engine.release()
        return
    commit = engine.cut(tasks)
    engine.release()
    if commit.is_empty():
        return
    worker.feed()
    await turns(chance.randrange(6))
    if chance.random() < 0.15:
        await restart(worker, chance)
        return
    worker.apply(commit)
    if chance.random() < 0.15:
        await restart(worker, chance)
        return
    engine.committed(commit)


async def restart(worker: Simulation, chance: random.Random) -> None:
    """Die and come back, with the stores or without them."""
    await worker.stop()
    if chance.random() < 0.5:
        worker.lose_stores()
    await worker.open()


async def calm_down(worker: Simulation) -> None:
    """Let a task that was late for its last commit go on."""
    if worker.engine.recovery.failures:
        worker.engine.release()
        await worker.recover()
    await worker.engine.barrier(5.0)
    worker.engine.late = set()
    worker.engine.release()


@pytest.mark.parametrize("seed", SEEDS)
def test_results_are_those_of_a_fold_under_any_schedule(seed: int) -> None:
    """Nothing is lost, repeated or blamed on another event, whenever commits and crashes come."""
    chance = random.Random(seed)
    count = chance.randrange(5, 40)
    records: list[tuple[str, int | None]] = [(chance.choice("abc"), chance.randrange(12)) for _ in range(count)]
    for index in chance.sample(range(count), chance.randrange(3)):
        records[index] = (records[index][0], None)
    waiting = list(records)
    with Driver(make_app(chance)) as driver:
        worker = driver.worker
        while waiting or chance.random() < 0.7:
            for _ in range(min(len(waiting), chance.randrange(6))):
                key, value = waiting.pop(0)
                data = b"garbage" if value is None else b"%d" % value
                worker.logs.append("n", {"key": key.encode(), "value": data}, 0.0)
            driver.run(hostile_step(worker, chance))
        driver.run(calm_down(worker))
        driver.advance(100.0)
        check(driver, Input(records))


def check(driver: Driver, given: Input) -> None:
    """Compare with what a loop over the input comes to."""
    sums: dict[str, int] = {}
    lists: dict[str, list[int]] = {}
    for key, value in given.good():
        third = f"third {value % 3}"
        sums[third] = sums.get(third, 0) + value
        if value != BAD:
            sums[key] = sums.get(key, 0) + value
            lists.setdefault(key, []).append(value)
    found = driver.table("sums")
    batched = found.pop("batches", 0)
    assert found == sums
    assert driver.table("lists") == lists
    outputs: dict[str, list[int]] = {}
    for one in driver.output("out"):
        outputs.setdefault(one.key, []).append(one.value)
    assert outputs == lists
    slow = [o.value for o in driver.dead_letters() if o.headers["dead-letter-agent"] == b"slow"]
    bad = [b"garbage" if value is None else b"7" for _, value in given.records if value in (None, BAD)]
    assert sorted(slow) == sorted(bad)
    # The last batch may be incomplete; what is before it was delivered once.
    passed = given.records[: driver.positions()[TP("n", 0)]]
    assert batched == sum(value for _, value in passed if value not in (None, BAD) and value is not None)
