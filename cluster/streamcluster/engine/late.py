"""LateTasks: tasks that cannot be committed for the sake of an event which does not end, and what is done about it.

Events are handed out many at a time, and what they wrote cannot be told apart then. So an event that takes long, or
for ever, keeps from being committed what the events before it wrote, and with that all that its task has done. Such a
task is rolled back and done again, with the events of that coroutine one by one: then the event stays out of the cut,
as long as it has written nothing itself. If it has, its task waits for it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping

from ..ids import TP, TaskId
from .clock import Clock
from .coroutine import Coroutine, event_in_hand, holds_back
from .intake import RunIntake
from .recovery import Recovery
from .task import RunningTask
from .transaction import Transaction

logger = logging.getLogger("streamcluster")
# How long others of the task wait for an event before it is begun again. An agent that awaits at each event is never
# met here: the first cut that waits for it has its events come one by one (intake.SINGLE_EVENTS).
LATE_SECONDS = 0.5


class LateTasks:
    """The late tasks of one worker."""

    __slots__ = ("_clock", "_recovery", "_since", "_tasks", "_transaction", "_wake")

    def __init__(
        self,
        clock: Clock,
        tasks: Mapping[TaskId, RunningTask],
        transaction: Transaction,
        recovery: Recovery,
        wake: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._tasks = tasks
        self._transaction = transaction
        self._recovery = recovery
        self._wake = wake
        # Task -> coroutine -> the event for which the task waits, and since when.
        self._since: dict[TaskId, dict[int, tuple[tuple[TP, int], float]]] = {}

    def look(self) -> None:
        """Have those tasks rolled back that have waited for too long."""
        if not self._since and not self._transaction.late:
            return
        before, self._since = self._since, {}
        now = self._clock.now()
        for task_id in sorted(self._transaction.late & self._tasks.keys()):
            task = self._tasks[task_id]
            if self._may_be_done_again(task):
                for coroutine in task.coroutines:
                    self._look_at(task, coroutine, before.get(task_id, {}), now)

    def _may_be_done_again(self, task: RunningTask) -> bool:
        """Somebody else waits, nobody else has something in hand with it, and it is in order otherwise."""
        if len(task.coroutines) < 2 or task.stopped or task.closing or task.failed():
            return False
        return task.id not in self._transaction.unfinished and task.id not in self._recovery.trials

    def _look_at(
        self, task: RunningTask, coroutine: Coroutine, before: Mapping[int, tuple[tuple[TP, int], float]], now: float
    ) -> None:
        event = event_in_hand(coroutine)
        if event is None or not holds_back(coroutine) or not _has_finished_others(coroutine.intake):
            return
        known, since = before.get(id(coroutine), (None, now))
        if known != event:
            since = now
            self._clock.call_later(LATE_SECONDS, self._wake)
        self._since.setdefault(task.id, {})[id(coroutine)] = (event, since)
        if now < since + LATE_SECONDS:
            return
        tp, offset = event
        text = "event %s@%d of %s takes long: it is begun again, so that what others have done can be committed"
        logger.info(text, tp, offset, coroutine.unit_name)
        # For good: so a coroutine has its task rolled back once, and others of it are begun again at most so often.
        coroutine.intake.one_at_a_time(sys.maxsize)
        task.stop_taking()
        self._recovery.replay(task.id)


def _has_finished_others(intake: RunIntake) -> bool:
    """Events before the one in hand are finished, and cannot be told from it: they were handed out together."""
    return intake.unsettled or (intake.cursor.run is not None and len(intake.cursor.run.values) > 1)
