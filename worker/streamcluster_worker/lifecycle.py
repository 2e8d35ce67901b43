"""The life cycle of a worker's tasks: pure, events in and effects out; `worker.py` performs the effects.

    state      | granted | followed | dropped | opened    | restored | damaged | revoked | closed | lost*
    -----------+---------+----------+---------+-----------+----------+---------+---------+--------+-------
    absent     | opening | standby  |         |           |          |         |         |        |
    standby    | opening |          | absent  |           |          |         |         |        | absent
    opening    |         |          |         | restoring |          |         | closing |        | absent
    restoring  |         |          |         |           | running  | opening | closing |        | absent
    running    |         |          |         |           |          | opening | closing |        | absent
    closing    | queued  | queued   |         |           |          |         |         | absent | absent

    * the outcome of a commit is unknown and every client was replaced (I3): a new session, and nobody knows who has
      which task now, so the worker has none until it is granted anew (H5)

It must not know Kafka, stores or the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from streamcluster.ids import TaskId

State = Literal["standby", "opening", "restoring", "running", "closing"]


class Granted(msgspec.Struct, frozen=True):
    """The coordinator gave us tasks. session: the one that it gave them to."""

    epoch: int
    tasks: tuple[TaskId, ...]
    session: int = 1


class Revoked(msgspec.Struct, frozen=True):
    """The coordinator wants tasks back."""

    epoch: int
    tasks: tuple[TaskId, ...]
    session: int = 1


class Followed(msgspec.Struct, frozen=True):
    """The coordinator wants us to be a standby of these tasks, and of no others."""

    epoch: int
    tasks: tuple[TaskId, ...]
    session: int = 1


class DrainRequested(msgspec.Struct, frozen=True):
    """Everything is to be committed and closed."""


class Opened(msgspec.Struct, frozen=True):
    """The store is open and the committed positions are known."""

    task: TaskId


class Restored(msgspec.Struct, frozen=True):
    """The store has everything that the changelogs have."""

    task: TaskId


class Damaged(msgspec.Struct, frozen=True):
    """The store of a task that runs or is restored cannot be read or written."""

    task: TaskId


class Closed(msgspec.Struct, frozen=True):
    """The task is committed, as far as it was running, and its store is closed."""

    task: TaskId


class Lost(msgspec.Struct, frozen=True):
    """All clients were replaced, whoever had the slot is fenced, and every task is closed."""


Event = Granted | Revoked | Followed | DrainRequested | Opened | Restored | Damaged | Closed | Lost


class Open(msgspec.Struct, frozen=True):
    """Open the stores of these tasks and read their positions; answer with Opened for each.

    Those that were followed are so no more, and their stores are open already.
    """

    tasks: tuple[TaskId, ...]


class Reopen(msgspec.Struct, frozen=True):
    """End this task without a commit, set its store aside if it is damaged, and go on as `Open` does."""

    task: TaskId


class Restore(msgspec.Struct, frozen=True):
    """Replay the changelogs; answer with Restored."""

    task: TaskId


class Run(msgspec.Struct, frozen=True):
    """Start the task in the engine and assign its partitions."""

    task: TaskId


class Close(msgspec.Struct, frozen=True):
    """Stop these tasks; commit first those that run. Answer with Closed for each."""

    tasks: tuple[TaskId, ...]


class OpenStandbys(msgspec.Struct, frozen=True):
    """Open the stores of these tasks and keep them at the end of their changelogs."""

    tasks: tuple[TaskId, ...]


class CloseStandbys(msgspec.Struct, frozen=True):
    """Follow these tasks no more, and close their stores."""

    tasks: tuple[TaskId, ...]


class TellReady(msgspec.Struct, frozen=True):
    """Tell the coordinator that we can take grants, and have nothing."""

    session: int


class TellFollowing(msgspec.Struct, frozen=True):
    """Tell the coordinator that these are the tasks that we follow, and that nothing else is open for following."""

    epoch: int
    tasks: tuple[TaskId, ...]


class TellReleased(msgspec.Struct, frozen=True):
    """Tell the coordinator that others may have these tasks."""

    epoch: int
    tasks: tuple[TaskId, ...]


class TellDrained(msgspec.Struct, frozen=True):
    """Nothing is left; end the process."""


Effect = (
    Open
    | Reopen
    | Restore
    | Run
    | Close
    | OpenStandbys
    | CloseStandbys
    | TellReady
    | TellFollowing
    | TellReleased
    | TellDrained
)


class Lifecycle(msgspec.Struct):
    """The states of one worker's tasks."""

    states: dict[TaskId, State] = msgspec.field(default_factory=dict)
    # The newest epoch that was seen; older messages are dropped.
    epoch: int = 0
    # How many times the clients were opened. A message that was sent to an earlier session may be from before the
    # fence, whatever its epoch says.
    session: int = 1
    # What closing tasks become when they are closed: they were granted again, or are to be followed.
    queued: dict[TaskId, Literal["opening", "standby"]] = msgspec.field(default_factory=dict)
    draining: bool = False

    def handle(self, event: Event) -> list[Effect]:
        """Take one event and say what to do."""
        match event:
            case Granted():
                return self._granted(event)
            case Revoked():
                return self._revoked(event)
            case Followed():
                return self._followed(event)
            case DrainRequested():
                self.draining = True
                effects = self._unfollow(self._those("standby")) + self._close(tuple(sorted(self.states)))
                return effects + self._drained()
            case Opened(task):
                return self._move(task, "opening", "restoring", Restore(task))
            case Restored(task):
                return self._move(task, "restoring", "running", Run(task))
            case Damaged(task):
                was: State = "restoring" if self.states.get(task) == "restoring" else "running"
                return self._move(task, was, "opening", Reopen(task))
            case Closed(task):
                return self._closed(task)
            case Lost():
                self.states.clear()
                self.queued.clear()
                self.session += 1
                return self._drained() or [TellReady(self.session)]

    def _is_late(self, event: Granted | Revoked | Followed) -> bool:
        """Drop what belongs to an earlier session or assignment; otherwise note the epoch."""
        if event.session != self.session or event.epoch < self.epoch:
            return True
        self.epoch = event.epoch
        return False

    def _granted(self, event: Granted) -> list[Effect]:
        if self.draining or self._is_late(event):
            return []
        self.queued.update({task: "opening" for task in event.tasks if self.states.get(task) == "closing"})
        new = tuple(sorted(task for task in event.tasks if self.states.get(task, "standby") == "standby"))
        self.states.update(dict.fromkeys(new, "opening"))
        return [Open(new)] if new else []

    def _followed(self, event: Followed) -> list[Effect]:
        if self.draining or self._is_late(event):
            return []
        effects = self._unfollow(task for task in self._those("standby") if task not in event.tasks)
        for task in self._those("closing"):
            if task in event.tasks:
                self.queued.setdefault(task, "standby")
            elif self.queued.get(task) == "standby":
                del self.queued[task]
        return effects + self._follow(task for task in sorted(event.tasks) if task not in self.states)

    def _revoked(self, event: Revoked) -> list[Effect]:
        if self._is_late(event):
            return []
        owned = tuple(sorted(task for task in event.tasks if self.states.get(task, "standby") != "standby"))
        for task in owned:
            if self.queued.get(task) == "opening":
                del self.queued[task]
        absent = tuple(task for task in event.tasks if task not in owned)
        told: list[Effect] = [TellReleased(self.epoch, absent)] if absent else []
        return told + self._close(owned)

    def _those(self, state: State) -> tuple[TaskId, ...]:
        return tuple(sorted(task for task, its in self.states.items() if its == state))

    def _follow(self, tasks: Iterable[TaskId]) -> list[Effect]:
        new = tuple(tasks)
        self.states.update(dict.fromkeys(new, "standby"))
        follow: list[Effect] = [OpenStandbys(new)] if new else []
        return [*follow, TellFollowing(self.epoch, self._those("standby"))]

    def _unfollow(self, tasks: Iterable[TaskId]) -> list[Effect]:
        gone = tuple(tasks)
        for task in gone:
            del self.states[task]
        return [CloseStandbys(gone)] if gone else []

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
        match self.queued.pop(task, None) if not self.draining else None:
            case "opening":
                self.states[task] = "opening"
                effects.append(Open((task,)))
            case "standby":
                effects += self._follow((task,))
        return effects + self._drained()

    def _drained(self) -> list[Effect]:
        return [TellDrained()] if self.draining and not self.states else []
