"""Restoring on a real broker: where a replay starts, when it is over, and what it leaves in the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streamcluster.ids import TP, TaskId
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection
from streamcluster.settings import Settings
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster_worker.kafka.producers import open_transactional_producer
from streamcluster_worker.state.changelogs import Plan, plan
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.restore import Restorer
from streamcluster_worker.state.rocks import RocksStore
from tests.worker.changelogs import Rows, abort, commit, trim

MakeTopic = Callable[..., str]
TASK = TaskId(1, 0)
COMPACTED = {"cleanup.policy": "compact"}


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

    def restore(self, store: TaskStore, topic: str) -> None:
        """Restore table "t" of one task and wait for it."""
        self.restorer.start(TASK, store, [("t", topic, 0)])
        self.wait(len(self.ended) + 1)
        assert self.ended[-1] == (TASK, None)

    def producer(self, name: str = "writer") -> Producer:
        """A transactional producer of this test."""
        return open_transactional_producer(self.settings, f"{self.settings.app_id}-{name}", self.connection, 30.0)

    def end(self, topic: str) -> int:
        """The READ_UNCOMMITTED end of partition 0."""
        return self.offsets.end_offsets([TP(topic, 0)])[TP(topic, 0)]


@pytest.fixture
def rig(broker_url: str, topic_prefix: str) -> Iterator[Rig]:
    """A running restorer, stopped at the end."""
    made = Rig(broker_url, topic_prefix)
    yield made
    made.restorer.stop()


@pytest.mark.parametrize(
    ("stored", "begin", "end", "expected"),
    [
        (None, 0, 10, Plan(0, 10)),
        (None, 4, 4, Plan(4, 4)),
        (7, 3, 10, Plan(7, 10)),
        (10, 0, 10, Plan(10, 10)),
        (3, 3, 10, Plan(3, 10)),
    ],
)
def test_plan_starts_at_the_stored_offset(stored: int | None, begin: int, end: int, expected: Plan) -> None:
    """Without an offset a replay starts at the log's begin; with one that the log still has, there."""
    assert plan(stored, begin, end) == expected


@pytest.mark.parametrize(("stored", "begin", "end"), [(2, 3, 10), (11, 0, 10), (5, 0, 0)])
def test_plan_forgets_a_store_that_the_log_cannot_complete(stored: int, begin: int, end: int) -> None:
    """A trimmed log and a re-created topic both mean: empty the shard, start at the begin, and say why."""
    found = plan(stored, begin, end)
    assert (found.first_offset, found.end_offset) == (begin, end)
    assert found.forget is not None
    assert str(stored) in found.forget


def test_restore_reads_committed_records_to_the_end(rig: Rig, make_topic: MakeTopic, topic_prefix: str) -> None:
    """Aborted records are left out, tombstones delete, and the stored offset is the log's end, markers included."""
    topic = make_topic(topic_prefix + "log", 1, COMPACTED)
    producer = rig.producer()
    commit(producer, topic, [(b"a", b"1"), (b"b", b"1"), (b"c", b"1")])
    abort(producer, topic, [(b"a", b"wrong"), (b"d", b"wrong")])
    commit(producer, topic, [(b"a", b"2"), (b"b", None)])
    abort(producer, topic, [(b"c", None)])
    store = MemoryStore(["t"])
    rig.restore(store, topic)
    assert store.shard("t").scan() == [(b"a", b"2"), (b"c", b"1")]
    assert store.changelog_next_offset("t") == rig.end(topic)


def test_restore_of_an_empty_log_ends(rig: Rig, make_topic: MakeTopic, topic_prefix: str) -> None:
    """An empty log, and one that has only an aborted transaction, are done; their offsets are stored."""
    empty, aborted = make_topic(topic_prefix + "empty", 1), make_topic(topic_prefix + "aborted", 1)
    abort(rig.producer(), aborted, [(b"a", b"1")])
    store = MemoryStore(["t"])
    rig.restore(store, empty)
    assert store.changelog_next_offset("t") == 0
    store = MemoryStore(["t"])
    rig.restore(store, aborted)
    assert (store.shard("t").scan(), store.changelog_next_offset("t")) == ([], rig.end(aborted))


