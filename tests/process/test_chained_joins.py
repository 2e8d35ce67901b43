"""Joins of three streams on real Kafka: what each event meets, once, whatever is killed, in an agent and in a task."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import Producer

from tests.conftest import MakeTopic
from tests.process.conftest import StartApp
from tests.process.records import Reader
from tests.process.running import Running
from tests.process.waiting import eventually

# 2023-11-14, in ms, the begin of a minute: an old log, of ten minutes.
BEGIN = 1_700_000_040_000
EVENTS = 600
PARTITIONS = 2
TOPICS = ("orders", "payments", "shipments")


class Event(NamedTuple):
    """key: None meets nobody. at: its timestamp, in ms."""

    key: str | None
    number: int
    at: int


def test_three_streams_meet_once_over_kill_9(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str, reader: Reader
) -> None:
    """A worker is killed, and then everything; the rows are those that loops over all events find."""
    for name in (*TOPICS, "shipped", "told", "totals"):
        make_topic(f"{topic_prefix}{name}", PARTITIONS)
    events = load(bootstrap, topic_prefix)
    shipped, told = by_hand(**events)
    run = running("tests.process.chained_apps:chained", crash_loop_deaths=1_000_000)
    run.start(workers=2)
    run.until_running()
    until_more(reader, f"{topic_prefix}shipped", len(shipped) // 10, run)
    os.kill(run.pid_of(), signal.SIGKILL)
    until_more(reader, f"{topic_prefix}shipped", len(shipped) // 2, run)
    run.kill()
    run.start(workers=2)
    minutes = Counter((key, (at - BEGIN) // 60_000) for key, at, _ in shipped if key)
    until_more(reader, f"{topic_prefix}shipped", len(shipped) - 1, run)
    until_more(reader, f"{topic_prefix}told", len(told) - 1, run)
    until_more(reader, f"{topic_prefix}totals", len(minutes) - 1, run)
    run.until_caught_up()

    assert sent(reader, f"{topic_prefix}shipped") == sorted((key, str(row)) for key, _, row in shipped)
    assert sent(reader, f"{topic_prefix}told") == sorted((key, str(row)) for key, _, row in told)
    assert sent(reader, f"{topic_prefix}totals") == sorted(
        (key, str([(BEGIN + 60_000 * minute) // 1000, count])) for (key, minute), count in minutes.items()
    )
    assert run.drain() == 0, run.log_end()


def load(bootstrap: str, prefix: str) -> dict[str, list[Event]]:
    """All events, out of order by up to 20 s, and behind them what moves time to their end."""
    chance = random.Random(7)
    events: dict[str, list[Event]] = {topic: [] for topic in TOPICS}
    for number in range(EVENTS):
        key = None if number % 50 == 7 else f"k{number % 90}"
        at = BEGIN + number * 1000
        events["orders"].append(Event(key, number, at))
        if number % 9 == 0:
            events["orders"].append(Event(key, number + EVENTS, at + 500))
        for topic in TOPICS[1:]:
            if chance.random() < 0.7:
                events[topic].append(Event(key, number, at + chance.randint(-25, 25) * 1000))
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for topic, those in events.items():
        those.sort(key=lambda event: event.at + chance.randint(0, 20_000))
        for key, number, at in those:
            producer.produce(f"{prefix}{topic}", b"%d" % number, key and key.encode(), timestamp=at)
        for partition in range(PARTITIONS):
            for later in (1_000_000, 2_000_000):
                end = BEGIN + EVENTS * 1000 + later
                producer.produce(f"{prefix}{topic}", b"-1", f"end{partition}".encode(), partition, timestamp=end)
    assert producer.flush(60) == 0
    return events


Out = list[tuple[str, int, list[int | None]]]


def by_hand(orders: list[Event], payments: list[Event], shipments: list[Event]) -> tuple[Out, Out]:
    """What the agent sends, and what the task does: key, time and row."""
    shipped = [
        (order.key or "", at, [order.number, payment, shipment])
        for order in orders
        for at, payment in partners(order, order.at, payments, 0, 20_000) or [(order.at, None)]
        for at, shipment in partners(order, at, shipments, -20_000, 20_000) or [(at, None)]
    ]
    told = [
        (order.key or "", at, [order.number, payment, shipment])
        for order in first_ones(orders)
        for at, payment in partners(order, order.at, payments, -20_000, 20_000)
        for at, shipment in partners(order, at, (one for one in shipments if one.number % 3), -20_000, 20_000)
        or [(at, None)]
    ]
    return shipped, told


def partners(order: Event, at: int, others: Iterable[Event], begin: int, end: int) -> list[tuple[int, int | None]]:
    """Those of its key whose time is so far from `at`: the time of the pair, and the number."""
    return [
        (max(at, other.at), other.number)
        for other in others
        if order.key is not None and other.key == order.key and begin <= other.at - at <= end
    ]


def first_ones(orders: list[Event]) -> list[Event]:
    """One goes on when none of its key that has gone on is up to 40 s from it; those without a key all do."""
    found: list[Event] = []
    for order in orders:
        if order.key is None or all(one.key != order.key or abs(one.at - order.at) > 40_000 for one in found):
            found.append(order)
    return found


def sent(reader: Reader, topic: str) -> list[tuple[str, str]]:
    """Key and value of each record, but for those that only move time."""
    rows = [row for those in reader.rows(topic).values() for row in those]
    return sorted((row.key, str(json.loads(row.value or b""))) for row in rows if not row.key.startswith("end"))


def until_more(reader: Reader, topic: str, count: int, run: Running) -> None:
    """Wait until more than so many records are committed, beside those that only move time."""
    eventually(lambda: len(sent(reader, topic)) > count, 90, f"more than {count} come out", told=run.log_end)
