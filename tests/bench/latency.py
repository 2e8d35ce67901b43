"""Case latency: how long a record takes from its producer, through an app, to a read_committed consumer.

Default settings, 10,000 events/s. It decides which records count; how the app commits is the app's matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, TopicPartition

from .apps import output_topic
from .bench import Bench
from .orders import PARTITIONS
from .processes import Processes
from .steady import percentile

RATE = 10_000
# Both apps' outputs have the time of sending in them; the rest of the record is not looked at.
QUIET_S = 10.0
NANOSECONDS_PER_MS = 1e6


class Sent(msgspec.Struct):
    """The part of a result that matters here. sent_at: nanoseconds of the monotonic clock."""

    sent_at: int


def measure_latency(bench: Bench) -> None:
    """Measure without an app, through one map, and through group_by + count, on a broker that has worked a while."""
    _run(bench, "regrouped", "scattered", bench.guarantees[0], bench.sizes.broker_warm_up_s)
    _measure_direct(bench)
    for work, kind in (("mapping", "keyed"), ("regrouped", "scattered")):
        for guarantee in bench.guarantees:
            arrivals = _run(bench, work, kind, guarantee, bench.sizes.latency_s)
            _add(bench, f"latency {work} {guarantee}", arrivals)


def _measure_direct(bench: Bench) -> None:
    """What producer, broker and observer take among themselves: the floor under the other figures."""
    source = bench.empty_input("paced")
    consumer = observer(bench.bootstrap, source)
    try:
        arrivals = _paced(bench, lambda: None, consumer, source, "keyed", bench.sizes.latency_s)
    finally:
        consumer.close()
    _add(bench, "latency direct", arrivals)


def _run(bench: Bench, work: str, kind: str, guarantee: str, seconds: float) -> list[tuple[int, int]]:
    """Pace records through an app of its own for so long; returns (sent, arrived) of each."""
    run = bench.new_run()
    source, output = bench.empty_input("paced"), output_topic(work, run)
    bench.topics.create(output)
    app = bench.application(work, run, source, processing_guarantee=guarantee)
    consumer = observer(bench.bootstrap, output)
    try:
        app.start()
        app.wait_until_running()
        arrivals = _paced(bench, app.processes.check, consumer, source, kind, seconds)
        app.stop()
    finally:
        app.kill()
        consumer.close()
        bench.topics.delete_of(run)
    return arrivals


def _add(bench: Bench, case: str, arrivals: list[tuple[int, int]]) -> None:
    """arrivals: (sent, arrived), nanoseconds of the monotonic clock."""
    counted_from = min(sent for sent, _ in arrivals) + int(bench.sizes.latency_warm_up_s * 1e9)
    delays = [(arrived - sent) / NANOSECONDS_PER_MS for sent, arrived in arrivals if sent >= counted_from]
    note = f"{len(delays):,} records at {RATE:,}/s"
    bench.report.add(case, "p50 ms", percentile(delays, 50), note)
    bench.report.add(case, "p99 ms", percentile(delays, 99), note)
    bench.report.add(case, "max ms", max(delays), note)


def observer(bootstrap: str, topic: str) -> Consumer:
    """A consumer of the whole output, from its beginning."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-observer",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    return consumer


def _paced(
    bench: Bench, check: Callable[[], None], consumer: Consumer, source: str, kind: str, seconds: float
) -> list[tuple[int, int]]:
    """Have records sent for so long, and collect (sent, arrived) of what comes out until as many came as were sent.

    check: called when nothing comes; raises when nothing can come any more.

    Raises:
        RuntimeError: results are missing, or (exactly once promises it) there are too many.
    """
    expected = int(RATE * seconds)
    pacer = Processes([pace_command(bench.bootstrap, source, kind, RATE, seconds)], {}, _pace_log(bench))
    decode = msgspec.json.Decoder(Sent).decode
    arrivals: list[tuple[int, int]] = []
    heard_at = time.monotonic()
    try:
        while len(arrivals) < expected:
            # consume(n) waits until n records are there: one is waited for, and the others are taken along.
            first = consumer.poll(0.1)
            if first is None:
                if time.monotonic() - heard_at > QUIET_S + seconds:
                    break
                check()
                continue
            messages = [first, *consumer.consume(5_000, 0)]
            now = time.monotonic_ns()
            heard_at = time.monotonic()
            for message in messages:
                error, value = message.error(), message.value()
                if error is not None:
                    raise RuntimeError(f"the observer of the output reports: {error}")
                arrivals.append((decode(value or b"").sent_at, now))
    finally:
        pacer.stop()
    if len(arrivals) != expected:
        raise RuntimeError(f"{expected:,} records were sent and {len(arrivals):,} results came:\n{pacer.log_end()}")
    return arrivals


def pace_command(bootstrap: str, topic: str, kind: str, rate: int, seconds: float, rows: int = 0) -> list[str]:
    """The command line of a pacing producer."""
    command = ["-m", "tests.bench.pace", kind, "--bootstrap", bootstrap, "--topic", topic]
    return [*command, "--rate", str(rate), "--seconds", str(seconds), "--rows", str(rows)]


def _pace_log(bench: Bench) -> Path:
    return bench.directory / f"pace-{bench.new_run()}"
