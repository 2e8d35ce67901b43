"""The status topic: sends this host's reports, and hears everybody's, our own too, from now on.

Reports are states, so a late or lost one is worth nothing: nothing here waits, retries for long, or stops the app.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import msgspec
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from streamcluster.errors import BrokerUnreachable
from streamcluster.ids import TP
from streamcluster.kafka.config import SILENT_MS, asker_config, coordinator_config, log_reader_config
from streamcluster.kafka.hearing import SILENT, Connection, Replaceable
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import error_of, open_client
from streamcluster.kafka.verdicts import ResetNeeded, classify
from streamcluster.outside import Unreadable
from streamcluster.settings import Settings

from ..dropped import Dropped
from ..records.report import HostReport, decode_report, encode_report
from ..records.signatures import Signatures
from ..records.snapshot import status_topic
from .listening import Listening
from .topics import STATUS_BYTES_MAX

logger = logging.getLogger("streamcluster.coordinator")
_POLL_SECONDS = 0.2
# A report that took longer is older than the ones after it, and than the time after which a host is taken for dead.
_DELIVERY_MS = 3_000
# More than a host sends in that time; the rest is dropped.
_QUEUE_RECORDS = 100
_QUEUE_KBYTES = 32 * 1024
_LAST_WORDS_SECONDS = 1.0


class StatusBus:
    """One coordinator's end of it.

    Args:
        settings: of the app.
        signatures: of what is sent and believed.
        dropped: told of what is not used.
        on_report: called in the bus's thread for each report, in the topic's order. It must not wait.

    Raises:
        BrokerUnreachable: the topic's end was not known within connect_timeout.
        ConfigurationError: the topic cannot be read (the operator).
    """

    __slots__ = (
        "_consumer",
        "_dropped",
        "_listening",
        "_on_report",
        "_producer",
        "_refused",
        "_settings",
        "_signatures",
        "_topic",
    )

    def __init__(
        self,
        settings: Settings,
        signatures: Signatures,
        dropped: Dropped,
        on_report: Callable[[HostReport], None],
    ) -> None:
        self._settings = settings
        self._topic = status_topic(settings.app_id)
        self._on_report = on_report
        self._signatures = signatures
        self._dropped = dropped
        self._producer = Replaceable(self._open_producer)
        # The last report was.
        self._refused = False
        self._consumer = Replaceable(self._open_consumer)
        start = self._end(settings.connect_timeout)
        self._consumer.get().assign([TopicPartition(self._topic, 0, start)])
        self._listening = Listening("status-bus", self._topic, dropped, self._turn)
        self._listening.start()

    def publish(self, report: HostReport) -> None:
        """Send a report, if the broker takes it soon. Does not wait."""
        try:
            # The outcomes of earlier ones.
            self._producer.get().poll(0)
            if self._refused and self._producer.is_quiet:
                # It may be deaf.
                self._producer.drop()
            self._producer.get().produce(
                self._topic,
                key=report.host.encode(),
                value=self._signatures.sign("report", encode_report(report)),
                partition=0,
                on_delivery=self._delivered,
            )
        except BufferError:
            self._lose("too many wait for the brokers")
        except KafkaException as error:
            facts = error_of(error)
            self._lose(facts.str())
            if facts.fatal() or facts.code() == KafkaError._FATAL:
                self._producer.drop()
        except SystemError as error:
            # What the client's binding raises for a fatal error that meets a callback.
            self._lose(str(error.__cause__ or error))
            self._producer.drop()

    def close(self) -> None:
        """Stop, once the last report is out, or soon after. Blocks for a fraction of a second, with no broker 1 s."""
        if self._producer.client is not None:
            with contextlib.suppress(KafkaException, SystemError):
                self._producer.client.flush(_LAST_WORDS_SECONDS)
        self._listening.end()
        self._consumer.drop()

    def _open_consumer(self) -> Consumer:
        config = {
            **log_reader_config(self._settings, self._topic),
            # Reports that the topic has lost are not missed.
            "auto.offset.reset": "latest",
            "isolation.level": "read_uncommitted",
            # Arrival ends a waiting fetch.
            "fetch.wait.max.ms": 1000,
        }
        return open_client(Consumer, config, Connection(SILENT))

    def _open_producer(self) -> Producer:
        config = {
            **coordinator_config(self._settings),
            # Order holds over retries.
            "enable.idempotence": True,
            "linger.ms": 0,
            "message.timeout.ms": _DELIVERY_MS,
            "socket.timeout.ms": SILENT_MS,
            "message.max.bytes": STATUS_BYTES_MAX,
            "queue.buffering.max.messages": _QUEUE_RECORDS,
            "queue.buffering.max.kbytes": _QUEUE_KBYTES,
            "compression.type": "lz4",
        }
        self._refused = False
        return open_client(Producer, config, Connection(SILENT))

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        self._refused = error is not None
        if error is None:
            self._producer.heard()
        else:
            self._lose(error.str())

    def _end(self, seconds: float) -> int:
        """The end that the log has now."""
        tp = TP(self._topic, 0)
        try:
            return Offsets(self._settings, Connection(SILENT), asker_config(self._settings)).end_offsets([tp], seconds)[
                tp
            ]
        except (BrokerUnreachable, ResetNeeded) as error:
            raise BrokerUnreachable(f"the end of topic {self._topic!r} could not be read: {error}") from error

    def is_listening(self) -> bool:
        """Whether the thread is there; when it is not, nobody is heard any more."""
        return self._listening.is_alive()

    def _lose(self, reason: str) -> None:
        self._dropped.add(f"reports of this host to topic {self._topic}", reason)

    def _turn(self) -> None:
        if self._consumer.is_quiet:
            # Not even our own come: it may be deaf.
            self._consumer.drop()
            self._read_from_end()
        message = self._consumer.get().poll(_POLL_SECONDS)
        if message is None:
            return
        error = message.error()
        if error is None:
            self._consumer.heard()
            self._take(message)
        elif classify(error) == "unreadable":
            # The client would try it for ever. What lies between it and the end is late by now: reports are states.
            self._dropped.add(f"topic {self._topic}", f"a batch at offset {message.offset()}: {error.str()}")
            self._read_from_end()
        else:
            # It passes, or others say so: a host that hears nobody knows.
            logger.debug("reading topic %s: %s", self._topic, error.str())

    def _read_from_end(self) -> None:
        self._consumer.get().assign([TopicPartition(self._topic, 0, OFFSET_END)])

    def _take(self, message: Message) -> None:
        try:
            content, is_signed = self._signatures.check("report", message.value() or b"")
            report = decode_report(content)
        except Unreadable as error:
            self._dropped.add(f"topic {self._topic}", f"the record at offset {message.offset()} is no report: {error}")
            return
        if self._signatures.secret is not None and not is_signed:
            # Our questions, and rows to us, do not go where somebody without the secret says.
            report = msgspec.structs.replace(report, peer=None)
        self._on_report(report)
