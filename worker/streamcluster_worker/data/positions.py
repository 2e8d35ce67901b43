"""Where tasks start to read: what the brokers have of their partitions, for `begin.py` to decide."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial

import msgspec

from streamcluster.ahead import position_of
from streamcluster.engine.values import Committed
from streamcluster.errors import BrokerUnreachable, StateIncompatible
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.offsets import CommittedOffset, read_committed_positions
from streamcluster.kafka.opening import find_group, find_leaders
from streamcluster.settings import Settings
from streamcluster.stores import TaskStore

from .begin import Begin, Log, Past, begin_of
from .clients import Clients
from .late_joins import JoinedChanges, with_late_joins

logger = logging.getLogger("streamcluster")
POSITIONS_SECONDS_MAX = 30.0


def has_rows(store: TaskStore, tables: Iterable[str]) -> bool:
    """Whether results of earlier events are there.

    A changelog offset alone says nothing: a task that never had an event restores nothing too, and remembers how far.
    """
    return any(store.shard(table).scan(rows_max=1) for table in tables)


class Start(msgspec.Struct, frozen=True):
    """Where a task starts. has_committed: at least one of the positions is a committed one.

    new: those that were decided now. expired: partitions that had a position once. said: what became of records, with
    the level of each line.
    lost: why it cannot start, since nobody knows where: a position is behind the end of its log.
    """

    positions: dict[TP, Committed]
    has_committed: bool
    new: dict[TP, Begin] = msgspec.field(default_factory=dict)
    expired: tuple[TP, ...] = ()
    said: tuple[tuple[int, str], ...] = ()
    lost: str | None = None


def refuse_lost_offsets(settings: Settings, start: Start, store: TaskStore, tables: Iterable[str]) -> None:
    """Raise StateIncompatible when there are results of events whose offsets are not there any more (H9)."""
    lost = list(start.expired) if start.has_committed else sorted(start.positions)
    if not lost or not has_rows(store, tables):
        return
    topics = ", ".join(map(str, lost[:3])) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
    raise StateIncompatible(
        f"The tables of app {settings.app_id} are not empty, but group {settings.app_id} has no committed offset for "
        f"{topics}: they expired or were deleted, or the topic was made anew, and reading from the start would count "
        "everything twice. Run `streamcluster reset --offsets --topics` to start from nothing, or commit the offsets "
        "that belong to the state (`kafka-consumer-groups --reset-offsets --to-offset`)."
    )


def start_positions(
    clients: Clients,
    settings: Settings,
    tasks: Mapping[TaskId, list[TP]],
    past: Past,
    decided: Mapping[TP, Begin],
    confirmed: Mapping[TP, int],
    changes: Mapping[str, JoinedChanges] | None = None,
) -> dict[TaskId, Start]:
    """The positions to start from, of all tasks in one round trip. Blocks; to be called after the fence (H22).

    decided: where this worker wanted to begin before, when nobody knows whether that was committed.
    confirmed: the last positions that this process has committed, which no later owner can have gone behind.
    changes: the changelogs that joins of tables read.
    """
    tps = [tp for partitions in tasks.values() for tp in partitions]
    find_leaders(clients.consumer, sorted({tp.topic for tp in tps}))
    committed = _committed(clients, settings, tps)
    begins = clients.offsets.begin_offsets(tps, POSITIONS_SECONDS_MAX)
    ends = clients.offsets.end_offsets(tps, POSITIONS_SECONDS_MAX)
    reset = settings.consumer_auto_offset_reset
    found: dict[TP, Begin] = {}
    known: set[TP] = set()
    for tp in tps:
        at, log = committed[tp], Log(begins[tp], ends[tp])
        position = Committed(at.offset, at.metadata) if at.offset is not None else None
        if position is not None:
            known.add(tp)
        if position is None and tp in decided and log.begin <= decided[tp].position.next_offset <= log.end:
            found[tp] = decided[tp]
        else:
            found[tp] = begin_of(settings.app_id, tp, position, log, past, reset, confirmed.get(tp))
    if changes:
        ends_of = partial(clients.offsets.end_offsets, timeout=POSITIONS_SECONDS_MAX)
        found |= with_late_joins(found, begins, changes, ends_of)
    return {
        task: Start(
            {tp: found[tp].position for tp in partitions},
            has_committed=not known.isdisjoint(partitions),
            new={tp: found[tp] for tp in partitions if found[tp].is_new},
            expired=tuple(tp for tp in partitions if found[tp].expired),
            said=tuple((found[tp].level, text) for tp in partitions if (text := found[tp].said) is not None),
            lost=next((text for tp in partitions if (text := found[tp].lost) is not None), None),
        )
        for task, partitions in tasks.items()
    }


def topic_positions(clients: Clients, settings: Settings, feeders: Mapping[TP, str], seconds: float) -> dict[TP, int]:
    """How far the agents have committed that read these topics, which tables are made of. Blocks.

    feeders: partition -> the agent. One in which nothing was committed yet is left out.

    Raises:
        BrokerUnreachable, ConfigurationError, ResetNeeded: as `read_committed_positions`.
    """
    with clients.group_turn:
        found = read_committed_positions(clients.group, feeders, seconds, settings.app_id)
    return {tp: position_of(feeders[tp], at.offset, at.metadata) for tp, at in found.items() if at.offset is not None}


def _committed(clients: Clients, settings: Settings, tps: list[TP]) -> dict[TP, CommittedOffset]:
    try:
        with clients.group_turn:
            return read_committed_positions(clients.group, tps, POSITIONS_SECONDS_MAX, settings.app_id)
    except BrokerUnreachable as error:
        find_group(settings, POSITIONS_SECONDS_MAX)
        raise BrokerUnreachable(
            f"The coordinator of group {settings.app_id} answers, and has held back the committed offsets of "
            f"{len(tps)} partitions for {POSITIONS_SECONDS_MAX:.0f} s: a transaction that sets them has not ended. One "
            f"of this app ends within {settings.transaction_timeout:.0f} s (transaction_timeout). If this goes on, "
            "the broker has lost its end, as one of Kafka 4.2 to 4.4 may that is the only one and was killed. Starting "
            "it again does not help; what does: docs/hosts.md, A transaction's end."
        ) from error
