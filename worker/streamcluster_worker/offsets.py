"""Offsets: where the logs of many partitions begin and end, whatever their leaders do meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal, Protocol

from streamcluster.errors import BrokerUnreachable
from streamcluster.ids import TP
from streamcluster.settings import Settings

from .kafka import (
    AdminClient,
    Connection,
    IsolationLevel,
    KafkaError,
    KafkaException,
    OffsetSpec,
    TopicPartition,
    ask_about,
    error_of,
    is_missing,
    open_client,
)
from .kafka_errors import classify, error_for
from .kafka_settings import client_config

Isolation = Literal["read_uncommitted", "read_committed"]

_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # its stub has no types
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # its stub has no types
# A leader that has just died is not asked for longer than this before somebody is asked who leads now; twice as long
# each time, since a slow one is asked again from the start.
_PATIENCE_SECONDS = 1.0
_AGAIN_SECONDS = 0.05


class _Answer(Protocol):
    """The part of a ListOffsetsResultInfo that matters."""

    offset: int


@dataclass(slots=True)
class _Round:
    """What one request brought. silent: partitions of whose leader nothing was heard."""

    found: dict[TP, int] = field(default_factory=dict)
    errors: dict[TP, KafkaError] = field(default_factory=dict)
    silent: list[TP] = field(default_factory=list)


class Offsets:
    """Begin and end offsets of many partitions in one round trip. May be used from any thread."""

    __slots__ = ("_admin", "_any_topic")

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._any_topic = settings.dead_letters
        self._admin: AdminClient = open_client(AdminClient, client_config(settings), connection)

    def begin_offsets(self, tps: Iterable[TP], timeout: float = 30.0) -> dict[TP, int]:
        """The first offset that each log still has.

        Raises:
            BrokerUnreachable: not all leaders had answered when `timeout` seconds were over.
            ConfigurationError, ResetNeeded: as `error_for` says.
        """
        return self._ask(tps, _EARLIEST, "read_uncommitted", timeout)

    def end_offsets(
        self, tps: Iterable[TP], isolation: Isolation = "read_uncommitted", timeout: float = 30.0
    ) -> dict[TP, int]:
        """The offset after the last record. read_uncommitted: of the log; read_committed: of what is decided (I4).

        Raises: as `begin_offsets`.
        """
        return self._ask(tps, _LATEST, isolation, timeout)

    def is_answered(self, timeout: float) -> bool:
        """Whether a broker answers within `timeout` seconds."""
        try:
            # Of one topic: the answer about all of them may be large.
            self._admin.list_topics(self._any_topic, timeout=timeout)
        except KafkaException:
            return False
        return True

    def _ask(self, tps: Iterable[TP], spec: OffsetSpec, isolation: Isolation, timeout: float) -> dict[TP, int]:
        level = IsolationLevel.READ_COMMITTED if isolation == "read_committed" else IsolationLevel.READ_UNCOMMITTED
        deadline, patience = time.monotonic() + timeout, _PATIENCE_SECONDS
        left = dict.fromkeys(tps)
        what = f"Reading offsets of {len(left)} partitions"
        found: dict[TP, int] = {}
        while left:
            got = self._round(left, spec, level, max(0.001, min(patience, deadline - time.monotonic())))
            found |= got.found
            left = dict.fromkeys([*got.errors, *got.silent])
            if left:
                seconds = deadline - time.monotonic()
                gone = self._look_for(left, max(0.001, min(_PATIENCE_SECONDS, seconds)))
                _raise_if_vain(what, got, gone, late=seconds <= 0)
                # While there is no leader each answer comes at once.
                time.sleep(_AGAIN_SECONDS)
                patience *= 2
        return found

    def _round(self, tps: Iterable[TP], spec: OffsetSpec, level: IsolationLevel, seconds: float) -> _Round:
        """Ask once. The client ends each future when the time is over."""
        asked = {TopicPartition(tp.topic, tp.partition): spec for tp in tps}
        futures: Mapping[TopicPartition, Future[_Answer]] = self._admin.list_offsets(
            asked, isolation_level=level, request_timeout=seconds
        )
        got = _Round()
        for entry, future in futures.items():
            tp = TP(entry.topic, entry.partition)
            try:
                offset = future.result().offset
            except KafkaException as error:
                got.errors[tp] = error_of(error)
            else:
                # A leader that does not answer gives -1001 and no error.
                if offset >= 0:
                    got.found[tp] = offset
                else:
                    got.silent.append(tp)
        return got

    def _look_for(self, tps: Iterable[TP], seconds: float) -> set[TP]:
        """Ask who leads these partitions, and return those that are not there at all; none of them if nobody answers.

        It also makes the client forget an old leader, or that a topic was not there once. By itself it does so after
        minutes (librdkafka 2.16): it goes on with FENCED_LEADER_EPOCH, or with silence.
        """
        wanted = sorted(tps)
        gone: set[TP] = set()
        for topic in ask_about(self._admin, dict.fromkeys(tp.topic for tp in wanted), seconds):
            if topic.error is None or is_missing(topic):
                gone.update(tp for tp in wanted if tp.topic == topic.topic and tp.partition not in topic.partitions)
        return gone


def _raise_if_vain(what: str, got: _Round, gone: AbstractSet[TP], *, late: bool) -> None:
    """Raise if asking again is of no use. gone: partitions that are not there; late: the time is over."""
    for tp, error in got.errors.items():
        match classify(error):
            # A partition without a leader is called missing too.
            case "missing" if tp not in gone and late:
                raise BrokerUnreachable(f"{what}: {tp} has no leader: {error.str()}.")
            case "missing" if tp not in gone:
                continue
            case "retriable" | "unreachable" if not late:
                continue
            case _:
                raise error_for(what, error)
    if got.silent and late:
        raise BrokerUnreachable(f"{what}: no broker answers for {len(got.silent)} of them, {got.silent[0]} first.")
