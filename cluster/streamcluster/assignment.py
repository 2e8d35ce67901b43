"""Temporary."""
from __future__ import annotations
from collections.abc import Mapping
from dataclasses import dataclass
from .ids import SlotId, TaskId
from .placement import place

@dataclass(frozen=True, slots=True)
class Place:
    slot: SlotId
    rack: str | None = None
    ready: bool = True

@dataclass(frozen=True, slots=True)
class Situation:
    tasks: tuple[TaskId, ...]
    places: tuple[Place, ...]
    owners: Mapping[TaskId, SlotId]
    serving: frozenset[SlotId]
    standbys: Mapping[TaskId, tuple[SlotId, ...]]
    lags: Mapping[tuple[TaskId, SlotId], int]
    stored: Mapping[TaskId, Mapping[str, int]]
    heads: Mapping[TaskId, int]
    stateless: frozenset[TaskId]
    load: Mapping[TaskId, float]
    pins: Mapping[TaskId, SlotId]
    hasty: frozenset[TaskId]
    replicas: int
    lag_max: int
    warmups_max: int

@dataclass(frozen=True, slots=True)
class Assignment:
    owners: dict[TaskId, SlotId]
    standbys: dict[TaskId, tuple[SlotId, ...]]

def assign(s: Situation) -> Assignment:
    if not s.places:
        return Assignment({t: o for t, o in s.owners.items() if o in s.serving}, {})
    ready = {p.slot for p in s.places if p.ready}
    slots = [p.slot for p in s.places]
    prefer = dict(s.owners)
    for t in s.tasks:
        if t not in prefer:
            for sb in s.standbys.get(t, ()):
                if sb in slots: prefer[t] = sb
    goal = place(s.tasks, slots, prefer)
    owners = {}; standbys = {}
    for t in s.tasks:
        g = goal[t]; o = s.owners.get(t)
        warm = t in s.stateless or (o and o.host == g.host) or s.lags.get((t, g), 10**9) <= s.lag_max
        extra = ()
        if o in s.serving and o != g and not (g in ready and (warm or t in s.hasty)):
            owners[t] = o
            if g.host != o.host and t not in s.stateless: extra = (g,)
        else:
            owners[t] = g
        own = owners[t]
        chosen = list(extra)
        if t not in s.stateless and s.replicas and not chosen:
            old = [x for x in s.standbys.get(t, ()) if x in slots and x.host != own.host]
            cand = old or sorted((x for x in slots if x.host != own.host), key=lambda x: (sum(x in v for v in standbys.values()), x))
            chosen += cand[:1]
        standbys[t] = tuple(chosen)
    return Assignment(owners, standbys)
