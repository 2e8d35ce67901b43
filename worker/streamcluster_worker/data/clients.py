"""Clients: the Kafka handles of one worker, opened together and thrown away together (I3)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamcluster.ids import TP
from streamcluster.kafka.hearing import Silence, is_answered
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import (
    Connection,
    Consumer,
    KafkaException,
    TopicPartition,
    cluster_id_of,
    connect,
    open_group_consumer,
)
from streamcluster.settings import Settings

from ..kafka.consumers import open_consumer
from ..kafka.producers import open_producer, open_transactional_producer
from .committer import Committer

# Meanwhile the loop stands still, which had nothing to read for a while. More than a round trip across an ocean.
_CONSUMER_SECONDS = 1.0
_TRIES = 3
# As much as it costs not to have waited: librdkafka tries again after 20 ms, whatever retry.backoff.ms says.
ENDING_SECONDS = 0.02


@dataclass(slots=True)
class Clients:
    """What a worker has of Kafka.

    consumer: reads, on the loop and in its polling thread; group: the group's committed offsets, in other threads;
    committer: over the slot's producer, and at least once over one of its outputs; offsets: where logs begin and end.
    """

    connection: Connection
    consumer: Consumer
    group: Consumer
    committer: Committer
    offsets: Offsets
    dead_letters: str
    cluster_id: str
    # Who has it is in `group`, which lets in one thread at a time.
    group_turn: threading.Lock = field(default_factory=threading.Lock)
    # How long who has committed waits at most for brokers to end it.
    ending_seconds: float = ENDING_SECONDS
    # Since `consumer` last brought something, or an answer.
    _silence: Silence = field(default_factory=Silence)
    # How many times in a row it got no answer while brokers answered others.
    _unanswered: int = 0

    @classmethod
    def open(cls, settings: Settings, transactional_id: str, timeout: float, batch_bytes_max: int) -> Clients:
        """Open everything; earlier owners of the slot are fenced when this returns. Blocks.

        batch_bytes_max: the least max.message.bytes of the topics written to; brokers refuse larger batches whole.

        Raises:
            Fenced, BrokerUnreachable, ConfigurationError: as `open_transactional_producer` says.
        """
        connection = Connection()
        # Made first, so that they connect while the producer fences.
        consumer = open_consumer(settings, connection)
        group = open_group_consumer(settings, connection)
        outputs = None
        if not settings.exactly_once:
            outputs = open_producer(settings, connection, batch_bytes_max=batch_bytes_max)
        producer = open_transactional_producer(
            settings, transactional_id, connection, timeout, batch_bytes_max=batch_bytes_max
        )
        # A first fetch that finds no connection waits for about 0.5 s; the answer to this is a connection.
        consumer = connect(consumer, lambda: open_consumer(settings, connection), settings, timeout)
        group = connect(group, lambda: open_group_consumer(settings, connection), settings, timeout)
        return cls(
            connection=connection,
            consumer=consumer,
            group=group,
            committer=Committer(settings, producer, group, outputs),
            offsets=Offsets(settings, connection),
            dead_letters=settings.dead_letters,
            cluster_id=cluster_id_of(producer, settings, timeout),
        )

    def heard(self) -> None:
        """Records came."""
        self.connection.answered()
        self._silence.broken()
        self._unanswered = 0

    @property
    def is_quiet(self) -> bool:
        """Nothing has come for so long that it is time to ask whether anything can."""
        return self._silence.is_long

    @property
    def is_deaf(self) -> bool:
        """Brokers answer others, and not `consumer`: it will never hear from them again."""
        return self._unanswered >= _TRIES

    def look_for_brokers(self, timeout: float) -> None:
        """Ask for an answer, and note when there is one; when it is quiet, have `consumer` ask too.

        Blocks at most `timeout` seconds and a moment.
        """
        if not self.offsets.is_answered(timeout):
            return
        self.connection.answered()
        if self.is_quiet:
            if is_answered(self.consumer, self.dead_letters, _CONSUMER_SECONDS):
                self.heard()
            else:
                self._unanswered += 1

    def wait_until_ended(self, committed: Iterable[TP]) -> None:
        """Wait until brokers have ended a transaction that is committed, but at most `ending_seconds`.

        They write its markers after the answer to the commit, and refuse what the next transaction begins with until
        then. Markers are there when a committed position is told, since one that is pending is held back.

        Args:
            committed: what the transaction committed positions of.
        """
        one = next(iter(committed), None)
        # Somebody in the consumer may wait for long, for positions of other owners.
        if one is None or not self.group_turn.acquire(blocking=False):
            return
        try:
            # Without an answer the next transaction finds out.
            with contextlib.suppress(KafkaException):
                self.group.committed([TopicPartition(one.topic, one.partition)], timeout=self.ending_seconds)
        finally:
            self.group_turn.release()

    def close(self) -> None:
        """Let go of every handle without waiting for brokers. Blocks shortly."""
        self.committer.close()
        self.consumer.close()
        self.group.close()
