"""Windows that are found in order read what an event touches, and not what else is kept of its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamcluster import App
from streamcluster.engine.shards import CachedShard
from streamcluster.testing import Driver

from .stores import make_rocks

SESSIONS = 100
# An event reads one window at most, looks for the next, and that once more beside the table.
ROWS_MAX = 8


class Counting:
    """The shard of a store, and how many rows were read of it."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.rows = 0

    def __getattr__(self, name: str) -> Any:
        read = getattr(self._store, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            found = read(*arguments, **options)
            self.rows += len(found) if isinstance(found, list) else 1
            return found

        return counted


def counting(driver: Driver, table: str) -> list[Counting]:
    """Count from now on what is read of a table and beside it."""
    found: list[Counting] = []
    for task in driver.worker.engine.tasks.values():
        for name, shard in task.shards.items():
            if name.startswith(table):
                found.append(count(shard))
    return found


def count(shard: CachedShard) -> Counting:
    counted: Any = Counting(shard.store)
    shard.store = counted
    return counted  # type: ignore[no-any-return]


@pytest.mark.parametrize("store", ["memory", "rocks"])
@pytest.mark.parametrize("kind", ["session", "sliding"])
def test_an_event_reads_the_windows_that_it_touches(kind: str, store: str, tmp_path: Path) -> None:
    """Of 100 that are kept of its key; in the middle of them, too."""
    app = App("rows")
    events = app.topic("events", key_type=str, value_type=int)
    table = app.Table("visits", key_type=str, default=int)
    visits = getattr(table, kind)(5, expires=10**6, grace=10**5)

    @app.agent(events)
    async def visit(stream: Any) -> None:
        async for key, number in stream.items():
            visits[key] += number

    with Driver(app, make_store=make_rocks(tmp_path)(app) if store == "rocks" else None) as driver:
        for number in range(SESSIONS):
            driver.send("events", key="a", value=1, timestamp=10 + 20 * number, commit=number == SESSIONS - 1)
        driver.crash()
        read: list[int] = []
        for at in (10 + 20 * SESSIONS, 10 + 20 * SESSIONS + 2, 1013, 1017):
            # With nothing in memory.
            driver.crash()
            counted = counting(driver, "visits")
            driver.send("events", key="a", value=1, timestamp=at, commit=False)
            read.append(sum(one.rows for one in counted))
            driver.run(driver.worker.process(commit=True))
        # The first is far from all others. A row is read with the entry of the index that it is found by.
        assert min(read[1:]) > 0
        assert max(read) <= 2 * ROWS_MAX
        assert len(visits) >= SESSIONS
