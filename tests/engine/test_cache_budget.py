"""CacheBudget: one bound over all shards, what is used stays, and what is not committed stays in any case."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Sequence

import pytest

from streamcluster import App, Stream
from streamcluster.engine.cache_budget import ENTRY_OVERHEAD_BYTES, CacheBudget, ShardMemory
from streamcluster.stores import MemoryShard, MemoryStore
from streamcluster.stream_joins.rows import ROW_BYTES, Half, Known, entry_of
from streamcluster.testing import Driver

ENTRY = 100 + ENTRY_OVERHEAD_BYTES
COMMIT = 500
SHARDS = 48


def shards(count: int) -> list[ShardMemory]:
    """Clean shards."""
    return [ShardMemory(lambda: ()) for _ in range(count)]


def use(shard: ShardMemory, key: object) -> bool:
    """One access as a table makes it: young, or old, or from the store. Whether it was in memory."""
    if key in shard.values:
        return True
    try:
        shard.recall(key)
    except KeyError:
        shard.values[key] = 1
        shard.came(100, 1)
        return False
    return True


def held(all_shards: list[ShardMemory]) -> int:
    """Entries in memory."""
    return sum(shard.held_count() for shard in all_shards)


def hit_rates(draw: Callable[[], tuple[int, int]], entries_max: int) -> tuple[float, float]:
    """Hits per access of the budget, and of an exact LRU of as many entries. draw: shard number and key."""
    some = shards(SHARDS)
    budget = CacheBudget(entries_max * ENTRY)
    exact: OrderedDict[tuple[int, int], None] = OrderedDict()
    hits = exact_hits = 0
    accesses = 60_000
    for number in range(accesses):
        place = draw()
        hits += use(some[place[0]], place[1])
        if place in exact:
            exact_hits += 1
            exact.move_to_end(place)
        else:
            exact[place] = None
            if len(exact) > entries_max:
                exact.popitem(last=False)
        if number % COMMIT == 0:
            budget.trim(some)
            assert held(some) <= entries_max + 1
    return hits / accesses, exact_hits / accesses


def test_a_hot_table_beside_cold_ones_hits_as_with_an_exact_lru() -> None:
    """A skewed table that takes 9 of 10 accesses, over 16 of 48 shards: within 0.03 of the exact twin."""
    rnd = random.Random(1)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, 20_001)))

    def draw() -> tuple[int, int]:
        if rnd.random() < 0.9:
            key = bisect(weights, rnd.random() * weights[-1])
            return key % 16, key
        key = rnd.randrange(20_000)
        return 16 + key % 32, key

    ours, exact = hit_rates(draw, 3000)
    assert ours > exact - 0.03


def test_a_hot_shard_may_take_nearly_all_of_the_budget() -> None:
    """One shard in use, 47 that were used once: its working set stays, be it nearly all of the budget."""
    some = shards(SHARDS)
    budget = CacheBudget(4800 * ENTRY)
    for shard, key in itertools.product(some, range(100)):
        use(shard, key)
    hits = []
    for turn in range(40):
        hits = [use(some[0], key) for key in range(4000)]
        for shard in some[1:]:
            use(shard, 1000 + turn)
        budget.trim(some)
    assert all(hits)
    assert len(some[0].values) + len(some[0].old) >= 4000


def test_nothing_is_moved_while_everything_fits() -> None:
    """Below the budget a hit stays a lookup in `values`: no shard ages."""
    [shard] = shards(1)
    budget = CacheBudget(1000 * ENTRY)
    for key in range(800):
        use(shard, key)
    budget.trim([shard])
    assert len(shard.values) == 800


def test_what_is_used_after_an_ageing_outlives_what_is_not() -> None:
    """Entries go in the order of their last use, as far as generations tell."""
    [shard] = shards(1)
    budget = CacheBudget(1000 * ENTRY)
    for key in range(900):
        use(shard, key)
    budget.trim([shard])
    assert not shard.values
    used = range(0, 900, 9)
    for key in used:
        use(shard, key)
    for key in range(1000, 1500):
        use(shard, key)
        budget.trim([shard])
    assert all(key in shard.values or key in shard.old for key in used)
    assert shard.held_count() <= 1000


@pytest.mark.parametrize("bytes_max", [0, 1, 20 * ENTRY])
def test_what_is_not_committed_stays_in_any_case(bytes_max: int) -> None:
    """Pinned keys, of both kinds, are found in values and objects after every trim, with their last values."""
    rnd = random.Random(bytes_max)
    pinned: dict[int, object] = {}
    shard = ShardMemory(lambda: pinned)
    values, objects = shard.values, shard.objects
    budget = CacheBudget(bytes_max)
    for turn in range(300):
        for key in rnd.sample(range(100), 5):
            value: object = turn if key % 2 else [turn]
            (values if key % 2 else objects)[key] = pinned[key] = value
            shard.came(100, 1)
        for key in rnd.sample(range(100), 5):
            if key in shard.old and key not in values and key not in objects:
                shard.recall(key)
        if rnd.random() < 0.3:
            for key in pinned:
                if key % 2 == 0:
                    shard.baseline[key] = b"known"
            pinned.clear()
        budget.trim([shard])
        for key, value in pinned.items():
            assert (values if key % 2 else objects)[key] is value
        assert shard.values is values
        assert shard.objects is objects
        assert not shard.baseline.keys() - shard.objects.keys() - shard.old.keys()
        unpinned = shard.held_count() - len(pinned.keys() & {*values, *objects})
        assert unpinned * ENTRY_OVERHEAD_BYTES <= bytes_max or not shard.old


def test_large_entries_count_for_what_they_are() -> None:
    """A shard of values of 10 kB takes fewer of them than one of small values."""
    [shard] = shards(1)
    budget = CacheBudget(1_000_000)
    for key in range(2000):
        shard.values[key] = "x"
        shard.came(10_000, 1)
        budget.trim([shard])
    assert shard.held_count() <= 100
    shard.baseline[0] = b""
    shard.came(10_000, 1)
    assert shard.entry_bytes() > 10_000


def test_a_forgotten_key_is_not_remembered_by_a_former_value() -> None:
    """A blind write over an old entry, and then a deletion: the old value does not come back."""
    [shard] = shards(1)
    shard.values["k"] = 1
    shard.age()
    shard.values["k"] = 2
    shard.forget("k")
    with pytest.raises(KeyError):
        shard.recall("k")


class CountedShard:
    """A shard in memory whose reads are counted."""

    def __init__(self, reads: list[bytes], shard: MemoryShard) -> None:
        self._reads = reads
        self._shard = shard
        self.scan, self.scan_index = shard.scan, shard.scan_index
        self.scan_order, self.behind = shard.scan_order, shard.behind

    def get(self, key: bytes) -> bytes | None:
        """The committed value, or None."""
        self._reads.append(key)
        return self._shard.get(key)

    def multi_get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The committed values."""
        self._reads += keys
        return self._shard.multi_get(keys)


