"""Commits, crashes, moves and bad disks at any turn of the loop, over agents that hang, fail, buffer and send too much.

What runs is the product's pump and engine; see hostile.py for what a schedule may do. `python -m
tests.engine.test_any_schedule 0 100000` plays so many seeds.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from streamcluster import App, Stream
from streamcluster.ids import TP, TaskId
from streamcluster.stores import TaskStore
from streamcluster.testing import Driver
from streamcluster.topics import Topic
from streamcluster.topology.murmur2 import partition_for
from tests.engine.hostile import BrittleStore, Shell, play_as_told, play_each

SEEDS = range(300)
PARTITIONS = 2
BAD = 7
BAD_SHARED = 6
UNENCODABLE = 11
SLOW = 5
MANY = 9
MANY_COUNT = 8


@dataclass
class Case:
    """One seed: the app, what may hang, and what was sent."""

    seed: int
    chance: random.Random
    guarantee: str
    hang: list[bool] = field(default_factory=lambda: [False])
    stores: list[TaskStore] = field(default_factory=list)
    records: list[tuple[str, int | None]] = field(default_factory=list)

    def good(self) -> list[tuple[str, int]]:
        """The records that decode."""
        return [(key, value) for key, value in self.records if value is not None]


def make_app(case: Case) -> App:
    """Agents of every kind, some with several coroutines, and a function over all partitions."""
    chance = case.chance
    app = App(
        "any",
        processing_guarantee=case.guarantee,
        error_retries=chance.choice([0, 1, 2]),
        error_backoff=chance.choice([0.0, 0.5]),
        producer_flush_records=chance.choice([2, 5, 20_000]),
        stream_buffer_records_max=chance.choice([2, 6, 50_000]),
    )
    numbers = app.topic("n", key_type=str, value_type=int)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)
    burst = app.topic("burst", key_type=str, value_type=int, partitions=1)
    audit = app.topic("audit", key_type=str, value_type=int, partitions=1)
    sums = app.Table("sums", default=int)
    lists = app.Table("lists", default=list)
    odd = app.Table("odd")
    done = app.Table("done", default=int)
    shared_sums = app.Table("shared", default=int)

    async def dawdle(turns_max: int) -> None:
        for _ in range(chance.randrange(turns_max)):
            await asyncio.sleep(0)

    @app.agent(numbers, name="slow", concurrency=chance.choice([1, 2]))
    async def slow(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            sums[key] += value
            await dawdle(4)
            lists[key].append(value)
            await out.send(key=key, value=value)
            if value == BAD:
                raise ValueError("slow")
            if value == UNENCODABLE:
                odd[key] = object()

    @app.agent(numbers, name="hangs")
    async def hangs(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            await audit.send(key=key, value=value)
            early = value % 2 == 0
            if early:
                done[key] += 1
            while value == SLOW and case.hang[0]:  # noqa: ASYNC110 (the schedule says when it ends, not an event)
                await asyncio.sleep(0)
            if not early:
                done[key] += 1

    @app.agent(numbers, name="batches")
    async def batches(stream: Stream[int]) -> None:
        async for batch in stream.take_events(chance.choice([2, 3, 5])):
            await dawdle(4)
            for event in batch:
                sums[f"batches {event.message.partition}"] += event.value
                if event.value == BAD:
                    raise ValueError("batches")

    @app.agent(numbers, name="regroup")
    async def regroup(stream: Stream[int]) -> None:
        async for key, value in stream.group_by(lambda value: str(value % 3), name="third").items():
            sums["third " + key] += value
            await dawdle(3)

    add_bursts(app, numbers, burst)
    add_function(app, case, dawdle, shared_sums)
    return app


def add_bursts(app: App, numbers: Topic, burst: Topic) -> None:
    """An agent that sends more for one event than its outbox may hold."""

    @app.agent(numbers, name="bursts")
    async def bursts(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            for number in range(MANY_COUNT if value == MANY else 0):
                await burst.send(key=key, value=number)


def add_function(app: App, case: Case, dawdle: Callable[[int], Awaitable[None]], shared_sums: Any) -> None:
    """A function over all partitions: event by event with breaks, or in batches that span them."""
    chance = case.chance
    stream = app.stream(app.topic("n", key_type=str, value_type=int))
    in_batches = chance.random() < 0.5

    @app.task
    async def over_all() -> None:
        while True:
            if in_batches:
                async for events in stream.take_events(2, within=1.0):
                    await dawdle(4)
                    for event in events:
                        if event.value == BAD_SHARED:
                            raise ValueError("shared")
                        shared_sums[f"{event.key}"] += event.value
            else:
                async for event in stream.events():
                    await dawdle(3)
                    shared_sums[event.key] += event.value
                    await dawdle(3)
                    if event.value == BAD_SHARED:
                        raise ValueError("shared")
                    if event.value == 3:
                        break
                # At no event here.
                await dawdle(5)


def play(seed: int) -> tuple[Driver, Case]:
    """Run one schedule to its end."""
    chance = random.Random(seed)
    case = Case(seed, chance, chance.choice(["exactly_once", "exactly_once", "at_least_once"]))
    count = chance.randrange(5, 40)
    case.records = [(chance.choice("abcd"), chance.randrange(13)) for _ in range(count)]
    for index in chance.sample(range(count), chance.randrange(3)):
        case.records[index] = (case.records[index][0], None)

    def make_store(_task: TaskId, tables: list[str]) -> TaskStore:
        store = BrittleStore(tables)
        case.stores.append(store)
        return store

    driver = Driver(make_app(case), partitions=PARTITIONS, make_store=make_store)
    try:
        worker = driver.worker
        worker.outbox_records_max = chance.choice([3, sys.maxsize])
        shell = Shell(worker, chance, case.stores, case.hang)
        driver.run(shell.restart())
        shell.faults = 0
        waiting = list(case.records)
        while waiting or chance.random() < 0.9:
            for _ in range(min(len(waiting), chance.randrange(6))):
                key, value = waiting.pop(0)
                data = b"garbage" if value is None else b"%d" % value
                worker.logs.append("n", {"key": key.encode(), "value": data}, 0.0)
            driver.run(shell.step())
        driver.run(shell.calm_down())
        # A disk whose fault nobody has met yet.
        for store in case.stores:
            assert isinstance(store, BrittleStore)
            store.broken = None
        check(driver, case, exactly=case.guarantee == "exactly_once")
    except BaseException:
        driver.close()
        raise
    return driver, case


@pytest.mark.parametrize("seeds", [SEEDS[start : start + 25] for start in range(0, len(SEEDS), 25)], ids=str)
def test_results_are_those_of_a_fold_under_any_schedule(seeds: range) -> None:
    """Nothing is lost, repeated or blamed on another event, whatever happens when."""
    play_each(seeds, play, "tests.engine.test_any_schedule")


def check(driver: Driver, case: Case, *, exactly: bool) -> None:
    """Compare with what a loop over the input comes to. exactly: else results may be there more than once."""
    want: dict[str, dict[str, int]] = {"sums": {}, "done": {}, "shared": {}}
    lists: dict[str, list[int]] = {}
    bursts: dict[str, list[int]] = {}
    audits: dict[str, list[int]] = {}

    def add(table: str, key: str, value: int) -> None:
        want[table][key] = want[table].get(key, 0) + value

    for key, value in case.good():
        add("sums", f"third {value % 3}", value)
        if value not in (BAD, UNENCODABLE):
            add("sums", key, value)
            lists.setdefault(key, []).append(value)
        add("done", key, 1)
        audits.setdefault(key, []).append(value)
        if value != BAD_SHARED:
            add("shared", key, value)
        if value == MANY:
            bursts.setdefault(key, []).extend(range(MANY_COUNT))
    found = {name: totals(driver, name) for name in want}
    batched = [found["sums"].pop(f"batches {partition}", 0) for partition in range(PARTITIONS)]
    letters = [(o.headers["dead-letter-agent"].decode(), o.value) for o in driver.dead_letters()]
    # The last batch of a partition may be incomplete, and what is bad in it not be tried yet.
    letters = [letter for letter in letters if letter[0] != "batches"]
    shared_name = next((agent for agent, _ in letters if agent not in ("slow", "batches")), None)
    wrong: list[tuple[str, bytes]] = []
    for _, sent in case.records:
        data = b"garbage" if sent is None else b"%d" % sent
        # What does not decode has one letter for each declaration of the topic, in the name of its first reader.
        units: list[str | None] = ["slow", shared_name] if sent is None else []
        units += ["slow"] if sent in (BAD, UNENCODABLE) else []
        units += [shared_name] if sent == BAD_SHARED else []
        wrong += [(unit, data) for unit in units if unit is not None]
    positions = [driver.positions()[TP("n", partition)] for partition in range(PARTITIONS)]
    own = [[v for k, v in case.records if partition_for(k.encode(), PARTITIONS) == p] for p in range(PARTITIONS)]
    batch_sums = [sum(v for v in own[p][: positions[p]] if v not in (None, BAD)) for p in range(PARTITIONS)]
    results: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (found, want),
        (driver.table("lists"), lists),
        (by_key(driver, "out"), lists),
        (by_key(driver, "burst"), bursts),
        (by_key(driver, "audit"), audits),
    ]
    if exactly:
        for got, wanted in results:
            assert got == wanted, f"{got} is not {wanted}"
        assert sorted(letters) == sorted(wrong), f"{sorted(letters)} is not {sorted(wrong)}"
        ahead = [b for b, least in zip(batched, batch_sums, strict=True) if b < least]
        assert not ahead, (batched, batch_sums)
        return
    for got, wanted in results[2:]:
        for key, values in wanted.items():
            assert not set(values) - set(got.get(key, [])), f"lost of {key}"
    for name, table in want.items():
        for key, total in table.items():
            assert found[name].get(key, 0) >= total, f"{name}[{key}] is too low"


def totals(driver: Driver, table: str) -> dict[str, int]:
    """Sums by key over all partitions: what a batch over several does goes to the one that it was completed in."""
    found: dict[str, int] = {}
    for key, value in driver.app.tables[table].items():
        found[key] = found.get(key, 0) + value
    return found


def by_key(driver: Driver, topic: str) -> dict[str, list[int]]:
    """The values of a topic in order, by key."""
    outputs: dict[str, list[int]] = {}
    for one in driver.output(topic):
        outputs.setdefault(one.key, []).append(one.value)
    return outputs


if __name__ == "__main__":
    play_as_told(play)
