"""Where every task and every standby should be now, given where they are: the one decision about the whole cluster.

Pure. The goal is balanced (goals.py), the way there is without a stop: a task that is served moves only to a
place that has its state, others are warmed up there first. What nobody serves runs at once, where its state is nearest.
The result, applied, is the same again while facts are the same, but for what a move makes possible.
It must not know how tasks are revoked, released and granted.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from ..ids import SlotId, TaskId
from .goals import choose_goals
from .lags import Lags
from .load import choose_swap
from .situation import Assignment, Situation
from .standbys import choose_standbys


class _Decision(msgspec.Struct):
    """What is decided so far, task by task in their order."""

    situation: Situation
    lags: Lags
    # Slots with a process that takes grants, in order; and those of each host.
    ready: dict[SlotId, None]
    by_host: dict[str, list[SlotId]]
    owners: dict[TaskId, SlotId] = msgspec.field(default_factory=dict)
    counts: Counter[SlotId] = msgspec.field(default_factory=Counter)
    # Tasks that are to be elsewhere in the end, and where.
    waiting: dict[TaskId, SlotId] = msgspec.field(default_factory=dict)

    def give(self, task: TaskId, slot: SlotId, goal: SlotId) -> None:
        """Let a slot own a task for now."""
        self.owners[task] = slot
        self.counts[slot] += 1
        if slot != goal:
            self.waiting[task] = goal

    def can_move(self, task: TaskId, slot: SlotId) -> bool:
        """Whether a task that is served may go there now."""
        return slot in self.ready and self.lags.is_warm(task, slot)

    def nearest(self, task: TaskId) -> SlotId | None:
        """The best place that is warm and ready, of equals one with a standby, then the emptiest; or None."""
        standbys, behind = self.situation.standbys.get(task, ()), self.lags.task(task)
        is_warm_anywhere = behind.far <= self.situation.lag_max
        hosts = self.by_host.keys() if is_warm_anywhere else behind.near.keys() & self.by_host.keys()
        warm = [slot for host in hosts for slot in self.by_host[host] if self.lags.is_warm(task, slot)]
        return min(
            warm,
            key=lambda slot: (behind.of(slot.host), slot not in standbys, self.counts[slot], slot),
            default=None,
        )


def assign(situation: Situation) -> Assignment:
    """Decide where tasks and standbys should be now.

    Cost: that of `balance` while something is out of balance, else about one pass over tasks and standbys.
    """
    if not situation.places:
        owners = {task: situation.owners[task] for task in sorted(set(situation.tasks)) if situation.is_served(task)}
        return Assignment(owners, {})
    lags = Lags.of(situation)
    ready = dict.fromkeys(sorted(place.slot for place in situation.places if place.ready))
    by_host: dict[str, list[SlotId]] = {}
    for slot in ready:
        by_host.setdefault(slot.host, []).append(slot)
    decision = _Decision(situation, lags, ready, by_host)
    goals = choose_goals(situation, lags)
    held: set[TaskId] = set()
    if all(situation.is_served(task) and situation.owners[task] == goal for task, goal in goals.items()):
        held = _swap(situation, decision, goals)
    for task, goal in goals.items():
        if task in held:
            decision.give(task, situation.owners[task], goal)
        elif situation.is_served(task):
            decision.give(task, _while_served(decision, task, goal), goal)
        else:
            decision.give(task, _while_dead(decision, task, goal), goal)
    standbys = choose_standbys(situation, lags, decision.owners, decision.waiting)
    return Assignment(decision.owners, standbys)


def _swap(situation: Situation, decision: _Decision, goals: dict[TaskId, SlotId]) -> set[TaskId]:
    """Let two tasks change places for the load's sake; returns them while they must wait for each other."""
    if (swap := choose_swap(situation, decision.lags, goals)) is None:
        return set()
    more, less = swap
    goals[more], goals[less] = goals[less], goals[more]
    return set() if all(decision.can_move(task, goals[task]) for task in swap) else set(swap)


def _while_served(decision: _Decision, task: TaskId, goal: SlotId) -> SlotId:
    """Who owns a task that somebody works on: it stays until its goal is as good."""
    situation = decision.situation
    owner = situation.owners[task]
    if goal in (owner, situation.moving.get(task)) or decision.can_move(task, goal):
        return goal
    if task not in situation.out_of_time or owner in decision.ready:
        return owner
    if (warm := decision.nearest(task)) is not None:
        return warm
    if goal in decision.ready or not decision.ready:
        return goal if decision.ready else owner
    return min(decision.ready, key=lambda slot: (decision.counts[slot], slot))


def _while_dead(decision: _Decision, task: TaskId, goal: SlotId) -> SlotId:
    """Who owns a task that nobody works on: its goal, unless it could go on elsewhere while that restores."""
    if decision.lags.is_warm(task, goal):
        return goal
    warm = decision.nearest(task)
    return goal if warm is None else warm
