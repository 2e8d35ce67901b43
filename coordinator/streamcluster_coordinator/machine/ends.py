"""What follows when a worker's process ends, and how the whole app ends.

Exit codes decide: 65, 70 and 78 that the worker explained end the app after a drain; 69 is the broker's absence and
waits; 76 is a fence, after which the control log says what is ours; everything else is a crash, and crashes in a row
back off.
"""

from __future__ import annotations

from streamcluster.errors import ExitCode
from streamcluster.protocol.messages import Drain

from .events import Effect, Exit, Kill, Say, Send, Spawn, WorkerFailed, WorkerGone
from .moves import free_all, reconcile
from .slots import SlotProcess, State

BACK_OFF_SECONDS_FIRST = 1.0
BACK_OFF_SECONDS_MAX = 30.0
# 1 + 2 + 4 + 8 + 16 s of waiting: when every slot has gone through that, a sixth try is as hopeless.
BACK_OFFS_UNTIL_HOPELESS = 5
BROKER_WAIT_SECONDS_MAX = 5.0
# Whoever fenced the worker wrote to the control log before: by then it has told us, should it be another coordinator
# of this host's name.
FENCED_WAIT_SECONDS = 0.5
SIGKILL = 9
SIGNAL_NAMES = {4: "illegal instruction", 6: "abort", 7: "bus error", 11: "segmentation fault", 15: "SIGTERM"}
_ENDING = (ExitCode.STATE_INCOMPATIBLE, ExitCode.CRASH_LOOP, ExitCode.CONFIGURATION)


def worker_gone(state: State, event: WorkerGone) -> list[Effect]:
    """Free what the process held, then replace it, wait, or end the app."""
    place = state.places.get(event.slot)
    if place is None or (event.pid is not None and place.pid != event.pid) or not place.has_process():
        return []
    asked_to_end = place.state == "draining" and event.code in (ExitCode.DRAINED, ExitCode.TEMPORARY_FAILURE)
    had_tasks = bool(state.tasks_of(place.slot))
    # What it said last, DRAINED, it says only after a definite commit.
    is_definite = event.code == ExitCode.DRAINED and asked_to_end
    free_all(state, place, fenced=is_definite)
    place.move("gone", state.now)
    failure, reason = place.failure, _reason(place, event)
    place.clear(reason if _may_be_killed_by_event(place, event) and not asked_to_end else None)
    if not asked_to_end and not (state.stop is not None and event.code == -SIGKILL):
        place.count_death(reason)
        state.last_failure = failure or state.last_failure
    if state.stop is not None:
        state.stop.cut_short |= event.code == ExitCode.TEMPORARY_FAILURE or (had_tasks and not asked_to_end)
    return _next(state, place, event.code, failure, asked_to_end=asked_to_end)


def _may_be_killed_by_event(place: SlotProcess, event: WorkerGone) -> bool:
    """Not what we end on purpose, nor what says why it ends.

    An end whose exit code is not known may be one: on a busy machine the fork server may be late to tell.
    """
    if place.failure is not None or event.code in (ExitCode.FENCED, ExitCode.BROKER_UNREACHABLE):
        return False
    return place.cause is None or place.hung


def _next(
    state: State, place: SlotProcess, code: int | None, failure: WorkerFailed | None, *, asked_to_end: bool
) -> list[Effect]:
    if state.stop is not None:
        return finish(state)
    if place.retiring:
        del state.places[place.slot]
        return reconcile(state)
    if code == ExitCode.FENCED:
        return _wait(state, place, FENCED_WAIT_SECONDS)
    if failure is not None and code in _ENDING:
        text = f"worker {place.slot}: {place.last_death}. The app stops: a restart would not help"
        return begin_stop(state, int(code), Say("error", text, failure.traceback))
    if asked_to_end:
        return start(state, place) + reconcile(state)
    if code == ExitCode.BROKER_UNREACHABLE:
        place.broker_waits += 1
        return _wait(state, place, min(BROKER_WAIT_SECONDS_MAX, 0.5 * 2 ** min(place.broker_waits, 10)))
    return _crashed(state, place, failure)


def _crashed(state: State, place: SlotProcess, failure: WorkerFailed | None) -> list[Effect]:
    """Replace the worker in its slot at once, unless it is in a crash loop: then wait, and spread its tasks."""
    settings = state.settings
    traceback = failure.traceback if failure is not None else None
    place.deaths = [*(at for at in place.deaths if state.now - at < settings.crash_loop_window), state.now]
    if place.back_offs == 0 and len(place.deaths) < settings.crash_loop_deaths:
        # That it was replaced, and why, is in the status; a traceback is not.
        said = [Say("error", f"worker {place.slot}: {place.last_death}", traceback)] if traceback else []
        return said + start(state, place) + reconcile(state)
    place.back_offs += 1
    if _is_hopeless(state):
        text = f"every worker dies again and again, the last time: {place.last_death}. Giving up"
        last = state.last_failure.traceback if state.last_failure is not None else None
        return begin_stop(state, ExitCode.CRASH_LOOP, Say("error", text, last))
    seconds = min(BACK_OFF_SECONDS_MAX, BACK_OFF_SECONDS_FIRST * 2 ** min(place.back_offs - 1, 10))
    place.doubt()
    others = "others do its tasks meanwhile" if len(state.places) > 1 or state.others else "its tasks wait"
    text = f"worker {place.slot} dies again and again: {place.last_death}. Next try in {seconds:.0f} s, {others}"
    return [Say("warning", text, traceback), *_wait(state, place, seconds)]


