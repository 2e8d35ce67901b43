"""Where tasks go: balanced first, then as few moves as possible, then the same answer everywhere.

Pure and exact. Balanced: the task counts of two slots differ by at most one, over all tasks and within each group.
It must not know processes, epochs or who is alive: it gets the slots that may have tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from .balance import NOWHERE, balance
from .ids import TaskId


class Ordered(Protocol):
    """What slots are to be: hashable, and in an order."""

    def __hash__(self) -> int: ...
    def __lt__(self, other: Any, /) -> bool: ...


AnySlot = TypeVar("AnySlot", bound=Ordered)


def place(tasks: Sequence[TaskId], slots: Sequence[AnySlot], owners: Mapping[TaskId, AnySlot]) -> dict[TaskId, AnySlot]:
    """Give every task a slot.

    Args:
        tasks: all tasks, in any order.
        slots: the slots that may have tasks; at least one.
        owners: where tasks are now; tasks and slots that are not known any more are ignored.

    Returns:
        task -> slot, in task order.

    Cost: that of `balance`; 2,000 tasks of one group on 64 slots take 0.1 s.
    """
    assert slots, "there is no slot to place tasks on"
    order, known = sorted(set(slots)), sorted(set(tasks))
    numbers = {slot: number for number, slot in enumerate(order)}
    groups: dict[int, list[int]] = {}
    for number, task in enumerate(known):
        groups.setdefault(task.group, []).append(number)
    starts = [NOWHERE if task not in owners else numbers.get(owners[task], NOWHERE) for task in known]
    anywhere = [0] * len(order)
    elsewhere = [[int(slot != start) for slot in range(len(order))] for start in range(len(order))]
    costs = [anywhere if start == NOWHERE else elsewhere[start] for start in starts]
    placed = balance(list(groups.values()), costs, starts)
    return {task: order[slot] for task, slot in zip(known, placed, strict=True)}
