"""One budget of memory: what is held is measured, what is too much is committed, paused, evicted, or said."""

from __future__ import annotations

import asyncio
import logging
import sys
import tracemalloc
from collections import Counter
from typing import Any

import msgspec
import orjson
import pytest

from streamcluster import App, Stream
from streamcluster.batch import Batch
from streamcluster.engine.budget import Budget
from streamcluster.engine.memory_pool import HIGH, LOW, SCALE_LEAST, MemoryPool
from streamcluster.engine.outbox import Outbox, OutputRoom, merge
from streamcluster.engine.weigh import RecordWeight, deep_size
from streamcluster.ids import TP
from streamcluster.memory import MIB, shares_of
from streamcluster.output import output_of
from streamcluster.settings import make_settings
from streamcluster.testing import Driver
from streamcluster.testing.topics import batches_of

ROW = {"id": 12345, "kind": "click", "at": 1.5}


class Point(msgspec.Struct, gc=False):
    """A value that the collector does not see into."""

    name: str
    note: str


class Sized:
    """A value that does not want to be measured."""

    def __sizeof__(self) -> int:
        """Raises."""
        raise ValueError("no")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([ROW] * 300, id="list"),
        pytest.param([{"id": n, "tags": [f"a{n}", "b"], "price": n * 1.5} for n in range(5000)], id="wide"),
        pytest.param({str(n): {"text": "x" * n} for n in range(500)}, id="uneven"),
    ],
)
def test_the_size_of_a_value_is_what_it_takes(value: object) -> None:
    """Against tracemalloc, roughly, whatever its shape."""
    data = orjson.dumps(value)
    orjson.loads(data)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [orjson.loads(data) for _ in range(20)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert deep_size(kept[0]) == pytest.approx((after - before) / 20, rel=0.4)


def test_values_that_refer_to_everything_or_hide_or_refuse_have_a_size() -> None:
    """Classes and modules are not part of a value; a Struct without the collector has fields; a cycle ends."""
    cycle: list[object] = ["x" * 1000]
    cycle.append(cycle)
    assert 1000 < deep_size(cycle) < 2000
    assert deep_size([sys, Counter, len]) < 200
    assert deep_size(Point("a", "x" * 1000)) > 1000
    weight = RecordWeight()
    assert weight.of(1000, 1) > 0
    weight.look([(Batch(TP("t", 0), [0], [0], [None], [b"x" * 1000]), [Sized()], [])], 1)
    assert 2000 < weight.of(1000, 1) < 20_000


def test_the_pool_is_shared_by_need_and_everybody_is_sure_of_a_part() -> None:
    """The cache takes what records leave, and gives it back; a quarter is anybody's own."""
    pool = MemoryPool(shares_of(make_settings({"id": "a", "worker_memory": 400 * MIB})))
    alone = pool.cache_bytes_max
    pool.record_bytes = pool.records_bytes_max
    assert pool.cache_bytes_max < alone
    pool.record_bytes = 100 * alone
    least = pool.cache_bytes_max
    assert alone // 4 < least < alone
    pool.record_bytes, pool.cache_bytes = 0, alone
    assert least <= pool.records_bytes_max


def test_a_cache_of_nothing_does_not_make_events_come_one_by_one() -> None:
    """table_cache_bytes=0 keeps nothing between batches; what a batch uses is another matter."""
    settings = make_settings({"id": "a", "worker_memory": 400 * MIB, "table_cache_bytes": 0})
    pool = MemoryPool(shares_of(settings))
    assert pool.cache_bytes_max == 0
    assert pool.step_bytes_max > MIB
    assert pool.uncommitted_bytes_max > pool.step_bytes_max


def test_the_real_size_of_the_process_corrects_the_estimates() -> None:
    """Too large: all shares shrink to an eighth, and no further; small again: they grow back."""
    pool = MemoryPool(shares_of(make_settings({"id": "a", "worker_memory": 400 * MIB})))
    full = pool.cache_bytes_max
    for _ in range(50):
        assert pool.squeeze(int(400 * MIB * HIGH) + 1)
    assert pool.is_least
    assert pool.cache_bytes_max == int(full * SCALE_LEAST)
    assert not pool.squeeze(int(400 * MIB * LOW) + 1)
    assert pool.is_least
    for _ in range(100):
        assert not pool.squeeze(100 * MIB)
    assert pool.cache_bytes_max == full


class Swollen:
    """A process that has more than it may, whatever is given back."""

    def __init__(self) -> None:
        self.given_back = 0

    def size(self) -> int:
        """Bytes."""
        return 500 * MIB

    def give_back(self) -> None:
        """It is asked to."""
        self.given_back += 1


def test_a_process_that_stays_too_large_is_said_once_with_what_to_set(caplog: pytest.LogCaptureFixture) -> None:
    """User code holds it, so it goes on; what is proposed is more than it has."""
    process = Swollen()
    budget = Budget(shares_of(make_settings({"id": "a", "worker_memory": 400 * MIB})), {}, 100, 100, process)
    with caplog.at_level(logging.WARNING, "streamcluster"):
        for second in range(200):
            budget.step(float(second))
    assert process.given_back == 200
    [said] = [record.getMessage() for record in caplog.records if record.name == "streamcluster"]
    assert "500 MiB of the 400 MiB" in said
    assert int(said.partition("worker_memory=")[2].split()[0]) > 500 * MIB


@pytest.mark.parametrize(("size", "most"), [(100, 70_000), (100_000, 170), (5_000_000, 9)])
def test_an_outbox_holds_up_senders_by_bytes(size: int, most: int) -> None:
    """A sender waits when its topic has taken the share, whatever the size of a record: the first ones show it."""
    room = OutputRoom(lambda: 10 * MIB)
    outbox = Outbox(100_000, lambda: None, room)
    message = output_of(None, b"x" * size)
    count = 0
    while not outbox.append("t", message):
        count += 1
    assert count <= most
    assert count * size < max(21 * MIB, 9 * size)
    assert outbox.is_crowded("t")
    # Taken out: the next ones are looked at anew.
    outbox.swap()
    assert not outbox.append("t", message)


def test_an_outbox_that_was_lifted_holds_up_nobody() -> None:
    """An event that must be done in one go, and then the bound is back."""
    room = OutputRoom(lambda: 1000)
    outbox = Outbox(100, lambda: None, room, Outbox(100, lambda: None, room))
    message = output_of(None, b"x" * 500)
    outbox.lift()
    assert not any(outbox.append("t", message) for _ in range(1000))
    outbox.swap()
    outbox.bound_again()
    assert any(outbox.append("t", message) for _ in range(10))


def test_records_that_wait_are_bounded_by_what_they_take_decoded() -> None:
    """An agent that hangs on each of 8 partitions, with records of which a dict is seven times the text."""
    app = App("a", worker_memory=128 * MIB)
    topic = app.topic("docs")

    @app.agent(topic)
    async def hangs(stream: Stream[Any]) -> None:
        async for _ in stream:
            await asyncio.Event().wait()

    data = orjson.dumps([ROW] * 1000)
    with Driver(app, partitions=8) as driver:
        engine, logs = driver.worker.engine, driver.logs.logs
        for number in range(8 * 100):
            driver.logs.append("docs", {"key": None, "value": data, "partition": number % 8}, 0.0)

        async def read() -> None:
            """As a client does: what is not paused, and no more than there is room for."""
            fed = dict.fromkeys(sorted(tp for tp in logs if tp.topic == "docs"), 0)
            paused: set[TP] = set()
            for _ in range(60):
                room = engine.budget.room(10_000)
                for tp in fed:
                    if tp not in paused and room and (records := logs[tp][fed[tp] : fed[tp] + room]):
                        engine.feed([*batches_of(tp, records)])
                        fed[tp] += len(records)
                        room -= len(records)
                await asyncio.sleep(0)
                paused = engine.overfull(lambda _: None)

        driver.run(read())
        instances = [instance for task in engine.tasks.values() for instance in task.instances]
        values = [value for one in instances for run in one.intake.queue for value in run.values]
        waiting = sum(map(deep_size, values))
        assert len({one.intake.cursor.run.tp for one in instances if one.intake.cursor.run}) == 8
        assert engine.budget.shares.pool // 8 < waiting < engine.budget.shares.pool
        assert engine.backlog.bytes == pytest.approx(waiting, rel=0.5)


def test_entries_that_grow_in_place_are_evicted_and_committed_by_what_they_take() -> None:
    """Lists of dicts under 2,000 keys: many times the cache, which holds what it may; and nothing is lost."""
    app = App("a", table_cache_bytes=8 * MIB)
    recent: Any = app.Table("recent", default=list)
    topic = app.topic("events", key_type=str, value_type=int)

    @app.agent(topic)
    async def note(stream: Stream[int]) -> None:
        async for user, value in stream.items():
            recent[user].extend([{"id": value, "kind": "click", "at": value * 1000}] * 20)

    most = 0
    with Driver(app, partitions=2) as driver:
        for turn in range(1, 9):
            for number in range(2000):
                driver.logs.append("events", {"key": b"%d" % number, "value": b"%d" % turn}, 0.0)
            driver.advance(0.0)
            shards = [shard for task in driver.worker.engine.tasks.values() for shard in task.shards.values()]
            held = [value for s in shards for value in (*s.memory.objects.values(), *s.memory.old.values())]
            most = max(most, sum(map(deep_size, held[::10])) * 10)
        table = driver.table("recent")
        assert {len(rows) for rows in table.values()} == {160}
    assert 2 * MIB < most < 12 * MIB


def test_an_entry_larger_than_the_cache_works_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """One list of a few MiB in a cache of one: it does not hang, and names the table and what to set."""
    app = App("a", table_cache_bytes=MIB)
    everything: Any = app.Table("everything", default=list)
    topic = app.topic("events", key_type=str, value_type=int)

    @app.agent(topic)
    async def note(stream: Stream[int]) -> None:
        async for _ in stream:
            everything["all"].extend([dict(ROW) for _ in range(3000)])

    with caplog.at_level(logging.WARNING, "streamcluster"), Driver(app, partitions=1) as driver:
        for number in range(6):
            driver.send("events", value=number)
        assert len(driver.table("everything")["all"]) == 18_000
    said = [record.getMessage() for record in caplog.records if "everything" in record.getMessage()]
    assert said
    assert "worker_memory=" in said[0]


def test_outbox_that_fills_up_event_by_event_is_looked_into_when_it_has_doubled() -> None:
    """Coroutines that await settle after each event, and each asks whether their task's outbox has room."""
    looks = 0

    def bytes_max() -> int:
        nonlocal looks
        looks += 1
        return 10 * MIB

    room = OutputRoom(bytes_max)
    task = Outbox(10**6, lambda: None, room)
    for _ in range(1000):
        hand = Outbox(10**6, lambda: None, room, behind=task)
        assert not hand.append("out", (b"k", b"v", -1, 0, None))
        merge(task.topics, hand.topics)
    assert looks < 25
    task.swap()
    task.append("out", (b"k", b"v" * 20 * MIB, -1, 0, None))
    assert Outbox(10**6, lambda: None, room, behind=task).append("out", (b"k", b"v", -1, 0, None))
