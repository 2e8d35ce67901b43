"""`streamcluster status` as text: aligned, complete, and with the reasons of what went wrong."""

from __future__ import annotations

import unicodedata

import msgspec

from streamcluster.protocol.messages import OPEN_MAX, TaskFigures, TimedFigures, WorkerFigures
from streamcluster_coordinator.cli.view import aligned, status_text
from streamcluster_coordinator.records.status import (
    DroppedStatus,
    HostStatus,
    Status,
    TaskStatus,
    WorkerStatus,
    as_json,
)

STATUS = Status(
    app="shop",
    host="here",
    pid=10,
    state="running",
    broker="localhost:9092",
    broker_state="up",
    processing_guarantee="exactly_once",
    epoch=1,
    uptime=200.0,
    workers=(
        WorkerStatus(
            slot=0,
            pid=12,
            state="running",
            leader=True,
            tasks=("4_0",),
            figures=WorkerFigures(events_total=12_000, rss_bytes=80 * 1024 * 1024, memory_bytes=384 * 1024 * 1024),
        ),
    ),
    tasks=(TaskStatus(task="4_0", slot=0, state="running", figures=TaskFigures(lag={"orders": 1200, "clicks": 0})),),
    topology_hash="abc",
)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """Cells line up, and no line ends with blanks."""
    assert list(aligned(("A", "LONG"), [("wide cell", "x"), ("y", "")])) == [
        "A          LONG",
        "wide cell  x",
        "y",
    ]


def test_a_very_wide_cell_moves_no_other_row() -> None:
    """A key may be of any length."""
    wide = "k" * 5000
    assert list(aligned(("KEY", "VALUE"), [(wide, "1"), ("home", "2")])) == ["KEY   VALUE", f"{wide}  1", "home  2"]


def test_what_is_the_same_of_several_tables_and_tasks_is_said_once() -> None:
    """With ten tables and a hundred tasks it would be a thousand lines; what differs is said of each."""
    upload, live = "2026-11-29T12:00:00.000+00:00; all inputs are at their ends", "not known yet; it waits for a[2]"
    times = {
        "4_0": (f"event time of minutes: {upload}", f"event time of hours: {upload}", "time of ttl: that of the clock"),
        "4_1": (f"event time of minutes: {upload}", f"event time of hours: {upload}", "time of ttl: that of the clock"),
        "4_2": (f"event time of minutes: {live}", f"event time of hours: {upload}"),
    }
    tasks = tuple(
        TaskStatus(task=task, slot=0, state="running", figures=TaskFigures(times=said)) for task, said in times.items()
    )
    assert [
        line
        for line in status_text(msgspec.structs.replace(STATUS, tasks=tasks)).splitlines()
        if line.startswith("task")
    ] == [
        f"tasks 4_0, 4_1: event time of minutes, hours: {upload}",
        "tasks 4_0, 4_1: time of ttl: that of the clock",
        f"task 4_2: event time of minutes: {live}",
        f"task 4_2: event time of hours: {upload}",
    ]


def test_the_text_shows_app_workers_tasks_and_lag() -> None:
    """One snapshot of a healthy app, whole."""
    assert status_text(STATUS).splitlines() == [
        "shop is running, up 3 min 20 s: exactly once, broker localhost:9092 answers, pid 10 on here",
        "",
        "WORKER    STATE    PID  TASKS  EVENTS/S  EVENTS  COMMITS  DEAD LETTERS  MEMORY         RESTARTS",
        "0 leader  running  12   1      0         12,000  0        0             80 of 384 MiB  0",
        "",
        "TASK  WORKER  STATE    BEHIND",
        "4_0   0       running  clicks[0] 0, orders[0] 1,200",
    ]


def test_the_text_adds_up_windows_over_tasks() -> None:
    """Those of a task that has more than are counted are said to be so many or more; without any there is nothing."""
    few = TaskFigures(timed={"views": TimedFigures(open=3, closed=2000, late=1)})
    many = TaskFigures(timed={"views": TimedFigures(open=OPEN_MAX, closed=1, ahead=4), "pay-join": TimedFigures()})
    tasks = tuple(TaskStatus(task=f"4_{n}", slot=0, state="running", figures=one) for n, one in enumerate((few, many)))
    lines = status_text(msgspec.structs.replace(STATUS, tasks=tasks)).splitlines()
    assert lines[-3:] == [
        "WINDOWS, JOINS  OPEN           CLOSED  LATE  TOO FAR AHEAD",
        "pay-join        0              0       0     0",
        "views           1,003 or more  2,001   1     4",
    ]
    shown = as_json(msgspec.structs.replace(STATUS, tasks=tasks))
    assert shown["tasks"][0]["timed"] == {"views": {"open": 3, "closed": 2000, "late": 1, "ahead": 0}}


