"""What a worker's commit waits for, and what it does not."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from streamcluster.engine.values import Commit, Committed, TaskCommit
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.opening import Connection
from streamcluster.settings import ProcessingGuarantee, Settings
from streamcluster_worker.data.clients import Clients
from streamcluster_worker.data.committer import Committer
from streamcluster_worker.data.writes import KafkaWrites
from streamcluster_worker.kafka.producers import open_transactional_producer
from tests.conftest import MakeTopic
from tests.worker.committing import SECONDS, Bench, records

# In which a commit that waits for nobody is over, on a busy machine too.
A_WHILE = 1.0


class Waiting:
    """A producer that counts a flush as begun only once offsets are being sent, for as long as that may take."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._offsets_sent = threading.Event()
        self.flushed_beside = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def __len__(self) -> int:
        return len(self._producer)

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        """Say so, and send them."""
        self._offsets_sent.set()
        self._producer.send_offsets_to_transaction(*arguments)

    def flush(self, seconds: float) -> int:
        """Wait for the offsets first."""
        self.flushed_beside = self._offsets_sent.wait(SECONDS)
        return self._producer.flush(seconds)


def test_offsets_are_sent_while_records_wait_for_their_answers(
    broker_url: str, topic_prefix: str, make_topic: MakeTopic
) -> None:
    """Each of the two takes two answers of brokers, so that one behind the other they take twice as long."""
    bench = Bench(broker_url, topic_prefix, "exactly_once", native=False)
    out, source = make_topic(f"{topic_prefix}out", 1), TP(make_topic(f"{topic_prefix}in", 1), 0)
    producer = Waiting(open_transactional_producer(bench.settings, bench.slot, bench.connection, SECONDS))
    committer = Committer(bench.settings, producer, bench.consumer)  # type: ignore[arg-type]  # all but a type

    committer.commit({out: records(b"1")}, {}, {source: (5, "")})

    assert producer.flushed_beside
    assert [message.value() for message in bench.read(out)] == [b"1"]


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_a_commit_is_over_when_brokers_have_ended_its_transaction(
    broker_url: str, topic_prefix: str, make_topic: MakeTopic, guarantee: ProcessingGuarantee
) -> None:
    """The next one would be refused before, for 20 ms. At least once nobody waits for the next one."""
    source = TP(make_topic(f"{topic_prefix}in", 1), 0)
    settings = Settings(id=f"{topic_prefix}app", broker=broker_url, processing_guarantee=guarantee)
    opened = Clients.open(settings, f"{topic_prefix}slot", SECONDS, 1_000_000)
    # Somebody else's, of the same position: it is not ended before we say so.
    other = open_transactional_producer(settings, f"{topic_prefix}other", Connection(), SECONDS)
    other.begin_transaction()
    offset = TopicPartition(source.topic, source.partition, 9)
    other.send_offsets_to_transaction([offset], opened.group.consumer_group_metadata())

    async def commit() -> None:
        writes = KafkaWrites(settings, {}, replace(opened, ending_seconds=SECONDS), {}, {}, {}, {})
        cut = TaskCommit(TaskId(1, 0), {source: Committed(5)}, {}, {})
        committing = writes.commit(Commit([cut]))
        if settings.exactly_once:
            _, waits = await asyncio.wait({committing}, timeout=A_WHILE)
            assert waits
            other.commit_transaction()
        assert await asyncio.wait_for(committing, SECONDS) == {}
        writes.close()

    asyncio.run(commit())
    opened.close()
