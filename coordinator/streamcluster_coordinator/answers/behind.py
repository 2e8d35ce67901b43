"""How far behind each task is, in Kafka's own words: the log's end less what the group has committed. Pure.

So it is true of tasks that nobody has, that are held up or paused, and whose worker says nothing: what a worker knows
is where its consumer has looked last.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamcluster.ids import TP

from ..records.status import Status, TaskStatus


class Standing(msgspec.Struct, frozen=True):
    """Of one partition. begin, end: of its log; committed: the group's next offset, None before the first commit."""

    begin: int
    end: int
    committed: int | None


def with_standings(
    status: Status, sources: Mapping[str, tuple[TP, ...]], standings: Mapping[TP, Standing], *, from_begin: bool
) -> Status:
    """The status with Kafka's word on every partition that it was had for.

    Args:
        status: with what workers say, which stays for all other partitions.
        sources: by task, the partitions that it reads.
        standings: of any of them.
        from_begin: whether what was never committed is read from the first record on.
    """
    if not standings:
        return status
    tasks = tuple(_standing_task(task, sources.get(task.task, ()), standings, from_begin) for task in status.tasks)
    return msgspec.structs.replace(status, tasks=tasks)


def _standing_task(
    task: TaskStatus, tps: tuple[TP, ...], standings: Mapping[TP, Standing], from_begin: bool
) -> TaskStatus:
    positions, lag = dict(task.figures.positions), dict(task.figures.lag)
    for tp in tps:
        if (standing := standings.get(tp)) is None:
            continue
        next_offset = standing.committed
        if next_offset is None:
            # Only who has it knows where it began.
            next_offset = positions.get(tp.topic, standing.begin if from_begin else standing.end)
        positions[tp.topic] = next_offset
        # What retention has deleted nobody has to read any more, and Kafka's tools count it: so do we.
        lag[tp.topic] = max(0, standing.end - next_offset)
    figures = msgspec.structs.replace(task.figures, positions=positions, lag=lag)
    return msgspec.structs.replace(task, figures=figures)
