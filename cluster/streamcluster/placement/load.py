"""Which two tasks should change places, so that the busiest slot has less to do while counts stay as they are."""

from __future__ import annotations

from collections.abc import Mapping

from ..ids import SlotId, TaskId
from .lags import Lags
from .situation import Situation

# A slot is too busy when it has so much more to do than the mean slot ...
EXCESS_RATIO = 1.25
# ... and so many events per second more: for less, two moves are not worth it. A judgement, not measured.
EXCESS_EVENTS = 500.0
# The larger of the two loads falls at least to this part of it, so a swap is never undone by the next one.
SWAP_RATIO = 0.9

Swap = tuple[TaskId, TaskId]


def choose_swap(situation: Situation, lags: Lags, owners: Mapping[TaskId, SlotId]) -> Swap | None:
    """A task of the busiest slot and one of the idlest to swap; None: no swap is worth it, or a load is not known yet.

    Each swap lessens the sum of the squares of the loads, so there is an end to them while loads stay as they are.
    A swap that is being warmed up goes before others, unless loads have changed so that it is not worth it any more.
    """
    if not owners.keys() <= situation.load.keys():
        return None
    loads = {place.slot: 0.0 for place in situation.places}
    for task, slot in owners.items():
        loads[slot] += situation.load[task]
    busy, idle = min(loads, key=lambda slot: (-loads[slot], slot)), min(loads, key=lambda slot: (loads[slot], slot))
    mean = sum(loads.values()) / len(loads)
    if loads[busy] <= max(mean * EXCESS_RATIO, mean + EXCESS_EVENTS):
        return None
    swaps: list[tuple[bool, float, Swap]] = []
    kept = situation.pins.keys() | situation.moving.keys()
    given = [task for task, slot in sorted(owners.items()) if slot == busy and task not in kept]
    taken = [task for task, slot in sorted(owners.items()) if slot == idle and task not in kept]
    for more in given:
        for less in taken:
            shift = situation.load[more] - situation.load[less]
            left = max(loads[busy] - shift, loads[idle] + shift)
            if more.group == less.group and left <= loads[busy] * SWAP_RATIO:
                new = not (_is_prepared(situation, lags, more, idle) and _is_prepared(situation, lags, less, busy))
                swaps.append((new, left, (more, less)))
    return min(swaps)[2] if swaps else None


def _is_prepared(situation: Situation, lags: Lags, task: TaskId, slot: SlotId) -> bool:
    return lags.is_warm(task, slot) or slot in situation.standbys.get(task, ())
