"""Scans of many rows: the same rows as one by one, and damage in the middle of them is never their end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.rocks_shard import FIRST_ROWS, PIECE_ROWS
from streamcluster_worker.state.store_errors import CorruptStore

MIB = 1024 * 1024
COUNT = 700


def opened(path: Path) -> RocksStore:
    """With a table."""
    return RocksStore.open(path, ["t"], Memory(MIB, MIB))


@pytest.fixture(scope="module")
def rows() -> list[tuple[bytes, bytes]]:
    """In order, of all sizes."""
    source = random.Random(5)
    return [(b"%05d" % number, source.randbytes(source.randrange(200))) for number in range(COUNT)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bytes, bytes]]) -> Iterator[RocksStore]:
    """With these rows."""
    made = opened(tmp_path_factory.mktemp("long") / "s")
    made.write({"t": dict[bytes, bytes | None](rows)}, {"t": 1})
    yield made
    made.close()


def expected(
    rows: list[tuple[bytes, bytes]], start: bytes | None, end: bytes | None, rows_max: int, bytes_max: int | None
) -> list[tuple[bytes, bytes]]:
    """One by one."""
    found: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in rows:
        if (start is not None and key < start) or (end is not None and key >= end):
            continue
        if len(found) == rows_max or (bytes_max is not None and size >= bytes_max):
            break
        found.append((key, value))
        size += len(key) + len(value)
    return found


def test_a_scan_gives_the_same_rows_as_one_by_one(store: RocksStore, rows: list[tuple[bytes, bytes]]) -> None:
    """However many there are, and wherever it is to end."""
    source, shard = random.Random(7), store.shard("t")
    counts = [1, FIRST_ROWS - 1, FIRST_ROWS, FIRST_ROWS + 1, FIRST_ROWS + PIECE_ROWS, FIRST_ROWS + PIECE_ROWS + 1, 5000]
    for _ in range(300):
        start, end = [source.choice([None, b"%05d" % source.randrange(COUNT)]) for _ in range(2)]
        rows_max = source.choice([*counts, source.randrange(1, COUNT)])
        bytes_max = source.choice([None, source.randrange(1, 100_000)])
        found = shard.scan(start, end, rows_max=rows_max, bytes_max=bytes_max)
        assert found == expected(rows, start, end, rows_max, bytes_max)


def test_what_cannot_be_read_is_no_end(tmp_path: Path, rows: list[tuple[bytes, bytes]]) -> None:
    """A damaged block behind the first rows ends the scan with an error."""
    path = tmp_path / "s"
    store = opened(path)
    store.write({"t": dict[bytes, bytes | None](rows)}, {"t": 1})
    store.close()
    (file,) = [one for one in path.glob("*.sst") if one.stat().st_size > COUNT * 50]
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 100] = bytes(100)
    file.write_bytes(data)
    store = opened(path)
    try:
        shard = store.shard("t")
        assert len(shard.scan(rows_max=2 * FIRST_ROWS)) == 2 * FIRST_ROWS
        with pytest.raises(CorruptStore):
            shard.scan(rows_max=COUNT)
    finally:
        store.close()
