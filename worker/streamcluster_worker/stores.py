"""The stores of one worker's tasks: where they are on disk, and what happens to those that cannot be used."""

from __future__ import annotations

import logging
from pathlib import Path

from streamcluster.ids import TaskId
from streamcluster.settings import Settings
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster.topology import Topology

from .shard import CorruptStore, Memory, RocksStore, StoreUnavailable, identity, set_aside

logger = logging.getLogger("streamcluster")


class Stores:
    """Opens and keeps the store of each task."""

    __slots__ = ("_cluster_id", "_directory", "_memory", "_settings", "_topology", "open_stores")

    def __init__(self, settings: Settings, topology: Topology, state_dir: str, cluster_id: str) -> None:
        self._settings = settings
        self._topology = topology
        self._cluster_id = cluster_id
        self._directory = Path(state_dir) / "tasks"
        self._memory: Memory | None = None
        self.open_stores: dict[TaskId, TaskStore] = {}

    def open(self, task: TaskId) -> TaskStore:
        """The store of `task`, opened at the first call. Blocks.

        A corrupt store, or one of another app or cluster, is set aside (never deleted), and an empty one takes its
        place, to be restored from the changelogs.

        Raises:
            StoreUnavailable: the disk is full, read-only or not ours (the operator).
        """
        if task in self.open_stores:
            return self.open_stores[task]
        tables = [table.name for table in self._topology.tables_of(task)]
        store: TaskStore
        if self._settings.store == "memory://" or not tables:
            store = MemoryStore(tables)
        else:
            store = self._open_rocks(task, tables)
        self.open_stores[task] = store
        return store

    def _open_rocks(self, task: TaskId, tables: list[str]) -> RocksStore:
        if self._memory is None:
            self._memory = Memory(self._settings.store_block_cache_bytes, self._settings.store_write_buffer_bytes)
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / str(task)
        owner = identity(self._settings.app_id, self._cluster_id, task)
        try:
            return RocksStore.open(path, tables, self._memory, owner)
        except CorruptStore as error:
            aside = set_aside(path)
            logger.warning(
                "task %s: %s It is set aside as %s, and the state is restored from the changelogs.", task, error, aside
            )
            return RocksStore.open(path, tables, self._memory, owner)

    def close(self, task: TaskId) -> None:
        """Close the store of `task`, if it is open."""
        store = self.open_stores.pop(task, None)
        if store is not None:
            try:
                store.close()
            except StoreUnavailable as error:
                # Nothing is lost by it: the store says how far it has come, and the rest is in the changelogs.
                logger.warning("task %s: its store was not closed cleanly: %s", task, error)

    def close_all(self) -> None:
        """Close every store."""
        for task in list(self.open_stores):
            self.close(task)
