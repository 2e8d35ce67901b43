"""What windows cost, counted: reads of the store and codec calls for each window, from its first event to its end."""

from __future__ import annotations

import cProfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from streamcluster import App
from streamcluster.codecs import Codec, register
from streamcluster.ids import TaskId
from streamcluster.indexes import Index
from streamcluster.stores import MemoryShard, MemoryStore
from streamcluster.testing import Driver
from streamcluster.windows.keys import END_ORDER

KEYS = 5_000
EVENTS_PER_WINDOW = 4
BATCHED = 1_000
# Rows of a page are read and one more, a page for each 1,000; a look at the newest row, and some that find nothing.
SCANS_MAX = KEYS // 1000 + 20


def counting_codec(calls: Counter[str]) -> Codec:
    """Text, and how often it was encoded and decoded."""

    def dumps(text: Any) -> bytes:
        calls["encoded"] += 1
        return str(text).encode()

    def loads(data: bytes) -> str:
        calls["decoded"] += 1
        return data.decode()

    return Codec(dumps=dumps, loads=loads)


class CountedShard:
    """A shard in memory whose reads are counted."""

    def __init__(self, calls: Counter[str], shard: MemoryShard) -> None:
        self._calls = calls
        self._shard = shard
        self.scan, self.behind = shard.scan, shard.behind

    def get(self, key: bytes) -> bytes | None:
        """One value."""
        self._calls["got"] += 1
        return self._shard.get(key)

    def multi_get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Many."""
        self._calls["got"] += len(keys)
        return self._shard.multi_get(keys)

    def scan_order(self, *bounds: bytes | None, **options: Any) -> list[tuple[bytes, bytes]]:
        """A range of the order that rows lie in."""
        self._calls["scans"] += 1
        return self._shard.scan_order(*bounds, **options)

    def scan_index(self, name: str, *bounds: bytes | None, **options: Any) -> list[tuple[bytes, bytes]]:
        """A range of an index."""
        self._calls["scans"] += 1
        return self._shard.scan_index(name, *bounds, **options)


class CountedStore:
    """A store in memory: its reads of one table are counted."""

    def __init__(self, calls: Counter[str], tables: list[str], indexes: dict[str, Sequence[Index]]) -> None:
        store = MemoryStore(tables, indexes)
        self.write, self.restore, self.forget, self.close = store.write, store.restore, store.forget, store.close
        self.changelog_next_offset, self.reading = store.changelog_next_offset, store.reading
        self._shards: dict[str, Any] = {table: store.shard(table) for table in tables}
        self._shards["views"] = CountedShard(calls, store.shard("views"))

    def shard(self, table: str) -> Any:
        """The shard of `table`."""
        return self._shards[table]


@pytest.mark.parametrize("is_handled", [False, True], ids=["only deleted", "handled"])
def test_a_window_costs_a_write_and_no_look(is_handled: bool) -> None:
    """Its key is encoded once and decoded once, whatever the events; its row is read in one scan with all others."""
    calls = Counter[str]()
    register("counting", counting_codec(calls))
    app = App("cost")
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    views = app.Table("views", key_serializer="counting", default=int).tumbling(10, grace=0)
    closed: list[tuple[str, float, int]] = []

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for page, number in stream.items():
            views[page] += number

    if is_handled:

        @views.on_close
        def close(page: str, window: Any, number: int) -> None:
            closed.append((page, window.start, number))

    def make_store(_task: TaskId, tables: list[str]) -> Any:
        return CountedStore(calls, tables, {"views": (END_ORDER,)})

    with Driver(app, make_store=make_store) as driver:
        for number in range(KEYS * EVENTS_PER_WINDOW):
            record = {"key": b"page-%d" % (number % KEYS), "value": b"1", "timestamp": 1000 + number % 3}
            driver.logs.append("events", record, 0.0)
        driver.send("events", key="last", value=1, timestamp=2)
        counted = +calls
        driver.send("events", key="last", value=1, timestamp=100)
        assert len(views) == 1
    rows = KEYS + 1
    # A window's first event comes before it is known which window the next ones are in: two of them here.
    assert rows <= counted["encoded"] <= rows + 2
    assert counted["got"] == 0, "new rows are known to be new"
    calls -= counted
    # One more is the row of the last event, which is decoded to see that it comes back, and by `len`.
    assert calls["encoded"] == 1
    assert calls["decoded"] <= rows + 2
    assert calls["got"] == 0, "what comes due is read with what it holds, in the order of time"
    assert calls["scans"] <= SCANS_MAX
    pages = [f"page-{at}" for at in range(KEYS)]
    counts = [("last", 0.0, 1), *((page, 0.0, EVENTS_PER_WINDOW) for page in sorted(pages))]
    assert closed == (counts if is_handled else [])


def calls_of(size: int) -> int:
    """How many calls it takes to count events in windows, in batches of this size."""
    app = App("batches")
    clicks = app.topic("clicks", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", key_type=str, default=int).tumbling(60, grace=0)

    @app.agent(clicks, name="count")
    async def count(stream: Any) -> None:
        async for batch in stream.take(size, within=10):
            for number in batch:
                counts["k"] += number

    profile = cProfile.Profile()
    with Driver(app, start_time=1_000_000_000) as driver:
        for number in range(BATCHED - 1):
            record = {"key": b"k", "value": b"1", "partition": 0, "timestamp": 1_000_000_000_000 + number}
            driver.logs.append("clicks", record, 1_000_000_000)
        profile.enable()
        driver.send(clicks, key="k", value=1, timestamp=1_000_000_001)
        profile.disable()
        assert list(driver.table("counts").values()) == [BATCHED]
    return sum(entry.callcount for entry in profile.getstats())


def test_a_write_in_a_batch_costs_the_same_however_large_the_batch_is() -> None:
    """Each looked at the times of all events of the batch: one of 4,000 took a hundred times as long for an event."""
    assert calls_of(500) < 1.5 * calls_of(10)
