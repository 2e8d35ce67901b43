"""Pump: the data plane of one worker: records in, agents run, transactions out; it decides when.

    each step   take records · let coroutines run · roll back what failed · commit, or hand output over, when it is due

It knows no Kafka: records come through `Reads`, and `Writes` takes transactions. One thing at a time is asked of
`Writes`, and no step waits for it; nor for user code: an event may take as long as it likes. An exception out of a step
means that the outcome of a commit may be unknown: throw reads and writes away (I3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..ids import TP, TaskId
from ..settings import Settings
from ..stores import StoreFailed
from .engine import Engine
from .pacing import Pacing
from .ports import Reads, Writes
from .task import RunningTask

# Brokers forget the offsets of a group without members after 7 days (offsets.retention.minutes), so those that do not
# move are committed again (H9).
RECOMMIT_SECONDS = 6 * 3600.0
# A step with so many records has much to do: what it sends waits for more, in larger batches.
BUSY_RECORDS = 500
# Positions that moved without an event (transaction markers at the end of a partition) wait so long for a commit.
SWEEP_SECONDS = 1.0
# Exactly once, what records lead to waits for the end of the commit that is under way. So do few records, but no longer
# than this: one look at all of them takes a third of the CPU that looks at each handful take.
GATHER_SECONDS = 0.02
# How long a step that has nothing to do sleeps at most.
NAP_SECONDS = 0.5
# A commit that somebody waits for is tried so often.
URGENT_SECONDS = 0.005
# How long the last commit of a closing task may take, if the events in progress took all the time that there was.
CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class _Job:
    """What is under way in `Writes`, and what follows when it has succeeded."""

    future: asyncio.Future[dict[TaskId, StoreFailed]] | asyncio.Future[None]
    then: Callable[[], None]


class Pump:
    """Moves records through the engine. One per set of clients."""

    __slots__ = (
        "_beside",
        "_bound_since",
        "_clock",
        "_closing",
        "_engine",
        "_job",
        "_last_sweep",
        "_next_recommit",
        "_pacing",
        "_reads",
        "_recovering",
        "_settings",
        "_swept_moves",
        "_turned",
        "_urgent",
        "_writes",
        "commits_total",
        "turned_at",
    )

    def __init__(
        self, engine: Engine, settings: Settings, reads: Reads, writes: Writes, pacing: Pacing | None = None
    ) -> None:
        """pacing: when commits are due; as the settings say when None."""
        self._engine = engine
        self._settings = settings
        self._reads = reads
        self._writes = writes
        self._clock = engine.clock
        now = self._clock.now()
        self._pacing = pacing or Pacing(settings, now)
        self._swept_moves = -1
        self._last_sweep = now
        self._next_recommit = now + RECOMMIT_SECONDS
        self._job: _Job | None = None
        # Output that leaves beside a commit, at least once.
        self._beside: _Job | None = None
        self._recovering: asyncio.Task[None] | None = None
        # Since when output of an event that is not finished binds the transaction.
        self._bound_since: float | None = None
        # Somebody waits for a commit: a rollback, tasks that are closed.
        self._urgent = False
        # Tasks that are being closed: their partitions are read no more.
        self._closing: set[TaskId] = set()
        # Resolved at the end of a step.
        self._turned: list[asyncio.Future[None]] = []
        self.commits_total = 0
        # The clock's time at the end of the last step.
        self.turned_at = now

    # Steps

    async def turn(self) -> None:
        """A step, and a wait when there was nothing to take, or little that may wait for what follows it."""
        if not (taken := await self.step()):
            await self._wait()
        elif taken < BUSY_RECORDS and self._settings.exactly_once and self._job is not None:
            await self._wait(gathers=True)

    async def step(self, *, commits: bool = True) -> int:
        """Take what is there, let the agents run, deal with failures, commit when it is due.

        commits: False leaves what can wait uncommitted, as the test driver likes to.

        Returns:
            How many records there were.
        """
        engine = self._engine
        engine.changed.clear()
        batches = [] if self._must_wait() else self._reads.poll(engine.budget.room)
        if count := sum(map(len, batches)):
            engine.feed(batches)
        for tp, offset in self._reads.ended.items():
            engine.advance(tp, offset, is_all=self._reads.is_all(tp, offset))
        self._reads.ended.clear()
        await engine.hand_out()
        self._end_job()
        engine.step()
        engine.late.look()
        self._recover()
        self._pacing.loaded(saturated=self._reads.is_full(count))
        full = engine.overfull(self._rewind)
        if self._job is None:
            self._write(count, commits=commits)
        elif self._beside is None and self._writes.outputs_landed and self._is_hand_over_due(count):
            self._beside = self._hand_over()
        self._reads.pause_only(full)
        for waiter in self._turned:
            if not waiter.done():
                waiter.set_result(None)
        self._turned.clear()
        self.turned_at = self._clock.now()
        return count

    def is_busy(self) -> bool:
        """Something is on its way to Kafka, or a task is being rolled back."""
        return self._job is not None or self._beside is not None or self._recovering is not None

    def _must_wait(self) -> bool:
        """Results pile up behind a commit, more than a fast agent has in 0.2 s: do not add to them."""
        if self._job is None:
            return False
        outputs = self._engine.transaction.output_count()
        return outputs > 20 * self._settings.producer_flush_records or self._engine.budget.must_wait(outputs)

    async def _wait(self, *, gathers: bool = False) -> None:
        """Sleep until an agent, what is under way or a commit that is due wakes us; or a record, unless it gathers."""
        pause = GATHER_SECONDS if gathers else NAP_SECONDS
        if not gathers and not self._must_wait():
            self._reads.poll_when_idle()
        changed = self._engine.changed
        if changed.is_set():
            return
        if self._job is None and self._engine.moves != self._swept_moves:
            pause = max(0.001, self._pacing.due() - self._clock.now())
        alarm = self._clock.call_later(pause, changed.set)
        try:
            await changed.wait()
        finally:
            alarm.cancel()

    # Writing

    def _write(self, record_count: int, *, commits: bool) -> None:
        """Ask of `Writes` what is due, if anything."""
        now = self._clock.now()
        if self._is_overdue(now):
            self._abort()
            return
        wanted = commits or self._urgent or bool(self._engine.recovery.trials)
        if wanted and self._is_due(now) and self._commit(now):
            return
        if self._is_hand_over_due(record_count) and (job := self._hand_over()) is not None:
            self._start(job)

    def _is_hand_over_due(self, record_count: int) -> bool:
        transaction = self._engine.transaction
        if not self._settings.exactly_once and record_count < BUSY_RECORDS:
            # Without transactions a commit hides nothing, so readers need not wait for it; while there is much to do,
            # large batches are worth more.
            return True
        outputs, much = transaction.output_count(), self._settings.producer_flush_records
        return outputs >= much or self._engine.budget.must_hand_over(outputs) or transaction.senders_wait()

    def _is_due(self, now: float) -> bool:
        """A commit is due: its time has come and there is something in it."""
        engine = self._engine
        ready = engine.transaction.ready_count()
        urgent = (
            self._urgent
            or engine.transaction.is_awaited()
            or engine.outbox.is_full()
            or engine.times.must_commit()
            or any(trial.waits_for_commit() for trial in engine.recovery.trials.values())
            or engine.budget.must_commit(max(ready, engine.backlog.done))
        )
        if now < self._pacing.due() and not urgent:
            return False
        if urgent or ready or engine.moves != self._swept_moves or engine.recovery.trials:
            return True
        if now > self._next_recommit:
            return True
        return now > self._last_sweep + SWEEP_SECONDS and not all(task.is_clean() for task in engine.tasks.values())

    def _commit(self, now: float) -> bool:
        """Cut what can be cut, and commit that while the agents go on; False when there was nothing."""
        engine = self._engine
        self._urgent = False
        self._swept_moves = engine.moves
        if sweep := now > self._last_sweep + SWEEP_SECONDS:
            self._last_sweep = now
        if recommit := now > self._next_recommit:
            self._next_recommit = now + RECOMMIT_SECONDS
        commit = engine.transaction.seal(everything=sweep, all_offsets=recommit)
        if commit.is_empty():
            self._pacing.committed(now)
            engine.step()
            return False
        future = self._writes.commit(commit)
        self._start(_Job(future, lambda: self._committed(future.result())))
        return True

    def _committed(self, failed: dict[TaskId, StoreFailed]) -> None:
        self._pacing.committed(self._clock.now())
        self.commits_total += 1
        for task, error in failed.items():
            if task in self._engine.tasks:
                self._engine.recovery.store_failed(self._engine.tasks[task], error)
        self._engine.committed()

    def _hand_over(self) -> _Job | None:
        """Give output to Kafka before its commit, so that it is sent while the agents go on."""
        outputs = self._engine.transaction.hand_over()
        future = self._writes.produce(outputs) if outputs else None
        return None if future is None else _Job(future, lambda: None)

    def _is_overdue(self, now: float) -> bool:
        """An event has bound the transaction for too long: half of what the transaction may take at all."""
        if not self._engine.transaction.unfinished:
            self._bound_since = None
            return False
        if self._bound_since is None:
            self._bound_since = now
        return now - self._bound_since > self._settings.transaction_timeout / 2

    def _abort(self) -> None:
        """Drop the open transaction: everybody in it rolls back."""
        engine = self._engine
        self._bound_since = None
        for task in engine.transaction.unfinished:
            engine.tasks[task].keep_output()
        members = engine.transaction.abort()
        for task in engine.recovery.together(members):
            if task in engine.tasks:
                engine.tasks[task].stop_taking()
                engine.recovery.replay(task)
        self._start(_Job(self._writes.abort(), lambda: None))

    def _start(self, job: _Job) -> None:
        self._job = job
        if job.future.done():
            self._end_job()
        else:
            job.future.add_done_callback(lambda _: self._engine.changed.set())

    def _end_job(self) -> None:
        """What was under way has ended: go on with what follows, or raise what it failed with."""
        if self._beside is not None and self._beside.future.done():
            beside, self._beside = self._beside, None
            beside.future.result()
        if self._job is not None and self._job.future.done():
            job, self._job = self._job, None
            job.future.result()
            job.then()

    # Rolling back

    def _recover(self) -> None:
        """Roll back what failed, once nothing of it is on its way; all other tasks go on meanwhile."""
        engine = self._engine
        if self._recovering is not None:
            if not self._recovering.done():
                return
            recovering, self._recovering = self._recovering, None
            recovering.result()
        wanted = engine.recovery.wanted()
        if not wanted:
            return
        for task in wanted:
            engine.tasks[task].stop_taking()
        if wanted & engine.transaction.unfinished:
            if self._job is None:
                self._abort()
        elif any(engine.transaction.has(task) for task in wanted):
            # Their part is of before the failure, and is committed with the others'.
            self._urgent = True
        else:
            sources = engine.recovery.begin(wanted)
            rollback = engine.recovery.run(wanted, sources, self._rewind)
            self._recovering = asyncio.get_running_loop().create_task(rollback)
            self._recovering.add_done_callback(lambda _: engine.changed.set())

    def _rewind(self, positions: dict[TP, int]) -> None:
        """Read these partitions from there, but those that are read no more."""
        closing = {tp for task in self._closing if task in self._engine.tasks for tp in self._engine.tasks[task].logs}
        self._reads.assign({tp: offset for tp, offset in positions.items() if tp not in closing})

    # Tasks

    def start_task(self, task: RunningTask) -> None:
        """Read the task's partitions."""
        self._reads.assign({tp: partition.next_offset for tp, partition in task.logs.items()})

    async def close_tasks(self, task_ids: Iterable[TaskId], patience: float) -> bool:
        """Stop reading these tasks, commit what they have finished, and end their coroutines. All others go on.

        Args:
            patience: seconds that an event in progress gets to finish; what is not finished then is not committed.

        Returns:
            Whether everything that was begun is committed.
        """
        engine = self._engine
        closing = [engine.tasks[task] for task in task_ids if task in engine.tasks]
        self._closing |= {task.id for task in closing}
        self._reads.unassign([tp for task in closing for tp in task.logs])
        for task in closing:
            task.close()
        deadline = self._clock.now() + patience
        await self._until(lambda: all(task.resting() or task.failed() for task in closing), deadline)
        complete = all(task.resting() and not task.failed() for task in closing)
        # What counts only together with a task that cannot be cut may never be committed.
        await self._until(
            lambda: all(map(self._is_committed, closing)), max(deadline, self._clock.now() + CLOSE_SECONDS)
        )
        await self._until(lambda: all(map(self._is_out, closing)), None)
        for task in closing:
            await engine.close_task(task.id)
            self._closing.discard(task.id)
        return complete

    def _is_committed(self, task: RunningTask) -> bool:
        """What the closing task has finished is committed; asks for a commit while it is not."""
        if task.is_cuttable() and not task.is_clean():
            self.ask()
            return False
        return self._is_out(task)

    def _is_out(self, task: RunningTask) -> bool:
        """Nothing of the closing task is on its way, and nobody rolls it back."""
        transaction = self._engine.transaction
        if task.id in transaction.unfinished:
            # Its event did not end in time.
            if self._job is None:
                self._abort()
            return False
        if transaction.has(task.id):
            self.ask()
            return False
        return self._recovering is None or not task.stopped

    def ask(self) -> None:
        """Have the next step commit."""
        if not self._urgent:
            self._urgent = True
            self._clock.call_later(URGENT_SECONDS, self._engine.changed.set)

    async def _until(self, holds: Callable[[], bool], deadline: float | None) -> None:
        """Look after each step, until `holds` does, or until the clock says `deadline`."""
        while not holds() and (deadline is None or self._clock.now() < deadline):
            turned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._turned.append(turned)
            pause = NAP_SECONDS if deadline is None else deadline - self._clock.now()
            alarm = self._clock.call_later(pause, self._engine.changed.set)
            try:
                await turned
            finally:
                alarm.cancel()

    async def end(self) -> None:
        """No step follows: end what was begun beside the steps."""
        if self._recovering is not None:
            self._recovering.cancel()
            await asyncio.wait({self._recovering})
