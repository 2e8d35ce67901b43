"""One producer's way to Kafka: records in order and within bounds, and what became of them.

It knows no commit and no offsets of the group; whether its records are in a transaction is its owner's matter.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import repeat
from operator import length_hint
from typing import Any, cast

from streamcluster.errors import BrokerUnreachable, StreamclusterError
from streamcluster.ids import TP
from streamcluster.kafka.config import PRODUCED_OVERHEAD_BYTES, PRODUCER_QUEUE_RECORDS, producer_queue_bytes
from streamcluster.kafka.hearing import QUIET_SECONDS
from streamcluster.kafka.opening import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
    error_of,
    give_up_if_deaf,
    missing_topics,
)
from streamcluster.kafka.verdicts import RecordRefused, ResetNeeded, classify, error_for
from streamcluster.output import BY_KEY, OutputColumns
from streamcluster.settings import Settings

from ..kafka.native import give, size_of, take_missed, why_not_for

OnDelivery = Callable[[KafkaError | None, Message], None]

_BATCH_RECORDS = 5_000
# For a question after an answer did not come: which topics are gone.
_LOOK_SECONDS = 2.0
# In which the client tells of an error that ended it: it has told already, to a queue of its own.
_REASON_SECONDS = 1.0


class Sender:
    """Gives records to one producer. One thread at a time; after any exception it is done (I3): close it."""

    __slots__ = (
        "_missed",
        "_misses",
        "_native",
        "_queue_bytes_max",
        "_queued_bytes",
        "_record_bytes",
        "_settings",
        "_written",
        "native_not",
        "producer",
    )

    def __init__(self, settings: Settings, producer: Producer, *, in_transaction: bool) -> None:
        self.producer = producer
        self._settings = settings
        # Topics that were written to.
        self._written: set[str] = set()
        self._queue_bytes_max = producer_queue_bytes(settings)
        # Bytes given to the producer since its queue was last seen empty.
        self._queued_bytes = 0
        # The average record of the batch that had the largest, since then.
        self._record_bytes = 0
        # One failed delivery per kind of error. `dict.setdefault` is the callback: C code, no Python frame (0.15 us a
        # record). The stub wants a callback that returns None; librdkafka does not look at what it returns.
        self._misses: dict[KafkaError | None, Message] = {}
        missed = cast(OnDelivery, self._misses.setdefault)
        # In a transaction nobody needs to look: one failed delivery makes the transaction uncommittable.
        self._missed = None if in_transaction else missed
        # In C no delivery needs a callback: that side notes the first failure itself.
        self.native_not = why_not_for(settings, producer)
        self._native = not self.native_not

    def produce(
        self, topic: str, columns: OutputColumns, deadline: float, partition: int = BY_KEY, *, reserved: bool = False
    ) -> None:
        """Give records to librdkafka in order. partition: of those without one; reserved: `reserve` has found room."""
        columns.fill()
        end = len(columns)
        for start, behind in _ranges(0, end) if reserved else self._with_room(columns, 0, end, deadline):
            self._give(topic, columns, start, behind, partition)

    def _give(self, topic: str, columns: OutputColumns, start: int, end: int, partition: int) -> None:
        """Give those from `start` to `end`, for which there is room."""
        self._written.add(topic)
        if not self._native:
            self._produce(topic, columns.part(start, end), partition, self._missed)
        elif not_taken := give(self.producer, topic, columns, partition, start, end):
            raise self._not_taken(topic, columns.keys[start + not_taken.at], not_taken.error)

    def _produce(self, topic: str, records: OutputColumns, partition: int, on_delivery: OnDelivery | None) -> None:
        """Give them from Python.

        Not produce_batch, which refuses timestamps, drops headers and does not look at a record's own partition (2.16).
        Called from C, with its arguments by position, produce takes 0.35 us a record, and produce_batch 0.4 us.
        """
        where: Iterable[int] = repeat(partition)
        if records.partitions is not None:
            where = [partition if one == BY_KEY else one for one in records.partitions]
        keys = records.keys
        left = iter(keys)
        # By position: the sixth is the partitioner, which the client does not use.
        columns: list[Iterable[Any]]
        columns = [repeat(topic), records.values, left, where, repeat(on_delivery), repeat(None), records.timestamps]
        if records.headers is not None:
            columns.append(records.headers)
        try:
            # A queue of length 0: runs through, and keeps nothing.
            deque(map(self.producer.produce, *columns), maxlen=0)
        except KafkaException as error:
            raise self._not_taken(topic, keys[len(keys) - length_hint(left) - 1], error_of(error)) from error
        except BufferError as error:
            raise self._not_taken(topic, None, KafkaError(KafkaError._QUEUE_FULL)) from error

    def _not_taken(self, topic: str, key: bytes | None, error: KafkaError) -> StreamclusterError:
        """What it means that the client did not take a record."""
        what = f"Producing to {topic}"
        if error.code() == KafkaError._FATAL:
            # The client says why, as that it was fenced, only to those who ask what has become of its records.
            _serve(what, lambda: self.producer.poll(_REASON_SECONDS))
        if error.code() == KafkaError._QUEUE_FULL:
            return ResetNeeded(what, "reset", "the producer's queue is full, which its bounds should have prevented")
        if is_refused(error):
            return RecordRefused(topic, key, error.str())
        return error_for(what, error)

    def produce_landing(self, tp: TP, columns: OutputColumns, deadline: float, landed: dict[TP, int]) -> None:
        """Produce to one partition; after the flush, `landed` has the offset of the last record."""

        def noted(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._misses.setdefault(error, message)
                return
            offset = message.offset()
            assert offset is not None
            landed[tp] = offset

        columns.fill()
        last = len(columns) - 1
        for start, end in self._with_room(columns, 0, last, deadline):
            self._give(tp.topic, columns, start, end, tp.partition)
        for start, end in self._with_room(columns, last, last + 1, deadline):
            self._written.add(tp.topic)
            self._produce(tp.topic, columns.part(start, end), tp.partition, noted)

    def flush(self, deadline: float) -> None:
        """Wait until every record has its answer."""
        what = "Waiting for acknowledgements"
        while _serve(what, lambda: self.producer.flush(max(0.0, min(QUIET_SECONDS, deadline - time.monotonic())))) > 0:
            if time.monotonic() < deadline:
                give_up_if_deaf(self._settings, what, self.producer, deadline - time.monotonic())
                continue
            if gone := missing_topics(self.producer, sorted(self._written), _LOOK_SECONDS):
                raise ResetNeeded(f"Writing to {', '.join(gone)}", "missing", "there is no such topic")
            raise BrokerUnreachable(
                f"{len(self.producer)} records were not acknowledged within {self._settings.transaction_timeout:.0f} s "
                "(transaction_timeout). Are all brokers of the written topics up?"
            )
        if self._native and (one := take_missed(self.producer)):
            raise error_for(f"Writing to {one.topic}[{one.partition}]", one.error)
        for error, message in self._misses.items():
            if error is None:
                continue
            # Not RecordRefused: the brokers refuse whole batches, so this record may be an innocent one.
            raise error_for(f"Writing to {message.topic()}[{message.partition()}]", error)
        self._misses.clear()

    def poll(self) -> None:
        """Hear what has become of records, without waiting."""
        _serve("Producing", lambda: self.producer.poll(0))

    def close(self) -> None:
        """Throw away what is queued and let go of the producer.

        The producer must not be used elsewhere: librdkafka ends its threads when the last reference goes.
        """
        self.producer.purge()
        # Not producer.close(): that aborts and flushes first, on a handle that may be in doubt, and waits for brokers.
        del self.producer

    def reserve(self, outputs: Collection[OutputColumns]) -> bool:
        """Whether these can be taken at once, by our own bounds, which are half of librdkafka's; then they count."""
        count = sum(map(len, outputs))
        size = sum([self._size_of(columns.keys, columns.values) for columns in outputs])
        if not self._has_room(count, size):
            return False
        self._count(count, size)
        return True

    def _with_room(self, columns: OutputColumns, start: int, end: int, deadline: float) -> Iterator[tuple[int, int]]:
        """Cut them into pieces that fit into the queue when it is empty, and wait for room for each."""
        waiting = list(_ranges(start, end))
        while waiting:
            start, end = waiting.pop(0)
            size = self._size_of(columns.keys[start:end], columns.values[start:end])
            if size > self._queue_bytes_max and end - start > 1:
                half = (start + end) // 2
                waiting[:0] = ((start, half), (half, end))
                continue
            if not self._has_room(end - start, size):
                self.flush(deadline)
                self._empty()
            self._count(end - start, size)
            yield start, end

    def _size_of(self, keys: list[bytes | None], values: list[bytes | None]) -> int:
        size = size_of(keys, native=self._native) + size_of(values, native=self._native)
        return size + len(values) * PRODUCED_OVERHEAD_BYTES

    def _has_room(self, count: int, size: int) -> bool:
        queued = len(self.producer)
        if queued == 0:
            self._empty()
        # What was given since it was empty may have been sent by now, and then what is there is no larger than this.
        queued_bytes = min(self._queued_bytes, queued * self._record_bytes)
        return queued + count <= PRODUCER_QUEUE_RECORDS and queued_bytes + size <= self._queue_bytes_max

    def _count(self, count: int, size: int) -> None:
        self._queued_bytes += size
        self._record_bytes = max(self._record_bytes, -(-size // max(1, count)))

    def _empty(self) -> None:
        self._queued_bytes = self._record_bytes = 0


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


def is_refused(error: KafkaError) -> bool:
    """The record itself cannot be written, now or later: too large, or for a partition that does not exist.

    A topic that is gone is another matter: it may come back, and until then nothing is lost.
    """
    return classify(error) == "refused" or error.name() == "_UNKNOWN_PARTITION"


def _ranges(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Pieces as they are given to the client."""
    return ((at, min(at + _BATCH_RECORDS, end)) for at in range(start, end, _BATCH_RECORDS))
