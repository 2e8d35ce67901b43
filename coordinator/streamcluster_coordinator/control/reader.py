"""Reads the control topic in a thread of its own: each snapshot in order, and how far the log was read.

Committed records only, so an open transaction of another leader is waited for. What is no snapshot, or none of a newer
epoch, is passed over: the last readable one counts, and the leader writes it anew. It decides nothing about leadership.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from streamcluster.batch_end import BatchEnd
from streamcluster.errors import BrokerUnreachable, StateIncompatible
from streamcluster.ids import TP
from streamcluster.kafka.config import asker_config, log_reader_config
from streamcluster.kafka.hearing import SILENT, Connection, Replaceable, is_answered
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import open_client
from streamcluster.kafka.verdicts import ResetNeeded, classify
from streamcluster.outside import Unreadable
from streamcluster.settings import Settings

from ..dropped import Dropped
from ..records.signatures import Signatures
from ..records.snapshot import Snapshot, control_topic, decode_snapshot
from .listening import Listening
from .watch import TopicWatch

logger = logging.getLogger("streamcluster.coordinator")
_POLL_SECONDS = 0.2
# Then it is asked who leads now; and after some more of these, whether it is still the topic that it was.
_ASK_SECONDS = 2.0
_END_SECONDS = 3 * _ASK_SECONDS
_ANSWER_SECONDS = 0.5
_LOST = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError._LOG_TRUNCATION,
)


class ControlReader:
    """From the beginning of the topic to its end, and on.

    Args:
        settings: of the app.
        admin: shared with others.
        signatures: of what is believed.
        dropped: told of what is not used.
        on_snapshot: called in the reader's thread for each committed snapshot, in order. It must not wait.
        on_unread: called in the reader's thread for each record that is passed over.
        on_failure: called in the reader's thread, once, when the topic cannot be used any more; nothing is read then.
    """

    __slots__ = (
        "_changed",
        "_consumer",
        "_dropped",
        "_listening",
        "_offsets",
        "_on_failure",
        "_on_snapshot",
        "_on_unread",
        "_signatures",
        "_skip",
        "_topic",
        "_watch",
        "failure",
        "last",
        "position",
        "unread",
    )

    def __init__(
        self,
        settings: Settings,
        admin: AdminClient,
        signatures: Signatures,
        dropped: Dropped,
        on_snapshot: Callable[[Snapshot], None],
        on_unread: Callable[[], None],
        on_failure: Callable[[StateIncompatible], None],
    ) -> None:
        self._topic = control_topic(settings.app_id)
        self._signatures = signatures
        self._dropped = dropped
        self._on_snapshot = on_snapshot
        self._on_unread = on_unread
        self._on_failure = on_failure
        self._watch = TopicWatch(admin, self._topic)
        # Of clients of their own, since a consumer lets one thread in at a time. Nobody closes them, since catch_up may
        # be asking in another thread: they go with the reader.
        self._offsets = Offsets(settings, Connection(SILENT), asker_config(settings), patience=_ASK_SECONDS)
        config = {
            **log_reader_config(settings, self._topic),
            # What was read can only be gone when the topic was made anew or lost its end: never start over.
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            # Records end a waiting fetch at once. That there are no more is known when one comes back empty, which
            # catch_up waits for. Costs of an idle coordinator, Kafka 4.1: 10 ms 1 % of a core, 50 ms 0.4 %.
            "fetch.wait.max.ms": 50,
        }
        self._consumer = Replaceable(lambda: open_client(Consumer, config, Connection(SILENT)))
        self._changed = threading.Condition()
        self.last: Snapshot | None = None
        # Why the newest record was passed over; None: it was not.
        self.unread: str | None = None
        # While the end of a batch that cannot be unpacked is looked for.
        self._skip: BatchEnd | None = None
        # Offset to read next; markers of transactions count.
        self.position = 0
        self.failure: StateIncompatible | None = None
        self._read_from(OFFSET_BEGINNING)
        self._listening = Listening("control-reader", self._topic, dropped, self._turn)
        self._listening.start()

    def catch_up(self, deadline: float) -> Snapshot | None:
        """Read to the end that the log has now (READ_UNCOMMITTED), and return the newest snapshot. Blocks.

        All of them have been given to on_snapshot then. From any thread.

        Raises:
            BrokerUnreachable: not done at `deadline` (time.monotonic()): no broker answers, or a leader that died in
                the middle of a write has left its transaction open.
            ConfigurationError: the topic cannot be read (the operator).
            StateIncompatible: the topic holds something else, or is not the one that it was.
        """
        end = self._end(deadline)
        if not self.wait(lambda: self.position >= end, deadline):
            raise BrokerUnreachable(f"topic {self._topic!r} could not be read to its end in time.")
        return self.last

    def wait(self, reached: Callable[[], bool], deadline: float) -> bool:
        """Wait until so much was read; False: not at `deadline`. Raises StateIncompatible as `catch_up`."""
        with self._changed:
            while not reached() and self.failure is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            self.check()
            return True

    def check(self) -> None:
        """Raise StateIncompatible, as `catch_up`, if that is known already."""
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Stop the thread and the consumer. Blocks for a fraction of a second."""
        self._listening.end()
        self._consumer.drop()

    def _end(self, deadline: float) -> int:
        tp = TP(self._topic, 0)
        while self.failure is None:
            try:
                return self._offsets.end_offsets([tp], max(0.1, min(_END_SECONDS, deadline - time.monotonic())))[tp]
            except (BrokerUnreachable, ResetNeeded) as error:
                # Whether the topic is gone is for the watch to say.
                self._watch.doubt()
                if time.monotonic() >= deadline:
                    raise BrokerUnreachable(f"the end of topic {self._topic!r} could not be read: {error}") from error
        raise self.failure

    def is_listening(self) -> bool:
        """Whether the thread is there, or has said why it is not."""
        return self._listening.is_alive() or self.failure is not None

    def _turn(self) -> None:
        if (reason := self._watch.look()) is not None:
            self._fail(StateIncompatible(reason))
        elif (message := self._consumer.get().poll(_POLL_SECONDS)) is not None:
            self._consumer.heard()
            self._take(message)
        elif self._consumer.is_quiet:
            self._see_that_it_hears()

    def _see_that_it_hears(self) -> None:
        if is_answered(self._consumer.get(), self._topic, _ANSWER_SECONDS):
            self._consumer.heard()
            return
        self._consumer.drop()
        at = self.position or OFFSET_BEGINNING
        self._read_from(self._skip.offset if self._skip is not None else at)

    def _take(self, message: Message) -> None:
        error, offset = message.error(), message.offset()
        if error is not None and classify(error) == "unreadable":
            self._pass_over_batch(error)
            return
        if self._skip is not None and (error is None or error.code() in (*_LOST, KafkaError._PARTITION_EOF)):
            self._skip.is_behind()
            self._look_on(self._skip)
            return
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            self._took_error(error)
            return
        assert offset is not None  # what is not an error has one
        if error is not None:
            self._advance(offset)
            return
        try:
            # A record without a value is what no coordinator writes either.
            self._took_snapshot(decode_snapshot(self._signatures.check("snapshot", message.value() or b"")[0]))
        except Unreadable as foreign:
            self._pass_over(f"the record at offset {offset} is no snapshot of who owns what: {foreign}")
        self._advance(offset + 1)

    def _took_snapshot(self, snapshot: Snapshot) -> None:
        last = self.last
        if last is not None and (snapshot.term, snapshot.epoch) <= (last.term, last.epoch) and snapshot != last:
            # No leader writes so. From an older one, epochs would be given twice.
            raise Unreadable(f"term {snapshot.term}, epoch {snapshot.epoch} after term {last.term}, epoch {last.epoch}")
        self.last, self.unread = snapshot, None
        self._on_snapshot(snapshot)

    def _pass_over(self, reason: str) -> None:
        self.unread = reason
        self._dropped.add(f"topic {self._topic}", reason)
        self._on_unread()

    def _pass_over_batch(self, error: KafkaError) -> None:
        if self._skip is None:
            self._pass_over(f"a batch at offset {self.position} cannot be unpacked: {error.str()}")
            self._skip = BatchEnd(self.position)
        else:
            self._skip.is_inside()
        self._look_on(self._skip)

    def _look_on(self, end: BatchEnd) -> None:
        self._read_from(end.offset)
        if end.is_found:
            self._skip = None

    def _read_from(self, offset: int) -> None:
        self._consumer.get().assign([TopicPartition(self._topic, 0, offset)])

    def _took_error(self, error: KafkaError) -> None:
        logger.debug("reading topic %s: %s", self._topic, error.str())
        if error.code() in _LOST:
            self._watch.lost(error.str())
        else:
            self._watch.doubt()

    def _advance(self, position: int) -> None:
        with self._changed:
            self.position = max(self.position, position)
            self._changed.notify_all()

    def _fail(self, failure: StateIncompatible) -> None:
        with self._changed:
            self.failure = failure
            self._changed.notify_all()
        self._listening.end()
        self._on_failure(failure)
