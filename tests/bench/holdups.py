"""Case holdups: what a slow, hanging or bad event costs the others of its worker (issue 10).

A busy agent takes 2,000 events/s in one worker. Its age, at any moment, is that of its oldest event whose result nobody
can read yet, by the monotonic clock of the sender and of a read_committed observer of the output.
"""

from __future__ import annotations

import re
import signal
import time
from bisect import bisect_right
from collections.abc import Container, Sequence
from contextlib import ExitStack

import msgspec
from confluent_kafka import Consumer, Message

from .application import Application
from .apps import output_topic
from .bench import Bench
from .clock import pause
from .holdup_apps import BAD_AMOUNT, HANGS_AT, SLOW_PARTITIONS
from .latency import observer, pace_command
from .orders import PARTITIONS, account, keyed_orders, load, order_json
from .processes import Processes
from .steady import percentile

RATE = 2_000
# More than the slow ones take.
SLOW_RATE = 40
SAMPLE_S = 0.01
# Nothing comes for so long: nothing more will.
QUIET_S = 10.0
BURST = 20_000
# Nothing is committed before all of the burst has been taken.
BURST_COMMIT_S = 2
# Longer than the 10 s that a callback, or a store, takes.
ASSIGN_S = 16.0
# What is beside the busy one -> how many partitions the topic of that has; none: it reads the busy one's.
BESIDE = {"alone": 0, "other_group": PARTITIONS - 1, "same_task": PARTITIONS, "same_topic": 0, "function": PARTITIONS}
QUICK = ("same_task", "endless")


class Result(msgspec.Struct):
    """The part of a result that matters here. sent_at: nanoseconds of the monotonic clock."""

    sent_at: int
    amount: int


# (sent, arrived): seconds of the monotonic clock; the partition.
Arrival = tuple[float, float, int]


def measure_holdups(bench: Bench) -> None:
    """Measure all of it; at quick sizes what takes little time."""
    for work in BESIDE:
        if not bench.quick or work in QUICK:
            _beside(bench, work, bench.sizes.holdup_s)
    # With so little room the reader of the event that never ends has to be left behind at the quick size too.
    _beside(bench, "endless", bench.sizes.endless_s, _SMALL if bench.quick else None)
    _bad_value(bench)
    if not bench.quick:
        for what in ("callback", "store"):
            _assigned(bench, what)


_SMALL = {"stream_buffer_records_max": "2000", "stall_report": "1"}


class _Scene:
    """One app with one worker, its topics, and the observer of its output."""

    def __init__(self, bench: Bench, work: str, settings: dict[str, str] | None = None, *, workers: int = 1) -> None:
        self.bench = bench
        self.run = bench.new_run()
        self.source = bench.empty_input("paced")
        self.slow_source = f"{self.source}-slow"
        if partitions := BESIDE.get(work, 0):
            bench.topics.create(self.slow_source, partitions=partitions)
        output = output_topic(work, self.run)
        bench.topics.create(output)
        self.app = Application(
            bench.bootstrap,
            work,
            self.run,
            self.source,
            bench.directory,
            settings or {},
            module="holdup_apps",
            workers=workers,
        )
        self.consumer = observer(bench.bootstrap, output)

    def __enter__(self) -> _Scene:
        self.app.start()
        self.app.wait_until_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.app.kill()
        self.consumer.close()
        self.bench.topics.delete_of(self.run)
        self.bench.topics.delete([name for name in self.bench.topics.names() if name == self.slow_source])

    def pace(self, topic: str, rate: int, seconds: float) -> Processes:
        """Start to send to a topic."""
        log = self.bench.directory / f"pace-{self.bench.new_run()}"
        return Processes([pace_command(self.bench.bootstrap, topic, "keyed", rate, seconds)], {}, log)

    def collect(self, count: int, seconds: float) -> list[Arrival]:
        """Results until so many came, or none for a while."""
        arrivals: list[Arrival] = []
        last = time.monotonic() + seconds
        decode = msgspec.json.Decoder(Result).decode
        while len(arrivals) < count and time.monotonic() < last + QUIET_S:
            for message, now in _messages(self.consumer):
                arrivals.append((decode(message.value() or b"").sent_at / 1e9, now, message.partition() or 0))
        if len(arrivals) != count:
            raise RuntimeError(
                f"{count:,} were sent and {len(arrivals):,} results came:\n{self.app.processes.log_end()}"
            )
        return arrivals


def _messages(consumer: Consumer) -> list[tuple[Message, float]]:
    """What comes next, and when it did."""
    first = consumer.poll(0.1)
    if first is None:
        return []
    now = time.monotonic()
    return [(message, now) for message in [first, *consumer.consume(5_000, 0)] if message.error() is None]


