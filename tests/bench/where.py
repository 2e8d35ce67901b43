"""Where the CPU time of an app goes per event: by stage in the workers' main threads, by kind for all other threads.

The main thread is sampled (sampling.py), threads are read from /proc; the parts add up to what all processes used. It
decides which thread is of which kind. The arithmetic is pure, beside reading files.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from .steady import Points, Progress, Steady, at

# How often the threads are looked at: there are some thirty a worker.
EVERY_S = 0.5
MAIN = "main"
# What Linux calls a thread -> whose it is.
_NATIVE = {"rdk:": "librdkafka", "rocksdb:": "RocksDB"}
# What Python calls it -> the stage that it works for.
_PYTHON = {"commit": "commit", "poll": "consume"}
OTHERS, HOST = "other threads", "coordinator"


class Where:
    """Notes of one run. directory: where the workers' samples are written."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self._noted_at = 0.0
        # (process, thread) -> its name, and (time, CPU seconds) so far.
        self._names: dict[tuple[int, int], str] = {}
        self._cpu: dict[tuple[int, int], Points] = defaultdict(list)
        # The workers.
        self.pids: list[int] = []
        # Part -> microseconds of CPU per event.
        self.found: dict[str, float] = {}

    def note(self, now: float) -> None:
        """Read the CPU time of all threads, if it is time to."""
        if now - self._noted_at < EVERY_S:
            return
        self._noted_at = now
        for pid in self.pids:
            with suppress(psutil.NoSuchProcess):
                for thread in psutil.Process(pid).threads():
                    place = (pid, thread.id)
                    if place not in self._names:
                        self._names[place] = MAIN if thread.id == pid else _comm(pid, thread.id)
                    self._cpu[place].append((now, thread.user_time + thread.system_time))

    def work_out(self, progress: Progress, steady: Steady) -> None:
        """Find the parts of the steady part; with the rest of the host they make up the whole."""
        start, end = steady.begin, steady.begin + steady.seconds
        seconds: dict[str, float] = defaultdict(float)
        for (pid, thread), points in self._cpu.items():
            used = at(points, end) - at(points, start)
            samples, names = _samples(self.directory / f"{pid}.jsonl")
            if self._names[pid, thread] != MAIN:
                seconds[kind_of(self._names[pid, thread], names.get(thread, ""))] += used
                continue
            for stage, share in shares(samples, start, end).items():
                seconds[stage] += used * share
        seconds[HOST] = max(0.0, at(progress.cpu, end) - at(progress.cpu, start) - sum(seconds.values()))
        self.found = {
            part: used / steady.events * 1e6 for part, used in sorted(seconds.items(), key=lambda one: -one[1])
        }


def kind_of(comm: str, name: str) -> str:
    """Whose a thread is. comm: what Linux calls it; name: what Python does, if it is one of Python's."""
    for begin, kind in _NATIVE.items():
        if comm.startswith(begin):
            return kind
    return next((kind for begin, kind in _PYTHON.items() if name.startswith(begin)), OTHERS)


def shares(samples: Mapping[str, Points], start: float, end: float) -> dict[str, float]:
    """Stage -> its share of the samples between two moments; without any the whole is not known to be of a stage."""
    found = {stage: at(points, end) - at(points, start) for stage, points in samples.items()}
    total = sum(found.values())
    return {stage: count / total for stage, count in found.items()} if total > 0 else {"not sampled": 1.0}


def _samples(path: Path) -> tuple[dict[str, Points], dict[int, str]]:
    """Stage -> (time, samples so far), and the names of Python's threads, of one process."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    stages = {stage for line in lines for stage in line["counts"]}
    points = {stage: [(line["at"], float(line["counts"].get(stage, 0))) for line in lines] for stage in stages}
    return points, {int(thread): name for line in lines for thread, name in line["threads"].items()}


def _comm(pid: int, thread: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
    except OSError:
        return ""
