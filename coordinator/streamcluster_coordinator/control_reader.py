"""Reads the control topic in a thread of its own: the newest leader, and how far the log was read.

Committed records only, so an open transaction of another leader is waited for. It decides nothing about leadership.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its stub forgets it

from streamcluster.errors import BrokerUnreachable, StateIncompatible
from streamcluster.settings import Settings

from .control_record import LEADER_KEY, LeaderRecord, decode_leader
from .topics import client_config
from .topics_connect import make_admin

logger = logging.getLogger("streamcluster.coordinator")
_POLL_SECONDS = 0.2
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # its stub has no types


class ControlReader:
    """From the beginning of the topic to its end, and on."""

    __slots__ = (
        "_admin",
        "_changed",
        "_consumer",
        "_ended",
        "_on_leader",
        "_thread",
        "_topic",
        "failure",
        "last",
        "position",
    )

    def __init__(self, settings: Settings, topic: str, on_leader: Callable[[LeaderRecord], None]) -> None:
        self._topic = topic
        # Called in the reader's thread, for each committed record.
        self._on_leader = on_leader
        self._admin = make_admin(client_config(settings))
        self._consumer = Consumer(
            {
                **client_config(settings),
                # Only because a consumer must name one: nothing joins it, nothing is committed.
                "group.id": topic,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                # A commit's marker ends a waiting fetch only when the wait is over.
                "fetch.wait.max.ms": 50,
            }
        )
        self._changed = threading.Condition()
        self._ended = False
        self.last: LeaderRecord | None = None
        # Offset to read next; markers of transactions count.
        self.position = 0
        self.failure: StateIncompatible | None = None
        self._consumer.assign([TopicPartition(topic, 0, 0)])
        self._thread = threading.Thread(target=self._run, name="control-reader", daemon=True)
        self._thread.start()

    def catch_up(self, deadline: float) -> LeaderRecord | None:
        """Read to the end that the log has now (READ_UNCOMMITTED), and return the newest leader. Blocks.

        Raises:
            BrokerUnreachable: not done at `deadline` (time.monotonic()).
            StateIncompatible: the topic holds something else.
        """
        end = self._end(deadline)
        with self._changed:
            while self.position < end and self.failure is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise BrokerUnreachable(f"topic {self._topic!r} could not be read to its end in time.")
                self._changed.wait(left)
            if self.failure is not None:
                raise self.failure
            return self.last

    def _end(self, deadline: float) -> int:
        asked = {TopicPartition(self._topic, 0): _LATEST}
        while True:
            left = max(0.1, min(5.0, deadline - time.monotonic()))
            try:
                futures = self._admin.list_offsets(
                    asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=left
                )
                return int(next(iter(futures.values())).result().offset)
            except KafkaException as error:
                if time.monotonic() >= deadline:
                    raise BrokerUnreachable(
                        f"the end of topic {self._topic!r} could not be read: {error.args[0].str()}."
                    ) from error
                time.sleep(0.05)

    def close(self) -> None:
        """Stop the thread and the consumer."""
        self._ended = True
        self._thread.join(5 * _POLL_SECONDS)
        self._consumer.close()

    def _run(self) -> None:
        while not self._ended:
            message = self._consumer.poll(_POLL_SECONDS)
            if message is not None:
                self._take(message)

    def _take(self, message: Message) -> None:
        error, offset, value = message.error(), message.offset(), message.value()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            logger.debug("reading topic %s: %s", self._topic, error.str())
            return
        assert offset is not None  # what is not an error has one
        if error is not None:
            self._advance(offset)
            return
        if message.key() == LEADER_KEY and value is not None:
            try:
                record = decode_leader(value, topic=self._topic)
            except StateIncompatible as foreign:
                with self._changed:
                    self.failure = foreign
                    self._changed.notify_all()
                return
            self.last = record
            self._on_leader(record)
        self._advance(offset + 1)

    def _advance(self, position: int) -> None:
        with self._changed:
            self.position = max(self.position, position)
            self._changed.notify_all()
