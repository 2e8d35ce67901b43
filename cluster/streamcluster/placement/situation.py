"""What is known when it is decided where tasks and their standbys go, and the decision. Values only."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..ids import SlotId, TaskId


class Place(msgspec.Struct, frozen=True):
    """A slot that may get tasks. ready: a process of it takes grants now; otherwise it is still starting."""

    slot: SlotId
    rack: str | None = None
    ready: bool = True


class Situation(msgspec.Struct, frozen=True):
    """All that `assign` looks at.

    places: slots that are alive, not drained and not leaving; may be empty.
    owners: who has what now; they need not be in places.
    serving: owners that go on working until they are asked to stop, in places or not; all others are dead or gone.
    standbys: what the last assignment said, in its order.
    lags: changelog records that a standby is behind; missing: not known, so it is not warm.
    stored: task -> host -> sum of changelog offsets on that host's disk, in nobody's hands.
    heads: sum of the changelog offsets that the owner's store is at, the newest known; missing: not known.
    stateless: tasks without tables: they are warm everywhere and have no standbys.
    load: events per second; a task whose load is not known yet is not in it.
    pins: by hand: the task goes there when that slot is in places.
    out_of_time: tasks whose owners, which are not ready places any more, can't wait for a warm-up any longer.
    replicas: standbys wanted per task. lag_max: records that a warm place may be behind.
    warmups_max: how many replicas beyond `replicas` may be warming up at the same time.
    moving: tasks that their owners were asked to give back, and for whom: where that is a place, it stays so.
    """

    tasks: tuple[TaskId, ...]
    places: tuple[Place, ...]
    owners: Mapping[TaskId, SlotId]
    serving: frozenset[SlotId]
    standbys: Mapping[TaskId, tuple[SlotId, ...]]
    lags: Mapping[tuple[TaskId, SlotId], int]
    stored: Mapping[TaskId, Mapping[str, int]]
    heads: Mapping[TaskId, int]
    stateless: frozenset[TaskId]
    load: Mapping[TaskId, float]
    pins: Mapping[TaskId, SlotId]
    out_of_time: frozenset[TaskId]
    replicas: int
    lag_max: int
    warmups_max: int
    moving: Mapping[TaskId, SlotId] = msgspec.field(default_factory=dict)

    def is_served(self, task: TaskId) -> bool:
        """Whether somebody works on it."""
        return self.owners.get(task) in self.serving


class Assignment(msgspec.Struct, frozen=True):
    """Where tasks and standbys are to be now.

    owners: equal to the present owner when the task stays; a task is absent only when there is no place for it.
    standbys: the first `replicas` of a task are where its standbys are to be. Those after them are there for a while:
        the place that the task is to move to, or a warm standby whose successor is not warm yet.
    """

    owners: dict[TaskId, SlotId]
    standbys: dict[TaskId, tuple[SlotId, ...]]
