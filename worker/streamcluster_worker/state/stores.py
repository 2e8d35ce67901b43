"""The stores of one worker's tasks: where they are on disk, and what happens to those that cannot be used."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import shutil
import struct
import threading
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from streamcluster.causes import why
from streamcluster.ids import TaskId
from streamcluster.memory import shares_of
from streamcluster.open_files import open_files_max
from streamcluster.settings import Settings
from streamcluster.stores import NO_INDEXES, Indexes, MemoryStore, StoreFailed, TaskStore
from streamcluster.topology import Topology

from .memory import Memory
from .record import identity
from .rocks import RocksStore, read_offsets
from .store_errors import CorruptStore, StoreUnavailable

logger = logging.getLogger("streamcluster")


class Stores:
    """Opens and keeps the store of each task. May be used from any thread."""

    __slots__ = (
        "_cluster_id",
        "_directory",
        "_indexes",
        "_lock",
        "_memory",
        "_settings",
        "_topics",
        "_topology",
        "open_stores",
    )

    def __init__(
        self, settings: Settings, topology: Topology, state_dir: str, cluster_id: str, indexes: Indexes = NO_INDEXES
    ) -> None:
        """indexes: of the app's tables, as they are declared."""
        self._indexes = indexes
        self._settings = settings
        self._topology = topology
        self._topics = {table.name: table.changelog for table in topology.tables if table.feeder}
        self._cluster_id = cluster_id
        self._directory = Path(state_dir) / "tasks"
        self._memory: Memory | None = None
        # One store is opened at a time.
        self._lock = threading.Lock()
        self.open_stores: dict[TaskId, TaskStore] = {}

    def open(self, task: TaskId) -> TaskStore:
        """The store of `task`, opened at the first call. Blocks.

        A corrupt store, or one of another app or cluster, is set aside (never deleted), and an empty one takes its
        place, to be restored from the changelogs.

        Raises:
            StoreUnavailable: the disk is full, read-only or not ours (the operator).
        """
        with self._lock:
            if task not in self.open_stores:
                tables = [table.name for table in self._topology.tables_of(task)]
                in_memory = self._settings.store == "memory://" or not tables
                self.open_stores[task] = (
                    MemoryStore(tables, self._indexes) if in_memory else self._open_rocks(task, tables)
                )
            return self.open_stores[task]

    def _open_rocks(self, task: TaskId, tables: list[str]) -> RocksStore:
        if self._memory is None:
            settings, (limit, _) = self._settings, resource.getrlimit(resource.RLIMIT_NOFILE)
            workers = settings.workers or len(os.sched_getaffinity(0))
            # The kernel knows no infinity of files, but its word for it does not count as a number.
            files = open_files_max(self._topology, workers, limit) if limit != resource.RLIM_INFINITY else -1
            shares = shares_of(settings)
            self._memory = Memory(shares.block_cache, shares.write_buffers, files)
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / str(task)
        owner = identity(self._settings.app_id, self._cluster_id, task)
        was_there = path.exists()
        try:
            return RocksStore.open(path, tables, self._memory, owner, indexes=self._indexes, topics=self._topics)
        except CorruptStore as error:
            aside = set_aside(path)
            logger.warning(
                "task %s: %s It is set aside as %s, and the state is restored from the changelogs.", task, error, aside
            )
        except StoreUnavailable:
            if not was_there:
                # Of a database that never was; the next try would take it for one that is damaged.
                shutil.rmtree(path, ignore_errors=True)
            raise
        # Not while the error is at hand: frames that it passed may hold the old database, and with it the lock.
        return RocksStore.open(path, tables, self._memory, owner, indexes=self._indexes, topics=self._topics)

    def close(self, task: TaskId) -> None:
        """Close the store of `task`, if it is open."""
        store = self.open_stores.pop(task, None)
        if store is not None:
            try:
                store.close()
            except StoreFailed as error:
                # Nothing is lost by it: the store says how far it has come, and the rest is in the changelogs.
                logger.warning("task %s: its store was not closed cleanly: %s", task, error)

    def replace(self, task: TaskId, error: StoreFailed | None) -> None:
        """Close the store of `task`, which failed with `error`; a damaged one is set aside. Blocks.

        Raises:
            StoreUnavailable: it cannot be set aside.
        """
        self.close(task)
        if isinstance(error, CorruptStore):
            with self._lock:
                aside = set_aside(self._directory / str(task))
            text = "task %s: its store is set aside as %s, and the state is restored from the changelogs."
            logger.warning(text, task, aside)

    def close_all(self) -> None:
        """Close every store."""
        for task in list(self.open_stores):
            self.close(task)

    def position(self, task: TaskId) -> int:
        """Sum of the changelog offsets that the store of `task` is at; 0 when it is not open."""
        store = self.open_stores.get(task)
        if store is None:
            return 0
        return sum_of(store.changelog_next_offset(table.name) for table in self._topology.tables_of(task))

    def unused(self) -> dict[TaskId, int]:
        """What this host's disk has of tasks whose store nobody has open, and the `position` that each is at. Blocks.

        What cannot be read, and what belongs to another app or cluster, is left out: it would be set aside.
        """
        found: dict[TaskId, int] = {}
        if self._settings.store == "memory://":
            return found
        for task in self._topology.tasks():
            tables = [table.name for table in self._topology.tables_of(task)]
            owner = identity(self._settings.app_id, self._cluster_id, task)
            path = self._directory / str(task)
            # With the lock, or else the task may be opened meanwhile, and lose its lock: see `_is_free`.
            with self._lock:
                if not tables or task in self.open_stores or not _is_free(path):
                    continue
            try:
                found[task] = sum_of(read_offsets(path, tables, owner, self._topics).values())
            except (CorruptStore, StoreUnavailable) as error:
                logger.debug("task %s: its store is left out of the inventory: %s", task, error)
        return found


def set_aside(path: Path) -> Path:
    """Rename a store that cannot be used to `<name>.corrupt-<n>`, so that nothing is lost, and return the new path."""
    for n in count(1):
        aside = path.with_name(f"{path.name}.corrupt-{n}")
        if aside.exists():
            continue
        try:
            path.rename(aside)
        except OSError as error:
            raise StoreUnavailable(path, f"cannot be renamed to {aside}: {why(error)}") from error
        return aside
    raise AssertionError("count() does not end")


def _is_free(path: Path) -> bool:
    """Whether there is a database that no other process has open.

    Asked, not tried: a lock of our own would refuse another worker that opens it now. This process must not have it
    open itself: POSIX drops all its locks on a file when one handle of that file is closed.
    """
    try:
        handle = os.open(path / "LOCK", os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        question = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = struct.unpack("hhqqi", fcntl.fcntl(handle, fcntl.F_GETLK, question))
    except OSError:
        return False
    finally:
        os.close(handle)
    return bool(answer[0] == fcntl.F_UNLCK)


def sum_of(next_offsets: Iterable[int | None]) -> int:
    """How far a store is, as one number; a table that was never restored counts as 0."""
    return sum(offset or 0 for offset in next_offsets)
