"""The slow twin of streamcluster.placement.standbys: it looks at all places for each standby.

The first `replicas` of a task's standbys are where they are to be: those stay what they are while they can. What
comes after them is there for a while: the task's next place, or a warm standby whose successor in another place is not
warm yet. So the order tells the next call what was meant, and it means the same again.
It must not know why a task is to move.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streamcluster.ids import SlotId, TaskId
from streamcluster.placement.situation import Place, Situation

from .twin_lags import Lags


def choose_standbys(
    situation: Situation, lags: Lags, owners: Mapping[TaskId, SlotId], waiting: Mapping[TaskId, SlotId]
) -> dict[TaskId, tuple[SlotId, ...]]:
    """Choose the standbys of all tasks with tables; tasks that have none are left out.

    owners: as just decided. waiting: tasks that are to move on, and where.
    """
    places = {place.slot: place for place in sorted(situation.places, key=lambda place: place.slot)}
    by_host: dict[str, list[SlotId]] = {}
    for slot in places:
        by_host.setdefault(slot.host, []).append(slot)
    choice = _Choice(situation, lags, owners, places, by_host)
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


@dataclass(slots=True)
class _Choice:
    """What is chosen so far."""

    situation: Situation
    lags: Lags
    owners: Mapping[TaskId, SlotId]
    # In order of slots; and the slots of each host.
    places: Mapping[SlotId, Place]
    by_host: Mapping[str, list[SlotId]]
    # task -> where its standbys are to be, at most `replicas`; and where some are for a while.
    wanted: dict[TaskId, list[SlotId]] = field(default_factory=dict)
    passing: dict[TaskId, list[SlotId]] = field(default_factory=dict)
    # slot -> standbys that are to be there.
    counts: Counter[SlotId] = field(default_factory=Counter)
    # Replicas beyond `replicas` that are warming up.
    warmups: int = 0

    def barred(self, task: TaskId) -> set[str]:
        """Hosts whose directories of the task are its owner's: the one that is decided, and the one that has it yet."""
        hosts = {self.owners[task].host}
        if self.situation.is_served(task):
            hosts.add(self.situation.owners[task].host)
        return hosts

    def is_free(self, task: TaskId, slot: SlotId, but: SlotId | None = None) -> bool:
        """Whether a standby may be added there, when the one at `but` goes."""
        used = {other.host for other in self.all_of(task) if other != but}
        return slot.host not in used and slot.host not in self.barred(task)

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
        self.counts[slot] += 1

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
        self.counts[old] -= 1
        self.counts[new] += 1
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
            choice.counts[new] -= 1
            choice.counts[old] += 1


def _fill(choice: _Choice, task: TaskId) -> None:
    """Add the standbys that a task lacks: in another rack, where its state is, where few are."""
    while len(choice.wanted[task]) < choice.situation.replicas:
        used = choice.barred(task) | {slot.host for slot in choice.all_of(task)}
        free = [
            min(slots, key=lambda slot: (choice.counts[slot], not choice.places[slot].ready, slot))
            for host, slots in choice.by_host.items()
            if host not in used
        ]
        if not free:
            return
        choice.want(
            task,
            min(
                free,
                key=lambda slot: (
                    choice.clashes(task, slot),
                    choice.lags.behind(task, slot.host),
                    choice.counts[slot],
                    not choice.places[slot].ready,
                    slot,
                ),
            ),
        )


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
            clashes = choice.clashes(task, old)
            better = [
                slot
                for slot, place in choice.places.items()
                if clashes
                and place.ready
                and choice.is_free(task, slot, old)
                and choice.clashes(task, slot, old) < clashes
            ]
            if better:
                choice.replace(
                    task,
                    old,
                    min(
                        better,
                        key=lambda slot: (
                            choice.clashes(task, slot, old),
                            choice.lags.behind(task, slot.host),
                            choice.counts[slot],
                            slot,
                        ),
                    ),
                )


def _level(choice: _Choice, tasks: list[TaskId]) -> bool:
    """Move standbys from slots with many to slots with few; says whether it moved any.

    It comes to an end: each move lessens the sum of the squares of the counts.
    """
    at: dict[SlotId, list[TaskId]] = {slot: [] for slot in choice.places}
    for task in tasks:
        for slot in choice.wanted[task]:
            at[slot].append(task)
    moved = False
    empties = sorted((choice.counts[slot], slot) for slot, place in choice.places.items() if place.ready)
    for full in sorted(choice.places, key=lambda slot: (-choice.counts[slot], slot)):
        for _, empty in empties:
            for task in list(at[full]):
                if choice.counts[full] - choice.counts[empty] < 2:
                    break
                if (
                    choice.is_free(task, empty, full)
                    and choice.clashes(task, empty, full) <= choice.clashes(task, full)
                    and choice.replace(task, full, empty)
                ):
                    at[full].remove(task)
                    moved = True
    return moved
