"""The slow twin of streamcluster.placement.lags: each task and host by itself.

State is per host, not per slot: all slots of a host open the same directories.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from streamcluster.ids import SlotId, TaskId
from streamcluster.placement.situation import Situation

# Records, for a host of which nothing is known. More than any lag, and still less than twice this without a head.
BEHIND_MAX = 1 << 40


@dataclass(frozen=True, slots=True)
class Lags:
    """A view of one situation."""

    situation: Situation
    # task -> host -> the least that a standby on it says to be behind.
    reported: dict[TaskId, dict[str, int]]
    # What was asked for already: a situation does not change.
    known: dict[tuple[TaskId, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, situation: Situation) -> Lags:
        reported: dict[TaskId, dict[str, int]] = {}
        for (task, slot), lag in situation.lags.items():
            hosts = reported.setdefault(task, {})
            hosts[slot.host] = min(lag, hosts.get(slot.host, lag))
        return cls(situation, reported)

    def behind(self, task: TaskId, host: str) -> int:
        """Records that a process of a host has to read before it is where the owner is, at most BEHIND_MAX."""
        if (found := self.known.get((task, host))) is None:
            found = self.known[task, host] = self._behind(task, host)
        return found

    def _behind(self, task: TaskId, host: str) -> int:
        owner = self.situation.owners.get(task)
        if task in self.situation.stateless or (owner is not None and owner.host == host):
            return 0
        head, stored = self.situation.heads.get(task), self.situation.stored.get(task, {})
        if head is not None:
            rest = max(0, head - stored.get(host, 0))
        else:
            # How much is missing is not known, but the fullest disk misses the least.
            rest = BEHIND_MAX // 2 + max(stored.values()) - stored.get(host, 0) if host in stored else BEHIND_MAX
        return min(rest, self.reported.get(task, {}).get(host, BEHIND_MAX), BEHIND_MAX)

    def is_warm(self, task: TaskId, slot: SlotId) -> bool:
        """Whether the task could go on there without a restore to speak of."""
        return self.behind(task, slot.host) <= self.situation.lag_max
