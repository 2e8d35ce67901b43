"""The decisions of one host about its own processes: events in, effects out. Pure: time is a Tick, processes are words.

    Assigned (this host is registered) ──> Spawn each slot
    WorkerReady ──> Confirm ──> WorkerConfirmed ──> Lead, Grant, Follow  (a worker gets tasks only from a log read
    WorkerGone ──> Spawn, or wait, or end                                after its fence: docs/hosts.md)
    Assigned elsewhere ──> Revoke ──> WorkerReleased or WorkerGone

Who gets what is not decided here but read from the control log. The table of a slot's states opens machine/slots.py;
grants are in machine/moves.py, ends in machine/ends.py, time in machine/watch.py; the cluster in machine/node.py.
"""

from __future__ import annotations

from typing import assert_never

from streamcluster.errors import ExitCode
from streamcluster.ids import Slot, TaskId
from streamcluster.settings import Settings

from . import events as ev
from .ends import end_at_once, leave, leave_if_empty, start, worker_gone
from .events import Effect, LocalEvent
from .moves import follows, free_all, reconcile, released
from .slots import SlotProcess, State
from .watch import continue_roll, heard, tick


class Machine:
    """The one on each host. `state` is for reading (reports, status, tests)."""

    __slots__ = ("state",)

    def __init__(self, settings: Settings, *, slots: int) -> None:
        self.state = State(settings=settings)
        self.state.places = {Slot(number): SlotProcess(Slot(number)) for number in range(slots)}

    def handle(self, event: LocalEvent) -> list[Effect]:
        """Take one event and say what to do, in order."""
        match event:
            case ev.Tick(now):
                return tick(self.state, now)
            case ev.Assigned():
                return self._assigned(event)
            case ev.WorkerGone():
                return worker_gone(self.state, event) + leave_if_empty(self.state)
            case ev.StopRequested(interrupt):
                return self._stop(interrupt=interrupt)
            case ev.RestartRequested():
                return self._restart()
            case ev.StacksRequested():
                live = [place.slot for place in self.state.ordered() if place.pid is not None]
                return [ev.AskStacks(None), *(ev.AskStacks(slot) for slot in live)]
            case ev.MoreWorkers():
                return self._more()
            case ev.FewerWorkers():
                return self._fewer()
            case ev.EndAtOnce(code, text):
                return end_at_once(self.state, code, text)
            case _:
                return self._from_worker(event)

    def _assigned(self, event: ev.Assigned) -> list[Effect]:
        """The newest word of the control log. An older one than the last is not listened to."""
        state = self.state
        if event.epoch < state.epoch:
            return []
        state.epoch = event.epoch
        state.placement, state.standbys = dict(event.tasks), dict(event.standbys)
        state.leader, state.others = event.lead, event.others
        is_new, state.registered = event.registered and not state.registered, event.registered
        effects = reconcile(state)
        if is_new and state.stop is None:
            effects += [effect for place in state.ordered() for effect in start(state, place)]
        if event.roll > state.cluster_roll:
            state.cluster_roll = event.roll
            effects += self._restart()
        return effects + leave_if_empty(state)

    def _from_worker(
        self,
        event: ev.WorkerStarted
        | ev.WorkerReady
        | ev.WorkerConfirmed
        | ev.WorkerReport
        | ev.WorkerReleased
        | ev.WorkerFollows
        | ev.WorkerStored
        | ev.WorkerFailed,
    ) -> list[Effect]:
        state = self.state
        place = state.places.get(event.slot)
        if place is None or not place.has_process():
            return []
        if isinstance(event, ev.WorkerStarted):
            place.pid, place.heard = event.pid, state.now
            return []
        if place.pid is None:
            # It is from the predecessor of a process that is only asked for.
            return []
        effects = heard(state, place)
        match event:
            case ev.WorkerReady(session=session):
                return effects + self._ready(place, session)
            case ev.WorkerConfirmed():
                return effects + self._confirmed(place, event)
            case ev.WorkerReport(report=report):
                place.report = report
                return effects
            case ev.WorkerReleased(tasks=tasks):
                return effects + released(state, place.slot, tasks) + leave_if_empty(state)
            case ev.WorkerFollows(epoch=epoch, tasks=tasks):
                return effects + follows(state, place.slot, epoch, tasks)
            case ev.WorkerStored(positions=positions):
                free = {TaskId.parse(task): at for task, at in positions.items()}
                state.stored.update(
                    {t: at for t, at in free.items() if t not in state.held and t not in state.followed}
                )
                return effects
            case ev.WorkerFailed():
                place.failure = event
                return effects
            case _:
                assert_never(event)

    def _ready(self, place: SlotProcess, session: int) -> list[Effect]:
        """It owns the slot's transactional id, and has no task: a new process, or one with new clients (H5)."""
        if not place.move("ready", self.state.now):
            return []
        assert place.pid is not None  # or nobody could have been ready
        free_all(self.state, place, fenced=True)
        place.own_slot(session)
        return [ev.Confirm(place.slot, place.pid, session)]

    def _confirmed(self, place: SlotProcess, event: ev.WorkerConfirmed) -> list[Effect]:
        if (place.pid, place.session) != (event.pid, event.session) or not place.move("confirmed", self.state.now):
            return []
        place.prove()
        return reconcile(self.state) + continue_roll(self.state)

    def _stop(self, *, interrupt: bool) -> list[Effect]:
        stop = self.state.stop
        if stop is None and self.state.leave_by is None:
            return leave(self.state)
        if interrupt and (stop is None or stop.deadline > self.state.now):
            code = (stop.code if stop is not None else 0) or ExitCode.TEMPORARY_FAILURE
            return end_at_once(self.state, int(code), "stopped at once, as asked; what was not committed is done again")
        return []

    def _restart(self) -> list[Effect]:
        self.state.rolls += 1
        if self.state.stop is not None or self.state.leave_by is not None or self.state.rolling is not None:
            return []
        self.state.roll = [place.slot for place in self.state.serving()]
        text = f"restarting {len(self.state.roll)} workers, one at a time"
        return [ev.Say("info", text), *continue_roll(self.state)]

    def _more(self) -> list[Effect]:
        """One more worker, in the lowest slot that is free."""
        state = self.state
        if state.stop is not None or state.leave_by is not None or not state.registered:
            return []
        free = next(number for number in range(len(state.places) + 1) if Slot(number) not in state.places)
        place = SlotProcess(Slot(free), proven=False)
        state.places[place.slot] = place
        return [ev.Say("info", f"one worker more: {len(state.places)} now"), *start(state, place)]

    def _fewer(self) -> list[Effect]:
        state = self.state
        staying = [place for place in state.ordered() if not place.retiring]
        if state.stop is not None or state.leave_by is not None or not state.registered:
            return []
        if len(staying) == 1:
            return [ev.Say("warning", "this is the last worker: to end it, stop the app")]
        leaving = staying[-1]
        leaving.retiring = True
        effects: list[Effect] = [ev.Say("info", f"one worker fewer: {len(staying) - 1} now")]
        if leaving.state in ("absent", "backing_off"):
            del state.places[leaving.slot]
        return effects + reconcile(state)
