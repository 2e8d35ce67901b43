"""Restoring on a real broker: where a replay starts, when it is over, and what it leaves in the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streamcluster.ids import TaskId
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection
from streamcluster.settings import Settings
from streamcluster.stores import MemoryStore
from streamcluster_worker.kafka.producers import open_transactional_producer
from streamcluster_worker.state.changelogs import Course, course_of
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.restore import Restorer
from streamcluster_worker.state.rocks import RocksStore
from tests.worker.changelogs import commit

MakeTopic = Callable[..., str]
TASK = TaskId(1, 0)


class Rig:
    """A restorer with what it reported."""

    def __init__(self, broker_url: str, prefix: str) -> None:
        self.settings = Settings(id=prefix.rstrip("-"), broker=broker_url)
        self.connection = Connection()
        self.offsets = Offsets(self.settings, self.connection)
        self.ended: list[tuple[TaskId, Exception | None]] = []
        self._news = threading.Condition()
        self.restorer = Restorer(
            self.settings,
            self.connection,
            self.offsets,
            done=lambda task: self._end(task, None),
            failed=self._end,
        )

    def _end(self, task: TaskId, error: Exception | None) -> None:
        with self._news:
            self.ended.append((task, error))
            self._news.notify_all()

    def wait(self, count: int = 1, timeout: float = 30.0) -> None:
        """Until `count` tasks ended."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.ended) >= count, timeout), f"only {self.ended} ended"

    def producer(self, name: str = "writer") -> Producer:
        """A transactional producer of this test."""
        return open_transactional_producer(self.settings, f"{self.settings.app_id}-{name}", self.connection, 30.0)


@pytest.fixture
def rig(broker_url: str, topic_prefix: str) -> Iterator[Rig]:
    """A running restorer, stopped at the end."""
    made = Rig(broker_url, topic_prefix)
    yield made
    made.restorer.stop()


@pytest.mark.parametrize(
    ("stored", "begin", "end", "expected"),
    [
        (None, 0, 10, Course(0, 10)),
        (None, 4, 4, Course(4, 4)),
        (7, 3, 10, Course(7, 10)),
        (10, 0, 10, Course(10, 10)),
        (3, 3, 10, Course(3, 10)),
    ],
)
def test_course_starts_at_the_stored_offset(stored: int | None, begin: int, end: int, expected: Course) -> None:
    """Without an offset a replay starts at the log's begin; with one that the log still has, there."""
    assert course_of(stored, begin, end) == expected


@pytest.mark.parametrize(("stored", "begin", "end"), [(2, 3, 10), (11, 0, 10), (5, 0, 0)])
def test_plan_forgets_a_store_that_the_log_cannot_complete(stored: int, begin: int, end: int) -> None:
    """A trimmed log and a re-created topic both mean: empty the shard, start at the begin, and say why."""
    found = course_of(stored, begin, end)
    assert (found.first_offset, found.end_offset) == (begin, end)
    assert found.forget is not None
    assert str(stored) in found.forget


def test_each_task_is_done_when_it_alone_is_restored(
    rig: Rig, make_topic: MakeTopic, topic_prefix: str, tmp_path: Path
) -> None:
    """Five tasks of two tables are restored side by side into RocksDB; three held up do not hold up the others."""
    logs = [make_topic(topic_prefix + name, 8) for name in ("t", "u")]
    producer = rig.producer()
    for number in range(5):
        for log in logs:
            commit(producer, log, [(b"%d-%d" % (number, key), b"v") for key in range(300)], number)
    opened = rig.producer("dead")
    opened.begin_transaction()
    for number in (5, 6, 7):
        opened.produce(logs[0], key=b"undecided", value=b"x", partition=number)
    assert opened.flush(30) == 0
    memory = Memory(1 << 20, 1 << 20)
    stores = {TaskId(8, n): RocksStore.open(tmp_path / str(n), ["t", "u"], memory) for n in range(8)}
    for task, store in stores.items():
        rig.restorer.start(task, store, [("t", logs[0], task.partition), ("u", logs[1], task.partition)])
    rig.wait(5)
    assert sorted(rig.ended) == [(TaskId(8, n), None) for n in range(5)]
    for task in list(stores)[:5]:
        rows = sorted((b"%d-%d" % (task.partition, key), b"v") for key in range(300))
        assert [stores[task].shard(table).scan() for table in ("t", "u")] == [rows, rows]
    for number in (5, 6, 7):
        rig.restorer.cancel(TaskId(8, number))
    for store in stores.values():
        store.close()


def test_cancelled_task_is_not_touched_any_more(rig: Rig, make_topic: MakeTopic, topic_prefix: str) -> None:
    """After cancel() the store is the caller's, neither done nor failed comes, and other tasks go on."""
    topic = make_topic(topic_prefix + "log", 2)
    opened = rig.producer("dead")
    opened.begin_transaction()
    opened.produce(topic, key=b"a", value=b"1", partition=0)
    assert opened.flush(30) == 0
    cancelled, other = MemoryStore(["t"]), MemoryStore(["t"])
    rig.restorer.start(TaskId(2, 0), cancelled, [("t", topic, 0)])
    deadline = time.monotonic() + 20
    while rig.restorer.progress(TaskId(2, 0))[1] == 0:
        assert time.monotonic() < deadline
    rig.restorer.cancel(TaskId(2, 0))
    assert rig.restorer.progress(TaskId(2, 0)) == (0, 0)
    opened.commit_transaction(30.0)
    rig.restorer.start(TaskId(2, 1), other, [("t", topic, 1)])
    rig.wait()
    assert rig.ended == [(TaskId(2, 1), None)]
    assert cancelled.changelog_next_offset("t") is None


def test_restore_from_a_topic_that_is_gone_fails_that_task(rig: Rig, topic_prefix: str) -> None:
    """The error names what was asked, and the restorer goes on serving."""
    rig.restorer.start(TASK, MemoryStore(["t"]), [("t", topic_prefix + "never-made", 0)])
    rig.wait()
    task, error = rig.ended[0]
    assert task == TASK
    assert "deleted" in str(error)
