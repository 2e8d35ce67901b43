"""How a run ends, and what stops one from beginning: drain, second INT, exit codes, locks, rolling restarts."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.checker import Row
from tests.process.conftest import StartApp
from tests.process.records import Reader, send
from tests.process.running import REPOSITORY, UP_SECONDS
from tests.process.waiting import eventually


@pytest.fixture
def topics(make_topic: MakeTopic, topic_prefix: str) -> str:
    """Input and output with four partitions; returns the prefix."""
    for name in ("in", "out", "fast", "slow"):
        make_topic(f"{topic_prefix}{name}", 4)
    return topic_prefix


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_commits_everything_and_ends_with_0(
    running: StartApp, reader: Reader, topics: str, bootstrap: str, number: int
) -> None:
    """What was taken in is finished; outputs and committed offsets agree, and no process is left."""
    run = running("obedient")
    run.start()
    run.until_running()
    sent = send(bootstrap, f"{topics}in", [Row(f"k{n}", b"v") for n in range(5_000)])
    run.until(lambda status: sum(worker.figures.events_total for worker in status.workers) > 0, "records flow")

    run.signal(number)

    assert run.wait() == ExitCode.DRAINED
    committed = reader.committed(run.app_id, f"{topics}in", ended=True)
    out = {partition: len(rows) for partition, rows in reader.rows(f"{topics}out").items() if rows}
    assert out == {partition: offset for partition, offset in committed.items() if offset}
    assert 0 < sum(out.values()) <= len(sent)


def test_a_second_interrupt_ends_now(running: StartApp, reader: Reader, topics: str, bootstrap: str) -> None:
    """The first INT waits for the event in progress, the second does not; what is uncommitted is not passed."""
    send(bootstrap, f"{topics}in", [Row("k", b"a"), Row("k", b"long"), Row("k", b"c")], 2)
    run = running("paced", drain_timeout=300)
    run.start()
    run.until_running()
    eventually(lambda: reader.count(f"{topics}fast") == 3, 30, "the fast agent is done", run.log_end)
    eventually(lambda: reader.count(f"{topics}slow") == 1, 30, "the first event is committed", run.log_end)

    run.signal(signal.SIGINT)
    run.until(lambda status: status.state == "draining", "it drains")
    run.signal(signal.SIGINT)

    # The event takes longer than this waits.
    assert run.wait() == ExitCode.TEMPORARY_FAILURE
    assert reader.committed(run.app_id, f"{topics}in")[2] == 1


def test_a_drain_that_takes_too_long_ends_with_75(
    running: StartApp, reader: Reader, topics: str, bootstrap: str
) -> None:
    """After the drain time-out the event in progress is left, uncommitted, and the code says so."""
    send(bootstrap, f"{topics}in", [Row("k", b"long")], 2)
    run = running("paced", drain_timeout=2)
    run.start()
    # The fast agent has done it, so the slow one has it too.
    eventually(lambda: reader.count(f"{topics}fast") == 1, UP_SECONDS, "the event is begun", run.log_end)

    run.signal(signal.SIGTERM)

    assert run.wait() == ExitCode.TEMPORARY_FAILURE
    assert reader.count(f"{topics}slow") == 0


def test_a_missing_topic_ends_with_78_and_says_which(running: StartApp, topic_prefix: str) -> None:
    """One message: what is missing, who needs it, what to do."""
    run = running("obedient")
    run.start()

    assert run.wait() == ExitCode.CONFIGURATION
    assert f"topic '{topic_prefix}in' does not exist (needed by agent tests.process.apps.obey)" in run.log()
    assert "Traceback" not in run.log()


def test_no_broker_ends_with_69_after_the_connect_timeout(running: StartApp) -> None:
    """The message names the address."""
    with socket.socket() as held:
        # A port that nobody else can listen on meanwhile, and that refuses.
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        run = running("obedient", broker_url=f"kafka://127.0.0.1:{port}")
        run.start(2, "--connect-timeout", "2s")

        assert run.wait() == ExitCode.BROKER_UNREACHABLE
    assert f"127.0.0.1:{port}" in run.log()
    assert "Traceback" not in run.log()


def test_an_app_that_does_not_import_ends_with_78_and_its_traceback(running: StartApp, tmp_path: Path) -> None:
    """The traceback is the user's: it names their file and line."""
    (tmp_path / "broken_app.py").write_text("import streamcluster\nraise RuntimeError('broken at import')\n")
    run = running("broken_app:app")
    run.environment["PYTHONPATH"] += os.pathsep + str(tmp_path)
    run.start()

    assert run.wait() == ExitCode.CONFIGURATION
    log = run.log()
    assert "Traceback" in log
    assert "broken_app.py" in log
    assert "broken at import" in log
    assert str(REPOSITORY / "coordinator") not in log


