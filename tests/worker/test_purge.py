"""What is purged, and what happens when it cannot be: real brokers, and positions as a worker's tasks have them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streamcluster import App
from streamcluster.ids import TP
from streamcluster.settings import Settings
from streamcluster.topology import ResolvedTopic, Topology
from streamcluster.topology.declare import freeze
from streamcluster_worker.data.purge import Purge
from streamcluster_worker.kafka.purging import PurgeRefused, delete_behind, open_purger
from tests.conftest import MakeTopic

SECONDS, RECORDS = 20.0, 10


@pytest.fixture
def filled(make_topic: MakeTopic, topic_prefix: str, broker_url: str) -> TP:
    """A partition with records, of a topic that the app may purge."""
    tp = TP(make_topic(f"{topic_prefix}own", 1), 0)
    producer = Producer({"bootstrap.servers": broker_url.removeprefix("kafka://")})
    for _ in range(RECORDS):
        producer.produce(tp.topic, b"v", partition=0)
    assert producer.flush(SECONDS) == 0
    return tp


@pytest.fixture
def begin(broker_url: str) -> Iterator[Callable[[TP], int]]:
    """Tells where a log begins."""
    consumer = Consumer({"bootstrap.servers": broker_url.removeprefix("kafka://"), "group.id": "purge-tests"})
    yield lambda tp: consumer.get_watermark_offsets(TopicPartition(*tp), SECONDS)[0]
    consumer.close()


def purging(settings: Settings, topic: str, use: Callable[[Purge], object]) -> None:
    """Run `use`, a coroutine function, with a purge of one topic."""
    own = ResolvedTopic(name=topic, role="repartition", partitions=1, purge=True)
    other = ResolvedTopic(name=f"{topic}-given", role="repartition", partitions=1)

    async def run() -> None:
        purge = Purge(settings, Topology(app_id="shop", topics=(own, other), agents=(), tables=()))
        try:
            await use(purge)  # type: ignore[misc]
        finally:
            purge.end()

    asyncio.run(run())


def settings_of(broker_url: str) -> Settings:
    """With the shortest interval."""
    return Settings(id="shop", broker=broker_url, repartition_purge_interval=0.1)


async def look_until(purge: Purge, tp: TP, offset: int, condition: Callable[[], bool]) -> None:
    """Heartbeats with this position, until the condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        began = time.monotonic()
        purge.look([(tp, offset)])
        assert time.monotonic() - began < 0.5, "it does not wait"
        await asyncio.sleep(0.02)


def test_position_that_a_task_begins_at_is_not_purged_until_a_commit_moves_it(
    filled: TP, begin: Callable[[TP], int], broker_url: str
) -> None:
    """A task without a committed position begins somewhere, too, and only a commit makes that a position."""

    async def use(purge: Purge) -> None:
        for _ in range(20):
            purge.look([(filled, 4)])
            await asyncio.sleep(0.02)
        assert begin(filled) == 0
        await look_until(purge, filled, 6, lambda: begin(filled) == 6)

    purging(settings_of(broker_url), filled.topic, use)


def test_failure_is_said_once_until_it_goes_away(
    filled: TP, begin: Callable[[TP], int], broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An offset that the log has not is refused at each try; the log says so once."""
    caplog.set_level(logging.WARNING, "streamcluster")

    async def use(purge: Purge) -> None:
        purge.look([(filled, 0)])
        end = asyncio.get_running_loop().time() + 1.0
        await look_until(purge, filled, 1000, lambda: asyncio.get_running_loop().time() > end)
        await look_until(purge, filled, 3, lambda: begin(filled) == 3)

    purging(settings_of(broker_url), filled.topic, use)

    [said] = [record.getMessage() for record in caplog.records if "repartition topics" in record.getMessage()]
    assert f"{filled}: " in said
    assert "offset" in said.lower()


def test_partition_that_is_not_there_is_refused_and_the_others_are_purged(
    filled: TP, begin: Callable[[TP], int], broker_url: str
) -> None:
    """Nobody is asked about partitions without a leader: the client could free memory twice."""
    admin = open_purger(settings_of(broker_url))
    with pytest.raises(PurgeRefused, match=r"-own\[7\]: .* has no leader, and 1 more"):
        delete_behind(admin, {filled: 2, filled._replace(partition=7): 1, TP(f"{filled.topic}-nowhere", 0): 1}, SECONDS)
    assert begin(filled) == 2


def test_only_topics_that_nobody_named_are_purged() -> None:
    """group_by(topic=...) and through are the user's, and so is a topic of ours that the app names."""
    app = App("shop")
    orders = app.topic("orders", key_type=str, value_type=str)

    def letter(value: str) -> str:
        return value[0]

    @app.agent(orders, name="own")
    async def own(stream):  # type: ignore[no-untyped-def]
        async for _ in stream.group_by(letter, name="letter"):
            pass

    @app.agent(orders, name="named")
    async def named(stream):  # type: ignore[no-untyped-def]
        async for _ in stream.group_by(letter, name="letter"):
            pass

    @app.agent(orders, name="given")
    async def given(stream):  # type: ignore[no-untyped-def]
        async for _ in stream.group_by(letter, topic=app.topic("given", key_type=str, value_type=str)):
            pass

    passed = app.topic("passed", key_type=str, value_type=str)

    @app.agent(orders, name="through")
    async def through(stream):  # type: ignore[no-untyped-def]
        async for _ in stream.through(passed):
            pass

    app.topic("named-orders-letter-repartition")
    _, declared = asyncio.run(freeze(app))
    assert [topic.name for topic in declared.topics if topic.purge] == ["own-orders-letter-repartition"]
    assert {topic.name for topic in declared.topics if topic.role == "repartition"} == {
        "own-orders-letter-repartition",
        "named-orders-letter-repartition",
        "given",
        "passed",
    }
