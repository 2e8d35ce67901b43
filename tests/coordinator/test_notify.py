"""What the service manager is told: the decision on snapshots alone, and the sending to a real datagram socket."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from streamcluster.protocol.messages import TaskFigures
from streamcluster_coordinator.records.status import Status, TaskStatus, WorkerStatus
from streamcluster_coordinator.shell.notify import Notifier, Told, news, status_text, take_over_notifications

WORKER = WorkerStatus(slot=0, pid=12, state="running", tasks=("2_0", "2_1"))
STARTING = Status(
    app="shop",
    host="here",
    pid=10,
    state="starting",
    broker="localhost:9092",
    broker_state="up",
    processing_guarantee="exactly_once",
    epoch=1,
    uptime=0.0,
    workers=(msgspec.structs.replace(WORKER, state="starting"),),
    tasks=(
        TaskStatus(task="2_0", slot=0, state="running", figures=TaskFigures(lag={"in": 7})),
        TaskStatus(task="2_1", slot=0, state="starting"),
    ),
    topology_hash="abc",
)
RUNNING = msgspec.structs.replace(STARTING, state="running", workers=(WORKER,), uptime=1.0)
TEXT = "running: 1 of 2 tasks on 1 worker, 7 records behind"
READY = Told(ready=True, text=TEXT, text_at=0.0)


class Lines:
    """A presenter that keeps everything."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.snapshots: list[Status] = []

    def line(self, level: str, text: str) -> None:
        """Keep a message."""
        self.lines.append((level, text))

    def on_status(self, status: Status) -> None:
        """Keep a snapshot."""
        self.snapshots.append(status)


def sent(told: Told, status: Status, now: float = 0.0, feed_seconds: float | None = None) -> list[str]:
    """Only the datagrams."""
    return news(told, status, now, feed_seconds)[0]


def test_readiness_is_told_once_and_only_with_a_worker() -> None:
    """While workers start there is only a status line; the first confirmed one is READY; then no more of it."""
    first, told = news(Told(), STARTING, 0.0, None)
    second, told = news(told, RUNNING, 0.5, None)

    assert first == ["STATUS=starting: 1 of 2 tasks on 0 workers, 7 records behind"]
    assert second == [f"READY=1\nSTATUS={TEXT}"]
    assert sent(told, RUNNING, 9.0) == []


def test_the_status_line_comes_when_it_changed_and_not_too_often() -> None:
    """Lag changes with every snapshot; the line changes every 2 s."""
    busy = msgspec.structs.replace(
        RUNNING, tasks=(TaskStatus(task="2_0", slot=0, state="running", figures=TaskFigures(lag={"in": 9})),)
    )

    assert sent(READY, busy, 1.9) == []
    assert sent(READY, busy, 2.0) == ["STATUS=running: 1 of 1 tasks on 1 worker, 9 records behind"]


def test_the_status_line_names_a_restore_and_what_is_wrong() -> None:
    """What an operator looks for is in the line: the restore with what is left, and brokers that do not answer."""
    task = TaskStatus(
        task="2_1", slot=0, state="restoring", restore_eta=4.0, figures=TaskFigures(restored=500, restore_total=1000)
    )
    text = status_text(msgspec.structs.replace(RUNNING, tasks=(task,), broker_state="down", rolling=True))

    assert "restoring 1 task: 500 of 1,000 records, 4" in text
    assert text.endswith(", rolling restart, no broker answers")


def test_the_watchdog_is_fed_at_its_interval() -> None:
    """Not with every snapshot, and not at all when there is none."""
    datagrams, told = news(READY, RUNNING, 1.0, 5.0)
    later = msgspec.structs.replace(RUNNING, uptime=6.0)

    assert datagrams == ["WATCHDOG=1"]
    assert sent(told, later, 5.9, 5.0) == []
    assert sent(told, later, 6.0, 5.0) == ["WATCHDOG=1"]
    assert sent(told, later, 6.0, None) == []


def test_the_watchdog_is_not_fed_while_a_worker_is_stalled() -> None:
    """A worker whose loop is blocked is not alive; when it answers again the feeding goes on."""
    stalled = msgspec.structs.replace(
        RUNNING, workers=(WORKER, msgspec.structs.replace(WORKER, slot=1, state="stalled"))
    )

    datagrams, told = news(READY, stalled, 1.0, 0.5)

    assert datagrams == []
    assert "WATCHDOG=1" in "\n".join(sent(told, RUNNING, 1.5, 0.5))


