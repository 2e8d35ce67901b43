"""Source: the consumer's side of the data plane: assignment, polling, pausing, positions of partitions that ended.

Polling never hops threads while there is work: the loop calls consume(n, 0). When there is none, one thread blocks in
consume(1, ...) (librdkafka waits for n records, so n is 1 there) and wakes the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from streamcluster.ids import TP
from streamcluster.settings import Settings

from .kafka import Consumer, KafkaError, Message, TopicPartition, end_seen
from .kafka_errors import error_for

IDLE_POLL_SECONDS = 0.1
# How often the ends of the logs are noted, for reports.
ENDS_SECONDS = 0.2


class Source:
    """The partitions that this worker reads."""

    __slots__ = (
        "_asked",
        "_batch",
        "_consumer",
        "_ends",
        "_idle",
        "_look_at",
        "_paused",
        "_pool",
        "_wake",
        "assigned",
        "ended",
    )

    def __init__(self, consumer: Consumer, settings: Settings, wake: Callable[[], None]) -> None:
        self._consumer = consumer
        self._batch = settings.consumer_batch_records_max
        # How much the last poll asked for.
        self._asked = self._batch
        self._wake = wake
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="poll")
        self._idle: asyncio.Future[list[Message]] | None = None
        self._paused: set[TP] = set()
        self.assigned: set[TP] = set()
        # The ends of logs by the last look, and when the next one is due, time.monotonic().
        self._ends: dict[TP, int | None] = {}
        self._look_at = 0.0
        # Partitions whose end was reached by the last poll: the offset there, beyond transaction markers.
        self.ended: dict[TP, int] = {}

    def poll(self, room: Callable[[int], int]) -> list[Message]:
        """The next records, without waiting.

        Args:
            room: how many of so many records may come.

        Raises:
            ResetNeeded, BrokerUnreachable, ConfigurationError: the consumer reported an error that it does not heal.
        """
        self._asked = room(self._batch)
        if self._idle is not None:
            if not self._idle.done():
                return []
            messages, self._idle = self._idle.result(), None
            # One record woke us; those behind it are there too.
            messages += self._consumer.consume(self._asked, 0)
        elif self.assigned:
            messages = self._consumer.consume(self._asked, 0)
        else:
            return []
        # Here, where no other thread is in the consumer: who finds one there waits for it (confluent-kafka 2.16).
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + ENDS_SECONDS
            self._ends = {tp: end_seen(self._consumer, tp) for tp in self.assigned}
        # any(), not a comparison: KafkaError == None leaves an exception behind (confluent-kafka 2.16).
        # A list, not a generator: half the time a record.
        if any([message.error() for message in messages]):  # noqa: C419
            return self._without_errors(messages)
        return messages

    def is_full(self, records: list[Message]) -> bool:
        """Whether `records` is as much as the last poll might give."""
        return len(records) >= self._asked

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        records: list[Message] = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                offset = message.offset()
                assert offset is not None
                self.ended[TP(message.topic() or "", message.partition() or 0)] = offset
            elif not error.retriable():
                raise error_for(f"Reading {message.topic()}[{message.partition()}]", error)
        return records

    def poll_when_idle(self) -> None:
        """Let the thread wait for the next record, and wake the loop when it comes."""
        if self._idle is None and self.assigned:
            loop = asyncio.get_running_loop()
            self._idle = loop.run_in_executor(self._pool, self._consumer.consume, 1, IDLE_POLL_SECONDS)
            self._idle.add_done_callback(lambda _: self._wake())

    async def quiet(self) -> None:
        """Wait until the thread is back, so that the assignment may change. Take what it brought with `take_idle`."""
        if self._idle is not None:
            await asyncio.wait({self._idle})

    def take_idle(self) -> list[Message]:
        """What the thread brought, after `quiet`."""
        if self._idle is None or not self._idle.done():
            return []
        messages, self._idle = self._idle.result(), None
        return self._without_errors(messages)

    def assign(self, positions: dict[TP, int]) -> None:
        """Read these partitions from these offsets, in addition to the others."""
        self._consumer.incremental_assign([TopicPartition(tp.topic, tp.partition, at) for tp, at in positions.items()])
        self.assigned |= set(positions)

    def unassign(self, tps: Iterable[TP]) -> None:
        """Read these partitions no more."""
        found = [tp for tp in tps if tp in self.assigned]
        if found:
            self._consumer.incremental_unassign([TopicPartition(tp.topic, tp.partition) for tp in found])
            self.assigned -= set(found)
            self._paused -= set(found)
            for tp in found:
                # An end seen before a rewind must not move the position behind it.
                self.ended.pop(tp, None)

    def pause_only(self, full: set[TP]) -> None:
        """Pause these partitions, and resume all others that were paused."""
        if full == self._paused:
            return
        for tps, move in ((full - self._paused, self._consumer.pause), (self._paused - full, self._consumer.resume)):
            here = [TopicPartition(tp.topic, tp.partition) for tp in sorted(tps) if tp in self.assigned]
            if here:
                move(here)
        self._paused = full & self.assigned

    def end_offset(self, tp: TP) -> int | None:
        """The log's end as it was seen a moment ago; None before the first fetch. Does not wait."""
        return self._ends.get(tp)

    def close(self) -> None:
        """End the thread, once it is back."""
        self._pool.shutdown(wait=True)
