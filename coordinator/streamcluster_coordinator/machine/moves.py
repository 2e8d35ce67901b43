"""Makes this host be what the newest snapshot says: revoke, wait for the release or the owner's death, then grant.

`held` is the truth that I1 is about: a task is in it from its Grant until the worker's Released or the kernel's word
that the process is gone. Nothing else takes it out, and only tasks that are not in it are granted. A store is open in
one process at a time, so a grant also waits until no other process here follows the task, and the reverse.
"""

from __future__ import annotations

from streamcluster.ids import Slot, TaskId
from streamcluster.protocol.messages import Drain, Follow, Grant, Lead, Revoke

from .events import Effect, Send
from .slots import SlotProcess, State


def reconcile(state: State) -> list[Effect]:
    """Ask back what is in the wrong place, grant what nobody holds, keep standbys, and see who leads."""
    if state.stop is not None:
        return []
    effects = _lead(state)
    revoked: dict[Slot, list[TaskId]] = {}
    granted: dict[Slot, list[TaskId]] = {}
    for task in sorted({*state.placement, *state.held}):
        wanted, holder = state.placement.get(task), state.held.get(task)
        if holder is None:
            if wanted is not None and _may_have(state, task, wanted):
                granted.setdefault(wanted, []).append(task)
        elif holder != wanted and task not in state.revoking and state.places[holder].is_serving():
            revoked.setdefault(holder, []).append(task)
    for slot in sorted(revoked):
        state.revoking.update(dict.fromkeys(revoked[slot], state.now))
        session = state.places[slot].session
        effects.append(Send(slot, Revoke(epoch=state.epoch, session=session, tasks=tuple(revoked[slot]))))
    for slot in sorted(granted):
        session = state.places[slot].session
        effects.append(Send(slot, Grant(epoch=state.epoch, session=session, tasks=tuple(granted[slot]))))
        _granted(state, state.places[slot], granted[slot])
    return effects + _follow(state) + _retire_the_empty(state)


def _may_have(state: State, task: TaskId, slot: Slot) -> bool:
    """The slot's process takes grants, and no other process here has the store open."""
    place = state.places.get(slot)
    return place is not None and place.is_serving() and state.followed.get(task, slot) == slot


def _granted(state: State, place: SlotProcess, tasks: list[TaskId]) -> None:
    state.held.update(dict.fromkeys(tasks, place.slot))
    for task in tasks:
        state.stored.pop(task, None)
        # A standby that is granted its task is none any more, and its worker knows that.
        state.followed.pop(task, None)
    place.told_follow = tuple(task for task in place.told_follow if task not in tasks)


def _follow(state: State) -> list[Effect]:
    """Tell each worker whose list of standbys has changed."""
    effects: list[Effect] = []
    for place in state.serving():
        wanted = tuple(
            task
            for task in sorted(state.standbys)
            if state.standbys[task] == place.slot
            and task not in state.held
            and state.followed.get(task, place.slot) == place.slot
        )
        if wanted == place.told_follow:
            continue
        place.follow(wanted, state.epoch)
        state.followed.update(dict.fromkeys(wanted, place.slot))
        for task in wanted:
            state.stored.pop(task, None)
        effects.append(Send(place.slot, Follow(epoch=state.epoch, session=place.session, tasks=wanted)))
    return effects


def follows(state: State, slot: Slot, epoch: int, tasks: tuple[TaskId, ...]) -> list[Effect]:
    """The worker has closed the stores of all standbys but these, as it was told in that epoch."""
    place = state.places[slot]
    if epoch < place.told_follow_at:
        # It has yet to read of tasks that it was told to follow later, and not to follow any more.
        return []
    for task in [task for task, follower in state.followed.items() if follower == slot]:
        if task not in tasks and task not in place.told_follow:
            del state.followed[task]
    return reconcile(state)


def _lead(state: State) -> list[Effect]:
    """Let one worker of the cluster have the on_leader work, when it is one of ours."""
    effects: list[Effect] = []
    for place in state.serving():
        leads = place.slot == state.leader
        if leads != place.told_lead:
            place.told_lead = leads
            effects.append(Send(place.slot, Lead(epoch=state.epoch, leader=leads)))
    return effects


def _retire_the_empty(state: State) -> list[Effect]:
    """Drain the retiring workers that have given back everything."""
    effects: list[Effect] = []
    for retiring in state.serving():
        owns = retiring.slot in state.placement.values()
        if retiring.retiring and not owns and not state.tasks_of(retiring.slot):
            retiring.move("drain", state.now)
            effects.append(Send(retiring.slot, Drain()))
    return effects


def released(state: State, slot: Slot, tasks: tuple[TaskId, ...]) -> list[Effect]:
    """The worker gave tasks back: those that we asked for, or all of them one by one while it drains."""
    place = state.places[slot]
    for task in tasks:
        if state.held.get(task) == slot and (task in state.revoking or place.state == "draining"):
            del state.held[task]
            state.revoking.pop(task, None)
            _remember_stored(state, place, task)
    return reconcile(state)


def _remember_stored(state: State, place: SlotProcess, task: TaskId) -> None:
    """What the disk has of a task that is in nobody's hands now, as its last report said."""
    reported = place.report.tasks if place.report is not None else ()
    state.stored.update(
        {report.task: report.figures.stored for report in reported if report.task == task and report.figures.stored}
    )


def free_all(state: State, place: SlotProcess, *, fenced: bool) -> None:
    """The process can act no more: the kernel says that it is gone, or it has begun anew.

    fenced: nor can what it sent before still be committed.
    """
    held = state.tasks_of(place.slot)
    for task in held:
        del state.held[task]
        state.revoking.pop(task, None)
        _remember_stored(state, place, task)
    place.unfenced = set() if fenced else place.unfenced | set(held)
    for task in [task for task, follower in state.followed.items() if follower == place.slot]:
        del state.followed[task]
        _remember_stored(state, place, task)
    place.forget_told()
