"""Offsets: where the logs of many partitions begin and end, whatever their leaders do meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from ..errors import BrokerUnreachable
from ..ids import TP
from ..settings import Settings
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
    is_answered,
    is_missing,
    open_offsets_consumer,
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


@dataclass(slots=True)
class _Round:
    """What one request brought."""

    found: dict[TP, int] = field(default_factory=dict)
    errors: dict[TP, KafkaError] = field(default_factory=dict)


class _Asker:
    """A consumer that is asked, and is replaced when it gets no answer: it may be one that never will."""

    __slots__ = ("_connection", "_settings", "consumer")

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self.consumer = open_offsets_consumer(settings, connection)

    def renew(self) -> None:
        """Ask another one from now on (see `security.QUIET_SECONDS`)."""
        old, self.consumer = self.consumer, open_offsets_consumer(self._settings, self._connection)
        old.close()


class Offsets:
    """Begin and end offsets of many partitions in one round trip. May be used from any thread."""

    # Not AdminClient.list_offsets: when it has to ask who leads, it may free memory twice (librdkafka 2.16).

    __slots__ = ("_connection", "_idle", "_lock", "_settings")

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        # A consumer lets one thread in at a time, and whom its leaders keep waiting must not keep others waiting: there
        # are as many as ask at once, most of the time one.
        self._idle = [_Asker(settings, connection)]
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
            answered = is_answered(asker.consumer, self._settings.dead_letters, timeout)
            if not answered:
                asker.renew()
        return answered

    @contextlib.contextmanager
    def _asker(self) -> Iterator[_Asker]:
        """One that nobody else uses meanwhile."""
        with self._lock:
            asker = self._idle.pop() if self._idle else None
        if asker is None:
            asker = _Asker(self._settings, self._connection)
        try:
            yield asker
        finally:
            with self._lock:
                self._idle.append(asker)

    def _ask(self, tps: Iterable[TP], end: int, timeout: float) -> dict[TP, int]:
        """end: which one, as an offset that the client has a name for."""
        deadline, patience = time.monotonic() + timeout, _PATIENCE_SECONDS
        left = list(dict.fromkeys(tps))
        what = f"Reading offsets of {len(left)} partitions"
        found: dict[TP, int] = {}
        # What was last said of those that are left: the last of many rounds may be too short for an answer.
        errors: dict[TP, KafkaError] = {}
        # Since when each look says that they are not there.
        gone_since: dict[TP, float] = {}
        with self._asker() as asker:
            while left:
                got = _round(asker.consumer, left, end, max(0.001, min(patience, deadline - time.monotonic())))
                found |= got.found
                left = [tp for tp in left if tp not in found]
                errors |= got.errors
                if left:
                    seconds = deadline - time.monotonic()
                    looks = _look_for(asker.consumer, left, max(0.001, min(_PATIENCE_SECONDS, seconds)))
                    if not looks:
                        asker.renew()
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


def _round(consumer: Consumer, tps: list[TP], end: int, seconds: float) -> _Round:
    """Ask once. When a leader does not answer, none has."""
    got = _Round()
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
    """
    wanted = sorted(tps)
    looks: dict[TP, bool] = {}
    for topic in ask_about(consumer, dict.fromkeys(tp.topic for tp in wanted), seconds):
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
                raise error_for(what, error)
    if late:
        raise BrokerUnreachable(f"{what}: no broker answers for all of them.")
