"""Sends records at a fixed rate, each with the time it was sent at. Run as `python -m tests.bench.pace KIND ...`.

A process of its own, so that neither what it costs nor its pauses are part of what is measured. Prints the count.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

from confluent_kafka import Producer

from .clock import pause
from .orders import KEYS, account, order_json

TICK_S = 0.001


def keyed_order(choose: random.Random, _rows: int) -> tuple[str, bytes]:
    """An order under its account."""
    name = account(choose.randrange(KEYS))
    return name, order_json(name, choose.randrange(1, 1000), sent_at=time.monotonic_ns())


def scattered_order(choose: random.Random, _rows: int) -> tuple[str, bytes]:
    """An order under its own number."""
    name = account(choose.randrange(KEYS))
    key = f"order-{choose.randrange(10**9):09}"
    return key, order_json(name, choose.randrange(1, 1000), sent_at=time.monotonic_ns())


def row(choose: random.Random, rows: int) -> tuple[str, bytes]:
    """A new value for one of the rows that orders.distinct_rows made."""
    return f"row-{choose.randrange(rows):011}", f'"{time.monotonic_ns():041}"'.encode()


KINDS: dict[str, Callable[[random.Random, int], tuple[str, bytes]]] = {
    "keyed": keyed_order,
    "scattered": scattered_order,
    "row": row,
}


def send(producer: Producer, topic: str, key: str, value: bytes) -> None:
    """Send a record, as soon as there is room for it."""
    while True:
        try:
            producer.produce(topic, value, key)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def pace(bootstrap: str, topic: str, kind: str, rate: int, seconds: float, rows: int) -> int:
    """Send `rate` records a second for `seconds`; return how many were sent and acknowledged."""
    failed: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            # A producer that sends each record alone drowns the broker in requests (p50 of 1 s without any app);
            # this one costs 3 ms, which `latency direct` shows (2 busy cores, November 2026).
            "linger.ms": 1,
            "max.in.flight.requests.per.connection": 5,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _message: failed.append(str(error)),
        }
    )
    # Connections are made before the clock starts.
    producer.list_topics(topic, timeout=30)
    choose = random.Random(3)
    make = KINDS[kind]
    # The clock starts behind the first record: however long that takes, it is not made up for in a burst.
    send(producer, topic, *make(choose, rows))
    start, sent = time.monotonic(), 1
    while sent < rate * seconds:
        due = min(1 + int((time.monotonic() - start) * rate), int(rate * seconds))
        for _ in range(due - sent):
            send(producer, topic, *make(choose, rows))
        sent = due
        producer.poll(0)
        pause(TICK_S)
    waiting = producer.flush(60)
    if waiting or failed:
        raise RuntimeError(f"pacing {topic}: {waiting} records not delivered, errors: {failed[:3]}.")
    return sent


def main() -> None:
    """Read the options, send, print how many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rows", type=int, default=0)
    options = parser.parse_args()
    print(pace(options.bootstrap, options.topic, options.kind, options.rate, options.seconds, options.rows))


if __name__ == "__main__":
    main()
