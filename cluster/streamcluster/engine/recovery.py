"""Recovery: from an exception in user code to a rolled-back task, a trial of its suspects, and a dead letter.

It decides what is rolled back and where the consumer must go; when to do so is the shell's: with no commit in flight.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from ..app import App
from ..batch import KafkaRecord
from ..codecs.coding import explain
from ..errors import AppError, CommitRefused, KilledWorker
from ..ids import TP, TaskId
from ..policies import ErrorPolicy, policy_of
from ..printable import repr_of, showable
from ..stores import StoreFailed
from .clock import Clock
from .dead_letters import BARE, dead_letter
from .event_time.due import as_came
from .functions import Functions
from .in_hand import ANYBODY, unit_number
from .killers import Killer
from .partition import SourcePartition
from .put_aside import PutAside
from .shared import SharedSource
from .task import RunningTask
from .trial import Search, Trial
from .values import Failure

Rewind = Callable[[dict[TP, int]], None]
logger = logging.getLogger("streamcluster")
# What a task's last error may take of a heartbeat; the log has all of it.
ERROR_CHARS_MAX = 1_000


class Recovery:
    """Failures of one worker, from report to resolution."""

    def __init__(
        self,
        app: App,
        clock: Clock,
        tasks: dict[TaskId, RunningTask],
        changed: asyncio.Event,
        letter_bytes_max: int,
    ) -> None:
        self._app = app
        self._clock = clock
        self._tasks = tasks
        self.shared: list[SharedSource] = []
        self._changed = changed
        self._letter_bytes_max = letter_bytes_max
        self.functions: Functions | None = None
        self.trials: dict[TaskId, Trial] = {}
        # Failures at an event, whose tasks wait for a rollback.
        self.failures: list[Failure] = []
        # Tasks that roll back for no failing event: TP -> how far each event's writes are looked at alone.
        self.replays: dict[TaskId, dict[TP, int] | None] = {}
        # The failure that the app stops for, because its policy or its nature says so.
        self.stop_failure: Failure | None = None
        # An @app.task that failed outside of an event: the worker ends and is replaced.
        self.crash: tuple[str, BaseException] | None = None
        self.dead_letters_total = 0
        self.rollbacks_total = 0
        self.last_error: dict[TaskId, str] = {}
        self.aside = PutAside()
        # Of tasks that are closed.
        self._searches: dict[TaskId, Search] = {}

    # Reports

    def report(self, failure: Failure) -> None:
        """A coroutine ended with an exception."""
        self._changed.set()
        if isinstance(failure.error, AppError):
            self.stop_failure = self.stop_failure or failure
        if self._is_due_to_store(failure):
            return
        if failure.suspects:
            self.failures.append(failure)
        if failure.task is not None:
            self.last_error[failure.task] = f"{failure.unit}: {repr_of(failure.error):.{ERROR_CHARS_MAX}}"
        trial = self.trials.get(failure.task) if failure.task is not None else None
        if trial is None:
            where = ", ".join(f"{tp}@{offset}" for tp, offset in failure.suspects[:3])
            text = "%s failed at %s: %s; what was not committed is done again, and that event alone"
            if not failure.suspects:
                where, text = "no event", "%s failed at %s: %s; it is started again"
            logger.warning(text, failure.unit, where, repr_of(failure.error), exc_info=showable(failure.error))

    def _is_due_to_store(self, failure: Failure) -> bool:
        """The event read a store that failed, so what it did says nothing about it."""
        task = self._tasks.get(failure.task) if failure.task is not None else None
        return task is not None and task.store_error is not None

    def cut_failed(self, task: RunningTask, error: BaseException) -> None:
        """Something that was put into a table cannot be committed: find the event that did it, one by one."""
        task.stop_taking()
        self.last_error[task.id] = repr_of(error)[:ERROR_CHARS_MAX]
        if task.strict_until is None:
            text = "task %s: %s; its events since the last commit are done again, one by one"
            logger.warning(text, task.id, repr_of(error))
            self.replays[task.id] = {tp: partition.front for tp, partition in task.partitions.items()}
            self._changed.set()
            return
        # It passed when its event ended: a codec that does not always say the same. Each of the events is a suspect.
        suspects = [
            (tp, offset)
            for tp, partition in task.partitions.items()
            for offset in range(partition.committed.next_offset, partition.front)
        ]
        for unit in sorted({reader.unit for partition in task.partitions.values() for reader in partition.readers}):
            self.report(Failure(unit, policy_of(None, self._app.conf), task.id, suspects, error))

    def refused(
        self, members: set[TaskId], error: CommitRefused, policies: Mapping[str, ErrorPolicy], *, has_others: bool
    ) -> None:
        """Kafka took nothing of what these tasks had done: find the event, in groups, once they are opened anew.

        has_others: functions of the worker had sent something with it.
        """
        for task in [self._tasks[task_id] for task_id in members & self._tasks.keys()]:
            self.last_error[task.id] = str(error)
            trial = self.trials.get(task.id)
            if trial is None:
                trial = self.trials[task.id] = Trial(task, self._clock, self._give_up, self._changed.set)
            if trial.phase != "alone":
                trial.suspect_all({tp: partition.front for tp, partition in task.partitions.items()})
            elif trial.count > 1:
                trial.halve()
            elif members == {task.id} and not has_others:
                self._blame(task, trial.suspects[0], error, policies)

    def _blame(
        self, task: RunningTask, suspect: tuple[TP, int], error: CommitRefused, policies: Mapping[str, ErrorPolicy]
    ) -> None:
        """Nothing but this event was in the commit: it is given up; or, if that was its dead letter, that is made anew.

        It is not tried again, and all who read it give it up: nobody knows whose record it was.
        """
        tp, offset = suspect
        units = sorted({reader.unit for reader in task.partitions[tp].readers})
        failures = [Failure(unit, policies[unit], task.id, [suspect], error) for unit in units]
        if not self.aside.has(tp, offset):
            self.aside.blamed[suspect] = failures
        elif suspect not in self.aside.bare:
            self.aside.bare.add(suspect)
        else:
            logger.error("%s@%d: Kafka refuses its dead letter, even without the record: %s", tp, offset, error)
            self.stop_failure = self.stop_failure or failures[0]

    def opened(self, task: RunningTask) -> None:
        """Go on with the search for an event whose record Kafka refused, where it was when the task was closed."""
        for (tp, offset), failures in self.aside.blamed.items():
            if tp in task.partitions and offset >= task.partitions[tp].committed.next_offset:
                for failure in failures:
                    aside = partial(self._give_up, task, tp, failure=failure)
                    task.partitions[tp].skips.setdefault(offset, {})[failure.unit] = aside
        if (search := self._searches.pop(task.id, None)) is not None:
            trial = self.trials[task.id] = Trial(task, self._clock, self._give_up, self._changed.set, search)
            trial.begin()

    def replay(self, task: TaskId) -> None:
        """The task must roll back, for no fault of an event."""
        self.replays.setdefault(task, None)
        self._changed.set()

    def forget(self, task: TaskId) -> None:
        """The task is closed."""
        if (trial := self.trials.pop(task, None)) is not None:
            trial.end()
            if trial.search.until:
                self._searches[task] = trial.search
        self.replays.pop(task, None)
        self.failures = [failure for failure in self.failures if failure.task != task]

    def store_failed(self, task: RunningTask, error: StoreFailed) -> None:
        """The task's store cannot be read or written: no event is to blame, the shell opens it anew."""
        if task.store_error is None:
            logger.warning("task %s: its store failed, and is opened anew: %s", task.id, error)
            self.last_error[task.id] = str(error)
        task.store_error = error
        task.stop_taking()
        self._changed.set()

    def function_failed(self, name: str, error: BaseException) -> None:
        """An @app.task ended with an exception: at an event of a shared stream it is that event's failure."""
        for source in self.shared:
            suspects = source.intake.suspects()
            if source.function == name and suspects:
                source.failed = True
                for task in list(self._tasks.values()):
                    if own := [suspect for suspect in suspects if suspect[0] in task.partitions]:
                        self.report(Failure(source.shared.name, source.shared.policy, task.id, own, error))
                return
        logger.error("task %s failed: %s", name, repr_of(error), exc_info=showable(error))
        self.crash = (name, error)
        self._changed.set()

    def function_ended(self, name: str) -> None:
        """An @app.task returned: the shared stream that it read has no event half done any more."""
        for source in self.shared:
            if source.function == name:
                source.function = None
                source.intake.begin()
                self._changed.set()

    def unread(self, topics: set[str]) -> None:
        """The queues over these topics are full: when nobody iterates one of them, stop and say so."""
        for source in self.shared:
            waiting = {run.tp.topic for run in source.intake.queue} & topics
            if waiting and not source.is_iterated:
                error = AppError(
                    f"app.stream({source.shared.describe()}) is declared, and no @app.task iterates it, so its "
                    "events pile up: iterate it, give it to an agent, or remove it."
                )
                self.stop_failure = Failure(source.shared.name, source.shared.policy, None, [], error)

    def reject(self, task: RunningTask, tp: TP, record: KafkaRecord, unit: str, error: BaseException) -> bool:
        """A record does not decode: do what the settings say with it. False when that is to stop."""
        policy = policy_of(None, self._app.conf)
        return self._give_up(task, tp, record, Failure(unit, policy, task.id, [(tp, record.offset)], error))

    def put_aside_killer(
        self, task: RunningTask, partition: SourcePartition, killer: Killer, policies: Mapping[str, ErrorPolicy]
    ) -> None:
        """Hand the event out no more to the unit that it killed the process in: its policy says what is done instead.

        policies: of each unit; what no codec may see again is for the settings to say.
        """
        units = {reader.unit for reader in partition.readers}
        if killer.unit == ANYBODY:
            partition.undecodable.add(killer.offset)
        else:
            units = {unit for unit in units if unit_number(unit) == killer.unit}
        for unit in units:
            policy = policy_of(None, self._app.conf) if killer.unit == ANYBODY else policies[unit]
            suspects = [(partition.tp, killer.offset)]
            failure = Failure(unit, policy, task.id, suspects, KilledWorker(killer.why))
            aside = partial(self._give_up, task, partition.tp, failure=failure)
            partition.skips.setdefault(killer.offset, {})[unit] = aside

    def _give_up(self, task: RunningTask, tp: TP, record: KafkaRecord, failure: Failure) -> bool:
        """Do what the policy says with a record that cannot be processed; False when that is to stop."""
        is_news = self.aside.note(tp, record.offset, failure.unit)
        level = logging.WARNING if is_news else logging.DEBUG
        is_bare = (tp, record.offset) in self.aside.bare
        if task.time is not None and (source := task.time.sources.get(tp)) is not None:
            tp, record = as_came(source.due, tp, record)
        reason = explain(failure.error, record.value)
        place = f"{tp}@{record.offset}"
        if failure.policy.action == "stop" or isinstance(failure.error, AppError):
            logger.error("%s cannot process %s and its policy is to stop: %s", failure.unit, place, reason)
            self.stop_failure = self.stop_failure or failure
            self._changed.set()
            return False
        if failure.policy.action == "skip":
            logger.log(level, "%s skips %s: %s", failure.unit, place, reason)
            return True
        topic = self._app.conf.dead_letters
        logger.log(level, "%s sends %s to %s: %s", failure.unit, place, topic, reason)
        letter = dead_letter(
            tp,
            record,
            agent=failure.unit,
            error=failure.error,
            reason=reason,
            bytes_max=BARE if is_bare else self._letter_bytes_max,
        )
        task.outbox.append(topic, letter)
        self.dead_letters_total += is_news
        return True

    # Rolling back

    def wanted(self) -> set[TaskId]:
        """The tasks that must roll back."""
        failed = {failure.task for failure in self.failures if failure.task is not None} | self.replays.keys()
        return {task for task in self.together(failed) if task in self._tasks and self._tasks[task].store_error is None}

    def together(self, task_ids: set[TaskId]) -> set[TaskId]:
        """These tasks and those that share with them what a function of a shared stream does, or did in one batch."""
        found = set(task_ids)
        while True:
            more: set[TaskId] = set()
            for source in self.shared:
                groups: list[Iterable[TaskId]] = [*source.intake.kept.bonds]
                if source.failed or not source.resting:
                    groups.append(source.in_hand())
                for group in groups:
                    if not found.isdisjoint(group):
                        more.update(group)
            if more <= found:
                return found
            found |= more

    def begin(self, wanted: set[TaskId]) -> list[SharedSource]:
        """Take these tasks out of everything: what follows may take a while. Returns the streams to hand to `run`."""
        for task in wanted:
            self._tasks[task].stop_taking()
        return self.detach(wanted)

    async def run(self, wanted: set[TaskId], sources: list[SharedSource], rewind: Rewind) -> None:
        """Deal with every failure of these tasks: roll back, with nothing of them in flight, and begin the trials.

        rewind: called with TP -> offset: where the consumer must go back to.
        """
        failures = [failure for failure in self.failures if failure.task in wanted]
        self.failures = [failure for failure in self.failures if failure.task not in wanted]
        replays = {task: self.replays.pop(task, None) for task in wanted}
        for failure in failures:
            if failure.task not in self._tasks:
                continue
            trial = self.trials.get(failure.task)
            if trial is None:
                task = self._tasks[failure.task]
                trial = self.trials[task.id] = Trial(task, self._clock, self._give_up, self._changed.set)
            if trial.phase == "alone" and trial.count == 1 and trial.suspects[0] in failure.suspects:
                trial.failed_alone(failure)
                self._stop_if_stopped(trial, failure)
            else:
                trial.add(failure.unit, failure.suspects)
        await self.reattach(sources, wanted)
        await self._rollback(wanted, replays, rewind)

    def _stop_if_stopped(self, trial: Trial, failure: Failure) -> None:
        if trial.phase == "stopped":
            place = ", ".join(f"{tp}@{offset}" for tp, offset in failure.suspects)
            logger.error(
                "%s cannot process %s, and its policy is to stop: %s", failure.unit, place, repr_of(failure.error)
            )
            self.stop_failure = self.stop_failure or failure

    async def _rollback(self, wanted: set[TaskId], replays: dict[TaskId, dict[TP, int] | None], rewind: Rewind) -> None:
        """Drop everything uncommitted of these tasks."""
        for task_id in sorted(wanted & self._tasks.keys()):
            self.rollbacks_total += 1
            task = self._tasks[task_id]

            def stopped(positions: dict[TP, int], task_id: TaskId = task_id) -> None:
                # Coroutines that failed while they were being ended: what they were at comes again, and is not to be
                # blamed on the event that is tried then.
                self.failures = [failure for failure in self.failures if failure.task != task_id]
                rewind(positions)

            await task.rollback(stopped, replays.get(task_id))
            if task_id in self.trials and task_id in self._tasks:
                self.trials[task_id].begin()

    def detach(self, leaving: set[TaskId]) -> list[SharedSource]:
        """Take these tasks' runs out of the shared streams. Those that have one in hand come to rest and are returned.

        At once: from here on nothing more can be in hand of a stream together with what is in hand now.
        """
        affected: list[SharedSource] = []
        for source in self.shared:
            bonds = source.intake.kept.bonds
            source.intake.kept.bonds = [bond for bond in bonds if leaving.isdisjoint(bond)]
            source.intake.drop_runs(leaving)
            if not leaving.isdisjoint(source.in_hand()):
                source.intake.hold(frozenset(leaving))
                affected.append(source)
            for task in leaving:
                source.intake.release(task)
        return affected

    async def reattach(self, sources: list[SharedSource], leaving: set[TaskId]) -> None:
        """End the functions that had events of these tasks in hand, and start them afresh without."""
        functions = {source.function for source in sources if source.function}
        assert self.functions is not None
        await self.functions.cancel(functions)
        for source in sources:
            source.intake.drop_runs(leaving)
            source.intake.give_back(frozenset(leaving))
            source.intake.forget()
            source.intake.release(frozenset(leaving))
            source.failed = False
        self.functions.start_again(functions)

    def step(self, has: Callable[[TaskId], bool]) -> None:
        """Let the trials go on whose phase is over. has: whether something of the task is on its way to Kafka."""
        for task_id, trial in list(self.trials.items()):
            others = (other.phase for other in self.trials.values() if other is not trial)
            is_clean = not has(task_id) and trial.task.is_clean()
            # One at a time: a function of a shared stream may get events of several tasks in one batch.
            if trial.step(is_clean=is_clean, may_try="alone" not in others):
                del self.trials[task_id]
                self.last_error.pop(task_id, None)
                # A stream that several tasks share was told that no trial waits for it.
                for other in self.trials.values():
                    other.task.set_flush(True)
