"""Leadership of an app: taking it over, proving that it is still ours, and fencing who had it before.

    1 init_transactions(<app>-ctl)      fences the old leader's writes
    2 E = end of ctl, READ_UNCOMMITTED, asked for after 1; read ctl to E
    3 LeaderRecord(epoch = last + 1) in a transaction; read back
    4 init_transactions(<app>-slot-k) for every slot that the old leader filled: none of its workers can commit

(coordination.md, section 3.) It must not know workers or tasks.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
from confluent_kafka import KafkaException, Producer

from streamcluster.errors import BrokerUnreachable, ConfigurationError, Fenced
from streamcluster.settings import Settings
from streamcluster.topology import ResolvedTopic

from .control_reader import ControlReader
from .control_record import LEADER_KEY, LeaderRecord, check_cluster, control_topic, slot_id
from .topics import client_config

logger = logging.getLogger("streamcluster.coordinator")
_TRANSACTION_TIMEOUT_MS = 10_000
# librdkafka backs off for 0.5 s when it asks before a connection is up (so the cluster is asked something else first),
# or when the request meets an open transaction (so a fresh handle asks again). Measured on Kafka 4.1: 60 ms for an idle
# id and 0.12 to 0.24 s with an open transaction; 0.5 to 1.5 s without these two.
_TRIES_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
_TRY_SECONDS_MAX = 5.0
_FENCES_AT_ONCE = 8
# Of a running coordinator's questions: short, because its end waits for them, and they are asked again.
ASK_SECONDS = 3.0
_FENCED_NAMES = ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")


def control_topic_spec(app_id: str) -> ResolvedTopic:
    """The control topic as it is created."""
    return ResolvedTopic(
        name=control_topic(app_id),
        role="control",
        partitions=1,
        create=True,
        config={"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "86400000"},
    )


class Control:
    """This coordinator's leadership of one app."""

    __slots__ = ("_instance", "_on_taken", "_producer", "_reader", "_settings", "_topic", "record")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = control_topic(settings.app_id)
        self._instance = uuid.uuid4().hex
        # Called from the reader's thread, with who took over.
        self._on_taken: Callable[[str], None] | None = None
        self._producer: Producer | None = None
        # What we claim; None before the takeover.
        self.record: LeaderRecord | None = None
        self._reader = ControlReader(settings, self._topic, self._seen)

    def take_over(self, *, cluster_id: str, slots: int, topology_hash: str) -> LeaderRecord:
        """Become the leader, and fence every slot of the one before. Blocks.

        Raises:
            BrokerUnreachable: not done within connect_timeout.
            Fenced: another coordinator took over in this very moment.
            StateIncompatible: the control topic is another cluster's or another version's.
        """
        deadline = time.monotonic() + self._settings.connect_timeout
        to_fence = 0

        def claim(last: LeaderRecord | None) -> LeaderRecord:
            nonlocal to_fence
            check_cluster(last, cluster_id, topic=self._topic)
            # What a predecessor may have left unfenced, when it died during its own takeover, is in its record too.
            to_fence = max(to_fence, last.slots if last is not None else 0)
            return LeaderRecord(
                epoch=last.epoch + 1 if last is not None else 1,
                host=socket.gethostname(),
                pid=os.getpid(),
                instance=self._instance,
                cluster_id=cluster_id,
                slots=max(slots, to_fence),
                topology_hash=topology_hash,
            )

        self.record = self._write(claim, deadline)
        if self._settings.exactly_once:
            self._fence(range(to_fence), deadline)
        self._check_ours(self._reader.catch_up(deadline))
        return self.record

    def listen(self, on_taken: Callable[[str], None] | None) -> None:
        """Call `on_taken` with who took over, from another thread; None: nobody listens any more."""
        self._on_taken = on_taken

    def confirm(self) -> None:
        """Read the log to its end from now: nobody else leads. Blocks.

        Raises:
            Fenced: somebody does.
            BrokerUnreachable: not known within ASK_SECONDS; ask again.
        """
        self._check_ours(self._reader.catch_up(time.monotonic() + ASK_SECONDS))

    def record_slots(self, count: int) -> None:
        """Say that slots 0 to count - 1 may be filled, before they are; 0: nobody of ours is left. Blocks.

        Raises:
            Fenced, BrokerUnreachable: as `confirm`.
        """

        def widen(last: LeaderRecord | None) -> LeaderRecord:
            self._check_ours(last)
            assert last is not None
            return msgspec.structs.replace(last, slots=max(count, last.slots) if count else 0)

        self.record = self._write(widen, time.monotonic() + ASK_SECONDS)

    def close(self, *, drained: bool) -> None:
        """Let go. drained: all workers ended in order, so the next leader has nothing to fence. Blocks shortly."""
        try:
            if drained and self.record is not None:
                self.record_slots(0)
        except (BrokerUnreachable, ConfigurationError, Fenced) as error:
            # The next leader then fences slots that nobody fills, which costs it a moment.
            logger.debug("the end could not be recorded: %s", error)
        finally:
            self._producer = None
            self._reader.close()

    def _seen(self, record: LeaderRecord) -> None:
        ours, tell = self.record, self._on_taken
        if tell is not None and ours is not None and record.instance != self._instance and record.epoch > ours.epoch:
            tell(self._taken_text(record))

    def _check_ours(self, last: LeaderRecord | None) -> None:
        if last is None:
            raise Fenced(f"topic {self._topic!r} has lost its records: was it deleted? Stop every coordinator first.")
        if last.instance != self._instance:
            raise Fenced(self._taken_text(last))

    def _taken_text(self, record: LeaderRecord) -> str:
        return (
            f"another coordinator of {self._settings.app_id} took over: pid {record.pid} on {record.host}. This one "
            "ends; run the app in one place"
        )

    def _write(self, make: Callable[[LeaderRecord | None], LeaderRecord], deadline: float) -> LeaderRecord:
        """One record in one transaction, made of what the log says after our fence.

        When the outcome is unknown everything is done again with a new producer (I3): the record is the whole state,
        so writing it twice changes nothing.
        """
        while True:
            try:
                if self._producer is None:
                    self._producer = open_fencing(self._settings, self._topic, deadline)
                record = make(self._reader.catch_up(deadline))
                self._commit(self._producer, record, deadline)
                self._reader.catch_up(deadline)
                return record
            except KafkaException as error:
                self._producer = None
                facts = error.args[0]
                if facts.name() in _FENCED_NAMES:
                    raise Fenced(
                        f"another coordinator of {self._settings.app_id} takes over at this moment. This one ends"
                    ) from error
                if time.monotonic() >= deadline:
                    raise BrokerUnreachable(f"writing topic {self._topic!r}: {facts.str()}.") from error
                logger.debug("writing topic %s again: %s", self._topic, facts.str())
                time.sleep(0.1)

    def _commit(self, producer: Producer, record: LeaderRecord, deadline: float) -> None:
        producer.begin_transaction()
        producer.produce(self._topic, key=LEADER_KEY, value=msgspec.json.encode(record), partition=0)
        producer.commit_transaction(max(0.1, deadline - time.monotonic()))

    def _fence(self, slots: range, deadline: float) -> None:
        with ThreadPoolExecutor(_FENCES_AT_ONCE, thread_name_prefix="fence") as pool:
            ids = [slot_id(self._settings.app_id, slot) for slot in slots]
            for _ in pool.map(lambda transactional_id: open_fencing(self._settings, transactional_id, deadline), ids):
                # The handle is dropped: the fence is in the broker.
                continue


