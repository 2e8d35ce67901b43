"""What the cache of tables is worth: `python -m tests.bench.table_cache`, without a broker.

3 tables over 16 tasks on RocksDB, one of them hot: 9 of 10 events read and write it, with keys as skewed as words are
(Zipf 1.0); the others read one of the two cold ones at any key. Each event makes one access. It decides nothing.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
import timeit
from bisect import bisect
from pathlib import Path

from streamcluster import App, Stream
from streamcluster.batch import KafkaRecord
from streamcluster.ids import TP, TaskId
from streamcluster.stores import Shard, TaskStore
from streamcluster.testing import Driver
from streamcluster_worker.state.memory import Memory
from streamcluster_worker.state.rocks import RocksStore

TASKS = 16
KEYS = 200_000
COMMIT_EVENTS = 5_000
MIB = 1024 * 1024


class CountedShard:
    """A shard whose reads are counted."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.scan, self.scan_index, self.multi_get = shard.scan, shard.scan_index, shard.multi_get
        self.scan_order, self.behind = shard.scan_order, shard.behind
        self.reads = 0

    def get(self, key: bytes) -> bytes | None:
        """The committed value, or None."""
        self.reads += 1
        return self._shard.get(key)


class CountedStore:
    """A store whose reads are counted by shard."""

    def __init__(self, store: TaskStore, tables: list[str]) -> None:
        self.write, self.restore, self.forget, self.close = store.write, store.restore, store.forget, store.close
        self.changelog_next_offset, self.reading = store.changelog_next_offset, store.reading
        self.shards = {table: CountedShard(store.shard(table)) for table in tables}

    def shard(self, table: str) -> CountedShard:
        """The shard of `table`."""
        return self.shards[table]


def shop(cache_bytes: int, hits: list[float]) -> App:
    """The app. hits: microseconds of a lookup of the same key again and again, as an agent makes it."""
    app = App("cache", table_cache_bytes=cache_bytes)
    hot = app.Table("hot", default=int)
    cold = [app.Table("cold1", default=int), app.Table("cold2", default=int)]

    @app.agent(app.topic("events", key_type=str, value_type=int))
    async def use(stream: Stream[int]) -> None:
        async for key, value in stream.items():
            if value == 0:
                hot[key] += 1
            elif value < 0:
                hot[key] += 1
                look = {"table": hot, "key": key}
                hits.append(min(timeit.repeat("table[key]", number=20_000, repeat=5, globals=look)) / 20_000 * 1e6)
            else:
                _ = cold[value % 2][key]

    return app


def events(count: int, seed: int) -> list[tuple[str, int]]:
    """Keys, and which table: 0 is the hot one."""
    rnd = random.Random(seed)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, KEYS + 1)))
    names = list(range(KEYS))
    rnd.shuffle(names)
    found: list[tuple[str, int]] = []
    for _ in range(count):
        if rnd.random() < 0.9:
            found.append((f"key{names[bisect(weights, rnd.random() * weights[-1]) % KEYS]}", 0))
        else:
            found.append((f"key{rnd.randrange(KEYS)}", rnd.choice([1, 2])))
    return found


def append(driver: Driver, key: str, value: int) -> None:
    """Put an event into its partition, without the driver's way, which costs more than the event."""
    data = key.encode()
    tp = TP("events", int(key[3:]) % TASKS)
    log = driver.logs.logs.setdefault(tp, [])
    log.append(KafkaRecord(len(log), 0, data, b"%d" % value, None))


def reads_of(stores: list[CountedStore]) -> int:
    """Reads of all of them."""
    return sum(shard.reads for store in stores for shard in store.shards.values())


def main(arguments: list[str]) -> int:
    """Warm the cache, measure, and print one line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.table_cache", description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--cache-bytes", type=int, default=8 * MIB)
    options = parser.parse_args(arguments)
    stores: list[CountedStore] = []
    hits: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        memory = Memory(64 * MIB, 64 * MIB)

        def make_store(task: TaskId, tables: list[str]) -> TaskStore:
            stores.append(CountedStore(RocksStore.open(Path(directory) / str(task), tables, memory), tables))
            return stores[-1]

        app = shop(options.cache_bytes, hits)
        with Driver(app, partitions=TASKS, make_store=make_store) as driver:
            spent, before = 0.0, 0
            for number, (key, value) in enumerate(events(2 * options.events, 1), 1):
                append(driver, key, value)
                if number % COMMIT_EVENTS == 0:
                    if number == options.events + COMMIT_EVENTS:
                        spent, before = 0.0, reads_of(stores)
                    began = time.perf_counter()
                    driver.advance(0.0)
                    spent += time.perf_counter() - began
            measured = options.events - COMMIT_EVENTS
            reads = reads_of(stores) - before
            append(driver, "key1", -1)
            driver.advance(0.0)
    print(
        f"{measured} accesses: hit rate {1 - reads / measured:.3f}, {reads} store reads, "
        f"{spent / measured * 1e6:.2f} us per event with its commit, {hits[0] * 1000:.0f} ns per hit"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
