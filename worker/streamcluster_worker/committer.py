"""Writes a step's results to Kafka: outputs, changelogs and input offsets, so that they count together or not at all.

It decides order, bounds and what an error means for the step; it knows no task, agent or store. What RocksDB gets is
written afterwards by the caller, with the changelog offsets that `commit` returns (invariant I2).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from streamcluster.errors import BrokerUnreachable, StreamclusterError
from streamcluster.ids import TP
from streamcluster.security import QUIET_SECONDS
from streamcluster.settings import Settings

from .kafka import (
    Consumer,
    Detached,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
    error_of,
    find_group,
    is_answered,
    missing_topics,
    retry,
)
from .kafka_errors import RecordRefused, ResetNeeded, classify, error_for, is_silence
from .kafka_settings import PRODUCER_QUEUE_BYTES, PRODUCER_QUEUE_RECORDS

# {'key': bytes | None, 'value': bytes | None}, and when wanted 'headers', 'timestamp' (ms) and 'partition'.
Record = dict[str, Any]

_BATCH_RECORDS = 5_000
# It takes milliseconds, and seconds while a new coordinator loads its groups: giving that up costs the transaction.
_OFFSETS_SECONDS = 2.0
# What a call gets to come back after the answer that it waits for.
_OFFSETS_GRACE_SECONDS = 1.0
# For a question after an answer did not come: which topics are gone, whether anybody is there.
_LOOK_SECONDS = 2.0
# What a client gets to hear brokers again that have come back: it looks for them once a second.
_AGAIN_HEARD_SECONDS = 5.0
_BATCH_HAS_NOT = frozenset({"headers", "timestamp", "partition"})


class Committer:
    """Writes outputs, changelogs and input offsets so that they count together or not at all.

    Exactly once: one Kafka transaction. At least once: records first, then offsets. A call may block, so the worker
    makes it in a thread; at most one thread may be inside. After any exception the object is done (I3): close it.
    """

    __slots__ = (
        "_begun",
        "_group",
        "_group_metadata",
        "_landed",
        "_missed",
        "_misses",
        "_producer",
        "_queued_bytes",
        "_settings",
        "_timeout",
        "_written",
    )

    def __init__(self, settings: Settings, producer: Producer, group: Consumer) -> None:
        """group: a consumer of the app's group, that nobody reads with (see `open_group_consumer`)."""
        self._settings = settings
        self._producer = producer
        self._group = group
        self._timeout = settings.transaction_timeout
        # The consumer never joins its group, so this does not change. Asking holds Python's lock until a thread of
        # librdkafka has answered: 10 ms on busy cores, a third of a small commit.
        self._group_metadata = group.consumer_group_metadata()
        # A transaction is open at the producer.
        self._begun = False
        # Topics that were written to.
        self._written: set[str] = set()
        # Bytes given to the producer since its queue was last seen empty.
        self._queued_bytes = 0
        # Changelog partition -> offset of the last record of this commit.
        self._landed: dict[TP, int] = {}
        # One failed delivery per kind of error. `dict.setdefault` is the callback: C code, no Python frame (0.15 us a
        # record). The stub wants a callback that returns None; librdkafka does not look at what it returns.
        self._misses: dict[KafkaError | None, Message] = {}
        missed = cast(Callable[[KafkaError | None, Message], None], self._misses.setdefault)
        # In a transaction nobody needs to look: one failed delivery makes the transaction uncommittable.
        self._missed = None if settings.exactly_once else missed

    def fits(self, outputs: Mapping[str, list[Record]]) -> bool:
        """Whether `produce_early` of these would not have to wait for room."""
        records = [record for topic in outputs.values() for record in topic]
        return self._has_room(records)

    def produce_early(self, outputs: Mapping[str, list[Record]]) -> None:
        """Hand outputs to librdkafka before their commit, so that the commit itself finds them sent.

        Raises:
            RecordRefused, ResetNeeded, Fenced, BrokerUnreachable, ConfigurationError.
        """
        deadline = time.monotonic() + self._timeout
        self._begin()
        for topic, records in outputs.items():
            self._produce(topic, records, deadline)
        _serve("Producing", lambda: self._producer.poll(0))

    def commit(
        self,
        outputs: Mapping[str, list[Record]],
        changelogs: Mapping[TP, list[Record]],
        offsets: Mapping[TP, tuple[int, str]],
    ) -> dict[TP, int]:
        """Commit one step of the app.

        Args:
            outputs: topic -> records, in order.
            changelogs: changelog partition -> records, in order.
            offsets: input partition -> (next offset to read, metadata).

        Returns:
            The next offset of each changelog partition that got records.

        Raises:
            Fenced: another owner took over; nothing of this commit counts (the peer).
            RecordRefused, ResetNeeded: not committed, or not known to be (us: start again from the committed offsets).
            BrokerUnreachable: no answer within the transaction time-out (the operator); as ResetNeeded.
            ConfigurationError: no rights (the operator).
        """
        deadline = time.monotonic() + self._timeout
        self._begin()
        for topic, records in outputs.items():
            self._produce(topic, records, deadline)
        if changelogs and not self._settings.exactly_once:
            # Those handed over before too: state that is ahead of its outputs would keep an agent from sending them
            # again, should we die in between.
            self._flush(deadline)
        for tp, records in changelogs.items():
            if records:
                self._produce_changelog(tp, records, deadline)
        positions = [TopicPartition(tp.topic, tp.partition, at, metadata) for tp, (at, metadata) in offsets.items()]
        if self._settings.exactly_once:
            self._end_transaction(positions, deadline)
        else:
            self._end_delivery(positions, deadline)
        landed, self._landed = self._landed, {}
        return {tp: last + 1 for tp, last in landed.items()}

    def abort(self) -> None:
        """Drop what was produced since the last commit, definitely.

        Raises:
            ResetNeeded, Fenced, BrokerUnreachable: not known to be dropped; open everything anew (I3).
        """
        if self._begun:
            producer, deadline = self._producer, time.monotonic() + self._timeout
            _end(self._settings, "Aborting a transaction", producer, producer.abort_transaction, deadline)
        self._begun = False
        self._queued_bytes = 0
        self._landed = {}

    def close(self) -> None:
        """Throw away what is queued and let go of the producer; an open transaction is left to the next owner.

        The producer must not be used elsewhere: librdkafka ends its threads when the last reference goes.
        """
        self._producer.purge()
        # Not producer.close(): that aborts and flushes first, on a handle that may be in doubt, and waits for brokers.
        del self._producer

    def _begin(self) -> None:
        if self._settings.exactly_once and not self._begun:
            retry("Beginning a transaction", lambda _: self._producer.begin_transaction(), 0.0)
            self._begun = True

    def _produce_changelog(self, tp: TP, records: list[Record], deadline: float) -> None:
        """Produce to one partition; only the last record reports where it landed."""

        def landed(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._misses.setdefault(error, message)
                return
            offset = message.offset()
            assert offset is not None
            self._landed[tp] = offset

        self._produce(tp.topic, [*records[:-1], {**records[-1], "callback": landed}], deadline, tp.partition)

    def _produce(self, topic: str, records: list[Record], deadline: float, partition: int = -1) -> None:
        """Give records to librdkafka in order; one by one where a batch cannot carry what they have.

        produce_batch refuses timestamps, drops headers and does not look at a record's own partition (2.16).
        """
        self._written.add(topic)
        special = any(len(record) > 2 and not _BATCH_HAS_NOT.isdisjoint(record) for record in records)
        for start in range(0, len(records), _BATCH_RECORDS):
            chunk = records[start : start + _BATCH_RECORDS]
            self._make_room(chunk, deadline)
            if special:
                self._produce_singly(topic, chunk, partition)
                continue
            try:
                taken = self._producer.produce_batch(topic, chunk, partition, self._missed)
            except (KafkaException, BufferError) as error:
                raise _commit_error(f"Producing to {topic}", error) from error
            if taken != len(chunk):
                _raise_refused(topic, chunk)

    def _produce_singly(self, topic: str, records: list[Record], partition: int) -> None:
        for record in records:
            options = {"timestamp": record["timestamp"]} if record.get("timestamp") is not None else {}
            try:
                self._producer.produce(
                    topic,
                    value=record.get("value"),
                    key=record.get("key"),
                    partition=record.get("partition", partition),
                    headers=record.get("headers"),
                    on_delivery=record.get("callback", self._missed),
                    **options,
                )
            except KafkaException as error:
                facts = error_of(error)
                if is_refused(facts):
                    raise RecordRefused(topic, record.get("key"), facts.str()) from error
                raise error_for(f"Producing to {topic}", facts) from error
            except BufferError as error:
                raise _commit_error(f"Producing to {topic}", error) from error

    def _make_room(self, chunk: list[Record], deadline: float) -> None:
        """Wait until the queue has room for `chunk`, by our own bounds, which are half of librdkafka's."""
        if not self._has_room(chunk):
            self._flush(deadline)
            self._queued_bytes = 0
        self._queued_bytes += _size_of(chunk)

    def _has_room(self, records: list[Record]) -> bool:
        queued = len(self._producer)
        if queued == 0:
            self._queued_bytes = 0
        fits = queued + len(records) <= PRODUCER_QUEUE_RECORDS
        return fits and self._queued_bytes + _size_of(records) <= PRODUCER_QUEUE_BYTES

    def _flush(self, deadline: float) -> None:
        """Wait until every record has its answer."""
        what = "Waiting for acknowledgements"
        while _serve(what, lambda: self._producer.flush(max(0.0, min(QUIET_SECONDS, deadline - time.monotonic())))) > 0:
            if time.monotonic() < deadline:
                _give_up_if_deaf(self._settings, what, self._producer, deadline - time.monotonic())
                continue
            if gone := missing_topics(self._producer, sorted(self._written), _LOOK_SECONDS):
                raise ResetNeeded(f"Writing to {', '.join(gone)}", "missing", "there is no such topic")
            raise BrokerUnreachable(
                f"{len(self._producer)} records were not acknowledged within {self._timeout:.0f} s "
                "(transaction_timeout). Are all brokers of the written topics up?"
            )
        for error, message in self._misses.items():
            if error is None:
                continue
            # Not RecordRefused: the brokers refuse whole batches, so this record may be an innocent one.
            raise error_for(f"Writing to {message.topic()}[{message.partition()}]", error)
        self._misses.clear()

    def _end_transaction(self, positions: list[TopicPartition], deadline: float) -> None:
        if positions:
            self._add_offsets(positions, deadline)
        self._flush(deadline)
        producer = self._producer
        _end(self._settings, "Committing a transaction", producer, producer.commit_transaction, deadline)
        self._begun = False

    def _add_offsets(self, positions: list[TopicPartition], deadline: float) -> None:
        what = "Adding offsets to a transaction"

        def send(left: float) -> None:
            try:
                self._send_offsets(what, positions, left)
            except KafkaException as error:
                if error_of(error).name() != "_STATE":
                    raise
                # The transaction failed during that call, which does not say why; the next one is told at once.
                self._send_offsets(what, positions, left)

        _end(self._settings, what, self._producer, send, deadline)

    def _send_offsets(self, what: str, positions: list[TopicPartition], left: float) -> None:
        """Send them within `left` seconds.

        No time-out holds while librdkafka waits for the group's coordinator (issue 5456, open in 2.16), and when that
        broker is gone for good it may wait for ever (issue 5511). Then the handle is of no use any more; a later owner
        of its transactional id fences the call.
        """
        # Not self: a call that is left behind must keep nothing but its producer.
        producer, metadata, seconds = self._producer, self._group_metadata, min(left, _OFFSETS_SECONDS)
        call = Detached(lambda: producer.send_offsets_to_transaction(positions, metadata, seconds))
        if call.came_back(seconds + _OFFSETS_GRACE_SECONDS):
            return
        find_group(self._settings, left)
        if not call.came_back(_OFFSETS_GRACE_SECONDS):
            raise ResetNeeded(what, "reset", "the group's coordinator answers, and the client did not come back")

    def _end_delivery(self, positions: list[TopicPartition], deadline: float) -> None:
        self._flush(deadline)
        if not positions:
            return

        def commit(_: float) -> None:
            answer = self._group.commit(offsets=positions, asynchronous=False)
            for entry in answer or []:
                if entry.error is not None:
                    raise KafkaException(entry.error)

        retry("Committing offsets", commit, deadline)


def _size_of(records: list[Record]) -> int:
    return sum([len(record["value"] or b"") + len(record["key"] or b"") for record in records])


def _end(settings: Settings, what: str, producer: Producer, call: Callable[[float], None], deadline: float) -> None:
    """Make a call that ends a transaction, or prepares that, as `retry` does; unless the producer is deaf."""

    def once(left: float) -> None:
        try:
            call(min(left, QUIET_SECONDS))
        except KafkaException as error:
            if is_silence(error_of(error)):
                _give_up_if_deaf(settings, what, producer, left)
            raise

    retry(what, once, deadline)


def _give_up_if_deaf(settings: Settings, what: str, producer: Producer, seconds: float) -> None:
    """Raise if the producer hears no broker, and a new client does, within so many seconds.

    Raises:
        ResetNeeded: it may be so for good (see `security.QUIET_SECONDS`).
        BrokerUnreachable, ConfigurationError: as `find_group`.
    """
    if is_answered(producer, settings.dead_letters, _LOOK_SECONDS):
        return
    find_group(settings, seconds)
    if not is_answered(producer, settings.dead_letters, _AGAIN_HEARD_SECONDS):
        raise ResetNeeded(what, "reset", "brokers answer a new client, and do not answer this one")


def _serve(what: str, call: Callable[[], int]) -> int:
    """Make a call that runs callbacks: the client raises a fatal error out of it instead of telling error_cb."""
    try:
        return call()
    except KafkaException as error:
        raise error_for(what, error_of(error)) from error
    except SystemError as error:
        # So it ends when a delivery callback ran after the fatal error was set (confluent-kafka 2.16).
        if not isinstance(error.__cause__, KafkaException):
            raise
        raise error_for(what, error_of(error.__cause__)) from error


def _commit_error(what: str, error: KafkaException | BufferError) -> StreamclusterError:
    if isinstance(error, BufferError):
        return ResetNeeded(what, "reset", "the producer's queue is full, which its bounds should have prevented")
    return error_for(what, error_of(error))


def is_refused(error: KafkaError) -> bool:
    """The record itself cannot be written, now or later: too large, or for a partition that does not exist.

    A topic that is gone is another matter: it may come back, and until then nothing is lost.
    """
    return classify(error) == "refused" or error.name() == "_UNKNOWN_PARTITION"


def _raise_refused(topic: str, chunk: list[Record]) -> None:
    """Raise for the first record of a batch that librdkafka did not take."""
    for record in chunk:
        error = record.pop("_error", None)
        if error is None:
            continue
        if is_refused(error):
            raise RecordRefused(topic, record.get("key"), error.str())
        raise error_for(f"Producing to {topic}", error)
    raise ResetNeeded(f"Producing to {topic}", "reset", "librdkafka took fewer records than it was given")
