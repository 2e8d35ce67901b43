"""Recovery: from an exception in user code to a rolled-back task, a trial of its suspects, and a dead letter.

It decides what is rolled back and where the consumer must go; when to do so is the shell's: with no commit in flight.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from ..app import App
from ..coding import explain
from ..current import KafkaRecord
from ..errors import AppError
from ..ids import TP, TaskId
from ..policies import policy_of
from .clock import Clock
from .dead_letters import dead_letter
from .functions import Functions
from .intake import suspects_of
from .shared import SharedSource
from .task import RunningTask
from .trial import Trial
from .values import Commit, Failure

logger = logging.getLogger("streamcluster")


class Recovery:
    """Failures of one worker, from report to resolution."""

    def __init__(
        self,
        app: App,
        clock: Clock,
        tasks: dict[TaskId, RunningTask],
        shared: list[SharedSource],
        changed: asyncio.Event,
        letter_bytes_max: int,
    ) -> None:
        self._app = app
        self._clock = clock
        self._tasks = tasks
        self._shared = shared
        self._changed = changed
        self._letter_bytes_max = letter_bytes_max
        self.functions: Functions | None = None
        self.trials: dict[TaskId, Trial] = {}
        # Failures at an event, whose tasks wait for a rollback.
        self.failures: list[Failure] = []
        # The failure that the app stops for, because its policy or its nature says so.
        self.stop_failure: Failure | None = None
        # An @app.task that failed outside of an event: the worker ends and is replaced.
        self.crash: tuple[str, Exception] | None = None
        self.dead_letters_total = 0
        self.rollbacks_total = 0
        self.last_error: dict[TaskId, str] = {}

    # Reports

    def report(self, failure: Failure) -> None:
        """A coroutine ended with an exception."""
        self._changed.set()
        if isinstance(failure.error, AppError):
            self.stop_failure = self.stop_failure or failure
        if failure.suspects:
            self.failures.append(failure)
        if failure.task is not None:
            self.last_error[failure.task] = f"{failure.unit}: {failure.error!r}"
        trial = self.trials.get(failure.task) if failure.task is not None else None
        if trial is None:
            where = ", ".join(f"{tp}@{offset}" for tp, offset in failure.suspects[:3]) or "before its first event"
            logger.warning("%s failed at %s: %r", failure.unit, where, failure.error, exc_info=failure.error)

    def cut_failed(self, task: RunningTask, error: Exception) -> None:
        """Something that was put into a table cannot be encoded: each event since the last commit is a suspect."""
        suspects = [
            (tp, offset)
            for tp, partition in task.partitions.items()
            for offset in range(partition.committed.next_offset, partition.next_offset)
        ]
        units = {reader.unit for partition in task.partitions.values() for reader in partition.readers}
        for unit in sorted(units):
            self.report(Failure(unit, policy_of(None, self._app.conf), task.id, suspects, error))

    def function_failed(self, name: str, error: Exception) -> None:
        """An @app.task ended with an exception: at an event of a shared stream it is that event's failure."""
        for source in self._shared:
            suspects = suspects_of(source.intake)
            if source.function == name and suspects:
                task = next(task for task in self._tasks.values() if suspects[0][0] in task.partitions)
                source.failed = True
                self.report(Failure(source.shared.name, source.shared.policy, task.id, suspects, error))
                return
        logger.error("task %s failed", name, exc_info=error)
        self.crash = (name, error)
        self._changed.set()

    def function_ended(self, name: str) -> None:
        """An @app.task returned: the shared stream that it read has no event half done any more."""
        for source in self._shared:
            if source.function == name:
                source.function = None
                source.intake.begin()
                self._changed.set()

    def unread(self, topics: set[str]) -> None:
        """The queues over these topics are full: when nobody iterates one of them, stop and say so."""
        for source in self._shared:
            waiting = {run.tp.topic for run in source.intake.queue} & topics
            if waiting and not source.is_iterated:
                error = AppError(
                    f"app.stream({source.shared.topic.describe()}) is declared, and no @app.task iterates it, so its "
                    "events pile up: iterate it, give it to an agent, or remove it."
                )
                self.stop_failure = Failure(source.shared.name, source.shared.policy, None, [], error)

    def reject(self, task: RunningTask, tp: TP, record: KafkaRecord, unit: str, error: Exception) -> bool:
        """A record does not decode: do what the settings say with it. False when that is to stop."""
        policy = policy_of(None, self._app.conf)
        return self._give_up(task, tp, record, Failure(unit, policy, task.id, [(tp, record.offset())], error))

    def _give_up(self, task: RunningTask, tp: TP, record: KafkaRecord, failure: Failure) -> bool:
        """Do what the policy says with a record that cannot be processed; False when that is to stop."""
        reason = explain(failure.error, record.value() or b"")
        place = f"{tp}@{record.offset()}"
        if failure.policy.action == "stop" or isinstance(failure.error, AppError):
            logger.error("%s cannot process %s and its policy is to stop: %s", failure.unit, place, reason)
            self.stop_failure = self.stop_failure or failure
            self._changed.set()
            return False
        if failure.policy.action == "skip":
            logger.warning("%s skips %s: %s", failure.unit, place, reason)
            return True
        topic = self._app.conf.dead_letters
        logger.warning("%s sends %s to %s: %s", failure.unit, place, topic, reason)
        letter = dead_letter(
            tp,
            record,
            agent=failure.unit,
            error=failure.error,
            reason=reason,
            bytes_max=self._letter_bytes_max,
        )
        task.outbox.append(topic, letter)
        self.dead_letters_total += 1
        return True

    # Rolling back

    async def run(self) -> dict[TP, int]:
        """Deal with every reported failure.

        Returns:
            TP -> offset: where the consumer must go back to. No commit may be in flight.
        """
        failures, self.failures = self.failures, []
        found: dict[TaskId, list[Failure]] = {}
        for failure in failures:
            if failure.task in self._tasks:
                found.setdefault(failure.task, []).append(failure)
        for task_id, own in found.items():
            trial = self.trials.get(task_id)
            if trial is None:
                trial = self.trials[task_id] = Trial(self._tasks[task_id], [], self._clock, self._give_up)
            for failure in own:
                if trial.phase == "alone" and trial.suspects[0] in failure.suspects:
                    trial.failed_alone(failure)
                    self._stop_if_stopped(trial, failure)
                else:
                    trial.add(failure.suspects)
        rewinds = await self.rollback(set(found))
        # Coroutines that failed while they were being ended: what they were at comes again, and is not to be blamed on
        # the event that is tried then.
        self.failures = [failure for failure in self.failures if failure.task not in found]
        return rewinds

    def _stop_if_stopped(self, trial: Trial, failure: Failure) -> None:
        if trial.phase == "stopped":
            place = ", ".join(f"{tp}@{offset}" for tp, offset in failure.suspects)
            logger.error("%s cannot process %s, and its policy is to stop: %r", failure.unit, place, failure.error)
            self.stop_failure = self.stop_failure or failure

    def _reads_shared(self, task: RunningTask) -> bool:
        return any(
            reader.intake is s.intake for s in self._shared for p in task.partitions.values() for reader in p.readers
        )

    async def rollback(self, task_ids: set[TaskId]) -> dict[TP, int]:
        """Drop everything uncommitted of these tasks, and of those that share a stream with them."""
        if any(self._reads_shared(self._tasks[task_id]) for task_id in task_ids):
            task_ids = task_ids | {task.id for task in self._tasks.values() if self._reads_shared(task)}
        await self.leave_shared(task_ids)
        rewinds: dict[TP, int] = {}
        for task_id in sorted(task_ids):
            task = self._tasks[task_id]
            self.rollbacks_total += 1
            await task.rollback()
            rewinds.update({tp: partition.next_offset for tp, partition in task.partitions.items()})
            if task_id in self.trials:
                self.trials[task_id].begin()
        return rewinds

    async def leave_shared(self, task_ids: set[TaskId]) -> None:
        """Take these tasks' runs out of the shared streams; a function that has one in hand starts afresh."""
        restart: set[str] = set()
        for source in self._shared:
            for task_id in task_ids:
                source.intake.queue = deque(run for run in source.intake.queue if run.task != task_id)
            if source.has_in_hand(task_ids):
                source.intake.forget()
                source.failed = False
                restart |= {source.function} if source.function else set()
        if restart and self.functions is not None:
            await self.functions.restart(restart)

    def step(self, in_flight: Commit | None) -> None:
        """Let the trials go on whose phase is over."""
        for task_id, trial in list(self.trials.items()):
            flying = in_flight is not None and any(cut.task == task_id for cut in in_flight.tasks)
            if trial.step(is_clean=not flying and trial.task.is_clean()):
                del self.trials[task_id]
                self.last_error.pop(task_id, None)
