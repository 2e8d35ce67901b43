"""Workers that hang or die: stopped by a signal, caught in a busy loop, killed. Only the kernel's word frees tasks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send, values
from tests.process.running import Running
from tests.process.waiting import eventually

STALL: dict[str, Any] = {"stall_timeout": 3, "stall_report": 1}
Sent = list[Row]


@pytest.fixture
def feed(make_topic: MakeTopic, topic_prefix: str, bootstrap: str) -> Callable[[str, int], Sent]:
    """Makes the topics, and sends numbered values that begin with a word, over both partitions."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", 2)

    def send_rows(word: str, count: int) -> Sent:
        rows = [Row(f"k{number % 10}", f"{word}{number}".encode()) for number in range(count)]
        send(bootstrap, f"{topic_prefix}in", rows)
        return rows

    return send_rows


def assert_once(reader: Reader, prefix: str, run: Running, sent: Sent) -> None:
    """Every value is in the output once, and the table counts what was sent."""
    table = run.table("seen")
    assert run.drain() == 0, run.log_end()
    assert sorted(map(str, values(reader.rows(f"{prefix}out")))) == sorted(str(row.value) for row in sent)
    assert sum(table.values()) == len(sent)


def test_a_stopped_worker_is_killed_and_replaced(
    running: StartApp, reader: Reader, feed: Callable[[str, int], Sent], topic_prefix: str
) -> None:
    """SIGSTOP: after stall_timeout a new process has its tasks, and nothing is lost or twice."""
    sent = feed("before", 200)
    run = running("obedient", **STALL)
    run.start()
    run.until_caught_up()
    stopped = run.pid_of(1)

    os.kill(stopped, signal.SIGSTOP)
    sent += feed("while", 200)
    run.until(lambda status: status.workers[1].state == "stalled" or status.workers[1].restarts, "it is seen to stall")
    run.until(lambda status: status.workers[1].restarts == 1, "it was replaced")
    run.until_caught_up()

    worker = run.worker(1)
    assert worker.pid != stopped
    assert "without a heartbeat" in (worker.last_death or "")
    assert_once(reader, topic_prefix, run, sent)


def test_a_busy_loop_in_an_agent_is_shown_and_ended(
    running: StartApp, reader: Reader, feed: Callable[[str, int], Sent], topic_prefix: str, bootstrap: str
) -> None:
    """Its stack, with the agent's line, is logged before the worker is killed; the event is done again by the next."""
    sent = feed("before", 50)
    run = running("obedient", stall_report=1, stall_timeout=8)
    run.start()
    run.until_caught_up()

    send(bootstrap, f"{topic_prefix}in", [Row("k1", b"hang once")])
    sent += [Row("k1", b"hang once"), *feed("after", 50)]
    run.until(lambda status: any(worker.restarts for worker in status.workers), "the hanging worker was replaced")
    run.until_caught_up()

    assert "block_the_loop" in run.log()
    assert_once(reader, topic_prefix, run, sent)


def test_a_worker_whose_pump_stands_is_replaced_though_its_loop_turns(
    running: StartApp, reader: Reader, feed: Callable[[str, int], Sent], topic_prefix: str, bootstrap: str
) -> None:
    """It sends no heartbeat that would say that all is well (C2)."""
    sent = feed("before", 50)
    run = running("obedient", **STALL)
    run.start()
    run.until_caught_up()

    send(bootstrap, f"{topic_prefix}in", [Row("k1", b"stand once")])
    sent += [Row("k1", b"stand once"), *feed("after", 50)]
    run.until(lambda status: any(worker.restarts for worker in status.workers), "the standing worker was replaced")
    run.until_caught_up()

    assert "without a heartbeat" in "".join(worker.last_death or "" for worker in run.until_running().workers)
    assert_once(reader, topic_prefix, run, sent)


def test_stacks_of_all_processes_on_usr1(running: StartApp, feed: Callable[[str, int], Sent]) -> None:
    """USR1 to the coordinator: it and each worker write their stacks, and go on."""
    feed("v", 10)
    run = running("obedient")
    run.start()
    run.until_caught_up()
    before = run.log().count("Thread 0x")

    run.signal(signal.SIGUSR1)
    run.until(lambda _: run.log().count("most recent call first") >= 3, "three processes wrote their stacks")

    run.until_caught_up()
    assert run.log().count("Thread 0x") > before
    assert [worker.restarts for worker in run.until_running().workers] == [0, 0]
    assert run.drain() == 0


def test_a_killed_worker_keeps_its_tasks_and_restores_only_the_tail(
    running: StartApp, reader: Reader, feed: Callable[[str, int], Sent], topic_prefix: str
) -> None:
    """kill -9: the slot is filled again with the same tasks, and why is said."""
    sent = feed("before", 500)
    run = running("obedient")
    run.start()
    tasks = run.until_caught_up().workers[0].tasks

    os.kill(run.pid_of(0), signal.SIGKILL)
    sent += feed("after", 100)
    run.until(lambda status: status.workers[0].restarts == 1, "it was replaced")
    worker = run.until_caught_up().workers[0]

    assert worker.tasks == tasks
    assert "signal 9" in (worker.last_death or "")
    assert_once(reader, topic_prefix, run, sent)


def test_a_stopped_coordinator_holds_up_no_event(
    running: StartApp, reader: Reader, feed: Callable[[str, int], Sent], topic_prefix: str
) -> None:
    """Its sockets are full of heartbeats after 2 s (here; usually tens), and events go on to be committed."""
    sent = feed("before", 20)
    run = running("obedient", heartbeat_interval=0.005)
    run.start()
    run.until_caught_up()
    pids = [run.pid_of(slot) for slot in range(2)]

    run.signal(signal.SIGSTOP)
    begin, turn = time.monotonic(), 0

    def all_is_committed() -> bool:
        return reader.count(f"{topic_prefix}out") == len(sent)

    while time.monotonic() < begin + 6:
        sent += feed(f"turn {turn} ", 20)
        turn += 1
        eventually(all_is_committed, 10.0, "it is committed", run.log_end)
    run.signal(signal.SIGCONT)

    run.until_caught_up()
    assert [run.pid_of(slot) for slot in range(2)] == pids
    assert_once(reader, topic_prefix, run, sent)
