"""Processes that users' code starts: signals end them as anywhere, and none of them outlives its worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send
from tests.process.running import Running, is_dead
from tests.process.waiting import eventually

APP = "tests.process.children:app"
TAKES_TERM = "-15"
ENDS = {
    "execute": TAKES_TERM,
    "execute in a thread": TAKES_TERM,
    "fork": TAKES_TERM,
    "spawn": TAKES_TERM,
    "forkserver": TAKES_TERM,
    "exit": "7",
    "raise": "1",
    "kill": TAKES_TERM,
    # It comes back as what it is not: a second worker.
    "go on": "1",
}


@pytest.fixture
def run(running: StartApp, make_topic: MakeTopic, topic_prefix: str) -> Running:
    """The app, running with one worker."""
    for name in ("in", "out"):
        make_topic(f"{topic_prefix}{name}", 1)
    run = running(APP)
    run.start(1)
    run.until_running()
    return run


def ask(run: Running, reader: Reader, bootstrap: str, prefix: str, *what: str) -> dict[str, str]:
    """What the agent answers."""
    send(bootstrap, f"{prefix}in", [Row(one, one.encode()) for one in what])
    eventually(lambda: reader.count(f"{prefix}out") >= len(what), 60, "all is answered", run.log_end)
    rows = [row for rows in reader.rows(f"{prefix}out").values() for row in rows]
    return {str(row.key): (row.value or b"").decode() for row in rows}


def test_children_take_signals_and_do_not_go_on_as_workers(
    run: Running, reader: Reader, topic_prefix: str, bootstrap: str
) -> None:
    """TERM ends each of them; one that is forked ends where users' code ends, with what that raised."""
    assert ask(run, reader, bootstrap, topic_prefix, *ENDS) == ENDS
    run.signal(signal.SIGTERM)
    assert run.wait() == 0


def kill_worker(run: Running) -> None:
    """As a lack of memory does."""
    os.kill(run.pid_of(), signal.SIGKILL)


def kill_coordinator(run: Running) -> None:
    """Nobody is left who could end anything in order."""
    run.signal(signal.SIGKILL)


def kill_group(run: Running) -> None:
    """As a terminal, or whoever started it, may: the coordinator and all that it has in its group."""
    os.killpg(run.process.pid, signal.SIGKILL)


def drain(run: Running) -> None:
    """As systemd does."""
    run.signal(signal.SIGTERM)


def interrupt_group(run: Running) -> None:
    """As Ctrl-C in a terminal."""
    os.killpg(run.process.pid, signal.SIGINT)


@pytest.mark.parametrize("end", [kill_worker, kill_coordinator, kill_group, drain, interrupt_group])
def test_no_child_outlives_its_worker(
    run: Running, reader: Reader, topic_prefix: str, bootstrap: str, end: Callable[[Running], None]
) -> None:
    """However the worker ends, or what started it: a program, its own child, a process of a pool."""
    assert ask(run, reader, bootstrap, topic_prefix, "leave") == {"leave": "left"}
    family = psutil.Process(run.pid_of()).children(recursive=True)
    assert len(family) >= 4
    end(run)
    eventually(lambda: all(map(is_dead, family)), 20, "none is left", lambda: f"{family}\n{run.log_end()}")
