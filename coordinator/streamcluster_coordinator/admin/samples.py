"""Reads a few records of each source topic, the newest of each partition."""

from __future__ import annotations

import contextlib
import time

from confluent_kafka import KafkaError, TopicPartition

from streamcluster.ids import TP
from streamcluster.settings import Settings
from streamcluster.topology import Topology

from ..samples import Sample
from .left import ends_of, open_reader

# Of each partition: 3 partitions show by 60 keys which rule they are of, with a chance of 3^-60 to be wrong.
SAMPLE_RECORDS = 20
# One that is being deleted, or has no leader, does not keep the others.
SAMPLE_SECONDS = 10.0
# At most so many partitions of a topic are looked at.
SAMPLE_PARTITIONS = 64


def read_samples(settings: Settings, topology: Topology) -> dict[str, Sample]:
    """By topic. Blocks for as long as brokers take, and some seconds for reading.

    Raises:
        BrokerUnreachable, ConfigurationError: as clients say it.
    """
    # Partitions that were added and are not read have keys all the same.
    counts = {topic.name: topic.partitions + topic.added for topic in topology.topics if topic.role == "source"}
    samples = {name: Sample(count) for name, count in counts.items()}
    tps = [TP(name, number) for name, count in counts.items() for number in range(min(count, SAMPLE_PARTITIONS))]
    with contextlib.closing(open_reader(settings)) as consumer:
        begins = {
            tp: max(begin, end - SAMPLE_RECORDS) for tp, (begin, end) in ends_of(consumer, tps).items() if end > begin
        }
        if begins:
            consumer.assign([TopicPartition(tp.topic, tp.partition, at) for tp, at in begins.items()])
        left, deadline = set(begins), time.monotonic() + SAMPLE_SECONDS
        while left and time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.1):
                tp, error = TP(message.topic() or "", message.partition() or 0), message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    left.discard(tp)
                elif error is None and tp in left:
                    sample = samples[tp.topic]
                    sample.times.append(message.timestamp()[1])
                    if (key := message.key()) is not None:
                        sample.keys.setdefault(tp.partition, []).append(_bytes_of(key))
                    if (value := message.value()) is not None:
                        sample.values.append(_bytes_of(value))
    return samples


def _bytes_of(data: str | bytes) -> bytes:
    return data if isinstance(data, bytes) else data.encode()
