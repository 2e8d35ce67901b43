"""Event time under any schedule: each event is in its window or late, and each window is closed once, whatever happens.

See tests/engine/hostile.py for what a schedule may do. `python -m tests.event_time.test_timed_schedule 0 10000`
plays so many seeds.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from streamcluster import App, Stream
from streamcluster.ids import TaskId
from streamcluster.stores import TaskStore
from streamcluster.testing import Driver
from streamcluster.topology.murmur2 import partition_for
from tests.engine.hostile import BrittleStore, Shell, play_as_told, play_each
from tests.event_time.windows_by_hand import BY_END, add, make_windows, window_of

SEEDS = range(75)
PARTITIONS = 2
# The handler fails at windows of this key, and at those of the other once.
BAD = "bad"
UNLUCKY = "unlucky"
KEYS = ["a", "b", BAD, UNLUCKY]
BAD_VALUE = 7


@dataclass
class Case:
    """One seed: what may hang, and what was sent."""

    chance: random.Random
    guarantee: str
    hang: list[bool] = field(default_factory=lambda: [False])
    stores: list[TaskStore] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    # The topics that are counted in the same windows.
    topics: tuple[str, ...] = ("n",)
    # Key, value and time.
    records: list[tuple[str, int, int]] = field(default_factory=list)


def make_app(case: Case) -> App:
    """An agent that counts in windows, and fails at times; what closes is sent and summed up."""
    chance = case.chance
    app = App(
        "timed",
        processing_guarantee=case.guarantee,
        error_retries=chance.choice([1, 2]),
        error_backoff=chance.choice([0.0, 0.5]),
        stream_buffer_records_max=chance.choice([2, 6, 50_000]),
        close_idle_after=None,
    )
    events = app.topic(*case.topics, key_type=str, value_type=int)
    closed = app.topic("closed", key_type=str, value_type=int, partitions=1)
    late = app.Table("late", default=int)
    totals = app.Table("totals", default=int)

    async def dawdle() -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)

    async def close(row: str, value: int) -> None:
        key = row.split("/", maxsplit=1)[0]
        totals[key] += value
        await dawdle()
        while case.hang[0]:  # noqa: ASYNC110 (the schedule says when it ends, not an event)
            await asyncio.sleep(0)
        await closed.send(key=row, value=value)
        if key == BAD or (key == UNLUCKY and row not in case.failed):
            case.failed.add(row)
            raise ValueError(row)

    windows = make_windows(app, "windows", close)

    @app.agent(events)
    async def count(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            await dawdle()
            if not add(windows, key, 1):
                late[key] += 1
            if value == BAD_VALUE:
                raise ValueError("count")

    @app.agent(events)
    async def beside(stream: Stream[int]) -> None:
        async for _ in stream:
            while case.hang[0]:  # noqa: ASYNC110 (the schedule says when it ends, not an event)
                await asyncio.sleep(0)

    return app


def play(seed: int) -> tuple[Driver, Case]:
    """Run one schedule to its end."""
    chance = random.Random(seed)
    case = Case(chance, chance.choice(["exactly_once", "exactly_once", "at_least_once"]))
    case.topics = chance.choice([("n",), ("n",), ("m", "n")])
    time = 0
    for _ in range(chance.randrange(5, 60)):
        time += chance.choice([0, 0, 500, 3_000, 30_000])
        late = chance.choice([0, 0, 0, 4_000, 12_000])
        case.records.append((chance.choice(KEYS), chance.randrange(13), max(0, time - late)))

    def make_store(_task: TaskId, tables: list[str]) -> TaskStore:
        store = BrittleStore(tables, {"windows": [BY_END]})
        case.stores.append(store)
        return store

    driver = Driver(make_app(case), partitions=PARTITIONS, make_store=make_store)
    try:
        worker = driver.worker
        shell = Shell(worker, chance, case.stores, case.hang)
        driver.run(shell.restart())
        waiting = list(case.records)
        while waiting or chance.random() < 0.9:
            for _ in range(min(len(waiting), chance.randrange(6))):
                key, value, at = waiting.pop(0)
                worker.logs.append(
                    chance.choice(case.topics), {"key": key.encode(), "value": b"%d" % value, "timestamp": at}, 0.0
                )
            driver.run(shell.step())
        driver.run(shell.calm_down())
        for store in case.stores:
            assert isinstance(store, BrittleStore)
            store.broken = None
        if len(case.topics) == 1:
            check(driver, case)
        elif case.guarantee == "exactly_once":
            check_sums(driver, case)
    except BaseException:
        driver.close()
        raise
    return driver, case


def check(driver: Driver, case: Case) -> None:
    """Compare with what a loop over the input comes to."""
    windows: dict[str, int] = {}
    late: dict[str, int] = {}
    watermark = [-1] * PARTITIONS
    for key, value, at in case.records:
        partition = partition_for(key.encode(), PARTITIONS)
        watermark[partition] = max(watermark[partition], at)
        if value == BAD_VALUE:
            continue
        if window_of(at) <= watermark[partition]:
            late[key] = late.get(key, 0) + 1
        else:
            row = f"{key}/{window_of(at)}"
            windows[row] = windows.get(row, 0) + 1
    over = {row: value for row, value in windows.items() if is_over(row, watermark)}
    good = {row: value for row, value in over.items() if not row.startswith(BAD)}
    totals: dict[str, int] = {}
    for row, value in good.items():
        key = row.split("/", maxsplit=1)[0]
        totals[key] = totals.get(key, 0) + value
    got: list[tuple[str, Any]] = [(one.key, one.value) for one in driver.output("closed")]
    letters = sorted(one.key for one in driver.dead_letters() if one.headers["dead-letter-agent"] == b"windows@end")
    if case.guarantee == "exactly_once":
        assert sorted(got) == sorted(good.items())
        assert letters == sorted(f'"{row}"'.encode() for row in over if row.startswith(BAD))
        assert driver.table("totals") == totals
        assert driver.table("late") == late
        assert driver.table("windows") == {row: value for row, value in windows.items() if row not in over}
        # Oldest first, in each partition.
        for partition in range(PARTITIONS):
            ends = [end_in(row) for row, _ in got if partition_of(row) == partition]
            assert ends == sorted(ends)
        return
    assert {row for row, _ in got} >= good.keys()
    assert set(letters) >= {f'"{row}"'.encode() for row in over if row.startswith(BAD)}


def check_sums(driver: Driver, case: Case) -> None:
    """Which event is late depends on when records of the other input came: each counts once all the same."""
    rows: list[tuple[str, int]] = [(one.key, one.value) for one in driver.output("closed")]
    rows += [(one.key.strip(b'"').decode(), int(one.value)) for one in driver.dead_letters() if b"/" in one.key]
    assert len({row for row, _ in rows}) == len(rows), "a window was closed twice"
    rows += driver.table("windows").items()
    assert len({row for row, _ in rows}) == len(rows), "a window that was closed is there"
    found: dict[str, int] = {}
    for row, value in [*rows, *driver.table("late").items()]:
        key = row.split("/")[0]
        found[key] = found.get(key, 0) + value
    wanted = [key for key, value, _ in case.records if value != BAD_VALUE]
    assert found == {key: wanted.count(key) for key in wanted}


def is_over(row: str, watermark: list[int]) -> bool:
    """T has passed the window."""
    return end_in(row) <= watermark[partition_of(row)]


def end_in(row: str) -> int:
    """Of a window's key."""
    return int(row.split("/")[1])


def partition_of(row: str) -> int:
    """Of a window's key."""
    return partition_for(row.split("/")[0].encode(), PARTITIONS)


@pytest.mark.parametrize("seeds", [SEEDS[start : start + 25] for start in range(0, len(SEEDS), 25)], ids=str)
def test_windows_close_once_under_any_schedule(seeds: range) -> None:
    """No window is lost, closed twice or blamed on another, and no event is late that was not."""
    play_each(seeds, play, "tests.event_time.test_timed_schedule")


if __name__ == "__main__":
    play_as_told(play)