def ages(arrivals: Sequence[tuple[float, float]], start: float, end: float) -> list[float]:
    """The age of the oldest event without a result, every SAMPLE_S from `start` to `end`. arrivals: (sent, arrived)."""
    ordered = sorted(arrivals, key=lambda pair: pair[1])
    arrived = [at for _, at in ordered]
    oldest = [float("inf")] * (len(ordered) + 1)
    for index in range(len(ordered) - 1, -1, -1):
        oldest[index] = min(ordered[index][0], oldest[index + 1])
    count = int((end - start) / SAMPLE_S)
    moments = [start + number * SAMPLE_S for number in range(count)]
    return [max(0.0, at - oldest[bisect_right(arrived, at)]) for at in moments]


def _add(
    bench: Bench, case: str, arrivals: Sequence[Arrival], held: Container[int], warm_up: float, note: str = ""
) -> None:
    """held: the partitions with something beside the busy one; the others tell what the machine itself costs."""
    sent = [at for at, _, _ in arrivals]
    for where, wanted in (("", True), ("others' ", False)):
        some = [(sent, arrived) for sent, arrived, partition in arrivals if (partition in held) == wanted]
        if some:
            found = ages(some, min(sent) + warm_up, max(sent))
            bench.report.add(case, f"{where}median age s", percentile(found, 50), note)
            bench.report.add(case, f"{where}worst age s", max(found), note)


def _beside(bench: Bench, work: str, seconds: float, settings: dict[str, str] | None = None) -> None:
    warm_up = 0.5 if bench.quick else 5.0
    with _Scene(bench, work, settings) as scene, ExitStack() as stack:
        if BESIDE.get(work):
            stack.callback(scene.pace(scene.slow_source, SLOW_RATE, seconds).stop)
        stack.callback(scene.pace(scene.source, RATE, seconds).stop)
        arrivals = scene.collect(int(RATE * seconds), seconds)
        if work == "endless":
            _look_at_endless(bench, scene)
    everywhere = work in ("alone", "other_group")
    held = range(PARTITIONS) if everywhere else HANGS_AT[:1] if work == "endless" else SLOW_PARTITIONS
    _add(bench, f"holdups {work}", arrivals, held, warm_up, f"{len(arrivals):,} events at {RATE:,}/s")


def _look_at_endless(bench: Bench, scene: _Scene) -> None:
    """The event is named in status, and once in the log."""
    where = re.escape(f"event {scene.source}[{HANGS_AT[0]}]@{HANGS_AT[1]} of {scene.run}-enrich has been running for ")
    status = scene.app.status()
    named = (
        [task.figures.error for task in status.tasks if re.match(where, task.figures.error or "")]
        if status is not None
        else []
    )
    told = re.findall(where, scene.app.processes.log.read_text(errors="replace"))
    bench.report.add("holdups endless", "named in status", len(named), named[0] or "" if named else "")
    bench.report.add("holdups endless", "named in log", len(told))


def _bad_value(bench: Bench) -> None:
    """A burst, then a value that cannot be encoded, with nothing of it committed."""
    with _Scene(bench, "unencodable", {"commit_interval": str(BURST_COMMIT_S), "error_backoff": "0"}) as scene:
        orders = keyed_orders(BURST)
        bad = {"key": account(1).encode(), "value": order_json(account(1), BAD_AMOUNT)}
        load(bench.bootstrap, scene.source, iter([[*orders, bad]]))
        began = time.monotonic()
        arrivals = scene.collect(BURST + 1, 0.0)
        # Nothing may come twice, a moment later either.
        late = time.monotonic() + 2.0
        doubled = 0
        while time.monotonic() < late:
            doubled += len(_messages(scene.consumer))
        status = scene.app.wait_for(
            lambda status: sum(w.figures.dead_letters_total for w in status.workers) == 1, "one letter"
        )
        rollbacks = sum(worker.figures.rollbacks_total for worker in status.workers)
    note = f"with a commit every {BURST_COMMIT_S} s; {rollbacks} rollbacks, 1 dead letter"
    bench.report.add("holdups unencodable", "all committed s", max(at for _, at, _ in arrivals) - began, note)
    bench.report.add("holdups unencodable", "doubled", doubled)


def _assigned(bench: Bench, what: str) -> None:
    """Another worker's tasks come, and take 10 s to open; what ran here goes on."""
    seconds = ASSIGN_S + 6.0
    with ExitStack() as stack:
        scene = _Scene(bench, "assigning", workers=2)
        scene.app.environment[f"BENCH_SLOW_{what.upper()}"] = "1"
        stack.enter_context(scene)
        status = scene.app.wait_until_running()
        stayed = {int(task.task.rpartition("_")[2]) for task in status.tasks if task.slot == 0}
        stack.callback(scene.pace(scene.source, RATE, seconds).stop)
        pause(3.0)
        scene.app.processes.signal(signal.SIGTTOU)
        arrivals = scene.collect(int(RATE * seconds), seconds)
    moved = [arrived - sent for sent, arrived, partition in arrivals if partition not in stayed]
    there = [arrival for arrival in arrivals if arrival[2] in stayed]
    _add(bench, f"holdups {what}", there, stayed, 2.0, f"the tasks that came were {max(moved):.1f} s late")
