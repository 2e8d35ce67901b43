"""The status topic: sends this host's reports, and hears everybody's, our own too, from now on.

Reports are states, so a late or lost one is worth nothing: nothing here waits, retries for long, or stops the app.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from streamcluster.errors import BrokerUnreachable, ConfigurationError
from streamcluster.security import QUIET_SECONDS
from streamcluster.settings import Settings

from .control_reader import SILENT_MS
from .control_record import status_topic
from .control_topics import STATUS_BYTES_MAX
from .host_report import HostReport, decode_report, encode_report
from .topics import client_config

logger = logging.getLogger("streamcluster.coordinator")
_POLL_SECONDS = 0.2
_RETRY_SECONDS = 0.05
# A report that took longer is older than the ones after it, and than the time after which a host is taken for dead.
_DELIVERY_MS = 3_000
# More than a host sends in that time; the rest is dropped.
_QUEUE_RECORDS = 100
_QUEUE_KBYTES = 32 * 1024
_LAST_WORDS_SECONDS = 1.0
# For a thread that ends within _POLL_SECONDS: it must not meet a closed consumer, however busy the machine is.
_THREAD_SECONDS = 10.0
_SAY_EVERY_SECONDS = 60.0


class StatusBus:
    """One coordinator's end of it.

    Args:
        settings: of the app.
        on_report: called in the bus's thread for each report, in the topic's order. It must not raise, nor wait.

    Raises:
        BrokerUnreachable: the topic's end was not known within connect_timeout.
        ConfigurationError: the topic cannot be read (the operator).
    """

    __slots__ = (
        "_consumer",
        "_ended",
        "_failing_since",
        "_heard_at",
        "_lost",
        "_on_report",
        "_producer",
        "_settings",
        "_thread",
        "_topic",
        "_unread",
    )

    def __init__(self, settings: Settings, on_report: Callable[[HostReport], None]) -> None:
        self._settings = settings
        self._topic = status_topic(settings.app_id)
        self._on_report = on_report
        self._ended = False
        self._unread = _Complaint("topic %s holds what is no report of this version of streamcluster: %d records (%s)")
        self._lost = _Complaint("topic %s did not take %d of this host's reports (%s)")
        self._producer = self._open_producer()
        # time.monotonic() when reports began to be refused, all of them; None while they are taken.
        self._failing_since: float | None = None
        self._consumer = self._open_consumer()
        try:
            start = self._end(time.monotonic() + settings.connect_timeout)
        except BaseException:
            self._consumer.close()
            raise
        self._consumer.assign([TopicPartition(self._topic, 0, start)])
        # time.monotonic() when it brought something, or was opened.
        self._heard_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="status-bus", daemon=True)
        self._thread.start()

    def publish(self, report: HostReport) -> None:
        """Send a report, if the broker takes it soon. Does not wait."""
        try:
            # The outcomes of earlier ones.
            self._producer.poll(0)
            if self._failing_since is not None and time.monotonic() - self._failing_since >= QUIET_SECONDS:
                # It may be deaf (see QUIET_SECONDS).
                self._producer, self._failing_since = self._open_producer(), None
            self._producer.produce(
                self._topic,
                key=report.host.encode(),
                value=encode_report(report),
                partition=0,
                on_delivery=self._delivered,
            )
        except BufferError:
            self._lost.add(self._topic, "too many wait for the brokers")
        except KafkaException as error:
            facts = error.args[0]
            self._lost.add(self._topic, facts.str())
            if facts.fatal() or facts.code() == KafkaError._FATAL:
                self._producer = self._open_producer()
        except SystemError as error:
            # What the client's binding raises for a fatal error that meets a callback.
            self._lost.add(self._topic, str(error.__cause__ or error))
            self._producer = self._open_producer()

    def close(self) -> None:
        """Stop, once the last report is out, or soon after. Blocks for a fraction of a second, with no broker 1 s."""
        with contextlib.suppress(KafkaException, SystemError):
            self._producer.flush(_LAST_WORDS_SECONDS)
        self._ended = True
        if self._thread is not threading.current_thread():
            self._thread.join(_THREAD_SECONDS)
        self._consumer.close()

    def _open_consumer(self) -> Consumer:
        return Consumer(
            {
                **client_config(self._settings),
                # Only because a consumer must name one: nothing joins it, nothing is committed.
                "group.id": self._topic,
                "enable.auto.commit": False,
                # Reports that the topic has lost are not missed.
                "auto.offset.reset": "latest",
                "isolation.level": "read_uncommitted",
                # Arrival ends a waiting fetch.
                "fetch.wait.max.ms": 1000,
                "socket.timeout.ms": SILENT_MS,
            }
        )

    def _open_producer(self) -> Producer:
        return Producer(
            {
                **client_config(self._settings),
                # Order holds over retries.
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.timeout.ms": _DELIVERY_MS,
                "socket.timeout.ms": SILENT_MS,
                "message.max.bytes": STATUS_BYTES_MAX,
                "queue.buffering.max.messages": _QUEUE_RECORDS,
                "queue.buffering.max.kbytes": _QUEUE_KBYTES,
                "compression.type": "lz4",
                "retry.backoff.ms": 5,
                "retry.backoff.max.ms": 50,
            }
        )

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self._failing_since = None
            return
        self._lost.add(self._topic, error.str())
        if self._failing_since is None:
            self._failing_since = time.monotonic()

    def _end(self, deadline: float) -> int:
        """The end that the log has now."""
        while True:
            left = max(0.1, min(5.0, deadline - time.monotonic()))
            try:
                # A request before a connection is up waits for 0.5 s.
                self._consumer.list_topics(self._topic, timeout=left)
                return self._consumer.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=left)[1]
            except KafkaException as error:
                facts = error.args[0]
                text = facts.str()
                if "AUTHORIZATION" in facts.name():
                    raise ConfigurationError(f"topic {self._topic!r} cannot be read: {text}.") from error
                if time.monotonic() >= deadline:
                    raise BrokerUnreachable(f"the end of topic {self._topic!r} could not be read: {text}.") from error
            time.sleep(_RETRY_SECONDS)

    def _run(self) -> None:
        while not self._ended:
            message = self._consumer.poll(_POLL_SECONDS)
            if message is not None:
                self._heard_at = time.monotonic()
                self._take(message)
            elif time.monotonic() - self._heard_at >= QUIET_SECONDS:
                # Not even our own come: it may be deaf (see QUIET_SECONDS).
                self._consumer.close()
                self._consumer = self._open_consumer()
                self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_END)])
                self._heard_at = time.monotonic()

    def _take(self, message: Message) -> None:
        error, value = message.error(), message.value()
        if error is not None:
            # It passes, or others say so: a host that hears nobody knows.
            logger.debug("reading topic %s: %s", self._topic, error.str())
            return
        report = decode_report(value) if value is not None else None
        if report is None:
            self._unread.add(self._topic, f"the last one at offset {message.offset()}")
            return
        self._on_report(report)


class _Complaint:
    """Counts what goes wrong, and says so at the first time and then once a minute at most."""

    __slots__ = ("_count", "_said_at", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        # Since it was said last.
        self._count = 0
        self._said_at: float | None = None

    def add(self, topic: str, detail: str) -> None:
        """One more."""
        self._count += 1
        now = time.monotonic()
        if self._said_at is None or now >= self._said_at + _SAY_EVERY_SECONDS:
            logger.warning(self._text, topic, self._count, detail)
            self._count, self._said_at = 0, now
