"""Where a task starts to read: its committed positions, checked against what its topics still have."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from streamcluster.engine.values import Committed
from streamcluster.errors import StateIncompatible
from streamcluster.ids import TP
from streamcluster.settings import Settings
from streamcluster.stores import TaskStore

from .clients import Clients
from .kafka import read_committed_positions

logger = logging.getLogger("streamcluster")
POSITIONS_SECONDS_MAX = 30.0


def has_rows(store: TaskStore, tables: Iterable[str]) -> bool:
    """Whether results of earlier events are there.

    A changelog offset alone says nothing: a task that never had an event restores nothing too, and remembers how far.
    """
    return any(store.shard(table).scan(rows_max=1) for table in tables)


def start_positions(clients: Clients, settings: Settings, tps: list[TP], *, has_state: bool) -> dict[TP, Committed]:
    """The position to start from, for each partition. Blocks; to be called after the fence (H22).

    A partition without a committed position starts where consumer_auto_offset_reset says. One whose committed position
    has been deleted by retention starts at the oldest record that is left, and that is said.

    Raises:
        StateIncompatible: the store has rows, and no position at all is committed (H9).
    """
    committed = read_committed_positions(clients.consumer, tps, POSITIONS_SECONDS_MAX)
    begins = clients.offsets.begin_offsets(tps, POSITIONS_SECONDS_MAX)
    if has_state and tps and all(committed[tp].offset is None for tp in tps):
        raise StateIncompatible(
            f"The local state of app {settings.app_id} is not empty, but group {settings.app_id} has no committed "
            f"offset for {', '.join(map(str, tps[:3]))}: they expired or were deleted, and reading from the start "
            "would count everything twice. Run `streamcluster reset` to start afresh, or commit the offsets that "
            "belong to the state."
        )
    ends: dict[TP, int] = {}
    if settings.consumer_auto_offset_reset == "latest":
        missing = [tp for tp in tps if committed[tp].offset is None]
        ends = clients.offsets.end_offsets(missing, "read_uncommitted", POSITIONS_SECONDS_MAX)
    positions: dict[TP, Committed] = {}
    for tp in tps:
        offset = committed[tp].offset
        if offset is None:
            positions[tp] = Committed(ends.get(tp, begins[tp]))
        elif offset < begins[tp]:
            logger.error(
                "%s: records %d to %d were deleted by the topic's retention before they were processed; going on at %d",
                tp,
                offset,
                begins[tp] - 1,
                begins[tp],
            )
            positions[tp] = Committed(begins[tp])
        else:
            positions[tp] = Committed(offset, committed[tp].metadata)
    return positions
