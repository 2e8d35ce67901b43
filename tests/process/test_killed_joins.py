"""A join of two streams on real Kafka: each pair once, and each event that has none, whatever is killed."""

from __future__ import annotations

import os
import signal

from confluent_kafka import Producer

from streamcluster_coordinator.records.status import Status
from tests.conftest import MakeTopic
from tests.process.conftest import StartApp
from tests.process.records import Reader
from tests.process.running import Running
from tests.process.waiting import eventually

# 2023-11-14, in ms: an old log, of two minutes.
BEGIN = 1_700_000_000_000
EVENTS = 2000
STEP_MS = 50
PARTITIONS = 2


def test_each_pair_comes_out_once_over_kill_9(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str, reader: Reader
) -> None:
    """Workers and the coordinator are killed while there are rows that wait, have met, and were never written."""
    for name in ("left", "right", "pairs"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    expected = load(bootstrap, topic_prefix)
    run, pairs = running("tests.process.joined_apps:joined", crash_loop_deaths=1_000_000), f"{topic_prefix}pairs"
    run.start(workers=2)
    run.until_running()
    for part in (0.0, 0.3, 0.6):
        until_more(reader, pairs, int(part * EVENTS), run)
        if part == 0.3:
            run.kill()
            run.start(workers=2)
        else:
            os.kill(run.pid_of(), signal.SIGKILL)
    eventually(lambda: reader.count(pairs) >= len(expected), 120, "all pairs come out", told=run.log_end)
    run.until_caught_up()
    found = sorted((str(row.key), str(row.value)) for rows in reader.rows(pairs).values() for row in rows)
    assert found == sorted(expected)
    # But for the last two of each partition.
    run.until(lambda status: left_open(status) <= 2 * PARTITIONS, "rows are deleted when no partner can come")
    assert run.drain() == 0, run.log_end()


def until_more(reader: Reader, topic: str, count: int, run: Running) -> None:
    """Wait until more than so many records are committed."""
    eventually(lambda: reader.count(topic) > count, 90, f"more than {count} pairs come out", told=run.log_end)


def load(bootstrap: str, prefix: str) -> list[tuple[str, str]]:
    """All events of both sides; (key, what is sent of it) of each pair, and of each event without a partner."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    expected: list[tuple[str, str]] = []
    for number in range(EVENTS):
        at = BEGIN + number * STEP_MS
        sides = {"left": at, "right": at + number % 30 * STEP_MS}
        if number % 20 < 2:
            sides.pop(("left", "right")[number % 20])
        for side, then in sides.items():
            producer.produce(f"{prefix}{side}", b"%d" % number, f"k{number}".encode(), timestamp=then)
        met = ",".join(str(number) if side in sides else "null" for side in ("left", "right"))
        expected.append((f"k{number}", str(f"[{met}]".encode())))
    for partition in range(PARTITIONS):
        for side in ("left", "right"):
            end = BEGIN + EVENTS * STEP_MS + 60_000
            producer.produce(f"{prefix}{side}", b"-1", f"end{partition}".encode(), partition, timestamp=end)
        expected.append((f"end{partition}", str(b"[-1,-1]")))
    assert producer.flush(60) == 0
    return expected


def left_open(status: Status) -> int:
    """Rows of the join, over all tasks."""
    timed = [task.figures.timed for task in status.tasks]
    return sum(figures["join-join"].open for figures in timed if "join-join" in figures)
