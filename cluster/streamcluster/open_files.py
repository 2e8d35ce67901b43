"""How many files and sockets a worker may have open, and what that leaves to each store. Arithmetic only.

Every store has a few files of its own, and RocksDB may keep its table files open beside them: all, if it is not told
how many. It asks the system at the worst moment, when the tasks of a dead host arrive.
"""

from __future__ import annotations

from .topology import Topology

# Sockets (six clients, three to each broker at most), modules, logs, and what user code opens; the files of the one or
# two compactions that run at a time in a process, up to 96 each (the level-0 files of a table that is being restored).
PROCESS_FILES = 256
# LOG, LOCK, MANIFEST, a write-ahead log, the directory and the default family's; two more while logs change. Measured:
# 6 and one for each table, up to 4 logs at a time under load.
STORE_FILES = 9
# Table files of a store that RocksDB keeps open at least: below max_open_files=20 it does not go, and 10 of those it
# takes for its other files.
TABLE_FILES_MIN = 10
OTHER_FILES = 10
# Table files of 64 MB: above 60 GB in one store, not all of them are open at once.
TABLE_FILES_MAX = 1000


def files_needed(topology: Topology, workers: int) -> int:
    """How many files one of `workers` workers may have to open, with as few as RocksDB can do with.

    All other hosts may be gone, and one of the workers may be in a crash loop, which gives its tasks to the others.
    Standbys do not add to that: where they are, there is another host.
    """
    stores, store_files = _stores_of_a_worker(topology, workers)
    return PROCESS_FILES + stores * (store_files + TABLE_FILES_MIN)


def open_files_max(topology: Topology, workers: int, limit: int) -> int:
    """RocksDB's max_open_files for each store of a worker that may open `limit` files in all."""
    stores, _ = _stores_of_a_worker(topology, workers)
    spare = max(0, limit - files_needed(topology, workers)) // max(1, stores)
    return OTHER_FILES + min(TABLE_FILES_MAX, TABLE_FILES_MIN + spare)


def _stores_of_a_worker(topology: Topology, workers: int) -> tuple[int, int]:
    """How many it may get, and how many files each of them has without its table files."""
    tables = [count for task in topology.tasks() if (count := len(topology.tables_of(task)))]
    return -(-len(tables) // max(1, workers - 1)), STORE_FILES + max(tables, default=0)
