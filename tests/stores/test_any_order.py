"""A shard over each kind of store does what a dict does, whatever the order of writes, scans, commits and crashes."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.engine.cache_budget import CacheBudget
from streamcluster.engine.rows import RowCoder
from streamcluster.engine.shard_view import ShardView
from streamcluster.engine.shards import CachedShard
from streamcluster.indexes import Index
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

MIB = 1024 * 1024
# More than enough: a flush of these few rows takes milliseconds.
COPIES_MAX = 100
KEYS = [b"", b"\0", b"a", b"a\0", b"ab", b"b", b"ba", b"bb", b"c", b"\xff", b"\xff\xff"]
keys = st.sampled_from(KEYS)
bounds = st.none() | st.sampled_from([*KEYS, b"aa", b"b\xff"])
values = st.integers(0, 300) | st.lists(st.integers(0, 9), max_size=3)
view_numbers = st.integers(0, 1)


def last_byte(key: bytes, _value: bytes) -> bytes | None:
    """A place by the key; the empty one has none."""
    return key[-1:] or None


def length(_key: bytes, value: bytes) -> bytes | None:
    """A place by the value; rows of two bytes have none."""
    return None if len(value) == 2 else bytes([len(value), value[0]])


INDEXES = {"t": (Index("by-last", 1, last_byte, by_key=True), Index("by-length", 2, length))}


class AnyOrder(RuleBasedStateMachine):
    """`now` is what everybody sees; the others are what `now` was at a cut, a seal and a commit."""

    def open_store(self) -> TaskStore:
        """An empty store, or what a crash has left."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        """With nothing."""
        self.now: dict[bytes, Any] = {}
        self.staged: dict[bytes, Any] | None = None
        self.inflight: dict[bytes, Any] | None = None
        self.committed: dict[bytes, Any] = {}
        self.log: list[tuple[bytes, bytes | None]] = []
        self.encode = make_table_coder(None, None, allow_pickle=False)[0]
        self.store = self.open_store()
        self.start()

    def start(self) -> None:
        """Begin from what is committed."""
        self.now, self.staged, self.inflight = copy.deepcopy(self.committed), None, None
        pair = make_table_coder(bytes, "raw", allow_pickle=False, is_key=True)
        coder = RowCoder("t", pair, make_table_coder(None, None, allow_pickle=False))
        self.shard = CachedShard(self.store.shard("t"), coder, MIB, lambda size: None, None, INDEXES["t"])
        self.views = [ShardView(self.shard), ShardView(self.shard)]

    # Events

    @rule(number=view_numbers, key=keys, value=values)
    def put(self, number: int, key: bytes, value: Any) -> None:
        """An event sets a key."""
        self.views[number].write(key, copy.copy(value))
        self.now[key] = copy.copy(value)

    @rule(number=view_numbers, key=keys)
    def get(self, number: int, key: bytes) -> None:
        """An event reads a key, and changes what it gets in place if it can."""
        try:
            value = self.views[number].stored(key)
        except KeyError:
            assert key not in self.now
            return
        assert value == self.now[key]
        if isinstance(value, list):
            value.append(7)
            self.now[key].append(7)

    @rule(number=view_numbers, key=keys, change=st.booleans())
    def lend(self, number: int, key: bytes, change: bool) -> None:
        """An event gets the default of a key that is not there; only if it is changed does it count."""
        try:
            self.views[number].read(key)
        except KeyError:
            value: list[int] = []
            self.views[number].lend(key, value)
            if change:
                value.append(1)
                self.now[key] = [1]

    @rule(number=view_numbers, key=keys)
    def delete(self, number: int, key: bytes) -> None:
        """An event deletes a key."""
        try:
            self.views[number].delete(key)
        except KeyError:
            assert key not in self.now
        else:
            del self.now[key]

    @rule(number=view_numbers, start=bounds, end=bounds, rows_max=st.none() | st.integers(0, 3))
    def delete_range(self, number: int, start: bytes | None, end: bytes | None, rows_max: int | None) -> None:
        """An event deletes the first rows of a range."""
        gone = self.expected(start, end)[:rows_max]
        assert self.views[number].delete_range(start, end, rows_max=rows_max) == len(gone)
        for key, _ in gone:
            del self.now[key]

    @rule(number=view_numbers, start=bounds, end=bounds, reverse=st.booleans(), rows_max=st.none() | st.integers(1, 2))
    def scan(self, number: int, start: bytes | None, end: bytes | None, reverse: bool, rows_max: int | None) -> None:
        """An event scans a range, somebody outside of events all of it; how many they want decides nothing."""
        expected = self.expected(start, end)[:: -1 if reverse else 1]
        assert list(self.shard.rows()) == self.expected(None, None)
        for index in INDEXES["t"]:
            self.check_index(number, index.name, None, None, reverse)
        assert list(self.views[number].scan(start, end, reverse=reverse, rows_max=rows_max)) == expected

    @rule(number=view_numbers, start=bounds, end=bounds, reverse=st.booleans())
    def scan_by_last(self, number: int, start: bytes | None, end: bytes | None, reverse: bool) -> None:
        """An event scans an index that needs the keys only."""
        self.check_index(number, "by-last", start, end, reverse)

    @rule(number=view_numbers, start=st.none() | st.integers(0, 9), end=st.none() | st.integers(0, 9))
    def scan_by_length(self, number: int, start: int | None, end: int | None) -> None:
        """An event scans an index that needs the values."""
        low, high = (None if at is None else bytes([at]) for at in (start, end))
        self.check_index(number, "by-length", low, high, start is None)

    @rule(number=view_numbers, reverse=st.booleans())
    def change_while_scanning(self, number: int, reverse: bool) -> None:
        """A scan ends and has each key once, though its reader deletes what comes next and writes more ahead of it."""
        view, expected = self.views[number], [key for key, _ in self.expected(None, None)[:: -1 if reverse else 1]]
        seen: list[bytes] = []
        for key, _ in view.scan(reverse=reverse):
            seen.append(key)
            following = expected[len(seen) : len(seen) + 1]
            if following and len(seen) < 4:
                expected.remove(following[0])
                view.delete(following[0])
                del self.now[following[0]]
                self.put(number, b"b" if reverse else b"\xff\xff", 1)
        assert [key for key in seen if key not in (b"b", b"\xff\xff")] == [
            key for key in expected if key not in (b"b", b"\xff\xff")
        ]
        assert len(seen) == len(set(seen))

    # Commits

    @rule(number=view_numbers)
    def settle(self, number: int) -> None:
        """Events are finished."""
        self.views[number].settle()

    @rule()
    def cut(self) -> None:
        """What finished events did goes into the transaction; all are finished then."""
        for view in self.views:
            view.settle()
        self.shard.stage(self.shard.encoded_changes())
        self.staged = copy.deepcopy(self.now)

    @precondition(lambda self: self.staged is not None and self.inflight is None)
    @rule()
    def seal(self) -> None:
        """A commit begins."""
        self.shard.seal()
        self.staged, self.inflight = None, self.staged

    @precondition(lambda self: self.inflight is not None)
    @rule()
    def commit(self) -> None:
        """It lands."""
        assert self.inflight is not None
        self.log += self.shard.inflight.items()
        self.store.write({"t": self.shard.inflight}, {"t": len(self.log)})
        self.shard.committed()
        self.committed, self.inflight = self.inflight, None

    @precondition(lambda self: self.inflight is None)
    @rule()
    def commit_all(self) -> None:
        """Three steps in one, so that most runs have several commits."""
        self.cut()
        self.seal()
        self.commit()

    @precondition(lambda self: self.inflight is None)
    @rule()
    def rollback(self) -> None:
        """All that is not committed is gone."""
        self.shard.rollback()
        self.now, self.staged = copy.deepcopy(self.committed), None

    @rule(bytes_max=st.sampled_from([0, 500]))
    def evict(self, bytes_max: int) -> None:
        """Memory is short."""
        CacheBudget(bytes_max).trim([self.shard.memory])

    @rule()
    def crash(self) -> None:
        """The process is killed, and the next one opens what there is."""
        self.store = self.open_store()
        self.start()

    @rule(batch=st.integers(1, 4))
    def lose(self, batch: int) -> None:
        """The state is lost, and comes back from the changelog."""
        self.store.forget("t")
        for at in range(0, len(self.log), batch):
            rows = self.log[at : at + batch]
            self.store.restore("t", rows, at + len(rows))
        self.start()

    # What must hold

    @invariant()
    def store_has_what_is_committed(self) -> None:
        """And nothing else, in each of its orders."""
        if not hasattr(self, "store"):
            return
        shard, rows = self.store.shard("t"), {key: self.encode(value) for key, value in self.committed.items()}
        assert shard.scan() == sorted(rows.items())
        assert shard.multi_get(KEYS) == [rows.get(key) for key in KEYS]
        for index in INDEXES["t"]:
            entries = [entry for key, value in rows.items() if (entry := index.entry(key, value)) is not None]
            assert [place + key for place, key in shard.scan_index(index.name)] == sorted(entries)
            assert shard.scan_index(index.name, b"a", b"b", reverse=True) == [
                index.split(entry) for entry in sorted(entries, reverse=True) if b"a" <= entry < b"b"
            ]

    def expected(self, start: bytes | None, end: bytes | None) -> list[tuple[bytes, Any]]:
        """The rows of a range."""
        return sorted(
            (key, value) for key, value in self.now.items() if (start or b"") <= key and (end is None or key < end)
        )

    def check_index(self, number: int, name: str, start: bytes | None, end: bytes | None, reverse: bool) -> None:
        """A scan of an index has what the rows say."""
        index = next(index for index in INDEXES["t"] if index.name == name)
        entries = {
            entry: value
            for key, value in self.now.items()
            if (entry := index.entry(key, self.encode(value))) is not None
        }
        expected = [
            (*index.split(entry), entries[entry])
            for entry in sorted(entries, reverse=reverse)
            if (start or b"") <= entry and (end is None or entry < end)
        ]
        assert list(self.views[number].scan_index(name, start, end, reverse=reverse)) == expected


class OverMemory(AnyOrder):
    """A crash loses the store; its changelog has all."""

    def open_store(self) -> TaskStore:
        """Restored."""
        store = MemoryStore(["t"], INDEXES)
        store.restore("t", self.log, len(self.log))
        return store


def copy_of_a_moment(source: Path, target: Path) -> None:
    """Copy the files of an open store, again when RocksDB's own threads have made or deleted some meanwhile."""
    for _ in range(COPIES_MAX):
        before = sorted(os.listdir(source))
        with suppress(shutil.Error):
            shutil.copytree(source, target)
            if sorted(os.listdir(source)) == before:
                return
        shutil.rmtree(target)
    raise AssertionError(f"the files of {source} change all the time")


class OverRocks(AnyOrder):
    """A crash leaves the files as they are, which is what a copy of them is."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.memory = Memory(MIB, MIB)
        self.numbers = count()
        self.path: Path | None = None
        self.opened: RocksStore | None = None

    def open_store(self) -> TaskStore:
        """What the last store would have left, had its process been killed."""
        path = self.directory / str(next(self.numbers))
        if self.path is not None and self.opened is not None:
            copy_of_a_moment(self.path, path)
            self.opened.close()
        self.path = path
        self.opened = RocksStore.open(path, ["t"], self.memory, indexes=INDEXES)
        return self.opened

    def teardown(self) -> None:
        """Leave no files."""
        if self.opened is not None:
            self.opened.close()
        shutil.rmtree(self.directory)


TestOverMemory = OverMemory.TestCase
TestOverRocks = OverRocks.TestCase
TestOverMemory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestOverRocks.settings = settings(max_examples=15, stateful_step_count=40, deadline=None)
