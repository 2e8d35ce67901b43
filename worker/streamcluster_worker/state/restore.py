"""Brings shards up to the end of their changelogs and hands them over: newest task first, as fast as it can.

`done` and `failed` are called from its thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from streamcluster.engine.topic_rows import TopicRows
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.config import CHANGELOG_PART
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection, Consumer, KafkaError
from streamcluster.kafka.verdicts import error_for
from streamcluster.memory import shares_of
from streamcluster.settings import Settings
from streamcluster.stores import TaskStore

from ..kafka.consumers import open_changelog_consumer
from .changelogs import Log, StoreReplay, is_cut
from .replay import NO_TOPIC_ROWS, Pace, Replay

# One fetch thread feeds all partitions, and two tasks keep it busy; more would only make the newest task wait. If they
# bring nothing (their logs end in a transaction that is still open), one more task joins them.
_TASKS_AT_ONCE = 2
# What a store takes in one batch at best (see rocks.py).
_BATCH_RECORDS = 5_000
_IDLE_SECONDS = 0.05
_ASK_SECONDS = 30.0
# A log that is trimmed while it is read is started again; more often than this, something else is wrong.
_RESTARTS_MAX = 5
NO_BOUNDS: Mapping[TP, int] = MappingProxyType({})


class Restorer:
    """The policy for tasks that wait for their state."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        offsets: Offsets,
        *,
        done: Callable[[TaskId], None],
        failed: Callable[[TaskId, Exception], None],
        dated: Collection[str] = (),
        topic_rows: Mapping[str, TopicRows] = NO_TOPIC_ROWS,
    ) -> None:
        """Nothing is opened yet.

        Args:
            settings: the app's settings.
            connection: gets the news of the brokers.
            offsets: asks for the ends of changelogs.
            done: called from the thread when a task's shards are at the end of their changelogs.
            dated: the tables whose rows have dates.
            topic_rows: of the tables whose changelog is the topic that they are made of.
            failed: called from the thread when a task cannot be restored. After `cancel` neither is called.
        """
        self._settings = settings
        self._connection = connection
        self._done = done
        self._failed = failed
        bytes_max = shares_of(settings).prefetch // CHANGELOG_PART
        pace = Pace("restore", _BATCH_RECORDS, bytes_max, _IDLE_SECONDS, _ASK_SECONDS, to_end=True)
        self._replay = Replay(self, pace, offsets, dated, topic_rows)
        # Where tasks begin in the topics that their tables are made of.
        self._bounds: dict[TP, int] = {}
        # How many records it took to bring each task back.
        self._restored: dict[TaskId, int] = {}
        # How many tasks are read at once.
        self._width = _TASKS_AT_ONCE
        # The last look at the logs brought records.
        self.busy = False

    def start(
        self,
        task: TaskId,
        store: TaskStore,
        logs: Iterable[tuple[str, str, int]],
        bounds: Mapping[TP, int] = NO_BOUNDS,
    ) -> None:
        """Restore `task`; to be called after the fence, since the ends of the logs are asked for now.

        Args:
            task: the task.
            store: its store; nobody else may touch it until `done` or `failed` was called, or `cancel` returned.
            logs: (table, changelog topic, partition).
            bounds: where the agents begin that read the topics which its tables are made of: what is behind that they
                have yet to put into the tables, in the order of time.
        """
        self._restored.pop(task, None)
        self._bounds |= bounds
        self._replay.add(StoreReplay.of(task, logs, store))

    def cancel(self, task: TaskId) -> None:
        """Stop restoring `task`; when this returns its store is the caller's. Waits for one batch at most."""
        self._replay.remove((task,))

    def progress(self, task: TaskId) -> tuple[int, int]:
        """Records restored and records in all, counted by offsets; of a task that is back, the same number twice."""
        replay = self._replay.stores.get(task)
        if replay is None:
            restored = self._restored.get(task, 0)
            return restored, restored
        return _count(replay), sum(max(0, log.end_offset - log.first_offset) for log in replay.logs)

    def error(self, task: TaskId) -> str | None:
        """Why the task does not get on; None while it does."""
        replay = self._replay.stores.get(task)
        return None if replay is None else replay.error

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread; tasks that are not done stay as far as they are."""
        self._replay.stop(timeout)

    # The policy

    def open_consumer(self) -> Consumer:
        """One that gets to the end of a log, and says so, as quickly as it can."""
        return open_changelog_consumer(self._settings, self._connection)

    def open_store(self, replay: StoreReplay) -> TaskStore:
        """It came with the task."""
        assert replay.store is not None
        return replay.store

    def rests(self) -> None:
        """Begin anew with the next task."""
        self.busy = False
        self._width = _TASKS_AT_ONCE

    def bounds(self, logs: Sequence[Log]) -> Mapping[TP, int]:
        """They came with the tasks."""
        return {log.tp: self._bounds[log.tp] for log in logs}

    def must_step_aside(self) -> bool:
        """Never."""
        return False

    def choose(self, able: list[StoreReplay]) -> list[StoreReplay]:
        """The newest."""
        active = able[-self._width :]
        self.busy = self.busy and bool(active)
        return active

    def stepped(self, active: list[StoreReplay], consumer: Consumer, records: int, *, full: bool, began: float) -> None:
        """One more task joins when these bring nothing."""
        self.busy = records > 0
        if not self.busy:
            self._width += 1

    def at_end(self, replay: StoreReplay) -> None:
        """The task has its state."""
        if self._let_go(replay):
            self._done(replay.task)

    def refused(self, replay: StoreReplay, what: str, error: KafkaError) -> None:
        """Begin again when the log was cut under us, with its new begin; else the task is not to be restored."""
        if is_cut(error) and replay.restarts < _RESTARTS_MAX:
            self._replay.begin_again(replay, f"{what}: {error.str()}")
        else:
            self.failed(replay, error_for(what, error))

    def failed(self, replay: StoreReplay, error: Exception) -> None:
        """Say so, once, and let the task go."""
        if self._let_go(replay):
            self._failed(replay.task, error)

    def _let_go(self, replay: StoreReplay) -> bool:
        with self._replay.lock:
            was_ours = self._replay.let_go(replay)
            if was_ours:
                self._restored[replay.task] = _count(replay)
        return was_ours


def _count(replay: StoreReplay) -> int:
    return sum(log.next_offset - log.first_offset for log in replay.logs)
