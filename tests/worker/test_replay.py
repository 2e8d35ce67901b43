"""Replaying on a real broker, restoring and following alike: where it starts, what it leaves, and what keeps it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from streamcluster.ids import TaskId
from streamcluster.kafka import offsets
from streamcluster.stores import MemoryStore
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore
from tests.process.checker import Row
from tests.process.poison import send_unpackable
from tests.process.records import send
from tests.process.waiting import eventually
from tests.worker.changelogs import Rows, abort, commit, trim
from tests.worker.following import numbered
from tests.worker.replaying import SECONDS, TASK, Reader

MakeTopic = Callable[..., str]
OTHER = TaskId(1, 1)
COMPACTED = {"cleanup.policy": "compact"}


@pytest.fixture(params=["restore", "follow", "restore in Python"])
def reader(request: pytest.FixtureRequest, broker_url: str, topic_prefix: str) -> Iterator[Reader]:
    """One of each policy, stopped at the end; records are taken in C where that is there, and once without it."""
    policy, _, path = request.param.partition(" ")
    made = Reader(policy, broker_url, topic_prefix, native=path == "")
    yield made
    made.stop()


def test_committed_records_are_read_to_the_end(reader: Reader, make_topic: MakeTopic, topic_prefix: str) -> None:
    """Aborted records are left out, tombstones delete, and the stored offset is the log's end, markers included."""
    topic = make_topic(topic_prefix + "log", 1, COMPACTED)
    producer = reader.producer()
    commit(producer, topic, [(b"a", b"1"), (b"b", b"1"), (b"c", b"1")])
    abort(producer, topic, [(b"a", b"wrong"), (b"d", b"wrong")])
    commit(producer, topic, [(b"a", b"2"), (b"b", None)])
    abort(producer, topic, [(b"c", None)])
    store = MemoryStore(["t"])
    reader.replay_all(store, topic)
    assert store.shard("t").scan() == [(b"a", b"2"), (b"c", b"1")]
    assert store.changelog_next_offset("t") == reader.end(topic)


def test_a_record_without_a_key_is_left_out(reader: Reader, make_topic: MakeTopic, topic_prefix: str) -> None:
    """No table wrote it; what is around it counts, an empty key too."""
    topic, producer = make_topic(topic_prefix + "log", 1), reader.producer()
    producer.begin_transaction()
    for key, value in ((b"k", b"1"), (None, b"stray"), (b"", b"2"), (b"l", b"3")):
        producer.produce(topic, key=key, value=value, partition=0)
    producer.commit_transaction(SECONDS)
    store = MemoryStore(["t"])
    reader.begin(store, ("t", topic, 0))
    eventually(lambda: len(store.shard("t").rows) == 3, SECONDS, "the rows are there")
    reader.leave()
    assert store.shard("t").scan() == [(b"", b"2"), (b"k", b"1"), (b"l", b"3")]


def test_logs_without_records_are_at_their_end(reader: Reader, make_topic: MakeTopic, topic_prefix: str) -> None:
    """An empty log, and one that has only an aborted transaction; their offsets are stored."""
    empty, aborted = make_topic(topic_prefix + "empty", 1), make_topic(topic_prefix + "aborted", 1)
    abort(reader.producer(), aborted, [(b"a", b"1")])
    store = MemoryStore(["t"])
    reader.replay_all(store, empty)
    assert store.changelog_next_offset("t") == 0
    store = MemoryStore(["t"])
    reader.begin(store, ("t", aborted, 0), task=OTHER)
    reader.wait_for_end(OTHER)
    assert (store.shard("t").scan(), store.changelog_next_offset("t")) == ([], reader.end(aborted))


def test_only_the_tail_is_replayed(reader: Reader, make_topic: MakeTopic, topic_prefix: str) -> None:
    """A store that is behind gets what it lacks, and keeps what it has; one that is at the end gets nothing."""
    topic = make_topic(topic_prefix + "log", 1, COMPACTED)
    producer = reader.producer()
    commit(producer, topic, [(b"a", b"1")])
    store = MemoryStore(["t"])
    store.restore("t", [(b"a", b"kept as it is")], reader.end(topic))
    reader.replay_all(store, topic)
    assert store.shard("t").get(b"a") == b"kept as it is"
    commit(producer, topic, [(b"b", b"2")])
    reader.begin(store, ("t", topic, 0), task=OTHER)
    reader.wait_for_end(OTHER)
    assert store.shard("t").scan() == [(b"a", b"kept as it is"), (b"b", b"2")]


def test_a_short_tail_is_no_restore_to_rocksdb(
    reader: Reader, make_topic: MakeTopic, topic_prefix: str, tmp_path: Path
) -> None:
    """Options are tuned for long ones, and RocksDB writes a file for each change of them."""
    topic, memory = make_topic(topic_prefix + "log", 1), Memory(1 << 20, 1 << 20)
    commit(reader.producer(), topic, numbered(1000))
    store = RocksStore.open(tmp_path / "s", ["t"], memory)

    def options() -> list[str]:
        return sorted(file.name for file in (tmp_path / "s").glob("OPTIONS-*"))

    before = options()
    reader.replay_all(store, topic)
    assert store.shard("t").scan() == numbered(1000)
    assert options() == before
    store.close()


def test_an_open_transaction_is_waited_for(reader: Reader, make_topic: MakeTopic, topic_prefix: str) -> None:
    """While one below the end is open nothing behind it is applied; what becomes of it decides (H3)."""
    topic = make_topic(topic_prefix + "log", 1, COMPACTED)
    opened = reader.producer("dead")
    opened.begin_transaction()
    opened.produce(topic, key=b"a", value=b"undecided", partition=0)
    assert opened.flush(30) == 0
    store = MemoryStore(["t"])
    commit(reader.producer(), topic, [(b"b", b"1")])
    reader.begin(store, ("t", topic, 0))
    eventually(reader.is_planned, SECONDS, "it knows the end")
    assert reader.ended == {}
    assert store.shard("t").scan() == []
    opened.commit_transaction(30.0)
    reader.wait_for_end()
    assert store.shard("t").scan() == [(b"a", b"undecided"), (b"b", b"1")]


