"""One `streamcluster start` as a user runs it: a subprocess with a log, its status, its workers, its end.

It ends only what it started: the coordinator by its handle, workers by the process ids that the status names.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from streamcluster.errors import TryAgain
from streamcluster.settings import Settings
from streamcluster_coordinator.cli.running import NotRunning, all_rows, ask_status
from streamcluster_coordinator.records.status import Status, WorkerStatus
from tests.process.records import Reader
from tests.process.waiting import eventually, pause

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY = (sys.executable, "-m", "streamcluster")
# Deadlines, not claims: a machine that does other things too takes its time, and what is met costs nothing.
UP_SECONDS = 80.0
END_SECONDS = 60.0
OUTLIVE_SECONDS = 30.0
LOG_CHARACTERS = 6000


class Running:
    """An app of tests/process/apps.py (or another module), with its own id, state directory and log.

    within: what its command lines begin with, to run them somewhere else; it becomes the command.
    """

    def __init__(
        self,
        app: str,
        prefix: str,
        broker_url: str,
        directory: Path,
        *,
        within: Sequence[str] = (),
        **settings: object,
    ) -> None:
        self.within = tuple(within)
        self.app = app if ":" in app else f"tests.process.apps:{app}"
        self.app_id = f"{prefix}{app.rpartition(':')[2]}"
        self.state_dir = directory / "state"
        self.directory = directory
        self.log_path = directory / "log"
        self.environment = environment(prefix, directory, settings)
        self.broker_url = broker_url
        self.settings = Settings(id=self.app_id, broker=broker_url, state_dir=str(self.state_dir))
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}

    def command(self, *arguments: str) -> list[str]:
        """A command line of the CLI about this app."""
        where = ["--broker", self.broker_url, "--state-dir", str(self.state_dir)]
        return [*self.within, *ENTRY, arguments[0], "-A", self.app, *where, *arguments[1:]]

    def start(self, workers: int = 2, *options: str) -> None:
        """Start the coordinator, and do not wait."""
        assert self._process is None or self._process.poll() is not None, "it runs already"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command("start", "--workers", str(workers), *options),
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command about this app to its end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
            check=False,
        )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The coordinator."""
        assert self._process is not None, "start it first"
        return self._process

    @property
    def has_process(self) -> bool:
        """Whether the coordinator's process is there."""
        return self._process is not None and self._process.poll() is None

    def status(self) -> Status | None:
        """The newest snapshot; None when nobody answers."""
        try:
            status = ask_status(self.settings)
        except NotRunning:
            return None
        for pid in (worker.pid for worker in status.workers if worker.pid is not None):
            with contextlib.suppress(psutil.NoSuchProcess):
                self._seen.setdefault(pid, psutil.Process(pid))
        return status

    def until(self, condition: Callable[[Status], Any], what: str, seconds: float = UP_SECONDS) -> Status:
        """Wait until the status fits, and return it; an app that ends meanwhile is said."""

        def fits() -> Status | None:
            status = self.status()
            assert self.process.poll() is None, f"the app ended with {self.process.returncode}:\n{self.log_end()}"
            return status if status is not None and condition(status) else None

        return eventually(fits, seconds, what, lambda: f"{self.status()}\n{self.log_end()}")  # type: ignore[return-value]

    def until_running(self, seconds: float = UP_SECONDS) -> Status:
        """Wait until every task runs."""
        return self.until(is_running, "every task runs", seconds)

    def until_caught_up(self, seconds: float = UP_SECONDS) -> Status:
        """Wait until every task runs and has committed everything that there is.

        The ends are asked for after the positions: a status that is older than the last records does not fit.
        """
        reader = Reader(self.broker_url.removeprefix("kafka://"))
        try:
            return self.until(
                lambda status: is_running(status) and reader.is_reached(positions_of(status)),
                "every task has caught up",
                seconds,
            )
        finally:
            reader.close()

    def until_logged(self, text: str, seconds: float = UP_SECONDS) -> None:
        """Wait until the log has a text."""
        eventually(lambda: text in self.log(), seconds, f"the log says {text!r}", self.log_end)

    def table(self, name: str) -> dict[Any, Any]:
        """Every row of a table, as the running app tells it."""
        rows = self.table_json(name)
        return {msgspec.json.decode(key): msgspec.json.decode(value) for key, value in rows.items()}

    def table_json(self, name: str) -> dict[str, str]:
        """The same as JSON text by JSON text, waiting for tasks that change places."""

        def found() -> list[dict[str, str]]:
            try:
                return [dict(all_rows(self.settings, name))]
            except TryAgain:
                return []

        [rows] = eventually(found, END_SECONDS, f"table {name} can be read", self.log_end)
        return rows

    def worker(self, slot: int = 0) -> WorkerStatus:
        """What the status says of one worker."""
        status = self.status()
        assert status is not None, self.log_end()
        return status.workers[slot]

    def pid_of(self, slot: int = 0) -> int:
        """The process in a slot."""
        pid = self.until(lambda status: status.workers[slot].pid, f"slot {slot} has a process").workers[slot].pid
        assert pid is not None
        return pid

    def signal(self, number: int) -> None:
        """Send a signal to the coordinator."""
        self.process.send_signal(number)

    def wait(self, seconds: float = END_SECONDS) -> int:
        """Wait for the end and return the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {seconds:.0f} s:\n{self.log_end()}") from None

    def drain(self) -> int:
        """End it as systemd does, and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """kill -9 of the coordinator, and the kernel's word that it is gone."""
        self.process.kill()
        self.process.wait(END_SECONDS)

    def log(self) -> str:
        """Everything that it and its workers said."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def log_end(self) -> str:
        """The last of it."""
        return f"The end of {self.log_path}:\n{self.log()[-LOG_CHARACTERS:]}"

    def close(self) -> None:
        """Leave nothing running; workers that outlive a dead coordinator are an error."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self.status()
            self._process.kill()
            self._process.wait(END_SECONDS)
        # Not psutil.wait_procs: the kernel may say ENOENT of a process that is being reaped, which it does not expect.
        deadline = time.monotonic() + OUTLIVE_SECONDS
        while (alive := [one for one in self._seen.values() if not is_dead(one)]) and time.monotonic() < deadline:
            pause(0.02)
        for process in alive:
            process.kill()
        assert not alive, f"workers outlived their coordinator: {alive}"


def is_dead(process: psutil.Process) -> bool:
    """Whether it does nothing any more; a dead one may wait for init, and another may have its pid."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def is_running(status: Status) -> bool:
    """Every task runs somewhere, and says where it is."""
    return bool(status.tasks) and all(task.state == "running" and task.figures.positions for task in status.tasks)


def positions_of(status: Status) -> dict[tuple[str, int], int]:
    """Committed positions by topic and partition."""
    found: dict[tuple[str, int], int] = {}
    for task in status.tasks:
        partition = int(task.task.rpartition("_")[2])
        found.update({(topic, partition): at for topic, at in task.figures.positions.items()})
    return found


def environment(prefix: str, directory: Path, settings: Mapping[str, object]) -> dict[str, str]:
    """What apps.py reads (names, a directory for notes) and the operator's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STREAMCLUSTER_")}
    roots = [str(REPOSITORY / root) for root in ("cluster", "worker", "coordinator")]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *roots]),
        "PROCESS_TEST_PREFIX": prefix,
        "PROCESS_TEST_NOTES": str(directory),
        "STREAMCLUSTER_LOG_FORMAT": "json",
        **{f"STREAMCLUSTER_{name.upper()}": str(value) for name, value in settings.items()},
    }
