"""What waits in a worker is bounded per worker, over 200 partitions and agents of which some never go on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from itertools import repeat

import pytest

from streamcluster import App, Stream
from streamcluster.engine.engine import Engine
from streamcluster.engine.outbox import Outbox
from streamcluster.errors import TooLate
from streamcluster.ids import TP
from streamcluster.output import OutputColumns, output_of
from streamcluster.testing import Driver
from streamcluster.testing.topics import batches_of

PARTITIONS = 200
RECORDS = 100
POLL = 500


def make_app(**settings: object) -> tuple[App, list[int]]:
    """Three agents on one topic, one of which hangs at records below 0; and how many events another has seen."""
    app = App("a", **settings)
    numbers = app.topic("numbers", value_type=int)
    seen: list[int] = []

    @app.agent(numbers, name="fast")
    async def fast(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    @app.agent(numbers, name="hangs")
    async def hangs(stream: Stream[int]) -> None:
        async for value in stream:
            if value < 0:
                await asyncio.Event().wait()

    @app.agent(numbers, name="batches")
    async def batches(stream: Stream[int]) -> None:
        async for _ in stream.take(1000):
            pass

    return app, seen


def in_memory(engine: Engine) -> Iterator[tuple[TP, int, int]]:
    """Each record that agents have not finished: partition, offset, bytes. What take() collects is the app's."""
    for task in engine.tasks.values():
        for instance in task.instances:
            if instance.unit.name == "batches":
                continue
            runs = [*instance.intake.queue, *([instance.intake.cursor.run] if instance.intake.cursor.run else [])]
            for run in runs:
                records = run.records()
                yield from zip(repeat(run.tp), records.offsets, map(len, filter(None, records.values)), strict=False)


async def work(driver: Driver, hanging: int, check: tuple[int, int]) -> int:
    """Feed what is not paused until the partitions that do not hang are done; the most records there were at once."""
    engine, logs = driver.worker.engine, driver.logs.logs
    fed = dict.fromkeys(sorted(logs), 0)
    paused: set[TP] = set()
    most = 0
    for turn in range(20_000):
        room = engine.backlog.room(POLL)
        for tp in fed:
            if tp not in paused and room and fed[tp] < RECORDS:
                records = logs[tp][fed[tp] : fed[tp] + room]
                engine.feed([*batches_of(tp, records)])
                fed[tp] += len(records)
                room -= len(records)
        for _ in range(3):
            await asyncio.sleep(0)
        paused = engine.overfull(lambda _: None)
        if turn % 5 == 0:
            held = set(in_memory(engine))
            assert len(held) <= check[0]
            assert sum(size for _, _, size in held) <= check[1]
            most = max(most, len(held))
        if all(fed[tp] == RECORDS for tp in fed if tp.partition >= hanging):
            return most
    raise AssertionError(f"somebody starves: {min(fed[tp] for tp in fed if tp.partition >= hanging)}")


# 9,000 turns of the loop; each of the other five takes a fifth of that.
SLOWEST = pytest.param(
    10**6,
    20_000,
    1,
    marks=pytest.mark.skipif(not os.environ.get("STREAMCLUSTER_LONG"), reason="long: STREAMCLUSTER_LONG=1 runs it"),
)


@pytest.mark.parametrize(
    ("records_max", "bytes_max", "hanging"),
    [
        *((2000, 10**9, hanging) for hanging in (0, 1, 190)),
        *((10**6, 20_000, hanging) for hanging in (0, 190)),
        SLOWEST,
    ],
)
def test_what_waits_is_bounded_per_worker_and_nobody_starves(records_max: int, bytes_max: int, hanging: int) -> None:
    """Agents that hang in up to 190 of 200 partitions: records and bytes in memory stay within the settings."""
    app, seen = make_app(stream_buffer_records_max=records_max, stream_buffer_bytes_max=bytes_max)
    with Driver(app, partitions=PARTITIONS) as driver:
        for number in range(PARTITIONS):
            value = b"%d" % (-1_000_000 if number < hanging else 1_000_000)
            for _ in range(RECORDS):
                driver.logs.append("numbers", {"key": None, "value": value, "partition": number}, 0.0)
        # A poll of records whose size nobody knows yet may be too large once.
        most = driver.run(work(driver, hanging, (records_max, max(bytes_max, 10 * POLL))))
        assert sum(value > 0 for value in seen) == (PARTITIONS - hanging) * RECORDS
        assert most >= min(hanging, 50)


def test_events_since_the_last_commit_are_counted() -> None:
    """Whatever they send or store; those that wait do not count, and after a commit none does."""
    # A commit that may be due makes the engine look each time.
    app, _ = make_app(commit_events_max=1)
    with Driver(app, partitions=2) as driver:
        engine = driver.worker.engine
        for value in (1, 2, 3):
            driver.send("numbers", value=value, partition=0, commit=False)
        driver.send("numbers", value=4, partition=1, commit=False)
        engine.overfull(lambda _: None)
        assert (engine.backlog.done, engine.backlog.records) == (4, 0)
        driver.send("numbers", value=5, partition=1)
        driver.advance(0.0)
        engine.overfull(lambda _: None)
        # take() has them in hand: they are not committed, as for all its events.
        assert engine.backlog.done == 5


def test_outbox_that_has_ended_refuses_and_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever looks at it finds nothing; whoever sends is told, and the log too; taking out does not open it again."""
    outbox = Outbox(10, lambda: None)
    outbox.end()
    for _ in range(2):
        with pytest.raises(TooLate, match="topic 'out' is refused"):
            outbox.append("out", output_of(key=b"k", value=b"v"))
        with pytest.raises(TooLate, match="topic 'out' is refused"):
            outbox.add("out", b"k", b"v", 0)
        with pytest.raises(TooLate, match="topic 'out' is refused"):
            outbox.extend("out", OutputColumns([b"k"], [b"v"], [0]))
        assert (outbox.count(), outbox.swap(), outbox.is_full()) == (0, {}, False)
    assert caplog.text.count("topic 'out' is refused") == 6
