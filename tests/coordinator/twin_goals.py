"""The slow twin of streamcluster.placement.goals: what each task costs at each place, one by one.

It must not know when a task moves there: that is for assign.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from streamcluster.ids import SlotId, TaskId
from streamcluster.placement.situation import Place, Situation

from .twin_balance import NOWHERE, balance
from .twin_lags import BEHIND_MAX, Lags

# The size of a lag, in bits, is enough to choose between cold places.
_BITS_MAX = BEHIND_MAX.bit_length() + 2


def choose_goals(situation: Situation, lags: Lags) -> dict[TaskId, SlotId]:
    """Give every task a place; there is at least one.

    Balanced first, but for pins and moves under way, which win. Then the fewest moves away from owners that are in
    places, then the fewest records to restore before dead owners' tasks run, then as many moves as possible that can be
    done now, then as few warm-ups as possible given up, then the fewest records to warm up, roughly.
    """
    places = sorted(situation.places, key=lambda place: place.slot)
    numbers = {place.slot: number for number, place in enumerate(places)}
    tasks = sorted(set(situation.tasks))
    fixed = {task: slot for task, slot in {**situation.pins, **situation.moving}.items() if slot in numbers}
    present = {**situation.owners, **fixed}
    starts = {task: present[task] for task in tasks if task in present and present[task] in numbers}
    if len(starts) == len(tasks) and is_balanced(starts, places):
        return starts
    groups: dict[int, list[int]] = {}
    for number, task in enumerate(tasks):
        groups.setdefault(task.group, []).append(number)
    weights = _Weights.of(len(tasks))
    costs = [
        [0] * len(places) if task in fixed else _costs(situation, lags, weights, task, places, starts.get(task))
        for task in tasks
    ]
    placed = balance(
        list(groups.values()),
        costs,
        [numbers[starts[task]] if task in starts else NOWHERE for task in tasks],
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


@dataclass(frozen=True, slots=True)
class _Weights:
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


def _costs(
    situation: Situation, lags: Lags, weights: _Weights, task: TaskId, places: list[Place], start: SlotId | None
) -> list[int]:
    """What a task costs at each place. start: its owner, when that is one of the places: there it costs nothing."""
    served, move = situation.is_served(task), weights.move if start is not None else 0
    # Most slots are no standby: they cost what their host costs, for (a starting slot, a ready one).
    by_host: dict[str, tuple[int, int]] = {}
    for host in {place.slot.host for place in places}:
        behind = lags.behind(task, host)
        if not served:
            restore = move + behind * weights.record
            by_host[host] = (restore + 3, restore + 1)
        else:
            wait = move + weights.wait + weights.start + behind.bit_length()
            by_host[host] = (wait, move + 1 if behind <= situation.lag_max else wait)
    costs = [by_host[place.slot.host][place.ready] for place in places]
    slots, owner = {place.slot for place in places}, situation.owners.get(task)
    standbys = [
        slot
        for slot in situation.standbys.get(task, ())
        if slot in slots and (owner is None or slot.host != owner.host)
    ]
    for number, place in enumerate(places if standbys or start is not None else ()):
        if place.slot == start:
            costs[number] = 0
        elif place.slot in standbys:
            waits = served and not (place.ready and lags.is_warm(task, place.slot))
            under_way = waits and place.slot in standbys[situation.replicas :]
            # An open store is a little better than one that is to be opened on the same disk.
            costs[number] = move + weights.wait if under_way else costs[number] - 1
    return costs