def test_the_text_says_which_path_records_take() -> None:
    """Once for all workers that have a client, or for each, with the reason, where they differ."""
    one = msgspec.structs.replace(STATUS.workers[0], figures=WorkerFigures(native=True))
    none = msgspec.structs.replace(one, slot=1, figures=WorkerFigures())
    lines = status_text(msgspec.structs.replace(STATUS, workers=(one, none))).splitlines()
    assert lines[1:3] == ["records go to the client in C", ""]

    other = msgspec.structs.replace(one, slot=1, figures=WorkerFigures(native=False, native_not="no compiler"))
    lines = status_text(msgspec.structs.replace(STATUS, workers=(one, other))).splitlines()
    assert lines[1] == "worker 0: records go to the client in C"
    assert lines[2].startswith("worker 1: records go to the client from Python")
    assert lines[2].endswith(": no compiler")


def test_figures_are_among_the_fields_of_their_row_in_json() -> None:
    """Whoever reads the JSON finds the counters of a worker and the lag of a task where they always were."""
    (worker,), (task,) = (as_json(STATUS)[rows] for rows in ("workers", "tasks"))
    assert (worker["slot"], worker["events_total"], worker["native"]) == (0, 12_000, None)
    assert (task["task"], task["lag"]) == ("4_0", {"orders": 1200, "clicks": 0})
    assert "figures" not in worker | task


def test_the_text_shows_restore_restarts_and_errors() -> None:
    """Progress with the time left, why a worker was replaced, and what a task failed with."""
    restoring = TaskStatus(
        task="4_0", slot=0, state="restoring", restore_eta=70.0, figures=TaskFigures(restored=10, restore_total=90)
    )
    failing = TaskStatus(task="4_1", slot=None, state="failing", figures=TaskFigures(error="KeyError: 'x'"))
    replaced = msgspec.structs.replace(STATUS.workers[0], restarts=2, last_death="killed by signal 9")
    text = status_text(
        msgspec.structs.replace(STATUS, broker_state="down", workers=(replaced,), tasks=(restoring, failing))
    )

    assert "broker localhost:9092 DOES NOT ANSWER" in text
    assert "10 of 90, 1 min 10 s left" in text
    assert "worker 0 was replaced 2 times, the last time because: killed by signal 9" in text
    assert "task 4_1: KeyError: 'x'" in text


HOSTILE = "\x1b]0;PWNED\x07\nshop is fine\x9b2J\x7f\u202e"


def test_what_other_hosts_say_moves_no_cursor_and_forges_no_line() -> None:
    """Names, machines, racks, addresses, reasons and errors come from reports of others."""
    here = HostStatus(host="here", state="member", slots=1)
    there = HostStatus(host=HOSTILE, state="member", slots=1, machine=HOSTILE, rack=HOSTILE, peer=HOSTILE)
    worker = msgspec.structs.replace(
        STATUS.workers[0], restarts=1, last_death=HOSTILE, figures=WorkerFigures(note=HOSTILE)
    )
    task = TaskStatus(task="4_1", slot=None, owner=HOSTILE, state="failing", figures=TaskFigures(error=HOSTILE))

    text = status_text(msgspec.structs.replace(STATUS, hosts=(here, there), workers=(worker,), tasks=(task,)))
    assert r"\x1b]0;PWNED\x07\x0ashop is fine\x9b2J\x7f\u202e" in text
    assert not [one for one in text if unicodedata.category(one) in ("Cc", "Cf") and one != "\n"]
    assert "shop is fine" not in [line[:12] for line in text.splitlines()]


def test_keys_of_a_table_move_no_cursor() -> None:
    """A key is what somebody has written; a row is one line."""
    lines = list(aligned(("KEY", "VALUE"), [(HOSTILE, "1")]))
    assert len("\n".join(lines).splitlines()) == 2
    assert not [one for one in lines[1] if unicodedata.category(one) in ("Cc", "Cf")]


def test_what_was_not_used_is_shown_with_its_place_and_reason() -> None:
    """Records of the app's own topics, and requests; and a host whose rows cannot be read."""
    dropped = (DroppedStatus(place="topic shop-status", count=1_200, last="the record at offset 5 is no report"),)
    hosts = (HostStatus(host="here", state="member", trouble="nonsense"),)
    text = status_text(msgspec.structs.replace(STATUS, dropped=dropped, hosts=hosts))

    assert text.splitlines()[-2:] == [
        "host here: what it tells of its workers and tasks cannot be read: nonsense",
        "topic shop-status: 1,200 not used, the last: the record at offset 5 is no report",
    ]