def _is_hopeless(state: State) -> bool:
    return all(place.back_offs > BACK_OFFS_UNTIL_HOPELESS for place in state.places.values())


def _wait(state: State, place: SlotProcess, seconds: float) -> list[Effect]:
    place.move("back_off", state.now)
    place.retry_at = state.now + seconds
    return reconcile(state)


def start(state: State, place: SlotProcess) -> list[Effect]:
    """Fill the slot, once the control log has this host."""
    if not state.registered or not place.move("start", state.now):
        return []
    inventory, state.has_inventory = not state.has_inventory, True
    return [Spawn(place.slot, inventory, place.death)]


def _reason(place: SlotProcess, event: WorkerGone) -> str:
    """Why the process ended, as a sentence without its full stop."""
    if place.cause is not None:
        return place.cause
    if event.text is not None:
        return event.text
    if place.failure is not None:
        return place.failure.text.rstrip(".")
    if event.code is None:
        return "it ended, and its exit code is not known"
    if event.code >= 0:
        return f"it exited with code {event.code} and did not say why"
    if -event.code == SIGKILL:
        return "killed by signal 9, perhaps out of memory (`dmesg` or `journalctl -k` tells)"
    return f"killed by signal {-event.code} ({SIGNAL_NAMES.get(-event.code, 'see signal(7)')})"


def leave(state: State) -> list[Effect]:
    """End as asked: other hosts get our tasks first, where there are any that could take them."""
    seconds = state.settings.drain_timeout
    if not state.others:
        return begin_stop(state, ExitCode.DRAINED, Say("info", f"draining, for at most {seconds:g} s"))
    state.leave_by = state.now + seconds
    state.end_roll()
    text = f"leaving: other hosts take over {len(state.held)} tasks, for at most {seconds:g} s"
    return [Say("info", text), *leave_if_empty(state)]


def leave_if_empty(state: State) -> list[Effect]:
    """Go on with leaving when nothing is left to hand over, nobody is there to take it, or it takes too long."""
    if state.leave_by is None or state.stop is not None:
        return []
    # What is not handed over in half the time is drained in the other half.
    is_late = state.now >= state.leave_by - state.settings.drain_timeout / 2
    if state.others and not is_late and (state.placement or state.held):
        return []
    why = "were not taken over in time" if state.others else "have no other host to go to"
    said = Say("warning", f"{len(state.held)} tasks {why}: draining") if state.held else None
    return begin_stop(state, ExitCode.DRAINED, said, deadline=state.leave_by)


def begin_stop(state: State, code: int, say: Say | None, *, deadline: float | None = None) -> list[Effect]:
    """Let every worker finish, and end with `code` when all are gone."""
    if state.stop is not None:
        return []
    state.begin_stop(code, deadline or state.now + state.settings.drain_timeout)
    effects: list[Effect] = [] if say is None else [say]
    for place in state.ordered():
        if place.state in ("joining", "running", "stalled"):
            place.move("drain", state.now)
            effects.append(Send(place.slot, Drain()))
        elif place.state == "starting":
            # It has no tasks yet, and may be waiting for a broker that does not answer.
            effects += kill(state, place, "killed while it started, because the app stops")
        elif place.state == "backing_off":
            place.move("gone", state.now)
    return effects + finish(state)


def end_at_once(state: State, code: int, text: str) -> list[Effect]:
    """Kill all: what is not committed is somebody else's by now, or is done again at the next start."""
    already = state.stop is not None and state.stop.code == code
    state.begin_stop(code, state.now)
    effects: list[Effect] = [] if already else [Say("error", text)]
    for place in state.ordered():
        if place.state == "backing_off":
            place.move("gone", state.now)
        else:
            effects += kill(state, place, text)
    return effects + finish(state)


def kill(state: State, place: SlotProcess, cause: str) -> list[Effect]:
    """Kill the process in `place`, and remember why."""
    if not place.move("kill", state.now):
        return []
    place.cause = cause
    return [Kill(place.slot)]


def finish(state: State) -> list[Effect]:
    """Exit when everything is gone."""
    assert state.stop is not None
    if any(place.has_process() for place in state.places.values()):
        return []
    code = state.stop.code
    if code == ExitCode.DRAINED and state.stop.cut_short:
        code = ExitCode.TEMPORARY_FAILURE
    said = [Say("info", "drained: everything that was begun is committed")] if code == ExitCode.DRAINED else []
    return [*said, Exit(int(code))]
