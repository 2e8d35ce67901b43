"""What an operator sees while the app runs: which changes get a line, how a restore is shown, and the terminal bar."""

from __future__ import annotations

import io

import msgspec
import pytest

from streamcluster.protocol.messages import LONG_EVENT, TaskFigures, WorkerFigures
from streamcluster_coordinator.number_words import count, seconds
from streamcluster_coordinator.records.status import Status, TaskStatus, WorkerStatus
from streamcluster_coordinator.shell.presentation import BarStream, RestoreProgress, banner, changes

WORKER = WorkerStatus(slot=0, pid=12, state="running", tasks=("4_0", "4_1"))
TASKS = (TaskStatus(task="4_0", slot=0, state="running"), TaskStatus(task="4_1", slot=0, state="running"))
RUNNING = Status(
    app="shop",
    host="here",
    pid=10,
    state="running",
    broker="localhost:9092",
    broker_state="up",
    processing_guarantee="exactly_once",
    epoch=1,
    uptime=1.0,
    workers=(WORKER,),
    tasks=TASKS,
    topology_hash="abc",
)


def lines(before: Status | None, now: Status) -> list[tuple[str, str]]:
    """Level and text of each change."""
    return [(change.level, change.text) for change in changes(before, now)]


def test_an_unchanged_snapshot_says_nothing() -> None:
    """Two snapshots a second must not become two lines a second, even when counters grow."""
    busier = msgspec.structs.replace(
        RUNNING, uptime=2.0, workers=(msgspec.structs.replace(WORKER, figures=WorkerFigures(events_total=9)),)
    )

    assert lines(RUNNING, busier) == []


def test_the_first_snapshot_says_who_runs_what() -> None:
    """Tasks of one worker and state share a line."""
    assert lines(None, RUNNING) == [
        ("info", "worker 0 runs (pid 12)"),
        ("info", "worker 0 runs 2 tasks (4_0, 4_1)"),
    ]


def test_a_replaced_worker_says_why() -> None:
    """The reason of the death is in the line, as a warning."""
    replaced = msgspec.structs.replace(WORKER, pid=13, restarts=1, last_death="killed by signal 9")

    assert lines(RUNNING, msgspec.structs.replace(RUNNING, workers=(replaced,))) == [
        ("warning", "worker 0 was replaced: killed by signal 9"),
        ("info", "worker 0 runs (pid 13)"),
    ]


def test_a_worker_without_a_successor_is_not_called_replaced() -> None:
    """While it backs off, and when the app stops for its reason, it has ended."""
    ended = msgspec.structs.replace(WORKER, pid=None, restarts=1, state="backing_off", last_death="the disk is full")

    assert lines(RUNNING, msgspec.structs.replace(RUNNING, workers=(ended,)))[0] == (
        "warning",
        "worker 0 ended: the disk is full",
    )


def test_a_failing_task_shows_its_error() -> None:
    """An error gets its own line on level error."""
    failing = msgspec.structs.replace(
        TASKS[1], state="failing", figures=TaskFigures(error="KeyError: 'x' in agent count")
    )

    assert lines(RUNNING, msgspec.structs.replace(RUNNING, tasks=(TASKS[0], failing))) == [
        ("error", "task 4_1 is failing: KeyError: 'x' in agent count"),
    ]


def test_an_event_that_runs_for_long_is_left_to_its_worker() -> None:
    """The worker says it once; its text changes with every second, which is not a line each."""
    for seconds_ in (12, 13):
        long = msgspec.structs.replace(
            TASKS[1], figures=TaskFigures(error=f"event clicks[3]@1234 of shop.enrich {LONG_EVENT} {seconds_} s")
        )
        assert lines(RUNNING, msgspec.structs.replace(RUNNING, tasks=(TASKS[0], long))) == []


def test_broker_loss_and_return_are_said() -> None:
    """Going and coming back are one line each."""
    down = msgspec.structs.replace(RUNNING, broker_state="down")

    assert lines(RUNNING, down) == [("warning", "no broker answers at localhost:9092: waiting for it, nothing is lost")]
    assert lines(down, RUNNING) == [("info", "the broker at localhost:9092 answers again")]


def test_a_moved_task_is_said() -> None:
    """A task that changes its worker gets a line of the new one."""
    moved = msgspec.structs.replace(TASKS[1], slot=1)

    assert lines(RUNNING, msgspec.structs.replace(RUNNING, tasks=(TASKS[0], moved))) == [
        ("info", "worker 1 runs task 4_1")
    ]


def test_the_restore_sums_tasks_and_takes_the_slowest() -> None:
    """Done and to do are sums; the time left is that of the task that takes longest."""
    one = TaskStatus(
        task="4_0", slot=0, state="restoring", restore_eta=4.0, figures=TaskFigures(restored=500, restore_total=1000)
    )
    two = TaskStatus(
        task="4_1",
        slot=0,
        state="restoring",
        restore_eta=75.0,
        figures=TaskFigures(restored=0, restore_total=2_000_000),
    )

    restore = RestoreProgress.of(msgspec.structs.replace(RUNNING, tasks=(one, two)))

    assert restore is not None
    assert restore.text() == "restoring 2 tasks: 500 of 2.0M records, 1 min 15 s left"
    assert RestoreProgress.of(RUNNING) is None


def test_the_banner_says_app_size_guarantee_and_broker() -> None:
    """One line that a stranger can read."""
    assert banner(RUNNING) == ("shop: 1 worker, exactly once, broker localhost:9092 (pid 10 on here)")


def test_a_log_line_takes_the_bar_away_first() -> None:
    """The bar never stays glued to a log line, and is no wider than the terminal."""
    screen = io.StringIO()
    stream = BarStream(screen, columns=10)

    stream.show("0123456789abc")
    stream.write("line\n")
    stream.write("line\n")

    assert screen.getvalue() == "\r\x1b[2K012345678\r\x1b[2Kline\nline\n"


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (12_300, "12,300"), (4_560_000, "4.6M")])
def test_counts_are_readable(number: int, text: str) -> None:
    """Thousands get a comma, millions a letter."""
    assert count(number) == text


@pytest.mark.parametrize(("number", "text"), [(0.44, "0.4 s"), (59.6, "1 min 0 s"), (12, "12 s"), (7500, "2 h 5 min")])
def test_durations_are_readable(number: float, text: str) -> None:
    """Short ones with a tenth, long ones in minutes and hours."""
    assert seconds(number) == text
