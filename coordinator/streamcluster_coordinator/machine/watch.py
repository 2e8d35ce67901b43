"""What time does: silent workers are reported and then killed, waiting slots are filled, deadlines end waits.

Only kills follow from time, never a change of ownership: that waits for the kernel's word (I1).
"""

from __future__ import annotations

from streamcluster.protocol.messages import Drain

from .ends import kill, leave_if_empty, start
from .events import AskStacks, Effect, Say, Send
from .slots import DYING_SECONDS, SlotProcess, State, release_seconds


def tick(state: State, now: float) -> list[Effect]:
    """Take the time and do what is due."""
    _forgive_own_absence(state, now)
    state.now = now
    if state.stop is not None:
        return _stop_deadline(state)
    effects: list[Effect] = []
    for place in state.ordered():
        effects += _watch(state, place)
    return effects + continue_roll(state) + leave_if_empty(state)


def _forgive_own_absence(state: State, now: float) -> None:
    """When it was the coordinator that did not run (suspended, stopped), the workers' silence means nothing."""
    gap = now - state.now
    if gap > state.settings.stall_report / 2:
        for place in state.places.values():
            place.forgive(gap)
        state.revoking = {task: since + gap for task, since in state.revoking.items()}


def _watch(state: State, place: SlotProcess) -> list[Effect]:
    settings = state.settings
    match place.state:
        case "backing_off":
            return start(state, place) if state.now >= place.retry_at else []
        case "starting" | "joining":
            # Its first answer waits for a broker, and for the predecessor's transaction to be aborted.
            patience = settings.stall_timeout + settings.connect_timeout
            if state.now - place.since < patience:
                return []
            return kill(state, place, f"killed after {patience:.0f} s in which it did not become ready")
        case "running" | "stalled":
            if place.back_offs and state.now - place.since >= settings.crash_loop_window:
                place.back_offs = 0
            return _late_release(state, place) or _listen(state, place)
        case "dying":
            return _outlived(state, place)
        case "draining":
            late = state.now - place.since >= settings.drain_timeout
            return kill(state, place, f"killed {settings.drain_timeout:.0f} s after it was told to end") if late else []
        case _:
            return []


def _late_release(state: State, place: SlotProcess) -> list[Effect]:
    """Say once that a worker does not give tasks back; later kill it, since nobody else can have them until then."""
    asked = {task: since for task, since in sorted(state.revoking.items()) if state.held.get(task) == place.slot}
    if place.report is not None and place.report.broker == "down":
        # It could not commit if it wanted to: its time begins when it can.
        state.revoking.update(dict.fromkeys(asked, state.now))
        return []
    told = state.settings.drain_timeout
    late = {task: state.now - since for task, since in asked.items() if state.now - since >= told}
    names, patience = ", ".join(map(str, late)), release_seconds(state.settings)
    if late and max(late.values()) >= patience:
        return kill(state, place, f"killed because it had not given back {names} within {patience:g} s")
    has_told, place.told_late = place.told_late, bool(late)
    if not late or has_told:
        return []
    text = (
        f"worker {place.slot} has not given back {names} within {told:g} s. Its stacks follow; it is killed after "
        f"{patience:g} s"
    )
    return [Say("warning", text), AskStacks(place.slot)]


def _outlived(state: State, place: SlotProcess) -> list[Effect]:
    """No kill is of use: its tasks are not to wait for it."""
    if not place.proven or state.now - place.since < DYING_SECONDS:
        return []
    place.doubt()
    text = f"worker {place.slot} was killed {DYING_SECONDS:.0f} s ago and is still there: does its disk answer?"
    return [Say("error", text)]


def _listen(state: State, place: SlotProcess) -> list[Effect]:
    """Say once that a worker is silent, with its stacks; later kill it."""
    settings = state.settings
    silence = state.now - place.heard
    if silence >= settings.stall_timeout:
        cause = f"killed after {settings.stall_timeout:.0f} s without a heartbeat; its stacks are in the log"
        place.hung = True
        return kill(state, place, cause)
    if silence >= settings.stall_report and place.move("silent", state.now):
        text = (
            f"worker {place.slot} has sent no heartbeat for {settings.stall_report:.0f} s: something blocks its event "
            f"loop. Its stacks follow; it is killed after {settings.stall_timeout:.0f} s"
        )
        return [Say("warning", text), AskStacks(place.slot)]
    return []


def _stop_deadline(state: State) -> list[Effect]:
    assert state.stop is not None
    if state.now < state.stop.deadline:
        return []
    late = [place for place in state.ordered() if place.state in ("joining", "draining")]
    if not late:
        return []
    names = ", ".join(str(place.slot) for place in late)
    text = f"not drained within {state.settings.drain_timeout:g} s, killed: worker {names}. Nothing committed is lost"
    state.stop.cut_short = True
    return [Say("error", text), *(effect for place in late for effect in kill(state, place, text))]


def continue_roll(state: State) -> list[Effect]:
    """Restart the next worker of a rolling restart when the last one serves again."""
    if state.rolling is not None:
        current = state.places.get(state.rolling)
        if current is not None and current.state == "backing_off":
            state.end_roll()
            state.finish_cluster_roll()
            return [Say("error", f"the rolling restart stops: worker {current.slot} does not come back")]
        if current is not None and not current.is_serving():
            return []
        state.rolling = None
        if not state.roll:
            state.finish_cluster_roll()
            return [Say("info", "the rolling restart is done")]
    while state.roll:
        place = state.places.get(state.roll.pop(0))
        if place is not None and place.is_serving() and not place.retiring:
            place.move("drain", state.now)
            state.rolling = place.slot
            return [Send(place.slot, Drain())]
    return []


def heard(state: State, place: SlotProcess) -> list[Effect]:
    """The worker said something, so its loop turns."""
    silence = state.now - place.heard
    place.heard = state.now
    if place.state == "stalled" and place.move("heard", state.now):
        return [Say("info", f"worker {place.slot} answers again, after {silence:.0f} s")]
    return []
