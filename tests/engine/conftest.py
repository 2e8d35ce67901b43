"""What the engine's tests share: a driver for an app, once on the memory store and once on RocksDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from streamcluster import App
from streamcluster.ids import TaskId
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster.testing import Driver
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

MIB = 1024 * 1024


class Drive(Protocol):
    """Makes a driver that is closed at the end of the test."""

    def __call__(self, app: App, partitions: int = 1) -> Driver: ...


@pytest.fixture(params=["memory", "rocksdb"])
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Drive]:
    """Drivers on the store under test."""
    drivers: list[Driver] = []
    opened: list[TaskStore] = []

    def make_store(_task: TaskId, tables: list[str]) -> TaskStore:
        store: TaskStore = MemoryStore(tables)
        if request.param == "rocksdb":
            store = RocksStore.open(tmp_path / str(len(opened)), tables, Memory(MIB, MIB))
        opened.append(store)
        return store

    def make(app: App, partitions: int = 1) -> Driver:
        driver = Driver(app, partitions=partitions, make_store=make_store)
        drivers.append(driver)
        return driver

    yield make
    for driver in drivers:
        driver.close()
