"""Clients: the Kafka handles of one worker, opened together and thrown away together (I3)."""

from __future__ import annotations

from dataclasses import dataclass

from streamcluster.settings import Settings

from .committer import Committer
from .kafka import (
    Connection,
    Consumer,
    connect,
    open_consumer,
    open_group_consumer,
    open_producer,
    open_transactional_producer,
)
from .offsets import Offsets


@dataclass(slots=True)
class Clients:
    """What a worker has of Kafka.

    consumer: reads, on the loop and in its polling thread; group: the group's committed offsets, in other threads;
    committer: over one producer; offsets: where logs begin and end.
    """

    connection: Connection
    consumer: Consumer
    group: Consumer
    committer: Committer
    offsets: Offsets
    cluster_id: str

    @classmethod
    def open(cls, settings: Settings, transactional_id: str, timeout: float, batch_bytes_max: int) -> Clients:
        """Open everything; under exactly once, earlier owners of the slot are fenced when this returns. Blocks.

        batch_bytes_max: the least max.message.bytes of the topics written to; brokers refuse larger batches whole.

        Raises:
            Fenced, BrokerUnreachable, ConfigurationError: as `open_transactional_producer` says.
        """
        connection = Connection()
        # Made first, so that they connect while the producer fences.
        consumer = open_consumer(settings, connection)
        group = open_group_consumer(settings, connection)
        if settings.exactly_once:
            producer = open_transactional_producer(
                settings, transactional_id, connection, timeout, batch_bytes_max=batch_bytes_max
            )
        else:
            producer = open_producer(settings, connection, batch_bytes_max=batch_bytes_max)
        # A first fetch that finds no connection waits for about 0.5 s; the answer to this is a connection.
        connect(consumer, settings, timeout)
        connect(group, settings, timeout)
        return cls(
            connection=connection,
            consumer=consumer,
            group=group,
            committer=Committer(settings, producer, group),
            offsets=Offsets(settings, connection),
            cluster_id=producer.cluster_id(timeout) or "",
        )

    def look_for_brokers(self, timeout: float) -> None:
        """Ask for an answer, and note in `connection` when there is one. Blocks at most `timeout` seconds."""
        if self.offsets.is_answered(timeout):
            self.connection.answered()

    def close(self) -> None:
        """Let go of every handle without waiting for brokers. Blocks shortly."""
        self.committer.close()
        self.consumer.close()
        self.group.close()
