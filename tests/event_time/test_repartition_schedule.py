"""Time behind a group_by, under any schedule: a slow producing task makes nothing late, and closes nothing too early.

Each partition of the sources has its own speed, and records in it are older than those before them by no more than the
grace. So nothing is late, whatever happens in between, and a window is closed once, with all of its events, when the
slowest partition is beyond it. `python -m tests.event_time.test_repartition_schedule 0 10000` plays so many seeds.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from streamcluster import App, Record, Stream
from streamcluster.ids import TaskId
from streamcluster.stores import TaskStore
from streamcluster.testing import Driver
from streamcluster.windows.keys import END_ORDER
from tests.engine.hostile import BrittleStore, Shell, play_as_told, play_each

SEEDS = range(60)
PARTITIONS = 2
SIZE, GRACE = 10, 3
# Longer than any schedule: no input is left out.
NEVER_IDLE = 1e6


class Click(Record):
    """page: what is counted by; at: ms."""

    page: str
    at: int


@dataclass
class Case:
    """One seed. shape: how many topics are combined, and how often they are regrouped."""

    chance: random.Random
    guarantee: str
    topics: int = 1
    regroups: int = 1
    stores: list[TaskStore] = field(default_factory=list)
    hang: list[bool] = field(default_factory=lambda: [False])
    # (topic, partition) -> its clicks, in the order of their offsets.
    clicks: dict[tuple[str, int], list[Click]] = field(default_factory=dict)


def make_app(case: Case) -> App:
    """An agent that counts the pages of clicks, whose keys are something else."""
    app = App(
        "grouped",
        processing_guarantee=case.guarantee,
        stream_buffer_records_max=case.chance.choice([2, 6, 50_000]),
        close_idle_after=None,
        max_ahead=None,
    )
    first, *others = [app.topic(name, value_type=Click, idle_timeout=NEVER_IDLE) for name in ("m", "n")[: case.topics]]
    closed = app.topic("closed", key_type=str, value_type=list[int], partitions=1)
    windows = app.Table("windows", key_type=str, default=int).tumbling(SIZE, grace=GRACE)
    streams = [app.stream(topic) for topic in others]

    @app.agent(first)
    async def count(stream: Stream[Click]) -> None:
        for other in streams:
            stream = stream & other
        stream = stream.group_by(Click.page)
        if case.regroups > 1:
            stream = stream.group_by(lambda click: click.page[::-1], name="reversed")
        async for click in stream:
            windows[click.page] += 1
            while case.hang[0]:  # noqa: ASYNC110 (as below)
                await asyncio.sleep(0)

    @windows.on_close
    async def close(page: str, window: Any, count: int) -> None:
        while case.hang[0]:  # noqa: ASYNC110 (the schedule says when it ends, not an event)
            await asyncio.sleep(0)
        await closed.send(key=page, value=[round(window.start), count])

    return app


def make_clicks(chance: random.Random) -> list[Click]:
    """Of one partition, with a speed of its own."""
    time, speed, found = 0, chance.choice([0, 300, 3_000]), []
    for _ in range(chance.randrange(1, 25)):
        time += chance.randrange(speed + 1)
        found.append(Click(chance.choice(["home", "cart", "help"]), max(0, time - chance.choice([0, 0, 2_000]))))
    return found


def play(seed: int) -> tuple[Driver, Case]:
    """Run one schedule to its end."""
    chance = random.Random(seed)
    case = Case(chance, chance.choice(["exactly_once", "exactly_once", "at_least_once"]))
    case.topics, case.regroups = chance.choice([(1, 1), (1, 1), (2, 1), (1, 2)])
    names = ("m", "n")[: case.topics]
    case.clicks = {(name, number): make_clicks(chance) for name in names for number in range(PARTITIONS)}

    def make_store(_task: TaskId, tables: list[str]) -> TaskStore:
        store = BrittleStore(tables, {"windows": [END_ORDER]})
        case.stores.append(store)
        return store

    driver = Driver(make_app(case), partitions=PARTITIONS, make_store=make_store)
    try:
        worker = driver.worker
        shell = Shell(worker, chance, case.stores, case.hang)
        driver.run(shell.restart())
        waiting = {source: list(clicks) for source, clicks in case.clicks.items()}
        while any(waiting.values()) or chance.random() < 0.9:
            # One after the other, as far apart as can be, or mixed.
            source = chance.choice(sorted(waiting))
            for _ in range(min(len(waiting[source]), chance.randrange(12))):
                click = waiting[source].pop(0)
                message = {"key": None, "value": click.dumps(), "partition": source[1], "timestamp": click.at}
                worker.logs.append(source[0], message, 0.0)
            driver.run(shell.step())
        driver.run(shell.calm_down())
        for store in case.stores:
            assert isinstance(store, BrittleStore)
            store.broken = None
        check(driver, case)
    except BaseException:
        driver.close()
        raise
    return driver, case


def check(driver: Driver, case: Case) -> None:
    """Compare with what a loop over the input comes to."""
    wanted: Counter[tuple[str, int]] = Counter()
    for clicks in case.clicks.values():
        wanted.update((click.page, click.at // 1000 // SIZE * SIZE) for click in clicks)
    slowest = min(max(click.at for click in clicks) for clicks in case.clicks.values())
    over = {row: count for row, count in wanted.items() if (row[1] + SIZE + GRACE) * 1000 <= slowest}
    closed = [(one.key, one.value[0], one.value[1]) for one in driver.output("closed")]
    times = driver.worker.engine.times.tasks.values()
    assert [time.operators["windows"].late_total for time in times] == [0] * PARTITIONS
    if case.guarantee == "exactly_once":
        assert sorted(closed) == sorted((*row, count) for row, count in over.items())
        left = {(key, window.start): count for (key, window), count in driver.table("windows").items()}
        assert left == {row: count for row, count in wanted.items() if row not in over}
        return
    assert {(page, start) for page, start, _ in closed} >= over.keys()
    assert all(count >= over.get((page, start), 0) for page, start, count in closed)


@pytest.mark.parametrize("seeds", [SEEDS[start : start + 20] for start in range(0, len(SEEDS), 20)], ids=str)
def test_slow_tasks_hold_time_back_under_any_schedule(seeds: range) -> None:
    """Nothing is late, and each window is closed once, when the slowest task is beyond it."""
    play_each(seeds, play, "tests.event_time.test_repartition_schedule")


if __name__ == "__main__":
    play_as_told(play)
