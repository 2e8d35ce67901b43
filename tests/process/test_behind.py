"""BEHIND and EVENTS of `status` beside what Kafka's own clients say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from streamcluster_coordinator.records.status import Status
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.records import send
from tests.process.running import Running

PARTITIONS = 4
ROWS = 2_000
# What a worker may have waiting: far less than there is, so that all partitions pause.
BUFFER = 100


@pytest.fixture
def run(topic_prefix: str, tmp_path: Path, broker_url: str, make_topic: MakeTopic) -> Iterator[Running]:
    """The app, with a buffer that is soon full."""
    make_topic(f"{topic_prefix}in", PARTITIONS)
    app = "tests.process.held:app"
    made = Running(app, topic_prefix, broker_url, tmp_path, within=(), stream_buffer_records_max=BUFFER)
    made.app_id = f"{topic_prefix}held"
    made.settings = type(made.settings)(id=made.app_id, broker=broker_url, state_dir=str(made.state_dir))
    yield made
    made.close()


def behind(bootstrap: str, group: str, topic: str) -> tuple[int, int]:
    """What kafka-consumer-groups sums up as LAG, and the records that the group has done."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "isolation.level": "read_uncommitted"})
    try:
        tps = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        committed = [max(0, one.offset) for one in consumer.committed(tps, 30)]
        ends = [consumer.get_watermark_offsets(tp, 30)[1] for tp in tps]
    finally:
        consumer.close()
    return sum(ends) - sum(committed), sum(committed)


def lag(status: Status) -> int:
    """The sum of BEHIND."""
    return sum(sum(task.figures.lag.values()) for task in status.tasks)


@pytest.mark.parametrize("word", [b"await", b"block"])
def test_behind_and_events_are_kafkas_of_what_is_held_up(
    run: Running, topic_prefix: str, bootstrap: str, word: bytes
) -> None:
    """Of partitions that pause, of a worker that says nothing, and of records that came since it last looked."""
    topic = f"{topic_prefix}in"
    send(bootstrap, topic, [Row(f"k{n}", b"x") for n in range(ROWS)])
    run.start(1)
    run.until_caught_up()
    assert run.worker().figures.events_total == ROWS
    held = [Row(f"k{n}", word) for n in range(ROWS)]
    send(bootstrap, topic, held)
    run.until(lambda status: lag(status) == ROWS, "it is behind by all of these")
    send(bootstrap, topic, held)
    status = run.status()
    assert status is not None
    assert (lag(status), run.worker().figures.events_total) == behind(bootstrap, run.app_id, topic)
    assert lag(status) == 2 * ROWS
    run.kill()
