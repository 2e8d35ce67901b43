"""Windows that were kept for `expires=` when it is taken away, under any schedule.

See tests/engine/hostile.py for what a schedule may do. `python -m tests.event_time.test_left_over_schedule 0 10000`
plays so many seeds.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from streamcluster import App, Stream
from streamcluster.ids import TaskId
from streamcluster.stores import TaskStore
from streamcluster.testing import Driver
from streamcluster.topology.declare import freeze
from tests.engine.hostile import BrittleStore, Shell, play_as_told, play_each

SEEDS = range(40)
SIZE, GRACE = 10, 2
KEYS = ["a", "b", "c"]


@dataclass
class Case:
    """One seed. events: key and time of all that were sent; failed: what on_close has failed at once already."""

    chance: random.Random
    stores: list[TaskStore] = field(default_factory=list)
    hang: list[bool] = field(default_factory=lambda: [False])
    events: list[tuple[str, int]] = field(default_factory=list)
    failed: set[tuple[str, float]] = field(default_factory=set)
    time: int = 0


def make_app(case: Case, *, expires: float | None) -> App:
    """Counts, and tells each window when it is over."""
    chance = case.chance
    app = App("left", error_backoff=0.0, close_idle_after=None, max_ahead=None)
    told = app.topic("told", key_type=str, value_type=list[int], partitions=1)
    views = app.Table("views", key_type=str, default=int).tumbling(SIZE, grace=GRACE, expires=expires)

    @app.agent(app.topic("n", key_type=str, value_type=int, partitions=1), name="count")
    async def count(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            views[key] += value
            while case.hang[0]:  # noqa: ASYNC110 (the schedule says when it ends, not an event)
                await asyncio.sleep(0)

    @views.on_close
    async def over(key: str, window: Any, number: int) -> None:
        if chance.random() < 0.1 and (key, window.start) not in case.failed:
            case.failed.add((key, window.start))
            raise ValueError(key)
        while case.hang[0]:  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0)
        await told.send(key=key, value=[int(window.start), number])

    return app


def run(case: Case, app: App, before: Driver | None) -> Driver:
    """One life of the app, over what there was before."""
    chance = case.chance
    plan, _ = asyncio.run(freeze(app))
    indexes = {table.name: table.indexes for table in plan.tables}

    def make_store(_task: TaskId, tables: list[str]) -> TaskStore:
        store = BrittleStore(tables, indexes)
        case.stores.append(store)
        return store

    case.stores.clear()
    driver = Driver(app, make_store=make_store)
    try:
        if before is not None:
            driver.worker.logs.logs.update(before.worker.logs.logs)
            driver.worker.committed.update(before.worker.committed)
        shell = Shell(driver.worker, chance, case.stores, case.hang)
        driver.run(shell.restart())
        for _ in range(chance.randrange(4, 40)):
            for _ in range(chance.randrange(4)):
                case.time += chance.choice([0, 1, 4, 9, 25])
                case.events.append((chance.choice(KEYS), case.time))
                key, at = case.events[-1]
                driver.worker.logs.append("n", {"key": key.encode(), "value": b"1", "timestamp": at * 1000}, 0.0)
            driver.run(shell.step())
        driver.run(shell.calm_down())
        for store in case.stores:
            assert isinstance(store, BrittleStore)
            store.broken = None
    except BaseException:
        driver.close()
        raise
    return driver


def play(seed: int) -> tuple[Driver, Case]:
    """With it, without, and at times with it again, and without."""
    case = Case(random.Random(seed))
    driver: Driver | None = None
    lives = [100.0, None] if case.chance.random() < 0.7 else [100.0, None, 50.0, None]
    for expires in lives:
        driver, before = run(case, make_app(case, expires=expires), driver), driver
        if before is not None:
            before.close()
    assert driver is not None
    try:
        check(driver, case)
    except BaseException:
        driver.close()
        raise
    return driver, case


def check(driver: Driver, case: Case) -> None:
    """Each window that is over was told once, and is gone; the others are there."""
    counts: dict[tuple[str, int], int] = {}
    for key, at in case.events:
        row = key, at - at % SIZE
        counts[row] = counts.get(row, 0) + 1
    over = {row: number for row, number in counts.items() if row[1] + SIZE + GRACE <= case.time}
    told = [((one.key, one.value[0]), one.value[1]) for one in driver.output("told")]
    assert sorted(told) == sorted(over.items())
    rows = {(key, start): number for (key, (start, _)), number in driver.table("views").items()}
    assert rows == {row: number for row, number in counts.items() if row not in over}


def test_what_was_kept_goes_and_nothing_else_under_any_schedule() -> None:
    """Whatever happens when it is deleted."""
    play_each(SEEDS, play, "tests.event_time.test_left_over_schedule")


if __name__ == "__main__":
    play_as_told(play)
