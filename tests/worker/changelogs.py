"""Changelogs as tests write them: committed, aborted and open transactions, and logs that lose their beginning."""

from __future__ import annotations

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streamcluster.settings import Settings, bootstrap_servers

Rows = list[tuple[bytes, bytes | None]]


def commit(producer: Producer, topic: str, rows: Rows, partition: int = 0) -> None:
    """One transaction."""
    producer.begin_transaction()
    producer.produce_batch(topic, [{"key": key, "value": value} for key, value in rows], partition)
    producer.commit_transaction(30.0)


def abort(producer: Producer, topic: str, rows: Rows) -> None:
    """One transaction that reaches the log and is aborted."""
    producer.begin_transaction()
    producer.produce_batch(topic, [{"key": key, "value": value} for key, value in rows], 0)
    assert producer.flush(30) == 0
    producer.abort_transaction(30.0)


def trim(settings: Settings, topic: str, first_offset: int) -> None:
    """Delete the records of partition 0 before this one."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers(settings.broker)})
    next(iter(admin.delete_records([TopicPartition(topic, 0, first_offset)]).values())).result(30)
