"""Where the standbys of each task are to be, and which places warm up for a move. Owners are decided already.

The first `replicas` of a task's standbys are where they are to be: those stay what they are while they can. What
comes after them is there for a while: the task's next place, or a warm standby whose successor in another place is not
warm yet. So the order tells the next call what was meant, and it means the same again.
It must not know why a task is to move.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from ..ids import SlotId, TaskId
from .lags import Lags
from .situation import Place, Situation


def choose_standbys(
    situation: Situation, lags: Lags, owners: Mapping[TaskId, SlotId], waiting: Mapping[TaskId, SlotId]
) -> dict[TaskId, tuple[SlotId, ...]]:
    """Choose the standbys of all tasks with tables; tasks that have none are left out.

    owners: as just decided. waiting: tasks that are to move on, and where.
    """
    choice = _Choice.of(situation, lags, owners)
    tasks = [task for task in owners if task not in situation.stateless]
    for task in tasks:
        _keep(choice, task)
    for task in tasks:
        goal = waiting.get(task)
        if goal is not None and len(choice.wanted[task]) < situation.replicas and choice.is_free(task, goal):
            choice.want(task, goal)
    for task in tasks:
        if owners[task] == situation.owners.get(task) or not situation.is_served(task):
            _fill(choice, task)
    _warm_up(choice, {task: goal for task, goal in waiting.items() if task not in situation.stateless})
    resting = [task for task in tasks if task not in waiting and owners[task] == situation.owners.get(task)]
    _spread_over_racks(choice, resting)
    while _level(choice, resting):
        pass
    return {task: standbys for task in tasks if (standbys := (*choice.wanted[task], *choice.passing.get(task, ())))}


class _Choice(msgspec.Struct):
    """What is chosen so far."""

    situation: Situation
    lags: Lags
    owners: Mapping[TaskId, SlotId]
    # In order of slots; and the slots of each host.
    places: dict[SlotId, Place] = msgspec.field(default_factory=dict)
    by_host: dict[str, list[SlotId]] = msgspec.field(default_factory=dict)
    # (rack, ready) -> its slots, the emptiest first.
    ranks: dict[tuple[str | None, bool], list[tuple[int, SlotId]]] = msgspec.field(default_factory=dict)
    # task -> where its standbys are to be, at most `replicas`; and where some are for a while.
    wanted: dict[TaskId, list[SlotId]] = msgspec.field(default_factory=dict)
    passing: dict[TaskId, list[SlotId]] = msgspec.field(default_factory=dict)
    # slot -> standbys that are to be there.
    counts: Counter[SlotId] = msgspec.field(default_factory=Counter)
    # Replicas beyond `replicas` that are warming up.
    warmups: int = 0

    @classmethod
    def of(cls, situation: Situation, lags: Lags, owners: Mapping[TaskId, SlotId]) -> _Choice:
        """Nothing is chosen yet."""
        choice = cls(situation, lags, owners)
        for place in sorted(situation.places, key=lambda place: place.slot):
            choice.places[place.slot] = place
            choice.by_host.setdefault(place.slot.host, []).append(place.slot)
            choice.ranks.setdefault((place.rack, place.ready), []).append((0, place.slot))
        return choice

    def barred(self, task: TaskId) -> set[str]:
        """Hosts whose directories of the task are its owner's: the one that is decided, and the one that has it yet."""
        hosts = {self.owners[task].host}
        if self.situation.is_served(task):
            hosts.add(self.situation.owners[task].host)
        return hosts

    def used(self, task: TaskId, but: SlotId | None = None) -> set[str]:
        """Hosts where no standby may be added, when the one at `but` goes."""
        return self.barred(task) | {other.host for other in self.all_of(task) if other != but}

    def is_free(self, task: TaskId, slot: SlotId) -> bool:
        """Whether a standby may be added there."""
        return slot.host not in self.used(task)

    def emptiest(self, used: set[str], *, ready: bool) -> list[SlotId]:
        """Of each rack the emptiest slot that is ready or, if need not be, the emptiest that starts too."""
        found: list[SlotId] = []
        for (_, is_ready), rank in self.ranks.items():
            if is_ready or not ready:
                found += itertools.islice((slot for _, slot in rank if slot.host not in used), 1)
        return found

    def best(self, task: TaskId, *, but: SlotId | None = None, ready: bool = False) -> SlotId | None:
        """Where a standby is best, when the one at `but` goes: in another rack, where its state is, where few are."""
        used, behind = self.used(task, but), self.lags.task(task)
        near = [slot for host in behind.near if host not in used for slot in self.by_host.get(host, ())]
        return min(
            [*self.emptiest(used, ready=ready), *(slot for slot in near if self.places[slot].ready or not ready)],
            key=lambda slot: (
                self.clashes(task, slot, but),
                behind.of(slot.host),
                self.counts[slot],
                not self.places[slot].ready,
                slot,
            ),
            default=None,
        )

    def all_of(self, task: TaskId) -> list[SlotId]:
        """All standbys of a task."""
        return [*self.wanted.get(task, ()), *self.passing.get(task, ())]

    def clashes(self, task: TaskId, slot: SlotId, but: SlotId | None = None) -> int:
        """How many others, owner and standbys without `but`, are in the rack of a slot."""
        rack = self.places[slot].rack
        if rack is None:
            return 0
        others = [self.owners[task], *(other for other in self.wanted[task] if other not in (slot, but))]
        return sum(other in self.places and self.places[other].rack == rack for other in others)

    def want(self, task: TaskId, slot: SlotId) -> None:
        """Let a standby be there."""
        self.wanted[task].append(slot)
        self.count(slot, 1)

    def count(self, slot: SlotId, more: int) -> None:
        """Note that there are so many more standbys."""
        place, count = self.places[slot], self.counts[slot]
        rank = self.ranks[place.rack, place.ready]
        del rank[bisect.bisect_left(rank, (count, slot))]
        bisect.insort(rank, (count + more, slot))
        self.counts[slot] = count + more

    def pass_by(self, task: TaskId, slots: Iterable[SlotId]) -> bool:
        """Let standbys be there for a while, if no more than `warmups_max` warm up then; says whether it did."""
        slots = [*self.passing.get(task, ()), *slots]
        before, after = self._warming(task, self.passing.get(task, [])), self._warming(task, slots)
        if after > before and self.warmups + after - before > self.situation.warmups_max:
            return False
        self.warmups += after - before
        self.passing[task] = slots
        return True

    def _warming(self, task: TaskId, passing: list[SlotId]) -> int:
        """How many standbys there would be beyond `replicas` because some are cold."""
        all_of = [*self.wanted[task], *passing]
        cold = sum(not self.lags.is_warm(task, slot) for slot in all_of)
        return max(0, min(len(all_of) - self.situation.replicas, cold))

    def replace(self, task: TaskId, old: SlotId, new: SlotId) -> bool:
        """Let a standby be elsewhere. The old one stays until the new one is warm; says whether that may be begun."""
        at = self.wanted[task].index(old)
        self.wanted[task][at] = new
        stays = old.host != new.host and not self.lags.is_warm(task, new) and self.lags.is_warm(task, old)
        if stays and (task in self.passing or not self.pass_by(task, [old])):
            self.wanted[task][at] = old
            return False
        self.count(old, -1)
        self.count(new, 1)
        return True


