"""The goal of an assignment, and the flow that finds it, held against a search over all ways on small cases."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamcluster.assignment_goals import choose_goals
from streamcluster.assignment_lags import BEHIND_MAX, Lags
from streamcluster.balance import NOWHERE, balance
from streamcluster.ids import SlotId, TaskId
from streamcluster.situation import Situation

from .situations import HEAD, is_balanced, places_of, situation, situations


def imbalance(owners: Mapping[TaskId, SlotId]) -> int:
    """The sum of the squares of the counts, of slots and of slots within a group."""
    totals = Counter(owners.values())
    cells = Counter((task.group, slot) for task, slot in owners.items())
    return sum(count**2 for counts in (totals, cells) for count in counts.values())


def behind(now: Situation, task: TaskId, slot: SlotId) -> int:
    """How far a host's state is behind, the plain way, where the head is known."""
    owner = now.owners.get(task)
    if task in now.stateless or (owner and owner.host == slot.host):
        return 0
    lags = [lag for (other, standby), lag in now.lags.items() if other == task and standby.host == slot.host]
    return min([max(0, HEAD - now.stored.get(task, {}).get(slot.host, 0)), *lags])


def price(now: Situation, goals: Mapping[TaskId, SlotId]) -> tuple[int, int, int, int]:
    """What counts, most important first: imbalance, moves, records that dead owners' tasks restore, moves that wait."""
    places = {place.slot: place for place in now.places}
    moved = [task for task in goals if now.owners.get(task) in places and goals[task] != now.owners[task]]
    dead = [task for task in goals if not now.is_served(task) and goals[task] != now.owners.get(task)]
    waits = [
        task
        for task, slot in goals.items()
        if now.is_served(task)
        and slot != now.owners[task]
        and not (places[slot].ready and behind(now, task, slot) <= now.lag_max)
    ]
    return imbalance(goals), len(moved), sum(behind(now, task, goals[task]) for task in dead), len(waits)


@settings(max_examples=150)
@given(situations(tasks_max=6))
def test_no_goal_is_better(now: Situation) -> None:
    """Of all ways to place the tasks, none is more balanced, moves less, or has less to restore."""
    now = replace(now, heads=dict.fromkeys(now.tasks, HEAD), places=now.places[:4])
    assume(now.places and len(now.places) ** len(now.tasks) <= 5_000)
    slots = [place.slot for place in now.places]
    pins = {task: slot for task, slot in now.pins.items() if slot in slots and task in now.tasks}

    goals = choose_goals(now, Lags.of(now))

    assert goals.items() >= pins.items()
    free = [task for task in now.tasks if task not in pins]
    ways = (pins | dict(zip(free, way, strict=True)) for way in itertools.product(slots, repeat=len(free)))
    # The cost of a pin is nobody's choice, so it is left out of the comparison by being the same in all ways.
    assert price(now, goals) == min(price(now, way) for way in ways)


@given(situations())
def test_a_goal_is_balanced_around_what_is_fixed(now: Situation) -> None:
    """Without pins counts differ by at most one."""
    assume(now.places)
    now = replace(now, pins={})

    assert is_balanced(choose_goals(now, Lags.of(now)), [place.slot for place in now.places])


@given(situations())
def test_lags_are_bounded(now: Situation) -> None:
    """Whatever is known or not, a lag is a number that costs can be made of."""
    lags = Lags.of(now)

    assert all(0 <= lags.behind(task, place.slot.host) <= BEHIND_MAX for task in now.tasks for place in now.places)


def test_a_disk_with_more_is_nearer_when_the_head_is_not_known() -> None:
    """Of two disks that hold a task's state the fuller one is preferred, but neither is taken for warm."""
    task = TaskId(1, 0)
    now = situation([task], places_of({"a": 1, "b": 1, "c": 1}), heads={}, stored={task: {"b": 5, "c": 7}})
    lags = Lags.of(now)

    assert choose_goals(now, lags) == {task: SlotId("c", 0)}
    assert not any(lags.is_warm(task, place.slot) for place in now.places)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], list[int], set[int]]:
    """Groups, costs, starts and fixed tasks of a flow, small enough to try all ways."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    slots, count = draw(st.integers(1, 4)), sum(sizes)
    numbers = iter(range(count))
    groups = [[next(numbers) for _ in range(size)] for size in sizes]
    starts = draw(st.lists(st.integers(NOWHERE, slots - 1), min_size=count, max_size=count))
    costs = draw(st.lists(st.lists(st.integers(0, 9), min_size=slots, max_size=slots), min_size=count, max_size=count))
    for row, start in zip(costs, starts, strict=True):
        if start != NOWHERE:
            row[start] = 0
    placed = [task for task in range(count) if starts[task] != NOWHERE]
    fixed = draw(st.sets(st.sampled_from(placed))) if placed else set()
    return groups, costs, starts, fixed


@given(problems())
def test_no_flow_is_cheaper(problem: tuple[list[list[int]], list[list[int]], list[int], set[int]]) -> None:
    """Of all ways, the one with the least squares and then the least cost; what is fixed stays."""
    groups, costs, starts, fixed = problem

    def cost(placed: Sequence[int]) -> tuple[int, int]:
        cells = Counter((group, placed[task]) for group, tasks in enumerate(groups) for task in tasks)
        squares = sum(count**2 for counts in (Counter(placed), cells) for count in counts.values())
        return squares, sum(row[slot] for row, slot in zip(costs, placed, strict=True))

    placed = balance(groups, costs, starts, fixed)

    choices = [[start] if task in fixed else range(len(costs[0])) for task, start in enumerate(starts)]
    assert all(placed[task] == starts[task] for task in fixed)
    assert cost(placed) == min(cost(way) for way in itertools.product(*choices))
