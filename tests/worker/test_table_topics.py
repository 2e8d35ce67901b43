"""Restoring and following tables from the topics that they are made of: up to where the app is, and no further."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest

from streamcluster import App
from streamcluster.engine.local_tables import row_coder
from streamcluster.engine.topic_rows import TopicRows
from streamcluster.ids import TP, TaskId
from streamcluster.kafka.offsets import Offsets
from streamcluster.kafka.opening import Connection
from streamcluster.settings import Settings
from streamcluster.stores import MemoryStore
from streamcluster_worker.kafka.producers import open_transactional_producer
from streamcluster_worker.state.follow import Follower
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.record import NOBODY
from streamcluster_worker.state.restore import Restorer
from streamcluster_worker.state.rocks import RocksStore, read_offsets
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.poison import send_unpackable
from tests.process.records import send
from tests.process.waiting import eventually
from tests.worker.changelogs import Rows, commit
from tests.worker.following import Shelf

TASK = TaskId(1, 0)
SECONDS = 30.0
MIB = 1 << 20
# Offsets 0 to 4, a marker, 6 to 8, a marker.
FIRST: Rows = [(b"a", b"1"), (b"b", b"2"), (b"a", b"no number"), (b"b", None), (b"c", b"3")]
SECOND: Rows = [(b"a", b"4"), (b"d", b"null"), (b"c", None)]


class Rig:
    """A topic with two transactions, and what reads it."""

    def __init__(self, broker_url: str, topic: str) -> None:
        self.topic, self.tp = topic, TP(topic, 0)
        self.settings = Settings(id=topic.rstrip("-"), broker=broker_url)
        self.connection = Connection()
        self.offsets = Offsets(self.settings, self.connection)
        app = App("rig")
        declared = app.topic(topic, key_type=str, value_type=int)
        declared.compile(app.conf)
        self.rows = {"t": TopicRows(declared, row_coder(app.Table("t", source=declared), app.conf))}
        producer = open_transactional_producer(self.settings, topic, self.connection, SECONDS)
        for records in (FIRST, SECOND):
            commit(producer, topic, records)

    def restore(self, store: MemoryStore | RocksStore, bound: int) -> None:
        """Up to there."""
        ended = threading.Event()
        errors: list[Exception] = []

        def failed(_: TaskId, error: Exception) -> None:
            errors.append(error)
            ended.set()

        restorer = Restorer(
            self.settings,
            self.connection,
            self.offsets,
            done=lambda _: ended.set(),
            failed=failed,
            topic_rows=self.rows,
        )
        restorer.start(TASK, store, [("t", self.topic, 0)], {self.tp: bound})
        assert ended.wait(SECONDS)
        restorer.stop()
        assert not errors
        assert store.changelog_next_offset("t") == bound


def rows_in(store: MemoryStore | RocksStore) -> dict[bytes, bytes]:
    """All of them."""
    return dict(store.shard("t").scan(rows_max=9))


def is_at(store: MemoryStore, offset: int) -> bool:
    """Whether it says so."""
    return store.changelog_next_offset("t") == offset


@pytest.fixture
def rig(broker_url: str, topic_prefix: str, make_topic: MakeTopic) -> Rig:
    """One topic of one partition."""
    return Rig(broker_url, make_topic(f"{topic_prefix}users", 1))


def test_a_restore_ends_where_the_app_is(rig: Rig) -> None:
    """In the middle of records and behind markers; further on, and back again when the position was set back."""
    store = MemoryStore(["t"])
    rig.restore(store, 0)
    assert rows_in(store) == {}
    rig.restore(store, 2)
    assert rows_in(store) == {b'"a"': b"1", b'"b"': b"2"}
    rig.restore(store, 6)
    assert rows_in(store) == {b'"a"': b"1", b'"c"': b"3"}
    rig.restore(store, 10)
    assert rows_in(store) == {b'"a"': b"4"}
    rig.restore(store, 3)
    assert rows_in(store) == {b'"a"': b"1", b'"b"': b"2"}


@pytest.mark.parametrize("records", [1, 5])
def test_what_cannot_be_unpacked_is_passed_over(rig: Rig, broker_url: str, records: int) -> None:
    """As its agent did: in the middle, and as the last that the app has got to."""
    bootstrap = broker_url.removeprefix("kafka://")
    assert send_unpackable(bootstrap, rig.topic, 0, records) == 10
    send(bootstrap, rig.topic, [Row("e", b"5")], 0)
    assert send_unpackable(bootstrap, rig.topic, 0, records) == 11 + records
    for bound, rows in (
        (10, {}),
        (10 + records, {}),
        (11 + records, {b'"e"': b"5"}),
        (11 + 2 * records, {b'"e"': b"5"}),
    ):
        store = MemoryStore(["t"])
        rig.restore(store, bound)
        assert rows_in(store) == {b'"a"': b"4"} | rows


def test_a_standby_does_not_run_ahead_of_the_owner(rig: Rig) -> None:
    """It stays where the owner has committed, and goes on when that does; without a position it has nothing."""
    store, positions = MemoryStore(["t"]), dict[TP, int]()
    shelf = Shelf(lambda _: store)
    follower = Follower(
        rig.settings,
        rig.connection,
        rig.offsets,
        shelf,
        topic_rows=rig.rows,
        positions=lambda logs: {log.tp: positions[log.tp] for log in logs if log.tp in positions},
    )
    try:
        follower.follow(TASK, [("t", rig.topic, 0)])
        eventually(lambda: store.changelog_next_offset("t") == 0, SECONDS, "it is opened")
        for bound, rows in ((2, {b'"a"': b"1", b'"b"': b"2"}), (10, {b'"a"': b"4"})):
            positions[rig.tp] = bound
            eventually(partial(is_at, store, bound), SECONDS, f"it is at {bound}")
            assert rows_in(store) == rows
            standing = follower.standing(TASK)
            assert standing is not None
            assert (standing.lag, standing.error) == ({rig.topic: 0}, None)
    finally:
        follower.stop()


def test_offsets_of_another_log_do_not_count(tmp_path: Path) -> None:
    """A disk whose rows came of a changelog, or of another topic, is restored; told apart also while it is closed."""
    memory = Memory(MIB, MIB)
    logs: list[dict[str, str]] = [{}, {"t": "users"}, {"t": "people"}, {}]
    for number, topics in enumerate(logs):
        store = RocksStore.open(tmp_path / "s", ["t", "u"], memory, topics=topics)
        assert rows_in(store) == {}
        assert store.changelog_next_offset("t") is None
        assert store.changelog_next_offset("u") == (None if number == 0 else 7)
        store.write({"t": {b"k": b"v"}, "u": {b"k": b"v"}}, {"t": 5 + number, "u": 7})
        store.close()
        assert read_offsets(tmp_path / "s", ["t", "u"], NOBODY, topics) == {"t": 5 + number, "u": 7}
        store = RocksStore.open(tmp_path / "s", ["t", "u"], memory, topics=topics)
        assert (rows_in(store), store.changelog_next_offset("t")) == ({b"k": b"v"}, 5 + number)
        store.close()
    assert read_offsets(tmp_path / "s", ["t"], NOBODY, {"t": "users"}) == {}
