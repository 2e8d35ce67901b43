"""Situations to decide about: drawn at random, and what becomes of one when the decision is followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st
from msgspec.structs import replace

from streamcluster.ids import SlotId, TaskId
from streamcluster.placement.situation import Assignment, Place, Situation

Thing = TypeVar("Thing")

LAG_MAX = 100
HEAD = 10_000


def situation(tasks: Iterable[TaskId], places: Iterable[Place], **known: Any) -> Situation:
    """One in which nothing is known but what is given. Owners serve unless it says otherwise."""
    tasks = tuple(tasks)
    values: dict[str, Any] = {
        "owners": {},
        "standbys": {},
        "lags": {},
        "stored": {},
        "heads": dict.fromkeys(tasks, HEAD),
        "stateless": frozenset(),
        "load": {},
        "pins": {},
        "out_of_time": frozenset(),
        "replicas": 0,
        "lag_max": LAG_MAX,
        "warmups_max": 4,
    } | known
    return Situation(tasks, tuple(places), **{"serving": frozenset(values["owners"].values())} | values)


def places_of(hosts: Mapping[str, int], racks: Mapping[str, str] | None = None) -> list[Place]:
    """Ready places. hosts: name -> slots."""
    return [Place(SlotId(host, n), (racks or {}).get(host)) for host, slots in hosts.items() for n in range(slots)]


@st.composite
def situations(draw: st.DrawFn, tasks_max: int = 12, hosts_max: int = 4, out_of_time: bool = True) -> Situation:
    """Anything: dead, drained and serving owners, odd standbys, lags and disks of all sizes, pins, racks.

    Hypothesis draws the sizes and a seed for the rest: drawing hundreds of values one by one takes ten times as long.
    """
    sizes = draw(st.lists(st.integers(1, tasks_max // 2), min_size=1, max_size=2, unique=True))
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=hosts_max))
    hosts = {f"h{number}": count for number, count in enumerate(counts)}
    return random_situation(Random(draw(st.integers(0, 2**32))), sizes, hosts, out_of_time=out_of_time)


def random_situation(random: Random, sizes: Iterable[int], hosts: Mapping[str, int], *, out_of_time: bool) -> Situation:
    """Anything. sizes: of the groups. hosts: name -> slots."""
    tasks = [TaskId(size, number) for size in sizes for number in range(size)]
    slots = [place.slot for place in places_of(hosts)]
    racks = {host: random.choice(["r0", "r1"]) for host in hosts} if random.random() < 0.5 else {}
    lags = [0, 5, LAG_MAX, LAG_MAX + 1, 5_000, HEAD]

    def some(things: Sequence[Thing], most: int) -> list[Thing]:
        return random.sample(things, min(random.randint(0, most), len(things)))

    def lag() -> int:
        return random.choice(lags)

    return situation(
        tasks,
        [Place(slot, racks.get(slot.host), random.random() < 0.75) for slot in some(slots, 2 * len(slots))],
        owners={task: random.choice(slots) for task in some(tasks, 2 * len(tasks))},
        serving=frozenset(some(slots, 2 * len(slots))),
        standbys={task: tuple(some(slots, 3)) for task in some(tasks, 2 * len(tasks))},
        lags={(task, slot): lag() for task in some(tasks, len(tasks)) for slot in some(slots, 3)},
        stored={task: {host: lag() for host in some(list(hosts), 3)} for task in some(tasks, len(tasks))},
        heads=dict.fromkeys(tasks, HEAD)
        if random.random() < 0.5
        else {task: lag() for task in some(tasks, len(tasks))},
        stateless=frozenset(some(tasks, 2)),
        load={task: random.choice([0.0, 10.0, 500.0, 5_000.0]) for task in some(tasks, 2 * len(tasks))},
        pins={task: random.choice(slots) for task in some(tasks, 2) if random.random() < 0.5},
        out_of_time=frozenset(some(tasks, 2)) if out_of_time else frozenset(),
        replicas=random.randint(0, 2),
        warmups_max=random.randint(1, 3),
    )


def applied(before: Situation, result: Assignment) -> Situation:
    """The same facts when the result holds. Who was given a task serves."""
    return replace(
        before,
        owners=result.owners,
        standbys=result.standbys,
        serving=before.serving | frozenset(result.owners.values()),
    )


def followed(before: Situation, result: Assignment) -> Situation:
    """What is so a while later: slots have started, standbys have caught up, and former owners' disks are told of."""
    after = applied(before, result)
    stored = {task: dict(hosts) for task, hosts in before.stored.items()}
    for task, owner in before.owners.items():
        if result.owners.get(task) != owner:
            stored.setdefault(task, {})[owner.host] = HEAD
    return replace(
        after,
        places=tuple(replace(place, ready=True) for place in before.places),
        lags={(task, slot): 0 for task, slots in result.standbys.items() for slot in slots},
        stored=stored,
        heads=dict.fromkeys(before.tasks, HEAD),
    )


def is_balanced(owners: Mapping[TaskId, SlotId], slots: Iterable[SlotId]) -> bool:
    """Within one, over all and per group."""
    slots = list(slots)
    rows = [Counter(owners.values())]
    rows += [Counter(s for t, s in owners.items() if t.group == group) for group in {t.group for t in owners}]
    return all(max(row[s] for s in slots) - min(row[s] for s in slots) <= 1 for row in rows)
