"""Makes stores and dies with all open, as by `kill -9`: python -m tests.stores.killed DIRECTORY SEEDS. No test."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

TABLES = ["a", "b"]
# Table -> rows, and table -> the changelog offset behind them.
Written = tuple[dict[str, dict[bytes, bytes]], dict[str, int]]


def commits(seed: int) -> Iterator[Written]:
    """What the store of this seed gets: one or both tables, few or many rows, small or large."""
    source = random.Random(seed)
    offsets = dict.fromkeys(TABLES, 0)
    for number in range(source.choice([20, 200, 1000])):
        rows: dict[str, dict[bytes, bytes]] = {}
        for table in TABLES:
            if source.random() < 0.7:
                size, count = source.choice([1, 3, 40]), source.choice([1, 5, 60])
                rows[table] = {b"k%d" % source.randrange(500): b"v%d" % number * size for _ in range(count)}
                offsets[table] += 1
        yield rows, {table: offsets[table] for table in rows}


def main(directory: Path, seeds: range) -> None:
    """Write all stores, some with so little memory that tables are flushed one by one, and die."""
    stores: list[RocksStore] = []
    for seed in seeds:
        memory = Memory(1 << 20, 1 << 20 if seed % 3 else 8 << 20)
        stores.append(RocksStore.open(directory / str(seed), TABLES, memory))
        for rows, offsets in commits(seed):
            stores[-1].write(rows, offsets)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), range(int(sys.argv[2])))
