"""`streamcluster start` under a service manager: a real datagram socket, a real app, a real Kafka."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from streamcluster.errors import ExitCode
from tests.conftest import MakeTopic
from tests.process.conftest import StartApp
from tests.process.waiting import eventually

SECONDS = 40.0


class Systemd:
    """Hears what a service tells, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.bind(str(path))

    def lines(self) -> list[str]:
        """Everything so far, one assignment each."""
        while True:
            try:
                self.heard += self._sock.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.heard

    def until(self, line: str, times: int = 1) -> None:
        """Wait until a line has come so often."""
        eventually(
            lambda: self.lines().count(line) >= times, SECONDS, f"{line} came {times} times", lambda: str(self.heard)
        )

    def close(self) -> None:
        """Away with it."""
        self._sock.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """A service manager's socket."""
    one = Systemd(tmp_path / "notify")
    yield one
    one.close()


def test_a_service_is_ready_reloads_and_stops(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, systemd: Systemd
) -> None:
    """READY=1 when a worker has joined, the watchdog fed, a reload from RELOADING=1 to READY=1, and STOPPING=1."""
    make_topic(f"{topic_prefix}in", 2)
    run = running("ledger")
    run.environment |= {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "2000000"}
    run.start(2)

    systemd.until("READY=1")
    assert any(worker.state == "running" for worker in run.until_running().workers)
    systemd.until("WATCHDOG=1", 2)
    eventually(
        lambda: any(line.startswith("STATUS=running: ") and " on 2 workers" in line for line in systemd.lines()),
        SECONDS,
        "the status line counts tasks and workers",
        lambda: str(systemd.heard),
    )
    pids = [run.pid_of(0), run.pid_of(1)]
    run.signal(signal.SIGHUP)
    systemd.until("READY=1", 2)
    assert not {run.pid_of(0), run.pid_of(1)} & set(pids), "the reload ended before both workers were replaced"
    code = run.drain()

    heard = systemd.lines()
    order = [line for line in heard if line in ("READY=1", "RELOADING=1", "STOPPING=1")]
    assert order == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert heard[heard.index("RELOADING=1") + 1].startswith("MONOTONIC_USEC=")
    assert code == ExitCode.DRAINED


def test_workers_do_not_inherit_the_manager(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, systemd: Systemd
) -> None:
    """What users start in a worker must not speak for the service: the variables end with the coordinator."""
    make_topic(f"{topic_prefix}in", 1)
    run = running("ledger")
    run.environment |= {"NOTIFY_SOCKET": str(systemd.path)}
    run.start(1)
    run.until_running()

    assert "NOTIFY_SOCKET" not in psutil.Process(run.pid_of()).environ()


def test_a_stalled_worker_starves_the_watchdog(
    running: StartApp, make_topic: MakeTopic, topic_prefix: str, systemd: Systemd
) -> None:
    """While a worker answers nothing the watchdog gets nothing, though the coordinator turns; then it is fed again."""
    make_topic(f"{topic_prefix}in", 2)
    run = running("ledger", stall_report=1, stall_timeout=60)
    run.environment |= {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "1000000"}
    run.start(2)
    run.until_running()
    worker = run.pid_of(0)
    os.kill(worker, signal.SIGSTOP)
    try:
        begun = run.until(lambda status: status.workers[0].state == "stalled", "worker 0 is stalled").uptime
        # What was sent before the next snapshot saw it.
        run.until(lambda status: status.uptime > begun + 1, "a second has passed")
        fed = systemd.lines().count("WATCHDOG=1")
        later = run.until(lambda status: status.uptime > begun + 4, "three more have passed")
        assert later.workers[0].state == "stalled"
        assert systemd.lines().count("WATCHDOG=1") == fed
    finally:
        os.kill(worker, signal.SIGCONT)

    systemd.until("WATCHDOG=1", fed + 2)