@pytest.mark.parametrize("options", [("--workers", "0"), ("--no-such-option",)])
def test_a_wrong_command_line_ends_with_2(running: StartApp, options: tuple[str, ...]) -> None:
    """Usage errors come before anything is started."""
    run = running("obedient")

    assert run.cli("start", *options).returncode == ExitCode.USAGE


def test_an_unknown_setting_ends_with_78_and_a_hint(running: StartApp) -> None:
    """The message says where it comes from and what may be meant."""
    run = running("obedient", drain_timeuot=3)
    run.start()

    assert run.wait() == ExitCode.CONFIGURATION
    assert "STREAMCLUSTER_DRAIN_TIMEUOT is not a setting. Did you mean STREAMCLUSTER_DRAIN_TIMEOUT?" in run.log()


def test_a_second_start_on_the_same_state_directory_is_refused(running: StartApp, topics: str) -> None:
    """The lock names the process that has it, and the first one is not disturbed."""
    first = running("obedient")
    first.start()
    first.until_running()
    second = running("obedient")
    second.log_path = second.directory / "second"
    second.start()

    assert second.wait() == ExitCode.CONFIGURATION
    assert f"pid {first.process.pid}" in second.log()
    first.until_running()
    assert first.drain() == ExitCode.DRAINED


def test_a_second_start_elsewhere_fences_the_first(
    running: StartApp, reader: Reader, topics: str, bootstrap: str
) -> None:
    """The first says so and exits 76; the second goes on where it was, and nothing counts twice."""
    first = running("obedient")
    first.start()
    first.until_running()
    send(bootstrap, f"{topics}in", [Row(f"k{n % 50}", b"a%d" % n) for n in range(500)])
    second = running("obedient", name="elsewhere")
    second.start()

    assert first.wait() == ExitCode.FENCED
    assert "another coordinator" in first.log()
    send(bootstrap, f"{topics}in", [Row(f"k{n % 50}", b"b%d" % n) for n in range(500)])
    second.until_caught_up()
    assert second.table("seen") == {f"k{n}": 20 for n in range(50)}
    assert second.drain() == ExitCode.DRAINED
    assert reader.count(f"{topics}out") == 1000


def test_hup_restarts_the_workers_one_by_one(running: StartApp, reader: Reader, topics: str, bootstrap: str) -> None:
    """Every process is a new one, none counts as a crash, and nothing is lost or twice."""
    run = running("obedient")
    run.start()
    before = {worker.pid for worker in run.until_running().workers}
    send(bootstrap, f"{topics}in", [Row(f"k{n}", b"v") for n in range(1_000)])

    run.signal(signal.SIGHUP)
    send(bootstrap, f"{topics}in", [Row(f"k{n}", b"v") for n in range(1_000)])
    run.until(
        lambda status: (
            not {worker.pid for worker in status.workers} & before
            and all(worker.state == "running" for worker in status.workers)
        ),
        "all workers are new",
    )
    run.until_caught_up()

    assert run.table("seen") == {f"k{n}": 2 for n in range(1_000)}
    assert run.drain() == ExitCode.DRAINED
    assert reader.count(f"{topics}out") == 2_000


def test_ttin_and_ttou_change_the_number_of_workers(
    running: StartApp, reader: Reader, topics: str, bootstrap: str
) -> None:
    """A third worker takes tasks, and gives them back when it goes; each record counts once."""
    run = running("obedient")
    run.start()
    run.until_running()

    run.signal(signal.SIGTTIN)
    run.until(lambda status: len(status.workers) == 3 and all(w.tasks for w in status.workers), "three workers work")
    send(bootstrap, f"{topics}in", [Row(f"k{n}", b"v") for n in range(1_000)])
    run.signal(signal.SIGTTOU)
    run.until(lambda status: len(status.workers) == 2, "two workers are left")
    run.until_caught_up()

    assert run.table("seen") == {f"k{n}": 1 for n in range(1_000)}
    assert run.drain() == ExitCode.DRAINED
    assert reader.count(f"{topics}out") == 1_000


def test_a_crash_loop_backs_off_and_says_why(running: StartApp, topics: str) -> None:
    """An app whose workers die again and again: it waits, shows the traceback, and can be ended."""
    run = running("dying", crash_loop_deaths=2)
    run.start(1)

    # Long enough for the end to come meanwhile.
    run.until_logged("Next try in 4 s")
    run.until(lambda status: status.workers[0].state == "backing_off", "it backs off")
    log = run.log()
    assert "dies again and again" in log
    assert "told to die" in log
    assert "apps.py" in log, "there is no traceback"
    run.signal(signal.SIGTERM)
    assert run.wait() == ExitCode.DRAINED
