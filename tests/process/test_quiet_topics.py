"""Rows that come due by event time on real Kafka: also when nothing comes any more, and once, whatever is killed."""

from __future__ import annotations

import os
import signal

from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send
from tests.process.waiting import eventually

KEYS = 400


def test_windows_of_a_quiet_topic_close_by_themselves_once_over_kill_9(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str, reader: Reader
) -> None:
    """The last windows close though nothing comes; a worker that is killed in between repeats and loses none."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", 2)
    run = running("tests.process.timed_apps:timed", idle_timeout=0.2, close_idle_after=1.5)
    run.start(workers=1)
    run.until_running()
    send(bootstrap, f"{topic_prefix}in", [Row(f"k{number % KEYS}", b"v") for number in range(3 * KEYS)])
    out = f"{topic_prefix}out"
    run.until(lambda status: all(is_at_end(task.figures.times) for task in status.tasks), "status says why it waits")
    before = run.pid_of()
    eventually(lambda: reader.count(out) > 0, 60, "the first windows come out")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: total(reader, out) >= 3 * KEYS, 120, "all windows come out", told=run.log_end)
    rows = [row for those in reader.rows(out).values() for row in those]
    keys = [row.key for row in rows]
    assert len(set(keys)) == len(keys), "a window was closed twice"
    assert total(reader, out) == 3 * KEYS
    assert run.table("windows") == {}
    assert run.table("late") == {}
    assert run.drain() == 0, run.log_end()


def total(reader: Reader, topic: str) -> int:
    """What all windows come to that were closed and committed."""
    return sum(int(row.value) for rows in reader.rows(topic).values() for row in rows if row.value is not None)


def is_at_end(times: tuple[str, ...]) -> bool:
    """Status says that nothing holds time back but that nothing comes."""
    return len(times) == 1 and times[0].startswith("event time of windows: 2") and "at their ends" in times[0]
