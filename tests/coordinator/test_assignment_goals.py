"""The goal of an assignment, and the flow that finds it, held against a search over all ways on small cases."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streamcluster.ids import SlotId, TaskId
from streamcluster.placement.flow import NOWHERE, balance
from streamcluster.placement.goals import choose_goals
from streamcluster.placement.lags import BEHIND_MAX, Lags
from streamcluster.placement.situation import Situation

from . import twin_balance
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


@dataclass(frozen=True, slots=True)
class Problem:
    """What `balance` gets."""

    groups: list[list[int]]
    rows: list[dict[int, int]]
    areas: list[list[int]]
    slots: int
    starts: list[int]
    fixed: set[int]

    def costs(self) -> list[list[int]]:
        """What each task costs on each slot, one by one."""
        return [
            [min(cost for area, cost in row.items() if slot in self.areas[area]) for slot in range(self.slots)]
            for row in self.rows
        ]

    def price(self, placed: Sequence[int]) -> tuple[int, int]:
        """The sum of the squares of the counts, and then what tasks cost."""
        cells = Counter((group, placed[task]) for group, tasks in enumerate(self.groups) for task in tasks)
        squares = sum(count**2 for counts in (Counter(placed), cells) for count in counts.values())
        return squares, sum(row[slot] for row, slot in zip(self.costs(), placed, strict=True))

    def placed(self) -> list[int]:
        """What comes of it."""
        placed = balance(self.groups, self.rows, self.areas, self.slots, self.starts, self.fixed)
        assert all(placed[task] == self.starts[task] for task in self.fixed)
        return placed


@st.composite
def problems(draw: st.DrawFn, tasks_max: int, groups_max: int, slots_max: int) -> Problem:
    """Groups, areas that overlap, starts and fixed tasks; hypothesis draws the sizes and a seed for the rest."""
    sizes = draw(st.lists(st.integers(1, tasks_max), min_size=1, max_size=groups_max))
    slots, random = draw(st.integers(1, slots_max)), Random(draw(st.integers(0, 2**32)))
    numbers = iter(range(sum(sizes)))
    halves = [[slot for slot in range(slots) if slot % 2 == half] for half in (0, 1)]
    some = [random.sample(range(slots), random.randint(0, slots)) for _ in range(2)]
    starts = [random.choice([NOWHERE, random.randrange(slots), 0]) for _ in range(sum(sizes))]
    rows = []
    for start in starts:
        everywhere, more = [slots, slots + 1], random.sample(range(slots + 4), random.randint(0, slots))
        costs = {area: random.randint(0, 9) for area in [*everywhere, *more]}
        rows.append(costs if start == NOWHERE else costs | {start: 0})
    is_fixed = random.choice([0, 0.3])
    return Problem(
        groups=[[next(numbers) for _ in range(size)] for size in sizes],
        rows=rows,
        areas=[*([slot] for slot in range(slots)), *halves, *some],
        slots=slots,
        starts=starts,
        fixed={task for task, start in enumerate(starts) if start != NOWHERE and random.random() < is_fixed},
    )


@given(problems(tasks_max=3, groups_max=2, slots_max=4))
def test_no_flow_is_cheaper(problem: Problem) -> None:
    """Of all ways, the one with the least squares and then the least cost; what is fixed stays."""
    choices = [[start] if task in problem.fixed else range(problem.slots) for task, start in enumerate(problem.starts)]

    assert problem.price(problem.placed()) == min(problem.price(way) for way in itertools.product(*choices))


@given(problems(tasks_max=25, groups_max=3, slots_max=9))
def test_a_flow_is_as_cheap_as_its_twins(problem: Problem) -> None:
    """Where there are too many ways to try, the one that looks at all prices finds none that is cheaper."""
    twin = twin_balance.balance(problem.groups, problem.costs(), problem.starts, problem.fixed)

    assert problem.price(problem.placed()) == problem.price(twin)
