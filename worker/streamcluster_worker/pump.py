"""Pump: the data plane of one worker: consume, let the agents run, and decide when a commit is due.

It knows the engine and Kafka's handles, and nothing of grants, messages or processes. Any exception out of `turn`
other than Fenced and ConfigurationError means that the outcome of a commit may be unknown: throw the clients away (I3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable

from streamcluster.engine.engine import Engine
from streamcluster.engine.task import RunningTask
from streamcluster.ids import TP, TaskId
from streamcluster.settings import Settings
from streamcluster.stores import TaskStore

from .clients import Clients
from .commits import Commits, Merged, merge
from .pacing import Pacing
from .source import Source

# Brokers forget the offsets of a group without members after 7 days (offsets.retention.minutes), so those that do not
# move are committed again (H9).
RECOMMIT_SECONDS = 6 * 3600.0
# A turn with so many records has much to do: what it sends waits for more, in larger batches.
BUSY_RECORDS = 500


class Pump:
    """Moves records through the engine. One per set of clients."""

    __slots__ = (
        "_clients",
        "_engine",
        "_last_sweep",
        "_loop",
        "_next_recommit",
        "_pacing",
        "_settings",
        "_swept_events",
        "commits",
        "source",
    )

    def __init__(self, engine: Engine, settings: Settings, clients: Clients, stores: dict[TaskId, TaskStore]) -> None:
        self._engine = engine
        self._settings = settings
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._pacing = Pacing(settings, self._loop.time())
        self._swept_events = -1
        self._last_sweep = 0.0
        self._next_recommit = self._loop.time() + RECOMMIT_SECONDS
        self.commits = Commits(engine, clients, stores, self._pacing)
        self.source = Source(clients.consumer, settings, engine.changed.set)

    async def turn(self) -> None:
        """One turn: take what is there, let the agents run, deal with failures, commit when it is due."""
        engine = self._engine
        engine.changed.clear()
        records = [] if self._must_wait() else self.source.poll(engine.backlog.room)
        if records:
            engine.feed(records)  # type: ignore[arg-type]  # the client's stub lets every method return None
            self._clients.heard()
        for tp, offset in self.source.ended.items():
            engine.advance(tp, offset)
        self.source.ended.clear()
        # The agents run here, each to the end of what it was given or to something it awaits.
        await asyncio.sleep(0)
        self.commits.raise_failed()
        engine.step()
        if engine.recovery.failures:
            await self.recover()
        self._pacing.loaded(saturated=self.source.is_full(records))
        full = engine.overfull()
        await self._hand_over(at_once=not self._settings.exactly_once and len(records) < BUSY_RECORDS)
        if not self.commits.in_flight() and self._is_due():
            await self._start_commit()
        self.source.pause_only(full)
        if not records:
            await self._wait()

    def _must_wait(self) -> bool:
        """Results pile up behind a commit: do not add to them."""
        if not self.commits.in_flight():
            return False
        much = output_count(self._engine) > 4 * self._settings.producer_flush_records
        return much or self._engine.backlog.done >= 2 * self._settings.commit_events_max

    def _has_much(self) -> bool:
        """There is enough output for a hand-over, or a sender that waits for one."""
        tasks = self._engine.tasks.values()
        return output_count(self._engine) >= self._settings.producer_flush_records or any(
            t.outbox.is_full() for t in tasks
        )

    def _is_due(self) -> bool:
        """A commit is due: its time has come and there is something in it.

        Positions that moved without an event (transaction markers at the end of a partition) wait for a second.
        """
        now = self._loop.time()
        engine = self._engine
        urgent = (
            engine.late_is_resting()
            or engine.outbox.is_full()
            or max(engine.backlog.done, engine.uncommitted_count()) >= self._settings.commit_events_max
        )
        if now < self._pacing.due() and not urgent:
            return False
        if engine.events_total != self._swept_events or engine.uncommitted_count() or engine.recovery.trials:
            return True
        if now > self._next_recommit:
            return True
        return now > self._last_sweep + 1.0 and not all(task.is_clean() for task in engine.tasks.values())

    async def _wait(self) -> None:
        """Nothing to take: sleep until a record, an agent, the commit in flight or the next commit's time wakes us."""
        if not self._must_wait():
            self.source.poll_when_idle()
        if self._engine.changed.is_set():
            return
        pause = 0.5
        if not self.commits.in_flight() and self._engine.events_total != self._swept_events:
            pause = max(0.001, self._pacing.due() - self._loop.time())
        alarm = self._loop.call_later(pause, self._engine.changed.set)
        await self._engine.changed.wait()
        alarm.cancel()

    # Commits

    async def _hand_over(self, *, at_once: bool = False) -> None:
        """Give outputs to librdkafka before their commit, so that it sends while the agents go on.

        at_once: those of finished events, however few. Without transactions a commit hides nothing, so readers need not
        wait for it; while there is much to do, large batches are worth more.
        """
        much = self._has_much()
        if self.commits.in_flight() or not (much or at_once):
            return
        outputs: Merged = {}
        for task in self._engine.tasks.values():
            if task.outbox.count() and (much or task.resting()):
                task.in_transaction = self._settings.exactly_once
                merge(outputs, task.outbox.swap())
        if outputs:
            self._clients.committer.produce_early(outputs)

    async def _start_commit(self) -> None:
        """Come to rest, cut, go on, and commit what was cut in a thread."""
        engine = self._engine
        events = engine.events_total
        self._last_sweep = self._loop.time()
        try:
            tasks = await engine.barrier(0.0, self._hand_over)
            if engine.recovery.failures:
                return
            recommit = self._last_sweep > self._next_recommit
            commit = engine.cut(tasks, all_offsets=recommit)
            if recommit:
                self._next_recommit = self._last_sweep + RECOMMIT_SECONDS
        finally:
            engine.release()
        self._swept_events = events if len(tasks) == len(engine.tasks) else -1
        if commit.is_empty():
            self._pacing.committed(self._loop.time())
            engine.step()
            return
        self.commits.start(commit)

    async def recover(self) -> None:
        """Roll back what failed, with no commit in flight, and read again from there."""
        await self.commits.finish()
        # Before the rollback: a record from behind the rewind must not arrive after it and count as the next one.
        await self.settle_source()
        engine = self._engine
        failed = {failure.task for failure in engine.recovery.failures}
        rewinds: dict[TP, int] = {}
        if any(task.in_transaction for task in engine.tasks.values() if task.id in failed):
            rewinds.update(await self._abort(failed))
        rewinds.update(await engine.recovery.run())
        self._swept_events = -1
        self._rewind(rewinds)

    async def _abort(self, leaving: Container[TaskId | None]) -> dict[TP, int]:
        """Abort the open transaction: every task with output in it goes back, but those that are leaving anyway."""
        await self.commits.abort()
        tasks = self._engine.tasks.values()
        others = {task.id for task in tasks if task.in_transaction and task.id not in leaving}
        for task in tasks:
            task.in_transaction = False
        return await self._engine.recovery.rollback(others)

    def _rewind(self, positions: dict[TP, int]) -> None:
        """Read these partitions from there. The polling thread must be at home."""
        if positions:
            self.source.unassign(positions)
            self.source.assign(positions)

    async def settle_source(self) -> None:
        """Bring the polling thread home, so that the assignment may change."""
        await self.source.quiet()
        records = self.source.take_idle()
        if records:
            self._engine.feed(records)  # type: ignore[arg-type]

    # Tasks

    async def start_task(self, task: RunningTask) -> None:
        """Read the task's partitions. What the polling thread brings meanwhile is of others, so it may stay out."""
        self.source.assign({tp: partition.next_offset for tp, partition in task.partitions.items()})

    async def close_tasks(self, tasks: Iterable[TaskId], patience: float) -> bool:
        """Stop reading these tasks, commit what they have finished, and end their coroutines.

        Args:
            patience: seconds that an event in progress gets to finish; what is not finished then is not committed.

        Returns:
            Whether everything that was begun is committed.
        """
        engine = self._engine
        closing = [engine.tasks[task] for task in tasks if task in engine.tasks]
        await self.settle_source()
        self.source.unassign([tp for task in closing for tp in task.partitions])
        await self.commits.finish()
        complete = True
        try:
            resting = await engine.barrier(patience, self._hand_over)
            complete = all(task in resting for task in closing)
            if all(task in resting for task in engine.tasks.values() if task.in_transaction):
                commit = engine.cut(resting)
                if not commit.is_empty():
                    await self.commits.perform(commit)
            else:
                # Output of an event that will not be finished is in the transaction.
                self._rewind(await self._abort([task.id for task in closing]))
        finally:
            engine.release()
        for task in closing:
            await engine.close_task(task.id)
        return complete

    def close(self) -> None:
        """End the threads. Blocks until they are back."""
        self.source.close()
        self.commits.close()


def output_count(engine: Engine) -> int:
    """Records that tasks have sent and that Kafka has not been given."""
    return sum(task.outbox.count() for task in engine.tasks.values())
