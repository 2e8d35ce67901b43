"""Where the pump reads from: one real consumer, moved about and held up as the pump does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer

from streamcluster.ids import TP
from streamcluster.settings import Settings
from streamcluster_worker.data.source import Source
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.records import send

RECORDS = 5_000
SECONDS = 20.0


@pytest.fixture
def consumer(broker_url: str) -> Iterator[Consumer]:
    """A consumer without an assignment."""
    bootstrap = broker_url.removeprefix("kafka://")
    one = Consumer({"bootstrap.servers": bootstrap, "group.id": "source", "enable.partition.eof": True})
    yield one
    one.close()


async def read(source: Source, enough: Callable[[int], bool]) -> int:
    """Read until so much has come; returns the first offset."""
    first: int | None = None
    async with asyncio.timeout(SECONDS):
        while True:
            for batch in source.poll(lambda records: records):
                first = batch.offsets[0] if first is None else first
                if any(map(enough, batch.offsets)):
                    return first
            source.poll_when_idle()
            await asyncio.sleep(0)


@pytest.mark.parametrize("apart", [False, True])
def test_partition_that_is_read_anew_while_it_is_paused_comes_again(
    consumer: Consumer, make_topic: MakeTopic, topic_prefix: str, broker_url: str, *, apart: bool
) -> None:
    """A task that is rolled back may have had more than there was room for, and so may one that comes back."""
    topic = make_topic(f"{topic_prefix}in", 1)
    send(broker_url.removeprefix("kafka://"), topic, [Row("k", b"v")] * RECORDS, 0)
    tp = TP(topic, 0)

    async def run() -> None:
        source = Source(consumer, Settings(id="shop"), lambda: None, lambda: None)
        source.assign({tp: 0})
        for _ in range(3):
            await read(source, lambda offset: offset > 100)
            async with asyncio.timeout(SECONDS):
                while source._idle is not None:
                    source.poll(lambda records: records)
                    await asyncio.sleep(0)
            source.pause_only({tp})
            if apart:
                source.unassign([tp])
            source.assign({tp: 7})
            assert await read(source, lambda offset: offset == RECORDS - 1) == 7
            source.assign({tp: 0})
        source.close()

    asyncio.run(run())
