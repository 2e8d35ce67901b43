"""A committer on a real broker, and what it wrote, for the tests of commits."""

from __future__ import annotations

import os
import time
from typing import Literal

import pytest
from confluent_kafka import Message, TopicPartition

from streamcluster.ids import TP
from streamcluster.kafka.offsets import Offsets, read_committed_positions
from streamcluster.kafka.opening import Connection, KafkaError
from streamcluster.output import OutputColumns, output_of
from streamcluster.settings import Settings
from streamcluster_worker.data.committer import Committer
from streamcluster_worker.kafka.consumers import open_changelog_consumer
from streamcluster_worker.kafka.native import why_not_native
from streamcluster_worker.kafka.producers import open_producer, open_transactional_producer
from tests.columns import columns_of

Guarantee = Literal["exactly_once", "at_least_once"]
Options = dict[str, str | int | float | bool]
SECONDS = 30.0
# Both ways of giving records to the client; the settings of an app that says nothing decide whether there are two.
PATHS = (
    pytest.param(False, id="python"),
    pytest.param(
        True,
        id="native",
        marks=pytest.mark.skipif(bool(why := why_not_native(Settings(id="any"))), reason=why or "it is there"),
    ),
)


# Over so many records nothing may be kept of them.
LEAK_RECORDS = 50_000_000 if os.environ.get("STREAMCLUSTER_LONG") else 1_000_000
# How long a test of them may take: 8 us a record on a machine that is busy.
leak_timeout = pytest.mark.timeout(180 + LEAK_RECORDS * 8e-6)


class Bench:
    """Settings, topics and clients of one test."""

    def __init__(
        self,
        broker_url: str,
        prefix: str,
        guarantee: Guarantee,
        *,
        native: bool = True,
        options: Options | None = None,
    ) -> None:
        """options: of librdkafka."""
        self.settings = Settings(
            id=prefix.rstrip("-"),
            broker=broker_url,
            processing_guarantee=guarantee,
            transaction_timeout=20.0,
            native=native,
            broker_options=options or {},
        )
        self.connection = Connection()
        self.slot = f"{self.settings.app_id}-slot-0"
        self.consumer = open_changelog_consumer(self.settings, self.connection)
        self.offsets = Offsets(self.settings, self.connection)
        # As a worker does: a transaction may wait for ever for a group coordinator that is not there yet (issue 5511).
        read_committed_positions(self.consumer, [TP("any", 0)], 30.0)

    def committer(self) -> Committer:
        """A committer over new producers, which fences the one before."""
        producer = open_transactional_producer(self.settings, self.slot, self.connection, SECONDS)
        outputs = None if self.settings.exactly_once else open_producer(self.settings, self.connection)
        return Committer(self.settings, producer, self.consumer, outputs)

    def read(self, topic: str, partitions: int = 1) -> list[Message]:
        """Every record that counts, up to the end of each partition; waits for transactions that are ending."""
        self.consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        found: list[Message] = []
        ends: set[int | None] = set()
        deadline = time.monotonic() + 20
        while len(ends) < partitions:
            assert time.monotonic() < deadline, f"{topic}: only partitions {ends} came to their end"
            for message in self.consumer.consume(1000, 0.1):
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF and self._is_at_end(message):
                    ends.add(message.partition())
        self.consumer.unassign()
        return found

    def _is_at_end(self, eof: Message) -> bool:
        """Whether nothing is behind it: while a transaction is open, what can be read ends before the log does."""
        topic, partition, offset = eof.topic(), eof.partition(), eof.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        tp = TP(topic, partition)
        return offset >= self.offsets.end_offsets([tp])[tp]


def records(*values: bytes) -> OutputColumns:
    """Records with one key."""
    return columns_of(output_of(b"k", value) for value in values)
