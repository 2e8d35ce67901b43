"""A follower with the stores and the log of a test, and waiting for it to be where it should be."""

from __future__ import annotations

import threading
from collections.abc import Callable

from confluent_kafka import Producer

from streamcluster.errors import StreamclusterError
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection
from streamcluster.settings import Settings
from streamcluster.stores import TaskStore
from streamcluster_worker.kafka.producers import open_transactional_producer
from streamcluster_worker.state.follow import Follower, Standing
from tests.process.waiting import eventually
from tests.worker.changelogs import Rows

TASK = TaskId(1, 0)
SECONDS = 30.0


class Shelf:
    """The stores of a test. fault: raised by the next open."""

    def __init__(self, make: Callable[[TaskId], TaskStore]) -> None:
        self._make = make
        self.stores: dict[TaskId, TaskStore] = {}
        self.fault: StreamclusterError | None = None

    def open(self, task: TaskId) -> TaskStore:
        """The task's store."""
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        if task not in self.stores:
            self.stores[task] = self._make(task)
        return self.stores[task]

    def close(self, task: TaskId) -> None:
        """Close it, if it is open."""
        store = self.stores.pop(task, None)
        if store is not None:
            store.close()


class Rig:
    """A follower of one task with one table, and the log that it follows."""

    def __init__(self, broker_url: str, prefix: str, make: Callable[[TaskId], TaskStore]) -> None:
        self.settings = Settings(id=prefix.rstrip("-"), broker=broker_url)
        self.connection = Connection()
        self.offsets = Offsets(self.settings, self.connection)
        self.shelf = Shelf(make)
        self.is_restoring = threading.Event()
        # How the follower stood at each of its steps.
        self.steps: list[Standing] = []
        self.follower = Follower(
            self.settings, self.connection, self.offsets, self.shelf, must_step_aside=self._begin_step
        )

    def _begin_step(self) -> bool:
        standing = self.follower.standing(TASK)
        if standing is not None:
            self.steps.append(standing)
        return self.is_restoring.is_set()

    def producer(self, name: str = "writer") -> Producer:
        """A transactional producer of this test."""
        return open_transactional_producer(self.settings, f"{self.settings.app_id}-{name}", self.connection, SECONDS)

    def end(self, topic: str) -> int:
        """The READ_UNCOMMITTED end of partition 0."""
        return self.offsets.end_offsets([TP(topic, 0)])[TP(topic, 0)]

    def standing(self) -> Standing:
        """How the follower stands."""
        found = self.follower.standing(TASK)
        assert found is not None
        return found

    def rows(self) -> list[tuple[bytes, bytes]]:
        """What the standby has."""

        def scan(_: object) -> list[tuple[bytes, bytes]]:
            store = self.shelf.stores.get(TASK)
            return store.shard("t").scan(rows_max=100_000) if store is not None else []

        # Rows in memory may not be written while they are looked at.
        return self.follower.read(scan)

    def wait_for_end(self, topic: str) -> None:
        """Until the store is at the end of the log, and the follower says so."""

        def is_there() -> bool:
            store = self.shelf.stores.get(TASK)
            at = store.changelog_next_offset("t") if store is not None else None
            return at == self.end(topic) and self.standing().lag == {topic: 0}

        eventually(is_there, SECONDS, "the standby is at the end", lambda: str(self.standing()))


def numbered(count: int, value: bytes = b"v") -> Rows:
    """Rows of so many keys."""
    return [(b"%06d" % number, value) for number in range(count)]
