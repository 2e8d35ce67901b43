"""Writes a step's results to Kafka: outputs, changelogs and input offsets.

It decides order, bounds and what an error means for the step; it knows no task, agent or store. What RocksDB gets is
written afterwards by the caller, with the changelog offsets that `commit` returns (invariant I2).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streamcluster.ids import TP
from streamcluster.kafka.hearing import QUIET_SECONDS
from streamcluster.kafka.opening import (
    Consumer,
    Detached,
    KafkaException,
    Producer,
    TopicPartition,
    error_of,
    find_group,
    give_up_if_deaf,
    retry,
)
from streamcluster.kafka.verdicts import ResetNeeded, is_silence
from streamcluster.output import OutputColumns
from streamcluster.settings import Settings

from .sender import Sender

# It takes milliseconds, and seconds while a new coordinator loads its groups: giving that up costs the transaction.
_OFFSETS_SECONDS = 5.0
# What a call gets to come back after the answer that it waits for; and so many times what a new client has taken to get
# one, since brokers may be slow.
_OFFSETS_GRACE_SECONDS = 1.0
_OFFSETS_GRACE_TIMES = 2
_ADDING = "Adding offsets to a transaction"


@dataclass(frozen=True, slots=True)
class _Sending:
    """A call that sends offsets. overdue_at: when it should have come back, time.monotonic()."""

    call: Detached
    overdue_at: float


class Committer:
    """Writes outputs, changelogs and input offsets; nothing of the last two by whoever has lost the slot.

    Exactly once: all in one Kafka transaction. At least once: outputs leave at once, and when they have landed,
    changelogs and offsets follow in a transaction that is open no longer than that takes. A call may block, so the
    worker makes it in a thread; at most one thread may be inside. After any exception the object is done (I3): close
    it.
    """

    __slots__ = (
        "_begun",
        "_group_metadata",
        "_landed",
        "_outputs",
        "_producer",
        "_rows",
        "_settings",
        "_timeout",
        "outputs_landed",
    )

    def __init__(
        self, settings: Settings, producer: Producer, group: Consumer, outputs: Producer | None = None
    ) -> None:
        """Take over the producers.

        Args:
            settings: the app's settings.
            producer: owns the slot's transactional id (see `open_transactional_producer`).
            group: a consumer of the app's group, that nobody reads with (see `open_group_consumer`).
            outputs: at least once, what outputs leave through at once; None: they are in the transaction.
        """
        assert (outputs is None) == settings.exactly_once
        self._settings = settings
        self._producer = producer
        self._timeout = settings.transaction_timeout
        # The consumer never joins its group, so this does not change. Asking holds Python's lock until a thread of
        # librdkafka has answered: 10 ms on busy cores, a third of a small commit.
        self._group_metadata = group.consumer_group_metadata()
        # At least once: the commit in flight needs the producer of outputs no more, so that `produce_early` may be
        # called beside the rest of it. The exception to one thread inside.
        self.outputs_landed = False
        # A transaction is open at the producer.
        self._begun = False
        self._rows = Sender(settings, producer, in_transaction=True)
        self._outputs = self._rows if outputs is None else Sender(settings, outputs, in_transaction=False)
        # Changelog partition -> offset of the last record of this commit.
        self._landed: dict[TP, int] = {}

    @property
    def native_not(self) -> str:
        """Why records of this worker do not all go to the client in C; empty: they do."""
        return self._outputs.native_not or self._rows.native_not

    def produce_at_once(self, outputs: Mapping[str, OutputColumns]) -> bool:
        """As `produce_early`, on the loop; False, with nothing done, when it would have to wait for room."""
        if not self._outputs.reserve(outputs.values()):
            return False
        self._produce(outputs, time.monotonic() + self._timeout, reserved=True)
        self._outputs.poll()
        return True

    def produce_early(self, outputs: Mapping[str, OutputColumns]) -> None:
        """Hand outputs to librdkafka before their commit, so that the commit itself finds them sent.

        Raises:
            RecordRefused, ResetNeeded, Fenced, BrokerUnreachable, ConfigurationError.
        """
        self._produce(outputs, time.monotonic() + self._timeout)
        self._outputs.poll()

    def commit(
        self,
        outputs: Mapping[str, OutputColumns],
        changelogs: Mapping[TP, OutputColumns],
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
            Fenced: another owner took over; of this commit nothing counts but, at least once, outputs (the peer).
            RecordRefused, ResetNeeded: not committed, or not known to be (us: start again from the committed offsets).
            BrokerUnreachable: no answer within the transaction time-out (the operator); as ResetNeeded.
            ConfigurationError: no rights (the operator).
        """
        deadline = time.monotonic() + self._timeout
        self._produce(outputs, deadline)
        if self._settings.exactly_once:
            return self._write_rows(changelogs, offsets, deadline)
        # Those handed over before too: state that is ahead of its outputs would keep an agent from sending them again,
        # should we die in between.
        self._outputs.flush(deadline)
        if not changelogs and not offsets:
            return {}
        self.outputs_landed = True
        try:
            return self._write_rows(changelogs, offsets, deadline)
        finally:
            self.outputs_landed = False

    def abort(self) -> None:
        """Drop what is in the open transaction, definitely; at least once that is nothing between two commits.

        Raises:
            ResetNeeded, Fenced, BrokerUnreachable: not known to be dropped; open everything anew (I3).
        """
        if self._begun:
            producer, deadline = self._producer, time.monotonic() + self._timeout
            _end(self._settings, "Aborting a transaction", producer, producer.abort_transaction, deadline)
        self._begun = False
        self._landed = {}

    def close(self) -> None:
        """Throw away what is queued and let go of the producers; an open transaction is left to the next owner."""
        del self._producer
        self._rows.close()
        if self._outputs is not self._rows:
            self._outputs.close()

    def _begin(self) -> None:
        if not self._begun:
            retry("Beginning a transaction", lambda _: self._producer.begin_transaction(), 0.0)
            self._begun = True

    def _produce(self, outputs: Mapping[str, OutputColumns], deadline: float, *, reserved: bool = False) -> None:
        if self._settings.exactly_once:
            self._begin()
        for topic, columns in outputs.items():
            self._outputs.produce(topic, columns, deadline, reserved=reserved)

    def _write_rows(
        self, changelogs: Mapping[TP, OutputColumns], offsets: Mapping[TP, tuple[int, str]], deadline: float
    ) -> dict[TP, int]:
        """Put them into the transaction, and end it."""
        self._begin()
        for tp, columns in changelogs.items():
            if columns:
                self._rows.produce_landing(tp, columns, deadline, self._landed)
        positions = [TopicPartition(tp.topic, tp.partition, at, metadata) for tp, (at, metadata) in offsets.items()]
        sending = self._send_offsets(positions, deadline - time.monotonic()) if positions else None
        try:
            # Beside the offsets: each of the two takes two answers of brokers, one after the other.
            self._rows.flush(deadline)
        finally:
            # Also when records failed: offsets that are refused fail all of the transaction, and say why.
            if sending is not None:
                self._add_offsets(sending, positions, deadline)
        producer = self._producer
        _end(self._settings, "Committing a transaction", producer, producer.commit_transaction, deadline)
        self._begun = False
        landed, self._landed = self._landed, {}
        return {tp: last + 1 for tp, last in landed.items()}

    def _add_offsets(self, sending: _Sending, positions: list[TopicPartition], deadline: float) -> None:
        """Wait until the offsets are in the transaction; send them again where that helps."""
        first: list[_Sending] = [sending]

        def again(left: float) -> None:
            self._wait(first.pop() if first else self._send_offsets(positions, left), left)

        def send(left: float) -> None:
            try:
                again(left)
            except KafkaException as error:
                if error_of(error).name() != "_STATE":
                    raise
                # The transaction failed during that call, which does not say why; the next one is told at once.
                again(left)

        _end(self._settings, _ADDING, self._producer, send, deadline)

    def _send_offsets(self, positions: list[TopicPartition], left: float) -> _Sending:
        """Begin to send them, to be done within `left` seconds.

        No time-out holds while librdkafka waits for the group's coordinator (issue 5456, open in 2.16), and when that
        broker is gone for good it may wait for ever (issue 5511). Then the handle is of no use any more; a later owner
        of its transactional id fences the call.
        """
        # Not self: a call that is left behind must keep nothing but its producer.
        producer, metadata, seconds = self._producer, self._group_metadata, max(0.001, min(left, _OFFSETS_SECONDS))
        call = Detached(lambda: producer.send_offsets_to_transaction(positions, metadata, seconds))
        return _Sending(call, time.monotonic() + seconds + _OFFSETS_GRACE_SECONDS)

    def _wait(self, sending: _Sending, left: float) -> None:
        """Wait for the end of the call, and raise what it raised."""
        if sending.call.came_back(sending.overdue_at - time.monotonic()):
            return
        began = time.monotonic()
        find_group(self._settings, left)
        taken = time.monotonic() - began
        if not sending.call.came_back(_OFFSETS_GRACE_SECONDS + _OFFSETS_GRACE_TIMES * taken):
            raise ResetNeeded(_ADDING, "reset", "the group's coordinator answers, and the client did not come back")


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
