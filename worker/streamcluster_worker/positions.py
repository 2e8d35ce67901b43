"""Where a task starts to read: its committed positions, checked against what its topics still have."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamcluster.engine.partition import ahead_of
from streamcluster.engine.values import Committed
from streamcluster.errors import BrokerUnreachable, StateIncompatible
from streamcluster.ids import TP, TaskId
from streamcluster.settings import Settings
from streamcluster.stores import TaskStore

from . import kafka
from .clients import Clients
from .kafka import find_group, find_leaders, read_committed_positions

logger = logging.getLogger("streamcluster")
POSITIONS_SECONDS_MAX = 30.0


def has_rows(store: TaskStore, tables: Iterable[str]) -> bool:
    """Whether results of earlier events are there.

    A changelog offset alone says nothing: a task that never had an event restores nothing too, and remembers how far.
    """
    return any(store.shard(table).scan(rows_max=1) for table in tables)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a task starts. has_committed: at least one of the positions is a committed one.

    lost: why it cannot start, since nobody knows where: a position is behind the end of its log.
    """

    positions: dict[TP, Committed]
    has_committed: bool
    lost: str | None = None


def refuse_lost_offsets(settings: Settings, start: Start, store: TaskStore, tables: Iterable[str]) -> None:
    """Raise StateIncompatible when there are results of events whose offsets are not there any more (H9)."""
    if start.has_committed or not start.positions or not has_rows(store, tables):
        return
    topics = ", ".join(str(tp) for tp in sorted(start.positions)[:3])
    raise StateIncompatible(
        f"The tables of app {settings.app_id} are not empty, but group {settings.app_id} has no committed offset for "
        f"{topics}: they expired or were deleted, and reading from the start would count everything twice. Run "
        "`streamcluster reset --topics` to start afresh, or commit the offsets that belong to the state."
    )


def start_positions(
    clients: Clients, settings: Settings, tasks: Mapping[TaskId, list[TP]], confirmed: Mapping[TP, int]
) -> dict[TaskId, Start]:
    """The positions to start from, of all tasks in one round trip. Blocks; to be called after the fence (H22).

    A partition without a committed position starts where consumer_auto_offset_reset says. One whose committed position
    has been deleted by retention starts at the oldest record that is left, and that is said.

    confirmed: the last positions that this process has committed, which no later owner can have gone behind.
    """
    tps = [tp for partitions in tasks.values() for tp in partitions]
    find_leaders(clients.consumer, sorted({tp.topic for tp in tps}))
    committed = _committed(clients, settings, tps)
    begins = clients.offsets.begin_offsets(tps, POSITIONS_SECONDS_MAX)
    ends = clients.offsets.end_offsets(tps, POSITIONS_SECONDS_MAX)
    where = ends if settings.consumer_auto_offset_reset == "latest" else begins
    return {
        task: Start(
            {tp: _position(tp, committed[tp], begins[tp], ends[tp], where[tp]) for tp in partitions},
            has_committed=any(committed[tp].offset is not None for tp in partitions),
            lost=next(
                filter(None, (_lost(settings, tp, committed[tp], ends[tp], confirmed) for tp in partitions)), None
            ),
        )
        for task, partitions in tasks.items()
    }


def _committed(clients: Clients, settings: Settings, tps: list[TP]) -> dict[TP, kafka.Committed]:
    try:
        return read_committed_positions(clients.group, tps, POSITIONS_SECONDS_MAX)
    except BrokerUnreachable as error:
        find_group(settings, POSITIONS_SECONDS_MAX)
        raise BrokerUnreachable(
            f"The coordinator of group {settings.app_id} answers, and has held back the committed offsets of "
            f"{len(tps)} partitions for {POSITIONS_SECONDS_MAX:.0f} s: a transaction that sets them has not ended. One "
            f"of this app ends within {settings.transaction_timeout:.0f} s (transaction_timeout). If this goes on, "
            "the broker has missed its end (Kafka 4 may, when it is killed and up again at once): restart the broker "
            "that coordinates the group."
        ) from error


def _lost(settings: Settings, tp: TP, committed: kafka.Committed, end: int, confirmed: Mapping[TP, int]) -> str | None:
    known = confirmed.get(tp)
    # A log that ends before what was confirmed is another one than it was.
    if known is not None and known <= end and (committed.offset is None or committed.offset < known):
        return (
            f"{tp}: group {settings.app_id} has committed {known}, and its coordinator says now "
            f"{committed.offset if committed.offset is not None else 'nothing'}. Kafka 4 may forget commits when a "
            "killed broker is up again within its session time-out; it reads them again when the broker that "
            "coordinates the group is restarted. If you have set the position back: stop the app and start it"
        )
    if committed.offset is None or committed.offset <= end:
        return None
    return (
        f"{tp}: group {settings.app_id} has committed {committed.offset}, and the log ends at {end}: was the topic "
        "made anew, or the offset committed by something else? Commit the one that belongs to the state"
    )


def _position(tp: TP, committed: kafka.Committed, begin: int, end: int, where: int) -> Committed:
    """Where one partition starts. where: if it has no committed position."""
    if committed.offset is None:
        return Committed(where)
    if committed.offset < begin:
        logger.error(
            "%s: records %d to %d were deleted by the topic's retention before they were processed; going on at %d",
            tp,
            committed.offset,
            begin - 1,
            begin,
        )
        return Committed(begin)
    found = Committed(committed.offset, committed.metadata)
    if any(committed.offset + count > end for count in ahead_of(found).values()):
        # Not ours, whatever it looks like: readers would wait for records up to there.
        return Committed(committed.offset)
    return found
