"""The snapshot of what this host does, made of the machine's state and the workers' reports. Pure.

It also keeps what a rate needs: earlier counts and when they were. It decides nothing about workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Literal

import msgspec

from streamcluster.ids import Slot, SlotId, TaskId
from streamcluster.protocol.messages import TaskReport, WorkerFigures

from ..records.status import Status, TaskStatus, WorkerStatus
from .slots import SlotProcess, SlotState, State

# A rate over less is jumpy (reports come twice a second), over more it lags behind what is seen.
RATE_SECONDS = 3.0
# Tasks change places by their rates: these must not follow what a busy machine does within a few seconds, nor what a
# task does that began later than others, or catches up after a stop.
LOAD_SECONDS = 30.0
_SHOWN: dict[SlotState, Literal["starting", "running", "stalled", "backing_off", "draining", "gone"]] = {
    "absent": "gone",
    "backing_off": "backing_off",
    "starting": "starting",
    "joining": "starting",
    "running": "running",
    "stalled": "stalled",
    "draining": "draining",
    "dying": "gone",
}


class HostFacts(msgspec.Struct, frozen=True):
    """What does not change while the app runs. started_at: on the machine's clock."""

    app: str
    host: str
    pid: int
    broker: str
    processing_guarantee: str
    topology_hash: str
    started_at: float


class Rate(msgspec.Struct):
    """How fast a count grows. seen: (when, count), oldest first, over the last `seconds` and one before them."""

    seen: deque[tuple[float, int]] = msgspec.field(default_factory=deque)
    seconds: float = RATE_SECONDS

    def per_second(self, now: float, count: int) -> float:
        """Add the newest count and return the growth per second; 0.0 while unknown."""
        if self.seen and count < self.seen[-1][1]:
            # A new process counts from 0.
            self.seen.clear()
        self.seen.append((now, count))
        while len(self.seen) > 1 and now - self.seen[1][0] >= self.seconds:
            self.seen.popleft()
        elapsed = now - self.seen[0][0]
        return (count - self.seen[0][1]) / elapsed if elapsed > 0 else 0.0

    def per_second_of_all(self, now: float, count: int) -> float | None:
        """The same, and None until it was seen for all of `seconds`."""
        rate = self.per_second(now, count)
        return rate if now - self.seen[0][0] >= self.seconds else None


class Snapshots(msgspec.Struct):
    """Makes snapshots, one after the other."""

    facts: HostFacts
    events: dict[Slot, Rate] = msgspec.field(default_factory=dict)
    restored: dict[TaskId, Rate] = msgspec.field(default_factory=dict)
    positions: dict[TaskId, Rate] = msgspec.field(default_factory=dict)

    def take(self, state: State) -> Status:
        """The newest snapshot, of this host's own slots and tasks; standbys are among the tasks."""
        whose = {**state.followed, **state.held}
        reports = {
            report.task: report
            for place in state.ordered()
            if place.report is not None
            for report in place.report.tasks
            if whose.get(report.task) == place.slot
        }
        workers = tuple(self._worker(state, place) for place in state.ordered())
        tasks = tuple(self._task(state, task, reports.get(task)) for task in sorted(whose))
        reported_down = any(place.report is not None and place.report.broker == "down" for place in state.ordered())
        return Status(
            app=self.facts.app,
            host=self.facts.host,
            pid=self.facts.pid,
            state=_overall(state),
            broker=self.facts.broker,
            broker_state="down" if reported_down or any(p.broker_waits for p in state.ordered()) else "up",
            processing_guarantee=self.facts.processing_guarantee,
            epoch=state.epoch,
            uptime=state.now - self.facts.started_at,
            rolls=state.rolls,
            rolling=state.rolling is not None or bool(state.roll),
            workers=workers,
            tasks=tasks,
            topology_hash=self.facts.topology_hash,
        )

    def _worker(self, state: State, place: SlotProcess) -> WorkerStatus:
        report = place.report
        figures = report.figures if report is not None else WorkerFigures()
        rate = self.events.setdefault(place.slot, Rate()).per_second(state.now, figures.events_total)
        return WorkerStatus(
            slot=place.slot,
            pid=place.pid,
            state="starting" if place.state == "absent" and state.stop is None else _SHOWN[place.state],
            leader=place.told_lead,
            tasks=tuple(str(task) for task in state.tasks_of(place.slot)),
            figures=figures,
            events_per_second=round(rate, 1),
            restarts=place.restarts,
            last_death=place.last_death,
            host=self.facts.host,
            standbys=tuple(map(str, place.told_follow)),
        )

    def _task(self, state: State, task: TaskId, report: TaskReport | None) -> TaskStatus:
        is_standby = task not in state.held
        slot = state.followed[task] if is_standby else state.held[task]
        owner = None if is_standby else str(SlotId(self.facts.host, slot))
        if report is None:
            self.restored.pop(task, None)
            return TaskStatus(task=str(task), slot=slot, state="standby" if is_standby else "starting", owner=owner)
        eta = None
        if report.state == "restoring":
            rate = self.restored.setdefault(task, Rate()).per_second(state.now, report.figures.restored)
            left = report.figures.restore_total - report.figures.restored
            eta = round(left / rate, 1) if rate > 0 and left >= 0 else None
        else:
            self.restored.pop(task, None)
        return TaskStatus(
            task=str(task),
            slot=slot,
            state=report.state,
            figures=report.figures,
            restore_eta=eta,
            owner=owner,
            events_per_second=self._load(task, report.figures.positions, state.now),
        )

    def _load(self, task: TaskId, positions: Mapping[str, int], now: float) -> float | None:
        """How fast a task's positions move. What it did before a stop counts: it catches up on nothing new."""
        if not positions:
            return None
        seen = self.positions.setdefault(task, Rate(seconds=LOAD_SECONDS))
        rate = seen.per_second_of_all(now, sum(positions.values()))
        return None if rate is None else round(rate, 1)


def _overall(state: State) -> Literal["starting", "running", "draining", "degraded"]:
    """One word for the app."""
    if state.stop is not None or state.leave_by is not None:
        return "draining"
    places = state.ordered()
    if state.rolling is not None:
        return "running"
    if any(place.state in ("stalled", "backing_off", "dying") for place in places):
        return "degraded"
    if state.registered and state.placement.keys() <= state.held.keys() and any(p.is_serving() for p in places):
        return "running"
    return "degraded" if any(place.restarts for place in places) else "starting"
