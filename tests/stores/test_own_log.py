"""RocksDB writes a log of its own about what it does: it is bounded, however long a store is open."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from streamcluster_worker.state import memory
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

BOUND = 150_000


def test_the_log_of_rocksdb_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a bound it had 200 bytes for each of these commits, and 9 kB for each of a task with 20 tables."""
    monkeypatch.setattr(memory, "_OWN_LOG_BYTES", BOUND, raising=False)
    store = RocksStore.open(tmp_path / "store", ["a", "b"], Memory(1 << 20, 1 << 20))
    written = 0
    for number in range(1000):
        row = {b"%d" % (number % 50): os.urandom(20_000)}
        store.write({"a": row, "b": row}, {"a": number, "b": number})
        written = max([written, *_sizes(tmp_path / "store")])
    store.close()
    assert len(_sizes(tmp_path / "store")) == 1
    # It was filled, and what is written in one go comes on top.
    assert BOUND * 0.8 < written < BOUND * 1.2


def _sizes(path: Path) -> list[int]:
    """Of its logs. A thread of RocksDB begins a new one and deletes the one before, at any moment."""
    found = []
    for log in path.glob("LOG*"):
        with contextlib.suppress(FileNotFoundError):
            found.append(log.stat().st_size)
    return found
