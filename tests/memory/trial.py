"""One worker under 200 partitions and a slow agent, and then without a broker: how its memory goes.

It measures resident memory from outside, and decides nothing but when a phase is over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from streamcluster_coordinator.broker import Broker
from tests.memory.apps import PARTITIONS
from tests.process import topics
from tests.process.checker import Row
from tests.process.records import Feed
from tests.process.running import Running
from tests.process.waiting import eventually, pause

APP = "tests.memory.apps:crowd"
NODE = 1
KEYS = 5_000
LOOK_SECONDS = 0.25
# After the broker has stopped, what is on its way comes to its place.
SETTLE_SECONDS = 5.0
BACK_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to hold. seconds: how long it is looked at with a broker, and without one."""

    records: int
    record_bytes: int
    loaded_seconds: float
    stopped_seconds: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes of the worker: idle; the most under load; without a broker at first, and the most."""

    idle: int
    loaded: int
    stopped: tuple[int, int]
    # Events that the worker had taken, at the end of the load and when it had gone on with the broker.
    events: tuple[int, int]

    def __str__(self) -> str:
        first, most = self.stopped
        return (
            f"idle {self.idle / 1e6:.0f} MB, under load at most {self.loaded / 1e6:.0f} MB; broker stopped: at first "
            f"{first / 1e6:.1f} MB, at most {most / 1e6:.1f} MB; events {self.events[0]}, in the end {self.events[1]}"
        )


def rows(load: Load) -> Iterator[Row]:
    """Orders with something to decode in them."""
    note = "x" * max(0, load.record_bytes - 60)
    for number in range(load.records):
        order = {"number": number, "amount": number * 1.5, "parts": [number, number + 1], "note": note}
        yield Row(f"k{number % KEYS}", json.dumps(order).encode())


def look(process: psutil.Process, seconds: float) -> tuple[int, int]:
    """The first and the most resident memory over so many seconds."""
    seen: list[int] = []
    deadline = time.monotonic() + seconds
    while not seen or time.monotonic() < deadline:
        seen.append(process.memory_info().rss)
        pause(LOOK_SECONDS)
    return seen[0], max(seen)


def events_of(run: Running) -> int:
    """What the worker has done."""
    return run.worker().figures.events_total


def measure(prefix: str, directory: Path, load: Load, **settings: object) -> Memory:
    """Start a broker and the app, let it fill up, stop the broker, and see it go on when that is back."""
    with Broker() as broker:
        topics.create(broker.bootstrap, [f"{prefix}in"], PARTITIONS)
        run = Running(APP, prefix, broker.url, directory, within=(), **settings)
        try:
            run.start(1)
            run.until_running(BACK_SECONDS)
            process = psutil.Process(run.pid_of())
            idle = process.memory_info().rss
            feed = Feed(broker.bootstrap, f"{prefix}in", rows(load), rate=None)
            feed.start()
            _, loaded = look(process, load.loaded_seconds)
            feed.stop()
            events = events_of(run)
            broker.kill(NODE)
            look(process, SETTLE_SECONDS)
            stopped = look(process, load.stopped_seconds)
            broker.start(NODE)
            eventually(lambda: events_of(run) > events + PARTITIONS, BACK_SECONDS, "it goes on", run.log_end)
            return Memory(idle, loaded, stopped, (events, events_of(run)))
        finally:
            run.close()
