"""Deletes what is behind given offsets of partitions, at the brokers. Blocks; knows no task."""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streamcluster.ids import TP
from streamcluster.kafka.config import client_config
from streamcluster.kafka.opening import error_of
from streamcluster.settings import Settings


class PurgeRefused(Exception):
    """Why records were not deleted. They are no more than disk space."""


def open_purger(settings: Settings) -> AdminClient:
    """A client for `delete_behind`. It does not wait for a broker. What it would say, its answers say too."""
    return AdminClient({**client_config(settings), "log_level": 0})


def delete_behind(admin: AdminClient, next_offsets: Mapping[TP, int], timeout: float) -> None:
    """Delete the records before these offsets.

    Args:
        admin: of `open_purger`; not used by two threads at a time.
        next_offsets: the first record to keep of each partition.
        timeout: seconds for all of it.

    Raises:
        PurgeRefused: of some of them, with the reason of one.
    """
    deadline = time.monotonic() + timeout
    refused: dict[TP, str] = {}
    try:
        # A request that has to ask who leads may free memory twice (librdkafka 2.16): now the client knows.
        known = {tp for topic in {tp.topic for tp in next_offsets} for tp in _led(admin, topic, timeout)}
        refused.update({tp: f"{tp} has no leader" for tp in next_offsets.keys() - known})
        wanted = [TopicPartition(*tp, offset) for tp, offset in sorted(next_offsets.items()) if tp in known]
        left = max(0.1, deadline - time.monotonic())
        answers = admin.delete_records(wanted, request_timeout=left, operation_timeout=left) if wanted else {}
    except KafkaException as error:
        raise PurgeRefused(error_of(error).str()) from error
    for partition, answer in answers.items():
        try:
            answer.result(max(0.1, deadline - time.monotonic()) + 1.0)
        except (KafkaException, TimeoutError) as error:
            reason = error_of(error).str() if isinstance(error, KafkaException) else "no answer"
            refused[TP(partition.topic, partition.partition)] = reason
    if refused:
        tp, reason = min(refused.items())
        raise PurgeRefused(f"{tp}: {reason}" + (f", and {len(refused) - 1} more" if len(refused) > 1 else ""))


def _led(admin: AdminClient, topic: str, timeout: float) -> list[TP]:
    """The topic's partitions that have a leader which is there."""
    found = admin.list_topics(topic, timeout=timeout)
    partitions = found.topics[topic].partitions if topic in found.topics else {}
    return [TP(topic, number) for number, partition in partitions.items() if partition.leader in found.brokers]
