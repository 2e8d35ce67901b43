"""Case awaits: an agent that awaits an HTTP call of 20 ms for each event, 1,000 at once in one worker.

It decides what counts as right: each order comes out once, and those of a key in their order. The server has a process
of its own on the same machine; its CPU is not counted.
"""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import msgspec
from confluent_kafka import Consumer, TopicPartition

from .application import Application
from .apps import output_topic
from .awaits_apps import CONCURRENCY, INSTALLED
from .bench import Bench
from .latency import observer
from .orders import PARTITIONS, SEND_RECORDS, Record, account, load, order_json
from .processes import REPOSITORY
from .steady import steady_part
from .throughput import COMMIT_INTERVAL_S, watch
from .topics import Group

# One worker reads both.
SOURCE_PARTITIONS = 2
# So many that no lane is empty, and that each key has several orders under way.
KEYS = 20_000
# Nothing comes for so long: nothing more will.
QUIET_S = 10.0


class Numbered(msgspec.Struct):
    """The part of an order that matters here. amount: its number in the topic."""

    account_id: str
    amount: int


def numbered_orders(count: int) -> Iterator[list[Record]]:
    """Orders with their number for an amount, keys in turn, in blocks."""
    for first in range(0, count, SEND_RECORDS):
        numbers = range(first, min(count, first + SEND_RECORDS))
        names = [account(number * 7919 % KEYS) for number in numbers]
        yield [
            {"key": name.encode(), "value": order_json(name, number)}
            for name, number in zip(names, numbers, strict=True)
        ]


def measure_awaits(bench: Bench) -> None:
    """With the cheapest call; else also without any, and with each client that is installed, of fewer orders."""
    for guarantee in bench.guarantees:
        for client in ("raw",) if bench.quick else ("sleep", "raw", *INSTALLED):
            _measure(bench, client, guarantee, bench.sizes.awaits // (4 if client in INSTALLED else 1))


@contextmanager
def _server() -> Iterator[str]:
    """The address of the API."""
    command = [sys.executable, "-m", "tests.bench.http_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as server:
        try:
            assert server.stdout is not None
            yield f"127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def _measure(bench: Bench, client: str, guarantee: str, count: int) -> None:
    run, work = bench.new_run(), f"awaits_{client}"
    source, output = f"bench-awaits-{run}", output_topic(work, run)
    bench.topics.create(source, partitions=SOURCE_PARTITIONS)
    bench.topics.create(output)
    load(bench.bootstrap, source, numbered_orders(count))
    settings = {"processing_guarantee": guarantee, "commit_interval": str(COMMIT_INTERVAL_S)}
    app = Application(bench.bootstrap, work, run, source, bench.directory, settings, module="awaits_apps", workers=1)
    group = Group(bench.bootstrap, app.group)
    group.ends([source])
    consumer = observer(bench.bootstrap, output)
    try:
        with _server() as api:
            app.environment["BENCH_API"] = api
            app.start()
            app.wait_until_running()
            progress = watch(app.processes, group, [source])
            app.stop()
        _check(consumer, output, count)
    finally:
        app.kill()
        consumer.close()
        group.close()
        bench.topics.delete_of(run)
    steady = steady_part(progress, [source], warm_up_s=bench.sizes.warm_up_s)
    case, note = f"awaits {client} {guarantee}", f"{SOURCE_PARTITIONS * CONCURRENCY:,} at once, {count:,} in order"
    bench.report.add(case, "events/s a worker", steady.events_per_second, note)
    bench.report.add(case, "CPU us/event", steady.cpu_us_per_event, "of the app; the server has its own")


def _check(consumer: Consumer, output: str, count: int) -> None:
    """Each order came out once, and those of a key in their order.

    Raises:
        RuntimeError: not so.
    """
    consumer.assign([TopicPartition(output, number, 0) for number in range(PARTITIONS)])
    decode = msgspec.json.Decoder(Numbered).decode
    numbers: dict[str, list[int]] = defaultdict(list)
    came = 0
    while came < count and (first := consumer.poll(QUIET_S)) is not None:
        for message in [first, *consumer.consume(SEND_RECORDS, 0)]:
            if message.error() is None:
                order = decode(message.value() or b"")
                numbers[order.account_id].append(order.amount)
                came += 1
    for name, found in numbers.items():
        if any(one >= behind for one, behind in pairwise(found)):
            raise RuntimeError(f"{name}: its orders came as {found[:20]}.")
    if came != count or consumer.consume(1, 1.0):
        raise RuntimeError(f"{count:,} orders were sent, and {came:,} came out.")