def test_restore_replays_only_the_tail(rig: Rig, make_topic: MakeTopic, topic_prefix: str) -> None:
    """A store that is behind gets what it lacks, and keeps what it has; one that is at the end gets nothing."""
    topic = make_topic(topic_prefix + "log", 1, COMPACTED)
    producer = rig.producer()
    commit(producer, topic, [(b"a", b"1")])
    store = MemoryStore(["t"])
    store.restore("t", [(b"a", b"kept as it is")], rig.end(topic))
    rig.restore(store, topic)
    assert store.shard("t").get(b"a") == b"kept as it is"
    commit(producer, topic, [(b"b", b"2")])
    rig.restore(store, topic)
    assert store.shard("t").scan() == [(b"a", b"kept as it is"), (b"b", b"2")]


def test_restore_waits_for_an_open_transaction(rig: Rig, make_topic: MakeTopic, topic_prefix: str) -> None:
    """While a transaction below the end is open the replay is not over; what becomes of it decides (H3)."""
    topic = make_topic(topic_prefix + "log", 1, COMPACTED)
    opened = rig.producer("dead")
    opened.begin_transaction()
    opened.produce(topic, key=b"a", value=b"undecided", partition=0)
    assert opened.flush(30) == 0
    store = MemoryStore(["t"])
    commit(rig.producer(), topic, [(b"b", b"1")])
    rig.restorer.start(TASK, store, [("t", topic, 0)])
    deadline = time.monotonic() + 20
    while rig.restorer.progress(TASK)[1] == 0:
        assert time.monotonic() < deadline
    assert rig.ended == []
    opened.commit_transaction(30.0)
    rig.wait()
    assert store.shard("t").scan() == [(b"a", b"undecided"), (b"b", b"1")]


def test_restore_starts_anew_when_the_log_was_trimmed(rig: Rig, make_topic: MakeTopic, topic_prefix: str) -> None:
    """A store from before the log's begin is emptied: what it had may have been deleted since."""
    topic = make_topic(topic_prefix + "log", 1)
    producer = rig.producer()
    commit(producer, topic, [(b"old", b"1")])
    commit(producer, topic, [(b"new", b"2")])
    trim(rig.settings, topic, 2)
    store = MemoryStore(["t"])
    store.restore("t", [(b"deleted since", b"x")], 1)
    rig.restore(store, topic)
    assert store.shard("t").scan() == [(b"new", b"2")]


def test_restore_starts_anew_when_the_topic_is_a_new_one(rig: Rig, make_topic: MakeTopic, topic_prefix: str) -> None:
    """A store that is ahead of the log belongs to an earlier topic of that name."""
    topic = make_topic(topic_prefix + "log", 1)
    commit(rig.producer(), topic, [(b"a", b"1")])
    store = MemoryStore(["t"])
    store.restore("t", [(b"earlier", b"x")], 1000)
    rig.restore(store, topic)
    assert store.shard("t").scan() == [(b"a", b"1")]


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


def test_task_that_is_started_again_at_once_misses_nothing(
    rig: Rig, make_topic: MakeTopic, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in the restorer's hands when the task was cancelled was not applied: it must be read again."""
    topic = make_topic(topic_prefix + "log", 2)
    rows: Rows = [(b"%05d" % number, b"v") for number in range(20_000)]
    for partition in (0, 1):
        commit(rig.producer(), topic, rows, partition)
    store, logs = MemoryStore(["t", "u"]), [("t", topic, 0), ("u", topic, 1)]
    restore, calls = MemoryStore.restore, []

    def begin_again(
        self: MemoryStore, table: str, records: Sequence[tuple[bytes, bytes | None]], next_offset: int
    ) -> None:
        # While one table is applied, records of the other one are in the same batch.
        restore(self, table, records, next_offset)
        calls.append(table)
        if len(calls) <= 5:
            rig.restorer.cancel(TASK)
            rig.restorer.start(TASK, store, logs)

    monkeypatch.setattr(MemoryStore, "restore", begin_again)
    rig.restorer.start(TASK, store, logs)
    rig.wait()
    assert rig.ended == [(TASK, None)]
    assert [store.shard(table).scan(rows_max=100_000) for table in ("t", "u")] == [rows, rows]


def test_restore_from_a_topic_that_is_gone_fails_that_task(rig: Rig, topic_prefix: str) -> None:
    """The error names what was asked, and the restorer goes on serving."""
    rig.restorer.start(TASK, MemoryStore(["t"]), [("t", topic_prefix + "never-made", 0)])
    rig.wait()
    task, error = rig.ended[0]
    assert task == TASK
    assert "deleted" in str(error)
