"""What of the coordinator's own ends or raises unseen: it is said, and a host that can hear nobody ends (issue 11)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.conftest import StartApp
from tests.process.running import Running

BREAKER = Path(__file__).with_name("break_inside.py")


@pytest.fixture
def run(running: StartApp, make_topic: MakeTopic, topic_prefix: str) -> Running:
    """An app that runs, in a process that something can be broken in."""
    make_topic(f"{topic_prefix}in", 2)
    make_topic(f"{topic_prefix}out", 2)
    run = running("obedient")
    os.mkfifo(run.directory / "wish")
    run.within = (sys.executable, str(BREAKER), str(run.directory / "wish"))
    run.start(1)
    run.until_running()
    return run


def wish(run: Running, text: str) -> None:
    """Have it broken now."""
    (run.directory / "wish").write_text(text)


@pytest.mark.parametrize(
    ("thread", "what"), [("control-reader", "reads the control topic"), ("status-bus", "hears other hosts")]
)
def test_a_host_ends_whose_thread_has_ended_by_itself(run: Running, thread: str, what: str) -> None:
    """With workers that go on it would hear nobody, for good. systemd starts it again."""
    wish(run, f"thread {thread}")
    assert run.wait() == ExitCode.CRASH_LOOP
    assert f"the thread that {what} has ended by itself" in run.log()


def test_a_callback_that_raises_is_said_and_all_goes_on(run: Running) -> None:
    """In the log with its place, and in the status."""
    wish(run, "loop")
    status = run.until(lambda status: status.dropped, "the status shows it")
    assert [(one.place, one.count) for one in status.dropped] == [("the coordinator itself", 1)]
    run.until_logged("a callback that nobody foresaw")
    assert "break_inside.py" in run.log()
    assert run.drain() == 0
