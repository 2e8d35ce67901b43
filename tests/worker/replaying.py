"""One face for both policies, for tests of what restoring and following have in common."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from streamcluster.ids import TP, TaskId
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection, Producer
from streamcluster.settings import Settings
from streamcluster.stores import TaskStore
from streamcluster_worker.kafka.producers import open_transactional_producer
from streamcluster_worker.state.follow import Follower
from streamcluster_worker.state.replay import Replay
from streamcluster_worker.state.restore import Restorer
from tests.process.waiting import eventually
from tests.worker.following import Shelf

TASK = TaskId(1, 0)
SECONDS = 30.0
PREFETCH_BYTES = 1024 * 1024
Logs = Sequence[tuple[str, str, int]]


class Reader:
    """A restorer or a follower, and the stores that it was given."""

    def __init__(self, policy: str, broker_url: str, prefix: str, *, native: bool = True) -> None:
        # Little is fetched ahead, so that logs can be longer than that.
        self.settings = Settings(
            id=prefix.rstrip("-"), broker=broker_url, native=native, consumer_prefetch_bytes=PREFETCH_BYTES
        )
        self.connection = Connection()
        self.offsets = Offsets(self.settings, self.connection)
        # Of a restorer: how each task ended, None when it is restored.
        self.ended: dict[TaskId, Exception | None] = {}
        self._news = threading.Condition()
        self._given: dict[TaskId, tuple[TaskStore, Logs]] = {}
        self.restorer: Restorer | None = None
        self.follower: Follower | None = None
        if policy == "restore":
            self.restorer = Restorer(
                self.settings,
                self.connection,
                self.offsets,
                done=lambda task: self._end(task, None),
                failed=self._end,
            )
        else:
            shelf = Shelf(lambda task: self._given[task][0])
            self.follower = Follower(self.settings, self.connection, self.offsets, shelf)
            # To fall asleep for the sake of a task that is granted is another test's matter.
            self.follower.leave = lambda tasks: self.replay.remove(tasks)  # type: ignore[method-assign]

    def _end(self, task: TaskId, error: Exception | None) -> None:
        with self._news:
            self.ended[task] = error
            self._news.notify_all()

    @property
    def replay(self) -> Replay:
        """What both are made of."""
        policy = self.restorer or self.follower
        assert policy is not None
        return policy._replay

    def begin(self, store: TaskStore, *logs: tuple[str, str, int], task: TaskId = TASK) -> None:
        """Replay these logs into `store`."""
        self._given[task] = store, logs
        self.ended.pop(task, None)
        if self.restorer is not None:
            self.restorer.start(task, store, logs)
        if self.follower is not None:
            self.follower.follow(task, logs)

    def leave(self, task: TaskId = TASK) -> None:
        """The store is the caller's."""
        self.replay.remove((task,))

    def is_at_end(self, task: TaskId) -> bool:
        """Whether it says so, and the store agrees."""
        store, logs = self._given[task]
        ends = self.offsets.end_offsets([TP(topic, partition) for _, topic, partition in logs])
        if any(store.changelog_next_offset(name) != ends[TP(topic, partition)] for name, topic, partition in logs):
            return False
        if self.follower is None:
            assert self.ended.get(task) is None, self.ended
            return task in self.ended
        standing = self.follower.standing(task)
        return standing is not None and not any(standing.lag.values())

    def wait_for_end(self, task: TaskId = TASK) -> None:
        """Until the store is at the ends of its logs. A standby is left there."""
        eventually(
            lambda: self.is_at_end(task), SECONDS, "it is at the end", lambda: f"{self.ended} {self.error(task)}"
        )
        self.leave(task)

    def replay_all(self, store: TaskStore, topic: str) -> None:
        """Table "t" of one task from where its store is to the end."""
        self.begin(store, ("t", topic, 0))
        self.wait_for_end()

    def error(self, task: TaskId = TASK) -> str | None:
        """Why the task does not get on, or did not."""
        replay = self.replay.stores.get(task)
        if replay is not None:
            return replay.error
        return str(self.ended[task]) if self.ended.get(task) is not None else None

    def is_planned(self) -> bool:
        """Whether it knows where the logs end."""
        replay = self.replay.stores.get(TASK)
        return replay is not None and replay.planned

    def producer(self, name: str = "writer") -> Producer:
        """A transactional producer of this test."""
        return open_transactional_producer(self.settings, f"{self.settings.app_id}-{name}", self.connection, SECONDS)

    def end(self, topic: str) -> int:
        """The READ_UNCOMMITTED end of partition 0."""
        return self.offsets.end_offsets([TP(topic, 0)])[TP(topic, 0)]

    def stop(self) -> None:
        """End the thread."""
        self.replay.stop(SECONDS)
