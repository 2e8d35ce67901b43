"""Situations to decide about: drawn at random, and what becomes of one when the decision is followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from streamcluster.ids import SlotId, TaskId
from streamcluster.situation import Assignment, Place, Situation

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
        "hasty": frozenset(),
        "replicas": 0,
        "lag_max": LAG_MAX,
        "warmups_max": 4,
    } | known
    return Situation(tasks, tuple(places), **{"serving": frozenset(values["owners"].values())} | values)


def places_of(hosts: Mapping[str, int], racks: Mapping[str, str] | None = None) -> list[Place]:
    """Ready places. hosts: name -> slots."""
    return [Place(SlotId(host, n), (racks or {}).get(host)) for host, slots in hosts.items() for n in range(slots)]


@st.composite
def situations(draw: st.DrawFn, tasks_max: int = 12, hosts_max: int = 4, hasty: bool = True) -> Situation:
    """Anything: dead, drained and serving owners, odd standbys, lags and disks of all sizes, pins, racks, moves."""
    sizes = draw(st.lists(st.integers(1, tasks_max // 2), min_size=1, max_size=2, unique=True))
    tasks = [TaskId(size, number) for size in sizes for number in range(size)]
    hosts = {f"h{number}": draw(st.integers(1, 3)) for number in range(draw(st.integers(1, hosts_max)))}
    racks = {host: draw(st.sampled_from(["r0", "r1"])) for host in hosts} if draw(st.booleans()) else {}
    everywhere = [place.slot for place in places_of(hosts)]
    slots = st.sampled_from(everywhere)
    alive = draw(st.lists(slots, unique=True))
    some = st.sampled_from(tasks)
    lag = st.sampled_from([0, 5, LAG_MAX, LAG_MAX + 1, 5_000, HEAD])
    owners = draw(st.dictionaries(some, slots))
    return situation(
        tasks,
        [Place(slot, racks.get(slot.host), draw(st.booleans()) or draw(st.booleans())) for slot in alive],
        owners=owners,
        serving=frozenset(draw(st.lists(slots, unique=True))),
        standbys=draw(st.dictionaries(some, st.lists(slots, unique=True, max_size=3).map(tuple))),
        lags=draw(st.dictionaries(st.tuples(some, slots), lag)),
        stored=draw(st.dictionaries(some, st.dictionaries(st.sampled_from(sorted(hosts)), lag))),
        heads=draw(st.dictionaries(some, lag)) if draw(st.booleans()) else dict.fromkeys(tasks, HEAD),
        stateless=frozenset(draw(st.lists(some, unique=True, max_size=2))),
        load=draw(st.dictionaries(some, st.sampled_from([0.0, 10.0, 500.0, 5_000.0]))),
        pins=draw(st.dictionaries(some, slots, max_size=2)),
        hasty=frozenset(draw(st.lists(some, unique=True, max_size=2))) if hasty else frozenset(),
        replicas=draw(st.integers(0, 2)),
        warmups_max=draw(st.integers(1, 3)),
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
