"""Dated windows, sliding windows, versions and tables of topics on real Kafka: right over kill -9 and lost stores."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import Any

from confluent_kafka import Producer

from tests.conftest import MakeTopic
from tests.process.conftest import StartApp
from tests.process.records import Reader
from tests.process.waiting import eventually

# 2023-11-14, in ms: an old log, of 32 seconds.
BEGIN = 1_700_000_000_000
EVENTS = 1600
STEP_MS = 20
# So a key has an event each 400 ms: in 500 ms there are two, and that of a second before is the third before it.
KEYS = 20
PARTITIONS = 2


def test_all_kinds_of_rows_come_back_on_a_host_that_has_none(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str, reader: Reader
) -> None:
    """A worker is killed, then the host is lost with its stores: each event is told once, and what it is told is right.

    The topic of the table is compacted, so it is the table's changelog, and there is no other.
    """
    for name in ("readings", "told", "closed"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    make_topic(f"{topic_prefix}names", PARTITIONS, {"cleanup.policy": "compact"})
    load(bootstrap, topic_prefix)
    told, first = f"{topic_prefix}told", running("tests.process.kept_windows_apps:kept", crash_loop_deaths=1_000_000)
    first.start(workers=2)
    eventually(lambda: reader.count(told) > 0.2 * EVENTS, 90, "some are told", told=first.log_end)
    os.kill(first.pid_of(), signal.SIGKILL)
    eventually(lambda: reader.count(told) > 0.5 * EVENTS, 90, "more are told", told=first.log_end)
    first.kill()
    second = running("tests.process.kept_windows_apps:kept", name="two")
    second.start(workers=2)
    eventually(lambda: reader.count(told) >= EVENTS + PARTITIONS, 90, "all are told", told=second.log_end)
    second.until_caught_up()
    assert rows_of(reader, told) == Counter(expected_told())
    assert rows_of(reader, f"{topic_prefix}closed", dated=True) == Counter(expected_closed())
    assert second.drain() == 0, second.log_end()
    assert reader.partitions(f"{second.app_id}-named-changelog") == 0


def rows_of(reader: Reader, topic: str, *, dated: bool = False) -> Counter[str]:
    """The committed records, how often each is there. dated: with their timestamps."""
    return Counter(
        row(message.key(), json.loads(message.value() or b""), message.timestamp()[1] if dated else None)
        for part in reader.messages(topic).values()
        for message in part
    )


def row(key: str | bytes | None, value: Any, at: int | None = None) -> str:
    """As it can be counted."""
    return f"{key.decode() if isinstance(key, bytes) else key} {json.dumps(value)} {at}"


def load(bootstrap: str, prefix: str) -> None:
    """Names of the keys, then all events, and one in each partition that is behind them all."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for key in range(KEYS):
        producer.produce(f"{prefix}names", f'"name{key}"'.encode(), f"k{key}".encode(), timestamp=BEGIN)
    for number in range(EVENTS):
        at = BEGIN + number * STEP_MS
        producer.produce(f"{prefix}readings", b"%d" % number, f"k{number % KEYS}".encode(), timestamp=at)
    for partition in range(PARTITIONS):
        end = BEGIN + EVENTS * STEP_MS + 60_000
        producer.produce(f"{prefix}readings", b"-1", f"end{partition}".encode(), partition, timestamp=end)
    assert producer.flush(60) == 0


def expected_told() -> list[str]:
    """The event, the sum of it and the one within 500 ms before, the one of a second before, and the key's name."""
    found = [row(f"end{partition}", [-1, -1, None, None]) for partition in range(PARTITIONS)]
    for number in range(EVENTS):
        recent = number + max(0, number - KEYS)
        before = number - 3 * KEYS if number >= 3 * KEYS else None
        found.append(row(f"k{number % KEYS}", [number, recent, before, f"name{number % KEYS}"]))
    return found


def expected_closed() -> list[str]:
    """The total of each window, with the time of its last event."""
    totals: dict[tuple[int, int], tuple[int, int]] = {}
    for number in range(EVENTS):
        at = BEGIN + number * STEP_MS
        window = number % KEYS, at - at % 1000
        totals[window] = totals.get(window, (0, 0))[0] + number, at
    return [row(f"k{key}", [start / 1000, total], at) for (key, start), (total, at) in totals.items()]
