"""Stores of a process that may open few files: they keep to it, and what the operator reads when it is too few."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from streamcluster.open_files import PROCESS_FILES, STORE_FILES, files_needed, open_files_max
from streamcluster.topology import ResolvedTable, ResolvedTopic, Topology

TASKS, TABLES = 4, 5
# Small batches, and little memory to keep them in: table files pile up in all stores at once. Without a maximum
# 220 files and more are open at a time. It prints how many there were.
RESTORE_ALL = """
import os, resource, sys
import psutil
from pathlib import Path
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.memory import Memory
limit, open_files = int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
memory = Memory(1 << 20, 1 << 19, open_files)
stores = [RocksStore.open(Path(sys.argv[1]) / str(n), list("abcde"), memory) for n in range(4)]
most = 0
for offset in range(1, 61):
    for store in stores:
        for table in "abcde":
            store.restore(table, [(os.urandom(4), b"x" * 1000) for _ in range(100)], offset)
    most = max(most, psutil.Process().num_fds())
print(most)
"""
OPEN_UNTIL_IT_FAILS = """
import resource, sys
from pathlib import Path
from streamcluster_worker.state.rocks import RocksStore
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.store_errors import StoreUnavailable
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
memory, stores = Memory(1 << 20, 1 << 20), []
try:
    while True:
        stores.append(RocksStore.open(Path(sys.argv[1]) / str(len(stores)), ["a"], memory))
except StoreUnavailable as error:
    print(len(stores), error)
"""


def topology(partitions: int, tables: int) -> Topology:
    """One topic and some tables."""
    made = tuple(ResolvedTable(name=f"t{n}", changelog=f"t{n}-changelog", group=partitions) for n in range(tables))
    source = ResolvedTopic(name="orders", role="source", partitions=partitions)
    return Topology(app_id="shop", topics=(source,), agents=(), tables=made)


def run(program: str, *arguments: object) -> str:
    """What a program prints; what it complains of fails the test."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_stores_of_a_full_worker_keep_to_its_limit(tmp_path: Path) -> None:
    """With the least limit that is not refused, all tasks restore at once, and none is told that there are no more."""
    app = topology(TASKS, TABLES)
    needed = files_needed(app, 1)
    # This process has no sockets.
    limit = needed - PROCESS_FILES + 40

    assert int(run(RESTORE_ALL, tmp_path, limit, open_files_max(app, 1, needed))) <= limit


def test_error_at_the_limit_names_it(tmp_path: Path) -> None:
    """Neither a full disk nor another process: the number, and where it is set."""
    opened, _, text = run(OPEN_UNTIL_IT_FAILS, tmp_path).partition(" ")
    assert int(opened) > 1
    assert "this process has 100 files and sockets open, which is its limit: raise it with `ulimit -n`" in text
    assert "LimitNOFILE" in text


def test_app_without_tables_needs_no_files_for_stores() -> None:
    """Only what each process needs."""
    assert files_needed(topology(1000, 0), 4) == PROCESS_FILES


@given(st.integers(1, 2000), st.integers(1, 5), st.integers(1, 16), st.integers(0, 100_000))
def test_stores_of_one_worker_less_fit_into_the_limit(partitions: int, tables: int, workers: int, more: int) -> None:
    """What RocksDB is allowed, in as many stores as one worker can get, is never more than what was asked for."""
    app = topology(partitions, tables)
    limit = files_needed(app, workers) + more
    stores = -(-partitions // max(1, workers - 1))
    table_files = open_files_max(app, workers, limit) - 10
    assert table_files >= 10
    assert PROCESS_FILES + stores * (STORE_FILES + tables + table_files) <= limit
