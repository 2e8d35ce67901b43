"""Ranges and indexes under real agents: what joins and windows are to be made of, over crashes, on both stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcluster import App, Stream
from streamcluster.codecs.ordered_keys import key_range, ordered_key, split_ordered, time_range
from streamcluster.ids import TaskId
from streamcluster.indexes import Index
from streamcluster.stores import MemoryStore, TaskStore
from streamcluster.testing import Driver
from streamcluster.times import place_of
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

MIB = 1024 * 1024
WITHIN = 20
# So many buffered rows an event deletes at most.
EXPIRED_MAX = 3


def time_place(key: bytes, _value: bytes) -> bytes:
    """Rows by their time."""
    return place_of(split_ordered(key)[1])


BY_TIME = Index("by-time", 8, time_place, by_key=True)


def joining() -> App:
    """Each event (time, number) meets the earlier ones of its key that are not older than WITHIN, newest first."""
    app = App("joining", table_cache_bytes=2000)
    buffer = app.Table("buffer", key_type=bytes, key_serializer="raw", value_type=int)
    buffer.indexes = (BY_TIME,)
    pairs = app.topic("pairs", key_type=str, value_type=list)

    @app.agent(app.topic("events", key_type=str, value_type=list))
    async def join(stream: Stream[list[int]]) -> None:
        async for key, (time, number) in stream.items():
            view: Any = buffer.shard_var.get()
            start, end = time_range(key.encode(), time - WITHIN, time)
            for _, other in view.scan(start, end, reverse=True):
                await pairs.send(key=key, value=[number, other])
            buffer[ordered_key(key.encode(), time, number)] = number
            over = view.scan_index(BY_TIME.name, None, place_of(time - WITHIN), rows_max=EXPIRED_MAX)
            for _, (row, _) in zip(range(EXPIRED_MAX), ((row, value) for _, row, value in over), strict=False):
                del buffer[row]
            if number == 13:
                # All of the key at once.
                view.delete_range(*key_range(key.encode()))

    return app


def expected_pairs(events: list[tuple[str, int, int]]) -> list[tuple[str, list[int]]]:
    """The same with lists."""
    found: list[tuple[str, list[int]]] = []
    rows: list[tuple[int, str, int]] = []
    for key, time, number in events:
        partners = sorted((row for row in rows if row[1] == key and time - WITHIN <= row[0] <= time), reverse=True)
        found += [(key, [number, other]) for _, _, other in partners]
        rows.append((time, key, number))
        over = sorted((row for row in rows if row[0] < time - WITHIN), key=lambda row: (row[0], ordered(row)))
        for row in over[:EXPIRED_MAX]:
            rows.remove(row)
        if number == 13:
            rows = [row for row in rows if row[1] != key]
    return found


def ordered(row: tuple[int, str, int]) -> bytes:
    """The row's key."""
    return ordered_key(row[1].encode(), row[0], row[2])


@pytest.fixture(params=["memory", "rocksdb"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    """The app on each kind of store."""
    numbers = iter(range(1000))
    app = joining()

    def make_store(_task: TaskId, tables: list[str]) -> TaskStore:
        indexes = {"buffer": (BY_TIME,)}
        if request.param == "memory":
            return MemoryStore(tables, indexes)
        return RocksStore.open(tmp_path / str(next(numbers)), tables, Memory(MIB, MIB), indexes=indexes)

    with Driver(app, make_store=make_store) as made:
        yield made


def test_buffers_of_a_join_are_right_over_commits_crashes_and_lost_stores(driver: Driver) -> None:
    """Partners by range and expiry by index see what is committed and what is not, and nothing that was rolled back."""
    events = [(("a", "b", "aa")[n % 3], n * 3 - n % 7, n) for n in range(60)]
    for at, (key, time, number) in enumerate(events):
        driver.send("events", key=key, value=[time, number], commit=at % 4 == 3)
        if at % 10 == 6:
            driver.crash(lose_stores=at % 20 == 16)
    driver.advance(0)
    found = [(record.key, record.value) for record in driver.output("pairs")]
    # In the order of each key: the topic has several partitions.
    assert sorted(found, key=lambda pair: pair[0]) == sorted(expected_pairs(events), key=lambda pair: pair[0])
    # What is over is gone, in the changelog too: a store that is restored has it no more.
    before = driver.table("buffer")
    assert len(before) < 20
    driver.crash(lose_stores=True)
    assert driver.table("buffer") == before


_keys = st.binary(max_size=4)


@given(st.lists(st.tuples(_keys, st.integers(-(2**60), 2**60), st.integers(0, 2**60)), min_size=2, max_size=2))
def test_ordered_keys_are_in_the_order_of_what_is_in_them(pair: list[tuple[bytes, int, int]]) -> None:
    """And come back, whatever zeros there are in the key."""
    first, second = (ordered_key(*one) for one in pair)
    assert (first < second) == (pair[0] < pair[1])
    assert [split_ordered(first), split_ordered(second)] == pair
    start, end = key_range(pair[0][0])
    assert (start <= second < end) == (pair[0][0] == pair[1][0])