class CountedStore:
    """A store in memory whose reads are counted."""

    def __init__(self, reads: list[bytes], tables: list[str]) -> None:
        store = MemoryStore(tables)
        self.write, self.restore, self.forget, self.close = store.write, store.restore, store.forget, store.close
        self.changelog_next_offset, self.reading = store.changelog_next_offset, store.reading
        self._shards = {table: CountedShard(reads, store.shard(table)) for table in tables}

    def shard(self, table: str) -> CountedShard:
        """The shard of `table`."""
        return self._shards[table]


@pytest.mark.parametrize("kind", [int, list])
def test_a_hot_table_gets_the_budget_of_those_beside_it(kind: type) -> None:
    """3 tables over 4 tasks, one hot: its 2,000 entries fit the budget of the worker, not a twelfth of it each."""
    reads: list[bytes] = []
    app = App("a", table_cache_bytes=600_000 if kind is int else 1_500_000)
    hot = app.Table("hot", default=kind)
    cold = [app.Table("cold1", default=int), app.Table("cold2", default=int)]

    @app.agent(app.topic("events", key_type=str, value_type=int))
    async def use(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            if kind is int:
                hot[key] += 1
            else:
                hot[key].append(value)
            for table in cold if value else ():
                table[f"{value}-{key}"] = value

    def feed(driver: Driver, turn: int) -> None:
        for number in range(2000):
            message = {"key": b"%d" % number, "value": b"%d" % (turn if number % 10 == 0 else 0)}
            driver.logs.append("events", message, 0.0)
        driver.advance(0.0)

    with Driver(app, partitions=4, make_store=lambda _, tables: CountedStore(reads, tables)) as driver:
        for turn in range(1, 8):
            feed(driver, turn)
        warm = len(reads)
        for turn in range(8, 12):
            feed(driver, turn)
        assert len(reads) - warm < 0.05 * 4 * 2000
        table = driver.table("hot")
    assert len(table) == 2000
    assert {value if kind is int else len(value) for value in table.values()} == {11}


class Rows:
    """Where they are written."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.dirty: dict[bytes, bytes] = {}
        self.deleted: set[bytes] = set()


def test_what_operators_know_of_rows_is_within_the_budget() -> None:
    """A quarter of it at most, and what joins keep are the rows that count for longest."""
    rows = Rows()
    known = Known(1000, {b"0": Half(500), b"1": Half(500)}, -1, lambda: (rows, -1))
    half = known.halves[b"1"]
    for number in range(1000):
        known.add(half, b"k%d" % number, 100 * number, entry_of(100 * number, 0, b"m" + bytes(100)))
    assert 1000 * (ROW_BYTES + 100) < known.held_bytes() < 1000 * (ROW_BYTES + 150)
    budget = CacheBudget(1000 * ROW_BYTES)
    budget.trim([ShardMemory(lambda: (), lambda: [known])])
    assert 0 < known.held_bytes() <= budget.bytes_max / 4
    assert budget.held_bytes == known.held_bytes()
    assert known.find(half, b"k999", 0, 100_000)
    assert not known.find(half, b"k0", 0, 100_000)
    # What was not written yet is now; what it does not know is read from there until its time is over.
    assert len(rows.dirty) == 1000
    assert 100 * 500 < known.upto < 100 * 1000


@pytest.mark.parametrize(
    ("key_of", "value_of"),
    [
        (lambda number: f"page{number:09}", lambda number: number + 1000),
        (lambda number: f"page{number:09}", lambda number: f"the value of {number}"),
        (lambda number: b"page%09d" % number, lambda number: number + 0.5),
        (lambda number: number + 1000, lambda _: True),
        (lambda number: (f"page{number:09}", number + 1000), lambda number: number + 1000),
        (lambda number: (None, b'{"page":%d}' % number), lambda number: number + 1000),
    ],
)
def test_what_an_entry_takes_is_not_far_from_what_is_estimated(
    key_of: Callable[[int], object], value_of: Callable[[int], object]
) -> None:
    """Of plain values, however full the dict is just then: a little more may be taken, or half as much."""
    shard = ShardMemory(lambda: ())
    parts: list[float] = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1, 70_001):
            key, value = key_of(number), value_of(number)
            shard.values[key] = value
            shard.came(len(str(key)) + len(str(value)), 1)
            if number > 20_000 and number % 1_000 == 0:
                after, _ = tracemalloc.get_traced_memory()
                parts.append((after - before) / shard.held_bytes())
    finally:
        tracemalloc.stop()
    assert min(parts) > 0.4
    assert max(parts) < 1.2
