"""Who has which task, and how tasks move: revoke, wait for the release or the owner's death, then grant.

`held` is the truth that I1 is about: a task is in it from its Grant until the worker's Released or the kernel's word
that the process is gone. Nothing else takes it out, and only tasks that are not in it are granted.
"""

from __future__ import annotations

from collections.abc import Iterator

from streamcluster.ids import Slot, TaskId
from streamcluster.messages import Drain, Grant, Lead, Revoke
from streamcluster.placement import place

from .machine_events import Effect, Send
from .machine_slots import State


def rebalance(state: State) -> list[Effect]:
    """Compute the wanted placement anew and start what leads there.

    A worker that died and comes back at once keeps its tasks, and its state with them; a new one and one in a crash
    loop get some when they serve.
    """
    staying = [place for place in state.ordered() if not place.retiring]
    # When all are in a crash loop, tasks wait where they would be without it.
    slots = [place.slot for place in staying if place.proven or place.is_serving()] or [place.slot for place in staying]
    if state.stop is None:
        state.placement = place(state.tasks, slots, state.placement)
    return reconcile(state)


def reconcile(state: State) -> list[Effect]:
    """Ask back what is in the wrong place, grant what nobody holds, and see that one worker leads."""
    if state.stop is not None:
        return []
    effects = list(_lead(state))
    revoked: dict[Slot, list[TaskId]] = {}
    granted: dict[Slot, list[TaskId]] = {}
    for task in state.tasks:
        wanted, holder = state.placement.get(task), state.held.get(task)
        if holder is None:
            if wanted is not None and state.places[wanted].is_serving():
                granted.setdefault(wanted, []).append(task)
        elif holder != wanted and task not in state.revoking and state.places[holder].is_serving():
            revoked.setdefault(holder, []).append(task)
    if not granted and not revoked:
        return effects + _retire_the_empty(state)
    state.epoch += 1
    for slot in sorted(revoked):
        state.revoking.update(revoked[slot])
        effects.append(Send(slot, Revoke(epoch=state.epoch, tasks=tuple(revoked[slot]))))
    for slot in sorted(granted):
        state.held.update(dict.fromkeys(granted[slot], slot))
        effects.append(Send(slot, Grant(epoch=state.epoch, tasks=tuple(granted[slot]))))
    return effects + _retire_the_empty(state)


def _lead(state: State) -> Iterator[Effect]:
    """Give the on_leader tasks to the lowest serving slot, when no process has them."""
    if state.leader is not None:
        return
    for chosen in state.serving():
        if not chosen.retiring:
            state.leader = chosen.slot
            yield Send(chosen.slot, Lead(epoch=state.epoch, leader=True))
            return


def _retire_the_empty(state: State) -> list[Effect]:
    """Drain the retiring workers that have given back everything."""
    effects: list[Effect] = []
    for retiring in state.serving():
        if retiring.retiring and not state.tasks_of(retiring.slot):
            retiring.move("drain", state.now)
            effects.append(Send(retiring.slot, Drain()))
    return effects


def released(state: State, slot: Slot, tasks: tuple[TaskId, ...]) -> list[Effect]:
    """The worker gave tasks back: those that we asked for, or all of them one by one while it drains."""
    draining = state.places[slot].state == "draining"
    for task in tasks:
        if state.held.get(task) == slot and (task in state.revoking or draining):
            del state.held[task]
            state.revoking.discard(task)
    return reconcile(state)


def free_all(state: State, slot: Slot) -> None:
    """The kernel says that the process is gone: nothing of it can act any more on this host."""
    for task in state.tasks_of(slot):
        del state.held[task]
        state.revoking.discard(task)
    if state.leader == slot:
        state.leader = None
