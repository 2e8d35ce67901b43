"""Arithmetic of the cases with several hosts: what was seen over time in, seconds out. Pure.

Commits are told apart by the control log: once it gives a task to another host, nobody else can commit for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streamcluster_coordinator.records.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Look:
    """Next offsets as committed, and the ends, by partition of the source. Seconds of the monotonic clock.

    began: before the first question; at: when all was answered, so what is seen was so at that time or before.
    """

    began: float
    at: float
    committed: Mapping[int, int]
    ends: Mapping[int, int]

    def lag(self, partitions: Iterable[int]) -> int:
        """Records of `partitions` that are not committed."""
        return sum(self.ends[partition] - self.committed[partition] for partition in partitions)


@dataclass(frozen=True, slots=True)
class Handover:
    """A task that changed hands. Seconds: from asked back to given, and from then to the first commit."""

    task: str
    moving: float
    committing: float

    def __str__(self) -> str:
        return f"{self.task} {self.moving:.2f}+{self.committing:.2f}"


@dataclass(slots=True)
class Timeline:
    """What was seen, oldest first. records: of the control log, with the time when each was read."""

    looks: list[Look] = field(default_factory=list)
    records: list[tuple[float, Snapshot]] = field(default_factory=list)

    def between(self, start: float, end: float) -> list[Look]:
        """Looks that began at `start` or later and were done by `end`."""
        return [look for look in self.looks if start <= look.began and look.at <= end]

    def lag_max(self, partitions: Collection[int], start: float, end: float) -> int:
        """The largest lag of `partitions` together that was seen. Raises ValueError when nobody looked."""
        return max(look.lag(partitions) for look in self.between(start, end))

    def looked(self, after: float) -> float | None:
        """When the first look was done that began at `after` or later; None: there is none yet."""
        return next((look.at for look in self.between(after, float("inf"))), None)

    def first_commit(self, partition: int, after: float) -> float | None:
        """When a commit was seen that was not there yet at the first look after `after`; None: there is none."""
        looks = self.between(after, float("inf"))
        return next((look.at for look in looks if look.committed[partition] > looks[0].committed[partition]), None)

    def caught_up(self, partitions: Collection[int], after: float, lag: int) -> float | None:
        """When their lag together was first no more than `lag`, from `after` on; None: it was not yet."""
        looks = self.between(after, float("inf"))
        return next((look.at for look in looks if look.lag(partitions) <= lag), None)

    def longest_gap(self, partition: int, start: float, end: float) -> float:
        """The longest time without a commit, of those that end after `start` and begin before `end`."""
        longest, last, before = 0.0, None, None
        for look in self.looks:
            offset = look.committed[partition]
            if before is None or offset != before:
                if last is not None and look.at > start and last < end:
                    longest = max(longest, look.at - last)
                last, before = look.at, offset
        if last is not None and last < end:
            # The last one has not ended.
            longest = max(longest, end - last)
        return longest

    def when(self, after: float, condition: Callable[[Snapshot], bool]) -> float | None:
        """When the first record of the control log after `after` was read that fits; None: there is none yet."""
        return next((at for at, snapshot in self.records if at > after and condition(snapshot)), None)

    def reached(self, epoch: int) -> float | None:
        """When the log had come to an epoch; None: it has not yet."""
        return self.when(0, lambda snapshot: snapshot.epoch >= epoch)

    def asked_back(self, task: str, after: float) -> float | None:
        """When the log first had the task asked back from its owner."""
        return self.when(after, lambda snapshot: task in snapshot.revoking)

    def given(self, task: str, after: float, loser: str) -> float | None:
        """When the log first gave the task to another host than `loser`."""
        return self.when(after, lambda snapshot: _host(snapshot.owners.get(task)) not in (None, loser))

    def handovers(self, start: float, end: float) -> list[Handover]:
        """Tasks that went from one slot to another between `start` and `end`, in that order."""
        found: list[Handover] = []
        owners: dict[str, str] = {}
        asked: dict[str, float] = {}
        for at, snapshot in self.records:
            for task, owner in snapshot.owners.items():
                if start < at <= end and owners.get(task, owner) != owner:
                    committed = self.first_commit(partition_of(task), at)
                    found.append(Handover(task, at - asked.get(task, at), (committed or end) - at))
                if task not in snapshot.revoking:
                    asked.pop(task, None)
            owners |= snapshot.owners
            asked |= {task: asked.get(task, at) for task in snapshot.revoking}
        return found

    def led(self, after: float, loser: str) -> float | None:
        """When the log first had another leader than host `loser`."""
        return self.when(after, lambda snapshot: snapshot.leader is not None and snapshot.leader.host != loser)


def _host(slot: str | None) -> str | None:
    return slot.partition("/")[0] if slot is not None else None


def partition_of(task: str) -> int:
    """The partition of a task: its name ends with it."""
    return int(task.rpartition("_")[2])


def all_known(times: Sequence[float | None]) -> float | None:
    """The last of some times; None while one is not known."""
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None
