"""How far the state of a task on each host is behind its owner's, and where it is near enough to take over.

State is per host, not per slot: all slots of a host open the same directories. Of most tasks few hosts have anything,
so what is known is kept for these, and once for all others.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..ids import SlotId, TaskId
from .situation import Situation

# Records, for a host of which nothing is known. More than any lag, and still less than twice this without a head.
BEHIND_MAX = 1 << 40


class Behind(msgspec.Struct, frozen=True):
    """How many records hosts have to read for one task. near: host -> records; far: for all others, never less."""

    near: Mapping[str, int]
    far: int

    def of(self, host: str) -> int:
        """Records that a process of a host has to read before it is where the owner is, at most BEHIND_MAX."""
        return self.near.get(host, self.far)


class Lags(msgspec.Struct, frozen=True):
    """A view of one situation."""

    situation: Situation
    # task -> host -> the least that a standby on it says to be behind.
    reported: dict[TaskId, dict[str, int]]
    # What was asked for already: a situation does not change.
    known: dict[TaskId, Behind] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, situation: Situation) -> Lags:
        reported: dict[TaskId, dict[str, int]] = {}
        for (task, slot), lag in situation.lags.items():
            hosts = reported.setdefault(task, {})
            hosts[slot.host] = min(lag, hosts.get(slot.host, lag))
        return cls(situation, reported)

    def task(self, task: TaskId) -> Behind:
        """All hosts, for one task."""
        if (found := self.known.get(task)) is None:
            found = self.known[task] = self._behind(task)
        return found

    def _behind(self, task: TaskId) -> Behind:
        situation = self.situation
        if task in situation.stateless:
            return Behind({}, 0)
        head, stored = situation.heads.get(task), situation.stored.get(task, {})
        if head is not None:
            far = min(head, BEHIND_MAX)
            near = {host: min(max(0, head - at), far) for host, at in stored.items()}
        else:
            # How much is missing is not known, but the fullest disk misses the least.
            far, most = BEHIND_MAX, max(stored.values(), default=0)
            near = {host: min(BEHIND_MAX // 2 + most - at, far) for host, at in stored.items()}
        for host, lag in self.reported.get(task, {}).items():
            near[host] = min(near.get(host, far), lag)
        if (owner := situation.owners.get(task)) is not None:
            near[owner.host] = 0
        return Behind(near, far)

    def behind(self, task: TaskId, host: str) -> int:
        """Records that a process of a host has to read for a task."""
        return self.task(task).of(host)

    def is_warm(self, task: TaskId, slot: SlotId) -> bool:
        """Whether the task could go on there without a restore to speak of."""
        return self.task(task).of(slot.host) <= self.situation.lag_max
