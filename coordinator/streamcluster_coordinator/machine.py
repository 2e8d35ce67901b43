"""The coordinator's decisions: events in, effects out. Pure: time is a Tick, processes and Kafka are words.

    Started ──> Spawn each slot
    WorkerReady ──> Confirm ──> WorkerConfirmed ──> Lead, Grant         (a worker gets tasks only from a log read
    WorkerGone ──> its tasks are free ──> Spawn, or wait, or end         after its fence: coordination.md, section 3)
    a task moves: Revoke ──> WorkerReleased or WorkerGone ──> Grant

The table of a slot's states opens machine_slots.py; moves of tasks are in machine_moves.py, ends in machine_ends.py,
time in machine_watch.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from streamcluster.errors import ExitCode
from streamcluster.ids import Slot, TaskId
from streamcluster.settings import Settings

from . import machine_events as ev
from .machine_ends import begin_stop, end_at_once, start, worker_gone
from .machine_events import Effect, Event
from .machine_moves import rebalance, released
from .machine_slots import Place, State
from .machine_watch import continue_roll, heard, tick


class Machine:
    """The one on each host. `state` is for reading (status, tests)."""

    __slots__ = ("state",)

    def __init__(self, settings: Settings, tasks: Sequence[TaskId], *, slots: int, epoch: int) -> None:
        self.state = State(settings=settings, tasks=tuple(sorted(tasks)), epoch=epoch)
        self.state.places = {Slot(number): Place(Slot(number)) for number in range(slots)}

    def handle(self, event: Event) -> list[Effect]:
        """Take one event and say what to do, in order."""
        match event:
            case ev.Tick(now):
                return tick(self.state, now)
            case ev.Started():
                return self._started()
            case ev.WorkerGone():
                return worker_gone(self.state, event)
            case ev.StopRequested(interrupt):
                return self._stop(interrupt=interrupt)
            case ev.RestartRequested():
                return self._restart()
            case ev.StacksRequested():
                live = [place.slot for place in self.state.ordered() if place.pid is not None]
                return [ev.AskStacks(None), *(ev.AskStacks(slot) for slot in live)]
            case ev.MoreWorkers():
                return self._more()
            case ev.SlotsRecorded(count):
                return self._fill(count)
            case ev.FewerWorkers():
                return self._fewer()
            case ev.FencedByAnother(text):
                return end_at_once(self.state, ExitCode.FENCED, text)
            case _:
                return self._from_worker(event)

    def _started(self) -> list[Effect]:
        self.state.started = True
        effects = rebalance(self.state)
        for place in self.state.ordered():
            effects += start(self.state, place)
        return effects

    def _from_worker(
        self,
        event: ev.WorkerStarted
        | ev.WorkerReady
        | ev.WorkerConfirmed
        | ev.WorkerReport
        | ev.WorkerReleased
        | ev.WorkerFailed,
    ) -> list[Effect]:
        place = self.state.places.get(event.slot)
        if place is None or not place.has_process():
            return []
        if isinstance(event, ev.WorkerStarted):
            place.pid, place.heard = event.pid, self.state.now
            return []
        if place.pid is None:
            # It is from the predecessor of a process that is only asked for.
            return []
        effects = heard(self.state, place)
        match event:
            case ev.WorkerReady():
                return effects + self._ready(place)
            case ev.WorkerConfirmed(pid=pid):
                return effects + self._confirmed(place, pid)
            case ev.WorkerReport(report=report):
                place.report = report
                return effects
            case ev.WorkerReleased(tasks=tasks):
                return effects + released(self.state, place.slot, tasks)
            case ev.WorkerFailed():
                place.failure = event
                return effects
            case _:
                assert_never(event)

    def _ready(self, place: Place) -> list[Effect]:
        if not place.move("ready", self.state.now):
            return []
        assert place.pid is not None  # or nobody could have been ready
        return [ev.Confirm(place.slot, place.pid)]

    def _confirmed(self, place: Place, pid: int) -> list[Effect]:
        if place.pid != pid or not place.move("confirmed", self.state.now):
            return []
        place.proven = True
        place.broker_waits = 0
        return rebalance(self.state) + continue_roll(self.state)

    def _stop(self, *, interrupt: bool) -> list[Effect]:
        if self.state.stop is None:
            seconds = self.state.settings.drain_timeout
            return begin_stop(self.state, ExitCode.DRAINED, ev.Say("info", f"draining, for at most {seconds:g} s"))
        if interrupt and self.state.stop.deadline > self.state.now:
            code = self.state.stop.code or ExitCode.DRAIN_DEADLINE
            return end_at_once(self.state, int(code), "stopped at once, as asked; what was not committed is done again")
        return []

    def _restart(self) -> list[Effect]:
        self.state.rolls += 1
        if self.state.stop is not None or self.state.rolling is not None:
            return []
        self.state.roll = [place.slot for place in self.state.serving()]
        text = f"restarting {len(self.state.roll)} workers, one at a time"
        return [ev.Say("info", text), *continue_roll(self.state)]

    def _more(self) -> list[Effect]:
        if self.state.stop is not None or not self.state.started:
            return []
        highest = max(self.state.places)
        has_gap = len(self.state.places) <= highest
        return [ev.RecordSlots(highest + (1 if has_gap else 2))]

    def _fill(self, count: int) -> list[Effect]:
        """One more worker, in the lowest slot that is free and recorded."""
        free = [Slot(number) for number in range(count) if Slot(number) not in self.state.places]
        if self.state.stop is not None:
            return []
        if not free:
            # Two requests came before the first was recorded.
            return [ev.RecordSlots(count + 1)]
        place = Place(free[0], proven=False)
        self.state.places[place.slot] = place
        return [ev.Say("info", f"one worker more: {len(self.state.places)} now"), *start(self.state, place)]

    def _fewer(self) -> list[Effect]:
        staying = [place for place in self.state.ordered() if not place.retiring]
        if self.state.stop is not None or not self.state.started:
            return []
        if len(staying) == 1:
            return [ev.Say("warning", "this is the last worker: to end it, stop the app")]
        leaving = staying[-1]
        leaving.retiring = True
        effects: list[Effect] = [ev.Say("info", f"one worker fewer: {len(staying) - 1} now")]
        if leaving.state in ("absent", "backing_off"):
            del self.state.places[leaving.slot]
        return effects + rebalance(self.state)
