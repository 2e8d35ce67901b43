"""The life cycle of a worker's tasks: pure, events in and effects out; `runtime.py` performs the effects.

    state      | granted | opened    | restored | lost*   | revoked | closed
    -----------+---------+-----------+----------+---------+---------+---------
    absent     | opening |           |          |         |         |
    opening    |         | restoring |          | opening | closing |
    restoring  |         |           | running  | opening | closing |
    running    |         |           |          | opening | closing |
    closing    | queued  |           |          |         |         | absent

    * the outcome of a commit is unknown, so every task starts again from what Kafka says (I3)

It must not know Kafka, stores or the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streamcluster.ids import TaskId

State = Literal["opening", "restoring", "running", "closing"]


@dataclass(frozen=True, slots=True)
class Granted:
    """The coordinator gave us tasks."""

    epoch: int
    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class Revoked:
    """The coordinator wants tasks back."""

    epoch: int
    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Everything is to be committed and closed."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The store is open and the committed positions are known."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class Restored:
    """The store has everything that the changelogs have."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class Closed:
    """The task is committed, as far as it was running, and its store is closed."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class Lost:
    """All clients were replaced: every task starts again from the committed positions."""


Event = Granted | Revoked | DrainRequested | Opened | Restored | Closed | Lost


@dataclass(frozen=True, slots=True)
class Open:
    """Open the stores of these tasks and read their positions; answer with Opened for each."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class Restore:
    """Replay the changelogs; answer with Restored."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class Run:
    """Start the task in the engine and assign its partitions."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class Close:
    """Stop these tasks; commit first those that run. Answer with Closed for each."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class TellReleased:
    """Tell the coordinator that others may have these tasks."""

    epoch: int
    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class TellDrained:
    """Nothing is left; end the process."""


Effect = Open | Restore | Run | Close | TellReleased | TellDrained


@dataclass(slots=True)
class Lifecycle:
    """The states of one worker's tasks."""

    states: dict[TaskId, State] = field(default_factory=dict)
    # The newest epoch that was seen; older messages are dropped.
    epoch: int = 0
    # Tasks granted again while they were still closing.
    queued: set[TaskId] = field(default_factory=set)
    draining: bool = False

    def handle(self, event: Event) -> list[Effect]:
        """Take one event and say what to do."""
        match event:
            case Granted():
                return self._granted(event)
            case Revoked():
                return self._revoked(event)
            case DrainRequested():
                self.draining = True
                return self._close(tuple(sorted(self.states))) or self._drained()
            case Opened(task):
                return self._move(task, "opening", "restoring", Restore(task))
            case Restored(task):
                return self._move(task, "restoring", "running", Run(task))
            case Closed(task):
                return self._closed(task)
            case Lost():
                again = tuple(sorted(task for task, state in self.states.items() if state != "closing"))
                self.states.update(dict.fromkeys(again, "opening"))
                return [Open(again)] if again else []

    def _granted(self, event: Granted) -> list[Effect]:
        if event.epoch < self.epoch or self.draining:
            return []
        self.epoch = event.epoch
        self.queued |= {task for task in event.tasks if self.states.get(task) == "closing"}
        new = tuple(sorted(task for task in event.tasks if task not in self.states))
        self.states.update(dict.fromkeys(new, "opening"))
        return [Open(new)] if new else []

    def _revoked(self, event: Revoked) -> list[Effect]:
        if event.epoch < self.epoch:
            return []
        self.epoch = event.epoch
        self.queued -= set(event.tasks)
        absent = tuple(task for task in event.tasks if task not in self.states)
        told: list[Effect] = [TellReleased(self.epoch, absent)] if absent else []
        return told + self._close(tuple(sorted(set(event.tasks) - set(absent))))

    def _close(self, tasks: tuple[TaskId, ...]) -> list[Effect]:
        closing = tuple(task for task in tasks if self.states[task] != "closing")
        self.states.update(dict.fromkeys(closing, "closing"))
        return [Close(closing)] if closing else []

    def _move(self, task: TaskId, before: State, after: State, effect: Effect) -> list[Effect]:
        if self.states.get(task) != before:
            return []
        self.states[task] = after
        return [effect]

    def _closed(self, task: TaskId) -> list[Effect]:
        if self.states.get(task) != "closing":
            return []
        del self.states[task]
        effects: list[Effect] = [TellReleased(self.epoch, (task,))]
        if task in self.queued and not self.draining:
            self.queued.discard(task)
            self.states[task] = "opening"
            effects.append(Open((task,)))
        return effects + self._drained()

    def _drained(self) -> list[Effect]:
        return [TellDrained()] if self.draining and not self.states else []
