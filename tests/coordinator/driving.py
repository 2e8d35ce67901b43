"""A coordinator under test: the real one in a process of its own, over fake workers, and what tests ask of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from streamcluster_coordinator.answers.control_socket import ask
from streamcluster_coordinator.records.status import GetRows, GetStatus, RowsAnswer, Status, WorkerStatus

SECONDS = 30.0


def until(what: str, condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait for a condition; fail with `what` when it does not come."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(0.02)


def app_directory(topic: str, state_dir: Path) -> Path:
    """The directory of the fake app that reads `topic`."""
    return state_dir / f"{topic}-app"


def fault(directory: Path, slot: int, what: str, *, always: bool = False) -> None:
    """Let the next worker of `slot` that is granted tasks misbehave, or every one."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"fault{'-always' if always else ''}-{slot}").write_text(what)


@dataclass(frozen=True, slots=True)
class Driven:
    """One coordinator."""

    topic: str
    state_dir: Path
    output: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, topic: str, state_dir: Path, broker: object, **settings: object) -> Driven:
        """Start it; its lines go to a file."""
        overrides = {"broker": broker, "state_dir": str(state_dir), "workers": 2, "connect_timeout": 20.0, **settings}
        output = state_dir.parent / f"output-{uuid.uuid4().hex}"
        with output.open("wb") as stdout:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.coordinator.run_fake", topic, json.dumps(overrides)],
                stdout=stdout,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        return cls(topic, state_dir, output, process)

    @property
    def lines(self) -> list[str]:
        """What it said so far."""
        return self.output.read_text().splitlines()

    @property
    def directory(self) -> Path:
        """The app's own state directory."""
        return app_directory(self.topic, self.state_dir)

    def status(self) -> Status:
        """The newest snapshot."""
        answer = ask(self.directory, GetStatus())
        assert isinstance(answer, Status)
        return answer

    def rows(self, **request: object) -> RowsAnswer:
        """Rows of the table, once no trouble that passes is in the way."""
        question = GetRows(table="sums", **request)  # type: ignore[arg-type]  # checked by msgspec
        answers: list[RowsAnswer] = []

        def is_settled() -> bool:
            answer = ask(self.directory, question)
            assert isinstance(answer, RowsAnswer)
            answers.append(answer)
            return not answer.passing

        until("rows are told", is_settled)
        return answers[-1]

    def worker(self, slot: int) -> WorkerStatus:
        """One worker's status."""
        return next(worker for worker in self.status().workers if worker.slot == slot)

    def serves(self, workers: int = 2) -> bool:
        """Whether all workers run, all tasks are held, and each owner has noted that it was granted them."""
        try:
            status = self.status()
        except (FileNotFoundError, ConnectionError):
            assert self.process.poll() is None, f"it has ended: {self.lines}"
            return False
        running = sum(worker.state == "running" for worker in status.workers)
        if not (status.state == "running" and running == workers == len(status.workers)):
            return False
        # A grant is on its way to its worker for a moment.
        noted = {(pid, task) for _, pid, what, task in self.journal() if what == "granted"}
        return {(worker.pid, task) for worker in status.workers for task in worker.tasks} <= noted

    def wait_until_serving(self, workers: int = 2) -> None:
        """Wait for `serves`."""
        until(f"{workers} workers serve", lambda: self.serves(workers))

    def says(self, text: str) -> None:
        """Wait until a line has `text`."""
        until(f"it says {text!r} in {self.output}", lambda: any(text in line for line in self.lines))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the coordinator."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Its exit code, when it has ended."""
        return self.process.wait(SECONDS)

    def family(self) -> list[psutil.Process]:
        """The processes below it: the fork server and the workers."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def journal(self) -> list[tuple[int, int, str, str]]:
        """What the fake workers noted: (slot, pid, what, task)."""
        journal = self.directory / "journal"
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [(int(slot), int(pid), what, task) for slot, pid, what, task in map(str.split, lines)]


def double_owners(journal: Iterable[tuple[int, int, str, str]], dead: Iterable[int]) -> list[str]:
    """Grants of a task whose last owner neither released it nor is known to be dead: there must be none (I1)."""
    owners: dict[str, int] = {}
    found: list[str] = []
    gone = set(dead)
    for _, pid, what, task in journal:
        if what == "granted":
            if task in owners and owners[task] not in gone:
                found.append(f"{task}: {owners[task]} and {pid}")
            owners[task] = pid
        elif what == "released":
            owners.pop(task, None)
    return found
