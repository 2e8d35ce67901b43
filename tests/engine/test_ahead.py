"""What is read of a store for the events to come, and that it changes no result."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from streamcluster import App, Stream
from streamcluster.engine.ahead import KEYS_MAX
from streamcluster.engine.intake import SINGLE_EVENTS
from streamcluster.ids import TaskId
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster.testing import Driver

KEYS = 1000


class Counts:
    """How often each store was asked, and for how many rows at once."""

    def __init__(self) -> None:
        self.singles = 0
        self.batches: list[int] = []


def counted(counts: Counts, tables: list[str]) -> TaskStore:
    """A store that counts."""
    store = MemoryStore(tables)
    for table in tables:
        shard = store.shard(table)
        counting = type("Counting", (type(shard),), {"__slots__": ()})

        def get(self: object, key: bytes, rows: dict[bytes, bytes] = shard.rows) -> bytes | None:
            counts.singles += 1
            return rows.get(key)

        def multi_get(self: object, keys: Sequence[bytes], rows: dict[bytes, bytes] = shard.rows) -> list[bytes | None]:
            counts.batches.append(len(keys))
            return list(map(rows.get, keys))

        counting.get, counting.multi_get = get, multi_get  # type: ignore[attr-defined]
        shard.__class__ = counting
    return store


def feed(driver: Driver, values: dict[str, int]) -> None:
    """All records of a turn at once."""
    for key, value in values.items():
        driver.logs.append("events", {"key": key.encode(), "value": b"%d" % value}, 0.0)
    driver.advance(0.0)


def counting_app(kind: type, *, own_key: bool = True) -> App:
    """Counts by the event's key, or by another; memory has room for nothing between commits."""
    app = App("ahead", table_cache_bytes=1)
    table = app.Table("t", default=kind)

    @app.agent(app.topic("events", key_type=str, value_type=int))
    async def use(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            at = key if own_key else f"other-{key}"
            if kind is int:
                table[at] += value
            else:
                table[at].append(value)

    return app


@pytest.mark.parametrize("kind", [int, list])
def test_rows_of_the_events_to_come_are_read_at_once(kind: type) -> None:
    """Thousands of keys that are not in memory cost some reads; what comes of them is right, twice in a run too."""
    counts = Counts()
    with Driver(counting_app(kind), make_store=lambda _, tables: counted(counts, tables)) as driver:
        turn = {f"k{number}": number for number in range(KEYS)}
        feed(driver, turn)
        for _ in range(4):
            feed(driver, turn)
        assert counts.singles == KEYS, "those of the first turn, when a run is one event"
        assert sum(counts.batches) == 4 * KEYS
        assert len(counts.batches) < 4 * (KEYS / KEYS_MAX + 4)
        table = driver.table("t")
    expected = {key: value * 5 if kind is int else [value] * 5 for key, value in turn.items()}
    assert table == expected


def test_keys_that_have_nothing_are_asked_for_together() -> None:
    """A run of new keys costs some reads, and a key that comes twice is asked for once."""
    counts = Counts()
    with Driver(counting_app(int), make_store=lambda _, tables: counted(counts, tables)) as driver:
        first = {f"first{number}": 1 for number in range(SINGLE_EVENTS)}
        feed(driver, first)
        for _ in range(2):
            for number in range(KEYS):
                driver.logs.append("events", {"key": b"k%d" % (number // 2), "value": b"1"}, 0.0)
        counts.singles = 0
        driver.advance(0.0)
        assert counts.singles < 10
        assert KEYS / 2 <= sum(counts.batches) < KEYS
        assert driver.table("t") == first | {f"k{number}": 4 for number in range(KEYS // 2)}


@pytest.mark.parametrize("cache_bytes", [1, 20_000, 10_000_000])
@pytest.mark.parametrize("kind", [int, list])
def test_what_is_not_there_is_known_until_it_is_written(kind: type, cache_bytes: int) -> None:
    """Entries come, are changed, looked for and deleted in any order, in one run and over commits, evicted or not."""
    app = App("ahead", table_cache_bytes=cache_bytes)
    table = app.Table("t", default=kind)
    seen: list[bool] = []

    @app.agent(app.topic("events", key_type=str, value_type=int))
    async def use(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            if value == 0:
                seen.append(key in table)
            elif value == 1:
                table.pop(key, None)
            elif kind is int:
                table[key] += value
            else:
                table[key].append(value)

    rnd = random.Random(f"{kind} {cache_bytes}")
    expected: dict[str, list[int]] = {}
    expected_seen: list[bool] = []
    with Driver(app) as driver:
        for turn in range(40):
            for _ in range(rnd.choice([1, 50, 600])):
                key, value = f"k{rnd.randrange(20 + 20 * turn)}", rnd.randrange(5)
                driver.logs.append("events", {"key": key.encode(), "value": b"%d" % value}, 0.0)
                if value == 0:
                    expected_seen.append(key in expected)
                elif value == 1:
                    expected.pop(key, None)
                else:
                    expected.setdefault(key, []).append(value)
            driver.advance(rnd.choice([0.0, 5.0]))
        found = driver.table("t")
    assert seen == expected_seen
    assert found == {key: sum(values) if kind is int else values for key, values in expected.items()}


def test_a_table_with_other_keys_is_read_one_by_one() -> None:
    """Nothing is read that no event asked for."""
    counts = Counts()
    app = counting_app(int, own_key=False)
    with Driver(app, make_store=lambda _, tables: counted(counts, tables)) as driver:
        for _ in range(3):
            feed(driver, {f"k{number}": 1 for number in range(KEYS)})
        assert counts.batches == []
        assert driver.table("t") == {f"other-k{number}": 3 for number in range(KEYS)}


def test_a_key_that_cannot_be_encoded_fails_its_own_event() -> None:
    """And none of those for which it was looked at, too; they are counted all the same."""
    app = App("ahead", table_cache_bytes=1)
    table = app.Table("t", default=int, key_type=str)
    odd = b"5"

    @app.agent(app.topic("events", key_serializer="json", value_type=int), on_error="dead_letter")
    async def use(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            table[key] += value

    first = {f"first{number}": 1 for number in range(SINGLE_EVENTS)}
    with Driver(app) as driver:
        keys = [b'"%b"' % name.encode() for name in first] + [b'"k%d"' % number for number in range(KEYS)]
        for _ in range(2):
            for key in (*keys, odd):
                driver.logs.append("events", {"key": key, "value": b"1"}, 0.0)
            driver.advance(60.0)
        assert {letter.key for letter in driver.dead_letters()} == {odd}
        assert driver.table("t") == {key.decode().strip('"'): 2 for key in keys}


def test_a_row_that_cannot_be_decoded_fails_the_event_that_reads_it() -> None:
    """And not the one before it, for which it was read too."""
    store = MemoryStore(["t"])

    def make_store(_task: TaskId, _tables: list[str]) -> TaskStore:
        return store

    app = App("ahead", table_cache_bytes=1)
    table = app.Table("t", default=int, value_type=int)

    @app.agent(app.topic("events", key_type=str, value_type=int), on_error="dead_letter")
    async def use(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            table[key] += value

    with Driver(app, make_store=make_store) as driver:
        rows: dict[bytes, bytes | None] = {b'"k%d"' % number: b"1" for number in range(10)}
        store.write({"t": rows | {b'"k5"': b'"no number"'}}, {})
        feed(driver, {f"k{number}": 10 for number in range(10)})
        assert [letter.key for letter in driver.dead_letters()] == [b"k5"]
        assert {key: store.shard("t").get(key) for key in rows} == rows | {
            b'"k%d"' % number: b"11" for number in range(10) if number != 5
        } | {b'"k5"': b'"no number"'}
