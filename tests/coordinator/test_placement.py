"""Placement: balanced, sticky, deterministic; held against a search over all assignments on small cases."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from streamcluster.ids import Slot, TaskId
from streamcluster.placement import place

Owners = dict[TaskId, Slot]


@st.composite
def cases(draw: st.DrawFn, tasks_max: int = 60, slots_max: int = 12) -> tuple[list[TaskId], list[Slot], Owners]:
    """Tasks of up to three groups, some slots, and an arbitrary earlier assignment (slots that are gone included)."""
    sizes = draw(st.lists(st.integers(1, tasks_max // 3), min_size=1, max_size=3, unique=True))
    tasks = [TaskId(size, number) for size in sizes for number in range(size)]
    count = draw(st.integers(1, slots_max))
    slots = [Slot(number) for number in draw(st.permutations(range(slots_max)))[:count]]
    owners = {
        task: Slot(owner)
        for task in tasks
        if (owner := draw(st.one_of(st.none(), st.integers(0, slots_max - 1)))) is not None
    }
    return tasks, slots, owners


def spread(counts: Counter[Slot], slots: Sequence[Slot]) -> int:
    """The largest difference between two slots."""
    return max(counts[slot] for slot in slots) - min(counts[slot] for slot in slots)


def is_balanced(placed: Mapping[TaskId, Slot], slots: Sequence[Slot]) -> bool:
    """Within one, over all and per group."""
    groups = {task.group for task in placed}
    per_group = [Counter(slot for task, slot in placed.items() if task.group == group) for group in groups]
    return all(spread(counts, slots) <= 1 for counts in [Counter(placed.values()), *per_group])


def moves(placed: Mapping[TaskId, Slot], owners: Mapping[TaskId, Slot]) -> int:
    """Tasks that are not where they were."""
    return sum(owners.get(task) != slot for task, slot in placed.items())


def all_balanced(tasks: Sequence[TaskId], slots: Sequence[Slot]) -> Iterator[Owners]:
    """Every balanced assignment, by trying all."""
    for choice in itertools.product(slots, repeat=len(tasks)):
        placed = dict(zip(tasks, choice, strict=True))
        if is_balanced(placed, slots):
            yield placed


@given(cases())
def test_placement_is_complete_and_balanced(case: tuple[list[TaskId], list[Slot], Owners]) -> None:
    """Every task has one of the slots, and no slot has two tasks more than another, overall or in a group."""
    tasks, slots, owners = case

    placed = place(tasks, slots, owners)

    assert set(placed) == set(tasks)
    assert set(placed.values()) <= set(slots)
    assert is_balanced(placed, slots)


@settings(max_examples=60)
@given(cases(tasks_max=9, slots_max=3))
def test_placement_moves_as_few_tasks_as_possible(case: tuple[list[TaskId], list[Slot], Owners]) -> None:
    """No balanced assignment leaves more tasks where they are."""
    tasks, slots, owners = case

    placed = place(tasks, slots, owners)

    assert moves(placed, owners) == min(moves(other, owners) for other in all_balanced(tasks, slots))


@given(cases())
def test_placement_is_stable(case: tuple[list[TaskId], list[Slot], Owners]) -> None:
    """Placing again changes nothing, and the order of the arguments does not matter."""
    tasks, slots, owners = case

    placed = place(tasks, slots, owners)

    assert place(tasks, slots, placed) == placed
    assert place(tasks[::-1], slots[::-1], dict(reversed(owners.items()))) == placed


@given(cases())
def test_loss_of_a_slot_moves_only_its_tasks_of_an_even_group(case: tuple[list[TaskId], list[Slot], Owners]) -> None:
    """When a slot goes, at most its tasks and what evens out the remainders of the groups move."""
    tasks, slots, _ = case
    before = place(tasks, slots, {})
    left = slots[1:] or slots

    after = place(tasks, left, before)

    lost = sum(slot not in left for slot in before.values())
    assert lost <= moves(after, before) <= lost + len(left) * len({task.group for task in tasks})


def test_placement_does_not_depend_on_the_hash_seed() -> None:
    """Two interpreters with different hash seeds give the same answer in the same order."""
    program = (
        "from streamcluster.placement import place; from streamcluster.ids import *; "
        "tasks = [TaskId(g, p) for g in (8, 5) for p in range(g)]; "
        "print(place(tasks, [Slot(n) for n in (3, 0, 7)], {TaskId(5, 1): Slot(7)}))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(answers) == 1
    assert "TaskId(group=8, partition=7)" in answers.pop()
