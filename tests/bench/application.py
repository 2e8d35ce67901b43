"""One of our apps, started as its user would start it: `streamcluster start` in a process of its own.

It decides with which options; the bench's cases decide what is measured.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from streamcluster.settings import make_settings
from streamcluster_coordinator.cli.running import NotRunning, ask_status
from streamcluster_coordinator.records.status import Status

from .apps import app_id
from .clock import pause
from .processes import Processes

WORKERS = 2
START_TIMEOUT_S = 60.0
STATUS_INTERVAL_S = 0.1


class Application:
    """An app of apps.py for one run: its directories, its processes, its status.

    Args:
        work: the name of the app in apps.py.
        settings: what the operator sets, by name; without them the defaults count.
        host: its name, where several share the app; None: it runs alone, under the machine's name.
        module: where the app is; workers: how many of them it starts with.
    """

    def __init__(
        self,
        bootstrap: str,
        work: str,
        run: str,
        source: str,
        directory: Path,
        settings: dict[str, str],
        host: str | None = None,
        *,
        module: str = "apps",
        workers: int = WORKERS,
    ) -> None:
        self.group = app_id(work, run)
        place = directory / run / (host or "")
        self._state = place / "state"
        self._state.mkdir(parents=True, exist_ok=True)
        self._log = place / "log"
        self._asked = make_settings({"id": self.group, "state_dir": str(self._state)}, source="bench")
        self.environment = {
            "BENCH_RUN": run,
            "BENCH_SOURCE": source,
            **{f"STREAMCLUSTER_{name.upper()}": value for name, value in settings.items()},
        }
        self._command = [
            "-m",
            "streamcluster",
            "start",
            "-A",
            f"tests.bench.{module}:{work}",
            "--workers",
            str(workers),
        ]
        self._command += ["--broker", f"kafka://{bootstrap}", "--state-dir", str(self._state), "--log-format", "json"]
        self._command += ["--host", host] if host is not None else []
        self._workers = workers
        self.started_at = 0.0
        self._processes: Processes | None = None

    @property
    def processes(self) -> Processes:
        """The running processes."""
        assert self._processes is not None, "the app has not been started"
        return self._processes

    def start(self) -> None:
        """Start it; returns at once."""
        self.started_at = time.monotonic()
        self._processes = Processes([self._command], self.environment, self._log)

    def status(self) -> Status | None:
        """What the coordinator says; None while nobody answers."""
        try:
            return ask_status(self._asked)
        except NotRunning:
            self.processes.check()
            return None

    def wait_for(
        self,
        condition: Callable[[Status], bool],
        what: str,
        timeout_s: float = START_TIMEOUT_S,
        every_s: float = STATUS_INTERVAL_S,
    ) -> Status:
        """Ask every `every_s` until `condition` holds.

        Raises:
            RuntimeError: it did not in time, or the app ended; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        found = None
        while time.monotonic() < deadline:
            found = self.status()
            if found is not None and condition(found):
                return found
            pause(every_s)
        raise RuntimeError(f"{self.group}: not {what} within {timeout_s:.0f} s: {found}\n{self.processes.log_end()}")

    def wait_until_running(self, timeout_s: float = START_TIMEOUT_S) -> Status:
        """Wait until every task runs."""
        return self.wait_for(lambda status: all_run(status, self._workers), "running", timeout_s)

    def stop(self) -> None:
        """Drain and end. Raises RuntimeError when it does not exit with 0."""
        codes = self.processes.stop()
        if codes != [0]:
            raise RuntimeError(f"{self.group}: `start` exited with {codes}:\n{self.processes.log_end()}")

    def kill(self) -> None:
        """kill -9 of whatever is left; fine when it was never started or has ended."""
        if self._processes is not None:
            self._processes.lose()

    def lose_state(self) -> None:
        """Delete the local state, as when a host is lost."""
        shutil.rmtree(self._state)
        self._state.mkdir()

    def forget(self, tasks: Iterable[str]) -> None:
        """Delete what is left on disk of tasks that this host had before."""
        for task in tasks:
            shutil.rmtree(self._state / self.group / "tasks" / task, ignore_errors=True)


def all_run(status: Status, count: int = WORKERS) -> bool:
    """Every task is owned and runs, and every worker is there."""
    workers = [worker.state for worker in status.workers]
    return workers == ["running"] * count and bool(status.tasks) and all(t.state == "running" for t in status.tasks)
