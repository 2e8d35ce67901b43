"""Batches that the client cannot unpack: where they end, what stands for them, and who waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer
from hypothesis import given
from hypothesis import strategies as st

from streamcluster.batch import Batch
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.opening import Connection
from streamcluster.settings import Settings
from streamcluster_worker.data.source import Source
from streamcluster_worker.data.unreadable import PackedBatch
from streamcluster_worker.kafka.consumers import open_consumer
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.poison import send_unpackable
from tests.process.records import send

SECONDS = 60.0
TASK, OTHER = TaskId(1, 0), TaskId(1, 1)


@given(
    first=st.integers(0, 10**12),
    size=st.integers(1, 10**6),
    other=st.none() | st.integers(0, 5),
)
def test_the_search_finds_the_first_offset_behind_the_batch(first: int, size: int, other: int | None) -> None:
    """However many records it has, and whatever follows; in about two questions for each doubling."""
    batch = PackedBatch.at(TP("t", 0), first, "?")
    search, end, questions = batch.end, first + size, 0
    while not search.is_found:
        questions += 1
        assert questions <= 2 * size.bit_length() + 2
        if search.offset < end:
            search.is_inside()
        elif other is not None and search.offset >= end + other:
            search.is_behind(end + other)
        else:
            search.is_behind()
    assert search.behind == end
    assert f"offsets {first} to {end - 1} cannot be unpacked" in str(batch.error())


@pytest.fixture
def consumer(broker_url: str) -> Iterator[Consumer]:
    """A consumer as a worker has it."""
    one = open_consumer(Settings(id="shop", broker=broker_url), Connection())
    yield one
    one.close()


@pytest.mark.parametrize("records", [1, 5])
def test_source_gives_what_stands_for_a_batch_that_cannot_be_unpacked(
    consumer: Consumer, make_topic: MakeTopic, topic_prefix: str, broker_url: str, records: int
) -> None:
    """In its place, once, and all else comes: before it, behind it, and of the other partition."""
    bootstrap, topic = broker_url.removeprefix("kafka://"), make_topic(f"{topic_prefix}in", 2)
    send(bootstrap, topic, [Row("k", b"a"), Row("k", b"b")], 0)
    assert send_unpackable(bootstrap, topic, 0, records) == 2
    send(bootstrap, topic, [Row("k", b"c")], 0)
    assert send_unpackable(bootstrap, topic, 0) == 3 + records
    send(bootstrap, topic, [Row("k", b"x")], 1)
    came: dict[TP, list[int]] = {TP(topic, 0): [], TP(topic, 1): []}
    stands: list[Batch] = []

    async def run() -> None:
        source = Source(consumer, Settings(id="shop"), lambda: None, lambda: None)
        source.assign(dict.fromkeys(came, 0))
        async with asyncio.timeout(SECONDS):
            while TP(topic, 0) not in source.ended:
                for batch in source.poll(lambda most: most):
                    if batch.why is not None:
                        stands.append(batch)
                    came[batch.tp] += batch.offsets
                source.poll_when_idle()
                await asyncio.sleep(0)
        assert source.ended[TP(topic, 0)] == 4 + records
        source.close()

    asyncio.run(run())
    assert came == {TP(topic, 0): [0, 1, 1 + records, 2 + records, 3 + records], TP(topic, 1): [0]}
    assert [one.offsets[0] for one in stands] == [1 + records, 3 + records]
    assert f"offsets 2 to {1 + records} cannot be unpacked" in str(stands[0].why)