def open_fencing(settings: Settings, transactional_id: str, deadline: float) -> Producer:
    """A producer that owns `transactional_id`; whoever had it is fenced when this returns.

    Raises:
        BrokerUnreachable: not before `deadline`.
        ConfigurationError: not allowed (the operator).
    """
    config = {
        **client_config(settings),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": _TRANSACTION_TIMEOUT_MS,
        "message.timeout.ms": _TRANSACTION_TIMEOUT_MS,
        "linger.ms": 0,
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 50,
    }
    for patience in itertools.chain(_TRIES_SECONDS, itertools.repeat(_TRY_SECONDS_MAX)):
        producer = Producer(config)
        try:
            producer.list_topics(timeout=max(0.1, min(_TRY_SECONDS_MAX, deadline - time.monotonic())))
            producer.init_transactions(max(0.05, min(patience, deadline - time.monotonic())))
            return producer
        except KafkaException as error:
            facts = error.args[0]
            if "AUTHORIZATION" in facts.name() or facts.name() in ("_INVALID_ARG", "INVALID_TRANSACTION_TIMEOUT"):
                raise ConfigurationError(
                    f"transactional id {transactional_id!r} cannot be used at {settings.broker}: {facts.str()}."
                ) from error
            if time.monotonic() >= deadline:
                raise BrokerUnreachable(
                    f"opening transactional id {transactional_id!r} at {settings.broker}: {facts.str()}."
                ) from error
    raise AssertionError("the last patience is repeated for ever")