def test_the_watchdog_is_not_fed_when_the_machine_stands_still() -> None:
    """A snapshot of the same tick proves a timer, and no work on events."""
    _, told = news(READY, RUNNING, 1.0, 0.5)

    assert sent(told, RUNNING, 2.0, 0.5) == []


def test_the_end_is_told_once_and_nothing_follows_it() -> None:
    """From the drain on, neither readiness nor a restart is told."""
    draining = msgspec.structs.replace(RUNNING, state="draining", rolls=1, rolling=True)

    datagrams, told = news(READY, draining, 5.0, None)

    assert datagrams[0].startswith("STOPPING=1\nSTATUS=draining")
    assert len(datagrams) == 1
    assert sent(told, draining, 5.5) == []


def test_a_reload_carries_its_time_and_ends_with_readiness() -> None:
    """RELOADING=1 with the monotonic time of the message; READY=1 when the last worker is back."""
    rolling = msgspec.structs.replace(RUNNING, rolls=1, rolling=True)

    begun, told = news(READY, rolling, 1.5, None)
    between, told = news(told, rolling, 1.6, None)
    ended, told = news(told, msgspec.structs.replace(rolling, rolling=False), 2.0, None)

    assert begun == ["RELOADING=1\nMONOTONIC_USEC=1500000"]
    assert between == []
    assert [datagram.splitlines()[0] for datagram in ended] == ["READY=1"]
    assert not told.reloading


def test_a_reload_without_work_is_answered_too() -> None:
    """A HUP that restarts nothing, or is over before the snapshot, is two datagrams: the asker waits for both."""
    over = msgspec.structs.replace(RUNNING, rolls=3)

    assert sent(READY, over, 1.0) == ["RELOADING=1\nMONOTONIC_USEC=1000000", "READY=1"]


@pytest.fixture
def listener(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """The service manager's socket: a file, or abstract when the test's parameter says so."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"\0{uuid.uuid4().hex}" if getattr(request, "param", "") == "abstract" else str(tmp_path / "notify")
    sock.bind(name)
    sock.settimeout(5)
    yield sock
    sock.close()


def address_of(listener: socket.socket) -> str:
    """As systemd writes it into the environment."""
    name = listener.getsockname()
    return f"@{name[1:].decode()}" if isinstance(name, bytes) else str(name)


@pytest.mark.parametrize("listener", ["file", "abstract"], indirect=True)
def test_notifications_reach_a_real_socket(listener: socket.socket) -> None:
    """Both kinds of address; the watchdog's half interval; and the wrapped presenter sees everything."""
    environ = {"NOTIFY_SOCKET": address_of(listener), "WATCHDOG_USEC": "1000000", "HOME": "/"}
    lines = Lines()
    say = take_over_notifications(lines, environ)

    say.on_status(RUNNING)
    say.line("info", "hello")

    assert listener.recv(4096).decode() == f"READY=1\nSTATUS={TEXT}\nWATCHDOG=1"
    assert (lines.lines, lines.snapshots) == ([("info", "hello")], [RUNNING])
    assert environ == {"HOME": "/"}


def test_without_a_manager_the_presenter_stays_as_it_is() -> None:
    """No socket, no notifications; an address of an unknown kind is said."""
    lines = Lines()

    assert take_over_notifications(lines, {}) is lines
    assert lines.lines == []
    assert take_over_notifications(lines, {"NOTIFY_SOCKET": "vsock:2:1234"}) is lines
    assert [level for level, _ in lines.lines] == ["warning"]


def test_a_watchdog_of_another_process_is_not_ours(listener: socket.socket) -> None:
    """WATCHDOG_PID names who is watched; a wrapper's children must not feed for it."""
    environ = {"NOTIFY_SOCKET": address_of(listener), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}

    take_over_notifications(Lines(), environ).on_status(RUNNING)

    assert listener.recv(4096).decode() == f"READY=1\nSTATUS={TEXT}"


def test_what_could_not_be_sent_is_sent_later(tmp_path: Path) -> None:
    """A manager that is away is said once, and learns of the readiness when it is back."""
    lines = Lines()
    path = str(tmp_path / "notify")
    say = Notifier(lines, path, None)
    say.on_status(RUNNING)
    say.on_status(RUNNING)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(5)
        say.on_status(RUNNING)

        assert listener.recv(4096).decode() == f"READY=1\nSTATUS={TEXT}"
    assert [level for level, _ in lines.lines] == ["warning"]
