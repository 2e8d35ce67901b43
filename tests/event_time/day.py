"""A day of windows, joins, duplicates and expiring entries on one engine, which event time passes in minutes.

    python -m tests.event_time.day --hours 24 --rate 100

Keys come and go all the time, and with them windows, sessions, waiting events and entries: what is kept of them must
not grow. Kafka is played, by logs that forget what was committed; the store is RocksDB on a disk.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from streamcluster import App, Stream
from streamcluster.batch import KafkaRecord
from streamcluster.ids import TP
from streamcluster.testing import Driver
from streamcluster.windows.kinds import Window
from tests.event_time.stores import make_rocks

HOUR = 3600
# So many keys are about at a time; each goes for ever after some minutes, and a new one comes.
KEYS, KEY_SECONDS = 200, 600
# Of event time, in one commit.
STEP_SECONDS = 60
FIRST_SECOND = 1_700_000_000
# What happens to 0.2 of the events: they are older than those before.
LAG_MAX = 20
# RocksDB's own log grows up to that (state/memory.py), and begins anew.
OWN_LOG_BYTES = 5_000_000


class Forgetting:
    """A log that has only what was not read yet: in place of the list of a played topic."""

    def __init__(self) -> None:
        self._first = 0
        self._records: list[KafkaRecord] = []

    def __len__(self) -> int:
        return self._first + len(self._records)

    def __getitem__(self, part: slice) -> list[KafkaRecord]:
        assert part.start >= self._first, "what was forgotten is asked for"
        return self._records[part.start - self._first :]

    def append(self, record: KafkaRecord) -> None:
        """One record more."""
        self._records.append(record)

    def forget(self) -> None:
        """All of it was committed."""
        self._first = len(self)
        self._records = []


def day_app() -> App:
    """Every kind of operator that goes by event time."""
    app = App("day", close_idle_after=None, max_ahead=None, table_cache_bytes=4_000_000)
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    others = app.topic("others", key_type=str, value_type=int, partitions=1)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)
    minutes = app.Table("minutes", key_type=str, default=int).tumbling(60, grace=10)
    overlapping = app.Table("overlapping", key_type=str, default=int).hopping(300, 60, grace=10)
    visits = app.Table("visits", key_type=str, default=int).session(60, grace=10)
    tokens = app.Table("tokens", key_type=str, default=int, ttl=300)
    users = app.Table("users", source=others, ttl=900)

    @app.agent(events, name="count")
    async def count(stream: Stream[int]) -> None:
        async for key, _ in stream.items():
            minutes[key] += 1
            overlapping[key] += 1
            visits[key] += 1
            tokens[key] += 1

    for table in (minutes, overlapping, visits):

        @table.on_close
        async def closed(key: str, window: Window, value: int) -> None:
            await out.send(key=key, value=value)

    @app.agent(events, name="pair")
    async def pair(stream: Stream[int]) -> None:
        async for event in stream.left_join(others, before=0, after=60, grace=10).events():
            await out.send(key=event.key, value=event.value[0])

    @app.agent(events, name="accept")
    async def accept(stream: Stream[int]) -> None:
        async for event in stream.deduplicate(by=lambda value: value % 10, within=300).events():
            await out.send(key=event.key, value=event.value)

    assert users.source is others
    return app


@dataclass(slots=True)
class Look:
    """After so many hours. rows: of each table in the store; cached: rows in memory; sent: since the last look."""

    hour: int
    rows: dict[str, int]
    cached: int
    disk_bytes: int
    rss_bytes: int
    sent: int
    events: int = 0
    cpu_seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"hour {self.hour:3}: {sum(self.rows.values()):7,} rows in {len(self.rows)} tables, {self.cached:7,} in "
            f"memory, {self.disk_bytes / 1e6:6.1f} MB on the disk, RSS {self.rss_bytes / 1e6:6.1f} MB, "
            f"{self.sent:,} results of {self.events:,} events, {self.cpu_seconds:.1f} s of CPU"
        )


@dataclass(slots=True)
class Day:
    """A run. rate: events of each of the two inputs per second of event time."""

    driver: Driver
    directory: Path
    rate: float
    source: random.Random = field(default_factory=lambda: random.Random(1))
    second: int = FIRST_SECOND
    number: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        worker = self.driver.worker
        for topic, count in worker.logs.partition_counts.items():
            for partition in range(count):
                worker.logs.logs.setdefault(TP(topic, partition), Forgetting())  # type: ignore[arg-type]  # as a list

    def pass_hours(self, hours: int) -> Iterator[Look]:
        """Let time pass, and look after each hour."""
        for hour in range(1, hours + 1):
            begin, first, sent = time.process_time(), self.number, self.sent
            for _ in range(HOUR // STEP_SECONDS):
                self._step()
            look = self._look(hour, self.sent - sent)
            look.events, look.cpu_seconds = self.number - first, time.process_time() - begin
            yield look

    def _step(self) -> None:
        worker, source = self.driver.worker, self.source
        count = max(1, round(self.rate * STEP_SECONDS))
        for at in range(count):
            second = self.second + at * STEP_SECONDS / count
            for topic in ("events", "others"):
                self.number += 1
                # A key lives for some minutes, and never comes again.
                key = source.randrange(KEYS)
                generation = (int(second) + key * KEY_SECONDS // KEYS) // KEY_SECONDS
                lag = source.randrange(LAG_MAX) if source.random() < 0.2 else 0
                record = {"key": b"key%d-%d" % (key, generation), "value": b"%d" % self.number}
                worker.logs.append(topic, {**record, "timestamp": round((second - lag) * 1000)}, 0.0)
        self.second += STEP_SECONDS
        self.driver.run(worker.process(commit=True))
        for tp, log in worker.logs.logs.items():
            assert isinstance(log, Forgetting), f"{tp} is played by something else"
            if tp.topic == "out":
                self.sent = len(log)
            log.forget()

    def _look(self, hour: int, sent: int) -> Look:
        (task,) = self.driver.worker.engine.tasks.values()
        rows = {name: stored(shard.store) for name, shard in task.shards.items()}
        cached = sum(len(shard.values) + len(shard.objects) for shard in task.shards.values())
        disk = sum(path.stat().st_size for path in self.directory.rglob("*") if path.is_file())
        return Look(hour, rows, cached, disk, psutil.Process().memory_info().rss, sent)


def stored(shard: object) -> int:
    """How many rows a shard of a store has."""
    found, start = 0, None
    while page := shard.scan(start, rows_max=10_000):  # type: ignore[attr-defined]
        found += len(page)
        start = shard.behind(page[-1][0])  # type: ignore[attr-defined]
    return found


def pass_day(hours: int, rate: float) -> Iterator[Look]:
    """A whole run, in a directory that is deleted at its end."""
    directory = Path(tempfile.mkdtemp(prefix="day-"))
    try:
        app = day_app()
        with Driver(app, make_store=make_rocks(directory)(app)) as driver:
            yield from Day(driver, directory, rate).pass_hours(hours)
    finally:
        shutil.rmtree(directory)


def growth(looks: list[Look], settled: int) -> Iterator[str]:
    """What grew from the hours after `settled` to the last ones: in words, for each table and measure."""
    early, late = looks[settled : settled + 3], looks[-3:]
    for name in looks[0].rows:
        before, after = max(look.rows[name] for look in early), max(look.rows[name] for look in late)
        if after > before * 1.2 + 20:
            yield f"table {name} grew from {before} to {after} rows"
    for what, before, after, slack in (
        ("rows in memory", max(one.cached for one in early), max(one.cached for one in late), 200),
        ("bytes on the disk", max(one.disk_bytes for one in early), max(one.disk_bytes for one in late), OWN_LOG_BYTES),
        ("bytes of RSS", max(one.rss_bytes for one in early), max(one.rss_bytes for one in late), 24_000_000),
    ):
        if after > before * 1.2 + slack:
            yield f"{what} grew from {before:,} to {after:,}"


def main(arguments: list[str]) -> int:
    """A day, and whether anything grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.event_time.day", description=__doc__)
    parser.add_argument("--hours", type=int, default=24, help="Of event time. Default: 24.")
    parser.add_argument("--rate", type=float, default=20.0, help="Events per second of event time, of each input.")
    chosen = parser.parse_args(arguments)
    looks: list[Look] = []
    for look in pass_day(chosen.hours, chosen.rate):
        looks.append(look)
        print(look, flush=True)
    print(looks[-1].rows)
    found = [*growth(looks, min(3, len(looks) // 2))]
    print("\n".join(found) or "nothing grew")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
