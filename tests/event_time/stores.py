"""Stores of the driver on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from streamcluster import App
from streamcluster.ids import TaskId
from streamcluster.stores import TaskStore
from streamcluster.topology.declare import freeze
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

MakeStore = Callable[[App], Callable[[TaskId, list[str]], TaskStore]]


def make_rocks(directory: Path) -> MakeStore:
    """A database per task, that a crash finds again."""
    memory = Memory(1 << 20, 1 << 20)

    def of_app(app: App) -> Callable[[TaskId, list[str]], TaskStore]:
        plan, _ = asyncio.run(freeze(app))
        indexes = {table.name: table.indexes for table in plan.tables}

        def make(task: TaskId, tables: list[str]) -> TaskStore:
            return RocksStore.open(directory / f"{task.group}-{task.partition}", tables, memory, indexes=indexes)

        return make

    return of_app
