"""A store whose files were damaged after it was opened."""

from __future__ import annotations

from pathlib import Path

from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

MIB = 1024 * 1024


def damaged(path: Path, table: str) -> RocksStore:
    """An open store whose rows, 100000 to 104999, are all in files, of which every block has changed."""
    store = RocksStore.open(path, [table], Memory(0, MIB))
    store.write({table: {b"%d" % (100_000 + number): b"1" * 50 for number in range(5_000)}}, {table: 1})
    store.close()
    store = RocksStore.open(path, [table], Memory(0, MIB))
    for file in path.glob("*.sst"):
        with file.open("r+b") as opened:
            for at in range(0, file.stat().st_size, 100):
                opened.seek(at)
                opened.write(b"\xff")
    return store
