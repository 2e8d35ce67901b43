"""Rows that lie in the order of an index: found by their keys, read by that order, and deleted by parts of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamcluster.indexes import Index, Passed
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.record import NOBODY
from streamcluster_worker.state.rocks import RocksStore, read_offsets

MIB = 1024 * 1024
MakeStore = Callable[[], TaskStore]


def last_byte(key: bytes, _value: bytes) -> bytes | None:
    """What follows a dash; a key without one has no place."""
    _, dash, place = key.rpartition(b"-")
    return place if dash else None


ORDER = Index("last", 1, last_byte, by_key=True, is_order=True)
ROWS: dict[bytes, bytes | None] = {b"a-3": b"1", b"b-1": b"2", b"c-2": b"3", b"nowhere": b"4", b"d-1": b"5"}


def open_rocks(path: Path, *indexes: Index) -> RocksStore:
    """With these indexes."""
    return RocksStore.open(path, ["t"], Memory(MIB, MIB), indexes={"t": indexes})


@pytest.fixture(params=["memory", "rocks"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    """Opens a store with these rows."""
    opened: list[TaskStore] = []

    def make() -> TaskStore:
        rocks = request.param == "rocks"
        store = open_rocks(tmp_path / "s", ORDER) if rocks else MemoryStore(["t"], {"t": (ORDER,)})
        opened.append(store)
        store.write({"t": ROWS}, {"t": 1})
        return store

    yield make
    for store in opened:
        store.close()


def test_rows_are_found_by_their_keys_and_read_in_the_order(make_store: MakeStore) -> None:
    """What has no place is found and counted as a row, and never comes due."""
    shard = make_store().shard("t")
    assert shard.get(b"c-2") == b"3"
    assert shard.multi_get([b"nowhere", b"d-1", b"d-2"]) == [b"4", b"5", None]
    keys = [b"b-1", b"d-1", b"c-2", b"a-3", b"nowhere"]
    assert [key for key, _ in shard.scan()] == keys
    pages: list[bytes] = []
    start: bytes | None = None
    while page := shard.scan(start, rows_max=2):
        pages += [key for key, _ in page]
        start = shard.behind(page[-1][0])
    assert pages == keys
    assert shard.scan_index("last") == [(key[-1:], key) for key in keys[:-1]]
    assert shard.scan_index("last", reverse=True, rows_max=1) == [(b"3", b"a-3")]
    assert shard.scan_order(b"1b-1\0", b"3") == [(b"1d-1", b"5"), (b"2c-2", b"3")]
    assert shard.scan_order(bytes_max=1) == [(b"1b-1", b"2")]


def test_what_is_passed_goes_at_once_and_what_comes_with_it_stays(make_store: MakeStore) -> None:
    """The range is deleted, and before what the same commit writes into it."""
    store = make_store()
    passed = [Passed(None, b"1d-1", [b"b-1", b"d-1"]), Passed(b"1d-1", b"2c-2", [b"c-2"])]
    changes: dict[bytes, bytes | None] = {b"b-1": None, b"d-1": None, b"c-2": None, b"c-1": b"new", b"nowhere": None}
    store.write({"t": changes}, {"t": 2}, {"t": passed})
    shard = store.shard("t")
    assert shard.scan() == [(b"c-1", b"new"), (b"a-3", b"1")]
    assert shard.multi_get([b"b-1", b"c-1", b"a-3"]) == [None, b"new", b"1"]


def test_a_row_that_the_commit_does_not_delete_keeps_its_range(make_store: MakeStore) -> None:
    """As one that nobody could read: what was said of the range does not hold, and the changes do."""
    store = make_store()
    store.write({"t": {b"b-1": None}}, {"t": 2}, {"t": [Passed(None, b"1d-1", [b"b-1", b"d-1"])]})
    assert [key for key, _ in store.shard("t").scan()] == [b"d-1", b"c-2", b"a-3", b"nowhere"]


def test_rows_in_another_order_are_restored(tmp_path: Path) -> None:
    """From its keys to an index and back: no row is taken for another, and an order of before is not believed again."""
    store = open_rocks(tmp_path)
    store.write({"t": ROWS}, {"t": 7})
    for number, indexes in enumerate(((ORDER,), (), (ORDER,), (Index("last", 1, last_byte, by_key=True),))):
        store.close()
        assert read_offsets(tmp_path, ["t"], NOBODY) == {"t": 7 + number}
        store = open_rocks(tmp_path, *indexes)
        assert store.changelog_next_offset("t") is None
        assert store.shard("t").scan() == []
        store.restore("t", ROWS.items(), 8 + number)
        assert dict(store.shard("t").scan()) == ROWS
        if indexes:
            assert len(store.shard("t").scan_index("last")) == 4
    store.close()


def test_another_version_of_an_order_is_another_order(tmp_path: Path) -> None:
    """Its rows would lie elsewhere."""
    open_rocks(tmp_path, ORDER).close()
    store = open_rocks(tmp_path, ORDER)
    store.write({"t": ROWS}, {"t": 7})
    store.close()
    store = open_rocks(tmp_path, Index("last", 1, last_byte, by_key=True, is_order=True, version=2))
    assert (store.changelog_next_offset("t"), store.shard("t").scan()) == (None, [])
    store.close()


def test_a_range_that_is_passed_survives_a_restart(tmp_path: Path) -> None:
    """It is in the log of the database, as any write."""
    store = open_rocks(tmp_path, ORDER)
    store.write({"t": ROWS}, {"t": 1})
    changes: dict[bytes, bytes | None] = {b"b-1": None, b"d-1": None}
    store.write({"t": changes}, {"t": 2}, {"t": [Passed(None, b"1d-1", [b"b-1", b"d-1"])]})
    store.close()
    store = open_rocks(tmp_path, ORDER)
    assert store.changelog_next_offset("t") == 2
    assert [key for key, _ in store.shard("t").scan()] == [b"c-2", b"a-3", b"nowhere"]
    store.close()
