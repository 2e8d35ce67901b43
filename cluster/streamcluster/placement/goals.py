"""Where each task should be in the end: balanced, with the fewest moves, and where its state is.

It must not know when a task moves there: that is for assign.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from ..ids import SlotId, TaskId
from .flow import NOWHERE, balance
from .lags import BEHIND_MAX, Lags
from .situation import Place, Situation

# The size of a lag, in bits, is enough to choose between cold places.
_BITS_MAX = BEHIND_MAX.bit_length() + 2


def choose_goals(situation: Situation, lags: Lags) -> dict[TaskId, SlotId]:
    """Give every task a place; there is at least one.

    Balanced first, but for pins and moves under way, which win. Then the fewest moves away from owners that are in
    places, then the fewest records to restore before dead owners' tasks run, then as many moves as possible that can be
    done now, then as few warm-ups as possible given up, then the fewest records to warm up, roughly.
    """
    places = sorted(situation.places, key=lambda place: place.slot)
    slots = {place.slot for place in places}
    tasks = sorted(set(situation.tasks))
    fixed = {task: slot for task, slot in {**situation.pins, **situation.moving}.items() if slot in slots}
    present = {**situation.owners, **fixed}
    starts = {task: present[task] for task in tasks if task in present and present[task] in slots}
    if len(starts) == len(tasks) and is_balanced(starts, places):
        return starts
    groups: dict[int, list[int]] = {}
    for number, task in enumerate(tasks):
        groups.setdefault(task.group, []).append(number)
    rows = _Rows.of(situation, lags, places, len(tasks))
    placed = balance(
        list(groups.values()),
        [{} if task in fixed else rows.row(task, starts.get(task)) for task in tasks],
        rows.areas,
        len(places),
        [rows.numbers[starts[task]] if task in starts else NOWHERE for task in tasks],
        {number for number, task in enumerate(tasks) if task in fixed},
    )
    return {task: places[number].slot for task, number in zip(tasks, placed, strict=True)}


def is_balanced(placed: Mapping[TaskId, SlotId], places: list[Place]) -> bool:
    """Whether no place has two tasks more than another, over all tasks or within a group."""
    totals = Counter(placed.values())
    cells = Counter((task.group, slot) for task, slot in placed.items())
    groups = {task.group for task in placed}
    counts = [[totals[place.slot] for place in places]]
    counts += [[cells[group, place.slot] for place in places] for group in groups]
    return all(max(row) - min(row) <= 1 for row in counts)


class _Weights(msgspec.Struct, frozen=True):
    """What things cost: one of each outweighs all that comes after it, of all tasks together."""

    # A move away from an owner that could keep the task.
    move: int
    # A record to restore before a dead owner's task runs.
    record: int
    # A move that must wait.
    wait: int
    # A warm-up that is not under way yet.
    start: int

    @classmethod
    def of(cls, tasks: int) -> _Weights:
        start = tasks * _BITS_MAX + 1
        wait = tasks * (start + _BITS_MAX) + 1
        record = tasks * (wait + start + _BITS_MAX) + 1
        return cls(move=tasks * (record * BEHIND_MAX + record) + 1, record=record, wait=wait, start=start)


class _Rows(msgspec.Struct, frozen=True):
    """What tasks cost at the places, which have numbers in their order."""

    situation: Situation
    lags: Lags
    weights: _Weights
    places: Sequence[Place]
    numbers: Mapping[SlotId, int]
    # Each place by itself, by its number; then all that start and all that are ready, of all hosts and of each.
    areas: list[list[int]]
    # host, or None for all -> the numbers of its two areas.
    by_host: Mapping[str | None, tuple[int, int]]

    @classmethod
    def of(cls, situation: Situation, lags: Lags, places: Sequence[Place], tasks: int) -> _Rows:
        """For so many tasks."""
        areas = [[number] for number in range(len(places))]
        by_host: dict[str | None, tuple[int, int]] = {}
        for number, place in enumerate(places):
            for host in (None, place.slot.host):
                if host not in by_host:
                    by_host[host] = len(areas), len(areas) + 1
                    areas += [], []
                areas[by_host[host][place.ready]].append(number)
        numbers = {place.slot: number for number, place in enumerate(places)}
        return cls(situation, lags, _Weights.of(tasks), places, numbers, areas, by_host)

    def row(self, task: TaskId, start: SlotId | None) -> dict[int, int]:
        """Area -> what a task costs there. start: its owner, when that is one of the places: it costs nothing there."""
        situation, weights = self.situation, self.weights
        served, move = situation.is_served(task), weights.move if start is not None else 0
        behind = self.lags.task(task)
        costs = dict(zip(self.by_host[None], self._costs(behind.far, move, served), strict=True))
        for host in sorted(behind.near.keys() & self.by_host.keys()):
            costs |= zip(self.by_host[host], self._costs(behind.near[host], move, served), strict=True)
        owner = situation.owners.get(task)
        standbys = [
            slot
            for slot in situation.standbys.get(task, ())
            if slot in self.numbers and (owner is None or slot.host != owner.host)
        ]
        for slot in standbys:
            number, ready = self.numbers[slot], self.places[self.numbers[slot]].ready
            waits = served and not (ready and self.lags.is_warm(task, slot))
            if waits and slot in standbys[situation.replicas :]:
                costs[number] = move + weights.wait
            else:
                # An open store is a little better than one that is to be opened on the same disk.
                costs[number] = self._costs(behind.of(slot.host), move, served)[ready] - 1
        if start is not None:
            costs[self.numbers[start]] = 0
        return costs

    def _costs(self, behind: int, move: int, served: bool) -> tuple[int, int]:
        """At a starting place and at a ready one, of a host that is so many records behind."""
        weights = self.weights
        if not served:
            restore = move + behind * weights.record
            return restore + 3, restore + 1
        wait = move + weights.wait + weights.start + behind.bit_length()
        return wait, move + 1 if behind <= self.situation.lag_max else wait
