"""Brings shards up to the end of their changelogs: one thread for all tasks of a worker, newest task first.

It decides when a replay is over (invariant I4); where it starts is for `changelogs.py` to say. It knows no event loop,
agent or life cycle: `done` and `failed` are called from its thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from streamcluster.config.security import QUIET_SECONDS
from streamcluster.errors import StreamclusterError
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.config import CHANGELOG_PART
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection, Consumer, KafkaError, Message
from streamcluster.kafka.verdicts import classify, error_for
from streamcluster.memory import shares_of
from streamcluster.settings import Settings
from streamcluster.stores import TaskStore

from ..data.batch_room import BatchRoom
from ..kafka.consumers import open_changelog_consumer
from ..watch import OWN_THREAD
from .changelogs import Log, assign_only, offset_of, rows_of, runs_of, set_course

_log = logging.getLogger("streamcluster.restore")
# One fetch thread feeds all partitions, and two tasks keep it busy; more would only make the newest task wait. If they
# bring nothing (their logs end in a transaction that is still open), one more task joins them.
_TASKS_AT_ONCE = 2
# What a store takes in one batch at best (see shard.py).
_BATCH_RECORDS = 5_000
# How long the thread waits for records before it looks at its orders again.
_IDLE_SECONDS = 0.05
# A log that is trimmed while it is read is started again; more often than this, something else is wrong.
_RESTARTS_MAX = 5
# A log that cannot be unpacked is looked at again after so long: each look unpacks 100 MB, and only its retention or a
# compaction may heal it.
_UNREADABLE_PAUSE_SECONDS = 10.0


@dataclass(slots=True)
class _Job:
    """One task being restored."""

    task: TaskId
    store: TaskStore
    logs: list[Log]
    planned: bool = False
    cancelled: bool = False
    restarts: int = 0
    # Why it does not get on, and time.monotonic() before which it is not tried again.
    error: str | None = None
    due: float = 0.0

    @property
    def finished(self) -> bool:
        return self.planned and all(log.finished for log in self.logs)


class Restorer:
    """Restores tasks in a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        offsets: Offsets,
        *,
        done: Callable[[TaskId], None],
        failed: Callable[[TaskId, Exception], None],
    ) -> None:
        """Start the thread.

        Args:
            settings: the app's settings.
            connection: gets the news of the brokers.
            offsets: asks for the ends of changelogs.
            done: called from the thread when a task's shards are at the end of their changelogs.
            failed: called from the thread when a task cannot be restored. After `cancel` neither is called.
        """
        self._settings = settings
        self._room = BatchRoom(_BATCH_RECORDS, shares_of(settings).prefetch // CHANGELOG_PART)
        self._connection = connection
        self._offsets = offsets
        self._done = done
        self._failed = failed
        # Guards _jobs and every touch of a store, so that after cancel() nobody touches the task's store.
        self._lock = threading.Condition()
        # Newest last.
        self._jobs: dict[TaskId, _Job] = {}
        # How many records it took to bring each task back.
        self._restored: dict[TaskId, int] = {}
        self._stopping = False
        self._consumer: Consumer | None = None
        # time.monotonic() when it brought something, or was opened.
        self._heard_at = 0.0
        # How many tasks are read at once.
        self._width = _TASKS_AT_ONCE
        # The last look at the logs brought records.
        self.busy = False
        self._thread = threading.Thread(target=self._run, name=f"{OWN_THREAD}restore", daemon=True)
        self._thread.start()

    def start(self, task: TaskId, store: TaskStore, logs: Iterable[tuple[str, str, int]]) -> None:
        """Restore `task`; to be called after the fence, since the ends of the logs are asked for now.

        Args:
            task: the task.
            store: its store; nobody else may touch it until `done` or `failed` was called, or `cancel` returned.
            logs: (table, changelog topic, partition).
        """
        job = _Job(task, store, [Log(table, TP(topic, partition)) for table, topic, partition in logs])
        with self._lock:
            self._jobs[task] = job
            self._restored.pop(task, None)
            self._lock.notify()

    def cancel(self, task: TaskId) -> None:
        """Stop restoring `task`; when this returns its store is the caller's. Waits for one batch at most."""
        with self._lock:
            job = self._jobs.pop(task, None)
            if job is not None:
                job.cancelled = True

    def progress(self, task: TaskId) -> tuple[int, int]:
        """Records restored and records in all, counted by offsets; of a task that is back, the same number twice."""
        job = self._jobs.get(task)
        if job is None:
            restored = self._restored.get(task, 0)
            return restored, restored
        restored = sum(log.next_offset - log.first_offset for log in job.logs)
        return restored, sum(max(0, log.end_offset - log.first_offset) for log in job.logs)

    def error(self, task: TaskId) -> str | None:
        """Why the task does not get on; None while it does."""
        job = self._jobs.get(task)
        return None if job is None else job.error

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread; tasks that are not done stay as far as they are."""
        with self._lock:
            self._stopping = True
            for job in self._jobs.values():
                job.cancelled = True
            self._jobs.clear()
            self._lock.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._step()
            except Exception as error:  # noqa: BLE001  # The thread's boundary: every task learns why.
                self._fail(list(self._jobs.values()), error)
        self._drop_consumer()

    def _step(self) -> None:
        """Plan what is new, keep the newest tasks assigned, apply what has come."""
        with self._lock:
            if not self._jobs and not self._stopping:
                self.busy = False
                self._drop_consumer()
                self._width = _TASKS_AT_ONCE
                self._lock.wait()
            jobs = list(self._jobs.values())
        self._plan([job for job in jobs if not job.planned])
        for job in jobs:
            self._finish(job)
        now = time.monotonic()
        able = [job for job in jobs if not job.finished and not job.cancelled and job.planned and job.due <= now]
        active = able[-self._width :]
        if not active:
            self.busy = False
            with self._lock:
                self._lock.wait(_IDLE_SECONDS)
            return
        consumer = self._assign(active)
        messages = consumer.consume(self._room.records(), 0) or consumer.consume(1, _IDLE_SECONDS)
        self._room.took(messages)
        if messages:
            self._heard_at = time.monotonic()
        elif time.monotonic() - self._heard_at >= QUIET_SECONDS:
            # There is something to come, if it be only that a log ends.
            self._drop_consumer()
        self.busy = self._take(messages, active)
        if not self.busy:
            self._width += 1
        for job in active:
            self._finish(job)

    def _plan(self, jobs: Sequence[_Job]) -> None:
        """Ask for begins and ends of all new logs at once, and set each log's course."""
        if not jobs:
            return
        tps = [log.tp for job in jobs for log in job.logs]
        try:
            ends = self._offsets.end_offsets(tps)
            begins = self._offsets.begin_offsets(tps)
        except StreamclusterError as error:
            self._fail(jobs, error)
            return
        for job in jobs:
            try:
                with self._lock:
                    if not job.cancelled:
                        set_course(job.task, job.store, job.logs, begins, ends)
                        job.planned = True
            except StreamclusterError as error:
                self._fail([job], error)

    def _assign(self, active: Sequence[_Job]) -> Consumer:
        """Give the consumer the unfinished logs of `active`, and nothing else."""
        if self._consumer is None:
            self._consumer = open_changelog_consumer(self._settings, self._connection)
            self._heard_at = time.monotonic()
        consumer = self._consumer
        assign_only(consumer, [log for job in active for log in job.logs if not log.finished])
        return consumer

    def _take(self, messages: Sequence[Message], active: Sequence[_Job]) -> bool:
        """Apply a batch to the stores; return whether there were records in it."""
        any_records = False
        owners = {log.tp: (job, log) for job in active for log in job.logs if not log.finished}
        for tp, error, run in runs_of(messages):
            if tp not in owners:
                continue
            job, log = owners[tp]
            try:
                if error is None:
                    any_records = True
                    self._apply(job, log, rows_of(run), offset_of(run[-1]) + 1)
                elif error.name() == "_PARTITION_EOF":
                    # Its offset is the next one to read, behind whatever markers and holes the log ends with.
                    self._apply(job, log, [], offset_of(run[-1]))
                else:
                    self._trouble(job, log, error)
            except StreamclusterError as problem:
                self._fail([job], problem)
        return any_records

    def _apply(self, job: _Job, log: Log, rows: list[tuple[bytes, bytes | None]], next_offset: int) -> None:
        with self._lock:
            if not job.cancelled and next_offset > log.next_offset:
                job.store.restore(log.table, rows, next_offset)
                log.next_offset = next_offset
                job.error = None

    def _trouble(self, job: _Job, log: Log, error: KafkaError) -> None:
        """An error that came in place of records: what heals by itself is only logged."""
        what = f"Task {job.task}, table {log.table}: reading {log.tp} at {log.next_offset}"
        verdict = classify(error)
        if error.name() in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE") and job.restarts < _RESTARTS_MAX:
            # The log was trimmed under us: ask for its begin again.
            _log.warning("%s: %s", what, error.str())
            job.restarts += 1
            job.planned = False
            self._drop_consumer()
        elif verdict in ("retriable", "unreachable"):
            _log.warning("%s: %s; trying again", what, error.str())
        elif verdict == "unreadable":
            # Never passed over: what is in it belongs to the table. The task waits, and the others go on.
            reason = str(error_for(what, error))
            if reason != job.error:
                _log.error("%s The task waits until the changelog can be read", reason)
            job.error = reason
            job.due = time.monotonic() + _UNREADABLE_PAUSE_SECONDS
        else:
            self._fail([job], error_for(what, error))

    def _finish(self, job: _Job) -> None:
        with self._lock:
            if job.cancelled or not job.finished:
                return
            self._restored[job.task] = sum(log.next_offset - log.first_offset for log in job.logs)
            del self._jobs[job.task]
        self._done(job.task)

    def _fail(self, jobs: Sequence[_Job], error: Exception) -> None:
        for job in jobs:
            with self._lock:
                if job.cancelled:
                    continue
                job.cancelled = True
                del self._jobs[job.task]
            self._failed(job.task, error)

    def _drop_consumer(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
