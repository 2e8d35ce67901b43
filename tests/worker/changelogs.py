"""Changelogs as tests write them: committed, aborted and open transactions, and logs that lose their beginning."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streamcluster.settings import Settings, bootstrap_servers
from tests.process.waiting import eventually

Rows = list[tuple[bytes, bytes | None]]


def commit(producer: Producer, topic: str, rows: Rows, partition: int = 0) -> None:
    """One transaction, with its marker."""
    _run(producer, topic, rows, partition, producer.commit_transaction)


def abort(producer: Producer, topic: str, rows: Rows) -> None:
    """One transaction that reaches the log and is aborted, with its marker."""
    _run(producer, topic, rows, 0, producer.abort_transaction)


def _run(producer: Producer, topic: str, rows: Rows, partition: int, end: Callable[[float], None]) -> None:
    producer.begin_transaction()
    producer.produce_batch(topic, [{"key": key, "value": value} for key, value in rows], partition)
    assert producer.flush(30) == 0
    brokers = producer.list_topics(topic, 30).brokers.values()
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(f"{one.host}:{one.port}" for one in brokers),
            "group.id": "not-used",
            # The log's end, also behind transactions of others that are open.
            "isolation.level": "read_uncommitted",
        }
    )
    tp = TopicPartition(topic, partition)
    try:
        unmarked = consumer.get_watermark_offsets(tp, 30)[1]
        end(30.0)
        # The broker writes it after it has answered, and a log that still grows has no end to compare with.
        eventually(lambda: consumer.get_watermark_offsets(tp, 30)[1] > unmarked, 30.0, "the marker is in the log")
    finally:
        consumer.close()


def trim(settings: Settings, topic: str, first_offset: int) -> None:
    """Delete the records of partition 0 before this one."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers(settings.broker)})
    next(iter(admin.delete_records([TopicPartition(topic, 0, first_offset)]).values())).result(30)