def _keep(choice: _Choice, task: TaskId) -> None:
    """Keep the standbys that a task has, as many as it should have.

    A warm one that another was to follow stays until that one is warm too.
    """
    situation, lags = choice.situation, choice.lags
    choice.wanted[task] = []
    present: list[SlotId] = []
    barred = choice.barred(task)
    for slot in situation.standbys.get(task, ()):
        if slot in choice.places and slot.host not in barred:
            present.append(slot)
            barred.add(slot.host)
    for slot in present[: situation.replicas]:
        choice.want(task, slot)
    cold = [slot for slot in choice.wanted[task] if not lags.is_warm(task, slot)]
    warm = [slot for slot in present[situation.replicas :] if lags.is_warm(task, slot)]
    for new, old in zip(cold, warm, strict=False):
        if not choice.pass_by(task, [old]):
            choice.wanted[task][choice.wanted[task].index(new)] = old
            choice.count(new, -1)
            choice.count(old, 1)


def _fill(choice: _Choice, task: TaskId) -> None:
    """Add the standbys that a task lacks."""
    while len(choice.wanted[task]) < choice.situation.replicas:
        if (slot := choice.best(task)) is None:
            return
        choice.want(task, slot)


def _warm_up(choice: _Choice, waiting: Mapping[TaskId, SlotId]) -> None:
    """Warm up the places that tasks wait for: first those that are at it, then those that have the least to read."""
    situation, lags = choice.situation, choice.lags
    begun = {task for task, goal in waiting.items() if goal in situation.standbys.get(task, ())}
    for task in sorted(waiting, key=lambda task: (task not in begun, lags.behind(task, waiting[task].host), task)):
        goal = waiting[task]
        # A process that is yet to start can't warm up, and would keep others from it.
        if choice.is_free(task, goal) and (task in begun or choice.places[goal].ready):
            choice.pass_by(task, [goal])


def _spread_over_racks(choice: _Choice, tasks: list[TaskId]) -> None:
    """Move standbys that share a rack with their owner, or with each other, to one that nobody of the task is in."""
    if len({place.rack for place in choice.places.values()}) < 2:
        return
    for task in tasks:
        for old in list(choice.wanted[task]):
            if not (clashes := choice.clashes(task, old)):
                continue
            best = choice.best(task, but=old, ready=True)
            if best is not None and choice.clashes(task, best, old) < clashes:
                choice.replace(task, old, best)


def _level(choice: _Choice, tasks: list[TaskId]) -> bool:
    """Move standbys from slots with many to slots with few; says whether it moved any.

    It comes to an end: each move lessens the sum of the squares of the counts.
    """
    at: dict[SlotId, list[TaskId]] = {slot: [] for slot in choice.places}
    for task in tasks:
        for slot in choice.wanted[task]:
            at[slot].append(task)
    moved = False
    for full in sorted(choice.places, key=lambda slot: (-choice.counts[slot], slot)):
        for task in at[full]:
            least = min((rank[0][0] for (_, ready), rank in choice.ranks.items() if ready), default=0)
            if choice.counts[full] - least < 2:
                break
            moved = _relieve(choice, full, task) or moved
    return moved


def _relieve(choice: _Choice, full: SlotId, task: TaskId) -> bool:
    """Move a task's standby from a slot to one that has less by two at least; says whether there was one.

    Besides the emptiest of all it looks at what needs no warm-up, for there may be too many of these.
    """
    used, clashes = choice.used(task, full), choice.clashes(task, full)
    hosts = {host for host in choice.lags.task(task).near if choice.lags.is_warm(task, SlotId(host, 0))} | {full.host}
    near = [slot for host in hosts - used for slot in choice.by_host.get(host, ()) if choice.places[slot].ready]
    for slot in sorted([*choice.emptiest(used, ready=True), *near], key=lambda slot: (choice.counts[slot], slot)):
        if choice.counts[full] - choice.counts[slot] < 2:
            return False
        if choice.clashes(task, slot, full) <= clashes and choice.replace(task, full, slot):
            return True
    return False
