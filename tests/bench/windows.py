"""Case windows: a tumbling count, the same with final results, and the close of very many windows at once.

It decides what counts as right: each window comes out once, with its count. While windows close, a task beside them in
the same event loop notes how long it was held up, and the memory of the workers is looked at.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer

from .application import Application
from .apps import output_topic
from .bench import Bench
from .latency import observer
from .orders import KEYS, PARTITIONS, SEND_RECORDS, account, order_json
from .processes import MEGABYTE, Processes
from .steady import Progress, steady_part
from .throughput import COMMIT_INTERVAL_S, watch
from .topics import Group

# An event each millisecond, so that 60,000 of them are in a window of each account that is seen in it.
MINUTE_MS = 60_000
# Older than any window that is open, and in one whole window: 2023-11-14T22:14:00Z.
BEGIN_MS = 1_700_000_040_000
# Nothing comes for so long: nothing more will.
QUIET_S = 30.0
# The memory of the workers is looked at so often while windows close.
LOOK_S = 0.2
# There may be something already.
QUICK_LOOK_S = 1.0
# For the partitioner to choose.
BY_KEY = -1
# Key, timestamp.
Event = tuple[str, int]


def measure_windows(bench: Bench) -> None:
    """Count over time, without and with final results, and close at once."""
    count = bench.sizes.windows
    events = [(account(at * 7919 % KEYS), BEGIN_MS + at) for at in range(count)]
    _measure(bench, "tumbling", events)
    _measure(bench, "count", events)
    _measure(bench, "close", [(f"page-{at:08}", BEGIN_MS + at * MINUTE_MS // count) for at in range(count)])


def _measure(bench: Bench, what: str, events: list[Event]) -> None:
    run, case = bench.new_run(), f"windows {what}"
    source, output = bench.empty_input("windows"), output_topic("windows", run)
    bench.topics.create(output)
    _load(bench.bootstrap, source, events)
    pauses = bench.directory / f"pauses-{run}"
    pauses.mkdir()
    settings = {"processing_guarantee": "exactly_once", "commit_interval": str(COMMIT_INTERVAL_S)}
    app = Application(bench.bootstrap, "windows", run, source, bench.directory, settings, module="windows_apps")
    app.environment |= {"BENCH_PAUSES": str(pauses), "BENCH_FINAL": "no" if what == "tumbling" else "yes"}
    group = Group(bench.bootstrap, app.group)
    group.ends([source])
    consumer = observer(bench.bootstrap, output)
    wanted = len({(key, (at - BEGIN_MS) // MINUTE_MS) for key, at in events})
    try:
        app.start()
        app.wait_until_running()
        progress = watch(app.processes, group, [source])
        if what == "tumbling":
            app.stop()
            _report_count(bench, case, source, progress, wanted / len(events))
            return
        came, memory = Came(), Memory(app.processes)
        came.take(consumer, 0.0)
        early, cpu, began = came.windows, app.processes.cpu_s(), time.monotonic()
        _load(bench.bootstrap, source, [("end", events[-1][1] + 10 * MINUTE_MS)] * PARTITIONS, is_one_each=True)
        while came.windows < wanted and came.take(consumer, QUIET_S):
            memory.look()
        seconds, cpu = came.last - began, app.processes.cpu_s() - cpu
        app.stop()
    finally:
        app.kill()
        consumer.close()
        group.close()
        bench.topics.delete_of(run)
    if (came.windows, came.events) != (wanted, len(events)):
        raise RuntimeError(f"{wanted:,} windows of {len(events):,} events; {came.windows:,} of {came.events:,} came.")
    if what == "count":
        _report_count(bench, case, source, progress, wanted / len(events))
        return
    note = f"{wanted - early:,} of them, until the last one could be read"
    bench.report.add(case, "windows/s", (wanted - early) / seconds, note)
    bench.report.add(case, "CPU us/window", cpu / (wanted - early) * 1e6)
    bench.report.add(case, "longest pause ms", _longest_pause(pauses, began) * 1000, "of a task beside, all workers")
    bench.report.add(
        case, "MB more meanwhile", memory.grown_bytes() / MEGABYTE, "unique memory of the worker that grew most"
    )


def _report_count(bench: Bench, case: str, source: str, progress: Progress, windows_per_event: float) -> None:
    steady = steady_part(progress, [source], warm_up_s=bench.sizes.warm_up_s)
    bench.report.add(case, "CPU us/event", steady.cpu_us_per_event, f"{windows_per_event:.2f} windows an event")


class Memory:
    """The unique memory of processes: how much more it became than it was at first."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        processes.unique_bytes_max.clear()
        processes.note_memory()
        self._first = dict(processes.unique_bytes_max)
        self._looked_at = time.monotonic()

    def look(self) -> None:
        """Look at it, now and then."""
        if time.monotonic() > self._looked_at + LOOK_S:
            self._processes.note_memory()
            self._looked_at = time.monotonic()

    def grown_bytes(self) -> int:
        """Of the process that grew most."""
        return max(now - self._first.get(pid, 0) for pid, now in self._processes.unique_bytes_max.items())


@dataclass
class Came:
    """What has come out: windows, the events in them, and when the last one came."""

    windows: int = 0
    events: int = 0
    last: float = 0.0

    def take(self, consumer: Consumer, timeout_s: float) -> bool:
        """Take what there is; False: nothing came in time."""
        first = consumer.poll(timeout_s or QUICK_LOOK_S)
        if first is None:
            return False
        for message in [first, *consumer.consume(SEND_RECORDS, 0)]:
            if message.error() is None:
                self.windows += 1
                self.events += int(message.value() or b"0")
        self.last = time.monotonic()
        return True


def _load(bootstrap: str, topic: str, events: list[Event], *, is_one_each: bool = False) -> None:
    """Send an order for each; is_one_each: to the partitions in turn."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 20})
    for number, (key, at) in enumerate(events):
        partition = number if is_one_each else BY_KEY
        producer.produce(topic, order_json(key, 1), key.encode(), partition=partition, timestamp=at)
        if number % SEND_RECORDS == 0:
            while len(producer) > SEND_RECORDS:
                producer.poll(0.01)
    if waiting := producer.flush(120):
        raise RuntimeError(f"loading {topic}: {waiting} records not delivered.")


def _longest_pause(directory: Path, since: float) -> float:
    lines = [line.split() for file in directory.iterdir() for line in file.read_text().splitlines()]
    return max([float(late) for at, late in lines if float(at) >= since], default=0.0)
