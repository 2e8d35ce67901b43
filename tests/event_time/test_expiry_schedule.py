"""Entries that expire and duplicates that are dropped, under any schedule.

See tests/engine/hostile.py for what a schedule may do. `python -m tests.event_time.test_expiry_schedule 0 10000` plays
so many seeds.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from itertools import accumulate

import pytest

from streamcluster import App, Stream
from streamcluster.batch import KafkaRecord
from streamcluster.ids import TP, TaskId
from streamcluster.stores import TaskStore
from streamcluster.testing import Driver
from streamcluster.times import time_of
from streamcluster.topology.declare import freeze
from tests.engine.hostile import BrittleStore, Shell, play_as_told, play_each

SEEDS = range(75)
TTL, WITHIN = 10_000, 5_000
# Few keys and long steps of time, or many keys, each of which comes about when its entry is to go.
KEYS_AND_STEPS = (("abcd", (0, 0, 1_000, 3_000, 9_000, 12_000)), ("abcdefghijkl", (0, 500, 1_000, 1_000, 2_000)))
BAD_VALUE = 7
COUNT, ACCEPT = 0, 1


@dataclass
class Case:
    """One seed: what was sent, as key, value and time."""

    chance: random.Random
    stores: list[TaskStore] = field(default_factory=list)
    # Of each agent: so one is left behind, or the other.
    hang: list[bool] = field(default_factory=lambda: [False, False])
    records: list[tuple[str, int, int]] = field(default_factory=list)


def make_app(case: Case) -> App:
    """An agent that counts in entries that expire and fails at times, and one that drops what a key had before."""
    chance = case.chance
    app = App(
        "expiring",
        error_retries=chance.choice([0, 1]),
        error_backoff=0.0,
        stream_buffer_records_max=chance.choice([2, 6, 12, 50_000]),
        close_idle_after=None,
        max_ahead=None,
    )
    events = app.topic("n", key_type=str, value_type=int, partitions=1)
    counted = app.topic("counted", key_type=str, value_type=int, partitions=1)
    first = app.topic("first", key_type=str, value_type=int, partitions=1)
    entries = app.Table("entries", default=int, key_type=str, ttl=TTL / 1000)

    async def dawdle(agent: int) -> None:
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        while case.hang[agent]:  # noqa: ASYNC110 (the schedule says when it ends, not an event)
            await asyncio.sleep(0)

    @app.agent(events, name="count")
    async def count(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            entries[key] += 1
            await counted.send(key=key, value=entries[key])
            await dawdle(COUNT)
            if value == BAD_VALUE:
                raise ValueError(key)

    @app.agent(events, name="accept")
    async def accept(stream: Stream[int]) -> None:
        async for event in stream.deduplicate(by=lambda value: value, within=WITHIN / 1000).events():
            await dawdle(ACCEPT)
            await first.send(key=event.key, value=event.value)

    return app


def play(seed: int) -> tuple[Driver, Case]:
    """Run one schedule to its end."""
    chance = random.Random(seed)
    case = Case(chance)
    time = 0
    keys, steps = chance.choice(KEYS_AND_STEPS)
    for _ in range(chance.randrange(10, 80)):
        time += chance.choice(steps)
        late = chance.choice([0, 0, 0, 4_000, 12_000])
        case.records.append((chance.choice(keys), chance.randrange(4, 10), max(0, time - late)))
    app = make_app(case)
    plan, _ = asyncio.run(freeze(app))
    indexes = {table.name: table.indexes for table in plan.tables}

    def make_store(_task: TaskId, tables: list[str]) -> TaskStore:
        store = BrittleStore(tables, indexes)
        case.stores.append(store)
        return store

    driver = Driver(app, make_store=make_store)
    try:
        shell = Shell(driver.worker, chance, case.stores, case.hang)
        driver.run(shell.restart())
        waiting = list(case.records)
        while waiting or chance.random() < 0.9:
            for _ in range(min(len(waiting), chance.randrange(6))):
                key, value, at = waiting.pop(0)
                driver.worker.logs.append("n", {"key": key.encode(), "value": b"%d" % value, "timestamp": at}, 0.0)
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
    """An entry lives on until time is beyond the last write; it may be written a little later than that."""
    marks = [*accumulate((at for _, _, at in case.records), max)]
    good = [(key, mark) for (key, value, _), mark in zip(case.records, marks, strict=True) if value != BAD_VALUE]
    counted = [(one.key, one.value) for one in driver.output("counted")]
    assert [key for key, _ in counted] == [key for key, _ in good]
    last: dict[str, tuple[int, int]] = {}
    for (key, mark), (_, count) in zip(good, counted, strict=True):
        before, written = last.get(key, (0, 0))
        if count != before + 1:
            assert count == 1, f"{key} counts {count} behind {before}"
            assert mark >= written + TTL, f"{key} was written at {written} and is gone at {mark}"
        last[key] = count, mark
    dated = {record.key: time_of(record.value) for record in logged(driver, "entries-ttl") if record.value is not None}
    for key, (_, written) in last.items():
        at = dated[json.dumps(key).encode()]
        assert at >= written, f"{key} was written at {written}, and goes as if that had been at {at}"
    end = marks[-1]
    rows = driver.table("entries")
    for key, (count, written) in last.items():
        if end < written + TTL or key in rows:
            assert rows.get(key) == count, f"{key} was written at {written}, and time is {end}"
    assert rows.keys() <= last.keys()
    # Far behind that everything is gone, but what moved time there.
    driver.send("n", key="last", value=1, timestamp=(end + 3 * TTL) / 1000)
    assert driver.table("entries").keys() == {"last"}
    assert rows_logged(driver, "entries-ttl") == 1
    got = [(one.key, one.value) for one in driver.output("first")][:-1]
    assert got == accepted(case.records)
    assert rows_logged(driver, "accept-deduplicate") == 1


def logged(driver: Driver, table: str) -> list[KafkaRecord]:
    """What the changelog of an internal table has."""
    return driver.logs.logs[TP(f"expiring-{table}-changelog", 0)]


def rows_logged(driver: Driver, table: str) -> int:
    """How many rows that are."""
    rows = {record.key: record.value for record in logged(driver, table)}
    return sum(value is not None for value in rows.values())


def accepted(records: list[tuple[str, int, int]]) -> list[tuple[str, int]]:
    """The first ones of each key and value within the interval."""
    seen: dict[tuple[str, int], list[int]] = {}
    found: list[tuple[str, int]] = []
    now = 0
    for key, value, at in records:
        now = max(now, at)
        firsts = [then for then in seen.get((key, value), []) if then + WITHIN >= now]
        if all(abs(then - at) > WITHIN for then in firsts):
            found.append((key, value))
            seen[key, value] = [*firsts, at]
    return found


@pytest.mark.parametrize("seeds", [SEEDS[start : start + 25] for start in range(0, len(SEEDS), 25)], ids=str)
def test_entries_expire_in_time_under_any_schedule(seeds: range) -> None:
    """None before its time, all in the end; and no duplicate goes on, whatever happens."""
    play_each(seeds, play, "tests.event_time.test_expiry_schedule")


if __name__ == "__main__":
    play_as_told(play)
