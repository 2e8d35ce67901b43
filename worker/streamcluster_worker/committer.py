"""Writes a step's results to Kafka: outputs, changelogs and input offsets, so that they count together or not at all.

It decides order, bounds and what an error means for the step; it knows no task, agent or store. What RocksDB gets is
written afterwards by the caller, with the changelog offsets that `commit` returns (invariant I2).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from streamcluster.ids import TP
from streamcluster.security import QUIET_SECONDS
from streamcluster.settings import Settings

from .kafka import (
    Consumer,
    Detached,
    KafkaException,
    Producer,
    TopicPartition,
    error_of,
    find_group,
    retry,
)
from .kafka_errors import ResetNeeded, is_silence
from .sender import Record, Sender, give_up_if_deaf

# It takes milliseconds, and seconds while a new coordinator loads its groups: giving that up costs the transaction.
_OFFSETS_SECONDS = 2.0
# What a call gets to come back after the answer that it waits for.
_OFFSETS_GRACE_SECONDS = 1.0


class Committer:
    """Writes outputs, changelogs and input offsets so that they count together or not at all.

    Exactly once: one Kafka transaction. At least once: records first, then offsets. A call may block, so the worker
    makes it in a thread; at most one thread may be inside. After any exception the object is done (I3): close it.
    """

    __slots__ = ("_begun", "_group", "_group_metadata", "_landed", "_producer", "_sender", "_settings", "_timeout")

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
        self._sender = Sender(settings, producer, in_transaction=settings.exactly_once)
        # Changelog partition -> offset of the last record of this commit.
        self._landed: dict[TP, int] = {}

    def produce_early(self, outputs: Mapping[str, list[Record]]) -> None:
        """Hand outputs to librdkafka before their commit, so that the commit itself finds them sent.

        Raises:
            RecordRefused, ResetNeeded, Fenced, BrokerUnreachable, ConfigurationError.
        """
        deadline = time.monotonic() + self._timeout
        self._begin()
        for topic, records in outputs.items():
            self._sender.produce(topic, records, deadline)
        self._sender.poll()

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
            self._sender.produce(topic, records, deadline)
        if changelogs and not self._settings.exactly_once:
            # Those handed over before too: state that is ahead of its outputs would keep an agent from sending them
            # again, should we die in between.
            self._sender.flush(deadline)
        for tp, records in changelogs.items():
            if records:
                self._sender.produce_landing(tp, records, deadline, self._landed)
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
        self._landed = {}

    def close(self) -> None:
        """Throw away what is queued and let go of the producer; an open transaction is left to the next owner.

        The producer must not be used elsewhere: librdkafka ends its threads when the last reference goes.
        """
        del self._producer
        self._sender.close()

    def _begin(self) -> None:
        if self._settings.exactly_once and not self._begun:
            retry("Beginning a transaction", lambda _: self._producer.begin_transaction(), 0.0)
            self._begun = True

    def _end_transaction(self, positions: list[TopicPartition], deadline: float) -> None:
        if positions:
            self._add_offsets(positions, deadline)
        self._sender.flush(deadline)
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
        self._sender.flush(deadline)
        if not positions:
            return

        def commit(_: float) -> None:
            answer = self._group.commit(offsets=positions, asynchronous=False)
            for entry in answer or []:
                if entry.error is not None:
                    raise KafkaException(entry.error)

        retry("Committing offsets", commit, deadline)


def _end(settings: Settings, what: str, producer: Producer, call: Callable[[float], None], deadline: float) -> None:
    """Make a call that ends a transaction, or prepares that, as `retry` does; unless the producer is deaf."""

    def once(left: float) -> None:
        try:
            call(min(left, QUIET_SECONDS))
        except KafkaException as error:
            if is_silence(error_of(error)):
                give_up_if_deaf(settings, what, producer, left)
            raise

    retry(what, once, deadline)
