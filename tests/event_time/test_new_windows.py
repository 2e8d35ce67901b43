"""Rows of windows that are known to be new, and rows that come due: what is found without a look into the store."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from streamcluster import App
from streamcluster.codecs.table_coding import make_table_coder
from streamcluster.engine.event_time.due import encoded_rows
from streamcluster.engine.rows import RowCoder
from streamcluster.engine.shard_view import ShardView
from streamcluster.engine.shards import CachedShard
from streamcluster.stores import MemoryStore
from streamcluster.testing import Driver
from streamcluster.windows.keys import BY_END, END_INDEX, windowed

OLD, NEW = ("a", 0, 10_000), ("a", 10_000, 20_000)


def make_shard(store: MemoryStore) -> CachedShard:
    key = windowed(make_table_coder(str, None, allow_pickle=False, is_key=True))
    coder = RowCoder("t", key, make_table_coder(int, None, allow_pickle=False))
    return CachedShard(store.shard("t"), coder, 1000, lambda size: None, None, (END_INDEX,))


def commit(store: MemoryStore, shard: CachedShard, view: ShardView) -> None:
    view.settle()
    shard.stage(shard.encoded_changes())
    store.write({"t": shard.seal()}, {})
    shard.committed()


def is_new(view: ShardView, key: tuple[str, int, int]) -> bool:
    return view.is_new(key, BY_END, key[2])


@pytest.mark.parametrize("lost", ["evicted", "rolled back", "opened anew"])
def test_a_window_is_new_unless_the_store_may_have_it(lost: str) -> None:
    """Behind all that the store had at first, as long as memory has what came since."""
    store = MemoryStore(["t"], {"t": (END_INDEX,)})
    shard = make_shard(store)
    view = ShardView(shard)
    assert is_new(view, OLD)
    view.write(OLD, 1)
    assert not is_new(view, OLD)
    commit(store, shard, view)
    assert not is_new(view, OLD)
    assert is_new(view, ("b", *OLD[1:]))
    if lost == "evicted":
        shard.memory.age()
        assert not is_new(view, OLD)
        shard.memory.evict(1)
    elif lost == "rolled back":
        shard.rollback()
    else:
        view = ShardView(make_shard(store))
    assert not is_new(view, OLD)
    assert not is_new(view, ("b", *OLD[1:])), "nobody knows"
    assert is_new(view, NEW)
    assert view.stored(OLD) == 1


def test_rows_are_encoded_from_memory_or_the_store() -> None:
    """As they are now, whether they are committed or not; what was deleted is not there."""
    store = MemoryStore(["t"], {"t": (END_INDEX,)})
    shard = make_shard(store)
    view = ShardView(shard)
    view.write(OLD, 1)
    view.write(NEW, 2)
    commit(store, shard, view)
    shard.rollback()
    rows = [view.row_key(OLD), view.row_key(NEW), view.row_key(("b", 0, 10_000)), b"no key"]
    assert encoded_rows(shard, rows) == [b"1", b"2", None, None]
    view.write(OLD, 3)
    view.discard_all([NEW])
    assert encoded_rows(shard, rows) == [b"3", None, None, None]


@pytest.mark.parametrize("is_pruned", [False, True])
@pytest.mark.parametrize("crash_at", [None, 3, 6])
def test_counts_are_right_in_runs_of_any_order(crash_at: int | None, is_pruned: bool) -> None:
    """Events of open windows in any order, between two windows, late ones, and what memory has forgotten."""
    app = App("runs", **({"table_cache_bytes": "1"} if is_pruned else {}))
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    closed = app.topic("closed", key_type=str, value_type=list, partitions=1)
    views = app.Table("views", key_type=str, default=int).tumbling(10, grace=5)

    @app.agent(events)
    async def count(stream: Any) -> None:
        async for page, number in stream.items():
            views[page] += number

    @views.on_close
    def close(page: str, window: Any, number: int) -> None:
        closed.send_soon(key=page, value=[window.start, number])

    batches = [[1, 9, 2, 11], [8, 14, 9, 12], [15, 9, 22, 14], [13, 24, 23, 14], [9, 41, 29], [30, 31], [90]]
    with Driver(app) as driver:
        for number, batch in enumerate(batches):
            for page, at in sent(batch)[:-1]:
                driver.logs.append("events", {"key": page.encode(), "value": b"1", "timestamp": at * 1000}, 0.0)
            driver.send("events", key="a", value=1, timestamp=batch[-1])
            if number == crash_at:
                driver.crash()
        found = sorted((one.key, *one.value) for one in driver.output("closed"))
    assert found == model([(page, at) for batch in batches for page, at in sent(batch)])


def sent(batch: list[int]) -> list[tuple[str, int]]:
    """Two keys at each time, but the last."""
    return [(page, at) for at in batch[:-1] for page in "ab"] + [("a", batch[-1])]


def model(events: list[tuple[str, int]]) -> list[tuple[str, float, int]]:
    """Counts of windows of 10 s with a grace of 5 s, of those that are over at the end."""
    now, counts = 0, Counter[tuple[str, int]]()
    for page, at in events:
        now = max(now, at)
        start = at // 10 * 10
        if start + 10 + 5 > now:
            counts[page, start] += 1
    return sorted((page, float(start), count) for (page, start), count in counts.items() if start + 15 <= now)
