"""Offsets: where the logs of many partitions begin and end, and what a group has committed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import msgspec
from confluent_kafka import OFFSET_INVALID

from ..errors import BrokerUnreachable
from ..ids import TP
from ..settings import Settings
from .config import Config
from .hearing import Replaceable, is_answered
from .opening import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Connection,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
    ask_about,
    error_of,
    is_missing,
    open_client,
    open_offsets_consumer,
    retry,
)
from .verdicts import classify, error_for

# A leader that has just died is not asked for longer than this before somebody is asked who leads now; twice as long
# each time, since a slow one is asked again from the start.
_PATIENCE_SECONDS = 1.0
_AGAIN_SECONDS = 0.05
# A broker hears of a new topic or partition a moment later than the one that made it, and where it is busy seconds
# later. One that is behind for longer than this is away by Kafka's own measure (broker.session.timeout.ms is 9 s), so
# what is not there after this was deleted, or never made.
_GONE_SECONDS = 10.0
# Partitions in one question for positions: an answer has some 100 bytes for each.
_COMMITTED_MAX = 5_000


class OffsetsAnswer(msgspec.Struct):
    """What one question brought, partition by partition; nothing at all when no answer came in time."""

    found: dict[TP, int] = msgspec.field(default_factory=dict)
    errors: dict[TP, KafkaError] = msgspec.field(default_factory=dict)


class Offsets:
    """Begin and end offsets of many partitions in one round trip. May be used from any thread."""

    __slots__ = ("_config", "_connection", "_idle", "_lock", "_patience", "_settings")

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        config: Config | None = None,
        *,
        patience: float | None = None,
    ) -> None:
        """Open the first consumer.

        Args:
            settings: the app's settings.
            connection: gets the news of the brokers.
            config: of the consumers; None: a worker's.
            patience: seconds for the first answer of a leader, before it is asked who leads; None: as usual.
        """
        self._settings = settings
        self._connection = connection
        self._config = config
        self._patience = patience
        # A consumer lets one thread in at a time, and whom its leaders keep waiting must not keep others waiting: there
        # are as many as ask at once, most of the time one.
        self._idle = [Replaceable(self._open)]
        self._idle[0].get()
        self._lock = threading.Lock()

    def begin_offsets(self, tps: Iterable[TP], timeout: float = 30.0) -> dict[TP, int]:
        """The first offset that each log still has.

        Raises:
            BrokerUnreachable: not all leaders had answered when `timeout` seconds were over.
            ConfigurationError, ResetNeeded: as `error_for` says.
        """
        return self._ask(tps, OFFSET_BEGINNING, timeout)

    def end_offsets(self, tps: Iterable[TP], timeout: float = 30.0) -> dict[TP, int]:
        """The offset after the last record of each log, whether it is decided (I4) or not.

        Raises: as `begin_offsets`.
        """
        return self._ask(tps, OFFSET_END, timeout)

    def is_answered(self, timeout: float) -> bool:
        """Whether a broker answers within `timeout` seconds."""
        with self._asker() as asker:
            answered = is_answered(asker.get(), self._settings.dead_letters, timeout)
            if not answered:
                asker.drop()
        return answered

    def _open(self) -> Consumer:
        if self._config is None:
            return open_offsets_consumer(self._settings, self._connection)
        return open_client(Consumer, self._config, self._connection)

    @contextlib.contextmanager
    def _asker(self) -> Iterator[Replaceable[Consumer]]:
        """One that nobody else uses meanwhile."""
        with self._lock:
            asker = self._idle.pop() if self._idle else None
        if asker is None:
            asker = Replaceable(self._open)
        try:
            yield asker
        finally:
            with self._lock:
                self._idle.append(asker)

    def _ask(self, tps: Iterable[TP], end: int, timeout: float) -> dict[TP, int]:
        """end: which one, as an offset that the client has a name for."""
        deadline, patience = time.monotonic() + timeout, self._patience or _PATIENCE_SECONDS
        left = list(dict.fromkeys(tps))
        what = f"Reading offsets of {len(left)} partitions"
        found: dict[TP, int] = {}
        # What was last said of those that are left: the last of many rounds may be too short for an answer.
        errors: dict[TP, KafkaError] = {}
        # Since when each look says that they are not there.
        gone_since: dict[TP, float] = {}
        with self._asker() as asker:
            while left:
                got = ask_offsets(asker.get(), left, end, max(0.001, min(patience, deadline - time.monotonic())))
                found |= got.found
                left = [tp for tp in left if tp not in found]
                errors |= got.errors
                if left:
                    seconds = deadline - time.monotonic()
                    looks = _look_for(asker.get(), left, max(0.001, min(_PATIENCE_SECONDS, seconds)))
                    if not looks:
                        asker.drop()
                    for tp, is_gone in looks.items():
                        if is_gone:
                            gone_since.setdefault(tp, time.monotonic())
                        else:
                            gone_since.pop(tp, None)
                    told, late = {tp: errors[tp] for tp in left if tp in errors}, seconds <= 0
                    gone_by = time.monotonic() - (0 if late else _GONE_SECONDS)
                    _raise_if_vain(what, told, {tp for tp, at in gone_since.items() if at <= gone_by}, late=late)
                    # While there is no leader, or no such partition, each answer comes at once.
                    time.sleep(_AGAIN_SECONDS)
                    patience *= 2
        return found


def ask_offsets(consumer: Consumer, tps: Sequence[TP], end: int, seconds: float) -> OffsetsAnswer:
    """Ask once where logs begin or end. When a leader does not answer, none has.

    Args:
        consumer: its isolation level decides whether an open transaction is before the end.
        tps: the logs.
        end: which one, as an offset that the client has a name for (OFFSET_BEGINNING, OFFSET_END).
        seconds: for the answer.
    """
    # Not AdminClient.list_offsets: when it has to ask who leads, it may free memory twice (librdkafka 2.16).
    got = OffsetsAnswer()
    try:
        # What it calls a time is a begin or an end when it is one of their names.
        answer = consumer.offsets_for_times([TopicPartition(tp.topic, tp.partition, end) for tp in tps], seconds)
    except KafkaException as error:
        # That the time is over says nothing of these partitions.
        if classify(error_of(error)) not in ("retriable", "unreachable"):
            got.errors = dict.fromkeys(tps, error_of(error))
        return got
    for entry in answer:
        tp = TP(entry.topic, entry.partition)
        if entry.error is not None:
            got.errors[tp] = entry.error
        elif entry.offset >= 0:
            # What was not answered keeps the name that was asked with.
            got.found[tp] = entry.offset
    return got


def _look_for(consumer: Consumer, tps: Iterable[TP], seconds: float) -> dict[TP, bool]:
    """Ask who leads these partitions, and return of each that an answer came for whether it is not there at all.

    It also makes the client forget an old leader, or that a topic was not there once. By itself it does so after
    minutes (librdkafka 2.16): it goes on with FENCED_LEADER_EPOCH, or with silence.

    Raises:
        ConfigurationError: we may not know it (the operator).
    """
    wanted = sorted(tps)
    looks: dict[TP, bool] = {}
    for topic in ask_about(consumer, dict.fromkeys(tp.topic for tp in wanted), seconds):
        if topic.error is not None and classify(topic.error) == "config":
            # Of such a topic the client knows no partitions, and says that they are missing.
            raise error_for(f"Reading where topic {topic.topic} begins and ends", topic.error)
        is_known = topic.error is None or is_missing(topic)
        looks.update(
            (tp, is_known and tp.partition not in topic.partitions) for tp in wanted if tp.topic == topic.topic
        )
    return looks


def _raise_if_vain(what: str, errors: Mapping[TP, KafkaError], gone: AbstractSet[TP], *, late: bool) -> None:
    """Raise if asking again is of no use. gone: partitions that are not there for good; late: the time is over."""
    for tp, error in errors.items():
        match classify(error):
            # A partition without a leader is called missing too, and one of which that broker has not heard yet.
            case "missing" if tp not in gone and late:
                raise BrokerUnreachable(f"{what}: {tp} has no leader: {error.str()}.")
            case "missing" if tp not in gone:
                continue
            case "retriable" | "unreachable" if not late:
                continue
            case _:
                raise error_for(f"Reading where {tp} begins and ends", error)
    if late:
        raise BrokerUnreachable(f"{what}: no broker answers for all of them.")


class CommittedOffset(NamedTuple):
    """A position in group <app id>. offset: next to read; None: nothing was ever committed."""

    offset: int | None
    metadata: str


class CommittedAnswer(msgspec.Struct, frozen=True):
    """What a group's coordinator said of partitions, one by one."""

    found: dict[TP, CommittedOffset]
    errors: dict[TP, KafkaError]