def test_a_store_from_before_the_begin_is_emptied(reader: Reader, make_topic: MakeTopic, topic_prefix: str) -> None:
    """What it had may have been deleted since."""
    topic = make_topic(topic_prefix + "log", 1)
    producer = reader.producer()
    commit(producer, topic, [(b"old", b"1")])
    commit(producer, topic, [(b"new", b"2")])
    trim(reader.settings, topic, 2)
    store = MemoryStore(["t"])
    store.restore("t", [(b"deleted since", b"x")], 1)
    reader.replay_all(store, topic)
    assert store.shard("t").scan() == [(b"new", b"2")]


def test_a_log_that_is_cut_while_it_is_read_is_begun_again(
    reader: Reader, make_topic: MakeTopic, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it has left, and no row of what is gone."""
    topic, producer, store = make_topic(topic_prefix + "log", 1), reader.producer(), MemoryStore(["t"])
    # What no compression makes small.
    rows: Rows = [(b"%06d" % number, os.urandom(1000)) for number in range(12_000)]
    block = 2000
    for first in range(0, len(rows), block):
        commit(producer, topic, rows[first : first + block])
    # Each block has its marker behind it.
    begin = 5 * (block + 1)
    restore, cut = MemoryStore.restore, list[int]()

    def cut_once(
        self: MemoryStore, table: str, records: Iterable[tuple[bytes, bytes | None]], next_offset: int
    ) -> None:
        restore(self, table, records, next_offset)
        if not cut:
            trim(reader.settings, topic, begin)
            cut.append(next_offset)

    monkeypatch.setattr(MemoryStore, "restore", cut_once)
    reader.replay_all(store, topic)
    assert cut[0] < begin
    assert store.shard("t").scan(rows_max=100_000) == rows[10_000:]


def test_a_store_ahead_of_the_log_is_emptied(reader: Reader, make_topic: MakeTopic, topic_prefix: str) -> None:
    """It belongs to an earlier topic of that name."""
    topic = make_topic(topic_prefix + "log", 1)
    commit(reader.producer(), topic, [(b"a", b"1")])
    store = MemoryStore(["t"])
    store.restore("t", [(b"earlier", b"x")], 1000)
    reader.replay_all(store, topic)
    assert store.shard("t").scan() == [(b"a", b"1")]


def test_a_task_that_begins_again_at_once_misses_nothing(
    reader: Reader, make_topic: MakeTopic, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in the thread's hands when the task left was not applied: it must be read again."""
    topic = make_topic(topic_prefix + "log", 2)
    rows: Rows = [(b"%05d" % number, b"v") for number in range(20_000)]
    for partition in (0, 1):
        commit(reader.producer(), topic, rows, partition)
    store, logs = MemoryStore(["t", "u"]), (("t", topic, 0), ("u", topic, 1))
    restore, calls = MemoryStore.restore, []

    def begin_again(
        self: MemoryStore, table: str, records: Iterable[tuple[bytes, bytes | None]], next_offset: int
    ) -> None:
        # While one table is applied, records of the other one are in the same batch.
        restore(self, table, records, next_offset)
        calls.append(table)
        if len(calls) <= 5:
            reader.leave()
            reader.begin(store, *logs)

    monkeypatch.setattr(MemoryStore, "restore", begin_again)
    reader.begin(store, *logs)
    reader.wait_for_end()
    assert [store.shard(table).scan(rows_max=100_000) for table in ("t", "u")] == [rows, rows]


def test_a_topic_that_is_gone_keeps_nobody_else(
    reader: Reader, make_topic: MakeTopic, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task says so, and one that begins in the same moment gets to its end."""
    monkeypatch.setattr(offsets, "_GONE_SECONDS", 0.5)
    topic, store = make_topic(topic_prefix + "log", 1), MemoryStore(["t"])
    commit(reader.producer(), topic, numbered(10))
    # Both are new to the thread when it looks.
    with reader.replay.lock:
        reader.begin(store, ("t", topic, 0), task=OTHER)
        reader.begin(MemoryStore(["t"]), ("t", topic_prefix + "never-made", 0))
    reader.wait_for_end(OTHER)
    assert store.shard("t").scan() == numbered(10)
    eventually(lambda: "deleted" in (reader.error() or ""), SECONDS, "it says what is wrong")


def test_a_log_that_cannot_be_unpacked_keeps_only_its_task_waiting(
    reader: Reader, make_topic: MakeTopic, topic_prefix: str, broker_url: str
) -> None:
    """It says which topic, partition and offset it waits for, and stays there; another one gets to its end."""
    bootstrap, topic = broker_url.removeprefix("kafka://"), make_topic(f"{topic_prefix}log", 2)
    for partition in (0, 1):
        send(bootstrap, topic, [Row("k", b"a")], partition)
    send_unpackable(bootstrap, topic, 0)
    store = MemoryStore(["t"])
    reader.begin(store, ("t", topic, 0))
    error = eventually(reader.error, SECONDS, "it says why it waits")
    reader.begin(MemoryStore(["t"]), ("t", topic, 1), task=OTHER)
    reader.wait_for_end(OTHER)
    assert TASK not in reader.ended
    assert error is not None
    assert f"{topic}[0] at 1: records that" in error
    assert "_BAD_COMPRESSION" in error
    assert store.changelog_next_offset("t") == 1
