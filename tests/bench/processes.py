"""The processes of a work: started, watched (CPU, unique memory) and ended, by process id.

It decides how CPU and memory are counted. It must not know what the processes do.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = [str(REPOSITORY / name) for name in ("cluster", "worker", "coordinator")]
STOP_TIMEOUT_S = 40.0
MEGABYTE = 1e6


class Processes:
    """Some processes and all their descendants.

    CPU counts user and system time of every thread, librdkafka's and RocksDB's included. Memory is unique memory
    (USS: pages that would be free if the process ended), the peak of what was seen per process.
    """

    def __init__(self, commands: Sequence[Sequence[str]], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        # The app modules and, where it is not installed, streamcluster itself are found from the repository.
        path = os.pathsep.join([str(REPOSITORY), *SOURCE_ROOTS])
        with log.open("ab") as output:
            self._roots = [
                subprocess.Popen(
                    [sys.executable, *command],
                    cwd=REPOSITORY,
                    env={**os.environ, "PYTHONPATH": path, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                for command in commands
            ]
        self._seen: dict[int, psutil.Process] = {}
        self._cpu_s: dict[int, float] = {}
        self.unique_bytes_max: dict[int, int] = {}

    def look_for_children(self) -> None:
        """Find processes that were started since; done now and then, because it reads all of /proc."""
        for root in self._roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(root.pid)
                for found in (process, *process.children(recursive=True)):
                    self._seen.setdefault(found.pid, found)

    def cpu_s(self) -> float:
        """CPU seconds used so far by all that were seen, ended ones included."""
        for pid, process in self._seen.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._cpu_s[pid] = times.user + times.system
        return sum(self._cpu_s.values())

    def note_memory(self) -> None:
        """Take the unique memory of each process into the peaks."""
        for pid, process in self._seen.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                now = process.memory_full_info().uss
                self.unique_bytes_max[pid] = max(now, self.unique_bytes_max.get(pid, 0))

    def unique_bytes(self, pid: int) -> int:
        """Unique memory of one process now."""
        return int(psutil.Process(pid).memory_full_info().uss)

    def check(self) -> None:
        """Raise when a root process has ended, with the end of what it said."""
        for root in self._roots:
            code = root.poll()
            if code is not None:
                raise RuntimeError(f"process {root.args!r} ended with {code}; the end of its log:\n{self.log_end()}")

    def log_end(self, characters: int = 3000) -> str:
        """The last lines of the log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-characters:]

    def lose(self) -> None:
        """SIGKILL to all at once, as when the power fails."""
        self.look_for_children()
        for root in self._roots:
            root.kill()
        for process in self._seen.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for root in self._roots:
            root.wait(STOP_TIMEOUT_S)

    def root_cpu_s(self) -> float:
        """CPU seconds of the processes that were started, without their children."""
        times = [psutil.Process(root.pid).cpu_times() for root in self._roots]
        return sum(one.user + one.system for one in times)

    def signal(self, number: int) -> None:
        """Send a signal to the processes that were started."""
        for root in self._roots:
            root.send_signal(number)

    def stop(self) -> list[int]:
        """SIGTERM to the roots, SIGKILL to what is left after a while; return the roots' exit codes."""
        self.look_for_children()
        for root in self._roots:
            if root.poll() is None:
                root.terminate()
        codes = [_ended(root) for root in self._roots]
        for process in self._seen.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return codes


def _ended(root: subprocess.Popen[bytes]) -> int:
    """Wait for a process, and kill it when it takes too long."""
    try:
        return root.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        root.kill()
        return root.wait(STOP_TIMEOUT_S)
