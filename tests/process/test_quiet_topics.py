"""Rows that come due by event time on real Kafka: also when nothing comes any more, and once, whatever is killed."""

from __future__ import annotations

import os
import signal

from streamcluster_coordinator.records.status import Status
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Feed, Reader, send
from tests.process.waiting import eventually, pause

KEYS = 400


def test_windows_of_a_quiet_topic_close_by_themselves_once_over_kill_9(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str, reader: Reader
) -> None:
    """The last windows close though nothing comes; a worker that is killed in between repeats and loses none."""
    for name in ("in", "out", "changed"):
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
    run.until(lambda status: closed(status) == len(keys), "status counts the windows that are closed")
    eventually(lambda: deleted(reader, f"{topic_prefix}changed") >= len(keys), 60, "all changes are told")
    for key, values in changes(reader, f"{topic_prefix}changed").items():
        # Of several writes in one commit the last is told.
        assert values[:-1] == sorted(set(values[:-1])), f"the changes of {key} are not told once, in their order"
    assert run.table("windows") == {}
    assert run.table("late") == {}
    assert run.drain() == 0, run.log_end()


def test_a_slow_task_before_a_group_by_makes_nothing_late_over_kill_9(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, bootstrap: str, reader: Reader
) -> None:
    """One task is more than a window behind the other: nothing is late, and each window closes once, when both are."""
    for name in ("in", "out", "late"):
        make_topic(f"{topic_prefix}{name}", 2)
    # A task that is idle before its first record, and comes back behind the other, would be left out.
    run = running("tests.process.timed_apps:regrouped", idle_timeout=60)
    run.start(workers=1)
    run.until_running()
    rows = [Row("k", f"page-{number % 3}".encode()) for number in range(500)]
    feeds = [Feed(bootstrap, f"{topic_prefix}in", iter(rows), rate=250, partition=number) for number in (0, 1)]
    for feed in feeds:
        feed.start()
    run.until(lambda status: any(is_held_back(task.figures.times) for task in status.tasks), "status names the task")
    os.kill(run.pid_of(), signal.SIGKILL)
    eventually(lambda: all(len(feed.acked) == len(rows) for feed in feeds), 60, "all is sent")
    for feed in feeds:
        feed.stop()
    pause(0.5)
    for number in (0, 1):
        # Of the next window: it closes those before it.
        send(bootstrap, f"{topic_prefix}in", [Row("k", b"last")], partition=number)
    out = f"{topic_prefix}out"
    eventually(lambda: sum(pages(reader, out)) >= 2 * len(rows), 120, "all windows come out", told=run.log_end)
    assert sum(pages(reader, out)) == 2 * len(rows)
    keys = [row.key for those in reader.rows(out).values() for row in those]
    assert len(set(keys)) == len(keys), "a window was closed twice"
    assert reader.count(f"{topic_prefix}late") == 0
    assert run.drain() == 0, run.log_end()


def pages(reader: Reader, topic: str) -> list[int]:
    """What each window of a page comes to."""
    rows = [row for those in reader.rows(topic).values() for row in those]
    return [int(row.value or b"0") for row in rows if row.key.startswith("page-")]


def is_held_back(times: tuple[str, ...]) -> bool:
    """The slow task is what the windows wait for."""
    return any(line.startswith("event time of pages") and "task 2_1, which writes it, is at" in line for line in times)


def total(reader: Reader, topic: str) -> int:
    """What all windows come to that were closed and committed."""
    return sum(int(row.value) for rows in reader.rows(topic).values() for row in rows if row.value is not None)


def closed(status: Status) -> int:
    """Windows, over all tasks."""
    return sum(task.figures.timed["windows"].closed for task in status.tasks if "windows" in task.figures.timed)


def changes(reader: Reader, topic: str) -> dict[str, list[int]]:
    """What was told of each window."""
    found: dict[str, list[int]] = {}
    for rows in reader.rows(topic).values():
        for row in rows:
            found.setdefault(str(row.key), []).append(int(row.value or b"-1"))
    return found


def deleted(reader: Reader, topic: str) -> int:
    """Windows of which a deletion was told, after what was counted."""
    return sum(len(values) > 1 and values[-1] == 0 for values in changes(reader, topic).values())


def is_at_end(times: tuple[str, ...]) -> bool:
    """Status says that nothing holds time back but that nothing comes."""
    return len(times) == 1 and times[0].startswith("event time of windows: 2") and "at their ends" in times[0]
