"""The assignment beside its slow twins (twin_*.py), which look at every place for every task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamcluster.ids import SlotId, TaskId
from streamcluster.placement.assign import assign
from streamcluster.placement.goals import choose_goals
from streamcluster.placement.lags import Lags
from streamcluster.placement.situation import Situation
from streamcluster.placement.standbys import choose_standbys

from . import twin_goals, twin_lags, twin_standbys
from .situations import random_situation


def any_situation(random: Random) -> Situation:
    """Up to 60 tasks on up to 18 slots, anything said of them."""
    sizes = random.sample(range(1, 31), random.randint(1, 2))
    hosts = {f"h{number}": random.randint(1, 3) for number in range(random.randint(1, 6))}
    now = random_situation(random, sizes, hosts, out_of_time=False)
    return replace(now, warmups_max=random.choice([now.warmups_max, len(now.tasks)]))


seeds = st.integers(0, 2**32).map(Random)


def price(now: Situation, goals: Mapping[TaskId, SlotId]) -> tuple[int, int]:
    """Squares of the counts, then what all that may be elsewhere costs where it is: moves, restores, warm-ups."""
    lags, weights = twin_lags.Lags.of(now), twin_goals._Weights.of(len(now.tasks))
    places = sorted(now.places, key=lambda place: place.slot)
    slots = [place.slot for place in places]
    counts = Counter(goals.values()) + Counter((task.group, slot) for task, slot in goals.items())
    cost = 0
    for task in now.tasks:
        if now.pins.get(task) not in slots:
            start = owner if (owner := now.owners.get(task)) in slots else None
            cost += twin_goals._costs(now, lags, weights, task, places, start)[slots.index(goals[task])]
    return sum(count**2 for count in counts.values()), cost


@given(seeds)
def test_goals_are_as_good_as_the_twins(random: Random) -> None:
    """As balanced, with as few moves, as little to restore and to wait for, and as few warm-ups."""
    now = any_situation(random)
    assume(now.places)

    twin = twin_goals.choose_goals(now, twin_lags.Lags.of(now))

    assert price(now, choose_goals(now, Lags.of(now))) == price(now, twin)


@given(seeds)
def test_lags_are_those_of_the_twin(random: Random) -> None:
    """For every task and host, and for a host that nobody has heard of."""
    now = any_situation(random)
    lags, twin = Lags.of(now), twin_lags.Lags.of(now)

    hosts = {*(place.slot.host for place in now.places), *(slot.host for slot in now.owners.values()), "other"}
    assert all(lags.behind(task, host) == twin.behind(task, host) for task in now.tasks for host in hosts)


def quality(now: Situation, owners: Mapping[TaskId, SlotId], standbys: Mapping[TaskId, tuple[SlotId, ...]]) -> Quality:
    """How many of a task's copies share a rack, per task how many standbys, and how level they are."""
    racks = {place.slot: place.rack for place in now.places}
    wanted = {task: slots[: now.replicas] for task, slots in standbys.items()}
    shared = 0
    for task, slots in wanted.items():
        known = [rack for slot in (owners[task], *slots) if (rack := racks.get(slot)) is not None]
        shared += len(known) - len(set(known))
    squares = sum(count**2 for count in Counter(slot for slots in wanted.values() for slot in slots).values())
    return shared, {task: len(slots) for task, slots in wanted.items()}, squares


Quality = tuple[int, dict[TaskId, int], int]


@pytest.mark.parametrize("replicas", [1, 2])
def test_standbys_are_as_good_as_the_twins(replicas: int) -> None:
    """As many, as few in a rack with another copy; and as level, but for a slot here and there, either way.

    Both move one standby at a time to level them, and come to an end where no such move helps: not always the same end.
    """
    squares, twin_squares = 0, 0
    for seed in range(150):
        now = replace(any_situation(Random(seed)), replicas=replicas)
        if not now.places:
            continue
        owners = assign(now).owners
        waiting = {task: goal for task, goal in choose_goals(now, Lags.of(now)).items() if goal != owners[task]}
        ours = choose_standbys(now, Lags.of(now), owners, waiting)
        twins = twin_standbys.choose_standbys(now, twin_lags.Lags.of(now), owners, waiting)

        *found, level = quality(now, owners, ours)
        *expected, twin_level = quality(now, owners, twins)
        assert found == expected, f"seed {seed}"
        squares, twin_squares = squares + level, twin_squares + twin_level
    assert squares <= twin_squares * 1.001
