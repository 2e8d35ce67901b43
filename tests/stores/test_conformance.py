"""What every store must do, run on each of them: the memory store and RocksDB (and in `test_any_order.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamcluster.stores import MemoryStore, StoreClosed, TaskStore
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

MakeStore = Callable[[list[str]], TaskStore]
MIB = 1024 * 1024


@pytest.fixture(params=["memory", "rocksdb"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    """Opens an empty store of the kind under test; closed at the end."""
    opened: list[TaskStore] = []

    def make(tables: list[str]) -> TaskStore:
        store: TaskStore
        if request.param == "memory":
            store = MemoryStore(tables)
        else:
            store = RocksStore.open(tmp_path / str(len(opened)), tables, Memory(MIB, MIB))
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


def test_store_reads_what_it_wrote(make_store: MakeStore) -> None:
    """A value is there after the write, in its own table only, and a missing key is None."""
    store = make_store(["a", "b"])
    store.write({"a": {b"k": b"1"}}, {"a": 7})
    assert store.shard("a").get(b"k") == b"1"
    assert store.shard("a").get(b"other") is None
    assert store.shard("b").get(b"k") is None


def test_store_deletes_a_key_written_as_none(make_store: MakeStore) -> None:
    """None removes the key, whether or not it was there."""
    store = make_store(["a"])
    store.write({"a": {b"k": b"1", b"stays": b"2"}}, {"a": 1})
    store.write({"a": {b"k": None, b"never": None}}, {"a": 2})
    assert store.shard("a").scan() == [(b"stays", b"2")]


@pytest.mark.parametrize("key", [b"", b"\x00", b"\xff" * 8, b"k" * 10_000])
@pytest.mark.parametrize("value", [b"", b"\x00", b"v" * MIB])
def test_store_keeps_every_size_of_key_and_value(make_store: MakeStore, key: bytes, value: bytes) -> None:
    """Empty keys, 0-byte values and values of 1 MiB come back as they were."""
    store = make_store(["a"])
    store.write({"a": {key: value}}, {"a": 1})
    assert store.shard("a").get(key) == value
    assert store.shard("a").scan() == [(key, value)]


def test_scan_pages_in_key_order(make_store: MakeStore) -> None:
    """Pages joined behind their last keys are all rows, bytewise sorted, each once; in reverse too."""
    store = make_store(["a", "b"])
    keys = [b"", b"\x00", b"\x00\x00", b"a", b"a\x00", b"ab", b"b", b"\xff", b"\xff\xff"]
    store.write({"a": {key: key for key in reversed(keys)}, "b": {b"aa": b"x"}}, {"a": 1, "b": 1})
    pages: list[tuple[bytes, bytes]] = []
    start: bytes | None = None
    while page := store.shard("a").scan(start, rows_max=2):
        assert len(page) <= 2
        pages += page
        start = page[-1][0] + b"\0"
    assert pages == [(key, key) for key in keys]
    pages, end = [], None
    while page := store.shard("a").scan(end=end, reverse=True, rows_max=2):
        pages += page
        end = page[-1][0]
    assert pages == [(key, key) for key in reversed(keys)]


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (None, None, b"ace"),
        (b"", None, b"ace"),
        (b"b", None, b"ce"),
        (b"c", None, b"ce"),
        (b"c\0", None, b"e"),
        (None, b"", b""),
        (None, b"c", b"a"),
        (None, b"c\0", b"ac"),
        (b"b", b"d", b"c"),
        (b"c", b"c", b""),
        (b"d", b"b", b""),
    ],
)
def test_ranges_have_their_start_and_not_their_end(
    make_store: MakeStore, start: bytes | None, end: bytes | None, found: bytes
) -> None:
    """No bound is None; bounds need no rows of their own; a range that ends before it begins is empty."""
    store = make_store(["a"])
    store.write({"a": {b"a": b"1", b"c": b"3", b"e": b"5"}}, {"a": 1})
    assert b"".join(key for key, _ in store.shard("a").scan(start, end)) == found
    assert b"".join(key for key, _ in store.shard("a").scan(start, end, reverse=True)) == found[::-1]


def test_many_keys_are_read_at_once(make_store: MakeStore) -> None:
    """In the order in which they are asked for, each as often as that; None for those that are not there."""
    store = make_store(["a"])
    store.write({"a": {b"a": b"1", b"": b"0", b"c": b""}}, {"a": 1})
    assert store.shard("a").multi_get([b"c", b"x", b"a", b"", b"a"]) == [b"", None, b"1", b"0", b"1"]
    assert store.shard("a").multi_get([]) == []


def test_scan_ends_behind_the_row_that_reaches_its_bytes(make_store: MakeStore) -> None:
    """One row at least, so that whoever pages gets on."""
    store = make_store(["a"])
    store.write({"a": {b"%d" % number: b"12345" for number in range(9)}}, {"a": 1})
    shard = store.shard("a")
    assert [len(shard.scan(bytes_max=bytes_max)) for bytes_max in (1, 6, 7, 12, 1000)] == [1, 1, 2, 2, 9]


def test_scan_finds_keys_that_were_deleted_and_written_again_once(make_store: MakeStore) -> None:
    """Between two scans keys go, come and come back; the order of the second is still that of the keys."""
    store = make_store(["a"])
    store.write({"a": {b"%02d" % number: b"1" for number in range(9)}}, {"a": 1})
    assert len(store.shard("a").scan()) == 9
    store.write({"a": {b"03": None, b"05": None, b"11": b"2"}}, {"a": 2})
    store.write({"a": {b"03": b"3", b"035": b"3", b"00": b"3"}}, {"a": 3})
    later = [b"02", b"03", b"035", b"04", b"06", b"07", b"08", b"11"]
    assert [key for key, _ in store.shard("a").scan(b"02")] == later


def test_close_waits_for_a_reader_and_refuses_the_next(make_store: MakeStore) -> None:
    """What another thread reads is there until it has read it; then nothing is."""
    store = make_store(["a"])
    store.write({"a": {b"k": b"1"}}, {"a": 1})
    with ThreadPoolExecutor(1) as pool:
        with store.reading():
            closing = pool.submit(store.close)
            with pytest.raises(TimeoutError):
                closing.result(0.05)
            assert store.shard("a").get(b"k") == b"1"
        closing.result(10)
    with pytest.raises(StoreClosed), store.reading():
        pass


def test_offsets_are_per_table_and_absent_at_first(make_store: MakeStore) -> None:
    """A fresh shard has no offset; a write sets only the offsets that it names."""
    store = make_store(["a", "b"])
    assert store.changelog_next_offset("a") is None
    store.write({"a": {b"k": b"1"}}, {"a": 5})
    assert (store.changelog_next_offset("a"), store.changelog_next_offset("b")) == (5, None)


def test_restore_lets_later_records_win(make_store: MakeStore) -> None:
    """Of records with one key the last counts, tombstones included, within a batch and over batches."""
    store = make_store(["a"])
    store.restore("a", [(b"k", b"1"), (b"gone", b"x"), (b"k", b"2"), (b"gone", None), (b"back", None)], 5)
    store.restore("a", [(b"back", b"y"), (b"k", b"3")], 7)
    assert store.shard("a").scan() == [(b"back", b"y"), (b"k", b"3")]
    assert store.changelog_next_offset("a") == 7


def test_restore_of_nothing_remembers_the_offset(make_store: MakeStore) -> None:
    """An empty log still leaves its offset, so that the shard counts as restored."""
    store = make_store(["a"])
    store.restore("a", [], 0)
    assert store.changelog_next_offset("a") == 0


def test_forget_empties_one_table_and_its_offset(make_store: MakeStore) -> None:
    """The other tables stay; the shard object stays usable; new writes are seen through it."""
    store = make_store(["a", "b"])
    store.write({"a": {b"k": b"1"}, "b": {b"k": b"2"}}, {"a": 5, "b": 6})
    shard = store.shard("a")
    store.forget("a")
    assert shard.scan() == []
    assert (store.changelog_next_offset("a"), store.changelog_next_offset("b")) == (None, 6)
    assert store.shard("b").get(b"k") == b"2"
    store.write({"a": {b"new": b"3"}}, {"a": 1})
    assert shard.get(b"new") == b"3"
    assert store.shard("a") is shard