def ask_committed(consumer: Consumer, tps: Sequence[TP], timeout: float) -> CommittedAnswer:
    """Ask once for the committed positions of a group. consumer: has its id, and never joins it.

    Its isolation level decides: with read_committed, librdkafka asks for stable offsets (KIP-447) and asks again while
    a transaction has offsets pending, so what comes back is what was committed last.

    Raises:
        KafkaException: no answer within `timeout` seconds, or the question was refused.
    """
    # Not AdminClient.list_consumer_group_offsets, which may read freed memory (librdkafka 2.16).
    deadline = time.monotonic() + timeout
    answer = CommittedAnswer({}, {})
    for start in range(0, len(tps), _COMMITTED_MAX):
        asked = [TopicPartition(tp.topic, tp.partition) for tp in tps[start : start + _COMMITTED_MAX]]
        for entry in consumer.committed(asked, timeout=max(0.001, deadline - time.monotonic())):
            tp = TP(entry.topic, entry.partition)
            if entry.error is not None:
                answer.errors[tp] = entry.error
            else:
                offset = None if entry.offset == OFFSET_INVALID else entry.offset
                answer.found[tp] = CommittedOffset(offset, entry.metadata or "")
    return answer


def read_committed_positions(
    consumer: Consumer, tps: Iterable[TP], timeout: float, group: str = "the app"
) -> dict[TP, CommittedOffset]:
    """The committed positions of `tps`, all of them, as `ask_committed`; ask after the fence (H22).

    group: the consumer's, for people.

    Raises:
        BrokerUnreachable, ConfigurationError, ResetNeeded: as `error_for` says.
    """
    asked = list(tps)

    def ask(left: float) -> dict[TP, CommittedOffset]:
        answer = ask_committed(consumer, asked, left)
        for error in answer.errors.values():
            raise KafkaException(error)
        return answer.found

    what = f"Reading what group {group} has committed in {len(asked)} partitions"
    return retry(what, ask, time.monotonic() + timeout)
