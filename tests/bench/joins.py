"""Case joins: two streams whose events have one partner each, of the same key within a second.

It decides what counts as right: each pair comes out once.
"""

from __future__ import annotations

from confluent_kafka import Consumer, Producer

from .application import Application
from .apps import output_topic
from .bench import Bench
from .latency import observer
from .orders import SEND_RECORDS
from .steady import steady_part
from .throughput import COMMIT_INTERVAL_S, watch
from .topics import Group
from .windows import BEGIN_MS, QUICK_LOOK_S, QUIET_S

# How much later the partner of an event is, at most.
APART_MS = 1000


def measure_joins(bench: Bench) -> None:
    """CPU per event of a join whose topics are full."""
    run, count = bench.new_run(), bench.sizes.pairs
    left, right, output = bench.empty_input("left"), bench.empty_input("right"), output_topic("joins", run)
    bench.topics.create(output)
    _load(bench.bootstrap, left, right, count)
    settings = {"processing_guarantee": "exactly_once", "commit_interval": str(COMMIT_INTERVAL_S)}
    app = Application(bench.bootstrap, "joins", run, left, bench.directory, settings, module="joins_apps")
    app.environment["BENCH_RIGHT"] = right
    group = Group(bench.bootstrap, app.group)
    group.ends([left, right])
    consumer = observer(bench.bootstrap, output)
    try:
        app.start()
        app.wait_until_running()
        progress = watch(app.processes, group, [left, right])
        came = _count(consumer, count)
        app.stop()
    finally:
        app.kill()
        consumer.close()
        group.close()
        bench.topics.delete_of(run)
    if came != count:
        raise RuntimeError(f"{count:,} pairs; {came:,} came.")
    steady = steady_part(progress, [left, right], warm_up_s=bench.sizes.warm_up_s)
    bench.report.add("joins", "CPU us/event", steady.cpu_us_per_event, "two streams, a partner for each event")


def _count(consumer: Consumer, wanted: int) -> int:
    """How many pairs have come, and a look at whether more than wanted do."""
    came = 0
    while found := consumer.consume(SEND_RECORDS, QUIET_S if came < wanted else QUICK_LOOK_S):
        came += sum(message.error() is None for message in found)
    return came


def _load(bootstrap: str, left: str, right: str, count: int) -> None:
    """So many pairs, an event each millisecond on both sides."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 20})
    for number in range(count):
        value = b'{"id": %d, "note": "one of a pair, long enough to be a usual record of this size"}' % number
        for topic, at in ((left, BEGIN_MS + number), (right, BEGIN_MS + number + number % APART_MS)):
            producer.produce(topic, value, b"%d" % number, timestamp=at)
        if number % SEND_RECORDS == 0:
            while len(producer) > SEND_RECORDS:
                producer.poll(0.01)
    if waiting := producer.flush(120):
        raise RuntimeError(f"loading {left} and {right}: {waiting} records not delivered.")
