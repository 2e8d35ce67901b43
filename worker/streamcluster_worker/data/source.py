"""Source: the consumer's side of the data plane: assignment, polling, pausing, positions of partitions that ended.

Polling never hops threads while there is work: the loop calls consume(n, 0). When there is none, one thread blocks in
consume(1, ...) (librdkafka waits for n records, so n is 1 there) and wakes the loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from streamcluster.batch import Batch
from streamcluster.ids import TP
from streamcluster.kafka.opening import Consumer, TopicPartition, end_seen
from streamcluster.kafka.verdicts import classify, error_for
from streamcluster.settings import Settings

from ..kafka.batches import NOTHING_THERE, Instead, Taken, take
from .unreadable import PackedBatch

logger = logging.getLogger("streamcluster")
IDLE_POLL_SECONDS = 0.1
# How often the ends of the logs are noted, for reports.
ENDS_SECONDS = 0.2


class Source:
    """The partitions that this worker reads: `Reads` of the pump. heard: called when records came."""

    __slots__ = (
        "_asked",
        "_batch",
        "_consumer",
        "_ends",
        "_heard",
        "_idle",
        "_look_at",
        "_moves",
        "_paused",
        "_pool",
        "_said",
        "_wake",
        "assigned",
        "ended",
        "unreadable",
    )

    def __init__(
        self, consumer: Consumer, settings: Settings, wake: Callable[[], None], heard: Callable[[], None]
    ) -> None:
        self._consumer = consumer
        self._batch = settings.consumer_batch_records_max
        # How much the last poll asked for.
        self._asked = self._batch
        self._wake = wake
        self._heard = heard
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="poll")
        self._idle: asyncio.Future[list[Taken]] | None = None
        self._paused: set[TP] = set()
        self.assigned: set[TP] = set()
        # Where to read from, or None for no more, once the polling thread is back: who finds a thread in the consumer
        # waits for it (confluent-kafka 2.16).
        self._moves: dict[TP, int | None] = {}
        # The ends of logs by the last look, and when the next one is due, time.monotonic().
        self._ends: dict[TP, int | None] = {}
        self._look_at = 0.0
        # Partitions whose end was reached by the last poll: the offset there, beyond transaction markers.
        self.ended: dict[TP, int] = {}
        # Batches that cannot be unpacked, while the first offset behind them is looked for; and where the log said so.
        self.unreadable: dict[TP, PackedBatch] = {}
        self._said: dict[TP, int] = {}

    def poll(self, room: Callable[[int], int]) -> list[Batch]:
        """The next records, without waiting.

        Args:
            room: how many of so many records may come.

        Raises:
            ResetNeeded, BrokerUnreachable, ConfigurationError: the consumer reported an error that it does not heal.
        """
        taken: list[Taken] = []
        self._asked = room(self._batch)
        if self._idle is not None:
            if not self._idle.done():
                return []
            taken, self._idle = self._idle.result(), None
            if self._moves:
                # What it brought is from before the move.
                taken = [one for one in taken if one.tp not in self._moves]
                self._move()
        if self.assigned:
            # One record woke us; those behind it are there too.
            taken += take(self._consumer, self._asked, 0)
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + ENDS_SECONDS
            self._ends = {tp: end_seen(self._consumer, tp) for tp in self.assigned}
        batches = self._without_errors(taken)
        if batches:
            self._heard()
        return batches

    def is_full(self, record_count: int) -> bool:
        """Whether so many are as much as the last poll might give."""
        return record_count >= self._asked

    def _without_errors(self, taken: list[Taken]) -> list[Batch]:
        """The records, and what stands for those that cannot be unpacked."""
        batches: list[Batch] = []
        # Read from somewhere else since: what follows here of these is from before.
        moved: set[TP] = set()
        for one in taken:
            tp = one.tp
            if tp in moved:
                continue
            packed = self.unreadable.get(tp) if self.unreadable else None
            if isinstance(one, Instead):
                verdict = classify(one.error)
                if verdict == "unreadable":
                    moved.add(tp)
                    batches += self._look_behind(one, packed)
                elif packed is not None and one.error.code() in NOTHING_THERE:
                    moved.add(tp)
                    packed.end.is_behind()
                    batches += self._look_on(packed)
                elif one.is_end:
                    self.ended[tp] = one.offset
                elif not one.error.retriable():
                    raise error_for(f"Reading {tp}", one.error)
            elif packed is not None:
                moved.add(tp)
                packed.end.is_behind()
                batches += self._look_on(packed)
            else:
                batches.append(one)
        return batches

    def _look_behind(self, instead: Instead, packed: PackedBatch | None) -> list[Batch]:
        """The client cannot unpack what is there: look for what is behind it."""
        tp, first, error = instead.tp, instead.offset, instead.error
        if packed is None:
            packed = self.unreadable[tp] = PackedBatch.at(tp, first, f"{error.str()} ({error.name()})")
            if self._said.get(tp) != first:
                self._said[tp] = first
                logger.warning("%s; looking for what is behind them", packed)
        elif first == packed.first:
            packed.end.is_inside()
        else:
            packed.end.is_behind(first)
        return self._look_on(packed)

    def _look_on(self, packed: PackedBatch) -> list[Batch]:
        """Read where the search is; or, when it is over, from behind the batch: returns what stands for that."""
        self._moves[packed.tp] = packed.end.offset
        self._move()
        if not packed.end.is_found:
            return []
        del self.unreadable[packed.tp]
        return [Batch.unreadable(packed.tp, packed.end.offset - 1, packed.error())]

    def is_all(self, tp: TP, offset: int) -> bool:
        """The log had nothing behind this end when the last fetch saw it."""
        high = end_seen(self._consumer, tp)
        return high is None or offset >= high

    def poll_when_idle(self) -> None:
        """Let the thread wait for the next record, and wake the loop when it comes."""
        if self._idle is None and self.assigned:
            loop = asyncio.get_running_loop()
            self._idle = loop.run_in_executor(self._pool, take, self._consumer, 1, IDLE_POLL_SECONDS)
            self._idle.add_done_callback(lambda _: self._wake())

    def assign(self, positions: dict[TP, int]) -> None:
        """Read these partitions from these offsets, in addition to the others."""
        for tp, offset in positions.items():
            self._moves[tp] = offset
            self.unreadable.pop(tp, None)
            # An end seen before a rewind must not move the position behind it.
            self.ended.pop(tp, None)
        self._move_when_home()

    def unassign(self, tps: Iterable[TP]) -> None:
        """Read these partitions no more."""
        for tp in tps:
            self._moves[tp] = None
            self.unreadable.pop(tp, None)
            self.ended.pop(tp, None)
        self._move_when_home()

    def _move_when_home(self) -> None:
        if self._idle is None and self._moves:
            self._move()

    def _move(self) -> None:
        """Change the assignment; the thread must be at home."""
        moves, self._moves = self._moves, {}
        # librdkafka 2.16 keeps a pause over a new assignment.
        if held := [TopicPartition(tp.topic, tp.partition) for tp in sorted(self._paused & moves.keys())]:
            self._consumer.resume(held)
        leaving = [TopicPartition(tp.topic, tp.partition) for tp in moves if tp in self.assigned]
        if leaving:
            self._consumer.incremental_unassign(leaving)
        self.assigned -= moves.keys()
        self._paused -= moves.keys()
        coming = [TopicPartition(tp.topic, tp.partition, at) for tp, at in moves.items() if at is not None]
        if coming:
            self._consumer.incremental_assign(coming)
        self.assigned |= {tp for tp, at in moves.items() if at is not None}

    def pause_only(self, full: set[TP]) -> None:
        """Pause these partitions, and resume all others that were paused."""
        if full == self._paused or self._idle is not None:
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
