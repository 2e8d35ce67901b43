"""The short form of `python -m tests.memory`, with bounds so small that what is not bounded shows; and one budget.

That no more than the settings say is held under 200 partitions is shown for the engine in tests/engine/test_buffers.py.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.memory.apps import SLOW_PARTITIONS
from tests.memory.trial import BACK_SECONDS, Load, measure
from tests.process import topics
from tests.process.checker import Row
from tests.process.records import Feed
from tests.process.running import Running
from tests.process.waiting import pause

MIB = 1024 * 1024
WORKER_BYTES = 300 * MIB
CLICKS = 12_000
USERS = 1_200
DOCUMENTS = 320


def documents() -> Iterator[Row]:
    """200 kB each, and seven times that as dicts: 450 MB in all."""
    rows = [{"id": number, "name": f"name{number}", "price": number * 1.5} for number in range(4_500)]
    return (Row(f"k{number}", json.dumps(rows).encode()) for number in range(DOCUMENTS))


def clicks() -> Iterator[Row]:
    """200 entries of a list for each user: 60 MB as dicts, in the end."""
    return (Row(f"u{number * 7919 % USERS}", json.dumps({"number": number}).encode()) for number in range(CLICKS))


def test_a_worker_stays_within_its_memory_and_a_slow_agent_holds_up_nobody(
    broker_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Large records that wait, lists that grow in a table, and events that send much, in 300 MiB."""
    bootstrap = broker_url.removeprefix("kafka://")
    for name, count in (("docs", SLOW_PARTITIONS), ("clicks", 2), ("sent", 2)):
        topics.create(bootstrap, [f"{topic_prefix}{name}"], count)
    feeds = [
        Feed(bootstrap, f"{topic_prefix}docs", documents(), rate=None),
        Feed(bootstrap, f"{topic_prefix}clicks", clicks(), rate=None),
    ]
    run = Running("tests.memory.apps:heavy", topic_prefix, broker_url, tmp_path, within=(), worker_memory=WORKER_BYTES)
    try:
        run.start(1)
        run.until_running(BACK_SECONDS)
        process, most = psutil.Process(run.pid_of()), 0
        for feed in feeds:
            feed.start()
        deadline = time.monotonic() + BACK_SECONDS
        while run.worker().figures.events_total < CLICKS:
            assert time.monotonic() < deadline, run.log_end()
            most = max(most, process.memory_info().rss)
            pause(0.1)
        for feed in feeds:
            feed.stop()
        worker = run.worker()
    finally:
        run.close()

    assert worker.figures.memory_bytes == WORKER_BYTES
    assert worker.figures.memory_from == "worker_memory"
    assert most < WORKER_BYTES, f"{most / MIB:.0f} MiB"


@pytest.mark.skipif(not os.environ.get("STREAMCLUSTER_LONG"), reason="long: STREAMCLUSTER_LONG=1 runs it")
def test_memory_is_bounded_under_200_partitions_and_flat_without_a_broker(topic_prefix: str, tmp_path: Path) -> None:
    """A slow agent over 200 partitions and 60 MB to read: a worker holds what its settings say, and no more later."""
    memory = measure(
        topic_prefix,
        tmp_path,
        Load(records=60_000, record_bytes=1000, loaded_seconds=8.0, stopped_seconds=5.0),
        stream_buffer_records_max=2000,
        stream_buffer_bytes_max=4 * MIB,
        consumer_prefetch_bytes=4 * MIB,
    )
    first, most = memory.stopped

    assert memory.loaded - memory.idle < 100 * MIB, memory
    assert most - first < 10 * MIB, memory
